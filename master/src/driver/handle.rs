//! The other tasks' handle on the driver: submit, act, change accounts, read.
//!
//! Every call resolves after the commit that makes it durable. Inputs are private.

use std::time::Duration;

use dopq_common::broker::Delivery;
use dopq_common::sched::{Event, Rejected, Submission};
use tokio::sync::{mpsc, oneshot};

use super::answer::{Accepted, ActError};
use super::input::{INPUTS_MAX, Input, Inputs, Reply};
use crate::store::{AccountChange, AuditEntry, IngestMark};
use crate::view::View;

/// Time-out of a caller that waits for the commit.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest configuration, as encoded in an order. The broker carries 64 KiB; the order's other fields
/// fit in the rest.
const CONFIG_MAX_BYTES: usize = 48 * 1024;

/// How all other tasks reach the owner of the state; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    view: View,
}

/// A handle and its receiving end, for [`crate::leader::run`].
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
    /// [`ActError`]. Nothing was accepted, except that `Unavailable` leaves it unknown.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, ActError> {
        self.take(submission, None).await
    }

    /// Submits a job from the share. One commit contains the job and the mark of its file.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_ingested(
        &self,
        submission: Submission,
        mark: IngestMark,
    ) -> Result<Accepted, ActError> {
        self.take(submission, Some(mark)).await
    }

    async fn take(
        &self,
        submission: Submission,
        mark: Option<IngestMark>,
    ) -> Result<Accepted, ActError> {
        check_config(&submission.config)?;
        let submission = Box::new(submission);
        self.ask(|reply| Input::Submit {
            submission,
            mark,
            reply,
        })
        .await
    }

    /// Sends the scheduler an authenticated user's event, with a line for the audit log.
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

    /// Changes an account, with a line for the audit log.
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

    /// Adds a line to the audit log; resolves after the commit.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn audit(&self, audit: AuditEntry) -> Result<(), ActError> {
        self.ask(|reply| Input::Audit { audit, reply }).await
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

/// Refuses a configuration that does not fit in an order.
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
