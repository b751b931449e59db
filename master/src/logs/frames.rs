//! Cuts a joined stream into its frames.

use bytes::{Buf, Bytes, BytesMut};
use dopq_common::time::Timestamp;
use dopq_common::wire::log::{self, Damaged, HEADER_BYTES, Source};

/// One frame, on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the stream after it.
    pub next: u64,
    /// Its source.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// The bytes as printed.
    pub payload: Bytes,
}

/// Joined bytes that are not yet read, and their offset.
#[derive(Debug, Clone)]
pub struct Frames {
    offset: u64,
    bytes: BytesMut,
}

impl Frames {
    /// Starts at `offset`, which is the start of a frame.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        Self {
            offset,
            bytes: BytesMut::new(),
        }
    }

    /// Appends the stream's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// [`Damaged`] if no frame starts here: the stream is broken, or `offset` was inside a frame.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Damaged> {
        let Some((frame, used)) = log::next(&self.bytes)? else {
            return Ok(None);
        };
        let (source, at) = (frame.source, frame.at);
        let mut whole = self.bytes.split_to(used);
        whole.advance(HEADER_BYTES);
        self.offset = self.offset.saturating_add(used as u64);
        Ok(Some(Entry {
            next: self.offset,
            source,
            at,
            payload: whole.freeze(),
        }))
    }
}
