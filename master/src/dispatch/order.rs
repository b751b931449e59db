//! Fills an order from the committed state at the moment that it is sent, so that one which has been
//! overtaken by events is dropped rather than sent.

use std::time::Duration;

use dopq_common::id::{AttemptId, WorkerId};
use dopq_common::job::{Job, JobState, Outcome, Stage};
use dopq_common::resources::Allocation;
use dopq_common::sched::State;
use dopq_common::wire::{AttemptOrder, Order, RunOrder, UpcomingRun};

use crate::keys::NodeKeys;

/// What is ordered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Take the attempt on.
    Run,
    /// End it.
    Stop {
        /// How it is to be reported.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
        /// Whether the user cancels it again while it is being stored.
        insists: bool,
    },
    /// Forget it.
    Forget,
}

/// What every order of a leadership has in common.
#[derive(Debug)]
pub(super) struct Filler<'a> {
    pub(super) keys: &'a NodeKeys,
    pub(super) cluster: &'a str,
    pub(super) data_urls: &'a [String],
    pub(super) results_max_bytes: u64,
    pub(super) checkpoint_max_bytes: u64,
}

impl Filler<'_> {
    /// The order as it is sent; `None` when `state` no longer calls for it.
    pub(super) fn fill(
        &self,
        state: &State,
        worker: &WorkerId,
        attempt: AttemptId,
        kind: &Kind,
    ) -> Option<AttemptOrder> {
        // A worker that has been removed says what it knows when it joins again, and is then told.
        state.worker(worker)?;
        let order = match kind {
            Kind::Run => Order::Run(Box::new(self.run(state, worker, attempt)?)),
            Kind::Stop {
                outcome,
                grace,
                insists,
            } => Order::Stop {
                outcome: outcome.clone(),
                grace: *grace,
                insists: *insists,
            },
            Kind::Forget => Order::Forget,
        };
        Some(AttemptOrder { attempt, order })
    }

    fn run(&self, state: &State, worker: &WorkerId, attempt: AttemptId) -> Option<RunOrder> {
        let job = state.job(attempt.job)?;
        let JobState::Active(active, Stage::Assigned) = &job.state else {
            return None;
        };
        let wanted = job.attempt() == Some(attempt) && active.worker == *worker;
        let allocation = &active.allocation;
        (wanted && !active.confirmed)
            .then(|| self.run_order(state, job, allocation, worker, attempt))
    }

    /// An attempt that `worker` will probably be ordered to run; `None` once its job does not wait any more. Nothing is
    /// allocated to it.
    pub(super) fn expected(
        &self,
        state: &State,
        worker: &WorkerId,
        attempt: AttemptId,
    ) -> Option<UpcomingRun> {
        let job = state.job(attempt.job)?;
        let none = Allocation::default();
        let waits = job.next_attempt() == Some(attempt);
        waits.then(|| UpcomingRun {
            attempt,
            run: self.run_order(state, job, &none, worker, attempt),
        })
    }

    fn run_order(
        &self,
        state: &State,
        job: &Job,
        allocation: &Allocation,
        worker: &WorkerId,
        attempt: AttemptId,
    ) -> RunOrder {
        RunOrder {
            cluster: self.cluster.to_owned(),
            user: job.user.clone(),
            group: state.user(&job.user).and_then(|user| user.group.clone()),
            config: job.config.to_string(),
            bundle: job.bundle,
            allocation: allocation.clone(),
            array_index: job.task.map(|task| task.index),
            array_job: job.task.map(|task| task.array),
            token: self.keys.token(attempt, worker),
            data_urls: self.data_urls.to_vec(),
            results_max_bytes: Some(self.results_max_bytes),
            checkpoint_max_bytes: Some(self.checkpoint_max_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dopq_common::bundle::config;
    use dopq_common::id::{Digest, JobId, JobKey};
    use dopq_common::job::{Active, BundleRef, Cause, Queued};
    use dopq_common::resources::{ByteSize, Capacity, GpuShare, MilliCpu, MilliGpu};
    use dopq_common::sched::{Change, Health, Settings, Worker};
    use dopq_common::time::Timestamp;
    use dopq_common::wire::ClusterKey;

    use super::*;
    use crate::view::View;

    const CONFIG: &str = r#"{"name": "train", "executor_name": "anna", "required_memory": "1g"}"#;

    fn worker(text: &str) -> WorkerId {
        text.parse().expect("a name")
    }

    fn attempt(number: u32) -> AttemptId {
        AttemptId {
            job: JobId(7),
            number,
            key: JobKey([7; 16]),
        }
    }

    fn active(confirmed: bool) -> Active {
        Active {
            attempt: 2,
            worker: worker("w"),
            allocation: Allocation {
                gpus: vec![GpuShare {
                    id: "GPU-1".parse().expect("a name"),
                    milli: MilliGpu(500),
                }],
                cpu: MilliCpu(2000),
                memory: ByteSize(ByteSize::GIB),
            },
            assigned_at: Timestamp::from_millis(2),
            started_at: None,
            ended_at: None,
            confirmed,
            rate: dopq_common::penalty::usage::Rate::default(),
            gpu_model: None,
            expected: None,
        }
    }

    fn state(job_state: JobState) -> State {
        let mut state = State::new(Settings::default());
        state.apply(Change::Worker(Arc::new(Worker {
            id: worker("w"),
            session: Arc::from("s"),
            capacity: Capacity::default(),
            images: std::collections::BTreeSet::new(),
            joined_at: Timestamp::default(),
            health: Health::Up,
            cordon: None,
            closed: None,
            machine: Arc::default(),
            taken: std::collections::BTreeMap::new(),
        })));
        let spec = config::parse(CONFIG).expect("a configuration");
        state.apply(Change::Job(Arc::new(Job {
            id: JobId(7),
            key: JobKey([7; 16]),
            user: "anna".parse().expect("a name"),
            spec: Arc::new(spec),
            config: Arc::from(CONFIG),
            bundle: Some(BundleRef {
                digest: Digest([0xab; 32]),
                size_bytes: 9,
            }),
            submitted_at: Timestamp::from_millis(1),
            last_attempt: 2,
            priority: 0,
            retries_used: 0,
            faults: 0,
            task: None,
            state: job_state,
            timeline: Vec::new(),
            charges: Vec::new(),
            measured: Vec::new(),
        })));
        state
    }

    fn keys() -> NodeKeys {
        let key = ClusterKey::from_secret("a secret for tests");
        NodeKeys::new(key, View::new(Settings::default()), true)
    }

    fn filler<'a>(keys: &'a NodeKeys, data_urls: &'a [String]) -> Filler<'a> {
        Filler {
            keys,
            cluster: "lab",
            data_urls,
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
        }
    }

    fn fill(state: &State, to: &str, attempt: AttemptId, kind: &Kind) -> Option<AttemptOrder> {
        let urls = ["http://m:7070".to_owned()];
        filler(&keys(), &urls).fill(state, &worker(to), attempt, kind)
    }

    #[test]
    fn an_order_to_run_has_all_that_a_worker_needs() {
        let assigned = state(JobState::Active(active(false).into(), Stage::Assigned));
        let order = fill(&assigned, "w", attempt(2), &Kind::Run).expect("wanted");
        insta::assert_json_snapshot!(order);
    }

    #[test]
    fn an_order_to_run_is_dropped_once_it_is_overtaken() {
        let unconfirmed = || JobState::Active(active(false).into(), Stage::Assigned);
        let queued = JobState::Queued(Queued {
            since: Timestamp::default(),
            not_before: None,
            hold: None,
            avoid: None,
        });
        for (what, job_state, to, number) in [
            (
                "confirmed",
                JobState::Active(active(true).into(), Stage::Assigned),
                "w",
                2,
            ),
            (
                "running",
                JobState::Active(active(true).into(), Stage::Running),
                "w",
                2,
            ),
            ("queued again", queued, "w", 2),
            ("an older attempt", unconfirmed(), "w", 1),
            ("a worker that is gone", unconfirmed(), "v", 2),
        ] {
            let order = fill(&state(job_state), to, attempt(number), &Kind::Run);
            assert_eq!(order, None, "{what}");
        }
    }

    #[test]
    fn the_next_attempt_of_a_waiting_job_is_expected_and_holds_nothing() {
        let queued = JobState::Queued(Queued {
            since: Timestamp::default(),
            not_before: None,
            hold: None,
            avoid: None,
        });
        let keys = keys();
        let filler = filler(&keys, &[]);
        let expected =
            |state: &State, number| filler.expected(state, &worker("w"), attempt(number));
        let waits = state(queued);
        let run = expected(&waits, 3).expect("it waits").run;
        assert_eq!(run.allocation, Allocation::default());
        let token = keys.token(attempt(3), &worker("w"));
        assert!(token.matches(run.token.reveal()));
        assert_eq!(expected(&waits, 2), None, "that one is over");
        let runs = state(JobState::Active(active(true).into(), Stage::Running));
        assert_eq!(expected(&runs, 3), None, "it does not wait");
    }

    #[test]
    fn what_ends_an_attempt_is_sent_whatever_became_of_its_job() {
        let running = state(JobState::Active(active(true).into(), Stage::Running));
        let stop = Kind::Stop {
            outcome: Outcome::new(Cause::TimeLimit, "it ran for 1 h"),
            grace: Duration::from_millis(1500),
            insists: false,
        };
        let order = fill(&running, "w", attempt(1), &stop).expect("sent");
        assert_eq!(order.attempt, attempt(1));
        let Order::Stop { outcome, grace, .. } = order.order else {
            panic!("{order:?}");
        };
        assert_eq!((outcome.cause, grace.as_millis()), (Cause::TimeLimit, 1500));
        let order = fill(&running, "w", attempt(1), &Kind::Forget).expect("sent");
        assert_eq!(order.order, Order::Forget);
        assert_eq!(fill(&running, "gone", attempt(1), &Kind::Forget), None);
    }
}
