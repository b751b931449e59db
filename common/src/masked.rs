//! Hides what looks like a secret in texts that others than its writer may read.

use std::borrow::Cow;

/// Stands for a secret.
const MASK: &str = "***";

/// What names of secrets contain, in lower case.
const WORDS: [&str; 10] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "access_key",
    "private_key",
];

/// Whether a variable or flag of this name probably contains a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word)) || name.ends_with("_key") || name == "key"
}

/// The value of a variable, or `***` where its name tells of a secret; the password of a URL is hidden as well.
#[must_use]
pub fn value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if is_secret_name(name) && !value.is_empty() {
        return Cow::Borrowed(MASK);
    }
    without_password(value)
}

/// A command line, with the values of `--token=x`, `--token x` and `TOKEN=x` hidden. A script in one word is shown as
/// it is.
#[must_use]
pub fn command(words: &[String]) -> Vec<String> {
    let mut hide_next = false;
    let words = words.iter().map(|word| {
        let hides = std::mem::take(&mut hide_next);
        if hides && !word.starts_with('-') {
            return MASK.to_owned();
        }
        match word.split_once('=') {
            Some((name, text)) if !name.contains(char::is_whitespace) => {
                format!("{name}={}", value(name, text))
            }
            Some(_) => without_password(word).into_owned(),
            None => {
                hide_next = word.starts_with('-') && is_secret_name(word);
                without_password(word).into_owned()
            }
        }
    });
    words.collect()
}

/// The text with the user and password of the first URL in it hidden.
fn without_password(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Cow::Borrowed(text);
    };
    let end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}://{MASK}@{host}{path}")),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_names_are_hidden() {
        for (name, text, shown) in [
            ("WANDB_API_KEY", "abc", "***"),
            ("HF_TOKEN", "abc", "***"),
            ("DB_PASSWORD", "abc", "***"),
            ("SSH_KEY", "abc", "***"),
            ("HF_TOKEN", "", ""),
            ("LR", "0.1", "0.1"),
            ("KEYS", "3", "3"),
            (
                "DB",
                "postgres://anna:pw@db:5432/x",
                "postgres://***@db:5432/x",
            ),
            ("DB", "see https://db/a@b", "see https://db/a@b"),
        ] {
            assert_eq!(value(name, text), shown, "{name}={text}");
        }
    }

    #[test]
    fn secrets_in_command_lines_are_hidden() {
        let shown = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            command(&words).join(" ")
        };
        for (line, expected) in [
            ("train --lr=0.1 --epochs 3", "train --lr=0.1 --epochs 3"),
            ("train --api-key=abc x", "train --api-key=*** x"),
            ("train --token abc x", "train --token *** x"),
            ("train --token --lr 3", "train --token --lr 3"),
            ("env HF_TOKEN=abc train", "env HF_TOKEN=*** train"),
            ("get http://u:p@host/x", "get http://***@host/x"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}
