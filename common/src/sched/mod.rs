//! The scheduler: a pure state machine over jobs, users and workers.
//!
//! [`step()`] takes one event, changes the [`State`] and records what became dirty and what is to be
//! done in [`Effects`]. It reads no clock, draws no lots and does no I/O; the same events give the
//! same state everywhere. Committing changes and performing effects is left to the master's shell.

mod answers;
mod events;
mod fit;
mod invariant;
mod model;
mod place;
mod rank;
mod state;

pub use answers::explain::{Explanation, explain};
pub use answers::forecast::{Forecast, Start, Unforeseen, forecast};
pub use answers::holdings::{Holdings, group_holdings_of};
pub use answers::queue::{Held, Waiting, held, queue};
pub use answers::reasons::{Reason, reasons};
pub use answers::receipt::{Course, Line, Receipt, receipt};
pub use answers::remedy::{Remedy, remedies};
pub use answers::turn::{Turn, Turns};
pub use answers::upcoming::upcoming;
pub use events::dispatch::step;
pub use invariant::check_invariants;
pub use model::effect::{Change, Dirty, Effect, Effects};
pub use model::entities::{Cordon, Drain, Group, Health, Machine, Meta, QueueLock, User, Worker};
pub use model::event::{Event, Membership, Progress, Rejected, Submission};
pub use model::reservation::{Blocked, Reservation};
pub use model::settings::{Backfill, Guards, JobOrder, Placement, Policy, Settings, UsageSettings};
pub use place::planner::Planner;
pub use rank::account::{Account, account_of, group_account_of, penalty_of};
pub use state::core::{State, Unstored};
pub(crate) use state::expected_ends::{Ends, began, ended};
pub use state::run_times::expected;

#[cfg(test)]
mod tests;
