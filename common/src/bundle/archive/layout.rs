//! Finds an archive's directory: the end record and its 64-bit form.
//!
//! An accepted archive can be read in only one way: the directory ends where the end record starts, nothing follows
//! the archive, and both forms of the end record agree. A fault here makes everything else meaningless, so it is the
//! only one reported.

use std::io::{self, Read, Seek, SeekFrom};

use super::bytes::Bytes;
use super::{UNREADABLE, unreadable};
use crate::bundle::{Fault, Limits};

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LOCATOR_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x06\x07");
const LOCATOR_BYTES: u64 = 20;
const END64_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x06\x06");
const END64_BYTES: u64 = 56;
/// The minimum size of a directory entry.
const RECORD_MIN_BYTES: u64 = 46;

/// Position of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Number of directory entries.
    pub(super) entries: u64,
    /// Start of the directory and end of the entries' data.
    pub(super) directory_offset: u64,
    /// Its length.
    pub(super) directory_bytes: u64,
}

/// The numbers of one end record.
#[derive(Debug, Clone, Copy)]
struct End {
    disk: u32,
    directory_disk: u32,
    entries_here: u64,
    entries: u64,
    directory_bytes: u64,
    directory_offset: u64,
}

/// Finds the directory of an archive of `size` bytes.
pub(super) fn read<R: Read + Seek>(
    reader: &mut R,
    size: u64,
    limits: &Limits,
) -> Result<Layout, Fault> {
    if size > limits.compressed_bytes {
        let message = format!(
            "it has {size} bytes; the maximum is {}",
            limits.compressed_bytes
        );
        return Err(Fault::new("too_large", "", message));
    }
    let found = reader.seek(SeekFrom::End(0)).map_err(unreadable)?;
    if found != size {
        let message = format!("it has {found} bytes, not {size} as announced");
        return Err(Fault::new("size_changed", "", message));
    }
    let (end, end_at) = find_end(reader, size)?;
    let locator = match end_at.checked_sub(LOCATOR_BYTES) {
        Some(at) => find_end64(reader, at)?,
        None => None,
    };
    let (end, directory_end) = match locator {
        None => (end, end_at),
        Some((end64, at)) => (agree(end, end64)?, at),
    };
    check(end, directory_end, limits)
}

/// The end record: the last one in the file, followed only by its comment.
fn find_end<R: Read + Seek>(reader: &mut R, size: u64) -> Result<(End, u64), Fault> {
    let from = size.saturating_sub(END_BYTES + u64::from(u16::MAX));
    let tail = read_at(reader, from, size - from).map_err(unreadable)?;
    let Some(at) = tail.windows(4).rposition(|window| window == END_SIGNATURE) else {
        let message = "it is not a zip, or it is truncated";
        return Err(Fault::new("not_a_zip", "", message));
    };
    let cut = || Fault::new("not_a_zip", "", "its end record is truncated");
    let mut bytes = Bytes(tail.split_at(at).1);
    let mut parse = || {
        bytes.take(4)?;
        let end = End {
            disk: bytes.u16()?.into(),
            directory_disk: bytes.u16()?.into(),
            entries_here: bytes.u16()?.into(),
            entries: bytes.u16()?.into(),
            directory_bytes: bytes.u32()?.into(),
            directory_offset: bytes.u32()?.into(),
        };
        let comment = usize::from(bytes.u16()?);
        Some((end, comment))
    };
    let (end, comment) = parse().ok_or_else(cut)?;
    if comment != bytes.0.len() {
        let message = "data follows the end of the archive";
        return Err(Fault::new("trailing_bytes", "", message));
    }
    Ok((end, from + u64::try_from(at).unwrap_or(u64::MAX)))
}

/// The 64-bit end record and its start, if there is a locator at `at`.
fn find_end64<R: Read + Seek>(reader: &mut R, at: u64) -> Result<Option<(End, u64)>, Fault> {
    let locator = read_at(reader, at, LOCATOR_BYTES).map_err(unreadable)?;
    let mut bytes = Bytes(&locator);
    if bytes.u32() != Some(LOCATOR_SIGNATURE) {
        return Ok(None);
    }
    let lie = || {
        Fault::new(
            "zip64_lie",
            "",
            "its 64-bit end record does not match its locator",
        )
    };
    let mut parse = || Some((bytes.u32()?, bytes.u64()?, bytes.u32()?));
    let (disk, offset, disks) = parse().ok_or_else(lie)?;
    if disk != 0 || disks > 1 {
        return Err(multi_disk());
    }
    if offset.checked_add(END64_BYTES).is_none_or(|end| end > at) {
        return Err(lie());
    }
    let record = read_at(reader, offset, END64_BYTES).map_err(unreadable)?;
    let mut bytes = Bytes(&record);
    let mut parse = || {
        let signature = bytes.u32()?;
        let length = bytes.u64()?;
        bytes.take(4)?;
        let end = End {
            disk: bytes.u32()?,
            directory_disk: bytes.u32()?,
            entries_here: bytes.u64()?,
            entries: bytes.u64()?,
            directory_bytes: bytes.u64()?,
            directory_offset: bytes.u64()?,
        };
        let touches = offset.checked_add(12)?.checked_add(length)? == at;
        (signature == END64_SIGNATURE && touches).then_some(end)
    };
    parse().map(|end| Some((end, offset))).ok_or_else(lie)
}

/// The 64-bit numbers, if each short one is equal or refers to them.
fn agree(short: End, long: End) -> Result<End, Fault> {
    let same = |short: u64, max: u64, long: u64| short == max || short == long;
    let (two, four) = (u64::from(u16::MAX), u64::from(u32::MAX));
    let agrees = same(short.disk.into(), two, long.disk.into())
        && same(short.directory_disk.into(), two, long.directory_disk.into())
        && same(short.entries_here, two, long.entries_here)
        && same(short.entries, two, long.entries)
        && same(short.directory_bytes, four, long.directory_bytes)
        && same(short.directory_offset, four, long.directory_offset);
    if agrees {
        Ok(long)
    } else {
        let message = "its 64-bit end record contradicts the short one";
        Err(Fault::new("zip64_lie", "", message))
    }
}

fn check(end: End, directory_end: u64, limits: &Limits) -> Result<Layout, Fault> {
    let fault = |rule, message: String| Err(Fault::new(rule, "", message));
    if end.disk != 0 || end.directory_disk != 0 || end.entries_here != end.entries {
        return Err(multi_disk());
    }
    if end.entries > limits.entries {
        let message = format!(
            "it has {} entries; the maximum is {}",
            end.entries, limits.entries
        );
        return fault("too_many_entries", message);
    }
    if end.directory_bytes > limits.directory_bytes {
        let message = format!("its directory has {} bytes", end.directory_bytes);
        return fault("directory_too_large", message);
    }
    let room = end.directory_bytes / RECORD_MIN_BYTES;
    if end.entries > room {
        let message = format!(
            "it claims {} entries, but its directory has room for {room}",
            end.entries
        );
        return fault("entry_count", message);
    }
    match end.directory_offset.checked_add(end.directory_bytes) {
        Some(found) if found == directory_end => Ok(Layout {
            entries: end.entries,
            directory_offset: end.directory_offset,
            directory_bytes: end.directory_bytes,
        }),
        Some(found) if found < directory_end => fault(
            "prefix_bytes",
            "there is data before the archive or beside its directory".to_owned(),
        ),
        Some(_) | None => fault(
            "directory_lie",
            "its directory is not at the place in its end record".to_owned(),
        ),
    }
}

fn multi_disk() -> Fault {
    Fault::new("multi_disk", "", "it is one part of a split archive")
}

/// Exactly `count` bytes from `from`.
pub(super) fn read_at<R: Read + Seek>(
    reader: &mut R,
    from: u64,
    count: u64,
) -> io::Result<Vec<u8>> {
    reader.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    reader.by_ref().take(count).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).ok() == Some(count) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, UNREADABLE))
    }
}
