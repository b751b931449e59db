//! Packs a folder into a zip, always the same for the same content, and unpacks results.
//!
//! `dopq_common::bundle::archive` alone decides whether a bundle is valid.

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
