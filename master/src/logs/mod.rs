//! Reads the log of a job: stored chunks and the worker's live tail, joined byte by byte.
//!
//! [`Joiner`] is the pure part: it takes pieces of one attempt's stream in any order and gives the stream
//! back. [`Reader`] feeds it, over all attempts of a job. Turning frames into events or text is left to
//! [`crate::http`], and what the frames mean to [`dopq_common::wire::log`].

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
