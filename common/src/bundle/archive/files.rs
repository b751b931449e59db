//! The entries of a bundle's root folder, for a build: listed in the archive's order, read in any order.

use std::io::{self, Read, Seek, SeekFrom};

use super::content::{Budget, Content, refused};
use super::directory::{self, Method, Record};
use super::{layout, names, root, unreadable};
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
    /// CRC-32 of its content, which its reader checks.
    pub crc32: u32,
}

/// Why the entries or one of them could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// [`super::inspect()`] refuses the bundle.
    #[error("accept the bundle")]
    Invalid(Vec<Fault>),
    /// Reading it failed.
    #[error("read the bundle")]
    Read(#[source] io::Error),
}

/// The files and folders below the root folder, root excluded.
#[derive(Debug)]
pub struct Files {
    size_bytes: u64,
    limits: Limits,
    entries: Vec<(EntryInfo, Record, (u64, Method))>,
}

impl Files {
    /// Reads the directory and checks it and all names.
    ///
    /// # Errors
    /// The archive's faults, or a failed read.
    pub fn list<R: Read + Seek>(mut reader: R, limits: &Limits) -> Result<Self, FilesError> {
        let one = |fault| FilesError::Invalid(vec![fault]);
        let size_bytes = reader.seek(SeekFrom::End(0)).map_err(FilesError::Read)?;
        let layout = layout::read(&mut reader, size_bytes, limits).map_err(one)?;
        let mut faults = Faults::default();
        let records = directory::read(&mut reader, layout, &mut faults).map_err(one)?;
        names::check(&records, limits, &mut faults);
        if !faults.is_empty() {
            return Err(FilesError::Invalid(faults.into_list()));
        }
        let root = root::find(&records).map_err(one)?;
        let entries = records.into_iter().filter_map(|record| {
            let path = record.name.strip_prefix(&root)?.trim_end_matches('/');
            let data = record.data.filter(|_| !path.is_empty())?;
            let info = EntryInfo {
                path: path.to_owned(),
                folder: record.is_folder(),
                mode: record.mode,
                size_bytes: record.expanded,
                crc32: record.crc,
            };
            Some((info, record, data))
        });
        Ok(Self {
            size_bytes,
            limits: limits.clone(),
            entries: entries.collect(),
        })
    }

    /// All entries. An entry's place in them is its index for [`read`](Self::read).
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &EntryInfo> {
        self.entries.iter().map(|(info, ..)| info)
    }

    /// Passes the content of an entry to `visit`, and checks what it leaves unread.
    ///
    /// The visitor's reader fails with [`io::ErrorKind::InvalidData`] if the entry's declared values are wrong or a
    /// limit is reached. There is nothing to read beyond the last index.
    ///
    /// # Errors
    /// The archive's faults, a failed read, or what the visitor returned.
    pub fn read<R: Read + Seek, T, E: From<FilesError>>(
        &self,
        mut reader: R,
        index: usize,
        visit: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some((_, record, data)) = self.entries.get(index) else {
            return visit(&mut io::empty());
        };
        let mut budget = Budget::new(self.size_bytes, &self.limits);
        let mut content =
            Content::open(&mut reader, record, *data, &mut budget).map_err(FilesError::Read)?;
        // The visitor's own error is more specific, so it is returned first.
        let visited = visit(&mut content)?;
        if let Err(error) = io::copy(&mut content, &mut io::sink()) {
            let fault = match refused(&error) {
                Some(refused) => Fault::new(refused.rule(), &record.name, refused.to_string()),
                None => unreadable(error),
            };
            return Err(FilesError::Invalid(vec![fault]).into());
        }
        Ok(visited)
    }
}
