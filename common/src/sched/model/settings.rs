//! The scheduler's settings. The master's configuration fills them; the core only reads them.

use std::time::Duration;

use crate::penalty::usage::Rate;
use crate::resources::MilliGpu;

/// Settings of the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Not heard from for so long: suspect, nothing is placed there.
    pub suspect_after: Duration,
    /// Not heard from for so long: lost, its jobs are given to others.
    pub lost_after: Duration,
    /// How often a job is tried again after the infrastructure's fault before it ends with that cause.
    pub infrastructure_retries: u32,
    /// Wait before the first retry; doubled for each further one, up to a hundredfold.
    pub retry_backoff: Duration,
    /// How many finished jobs are kept in memory and in the store's history.
    pub history_max_jobs: usize,
    /// The most attempts that one worker is given before their containers run.
    pub starts_per_worker: u32,
    /// Which penalty ranks the users. Both are kept up to date, so that changing it loses nothing.
    pub policy: Policy,
    /// How usage is charged and ranked.
    pub usage: UsageSettings,
    /// Which of the machines that fit is taken.
    pub placement: Placement,
    /// What happens behind a job that cannot start.
    pub backfill: Backfill,
    /// The most jobs that one pass tries behind a reservation.
    pub backfill_window: usize,
    /// In which order one user's jobs, and candidates for backfill, are tried.
    pub order: JobOrder,
    /// The planned length of a job of which nothing is expected.
    pub assumed_runtime: Duration,
    /// A job that may be stopped for an urgent one, or for a floor, runs at least for so long before it is.
    pub preempt_after: Duration,
}

/// What happens behind a job that cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backfill {
    /// It gets a reservation, and others run before it only where they do not delay it.
    #[default]
    Easy,
    /// Whatever fits runs, and a big job may wait for ever.
    BestEffort,
    /// Everybody waits.
    Strict,
}

/// In which order one user's jobs, and candidates for backfill, are tried. Class and priority go first in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobOrder {
    /// One user's jobs: the largest slowdown first, (wait + expected run time) / expected run time. Candidates for
    /// backfill: the shortest first.
    #[default]
    Slowdown,
    /// By submission.
    Submission,
}

/// Which of the machines that fit is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// The one where least becomes unusable for the typical mix of requests; then one that holds the image;
    /// then the tightest.
    #[default]
    Default,
    /// The one where least becomes unusable by the published measure: for comparison.
    Fgd,
    /// The one with the least left of CPU and GPUs: for comparison.
    BestFit,
    /// Any, by lots that are the same for the same job and seed: for comparison.
    Random {
        /// Chooses among the series of lots.
        seed: u64,
    },
}

/// Which penalty ranks the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Weighted GPU-seconds with a half-life: [`crate::penalty::usage`].
    #[default]
    Usage,
    /// DoPQ 1.0's, by finished jobs: [`crate::penalty::recency`].
    Recency,
    /// None: whoever submitted first.
    Fifo,
}

/// How usage is charged and ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageSettings {
    /// After so long half of it is forgotten; above 0.
    pub half_life: Duration,
    /// Each attempt is charged at least for so long.
    pub min_charge: Duration,
    /// What a second on a GPU counts, by a part of its model's name, ignoring case; the first that matches,
    /// 1 for the others.
    pub gpu_weights: Vec<(String, f64)>,
    /// What a whole machine's CPU or memory counts for a job without GPU.
    pub cpu_weight: f64,
    /// How much the part of the cluster's GPUs that the next job asks for weighs in its user's rank.
    pub ask_weight: f64,
    /// The most that waiting improves a rank. A penalty is a part of the whole cluster, so that among a
    /// thousand users a thousandth is much.
    pub aging: f64,
    /// How long a job waits until it has improved its user's rank by that much; above 0.
    pub aging_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(15),
            lost_after: Duration::from_secs(600),
            infrastructure_retries: 3,
            retry_backoff: Duration::from_secs(5),
            history_max_jobs: 10_000,
            starts_per_worker: 64,
            policy: Policy::default(),
            usage: UsageSettings::default(),
            placement: Placement::default(),
            backfill: Backfill::default(),
            backfill_window: 256,
            order: JobOrder::default(),
            assumed_runtime: Duration::from_secs(24 * 3600),
            preempt_after: Duration::from_secs(600),
        }
    }
}

impl Default for UsageSettings {
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(24 * 3600),
            min_charge: Duration::from_secs(60),
            gpu_weights: Vec::new(),
            cpu_weight: 0.1,
            ask_weight: 0.001,
            aging: 0.001,
            aging_after: Duration::from_secs(24 * 3600),
        }
    }
}

impl Settings {
    /// Everything that is wrong with them, a sentence each; empty when they can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
        let usage = &self.usage;
        check(
            self.suspect_after < self.lost_after,
            "suspect_after must be below lost_after",
        );
        check(
            self.starts_per_worker > 0,
            "starts_per_worker must be above 0",
        );
        check(!usage.half_life.is_zero(), "half_life must be above 0");
        check(
            !self.assumed_runtime.is_zero(),
            "assumed_runtime must be above 0",
        );
        check(!usage.aging_after.is_zero(), "aging_after must be above 0");
        check(
            is_weight(usage.aging) && is_weight(usage.ask_weight) && is_weight(usage.cpu_weight),
            "aging, ask_weight and cpu_weight must be numbers of at least 0",
        );
        check(
            usage
                .gpu_weights
                .iter()
                .all(|(_, weight)| is_weight(*weight)),
            "every GPU weight must be a number of at least 0",
        );
        faults
    }
}

impl UsageSettings {
    /// What a whole GPU of this model is charged.
    pub(crate) fn gpu_rate(&self, model: &str) -> Rate {
        let model = model.to_ascii_lowercase();
        let mut weights = self.gpu_weights.iter();
        let weight = weights.find(|(part, _)| model.contains(&part.to_ascii_lowercase()));
        rate(weight.map_or(1.0, |(_, weight)| *weight))
    }

    /// What a whole machine is charged for its CPU or memory.
    pub(crate) fn machine_rate(&self) -> Rate {
        rate(self.cpu_weight)
    }
}

/// A weight in GPUs as a rate. Weights that no GPU could have are cut off at a million.
fn rate(weight: f64) -> Rate {
    let micro = (weight * 1e6).round().clamp(0.0, 1e12);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that u64 holds"
    )]
    Rate(micro as u64)
}

/// Limits of one user or group; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// GPUs held at once.
    pub max_gpus: Option<MilliGpu>,
    /// Jobs active at once.
    pub max_running: Option<u32>,
    /// Jobs waiting at once.
    pub max_queued: Option<u32>,
    /// GPUs that are guaranteed: jobs that keep what is held within it go first.
    pub floor: Option<MilliGpu>,
}
