//! docker-py's shape of a health check: times in nanoseconds, keys in lower case or with a capital.

use std::time::Duration;

use serde_json::Value;

use super::super::shape::{self, Read, wrong};
use super::keys::{either, only};
use crate::job::HealthCheck;

const KEYS: [&str; 6] = [
    "test",
    "interval",
    "timeout",
    "retries",
    "start_period",
    "StartPeriod",
];

/// `None` is `["NONE"]`: no check, which is the default.
pub(super) fn read(value: &Value) -> Read<Option<HealthCheck>> {
    let Value::Object(map) = value else {
        return shape::mismatch("an object with `test`", value);
    };
    only(map, &KEYS)?;
    let test = match either(map, "test") {
        None => return wrong("it needs `test`"),
        Some(Value::String(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
        Some(list) => shape::list(list, |item| Ok(shape::text(item)?.to_owned()))?,
    };
    match test.first().map(String::as_str) {
        None | Some("NONE") => return Ok(None),
        Some("CMD" | "CMD-SHELL") if test.len() > 1 => {}
        Some(_) => {
            return wrong("`test` must be a text, or [\"CMD\", …] or [\"CMD-SHELL\", \"…\"]");
        }
    }
    let start_period = either(map, "start_period").or_else(|| map.get("StartPeriod"));
    Ok(Some(HealthCheck {
        test,
        interval: time(either(map, "interval"))?,
        timeout: time(either(map, "timeout"))?,
        retries: either(map, "retries")
            .map(|v| shape::whole(v, 0, 1000))
            .transpose()?,
        start_period: time(start_period)?,
    }))
}

/// Nanoseconds; 0 leaves Docker's default.
fn time(value: Option<&Value>) -> Read<Option<Duration>> {
    const MILLI: i64 = 1_000_000;
    const DAY: i64 = 86_400 * 1000 * MILLI;
    let Some(value) = value else { return Ok(None) };
    match shape::whole(value, 0, DAY)? {
        0 => Ok(None),
        nanos if nanos < MILLI => wrong("times are in nanoseconds, at least one millisecond"),
        nanos => Ok(Some(Duration::from_nanos(nanos.unsigned_abs()))),
    }
}
