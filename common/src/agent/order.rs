//! Reads an order envelope into an event.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Epoch, ParseIdError};
use crate::job::Outcome;
use crate::wire;

use super::event::Event;
use super::run::{Run, Unreadable};

/// What a master tells the agent to do with an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Take it on; an order that cannot be read is refused.
    Run(Result<Arc<Run>, Unreadable>),
    /// End it.
    Stop {
        /// How it is to be reported once ended.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
    },
    /// Freeze its container.
    Pause,
    /// Thaw its container.
    Unpause,
    /// Its end is committed, or it is stale: forget it.
    Forget,
}

/// An envelope that is no order for this agent.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON of the right shape.
    #[error("cannot parse the order")]
    Shape(#[source] serde_json::Error),
    /// The attempt's id breaks a rule.
    #[error("the order's attempt id is invalid")]
    Attempt(#[source] ParseIdError),
    /// A newer master sent a kind that this version does not know.
    #[error("the order for attempt {0} is of an unknown kind")]
    Kind(AttemptId),
}

/// Reads the bytes of an [`wire::OrderEnvelope`].
///
/// # Errors
/// [`ReadError`] when they are no order that this version knows; such a message is counted and dropped.
pub fn read(bytes: &[u8]) -> Result<Event, ReadError> {
    let envelope: wire::OrderEnvelope = serde_json::from_slice(bytes).map_err(ReadError::Shape)?;
    let attempt = envelope.attempt.parse().map_err(ReadError::Attempt)?;
    let order = match envelope.order {
        wire::Order::Run(order) => Order::Run(Run::read(*order).map(Arc::new)),
        wire::Order::Stop { outcome, grace_ms } => Order::Stop {
            outcome: Outcome::from(&outcome),
            grace: Duration::from_millis(grace_ms),
        },
        wire::Order::Pause => Order::Pause,
        wire::Order::Unpause => Order::Unpause,
        wire::Order::Forget => Order::Forget,
        wire::Order::Unknown => return Err(ReadError::Kind(attempt)),
    };
    Ok(Event::Ordered {
        epoch: Epoch(envelope.epoch),
        attempt,
        order,
    })
}
