//! Inputs of the owner of the state, and the answers to their senders.

use dopq_common::broker::Delivery;
use dopq_common::sched::{Event, Submission};
use tokio::sync::{mpsc, oneshot};

use super::answer::{Accepted, ActError};
use crate::store::{AccountChange, AuditEntry, IngestMark};

/// Inputs that can wait during a commit: a few full batches. Further senders wait for space, so backpressure
/// reaches HTTP clients and the broker.
pub(super) const INPUTS_MAX: usize = 2048;

/// Where an answer goes. The receiver may be gone.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ActError>>;

/// One input.
#[derive(Debug)]
pub(super) enum Input {
    /// A submission.
    Submit {
        submission: Box<Submission>,
        mark: Option<IngestMark>,
        reply: Reply<Accepted>,
    },
    /// An authenticated user's event.
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
    /// A line for the audit log, of what changes no state.
    Audit { audit: AuditEntry, reply: Reply<()> },
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
            Self::Act { reply, .. } | Self::Account { reply, .. } | Self::Audit { reply, .. } => {
                answer(reply, Err(error));
            }
            Self::Reports { delivery, .. } => drop(delivery),
        }
    }
}

pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, ActError>) {
    // The sender may have stopped waiting; the commit stands.
    drop(reply.send(result));
}

/// The receiving end of every [`super::Handle`]; exactly one exists.
#[derive(Debug)]
pub struct Inputs(mpsc::Receiver<Input>);

impl Inputs {
    pub(super) fn new(receiver: mpsc::Receiver<Input>) -> Self {
        Self(receiver)
    }

    /// Waits for an input. Pends for ever without handles, so it can be used in `select!`.
    pub(super) async fn next(&mut self) -> Input {
        match self.0.recv().await {
            Some(input) => input,
            None => std::future::pending().await,
        }
    }

    /// An input that is ready now.
    pub(super) fn ready(&mut self) -> Option<Input> {
        self.0.try_recv().ok()
    }

    /// Refuses all inputs while it is awaited: what a standby does.
    pub async fn refuse_with(&mut self, error: impl Fn() -> ActError) {
        loop {
            self.next().await.refuse(error());
        }
    }

    /// Refuses the inputs that are ready now.
    pub(super) fn refuse_ready(&mut self, error: impl Fn() -> ActError) {
        while let Some(input) = self.ready() {
            input.refuse(error());
        }
    }
}
