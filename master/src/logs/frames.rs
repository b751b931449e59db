//! Cuts a joined stream into its frames.

use bytes::{Buf, Bytes, BytesMut};
use dopq_common::time::Timestamp;
use dopq_common::wire::log::{self, Damaged, HEADER_BYTES, Source};

/// One frame, on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the stream after it.
    pub next: u64,
    /// Who printed it.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// What, byte for byte.
    pub payload: Bytes,
}

/// The bytes that were joined and are not yet read, and where they begin.
#[derive(Debug, Clone)]
pub struct Frames {
    offset: u64,
    bytes: BytesMut,
}

impl Frames {
    /// Frames from `offset`, where one begins.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        Self {
            offset,
            bytes: BytesMut::new(),
        }
    }

    /// Takes the stream's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`Damaged`] when there is none at this place, because the stream is broken or was entered amid a frame.
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
