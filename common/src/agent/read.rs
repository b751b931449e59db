//! Reads an order envelope into events.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Epoch, ParseIdError};
use crate::job::Outcome;
use crate::wire;

use super::event::Event;
use super::order::Order;
use super::run::Run;

/// A message, or one order in it, that is not for this agent.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The whole message is refused.
    #[error(transparent)]
    Envelope(#[from] wire::EnvelopeError),
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

/// Reads the bytes of a [`wire::OrderEnvelope`]: each of its orders, or why that one is dropped.
///
/// # Errors
/// [`ReadError::Envelope`] when nothing in it can be read.
pub fn read(bytes: &[u8]) -> Result<Vec<Result<Event, ReadError>>, ReadError> {
    let envelope: wire::OrderEnvelope = wire::read_envelope(bytes)?;
    let epoch = Epoch(envelope.epoch);
    let orders = envelope.orders.iter();
    Ok(orders.map(|order| ordered(epoch, order.get())).collect())
}

fn ordered(epoch: Epoch, text: &str) -> Result<Event, ReadError> {
    let given: wire::AttemptOrder = serde_json::from_str(text).map_err(ReadError::Shape)?;
    let attempt = given.attempt.parse().map_err(ReadError::Attempt)?;
    let order = match given.order {
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
        epoch,
        attempt,
        order,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-00112233445566778899aabbccddeeff";

    #[test]
    fn one_bad_order_hides_no_other() {
        let text = br#"{"version":1,"epoch":3,"orders":[
            {"attempt":"7.1-00112233445566778899aabbccddeeff","order":{"kind":"forget"}},
            {"attempt":"7.1","order":{"kind":"forget"}},
            {"attempt":"8.1-00112233445566778899aabbccddeeff","order":{"kind":"stop"}},
            {"attempt":"9.1-00112233445566778899aabbccddeeff","order":{"kind":"of the future"}},
            "no order",
            {"attempt":"10.1-00112233445566778899aabbccddeeff","order":{"kind":"pause"},"later":1}]}"#;
        let read: Vec<_> = super::read(text).expect("an envelope");
        let read: Vec<Result<String, ReadError>> = read
            .into_iter()
            .map(|order| {
                order.map(|event| match event {
                    Event::Ordered { epoch, attempt, .. } => format!("{epoch} {attempt}"),
                    other => panic!("{other:?}"),
                })
            })
            .collect();
        assert!(
            matches!(
                &read[..],
                [
                    Ok(first),
                    Err(ReadError::Attempt(_)),
                    Err(ReadError::Shape(_)),
                    Err(ReadError::Kind(_)),
                    Err(ReadError::Shape(_)),
                    Ok(last),
                ] if *first == format!("3 7.1{KEY}") && *last == format!("3 10.1{KEY}")
            ),
            "{read:?}"
        );
    }

    #[test]
    fn a_message_of_a_version_too_far_away_is_refused_as_a_whole() {
        let refused = super::read(br#"{"version":3,"epoch":3,"orders":[]}"#);
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains("has version 3"), "{error}");
    }
}
