//! Keys as docker-py takes them: with or without a capital.

use serde_json::{Map, Value};

use crate::bundle::config::shape::{self, Read, wrong};
use crate::bundle::fault::quote;

/// The value of `lower` or of the same key with a capital.
pub(super) fn either<'v>(map: &'v Map<String, Value>, lower: &str) -> Option<&'v Value> {
    let capital = |key: &str| {
        let mut chars = key.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    map.get(lower)
        .or_else(|| map.get(&capital(lower)))
        .filter(|value| !value.is_null())
}

/// Refuses keys of `map` that are not in `known`, ignoring the case of their first letter.
pub(super) fn only(map: &Map<String, Value>, known: &[&str]) -> Read<()> {
    shape::each(map.keys().map(|key| {
        let fits = known.iter().any(|known| known.eq_ignore_ascii_case(key));
        let read = if fits {
            Ok(())
        } else {
            wrong(format!("unknown key; allowed are {}", known.join(", ")))
        };
        (format!(".{}", quote(key)), read)
    }))?;
    Ok(())
}
