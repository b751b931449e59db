//! Shows settings as a TOML file, without secrets.

use std::fmt::Write as _;

use super::key::{Key, Shape};
use crate::secret::Secret;

/// The value as TOML writes it.
pub(super) fn shown(key: &Key, values: &[(String, Secret)]) -> String {
    if key.secret {
        return quoted("(hidden)");
    }
    let items = values.iter().map(|(_, value)| quoted(value.reveal()));
    match (key.shape, values) {
        (Shape::One, [(_, text)]) => plain_or_quoted(text.reveal()),
        (Shape::One | Shape::List, _) => format!("[{}]", items.collect::<Vec<_>>().join(", ")),
        (Shape::Map, _) => {
            let pairs = values.iter().zip(items);
            let pairs = pairs.map(|((name, _), value)| format!("{} = {value}", quoted(name)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn plain_or_quoted(text: &str) -> String {
    match text.parse::<i64>().is_ok() || text == "true" || text == "false" {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The text as TOML writes it, with the password of a URL hidden.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in hide_password(text).chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn hide_password(text: &str) -> String {
    let Some((scheme, login, after)) = login(text) else {
        return text.to_owned();
    };
    let user = login.split(':').next().unwrap_or(login);
    format!("{scheme}://{user}:(hidden){after}")
}

/// Whether the text is a URL with a password.
pub(super) fn has_password(text: &str) -> bool {
    let password = login(text).and_then(|(_, login, _)| login.split_once(':'));
    password.is_some_and(|(_, password)| !password.is_empty())
}

/// A URL's scheme, its login, and what follows that.
fn login(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (login, _) = authority.rsplit_once('@')?;
    Some((scheme, login, rest.strip_prefix(login).unwrap_or(rest)))
}
