//! The log stream of an attempt: frames one after the other, addressed by byte offset.
//!
//! A frame is one byte for its source, eight for the time (milliseconds since 1970), four for the
//! length (both little-endian), then the bytes as they were printed. A chunk is any run of the stream,
//! stored under the offset of its first byte; overlapping chunks agree, so a reader that knows its
//! offset can join chunks and live tail without losing or repeating a byte.

use crate::time::Timestamp;

/// Bytes before a frame's payload.
pub const HEADER_BYTES: usize = 13;

/// The longest payload of a frame.
pub const PAYLOAD_MAX_BYTES: usize = 32 * 1024;

/// Who printed a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// DoPQ itself: what it did, and where it cut.
    Dopq,
    /// The image build.
    Build,
    /// The container's standard output, or its terminal.
    Stdout,
    /// The container's standard error.
    Stderr,
}

impl Source {
    const fn code(self) -> u8 {
        match self {
            Self::Dopq => 0,
            Self::Build => 1,
            Self::Stdout => 2,
            Self::Stderr => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Dopq),
            1 => Some(Self::Build),
            2 => Some(Self::Stdout),
            3 => Some(Self::Stderr),
            _ => None,
        }
    }

    /// The word that the API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dopq => "dopq",
            Self::Build => "build",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Who printed it.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// What, byte for byte.
    pub payload: &'a [u8],
}

/// A stream that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log stream is damaged at byte {at}")]
pub struct Damaged {
    /// Offset within the bytes that were given.
    pub at: usize,
}

/// Appends `payload` to `out` as one frame, or several when it is longer than a frame may be.
pub fn append(out: &mut Vec<u8>, source: Source, at: Timestamp, payload: &[u8]) {
    for piece in payload.chunks(PAYLOAD_MAX_BYTES) {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        out.push(source.code());
        out.extend_from_slice(&at.as_millis().to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(piece);
    }
}

/// Reads the first frame of `bytes`, with its length in the stream; `None` when it is not whole yet.
///
/// # Errors
/// [`Damaged`] when the bytes are no frame.
pub fn next(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Damaged> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [code, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = *header;
    let source = Source::from_code(code).ok_or(Damaged { at: 0 })?;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if length > PAYLOAD_MAX_BYTES {
        return Err(Damaged { at: 9 });
    }
    let at = Timestamp::from_millis(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
    Ok(rest.get(..length).map(|payload| {
        (
            Frame {
                source,
                at,
                payload,
            },
            HEADER_BYTES + length,
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_whole_and_only_whole() {
        let mut stream = Vec::new();
        let at = Timestamp::from_millis(7);
        append(&mut stream, Source::Stdout, at, b"a\xff\n");
        append(
            &mut stream,
            Source::Stderr,
            at,
            &[b'x'; PAYLOAD_MAX_BYTES + 1],
        );
        let (first, used) = next(&stream).expect("sound").expect("whole");
        assert_eq!(
            first,
            Frame {
                source: Source::Stdout,
                at,
                payload: b"a\xff\n"
            }
        );
        let (second, long) = next(&stream[used..]).expect("sound").expect("whole");
        assert_eq!(second.payload.len(), PAYLOAD_MAX_BYTES);
        let (third, last) = next(&stream[used + long..]).expect("sound").expect("whole");
        assert_eq!(third.payload, b"x");
        assert_eq!(used + long + last, stream.len());
        for cut in 0..used {
            assert_eq!(next(&stream[..cut]), Ok(None));
        }
        assert_eq!(next(&[9; 13]), Err(Damaged { at: 0 }));
    }
}
