//! One reason to refuse a bundle, safe to print.
//!
//! Escapes foreign text (names, values) here, so that no consumer can forget to.

use std::fmt;

/// The most reported faults of one bundle. A hostile one could have hundreds of thousands.
pub(super) const MOST: usize = 100;

/// The longest quote of foreign text, in characters.
const QUOTE_MAX_CHARS: usize = 200;

/// The longest place or message, in bytes before it is escaped. A path of quoted keys can be long.
const TEXT_MAX_BYTES: usize = 2000;

/// One reason why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The broken rule, such as `name_parent`; stable, for programs and metrics.
    pub rule: &'static str,
    /// Where: an entry's name, a field's path such as `run_params.ulimits[0]`, or `line 3, column 5`. Escaped.
    pub place: String,
    /// What is wrong and what is allowed, a lower-case fragment. Escaped.
    pub message: String,
}

impl Fault {
    /// A fault; `place` and `message` are escaped, and cut if they are very long.
    #[must_use]
    pub fn new(rule: &'static str, place: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            rule,
            place: escape(&cut(place.as_ref())),
            message: escape(&cut(message.as_ref())),
        }
    }
}

fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    let end = text.floor_char_boundary(TEXT_MAX_BYTES);
    match text.split_at(end) {
        (text, "") => text.into(),
        (start, _) => format!("{start}…").into(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "{} [{}]", self.message, self.rule)
        } else {
            write!(f, "{}: {} [{}]", self.place, self.message, self.rule)
        }
    }
}

/// Escapes all characters of `text` that a terminal, a log or a reader could misread: controls, bidirectional and
/// invisible marks, line separators, and the backslash.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Cuts foreign text to a readable length for a quote. [`Fault::new`] escapes it.
pub(super) fn quote(text: &str) -> String {
    let mut out: String = text.chars().take(QUOTE_MAX_CHARS).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// Marks that change the direction of text.
pub(super) fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Invisible characters, and line ends that are not control characters.
pub(super) fn is_invisible(c: char) -> bool {
    is_bidirectional(c)
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
            | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Collects faults up to a readable number.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    dropped: u64,
}

impl Faults {
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        place: impl AsRef<str>,
        message: impl AsRef<str>,
    ) {
        self.push(Fault::new(rule, place, message));
    }

    pub(super) fn push(&mut self, fault: Fault) {
        if self.is_full() {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.list.push(fault);
        }
    }

    /// Whether further faults are only counted, so that nobody needs to describe them.
    pub(super) const fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// Counts a fault that nobody described.
    pub(super) const fn count(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    pub(super) fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.push(fault);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The faults, and a last one with the number of further ones.
    pub(super) fn into_list(mut self) -> Vec<Fault> {
        if self.dropped > 0 {
            let message = format!("and {} more errors", self.dropped);
            self.list.push(Fault::new("more_faults", "", message));
        }
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_hides_text_is_left() {
        for (text, shown) in [
            ("plain/naïve.txt", "plain/naïve.txt"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\r\nb\t", "a\\r\\nb\\t"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\\b", "a\\\\b"),
            ("a\u{200b}b\u{2028}", "a\\u{200b}b\\u{2028}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn a_flood_of_faults_is_counted_not_kept() {
        let mut faults = Faults::default();
        for _ in 0..MOST + 7 {
            faults.add("rule", "place", "message");
        }
        let list = faults.into_list();
        assert_eq!(list.len(), MOST + 1);
        assert_eq!(list[MOST].message, "and 7 more errors");
    }
}
