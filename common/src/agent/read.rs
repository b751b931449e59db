//! Reads an order envelope into events.

use serde::Deserialize;

use crate::id::{AttemptId, Epoch, WorkerId};
use crate::wire::{self, AttemptOrder, Order, ToWorker, Upcoming, WorkerKey};

use super::event::Event;
use super::run::Unreadable;

/// A message, or one order in it, that is not for this agent.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No master said it to this worker.
    #[error(transparent)]
    Seal(#[from] wire::Unsealed),
    /// The whole message is refused.
    #[error(transparent)]
    Envelope(#[from] wire::EnvelopeError),
    /// It is not JSON of the right shape.
    #[error("cannot parse the order")]
    Shape(#[source] serde_json::Error),
    /// A newer master sent a kind that this version does not know.
    #[error("the order for attempt {0} is of an unknown kind")]
    Kind(AttemptId),
}

/// The orders of one message.
#[derive(Debug)]
pub struct Orders {
    /// The leadership that gave them.
    pub epoch: Epoch,
    /// Each of them, or why that one is dropped.
    pub orders: Vec<Result<Event, ReadError>>,
}

/// Opens the seal of a [`wire::OrderEnvelope`] to `worker` and reads it.
///
/// # Errors
/// [`ReadError::Seal`] and [`ReadError::Envelope`] when nothing in it can be believed or read.
pub fn read(key: &WorkerKey, worker: &WorkerId, sealed: &[u8]) -> Result<Orders, ReadError> {
    let bytes = key.open_to(ToWorker::Orders, worker, sealed)?;
    let envelope: wire::OrderEnvelope = wire::read_envelope(bytes)?;
    let orders = envelope.orders.iter();
    let orders = orders.map(|order| ordered(envelope.epoch, order.get()));
    Ok(Orders {
        epoch: envelope.epoch,
        orders: orders.collect(),
    })
}

/// Opens the seal of an [`Upcoming`] to `worker` and reads it.
///
/// # Errors
/// [`ReadError::Seal`] and [`ReadError::Envelope`] when it cannot be believed or read.
pub fn read_upcoming(
    key: &WorkerKey,
    worker: &WorkerId,
    sealed: &[u8],
) -> Result<Upcoming, ReadError> {
    let bytes = key.open_to(ToWorker::Upcoming, worker, sealed)?;
    Ok(wire::read_envelope(bytes)?)
}

fn ordered(epoch: Epoch, text: &str) -> Result<Event, ReadError> {
    match serde_json::from_str(text) {
        Ok(AttemptOrder {
            attempt,
            order: Order::Unknown,
        }) => Err(ReadError::Kind(attempt)),
        Ok(AttemptOrder { attempt, order }) => Ok(Event::Ordered {
            epoch,
            attempt,
            order: Ok(order),
        }),
        Err(error) => unreadable(epoch, text, error),
    }
}

/// An order to run that cannot be read is still refused by name, so that its job does not wait for ever.
fn unreadable(epoch: Epoch, text: &str, error: serde_json::Error) -> Result<Event, ReadError> {
    #[derive(Deserialize)]
    struct Addressed {
        attempt: AttemptId,
        order: Kind,
    }
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    match serde_json::from_str(text) {
        Ok(Addressed { attempt, order }) if order.kind == "run" => Ok(Event::Ordered {
            epoch,
            attempt,
            order: Err(Unreadable::Shape(error.to_string())),
        }),
        Ok(_) | Err(_) => Err(ReadError::Shape(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-00112233445566778899aabbccddeeff";

    fn read(text: &[u8]) -> Result<Orders, ReadError> {
        let worker: WorkerId = "w".parse().expect("a name");
        let key = wire::ClusterKey::from_secret("s").own(&worker, "1");
        super::read(&key, &worker, &key.seal_to(ToWorker::Orders, &worker, text))
    }

    #[test]
    fn one_bad_order_hides_no_other() {
        let text = br#"{"version":1,"epoch":3,"orders":[
            {"attempt":"7.1-00112233445566778899aabbccddeeff","order":{"kind":"forget"}},
            {"attempt":"7.1","order":{"kind":"forget"}},
            {"attempt":"8.1-00112233445566778899aabbccddeeff","order":{"kind":"stop"}},
            {"attempt":"8.2-00112233445566778899aabbccddeeff","order":{"kind":"run","user":"../root"}},
            {"attempt":"9.1-00112233445566778899aabbccddeeff","order":{"kind":"of the future"}},
            "no order",
            {"attempt":"10.1-00112233445566778899aabbccddeeff","order":{"kind":"pause"},"later":1}]}"#;
        let read = read(text).expect("an envelope");
        assert_eq!(read.epoch, Epoch(3));
        let read: Vec<Result<String, ReadError>> = read
            .orders
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
                    Err(ReadError::Shape(_)),
                    Err(ReadError::Shape(_)),
                    Ok(refused),
                    Err(ReadError::Kind(_)),
                    Err(ReadError::Shape(_)),
                    Ok(last),
                ] if *first == format!("3 7.1{KEY}")
                    && *refused == format!("3 8.2{KEY}")
                    && *last == format!("3 10.1{KEY}")
            ),
            "{read:?}"
        );
    }

    #[test]
    fn a_message_of_a_version_too_far_away_is_refused_as_a_whole() {
        let refused = read(br#"{"version":3,"epoch":3,"orders":[]}"#);
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains("has version 3"), "{error}");
    }

    #[test]
    fn orders_that_no_master_sealed_are_refused() {
        let worker: WorkerId = "w".parse().expect("a name");
        let key = wire::ClusterKey::from_secret("s").own(&worker, "1");
        let stop = br#"{"version":1,"epoch":3,"orders":[]}"#;
        let refused = super::read(&key, &worker, stop);
        assert!(matches!(refused, Err(ReadError::Seal(_))), "{refused:?}");
    }

    #[test]
    fn upcoming_attempts_are_believed_only_under_their_own_seal() {
        let worker: WorkerId = "w".parse().expect("a name");
        let key = wire::ClusterKey::from_secret("s").own(&worker, "1");
        let text = br#"{"version":1,"epoch":3,"number":1,"runs":[]}"#;
        let sealed = key.seal_to(ToWorker::Upcoming, &worker, text);
        let read = super::read_upcoming(&key, &worker, &sealed).expect("a list");
        assert_eq!((read.epoch, read.number), (Epoch(3), 1));
        let other: WorkerId = "v".parse().expect("a name");
        for forged in [
            text.to_vec(),
            key.seal_to(ToWorker::Orders, &worker, text),
            key.seal_to(ToWorker::Upcoming, &other, text),
        ] {
            let refused = super::read_upcoming(&key, &worker, &forged);
            assert!(matches!(refused, Err(ReadError::Seal(_))), "{refused:?}");
        }
    }
}
