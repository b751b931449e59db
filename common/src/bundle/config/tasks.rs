//! The fields of arrays: `array`, `sweep` and `max_fails`, and how they combine.

use serde_json::Value;

use super::shape::{self, Fields, Read, wrong};
use crate::bundle::fault::quote;
use crate::job::{ArraySpec, INDEXES_MAX, Indexes, Sweep, SweepAxis, SweepError};

/// The three fields combined.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) array: Option<ArraySpec>,
    pub(super) sweep: Option<Sweep>,
    pub(super) max_fails: Option<u32>,
}

/// Takes the fields. A sweep makes an array of all its combinations, unless `array` selects some.
pub(super) fn take(fields: &mut Fields<'_>) -> Tasks {
    let array = fields.take("array", array);
    let sweep = fields.take("sweep", sweep);
    let max_fails = fields.take("max_fails", |value| {
        shape::whole_as(value, 0, i64::from(INDEXES_MAX))
    });
    if let (Some(array), Some(sweep)) = (&array, &sweep)
        && let Some(last) = array.indexes.last().filter(|last| *last >= sweep.len())
    {
        let message = format!(
            "the sweep has {} combinations with indexes 0 to {}; {last} is too large",
            sweep.len(),
            sweep.len() - 1
        );
        fields.fault("config_conflict", "array", message);
    }
    if max_fails.is_some() && !fields.has("array") && !fields.has("sweep") {
        let message = "it needs `array` or `sweep`";
        fields.fault("config_conflict", "max_fails", message);
    }
    let all = |sweep: &Sweep| ArraySpec {
        indexes: Indexes::from_range(0, sweep.len() - 1),
        max_running: None,
    };
    Tasks {
        array: array.or_else(|| sweep.as_ref().map(all)),
        sweep,
        max_fails,
    }
}

/// Indexes such as `0-99` or `1,5-9`, with `%n` for at most `n` at once.
fn array(value: &Value) -> Read<ArraySpec> {
    let text = shape::text(value)?;
    let (indexes, most) = match text.split_once('%') {
        Some((indexes, most)) => (indexes, Some(most)),
        None => (text, None),
    };
    let max_running = match most.map(str::parse::<std::num::NonZeroU32>) {
        None => None,
        Some(Ok(most)) => Some(most.get()),
        Some(Err(_)) => return wrong("the number after `%` must be at least 1: 0-99%8"),
    };
    match indexes.parse::<Indexes>() {
        Ok(indexes) => Ok(ArraySpec {
            indexes,
            max_running,
        }),
        Err(error) => wrong(format!(
            "{error}; write 0-99, or 0-99%8 for at most 8 at once"
        )),
    }
}

/// A list of `NAME=VALUES`, or an object of names with their values.
fn sweep(value: &Value) -> Read<Sweep> {
    let axes = match value {
        Value::Array(_) => shape::list(value, |item| match shape::text(item)?.split_once('=') {
            Some((name, values)) => told(SweepAxis::parse(name, values)),
            None => wrong("it must be NAME=VALUES, such as lr=0.1,0.01 or seed=1..5"),
        })?,
        Value::Object(map) => shape::each(
            map.iter()
                .map(|(name, values)| (format!(".{}", quote(name)), axis(name, values))),
        )?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return shape::mismatch("a list such as [\"lr=0.1,0.01\", \"seed=1..5\"]", value);
        }
    };
    told(Sweep::new(axes))
}

/// The values of one name: one text, or a list of literal values.
fn axis(name: &str, values: &Value) -> Read<SweepAxis> {
    match values {
        Value::Array(_) => told(SweepAxis::from_values(
            name,
            shape::list(values, shape::scalar)?,
        )),
        Value::String(_) => told(SweepAxis::parse(name, shape::text(values)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            shape::mismatch("a text such as \"1..5\" or a list of values", values)
        }
    }
}

fn told<T>(read: Result<T, SweepError>) -> Read<T> {
    read.or_else(|error| wrong(error.to_string()))
}
