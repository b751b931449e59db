//! An attempt's log on its way from the build and the container to the masters.
//!
//! [`spool`] keeps it on disk, which is also the cursor; [`mod@capture`] fills it from the engine;
//! [`mod@gpu_memory`] finds in its end what no
//! exit code tells; [`upload`] stores it in pieces and sends its tail to those who follow it; [`early`] keeps requests
//! to follow a log that is not open yet.

mod capture;
mod early;
mod gpu_memory;
mod spool;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use capture::{CaptureError, capture};
pub(crate) use early::EarlyFollowers;
pub(crate) use gpu_memory::ran_out;
pub(crate) use spool::Piece;
pub(crate) use upload::{LivePublisher, Log};
