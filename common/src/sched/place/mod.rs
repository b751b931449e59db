//! The planning pass: gives waiting jobs their machines, reserves, preempts.

pub(crate) mod ledger;
pub(crate) mod news;
pub(crate) mod pass;
pub(crate) mod planner;
pub(crate) mod preempt;
pub(crate) mod sought;
