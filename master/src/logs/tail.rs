//! Finds the start of the last lines of a stored log.
//!
//! Frames can only be read forwards, so this reads the log once and keeps each frame's position and number of
//! line ends.

use std::collections::VecDeque;

use bytes::Bytes;

use super::place::Place;
use super::reader::{Error, Item, Reader, Sources, Want};

/// The start of the last lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLines {
    /// The frame that contains the first of them; `None` for the log's start.
    pub from: Option<Place>,
    /// The number of lines of that frame before it.
    pub skip_lines: u64,
}

impl LastLines {
    /// Finds the last `lines` lines of the stored log.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn find(sources: Sources, want: Want, lines: usize) -> Result<Self, Error> {
        let mut reader = Reader::new(
            sources,
            Want {
                follow: false,
                ..want
            },
        );
        let mut window = Window::new(lines);
        while let Some(item) = reader.next().await? {
            if let Item::Entry { attempt, entry } = item {
                let place = Place {
                    attempt,
                    offset: entry.next,
                };
                window.push(&entry.payload, place);
            }
        }
        Ok(window.finish())
    }
}

/// The frames that may contain the last lines. Frames without a line end join the one before, so this keeps at
/// most two more than the wanted lines.
struct Window {
    lines: u64,
    /// The start of each frame and the number of line ends in it.
    frames: VecDeque<(Option<Place>, u64)>,
    ends: u64,
    /// Where the next frame begins.
    here: Option<Place>,
    unfinished: bool,
}

impl Window {
    fn new(lines: usize) -> Self {
        Self {
            lines: lines as u64,
            frames: VecDeque::new(),
            ends: 0,
            here: None,
            unfinished: false,
        }
    }

    /// Adds a frame's payload and the position after it.
    fn push(&mut self, payload: &[u8], after: Place) {
        let ends = payload.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(last) = payload.last() {
            self.unfinished = *last != b'\n';
        }
        if ends > 0 || self.frames.is_empty() {
            self.frames.push_back((self.here, ends));
            self.ends += ends;
        }
        self.here = Some(after);
        // One line end more than wanted, because a frame may start within a line.
        while let Some((_, first)) = self.frames.front().copied()
            && self.frames.len() > 1
            && self.ends - first > self.lines
        {
            self.frames.pop_front();
            self.ends -= first;
        }
    }

    fn finish(mut self) -> LastLines {
        let all = self.ends + u64::from(self.unfinished);
        let Some((from, _)) = self.frames.pop_front().filter(|_| self.lines > 0) else {
            return LastLines {
                from: self.here,
                skip_lines: 0,
            };
        };
        LastLines {
            from,
            skip_lines: all.saturating_sub(self.lines),
        }
    }
}

/// The part of `payload` after the first `skip` lines; decreases `skip`.
pub fn without_lines(mut payload: Bytes, skip: &mut u64) -> Bytes {
    while *skip > 0 {
        let Some(end) = payload.iter().position(|byte| *byte == b'\n') else {
            return Bytes::new();
        };
        payload = payload.split_off(end + 1);
        *skip -= 1;
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log's text from the start of its last lines.
    fn last(frames: &[&'static str], lines: usize) -> String {
        let mut window = Window::new(lines);
        for (after, frame) in (1..).zip(frames) {
            let place = Place {
                attempt: 1,
                offset: after,
            };
            window.push(frame.as_bytes(), place);
        }
        assert!(window.frames.len() <= lines + 2);
        let LastLines {
            from,
            mut skip_lines,
        } = window.finish();
        let first = from.map_or(0, |place| usize::try_from(place.offset).expect("small"));
        let rest = frames[first..].iter().map(|frame| {
            let payload = without_lines(Bytes::from_static(frame.as_bytes()), &mut skip_lines);
            String::from_utf8_lossy(&payload).into_owned()
        });
        rest.collect()
    }

    #[test]
    fn the_last_lines_are_found_whatever_the_frames() {
        for (frames, lines, expected) in [
            (&["a\nb\nc\n"][..], 2, "b\nc\n"),
            (&["a\nb\nc"], 2, "b\nc"),
            (&["a\n", "b\n", "c\n"], 2, "b\nc\n"),
            (&["a\nb", "b\nc", "c\nd"], 2, "cc\nd"),
            (&["a\nb", "b", "b\nc\n"], 2, "bbb\nc\n"),
            (&["x", "y", "z"], 1, "xyz"),
            (&["x", "y\n", "z"], 1, "z"),
            (&["a\n", "b\n"], 9, "a\nb\n"),
            (&["a\n", "b\n"], 0, ""),
            (&[], 3, ""),
        ] {
            assert_eq!(last(frames, lines), expected, "{frames:?} {lines}");
        }
    }
}
