//! JSON for programs, safe to show on a terminal.

use serde::Serialize;

use super::text::is_unsafe;

/// A document over several lines, with a newline at its end.
pub(super) fn document<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| finish(&text))
}

/// A document on one line, with a newline at its end.
pub(super) fn line<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(|text| finish(&text))
}

/// Escapes as `\uXXXX` what JSON allows but a terminal acts on. Such characters occur only in strings, where the escape
/// means the same.
fn finish(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_escaped_and_read_back_the_same() {
        let name = "a\u{1b}[2Jb\u{9b}c\u{202e}d\u{e0001}é";
        let written = line(&name).unwrap();
        assert!(!written.trim_end().chars().any(is_unsafe), "{written:?}");
        let read: String = serde_json::from_str(&written).unwrap();
        assert_eq!(read, name);
    }
}
