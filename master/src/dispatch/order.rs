//! Fills an order from the committed state at the moment that it is sent, so that one which has been
//! overtaken by events is dropped rather than sent.

use std::time::Duration;

use dopq_common::id::{AttemptId, Epoch, WorkerId};
use dopq_common::job::{JobState, Outcome};
use dopq_common::sched::State;
use dopq_common::wire::{ClusterKey, Order, OrderEnvelope, RunOrder, WIRE_VERSION, WireOutcome};

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
    },
    /// Forget it.
    Forget,
}

/// What every order of a leadership has in common.
#[derive(Debug)]
pub(super) struct Filler<'a> {
    pub(super) key: &'a ClusterKey,
    pub(super) cluster: &'a str,
    pub(super) data_urls: &'a [String],
    pub(super) epoch: Epoch,
}

impl Filler<'_> {
    /// The order as it is sent; `None` when `state` no longer calls for it.
    pub(super) fn fill(
        &self,
        state: &State,
        worker: &WorkerId,
        attempt: AttemptId,
        kind: &Kind,
    ) -> Option<OrderEnvelope> {
        // A worker that has been removed says what it knows when it joins again, and is then told.
        state.worker(worker)?;
        let order = match kind {
            Kind::Run => Order::Run(Box::new(self.run(state, worker, attempt)?)),
            Kind::Stop { outcome, grace } => Order::Stop {
                outcome: WireOutcome::from(outcome),
                grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            },
            Kind::Forget => Order::Forget,
        };
        Some(OrderEnvelope {
            version: WIRE_VERSION,
            epoch: self.epoch.0,
            attempt: attempt.to_string(),
            order,
        })
    }

    fn run(&self, state: &State, worker: &WorkerId, attempt: AttemptId) -> Option<RunOrder> {
        let job = state.job(attempt.job)?;
        let JobState::Assigned(active) = &job.state else {
            return None;
        };
        let wanted = job.attempt() == Some(attempt) && active.worker == *worker;
        (wanted && !active.confirmed).then(|| RunOrder {
            cluster: self.cluster.to_owned(),
            user: job.user.to_string(),
            config: job.config.to_string(),
            bundle: job.bundle.map(Into::into),
            allocation: (&active.allocation).into(),
            array_index: None,
            token: self.key.token(attempt, worker).as_str().to_owned(),
            data_urls: self.data_urls.to_vec(),
        })
    }
}
