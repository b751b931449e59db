//! The zip: validation and iteration.
//!
//! `layout` finds the directory, `directory` reads it with the local headers, `names` has the rules on names,
//! `content` counts the bytes, `inspect` combines them, `files` gives the entries to a build. DoPQ parses the archive
//! itself, because ordinary readers sanitise hostile names and merge duplicates, and so hide what must be refused.

mod bytes;
mod content;
mod directory;
mod files;
mod inspect;
mod layout;
mod names;
#[cfg(test)]
mod raw_zip;
mod root;
#[cfg(test)]
mod tests;

pub use files::{EntryInfo, Files, FilesError};
pub use inspect::{Inspected, inspect};

use std::io;

use super::Fault;

/// The rule of the only fault that is not the bundle's: reading the file failed.
pub const UNREADABLE: &str = "unreadable";

/// A read error of the archive, as a fault with its own rule.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unreadable(error: io::Error) -> Fault {
    Fault::new(UNREADABLE, "", format!("it cannot be read: {error}"))
}
