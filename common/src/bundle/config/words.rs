//! Splits a command line into words as a POSIX shell does, without expanding anything.
//!
//! Gives the same words as Python's `shlex.split`, which DoPQ 1.0 used.

/// The words of `text`.
///
/// # Errors
/// A missing closing quote, or a backslash at the end.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // A word may be empty (`''`), so its presence is a separate flag.
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single(&mut chars, word.get_or_insert_default())?,
            '"' => double(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("it ends with a single backslash".to_owned()),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err("missing closing '".to_owned())
}

fn double(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some(next @ ('"' | '\\')) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err("missing closing \"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let cases: [(&str, &[&str]); 8] = [
            (
                "python train.py --lr 0.1",
                &["python", "train.py", "--lr", "0.1"],
            ),
            ("  a   b\t\nc ", &["a", "b", "c"]),
            (
                "sh -c 'echo \"$HOME\" && ls'",
                &["sh", "-c", "echo \"$HOME\" && ls"],
            ),
            ("a \"b c\"d", &["a", "b cd"]),
            ("a '' \"\"", &["a", "", ""]),
            ("a\\ b \"x\\\"y\\n\"", &["a b", "x\"y\\n"]),
            ("# is no comment", &["#", "is", "no", "comment"]),
            ("", &[]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).expect(text), words, "{text}");
        }
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
