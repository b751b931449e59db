//! The directory's records and their local headers.
//!
//! Both must agree, because other readers may use the other one.

use std::io::{self, Read, Seek};

use super::bytes::{Bytes, extra_fields};
use super::layout::{Layout, read_at};
use super::unreadable;
use crate::bundle::Fault;
use crate::bundle::fault::Faults;

const RECORD_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x01\x02");
const LOCAL_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x03\x04");
const DESCRIPTOR_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x07\x08");
const LOCAL_BYTES: u64 = 30;

/// Flag bits: encrypted, sizes follow the data, strongly encrypted, masked.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const DESCRIPTOR: u16 = 1 << 3;
/// Flags whose difference between the two headers changes what a reader sees.
const COMPARED: u16 = ENCRYPTED | DESCRIPTOR;

const ZIP64: u16 = 0x0001;
const PKWARE_UNIX: u16 = 0x000d;
const ASI_UNIX: u16 = 0x756e;
const UNICODE_PATH: u16 = 0x7075;
const AES: u16 = 0x9901;

const KIND: u32 = 0o170_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_FOLDER: u32 = 0o040_000;
const KIND_LINK: u32 = 0o120_000;

/// How an entry's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

/// One entry, on which directory and local header agree.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The raw name.
    pub(super) raw_name: Vec<u8>,
    /// The name as text (lossy), for messages, and for the rules once it is known to be UTF-8.
    pub(super) name: String,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) expanded: u64,
    /// The local header's offset.
    pub(super) offset: u64,
    /// 0644 or 0755.
    pub(super) mode: u32,
    /// Where its bytes start and how they are stored; `None` if they must not be read.
    pub(super) data: Option<(u64, Method)>,
    flags: u16,
    method: u16,
}

impl Record {
    /// Whether it is a folder; only its name decides.
    pub(super) fn is_folder(&self) -> bool {
        self.raw_name.ends_with(b"/")
    }
}

/// Reads all records and checks each against its local header.
pub(super) fn read<R: Read + Seek>(
    reader: &mut R,
    layout: Layout,
    faults: &mut Faults,
) -> Result<Vec<Record>, Fault> {
    let directory =
        read_at(reader, layout.directory_offset, layout.directory_bytes).map_err(unreadable)?;
    let mut bytes = Bytes(&directory);
    let mut records = Vec::new();
    for _ in 0..layout.entries {
        match record(&mut bytes, faults) {
            Some(record) => records.push(record),
            None => return Err(lie("a directory entry is truncated or has no signature")),
        }
    }
    if !bytes.is_empty() {
        return Err(lie("its directory contains more than its entries"));
    }
    locals(reader, layout.directory_offset, &mut records, faults)?;
    Ok(records)
}

fn lie(message: &str) -> Fault {
    Fault::new("entry_count", "", message)
}

/// One record of the directory; `None` if it is truncated. Records other faults.
fn record(bytes: &mut Bytes<'_>, faults: &mut Faults) -> Option<Record> {
    if bytes.u32()? != RECORD_SIGNATURE {
        return None;
    }
    let made_by = bytes.u16()?;
    bytes.u16()?;
    let flags = bytes.u16()?;
    let method = bytes.u16()?;
    bytes.u32()?;
    let crc = bytes.u32()?;
    let (compressed, expanded) = (bytes.u32()?, bytes.u32()?);
    let (name_len, extra_len, comment_len) = (bytes.u16()?, bytes.u16()?, bytes.u16()?);
    let disk = bytes.u16()?;
    bytes.u16()?;
    let attributes = bytes.u32()?;
    let offset = bytes.u32()?;
    let raw_name = bytes.take(usize::from(name_len))?;
    let extra = bytes.take(usize::from(extra_len))?;
    bytes.take(usize::from(comment_len))?;

    let mut record = Record {
        raw_name: raw_name.to_vec(),
        name: String::from_utf8_lossy(raw_name).into_owned(),
        crc,
        compressed: compressed.into(),
        expanded: expanded.into(),
        offset: offset.into(),
        mode: 0o644,
        data: None,
        flags,
        method,
    };
    let name = record.name.clone();
    let mut fault = |rule, message: &str| faults.add(rule, &name, message);
    if flags & ENCRYPTED != 0 || method == 99 {
        fault("encrypted", "it is encrypted");
    } else if method != 0 && method != 8 {
        let message = format!("compression method {method} is not supported; use store or deflate");
        fault("compression_method", &message);
    }
    match extra_fields(extra) {
        None => fault("extra_field", "its extra fields are truncated"),
        Some(fields) => {
            if !zip64(&fields, &mut record, [expanded, compressed, offset], disk) {
                fault("zip64_lie", "its 64-bit sizes contradict the short ones");
            }
            foreign(&fields, &record.raw_name, &mut fault);
        }
    }
    if disk != 0 && disk != u16::MAX {
        fault("multi_disk", "it starts in another part of a split archive");
    }
    record.mode = kind(&record, made_by, attributes, &mut fault);
    Some(record)
}

/// Uses the 64-bit numbers where the short ones refer to them. Some writers add them always, which is harmless if
/// they are equal.
fn zip64(fields: &[(u16, &[u8])], record: &mut Record, short: [u32; 3], disk: u16) -> bool {
    let mut found = fields.iter().filter(|(id, _)| *id == ZIP64);
    let needed = short.map(|value| value == u32::MAX);
    let count = needed.iter().filter(|needed| **needed).count();
    let Some((_, bytes)) = found.next() else {
        return count == 0 && disk != u16::MAX;
    };
    if found.next().is_some() {
        return false;
    }
    let tail = if disk == u16::MAX { 4 } else { 0 };
    let all = bytes.len() != count * 8 + tail;
    if all && bytes.len() != 24 && bytes.len() != 28 {
        return false;
    }
    let mut bytes = Bytes(bytes);
    let mut values = short.map(u64::from);
    for (value, needed) in values.iter_mut().zip(needed) {
        if needed || all {
            let Some(long) = bytes.u64() else {
                return false;
            };
            if !needed && long != *value {
                return false;
            }
            *value = long;
        }
    }
    [record.expanded, record.compressed, record.offset] = values;
    bytes.is_empty() || bytes.u32() == Some(0)
}

/// Checks extra fields that could change an entry's name, kind or method.
fn foreign(fields: &[(u16, &[u8])], raw_name: &[u8], fault: &mut impl FnMut(&'static str, &str)) {
    for (id, bytes) in fields {
        match *id {
            AES => fault("encrypted", "it is encrypted"),
            // Its first five bytes are a version and a checksum of the other name.
            UNICODE_PATH if bytes.get(5..) != Some(raw_name) => {
                fault("header_mismatch", "an extra field gives it another name");
            }
            // Twelve bytes of times and owner; a link's target would follow.
            PKWARE_UNIX if bytes.len() > 12 => fault("link", "it is a link"),
            ASI_UNIX => {
                let mode = Bytes(bytes.get(4..).unwrap_or_default()).u16().unwrap_or(0);
                if u32::from(mode) & KIND == KIND_LINK {
                    fault("link", "it is a link");
                }
            }
            _ => {}
        }
    }
}

/// Refuses everything but files and folders, and returns the file's mode.
fn kind(
    record: &Record,
    made_by: u16,
    attributes: u32,
    fault: &mut impl FnMut(&'static str, &str),
) -> u32 {
    let mode = attributes >> 16;
    match mode & KIND {
        0 | KIND_FILE if !record.is_folder() => {}
        0 | KIND_FOLDER if record.is_folder() => {}
        KIND_FILE | KIND_FOLDER => {
            fault(
                "kind_mismatch",
                "its name and its attributes disagree on whether it is a folder",
            );
        }
        KIND_LINK => fault(
            "link",
            "it is a symbolic link; add the file itself to the bundle",
        ),
        _ => fault("special_file", "it is a device, pipe or socket"),
    }
    if record.is_folder() && (record.expanded != 0 || record.compressed > 2) {
        fault("kind_mismatch", "it is a folder but has content");
    }
    // Archives from Windows have no modes; then everything is executable, as in Docker's own contexts.
    let has_modes = mode & 0o777 != 0 || matches!(made_by >> 8, 3 | 19);
    if record.is_folder() || mode & 0o111 != 0 || !has_modes {
        0o755
    } else {
        0o644
    }
}

/// Checks each local header against its record, and that entries follow each other from the start.
fn locals<R: Read + Seek>(
    reader: &mut R,
    directory_offset: u64,
    records: &mut [Record],
    faults: &mut Faults,
) -> Result<(), Fault> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|&i| records.get(i).map(|record| record.offset));
    let starts: Vec<u64> = order
        .iter()
        .filter_map(|&i| records.get(i).map(|record| record.offset))
        .chain([directory_offset])
        .collect();
    if starts.first().is_some_and(|first| *first != 0) {
        let message = "there is data before its first entry";
        faults.add("prefix_bytes", "", message);
    }
    for (position, &i) in order.iter().enumerate() {
        let next = starts
            .get(position + 1)
            .copied()
            .unwrap_or(directory_offset);
        let Some(record) = records.get_mut(i) else {
            continue;
        };
        match local(reader, record, next.min(directory_offset)) {
            Ok(data) => record.data = data,
            Err(Local::Io(error)) => return Err(unreadable(error)),
            Err(Local::Fault(rule, message)) => faults.add(rule, &record.name, message),
        }
    }
    Ok(())
}

/// Why a local header is refused.
enum Local {
    Io(io::Error),
    Fault(&'static str, &'static str),
}

impl From<io::Error> for Local {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const MISMATCH: Local = Local::Fault("header_mismatch", "its two headers contradict each other");
const OVERLAP: Local = Local::Fault(
    "overlap",
    "its bytes overlap another entry or the directory",
);

/// Where the entry's bytes start; `None` if its method or encryption (recorded already) prevents reading.
fn local<R: Read + Seek>(
    reader: &mut R,
    record: &Record,
    next: u64,
) -> Result<Option<(u64, Method)>, Local> {
    let inside = |end: Option<u64>| end.filter(|end| *end <= next).ok_or(OVERLAP);
    let header_end = inside(record.offset.checked_add(LOCAL_BYTES))?;
    let header = read_at(reader, record.offset, LOCAL_BYTES)?;
    let mut bytes = Bytes(&header);
    let mut parse = || {
        let signature = bytes.u32()?;
        bytes.u16()?;
        let (flags, method) = (bytes.u16()?, bytes.u16()?);
        bytes.u32()?;
        let sums = (bytes.u32()?, bytes.u32()?, bytes.u32()?);
        Some((signature, flags, method, sums, bytes.u16()?, bytes.u16()?))
    };
    let (signature, flags, method, (crc, compressed, expanded), name_len, extra_len) =
        parse().ok_or(MISMATCH)?;
    if signature != LOCAL_SIGNATURE
        || flags & COMPARED != record.flags & COMPARED
        || method != record.method
        || usize::from(name_len) != record.raw_name.len()
    {
        return Err(MISMATCH);
    }
    let data_start = inside(header_end.checked_add(u64::from(name_len) + u64::from(extra_len)))?;
    let variable = read_at(reader, header_end, data_start - header_end)?;
    let (name, extra) = variable
        .split_at_checked(usize::from(name_len))
        .ok_or(MISMATCH)?;
    let fields = extra_fields(extra).ok_or(MISMATCH)?;
    let renamed = fields
        .iter()
        .any(|(id, bytes)| *id == UNICODE_PATH && bytes.get(5..) != Some(name));
    if name != record.raw_name || renamed {
        return Err(MISMATCH);
    }
    let later = flags & DESCRIPTOR != 0;
    if !local_sizes(&fields, record, later, compressed, expanded)
        || (crc != record.crc && !(later && crc == 0))
    {
        return Err(MISMATCH);
    }
    let data_end = inside(data_start.checked_add(record.compressed))?;
    let gap = next - data_end;
    match (later, gap) {
        (false, 0) => {}
        (true, 12 | 16 | 20 | 24) => {
            let bytes = read_at(reader, data_end, gap)?;
            if !descriptor(&bytes, record) {
                return Err(MISMATCH);
            }
        }
        (false | true, _) => {
            let message = "data that belongs to no entry follows it";
            return Err(Local::Fault("hidden_bytes", message));
        }
    }
    Ok(match record.method {
        _ if record.flags & ENCRYPTED != 0 => None,
        0 => Some((data_start, Method::Stored)),
        8 => Some((data_start, Method::Deflated)),
        _ => None,
    })
}

/// Whether the local header has the record's sizes. With a descriptor they may also be 0.
fn local_sizes(
    fields: &[(u16, &[u8])],
    record: &Record,
    later: bool,
    compressed: u32,
    expanded: u32,
) -> bool {
    let mut long = fields
        .iter()
        .find(|(id, _)| *id == ZIP64)
        .map(|(_, bytes)| Bytes(bytes));
    let mut matches = |short: u32, expected: u64| {
        let value = match (&mut long, short) {
            (Some(bytes), u32::MAX) => match bytes.u64() {
                Some(value) => value,
                None => return false,
            },
            (Some(_) | None, short) => short.into(),
        };
        value == expected || (later && value == 0)
    };
    matches(expanded, record.expanded) && matches(compressed, record.compressed)
}

/// Whether the descriptor after the data repeats the record. Its signature is optional. Its sizes have four or eight
/// bytes, depending on its length.
fn descriptor(bytes: &[u8], record: &Record) -> bool {
    let signed = matches!(bytes.len(), 16 | 24);
    let long = matches!(bytes.len(), 20 | 24);
    let mut bytes = Bytes(bytes);
    if signed && bytes.u32() != Some(DESCRIPTOR_SIGNATURE) {
        return false;
    }
    let size = |bytes: &mut Bytes<'_>| {
        if long {
            bytes.u64()
        } else {
            bytes.u32().map(u64::from)
        }
    };
    bytes.u32() == Some(record.crc)
        && size(&mut bytes) == Some(record.compressed)
        && size(&mut bytes) == Some(record.expanded)
}
