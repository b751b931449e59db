//! The figures of a replay: waits, slowdowns, utilisation, and users' distance from their fair share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::id::UserName;

/// The minimum run time for slowdowns, so that trivial jobs do not dominate.
const SLOWDOWN_BOUND_SECONDS: f64 = 10.0;

/// One job's actual times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) waited: Duration,
    pub(super) ran: Duration,
    /// The held GPUs, in whole GPUs.
    pub(super) gpus: f64,
}

/// The figures of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Jobs that ran.
    pub jobs: u64,
    /// Jobs that fit on no machine.
    pub refused: u64,
    /// From the first submission to the last end.
    pub makespan_seconds: f64,
    /// The fraction of all GPU time that jobs used.
    pub utilisation: f64,
    /// Waits.
    pub wait_seconds: Waits,
    /// Mean of (wait + run) / run, with runs of at least 10 s, at least 1.
    pub mean_bounded_slowdown: f64,
    /// The largest shortfall of a user against an equal share of the demand, as a fraction of the cluster, averaged over
    /// the makespan.
    pub largest_share_gap: f64,
    /// Jobs that started after the time of their reservation; unknown for a past that was not replayed.
    pub late_starts: Option<u64>,
}

/// How long jobs waited, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waits {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    pub(super) fn new(
        runs: Vec<Run>,
        gpus: u32,
        makespan: Duration,
        fairness: &Fairness,
        refused: u64,
        late_starts: Option<u64>,
    ) -> Self {
        let makespan_seconds = makespan.as_secs_f64();
        let offered = makespan_seconds * f64::from(gpus);
        let used = runs.iter().map(|run| run.ran.as_secs_f64() * run.gpus);
        let used: f64 = used.sum();
        let slowdowns = runs.iter().map(|run| {
            let ran = run.ran.as_secs_f64();
            let whole = run.waited.as_secs_f64() + ran;
            (whole / ran.max(SLOWDOWN_BOUND_SECONDS)).max(1.0)
        });
        let mean_bounded_slowdown = mean(slowdowns);
        let mut waits: Vec<f64> = runs.iter().map(|run| run.waited.as_secs_f64()).collect();
        waits.sort_by(f64::total_cmp);
        Self {
            jobs: u64::try_from(runs.len()).unwrap_or(u64::MAX),
            refused,
            makespan_seconds,
            utilisation: if offered > 0.0 { used / offered } else { 0.0 },
            wait_seconds: Waits {
                mean: mean(waits.iter().copied()),
                p50: percentile(&waits, 50),
                p90: percentile(&waits, 90),
                p99: percentile(&waits, 99),
                max: percentile(&waits, 100),
            },
            mean_bounded_slowdown,
            largest_share_gap: fairness.largest_gap(makespan),
            late_starts,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The nearest-rank percentile of sorted values; 0 if there are none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Compares what users hold with an equal share of the demand, over time.
#[derive(Debug, Clone)]
pub(super) struct Fairness {
    gpus: f64,
    users: BTreeMap<UserName, Stake>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stake {
    held: f64,
    waiting: f64,
    /// GPU-seconds below the fair share.
    lacked: f64,
}

impl Fairness {
    pub(super) fn new(gpus: u32) -> Self {
        Self {
            gpus: f64::from(gpus),
            users: BTreeMap::new(),
        }
    }

    fn stake(&mut self, user: &UserName) -> &mut Stake {
        self.users.entry(user.clone()).or_default()
    }

    pub(super) fn ask(&mut self, user: &UserName, gpus: f64) {
        self.stake(user).waiting += gpus;
    }

    pub(super) fn give_up(&mut self, user: &UserName, gpus: f64) {
        self.stake(user).waiting -= gpus;
    }

    pub(super) fn begin(&mut self, user: &UserName, gpus: f64) {
        let stake = self.stake(user);
        stake.waiting -= gpus;
        stake.held += gpus;
    }

    pub(super) fn end(&mut self, user: &UserName, gpus: f64) {
        self.stake(user).held -= gpus;
    }

    pub(super) fn pass(&mut self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let level = self.level();
        for stake in self.users.values_mut() {
            let entitled = (stake.held + stake.waiting).min(level);
            stake.lacked += (entitled - stake.held).max(0.0) * time.as_secs_f64();
        }
    }

    /// The GPUs that one user is entitled to if all share equally. Users who ask for less leave the rest to the others.
    fn level(&self) -> f64 {
        let asked = self.users.values().map(|stake| stake.held + stake.waiting);
        let mut asked: Vec<f64> = asked.filter(|asked| *asked > 0.0).collect();
        asked.sort_by(f64::total_cmp);
        let mut left = self.gpus;
        let mut sharers = asked.iter().fold(0.0, |count, _| count + 1.0);
        for asked in asked {
            let equal: f64 = left / sharers;
            if asked >= equal {
                return equal;
            }
            left -= asked;
            sharers -= 1.0;
        }
        self.gpus
    }

    fn largest_gap(&self, makespan: Duration) -> f64 {
        let all = self.gpus * makespan.as_secs_f64();
        let lacked = self.users.values().map(|stake| stake.lacked);
        let most = lacked.fold(0.0, f64::max);
        if all > 0.0 { most / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let found = [50, 90, 99].map(|percent| percentile(&values, percent));
        assert!(found.iter().eq(&[5.0, 9.0, 10.0]));
        assert!(percentile(&[], 50).abs() < f64::EPSILON);
    }

    #[test]
    fn who_asks_for_less_leaves_it_to_the_others() {
        let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut fairness = Fairness::new(10);
        fairness.ask(&a, 2.0);
        fairness.begin(&a, 2.0);
        fairness.ask(&b, 20.0);
        assert!((fairness.level() - 8.0).abs() < 1e-9);
        fairness.pass(Duration::from_secs(5));
        assert!((fairness.largest_gap(Duration::from_secs(5)) - 0.8).abs() < 1e-9);
    }
}
