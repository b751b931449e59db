//! The zip itself: judged whole, and walked.
//!
//! `layout` finds the directory, `directory` reads it together with the local headers, `names` holds the
//! rules on names, `content` counts what comes out, `inspect` puts them together, `walk` gives the entries
//! to a build. The archive is parsed here and nowhere else: ordinary readers make hostile names harmless and
//! merge duplicates, and so hide what must be refused.

mod bytes;
mod content;
mod directory;
mod inspect;
mod layout;
mod names;
#[cfg(test)]
mod raw_zip;
mod root;
#[cfg(test)]
mod tests;
mod walk;

pub use inspect::{Inspected, inspect};
pub use walk::{EntriesError, EntryInfo, entries};

use std::io;

use super::Fault;

/// The rule of the one fault that is not the bundle's: the file could not be read.
pub const UNREADABLE: &str = "unreadable";

/// A failure to read the archive, as a fault that shells tell apart by its rule.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unreadable(error: io::Error) -> Fault {
    Fault::new(UNREADABLE, "", format!("it cannot be read: {error}"))
}
