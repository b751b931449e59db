//! Makes a stream of arbitrary bytes harmless for a terminal: text, line ends, tabs and colours pass;
//! everything else that a terminal would obey is written out.
//!
//! A lone carriage return begins the line anew where the terminal can erase it, so that a progress bar is drawn in
//! place; elsewhere it becomes a new line. A log is shown to those who may read the job, and `--output json` has it whole.

use super::text::is_unsafe;

/// The longest control sequence that is waited for; more than colours ever need.
const SEQUENCE_MAX_BYTES: usize = 64;

const ESCAPE: u8 = 0x1b;

/// Returns to the start of the line and erases it.
const ANEW: &[u8] = b"\r\x1b[K";

/// The filter, with what it keeps between two pieces: an unfinished character or control sequence.
#[derive(Debug, Default)]
pub(super) struct Printable {
    pending: Vec<u8>,
    keep_colours: bool,
    /// Whether lines can be erased.
    redraws: bool,
    coloured: bool,
}

/// What stands at the start of the pending bytes.
enum Next {
    /// So many bytes that pass as they are.
    Pass(usize),
    /// So many bytes of a colour sequence.
    Colour(usize),
    /// A lone carriage return.
    Anew,
    /// So many bytes that are replaced.
    Replace(usize, String),
    /// More bytes are needed to tell.
    Unfinished,
}

impl Printable {
    /// A filter; without `keep_colours` even colours are taken out, without `redraws` every line stays.
    pub(super) fn new(keep_colours: bool, redraws: bool) -> Self {
        Self {
            keep_colours,
            redraws,
            ..Self::default()
        }
    }

    /// Filters a piece, appending what may be shown to `out`.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.pending.extend_from_slice(piece);
        self.drain(out, false);
    }

    /// Shows what was still waited for, and switches colours off where some were on.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.drain(out, true);
        if std::mem::take(&mut self.coloured) {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>, last: bool) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while !rest.is_empty() {
            let length = match look(rest, last) {
                Next::Anew if self.redraws && !last => {
                    out.extend_from_slice(ANEW);
                    1
                }
                Next::Anew => {
                    out.push(b'\n');
                    1
                }
                Next::Pass(length) => {
                    out.extend_from_slice(rest.split_at(length).0);
                    length
                }
                Next::Colour(length) => {
                    if self.keep_colours {
                        out.extend_from_slice(rest.split_at(length).0);
                        self.coloured = true;
                    }
                    length
                }
                Next::Replace(length, text) => {
                    out.extend_from_slice(text.as_bytes());
                    length
                }
                Next::Unfinished => break,
            };
            rest = rest.split_at(length).1;
        }
        self.pending = rest.to_vec();
    }
}

fn look(rest: &[u8], last: bool) -> Next {
    let plain = rest
        .iter()
        .take_while(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
        .count();
    if plain > 0 {
        return Next::Pass(plain);
    }
    match rest.first().copied() {
        Some(b'\r') => match rest.get(1) {
            Some(b'\n') => Next::Replace(2, "\n".to_owned()),
            None if !last => Next::Unfinished,
            // Some programs write several.
            Some(b'\r') => Next::Replace(1, String::new()),
            Some(_) | None => Next::Anew,
        },
        Some(ESCAPE) => look_sequence(rest, last),
        Some(byte @ 0x80..) => look_character(byte, rest, last),
        Some(byte) => Next::Replace(1, format!("\\x{byte:02x}")),
        None => Next::Unfinished,
    }
}

fn look_sequence(rest: &[u8], last: bool) -> Next {
    let escaped = || Next::Replace(1, "\\x1b".to_owned());
    match rest.get(1) {
        Some(b'[') => {}
        None if !last => return Next::Unfinished,
        Some(_) | None => return escaped(),
    }
    let body = rest.split_at(2).1;
    let parameters = body
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
        .count();
    match body.get(parameters) {
        Some(b'm') if only_colours(body.split_at(parameters).0) => Next::Colour(parameters + 3),
        None if !last && parameters < SEQUENCE_MAX_BYTES => Next::Unfinished,
        Some(_) | None => escaped(),
    }
}

/// Whether no parameter conceals text (8); the numbers that belong to a colour may be any.
fn only_colours(parameters: &[u8]) -> bool {
    let mut numbers = parameters
        .split(|byte| matches!(byte, b';' | b':'))
        .map(|digits| std::str::from_utf8(digits).unwrap_or(""));
    while let Some(number) = numbers.next() {
        match number.trim_start_matches('0') {
            "8" => return false,
            "38" | "48" | "58" => {
                let skipped = match numbers.next() {
                    Some("5") => 1,
                    Some("2") => 3,
                    Some(_) | None => return false,
                };
                for _ in 0..skipped {
                    numbers.next();
                }
            }
            _ => {}
        }
    }
    true
}

fn look_character(first: u8, rest: &[u8], last: bool) -> Next {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let available = rest.split_at(length.min(rest.len())).0;
    match std::str::from_utf8(available) {
        Ok(text) => match text.chars().next() {
            Some(c) if is_unsafe(c) => Next::Replace(length, c.escape_default().to_string()),
            Some(_) | None => Next::Pass(length),
        },
        Err(error) if error.error_len().is_none() && !last => Next::Unfinished,
        Err(_) => Next::Replace(1, format!("\\x{first:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(keep_colours: bool, pieces: &[&[u8]]) -> String {
        let mut filter = Printable::new(keep_colours, false);
        let mut out = Vec::new();
        for piece in pieces {
            filter.push(piece, &mut out);
        }
        filter.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_text_and_colours_reach_the_terminal() {
        let cases: [(&[u8], &str); 16] = [
            (b"plain\ttext\n", "plain\ttext\n"),
            ("größe ✓\n".as_bytes(), "größe ✓\n"),
            (b"dos\r\nline", "dos\nline"),
            (b"10%\r20%\r\n", "10%\n20%\n"),
            (b"end\r", "end\n"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
            (b"\x1b[38;5;8mgrey", "\x1b[38;5;8mgrey\x1b[0m"),
            (b"\x1b[8mhidden", "\\x1b[8mhidden"),
            (b"\x1b[1;08mhidden", "\\x1b[1;08mhidden"),
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"bell\x07 back\x08 del\x7f", "bell\\x07 back\\x08 del\\x7f"),
            (b"latin \xe9t\xe9", "latin \\xe9t\\xe9"),
            ("c1 \u{9b}31m".as_bytes(), "c1 \\u{9b}31m"),
            ("bidi \u{202e}x".as_bytes(), "bidi \\u{202e}x"),
            (b"\x1b", "\\x1b"),
        ];
        for (input, expected) in cases {
            assert_eq!(shown(true, &[input]), expected, "{input:?}");
        }
    }

    #[test]
    fn cutting_the_stream_anywhere_changes_nothing() {
        let input = "a\x1b[1;31mrot ✓é\r\nx\ry\x1b[2K\u{9b}\u{1f600}".as_bytes();
        let whole = shown(true, &[input]);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let (head, tail) = input.split_at(second);
                let (a, b) = head.split_at(first);
                assert_eq!(shown(true, &[a, b, tail]), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn a_progress_bar_is_drawn_in_place() {
        let mut filter = Printable::new(true, true);
        let mut out = Vec::new();
        for piece in [&b"\r 10%"[..], b"\r", b" 90%\r\r100%\r\nend\r"] {
            filter.push(piece, &mut out);
        }
        filter.finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text, "\r\x1b[K 10%\r\x1b[K 90%\r\x1b[K100%\nend\n",
            "the last one ends the line, so that the prompt overwrites nothing"
        );
    }

    #[test]
    fn colours_go_where_they_are_not_wanted() {
        assert_eq!(shown(false, &[b"\x1b[32mok\x1b[0m"]), "ok");
    }
}
