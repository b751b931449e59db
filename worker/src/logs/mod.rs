//! An attempt's log on its way from the build and the container to the masters.
//!
//! [`spool`] keeps it on disk, which is also the cursor; [`mod@capture`] fills it from the engine;
//! [`upload`] stores it in pieces and sends its tail to those who follow it.

mod capture;
mod spool;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use capture::{CaptureError, capture};
pub(crate) use spool::Piece;
pub(crate) use upload::{Log, Voice};
