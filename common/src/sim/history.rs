//! The figures of a cluster's actual past, comparable with those of a replay.

use std::time::Duration;

use super::stats::{Fairness, Report, Run};
use super::trace::TraceJob;

/// A finished job. Without a user it does not count for shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastJob {
    /// The job.
    pub job: TraceJob,
    /// How long it waited before it ran.
    pub waited: Duration,
}

/// An event of a job. At one time ends come first, so that nobody seems to hold what was just freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Ended,
    Submitted,
    Began,
}

/// The figures of the past on a cluster with this many GPUs. It has no reservations, so none were kept or broken.
#[must_use]
pub fn observed(past: &[PastJob], gpus: u32) -> Report {
    let mut moments: Vec<(Duration, Moment, usize)> = Vec::with_capacity(past.len() * 3);
    for (number, PastJob { job, waited, .. }) in past.iter().enumerate() {
        let began = job.submitted + *waited;
        moments.push((job.submitted, Moment::Submitted, number));
        moments.push((began, Moment::Began, number));
        moments.push((began + job.ran, Moment::Ended, number));
    }
    moments.sort_unstable();
    let mut fairness = Fairness::new(gpus);
    let first = moments.first().map_or(Duration::ZERO, |(at, ..)| *at);
    let mut now = first;
    for (at, moment, number) in moments {
        fairness.pass(at.saturating_sub(now));
        now = at;
        let job = past.get(number).map(|past| &past.job);
        let Some((job, user)) = job.and_then(|job| Some((job, job.user.as_ref()?))) else {
            continue;
        };
        match moment {
            Moment::Ended => fairness.end(user, job.held()),
            Moment::Submitted => fairness.ask(user, job.held()),
            Moment::Began => fairness.begin(user, job.held()),
        }
    }
    let runs = past.iter().map(|PastJob { job, waited, .. }| Run {
        waited: *waited,
        ran: job.ran,
        gpus: job.held(),
    });
    let makespan = now.saturating_sub(first);
    Report::new(runs.collect(), gpus, makespan, &fairness, 0, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Class;
    use crate::resources::MilliGpu;

    fn past(user: &str, submitted: u64, waited: u64, ran: u64, milli: u32) -> PastJob {
        PastJob {
            job: TraceJob {
                submitted: Duration::from_secs(submitted),
                ran: Duration::from_secs(ran),
                gpus: 1,
                gpu_amount: MilliGpu(milli),
                user: user.parse().ok(),
                class: Class::Normal,
                priority: 0,
            },
            waited: Duration::from_secs(waited),
        }
    }

    #[test]
    fn the_past_is_measured_as_a_replay_is() {
        // One GPU: Anna had all of it for 100 s while Bert waited, then Bert had half of it.
        let past = [
            past("anna", 50, 0, 100, 1000),
            past("bert", 50, 100, 100, 500),
        ];
        let report = observed(&past, 1);
        let figures = [
            report.makespan_seconds,
            report.utilisation,
            report.wait_seconds.mean,
            report.mean_bounded_slowdown,
            report.largest_share_gap,
        ];
        // Bert lacked the half that he asked for, half of the time.
        let expected = [200.0, 0.75, 50.0, 1.5, 0.25];
        let same = figures
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(same, "{figures:?}");
        assert_eq!((report.jobs, report.late_starts), (2, None));
        assert_eq!(observed(&[], 1).jobs, 0);
    }
}
