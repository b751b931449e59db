//! The scheduler: a pure state machine over jobs, users and workers.
//!
//! [`step()`] takes one event, changes the [`State`] and records what became dirty and what is to be
//! done in [`Effects`]. It reads no clock, draws no lots and does no I/O; the same events give the
//! same state everywhere. Committing changes and performing effects is left to the master's shell.

mod account;
mod array;
mod control;
mod desk;
mod effect;
mod ends;
mod entities;
mod event;
mod explain;
mod finish;
mod fit;
mod floor;
mod forecast;
mod group;
mod guard;
mod index;
mod invariant;
mod ledger;
mod liveness;
mod lookahead;
mod news;
mod order;
mod pass;
mod place;
mod preempt;
mod queue;
mod rank;
mod receipt;
mod reconcile;
mod remedy;
mod report;
mod reserve;
mod room;
mod runtimes;
mod score;
mod settings;
mod shape;
mod sought;
mod state;
mod step;
mod submit;
mod tally;
mod turn;
mod watch;

pub use account::{Account, account_of, group_account_of, penalty_of};
pub use effect::{Change, Dirty, Effect, Effects};
pub(crate) use ends::{Ends, began, ended};
pub use entities::{Cordon, Health, Meta, QueueLock, User, Worker};
pub use event::{Event, Known, Membership, Progress, Rejected, Submission};
pub use explain::{Explanation, Reason, explain, reasons};
pub use forecast::{Forecast, Start, Unforeseen, forecast};
pub use group::{Group, Holdings, group_holdings_of};
pub use invariant::check_invariants;
pub use queue::{Held, Waiting, held, queue};
pub use receipt::{Course, Line, Receipt, receipt};
pub use remedy::{Remedy, remedies};
pub use reserve::Reservation;
pub use runtimes::expected;
pub use settings::{Backfill, Guards, Placement, Policy, Settings, UsageSettings};
pub use state::{Blocked, State, Unstored};
pub use step::step;
pub use turn::{Turn, Turns};

#[cfg(test)]
mod tests;
