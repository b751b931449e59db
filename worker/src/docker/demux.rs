//! Reads the engine's log format: frames of one message each, a time before every message.
//!
//! A frame is a byte for the stream, three zeros, four bytes of length (big-endian), then the message.
//! With time stamps on, each message begins with an RFC 3339 time and a space. A line longer than the
//! engine's 16 KiB arrives as several messages, each with its own time; only the last ends in a newline.

use bytes::{Buf, Bytes, BytesMut};
use chrono::DateTime;
use dopq_common::time::Timestamp;

use super::types::LogPiece;

/// Bytes before a message.
const HEADER_BYTES: usize = 8;

/// The longest message believed. The engine cuts at 16 KiB; more than this is no log stream.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// The longest time with its space.
const TIME_MAX_BYTES: usize = 40;

/// Bytes that are no log stream, or the engine's word that it cannot read its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The stream's kind is unknown.
    #[error("stream {0} is none of output and error")]
    Stream(u8),
    /// The message is too long.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// No time stands before the message.
    #[error("a message without its time")]
    Time,
    /// The engine's words.
    #[error("{0}")]
    Engine(String),
}

/// What has arrived and is not yet read.
#[derive(Debug, Default)]
pub(super) struct Demux(BytesMut);

impl Demux {
    /// Takes in what arrived.
    pub(super) fn push(&mut self, arrived: &[u8]) {
        self.0.extend_from_slice(arrived);
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.0.is_empty()
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<LogPiece>, Fault> {
        let Some(header) = self.0.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [stream, _, _, _, a, b, c, d] = *header;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if stream > 3 {
            return Err(Fault::Stream(stream));
        }
        if length > MESSAGE_MAX_BYTES {
            return Err(Fault::Length(length));
        }
        if self.0.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.0.advance(HEADER_BYTES);
        let message = self.0.split_to(length).freeze();
        if stream == 3 {
            let words = String::from_utf8_lossy(&message).trim().to_owned();
            return Err(Fault::Engine(words));
        }
        let (at, bytes) = split_time(message).ok_or(Fault::Time)?;
        Ok(Some(LogPiece {
            stderr: stream == 2,
            at,
            bytes,
        }))
    }
}

/// Parts a message from the time before it.
fn split_time(mut message: Bytes) -> Option<(Timestamp, Bytes)> {
    let space = message
        .iter()
        .take(TIME_MAX_BYTES)
        .position(|byte| *byte == b' ')?;
    let time = message.split_to(space);
    message.advance(1);
    let time = std::str::from_utf8(&time).ok()?;
    let at = DateTime::parse_from_rfc3339(time).ok()?;
    Some((Timestamp::from_datetime(at.to_utc()), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-24T06:53:47.123456789Z ";

    fn frame(stream: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], message].concat()
    }

    fn stamped(stream: u8, line: &[u8]) -> Vec<u8> {
        frame(stream, &[AT.as_bytes(), line].concat())
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let whole = [
            stamped(1, b"one\n"),
            stamped(2, b"\xff\x00 two"),
            stamped(1, b"\n"),
            stamped(1, b""),
        ]
        .concat();
        for step in 1..=whole.len() {
            let mut demux = Demux::default();
            let mut pieces = Vec::new();
            for part in whole.chunks(step) {
                demux.push(part);
                while let Some(piece) = demux.next().expect("sound") {
                    pieces.push(piece);
                }
            }
            assert!(!demux.is_within_frame());
            let got: Vec<(bool, &[u8])> = pieces
                .iter()
                .map(|piece| (piece.stderr, &piece.bytes[..]))
                .collect();
            let want: [(bool, &[u8]); 4] = [
                (false, b"one\n"),
                (true, b"\xff\x00 two"),
                (false, b"\n"),
                (false, b""),
            ];
            assert_eq!(got, want, "cut every {step} bytes");
            assert_eq!(pieces[0].at.as_millis(), 1_795_503_227_123);
        }
    }

    #[test]
    fn what_is_no_log_stream_is_said() {
        let cases: [(Vec<u8>, Fault); 4] = [
            (frame(7, b"x"), Fault::Stream(7)),
            (vec![1, 0, 0, 0, 0xff, 0, 0, 0], Fault::Length(0xff00_0000)),
            (frame(1, b"no time here"), Fault::Time),
            (
                frame(3, b"Error grabbing logs: gone\n"),
                Fault::Engine("Error grabbing logs: gone".to_owned()),
            ),
        ];
        for (bytes, fault) in cases {
            let mut demux = Demux::default();
            demux.push(&bytes);
            assert_eq!(demux.next(), Err(fault));
        }
    }
}
