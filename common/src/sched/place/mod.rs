//! The planning pass: gives queued jobs their nodes, makes reservations, stops jobs for those that go first.

mod assign;
pub(crate) mod blocker;
mod candidates;
mod nodes;
pub(crate) mod outrank;
mod pass;
pub(crate) mod planner;
mod preempt;
pub(crate) mod stop;
