//! The state of the cluster and the indexes derived from it. Nothing here decides or plans.

pub(crate) mod clock_watch;
pub(crate) mod core;
pub(crate) mod counts;
pub(crate) mod expected_ends;
pub(crate) mod index;
pub(crate) mod node_load;
pub(crate) mod run_times;
pub(crate) mod step;
pub(crate) mod tasks;
pub(crate) mod user_queue;
