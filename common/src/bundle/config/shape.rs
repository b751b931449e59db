//! The shapes of values: docker-py accepts text or list, object or list, and so on.
//!
//! A reader returns the value or all its errors. [`Fields`] adds the place in the document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::document::join;
use super::{units, words};
use crate::bundle::fault::{Faults, MOST, quote};
use crate::resources::ByteSize;

/// One error in a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where inside the value: empty, or such as `[0].soft`.
    at: String,
    message: String,
}

/// A value, or all its errors.
pub(super) type Read<T> = Result<T, Vec<Wrong>>;

/// One error of the whole value.
pub(super) fn wrong<T>(message: impl Into<String>) -> Read<T> {
    Err(vec![Wrong {
        at: String::new(),
        message: message.into(),
    }])
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self {
            at: String::new(),
            message,
        }
    }
}

/// Reads the items and reports all errors; `at` is the place of each inside the value. Stops when there are more
/// errors than anybody is told.
pub(super) fn each<T>(items: impl IntoIterator<Item = (String, Read<T>)>) -> Read<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (at, read) in items {
        if bad.len() > MOST {
            break;
        }
        match read {
            Ok(item) => good.push(item),
            Err(wrongs) => bad.extend(wrongs.into_iter().map(|w| Wrong {
                at: format!("{at}{}", w.at),
                message: w.message,
            })),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

/// An object of the document whose fields are taken one by one.
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
    faults: &'a mut Faults,
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &str, map: &'a Map<String, Value>, faults: &'a mut Faults) -> Self {
        Self {
            path: path.to_owned(),
            map,
            faults,
            known: BTreeSet::new(),
        }
    }

    /// Whether the field is present and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// The field's value; `None` if it is absent, null or wrong. Records the fault.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Read<T>,
    ) -> Option<T> {
        self.known.insert(name);
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        match read(value) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                for Wrong { at, message } in wrongs {
                    let place = format!("{}{at}", join(&self.path, name));
                    self.faults.add("config_value", place, message);
                }
                None
            }
        }
    }

    /// Like [`Self::take`], but a missing field is a fault.
    pub(super) fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Read<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.fault("config_required", name, "this field is required");
        }
        self.take(name, read)
    }

    /// Records a fault of the field `name`.
    pub(super) fn fault(&mut self, rule: &'static str, name: &str, message: impl AsRef<str>) {
        self.faults.add(rule, join(&self.path, name), message);
    }

    /// The faults of the whole document, for an object inside this one.
    pub(super) fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// Records every field that was not taken; `explain` returns the rule and the message, or `None` to accept it.
    pub(super) fn refuse_rest(
        &mut self,
        explain: impl Fn(&str, &Value, &BTreeSet<&'static str>) -> Option<(&'static str, String)>,
    ) {
        let known = std::mem::take(&mut self.known);
        for (name, value) in self.map {
            if known.contains(name.as_str()) {
                continue;
            }
            if self.faults.is_full() {
                self.faults.count();
            } else if let Some((rule, message)) = explain(name, value, &known) {
                self.fault(rule, name, message);
            }
        }
        self.known = known;
    }
}

/// `; did you mean …?` with the nearest of `known`, if one is near.
pub(super) fn nearest(name: &str, known: &BTreeSet<&'static str>) -> String {
    // A name longer than any field's is not a typo, and comparing it takes quadratic time.
    if name.len() > 64 {
        return String::new();
    }
    let name = name.to_ascii_lowercase();
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name, known), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map_or_else(String::new, |(_, known)| {
            format!(" (did you mean `{known}`?)")
        })
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn mismatch<T>(expected: &str, value: &Value) -> Read<T> {
    wrong(format!("it must be {expected}, not {}", kind(value)))
}

/// A text without NUL, which file names, arguments and the environment cannot contain.
pub(super) fn text(value: &Value) -> Read<&str> {
    match value {
        Value::String(text) if text.contains('\0') => wrong("it contains a NUL character"),
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            mismatch("a text", value)
        }
    }
}

/// A non-empty text on one line.
pub(super) fn line(value: &Value) -> Read<String> {
    let text = text(value)?;
    if text.trim().is_empty() {
        return wrong("it is empty");
    }
    if text
        .chars()
        .any(|c| c.is_control() || crate::bundle::fault::is_invisible(c))
    {
        return wrong("it contains control or invisible characters");
    }
    Ok(text.to_owned())
}

pub(super) fn boolean(value: &Value) -> Read<bool> {
    value
        .as_bool()
        .map_or_else(|| mismatch("true or false", value), Ok)
}

pub(super) fn whole(value: &Value, min: i64, max: i64) -> Read<i64> {
    match value.as_i64() {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        Some(_) => wrong(format!("it must be {min} to {max}")),
        None if value.is_number() => wrong(format!("it must be a whole number, {min} to {max}")),
        None => mismatch("a whole number", value),
    }
}

/// A whole number in a range that fits the type.
pub(super) fn whole_as<T: TryFrom<i64>>(value: &Value, min: i64, max: i64) -> Read<T> {
    let number = whole(value, min, max)?;
    T::try_from(number).or_else(|_| wrong(format!("it must be {min} to {max}")))
}

pub(super) fn number(value: &Value) -> Read<f64> {
    value
        .as_f64()
        .map_or_else(|| mismatch("a number", value), Ok)
}

/// A number of seconds, or a text such as `2h30m`.
pub(super) fn duration(value: &Value) -> Read<Duration> {
    let read = match value {
        Value::Number(_) => units::seconds_f64(number(value)?),
        Value::String(text) => units::duration(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return mismatch("a duration such as \"2h30m\" or a number of seconds", value);
        }
    };
    read.or_else(wrong)
}

/// A text such as `20g`, or a number of `bare` bytes each; above 0.
pub(super) fn size(value: &Value, bare: u64) -> Read<ByteSize> {
    let read = match value {
        Value::Number(_) => {
            let whole = value.as_u64().and_then(|n| n.checked_mul(bare));
            let fraction = || units::bytes_f64(value.as_f64()?, bare);
            whole
                .filter(|bytes| *bytes <= 1 << 62)
                .map(ByteSize)
                .or_else(fraction)
                .ok_or_else(|| "the size is out of range".to_owned())
        }
        Value::String(text) => units::size(text, bare),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return mismatch("a size such as \"20g\"", value);
        }
    };
    match read {
        Ok(ByteSize(0)) => wrong("it must be above 0"),
        Ok(size) => Ok(size),
        Err(message) => wrong(message),
    }
}

/// A list, read item by item.
pub(super) fn list<'v, T>(value: &'v Value, read: impl Fn(&'v Value) -> Read<T>) -> Read<Vec<T>> {
    match value {
        Value::Array(items) => each(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| (format!("[{i}]"), read(item))),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            mismatch("a list", value)
        }
    }
}

/// One text, or a list of them.
pub(super) fn one_or_more(value: &Value) -> Read<Vec<String>> {
    match value {
        Value::String(_) => Ok(vec![line(value)?]),
        Value::Array(_) => list(value, line),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            mismatch("a text or a list of texts", value)
        }
    }
}

/// A command: a list of words, or a text that is split as a shell splits it.
pub(super) fn command(value: &Value) -> Read<Vec<String>> {
    match value {
        Value::String(_) => words::split(text(value)?).or_else(wrong),
        Value::Array(_) => list(value, scalar),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            mismatch("a text or a list of texts", value)
        }
    }
}

/// A text, or a number or boolean formatted like Python's `str`, as docker-py does.
pub(super) fn scalar(value: &Value) -> Read<String> {
    match value {
        Value::String(_) => Ok(text(value)?.to_owned()),
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            mismatch("a text, a number, or true or false", value)
        }
    }
}

/// Pairs from an object or a list of `key=value`, in order, each key once.
pub(super) fn pairs(value: &Value, separator: char) -> Read<Vec<(String, String)>> {
    let pairs = match value {
        Value::Object(map) => each(map.iter().map(|(key, value)| {
            let pair = scalar(value).map(|value| (key.clone(), value));
            (format!(".{}", quote(key)), pair)
        }))?,
        Value::Array(_) => list(value, |item| match text(item)?.split_once(separator) {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => wrong(format!("it must be name{separator}value")),
        })?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return mismatch("an object or a list", value);
        }
    };
    let mut seen = BTreeSet::new();
    for (key, _) in &pairs {
        if key.is_empty() || key.contains(['\0', '\n', '\r']) {
            return wrong("it contains an empty name or one with a line break or NUL");
        }
        if !seen.insert(key) {
            return wrong(format!("it contains `{}` twice", quote(key)));
        }
    }
    Ok(pairs)
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Read<T> {
    let found = text(value)?;
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    match words.iter().find(|(word, _)| *word == found) {
        Some((_, meaning)) => Ok(*meaning),
        None => wrong(format!(
            "`{}` is not allowed; use one of {}",
            quote(found),
            known.join(", ")
        )),
    }
}
