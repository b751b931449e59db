//! What happens on each kind of event.

pub(crate) mod array;
pub(crate) mod control;
pub(crate) mod finish;
pub(crate) mod group;
pub(crate) mod liveness;
pub(crate) mod reconcile;
pub(crate) mod report;
pub(crate) mod step;
pub(crate) mod submit;
