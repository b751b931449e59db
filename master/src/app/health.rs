//! Keeps the board told of the broker's link, which nobody else watches all the time.

use dopq_common::broker::{Broker, Link};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::metrics::{Board, Part, PartState};

/// Watches until `shutdown`; `name` is what the broker is, for people.
pub(super) async fn watch_broker(
    broker: Broker,
    name: &'static str,
    board: Board,
    shutdown: CancellationToken,
) {
    let mut link = broker.link();
    loop {
        let (state, detail) = match &*link.borrow_and_update() {
            Link::Up => (PartState::Up, name.to_owned()),
            Link::Down { why, .. } => (PartState::Down, format!("{name}: {why}")),
            Link::Blocked => (
                PartState::Degraded,
                format!("{name} accepts no messages: its memory or disk alarm is on"),
            ),
        };
        match state {
            PartState::Up => tracing::info!("the broker is up"),
            PartState::Down | PartState::Degraded | PartState::Off => {
                tracing::warn!(detail, "waiting for the broker");
            }
        }
        board.set(clock::now(), Part::Broker, state, detail);
        let changed = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = link.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
