//! What follows from each kind of event: one file for each kind, and the dispatcher.

mod array;
mod control;
pub(crate) mod dispatch;
mod drain;
mod finish;
mod group;
mod liveness;
mod reconcile;
mod report;
pub(crate) mod submit;
