//! The syntax of a configuration document: strict JSON.
//!
//! Refuses duplicate keys, deep nesting and a byte order mark, because readers could interpret them differently.
//! `fields` interprets the fields.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{MAX_BYTES, MAX_DEPTH};
use crate::bundle::Fault;
use crate::bundle::fault::{Faults, quote};

/// The message for deep nesting; also distinguishes it from syntax errors.
const TOO_DEEP: &str = "it is nested more than 32 levels deep";

/// Reads the document's object and reports all duplicate keys. A syntax error stops reading and is the only fault.
pub(super) fn read(text: &str) -> Result<Map<String, Value>, Vec<Fault>> {
    let mut faults = Faults::default();
    if text.len() > MAX_BYTES {
        faults.add(
            "config_too_large",
            "",
            format!("it has {} bytes; the maximum is 1 MiB", text.len()),
        );
        return Err(faults.into_list());
    }
    if text.starts_with('\u{feff}') {
        faults.add(
            "config_bom",
            "line 1, column 1",
            "it starts with a byte order mark; save it as UTF-8 without one",
        );
    }
    let mut reader = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let seed = Node {
        depth: 1,
        at: &At::Root,
        faults: &mut faults,
    };
    let value = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(map)) if faults.is_empty() => return Ok(map),
        Ok(Value::Object(_)) => {}
        Ok(_) => faults.add("config_not_object", "", "it must be an object: { … }"),
        Err(error) => faults.push(syntax(&error)),
    }
    Err(faults.into_list())
}

/// A syntax error with its place.
fn syntax(error: &serde_json::Error) -> Fault {
    let place = format!("line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    // serde_json appends the place, which is a separate field here.
    let text = text.split(" at line ").next().unwrap_or_default();
    if text == TOO_DEEP || text.starts_with("recursion limit") {
        Fault::new("config_too_deep", place, TOO_DEEP)
    } else if text.starts_with("number out of range") {
        Fault::new("config_number", place, "the number is out of range")
    } else {
        Fault::new("config_syntax", place, format!("it is not JSON: {text}"))
    }
}

/// Reads one value at some depth and checks its keys.
struct Node<'a> {
    depth: usize,
    at: &'a At<'a>,
    faults: &'a mut Faults,
}

/// Where a value is. Only a fault needs it as text: writing it for every value takes time in depth times size.
enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl At<'_> {
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(above, key) => join(&above.path(), key),
            Self::Item(above, index) => format!("{}[{index}]", above.path()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(de::Error::custom(TOO_DEEP));
        }
        let mut list = Vec::new();
        loop {
            let seed = Node {
                depth: self.depth + 1,
                at: &At::Item(self.at, list.len()),
                faults: &mut *self.faults,
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(de::Error::custom(TOO_DEEP));
        }
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let at = At::Key(self.at, &key);
            if map.contains_key(&key) {
                if self.faults.is_full() {
                    self.faults.count();
                } else {
                    let message = "duplicate key; keep one";
                    self.faults.add("config_duplicate_key", at.path(), message);
                }
            }
            let seed = Node {
                depth: self.depth + 1,
                at: &at,
                faults: &mut *self.faults,
            };
            let value = entries.next_value_seed(seed)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// The path of the field `key` inside `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = quote(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(&'static str, String)> {
        let faults = read(text).expect_err(text);
        faults.into_iter().map(|f| (f.rule, f.place)).collect()
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused_with_its_place() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(32), "]".repeat(32));
        for (text, rule, place) in [
            ("\u{feff}{}", "config_bom", "line 1, column 1"),
            ("[]", "config_not_object", ""),
            ("{\"a\": 1,\n}", "config_syntax", "line 2, column 1"),
            ("{} {}", "config_syntax", "line 1, column 4"),
            ("{\"a\": 1e9999}", "config_number", "line 1, column 12"),
            ("{\"a\": NaN}", "config_syntax", "line 1, column 7"),
            (
                "{\"a\":1,\"b\":{\"c\":1,\"c\":2}}",
                "config_duplicate_key",
                "b.c",
            ),
            (deep.as_str(), "config_too_deep", "line 1, column 38"),
            ("", "config_syntax", "line 1, column 0"),
        ] {
            assert_eq!(rules(text), [(rule, place.to_owned())], "{text}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES));
        assert_eq!(rules(&large)[0].0, "config_too_large");
    }

    #[test]
    fn every_duplicate_is_told() {
        assert_eq!(
            rules("{\"a\":1,\"a\":2,\"b\":1,\"b\":[{\"c\":1,\"c\":2}]}").len(),
            3
        );
    }

    #[test]
    fn the_deepest_allowed_is_read() {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(31), "]".repeat(31));
        assert!(read(&text).is_ok());
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
