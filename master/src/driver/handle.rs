//! What other tasks hold of the driver: submit, act, change accounts, read.
//!
//! Every call resolves after the commit that made it durable. The inputs themselves are private.

use std::time::Duration;

use dopq_common::broker::Delivery;
use dopq_common::id::JobId;
use dopq_common::sched::{Event, Rejected, Submission};
use tokio::sync::{mpsc, oneshot};

use super::input::{INPUTS_MAX, Input, Inputs, Reply};
use crate::store::{AccountChange, AuditEntry, IngestMark};
use crate::view::View;

/// How long a caller waits for the commit before it is told that the store does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A configuration that is longer than this once it is written into an order is refused, because the
/// broker carries 64 KiB and the order's other fields take less than the rest.
const CONFIG_MAX_BYTES: usize = 48 * 1024;

/// The answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The job.
    pub job: JobId,
    /// False when its key had already given this job.
    pub new: bool,
}

/// A submission that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master is not the leader")]
    NotLeader {
        /// Where the leader answers, when one is known.
        leader_url: Option<String>,
    },
    /// The store cannot be written for now; whether it was taken is open, so repeat it with its key.
    #[error("the store rejects writes: {0}")]
    Unavailable(String),
}

/// An action that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The scheduler refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another master leads.
    #[error("this master is not the leader")]
    NotLeader {
        /// Where the leader answers, when one is known.
        leader_url: Option<String>,
    },
    /// The store cannot be written for now; whether it was done is open.
    #[error("the store rejects writes: {0}")]
    Unavailable(String),
}

impl From<ActError> for SubmitError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Rejected(rejected) => Self::Rejected(rejected),
            ActError::NotLeader { leader_url } => Self::NotLeader { leader_url },
            ActError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// Cheap to clone; how everybody else reaches the owner of the state.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    view: View,
}

/// A handle, and the inputs that it feeds, for [`crate::leader::run`].
#[must_use]
pub fn channel(view: View) -> (Handle, Inputs) {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    let handle = Handle {
        inputs: sender,
        view,
    };
    (handle, Inputs::new(receiver))
}

impl Handle {
    /// Submits a job; resolves after the commit.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was accepted unless it is `Unavailable`, which leaves that open.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, SubmitError> {
        self.take(submission, None).await
    }

    /// Submits a job that was found in a watched folder; the job and the mark that its file was taken
    /// are one commit.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_ingested(
        &self,
        submission: Submission,
        mark: IngestMark,
    ) -> Result<Accepted, SubmitError> {
        self.take(submission, Some(mark)).await
    }

    async fn take(
        &self,
        submission: Submission,
        mark: Option<IngestMark>,
    ) -> Result<Accepted, SubmitError> {
        check_config(&submission.config)?;
        let submission = Box::new(submission);
        let asked = self.ask(|reply| Input::Submit {
            submission,
            mark,
            reply,
        });
        Ok(asked.await?)
    }

    /// Gives the scheduler an event of an authenticated person, with its line in the audit log.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(&self, event: Event, audit: AuditEntry) -> Result<(), ActError> {
        let event = Box::new(event);
        self.ask(|reply| Input::Act {
            event,
            audit,
            reply,
        })
        .await
    }

    /// Changes an account, with its line in the audit log.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn change_account(
        &self,
        change: AccountChange,
        audit: AuditEntry,
    ) -> Result<(), ActError> {
        self.ask(|reply| Input::Account {
            change,
            audit,
            reply,
        })
        .await
    }

    /// Gives the scheduler the reports of one message; the delivery is acknowledged after the commit, and
    /// comes again when there is none.
    pub(crate) async fn report(&self, events: Vec<Event>, delivery: Delivery) {
        // When the owner is gone the process ends, and the broker delivers the message to the next one.
        drop(self.inputs.send(Input::Reports { events, delivery }).await);
    }

    /// The committed state, for readers.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    async fn ask<T>(&self, input: impl FnOnce(Reply<T>) -> Input) -> Result<T, ActError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.inputs.send(input(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(ActError::Unavailable("the master is stopping".to_owned())),
            Err(_) => Err(ActError::Unavailable(self.fault())),
        }
    }

    fn fault(&self) -> String {
        let fault = self.view.read(|model| model.store_fault.clone());
        fault.unwrap_or_else(|| format!("no commit within {} s", ANSWER_WITHIN.as_secs()))
    }
}

/// What no order could carry to a worker must not be accepted.
fn check_config(config: &str) -> Result<(), Rejected> {
    let escapes = config
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 2,
            0..0x20 | 0x7f => 6,
            _ => 1,
        })
        .sum::<usize>();
    if escapes <= CONFIG_MAX_BYTES {
        return Ok(());
    }
    Err(Rejected::Invalid(format!(
        "the configuration takes {escapes} bytes once it is written into an order, and at most \
         {CONFIG_MAX_BYTES} fit: move long values into files of the bundle"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_order_could_carry_is_refused() {
        assert!(check_config(&"x".repeat(CONFIG_MAX_BYTES)).is_ok());
        let error = check_config(&"\"".repeat(CONFIG_MAX_BYTES / 2 + 1)).expect_err("too long");
        assert!(matches!(error, Rejected::Invalid(_)));
    }
}
