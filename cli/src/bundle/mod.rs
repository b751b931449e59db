//! Bundles on this side: a folder becomes a zip, always the same for the same content; results become
//! a folder again.
//!
//! Whether a bundle is acceptable is decided by `dopq_common::bundle::archive` alone.

mod content;
mod density;
mod error;
mod pack;
mod unpack;
mod walk;

pub(crate) use content::Content;
pub(crate) use error::Error;
pub(crate) use pack::{Packed, pack};
pub(crate) use unpack::{UnpackError, Unpacked, unpack};
