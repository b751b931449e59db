//! The scheduler's settings. The master's configuration fills them; the core only reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::penalty::usage::Rate;
use crate::resources::MilliGpu;
use crate::settings::{Field, Key, Layers, Named, at_least};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Workers beat every 2 s; anything shorter would call a healthy one silent.
const SHORTEST_SILENCE: Duration = Duration::from_secs(6);

crate::settings! {
    /// Settings of the whole cluster.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Settings {
        /// Silence after which nothing is placed on a worker
        pub suspect_after: Duration = Duration::from_secs(15), at_least(SHORTEST_SILENCE);
        /// Silence after which a worker's jobs are given to others
        pub lost_after: Duration = Duration::from_secs(600), at_least(SHORTEST_SILENCE);
        /// How often a job is tried again after a fault that is not its own
        pub infrastructure_retries: u32 = 3;
        /// Wait before the first such retry; doubled for each further one
        pub retry_backoff: Duration = Duration::from_secs(5);
        /// How many finished jobs are remembered
        pub history_max_jobs as "history_jobs": usize = 10_000, at_least(1);
        /// The most jobs that one worker is given before their containers run
        pub starts_per_worker: u32 = 64, at_least(1);
        /// Whose turn it is: usage (GPU time with a half-life), recency (DoPQ 1.0's, by finished jobs) or fifo
        pub policy as "penalty": Policy = Policy::Usage;
        /// How usage is charged and ranked
        pub usage as "": UsageSettings = UsageSettings::default();
        /// Which of the machines that fit is taken; not configurable
        pub placement: Placement = Placement::Default;
        /// Order of one user's jobs and of candidates for backfill: slowdown (largest slowdown first, shortest first in
        /// backfill) or submission
        pub order: JobOrder = JobOrder::Slowdown;
        /// Behind a job that cannot start: easy (a place is kept for it), best_effort (what fits runs) or strict (all
        /// wait)
        pub backfill: Backfill = Backfill::Easy;
        /// How many jobs are looked at behind one that a place is kept for
        pub backfill_window: usize = 256, at_least(1);
        /// How long a job is planned to run, for keeping places, that has no time_request, no time_limit and no earlier
        /// runs like it
        pub assumed_runtime: Duration = DAY, at_least(Duration::from_secs(1));
        /// A preemptible job runs at least for so long before an urgent one, or one within a floor, may take its place
        pub preempt_after: Duration = Duration::from_secs(600);
    }
}

crate::settings! {
    /// How usage is charged and ranked.
    #[derive(Debug, Clone, PartialEq)]
    pub struct UsageSettings {
        /// After so long half of a user's usage is forgotten
        pub half_life: Duration = DAY, at_least(Duration::from_secs(1));
        /// Each attempt is charged at least for so long
        pub min_charge: Duration = Duration::from_secs(60);
        /// What a second on a GPU counts, by a part of its model's name, such as h100=4,a100=2; 1 for others
        pub gpu_weights: Vec<(String, f64)> = Vec::new();
        /// What a whole machine's CPU or memory counts for a job without GPU
        pub cpu_weight: f64 = 0.1;
        /// How much the share of all GPUs that the next job asks for counts against its user
        pub ask_weight: f64 = 0.001;
        /// The most that waiting counts for a user
        pub aging: f64 = 0.001;
        /// How long a job waits until it counts that much
        pub aging_after: Duration = DAY, at_least(Duration::from_secs(1));
    }
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

impl Named for Backfill {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("easy", Self::Easy),
        ("best_effort", Self::BestEffort),
        ("strict", Self::Strict),
    ];
}

impl Named for JobOrder {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("slowdown", Self::Slowdown),
        ("submission", Self::Submission),
    ];
}

impl Named for Policy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("usage", Self::Usage),
        ("recency", Self::Recency),
        ("fifo", Self::Fifo),
    ];
}

/// Chosen by comparisons only: it has no key.
impl Field for Placement {
    type Item = Self;

    fn describe(&self, _name: &str, _help: &'static str, _keys: &mut Vec<Key>) {}

    fn fill(
        &mut self,
        _name: &str,
        _layers: &mut Layers,
        _bounds: impl Fn(&Self) -> Result<(), String>,
    ) {
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// GPUs held at once.
    #[serde(rename = "max_gpus_milli", skip_serializing_if = "Option::is_none")]
    pub max_gpus: Option<MilliGpu>,
    /// Jobs active at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Jobs waiting at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// GPUs that are guaranteed: jobs that keep what is held within it go first.
    #[serde(rename = "floor_gpus_milli", skip_serializing_if = "Option::is_none")]
    pub floor: Option<MilliGpu>,
}
