//! Fills the board with what the read model and the broker's link tell about the parts they know.

use dopq_common::broker::{Broker, Link};
use dopq_common::time::Timestamp;
use tokio::time::Instant;

use super::board::{Board, Part, PartState};
use crate::view::{Role, View};

/// Notes on `board` how the leader, the scheduler, the store and the broker are doing.
pub fn look(board: &Board, view: &View, broker: &Broker, now: Timestamp) {
    let (role, fault, epoch, lock) = view.read(|model| {
        let lock = model.state.meta().lock.clone();
        let lock = lock.filter(|lock| lock.until > now);
        (
            model.role.clone(),
            model.store_fault.clone(),
            model.epoch,
            lock,
        )
    });
    let (state, detail) = match &role {
        Role::Leader => (PartState::Up, format!("this master leads, epoch {epoch}")),
        Role::Standby {
            leader_url: Some(url),
        } => (PartState::Up, format!("{url} leads")),
        Role::Standby { leader_url: None } => (PartState::Down, "no leader is known".to_owned()),
    };
    board.set(now, Part::Leader, state, detail);
    let (state, detail) = match (&role, lock) {
        (Role::Standby { .. }, _) => (PartState::Off, "the leader's decides".to_owned()),
        (Role::Leader, Some(lock)) => (
            PartState::Degraded,
            format!(
                "locked by {} until {}: {}",
                lock.by, lock.until, lock.reason
            ),
        ),
        (Role::Leader, None) => (PartState::Up, "places jobs".to_owned()),
    };
    board.set(now, Part::Scheduler, state, detail);
    let (state, detail) = match fault {
        Some(fault) => (PartState::Down, fault),
        None => (PartState::Up, "takes commits".to_owned()),
    };
    board.set(now, Part::Store, state, detail);
    let kind = match broker {
        Broker::Inproc(_) => "in process",
        Broker::Amqp(_) => "RabbitMQ",
    };
    let (state, detail) = match &*broker.link().borrow() {
        Link::Up => (PartState::Up, kind.to_owned()),
        Link::Blocked => (
            PartState::Degraded,
            format!("{kind} takes no messages for now: its memory or disk alarm"),
        ),
        Link::Down { since, why } => {
            let seconds = Instant::now().saturating_duration_since(*since).as_secs();
            (PartState::Down, format!("{kind}, for {seconds} s: {why}"))
        }
    };
    board.set(now, Part::Broker, state, detail);
}
