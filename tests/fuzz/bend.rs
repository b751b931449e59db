//! Changes bytes without knowing what they mean.

use crate::dice::Dice;

/// Words that mean something to one reader or the other.
const WORDS: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"\xc3",
    b"../",
    b"\\",
    b"\"",
    b"{",
    b"[",
    b"..",
    b",",
    b"-",
    b"\r\n",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
];

/// `bytes` with a few changes, at most `max` long.
pub(crate) fn bend(bytes: &[u8], dice: &mut Dice, max: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.length(12) {
        once(&mut bytes, dice, max);
    }
    bytes.truncate(max);
    bytes
}

fn once(bytes: &mut Vec<u8>, dice: &mut Dice, max: usize) {
    let at = dice.below(bytes.len() + 1);
    let length = dice.length(bytes.len() - at);
    let end = at + length.min(bytes.len() - at);
    match dice.below(7) {
        0 => {
            bytes.drain(at..end);
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.roll().to_le_bytes()[0];
            }
        }
        3 => insert(bytes, at, dice.pick(&WORDS)),
        4 => insert(bytes, at, dice.number().as_bytes()),
        5 => {
            // One piece many times over: what finds a reader that is not linear.
            let piece = bytes[at..end].to_vec();
            let room = max.saturating_sub(bytes.len()) / piece.len().max(1);
            let times = dice.length(room.min(100_000));
            insert(bytes, at, &piece.repeat(times));
        }
        _ => {
            let from = dice.below(bytes.len() + 1);
            let to = from + dice.below(bytes.len() - from + 1).min(64);
            let piece = bytes[from..to].to_vec();
            insert(bytes, at, &piece);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}
