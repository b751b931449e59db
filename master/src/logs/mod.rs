//! Reads the log of a job: stored chunks and the worker's live tail, joined byte by byte.
//!
//! [`Joiner`] is pure: it accepts pieces of one attempt's stream in any order and returns the stream. [`Reader`]
//! feeds it, over all attempts of a job. [`crate::http`] turns frames into events or text. The format is in
//! [`dopq_common::wire::log`].

mod frames;
mod join;
mod place;
mod reader;
mod tail;

pub use frames::{Entry, Frames};
pub use join::Joiner;
pub use place::{ParsePlaceError, Place};
pub use reader::{Error, Item, Reader, Sources, Want};
pub use tail::{LastLines, without_lines};
