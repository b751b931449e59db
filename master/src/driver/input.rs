//! What reaches the owner of the state, and how its sender is answered.

use dopq_common::broker::Delivery;
use dopq_common::sched::{Event, Submission};
use tokio::sync::{mpsc, oneshot};

use super::handle::{Accepted, ActError};
use crate::store::{AccountChange, AuditEntry, IngestMark};

/// So many inputs may wait while a commit is under way, a few full batches. When they do, further
/// senders wait for room, which is how pressure reaches HTTP clients and the broker.
pub(super) const INPUTS_MAX: usize = 2048;

/// Where an answer goes. Nobody may be waiting any more, which is no fault.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ActError>>;

/// One input.
#[derive(Debug)]
pub(super) enum Input {
    /// A job to take.
    Submit {
        submission: Box<Submission>,
        mark: Option<IngestMark>,
        reply: Reply<Accepted>,
    },
    /// An event of an authenticated person.
    Act {
        event: Box<Event>,
        audit: AuditEntry,
        reply: Reply<()>,
    },
    /// A change of an account.
    Account {
        change: AccountChange,
        audit: AuditEntry,
        reply: Reply<()>,
    },
    /// One message of a worker's reports, acknowledged after their commit.
    Reports {
        events: Vec<Event>,
        delivery: Delivery,
    },
}

impl Input {
    /// Answers that nothing was done. Reports are given back to the broker.
    pub(super) fn refuse(self, error: ActError) {
        match self {
            Self::Submit { reply, .. } => answer(reply, Err(error)),
            Self::Act { reply, .. } | Self::Account { reply, .. } => answer(reply, Err(error)),
            Self::Reports { delivery, .. } => drop(delivery),
        }
    }
}

pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, ActError>) {
    // The asker may have given up waiting; the commit stands all the same.
    drop(reply.send(result));
}

/// The receiving end of every [`super::Handle`]; exactly one exists.
#[derive(Debug)]
pub struct Inputs(mpsc::Receiver<Input>);

impl Inputs {
    pub(super) fn new(receiver: mpsc::Receiver<Input>) -> Self {
        Self(receiver)
    }

    /// Waits for an input; pends for ever when every handle is gone, so that it can stand in a `select!`.
    pub(super) async fn next(&mut self) -> Input {
        match self.0.recv().await {
            Some(input) => input,
            None => std::future::pending().await,
        }
    }

    /// An input that is there already.
    pub(super) fn ready(&mut self) -> Option<Input> {
        self.0.try_recv().ok()
    }

    /// Refuses what comes, for as long as it is awaited: what a master does that does not lead.
    pub async fn refuse_with(&mut self, error: impl Fn() -> ActError) {
        loop {
            self.next().await.refuse(error());
        }
    }

    /// Refuses what is there already.
    pub(super) fn refuse_ready(&mut self, error: impl Fn() -> ActError) {
        while let Some(input) = self.ready() {
            input.refuse(error());
        }
    }
}
