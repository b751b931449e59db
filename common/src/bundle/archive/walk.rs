//! Passes the entries of a bundle's root folder to a build, in the archive's order.

use std::io::{self, Read, Seek, SeekFrom};

use super::content::{Budget, Content, refused};
use super::{directory, layout, names, root, unreadable};
use crate::bundle::fault::Faults;
use crate::bundle::{Fault, Limits};

/// One entry of a bundle's root folder, for a build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryInfo {
    /// Relative to the root folder, without a trailing `/`.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// 0644 or 0755, whatever the archive says.
    pub mode: u32,
    /// Bytes of content; its reader returns exactly as many.
    pub size_bytes: u64,
}

/// Why the iteration ended early.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError<E> {
    /// [`super::inspect()`] refuses the bundle.
    #[error("the bundle is not valid")]
    Invalid(Vec<Fault>),
    /// Reading it failed.
    #[error("cannot read the bundle")]
    Read(#[source] io::Error),
    /// The visitor failed.
    #[error("cannot process an entry")]
    Visit(E),
}

/// Visits the files and folders below the root folder, root excluded. Checks the directory and all names first. Also
/// checks what the visitor does not read.
///
/// The visitor's reader fails with [`io::ErrorKind::InvalidData`] if an entry's declared values are wrong or a limit
/// is reached.
///
/// # Errors
/// The archive's faults, a failed read, or what the visitor returned.
pub fn entries<R: Read + Seek, E>(
    mut reader: R,
    limits: &Limits,
    mut each: impl FnMut(&EntryInfo, &mut dyn Read) -> Result<(), E>,
) -> Result<(), EntriesError<E>> {
    let one = |fault| EntriesError::Invalid(vec![fault]);
    let size = reader.seek(SeekFrom::End(0)).map_err(EntriesError::Read)?;
    let layout = layout::read(&mut reader, size, limits).map_err(one)?;
    let mut faults = Faults::default();
    let records = directory::read(&mut reader, layout, &mut faults).map_err(one)?;
    names::check(&records, limits, &mut faults);
    if !faults.is_empty() {
        return Err(EntriesError::Invalid(faults.into_list()));
    }
    let root = root::find(&records).map_err(one)?;
    let mut budget = Budget::new(size, limits);
    for record in &records {
        let Some(path) = record
            .name
            .strip_prefix(&root)
            .map(|p| p.trim_end_matches('/'))
        else {
            continue;
        };
        let Some(data) = record.data.filter(|_| !path.is_empty()) else {
            continue;
        };
        let info = EntryInfo {
            path: path.to_owned(),
            folder: record.is_folder(),
            mode: record.mode,
            size_bytes: record.expanded,
        };
        let mut content =
            Content::open(&mut reader, record, data, &mut budget).map_err(EntriesError::Read)?;
        let visited = each(&info, &mut content);
        // The visitor's own error is more specific, so it is returned first.
        visited.map_err(EntriesError::Visit)?;
        if let Err(error) = io::copy(&mut content, &mut io::sink()) {
            let fault = match refused(&error) {
                Some(refused) => Fault::new(refused.rule(), &record.name, refused.to_string()),
                None => unreadable(error),
            };
            return Err(EntriesError::Invalid(vec![fault]));
        }
    }
    Ok(())
}
