//! Reads the engine's log format: frames with one message each, with a time stamp.
//!
//! A frame is a byte for the stream, three zeros, four bytes of length (big-endian), then the message.
//! Each message starts with an RFC 3339 time and a space. A line longer than the engine's 16 KiB arrives as several
//! messages. The last of them should end with a newline, but the `local` driver of engines up to 20.10 omits it; this
//! module restores it when another line follows.

use bytes::{Buf, Bytes, BytesMut};
use chrono::DateTime;
use dopq_common::time::Timestamp;

use super::types::LogPiece;

/// Bytes before a message.
const HEADER_BYTES: usize = 8;

/// The longest accepted message. The engine splits at 16 KiB, so a longer one is not a log stream.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// Where the engine splits a line.
const CUT_BYTES: usize = 16 * 1024;

/// The longest time with its space.
const TIME_MAX_BYTES: usize = 40;

/// Bytes that are not a log stream, or the engine's error that it cannot read its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The stream's kind is unknown.
    #[error("stream {0} is none of output and error")]
    Stream(u8),
    /// The message is too long.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// The message has no time.
    #[error("a message without its time")]
    Time,
    /// The engine's message.
    #[error("{0}")]
    Engine(String),
}

/// Received bytes that are not yet read.
#[derive(Debug, Default)]
pub(super) struct Demux {
    arrived: BytesMut,
    /// Of standard output and of standard error.
    lines: [Line; 2],
}

/// A stream's position within its line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the start of a line, or in one that was not split.
    #[default]
    Whole,
    /// The last message was a full piece of a split line.
    Cut,
    /// The last message ended a split line without a newline. The engine omitted it, except possibly at the end of all
    /// output.
    Ended(Timestamp),
}

impl Demux {
    /// Adds received bytes.
    pub(super) fn push(&mut self, arrived: &[u8]) {
        self.arrived.extend_from_slice(arrived);
    }

    /// Whether a frame is incomplete.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The next complete, non-empty message.
    pub(super) fn next(&mut self) -> Result<Option<LogPiece>, Fault> {
        loop {
            let Some((stream, length)) = self.header()? else {
                return Ok(None);
            };
            let stderr = stream == 2;
            let [out, err] = &mut self.lines;
            let line = if stderr { err } else { out };
            if let Line::Ended(at) = *line {
                *line = Line::Whole;
                return Ok(Some(LogPiece {
                    stderr,
                    at,
                    bytes: Bytes::from_static(b"\n"),
                }));
            }
            self.arrived.advance(HEADER_BYTES);
            let message = self.arrived.split_to(length).freeze();
            if stream == 3 {
                let words = String::from_utf8_lossy(&message).trim().to_owned();
                return Err(Fault::Engine(words));
            }
            let (at, bytes) = split_time(message).ok_or(Fault::Time)?;
            *line = match *line {
                _ if bytes.ends_with(b"\n") => Line::Whole,
                _ if bytes.len() == CUT_BYTES => Line::Cut,
                Line::Cut => Line::Ended(at),
                Line::Whole | Line::Ended(_) => Line::Whole,
            };
            if !bytes.is_empty() {
                return Ok(Some(LogPiece { stderr, at, bytes }));
            }
        }
    }

    /// The stream and length of the next message, once it is complete.
    fn header(&self) -> Result<Option<(u8, usize)>, Fault> {
        let Some(header) = self.arrived.first_chunk::<HEADER_BYTES>() else {
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
        Ok((self.arrived.len() >= HEADER_BYTES + length).then_some((stream, length)))
    }
}

/// Splits a message from its time.
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
            let want: [(bool, &[u8]); 3] =
                [(false, b"one\n"), (true, b"\xff\x00 two"), (false, b"\n")];
            assert_eq!(got, want, "cut every {step} bytes");
            assert_eq!(pieces[0].at.as_millis(), 1_795_503_227_123);
        }
    }

    #[test]
    fn a_forgotten_newline_is_put_back_when_another_line_follows() {
        let cut = vec![b'x'; CUT_BYTES];
        let cases: [(&[&[u8]], usize); 6] = [
            (&[&cut, b"x", b"y\n"], CUT_BYTES + 4),
            (&[&cut, &cut, b"", b"y"], 2 * CUT_BYTES + 2),
            (&[&cut, b"x\n", b"y\n"], CUT_BYTES + 4),
            (&[&cut, b"x"], CUT_BYTES + 1),
            (&[&cut], CUT_BYTES),
            (&[b"x", b"y\n"], 3),
        ];
        for (messages, length) in cases {
            let mut demux = Demux::default();
            for message in messages {
                demux.push(&stamped(1, message));
                // Lines of another stream do not matter here.
                demux.push(&stamped(2, b"e\n"));
            }
            let mut bytes = Vec::new();
            while let Some(piece) = demux.next().expect("sound") {
                if !piece.stderr {
                    bytes.extend_from_slice(&piece.bytes);
                }
            }
            assert_eq!(bytes.len(), length);
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
