//! Writes zips byte by byte, so that tests can lie in every field.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// One entry with every field that a test may want to lie in.
#[derive(Debug, Clone)]
pub(super) struct RawEntry {
    pub(super) name: Vec<u8>,
    pub(super) local_name: Vec<u8>,
    pub(super) data: Vec<u8>,
    pub(super) flags: u16,
    pub(super) local_flags: u16,
    pub(super) method: u16,
    pub(super) local_method: u16,
    pub(super) crc: u32,
    pub(super) compressed: u32,
    pub(super) expanded: u32,
    pub(super) local_sums: [u32; 3],
    pub(super) made_by: u16,
    pub(super) attributes: u32,
    pub(super) extra: Vec<u8>,
    pub(super) local_extra: Vec<u8>,
    pub(super) disk: u16,
    /// Written after the data.
    pub(super) after: Vec<u8>,
    /// Instead of where it lies.
    pub(super) offset: Option<u32>,
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("a small test archive")
}

impl RawEntry {
    /// An honest stored file.
    pub(super) fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let mut crc = Crc::new();
        crc.update(content);
        let size = short(content.len());
        Self {
            name: name.as_ref().to_vec(),
            local_name: name.as_ref().to_vec(),
            data: content.to_vec(),
            flags: 0,
            local_flags: 0,
            method: 0,
            local_method: 0,
            crc: crc.sum(),
            compressed: size,
            expanded: size,
            local_sums: [crc.sum(), size, size],
            made_by: 3 << 8 | 20,
            attributes: 0o100_644 << 16,
            extra: Vec::new(),
            local_extra: Vec::new(),
            disk: 0,
            after: Vec::new(),
            offset: None,
        }
    }

    /// An honest folder.
    pub(super) fn folder(name: &str) -> Self {
        let mut entry = Self::stored(name, "");
        entry.attributes = 0o040_755 << 16;
        entry
    }

    /// The same file, deflated.
    pub(super) fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::stored(name, content);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&entry.data).expect("into memory");
        entry.data = encoder.finish().expect("into memory");
        entry.method = 8;
        entry.local_method = 8;
        entry.compressed = short(entry.data.len());
        entry.local_sums[1] = entry.compressed;
        entry
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn local(&self) -> Vec<u8> {
        let mut out = b"PK\x03\x04\x14\x00".to_vec();
        out.extend(self.local_flags.to_le_bytes());
        out.extend(self.local_method.to_le_bytes());
        out.extend([0; 4]);
        for sum in self.local_sums {
            out.extend(sum.to_le_bytes());
        }
        out.extend(length(&self.local_name));
        out.extend(length(&self.local_extra));
        out.extend(&self.local_name);
        out.extend(&self.local_extra);
        out
    }

    fn record(&self, offset: u32) -> Vec<u8> {
        let mut out = b"PK\x01\x02".to_vec();
        out.extend(self.made_by.to_le_bytes());
        out.extend([20, 0]);
        out.extend(self.flags.to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend([0; 4]);
        for sum in [self.crc, self.compressed, self.expanded] {
            out.extend(sum.to_le_bytes());
        }
        out.extend(length(&self.name));
        out.extend(length(&self.extra));
        out.extend([0; 2]);
        out.extend(self.disk.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.attributes.to_le_bytes());
        out.extend(self.offset.unwrap_or(offset).to_le_bytes());
        out.extend(&self.name);
        out.extend(&self.extra);
        out
    }
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len())
        .expect("a short field")
        .to_le_bytes()
}

/// One extra field.
pub(super) fn extra(id: u16, bytes: &[u8]) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    out.extend(length(bytes));
    out.extend(bytes);
    out
}

/// A whole archive, with the end record's fields open to lies.
#[derive(Debug, Clone, Default)]
pub(super) struct RawZip {
    pub(super) entries: Vec<RawEntry>,
    pub(super) prefix: Vec<u8>,
    pub(super) before_directory: Vec<u8>,
    pub(super) comment: Vec<u8>,
    pub(super) trailing: Vec<u8>,
    pub(super) disk: u16,
    /// Instead of the count.
    pub(super) count: Option<u16>,
    /// Instead of the directory's offset.
    pub(super) directory_offset: Option<u32>,
    /// Write a 64-bit end record that says so many entries.
    pub(super) count64: Option<u64>,
}

impl RawZip {
    pub(super) fn new(entries: impl IntoIterator<Item = RawEntry>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.prefix.clone();
        let mut directory = Vec::new();
        for entry in &self.entries {
            // A prefix is not counted, as a self-extracting archive made by concatenation does not.
            directory.extend(entry.record(short(out.len() - self.prefix.len())));
            out.extend(entry.local());
            out.extend(&entry.data);
            out.extend(&entry.after);
        }
        out.extend(&self.before_directory);
        let offset = short(out.len() - self.prefix.len());
        let size = short(directory.len());
        out.extend(directory);
        let count = u16::try_from(self.entries.len()).expect("few entries");
        if let Some(count64) = self.count64 {
            let at = u64::try_from(out.len()).expect("small");
            out.extend(b"PK\x06\x06");
            out.extend(44_u64.to_le_bytes());
            out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for number in [count64, count64, size.into(), offset.into()] {
                out.extend(number.to_le_bytes());
            }
            out.extend(b"PK\x06\x07\x00\x00\x00\x00");
            out.extend(at.to_le_bytes());
            out.extend(1_u32.to_le_bytes());
        }
        out.extend(b"PK\x05\x06");
        out.extend(self.disk.to_le_bytes());
        out.extend(self.disk.to_le_bytes());
        let count = self.count.unwrap_or(count).to_le_bytes();
        out.extend(count);
        out.extend(count);
        out.extend(size.to_le_bytes());
        out.extend(self.directory_offset.unwrap_or(offset).to_le_bytes());
        out.extend(length(&self.comment));
        out.extend(&self.comment);
        out.extend(&self.trailing);
        out
    }
}
