//! Whether a job fits on a machine, may start, when, and where best.

pub(crate) mod fits;
pub(crate) mod guard;
pub(crate) mod reserve;
pub(crate) mod run_times;
pub(crate) mod score;
