//! Joins overlapping, repeated and early pieces of one byte stream.
//!
//! Overlapping pieces agree ([`dopq_common::wire::log`]), so the first one wins. The joiner only reports that
//! something is missing; the reader fetches it.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The most bytes of early live pieces. A followed worker stores its output at once, so a few seconds of a busy
/// log are enough; dropped pieces come later from the store.
const EARLY_MAX_BYTES: usize = 1 << 20;

/// A cursor in a byte stream that accepts pieces in any order.
#[derive(Debug, Clone)]
pub struct Joiner {
    next: u64,
    early: BTreeMap<u64, Bytes>,
    early_bytes: usize,
}

impl Joiner {
    /// A cursor before byte `offset`.
    #[must_use]
    pub const fn at(offset: u64) -> Self {
        Self {
            next: offset,
            early: BTreeMap::new(),
            early_bytes: 0,
        }
    }

    /// The next byte that is needed.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether a later piece is here but the next byte is missing and must be fetched.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// Accepts the piece at `offset` and returns the bytes that continue the stream. Empty if the piece is old or
    /// early.
    pub fn offer(&mut self, offset: u64, piece: Bytes) -> Vec<Bytes> {
        let mut ready = Vec::new();
        if offset > self.next {
            self.keep(offset, piece);
            return ready;
        }
        self.take(offset, piece, &mut ready);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (offset, piece) = entry.remove_entry();
            self.early_bytes -= piece.len();
            self.take(offset, piece, &mut ready);
        }
        ready
    }

    /// Appends the part of a piece that is after the cursor.
    fn take(&mut self, offset: u64, mut piece: Bytes, ready: &mut Vec<Bytes>) {
        let known = usize::try_from(self.next - offset).unwrap_or(usize::MAX);
        if known < piece.len() {
            let fresh = piece.split_off(known);
            self.next += fresh.len() as u64;
            ready.push(fresh);
        }
    }

    /// Keeps an early piece (the longer one of two at the same offset). Drops the latest ones when full.
    fn keep(&mut self, offset: u64, piece: Bytes) {
        let before = self.early.get(&offset).map_or(0, Bytes::len);
        if before >= piece.len() {
            return;
        }
        self.early_bytes = self.early_bytes - before + piece.len();
        self.early.insert(offset, piece);
        while self.early_bytes > EARLY_MAX_BYTES {
            let Some((_, dropped)) = self.early.pop_last() else {
                break;
            };
            self.early_bytes -= dropped.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn text(pieces: Vec<Bytes>) -> String {
        pieces
            .iter()
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect()
    }

    #[test]
    fn each_kind_of_piece() {
        let mut joiner = Joiner::at(2);
        for (what, offset, piece, gives, next, gap) in [
            ("the next one", 2, "cd", "cd", 4, false),
            ("a repeated one", 2, "cd", "", 4, false),
            ("an old one", 0, "ab", "", 4, false),
            ("an overlapping one", 3, "def", "ef", 6, false),
            ("an early one", 8, "ij", "", 6, true),
            ("the same, longer", 8, "ijk", "", 6, true),
            ("the same, shorter", 8, "i", "", 6, true),
            ("one that closes the gap", 5, "fgh", "ghijk", 11, false),
            ("an empty one", 11, "", "", 11, false),
        ] {
            assert_eq!(text(joiner.offer(offset, bytes(piece))), gives, "{what}");
            assert_eq!((joiner.next(), joiner.has_gap()), (next, gap), "{what}");
        }
    }

    #[test]
    fn early_pieces_are_bounded_and_the_latest_are_dropped() {
        let mut joiner = Joiner::at(0);
        let piece = Bytes::from(vec![b'x'; EARLY_MAX_BYTES / 2]);
        let step = piece.len() as u64;
        for number in 0..4 {
            joiner.offer(1 + number * step, piece.clone());
        }
        assert_eq!(joiner.early_bytes, EARLY_MAX_BYTES);
        let ready = joiner.offer(0, bytes("x"));
        assert_eq!(
            ready.iter().map(Bytes::len).sum::<usize>(),
            EARLY_MAX_BYTES + 1
        );
        assert_eq!(joiner.early_bytes, 0);
    }

    proptest! {
        /// Whatever pieces come in whatever order, the stream is given back once and in order; and once
        /// the store's pieces are offered at the cursor, nothing is missing.
        #[test]
        fn nothing_is_lost_or_repeated(
            length in 1usize..200,
            start in 0usize..50,
            pieces in prop::collection::vec((0usize..200, 0usize..40), 0..60),
            chunk in 1usize..50,
        ) {
            let stream: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).expect("small")).collect();
            let start = start.min(length);
            let mut joiner = Joiner::at(start as u64);
            let mut got = Vec::new();
            for (from, len) in pieces {
                let from = from.min(length);
                let to = (from + len).min(length);
                let piece = Bytes::copy_from_slice(&stream[from..to]);
                for fresh in joiner.offer(from as u64, piece) {
                    got.extend_from_slice(&fresh);
                }
                prop_assert_eq!(&got[..], &stream[start..start + got.len()]);
                prop_assert_eq!(joiner.next(), (start + got.len()) as u64);
            }
            // What the store holds: chunks at multiples of `chunk`.
            while start + got.len() < length {
                let from = (start + got.len()) / chunk * chunk;
                let to = (from + chunk).min(length);
                for fresh in joiner.offer(from as u64, Bytes::copy_from_slice(&stream[from..to])) {
                    got.extend_from_slice(&fresh);
                }
            }
            prop_assert_eq!(&got[..], &stream[start..]);
            prop_assert!(!joiner.has_gap());
        }
    }
}
