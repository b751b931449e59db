//! The penalties that a history of finished jobs leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::penalty::recency;
use crate::penalty::usage::{Rate, charged, kept};
use crate::time::Timestamp;

use super::table::TraceError;

/// One finished job: a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryJob {
    /// Whose it was.
    pub user: String,
    /// When it started, seconds since 1970; or as the API writes it, such as 2026-09-01T12:00:00Z.
    #[serde(deserialize_with = "instant")]
    pub started_at: f64,
    /// When it ended, likewise.
    #[serde(deserialize_with = "instant")]
    pub finished_at: f64,
    /// How many GPUs it held.
    #[serde(default = "one")]
    pub gpus: f64,
}

const fn one() -> f64 {
    1.0
}

fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Instant {
        Seconds(f64),
        Text(String),
    }
    match Instant::deserialize(from)? {
        Instant::Seconds(seconds) => Ok(seconds),
        Instant::Text(text) => read_instant(&text).map_err(D::Error::custom),
    }
}

/// Reads an instant that is seconds since 1970, or such as 2026-09-01T12:00:00Z.
///
/// # Errors
/// When it is neither.
pub fn read_instant(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let at = || text.parse::<DateTime<Utc>>().ok();
    seconds
        .or_else(|| Some(Timestamp::from_datetime(at()?).as_secs_f64()))
        .ok_or_else(|| "a time is seconds since 1970, or like 2026-09-01T12:00:00Z".to_owned())
}

/// Reads a history: a JSON object a line, the oldest first.
///
/// # Errors
/// When a line is no such object, or its times or GPUs are no numbers that can be.
pub fn read(text: &str) -> Result<Vec<HistoryJob>, TraceError> {
    let lines = (1..).zip(text.lines());
    let filled = lines.filter(|(_, content)| !content.trim().is_empty());
    filled
        .map(|(line, content)| {
            let bad = || TraceError::BadValue {
                line,
                value: content.to_owned(),
                what: "finished job such as {\"user\":\"anna\",\"started_at\":0,\"finished_at\":60,\"gpus\":1}",
            };
            let job: HistoryJob = serde_json::from_str(content).map_err(|_| bad())?;
            let numbers = [job.started_at, job.finished_at, job.gpus];
            let can_be = numbers.iter().all(|number| number.is_finite() && *number >= 0.0);
            if can_be && job.started_at <= job.finished_at && job.gpus <= 1e6 {
                Ok(job)
            } else {
                Err(bad())
            }
        })
        .collect()
}

/// DoPQ 1.0's penalty of each user.
#[must_use]
pub fn by_recency(history: &[HistoryJob]) -> BTreeMap<String, f64> {
    let mut penalties: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for (count, job) in (1..).zip(history) {
        let (penalty, at) = penalties.entry(job.user.clone()).or_default();
        *penalty = recency::after_own(recency::decayed(*penalty, count - 1 - *at));
        *at = count;
    }
    let count = u64::try_from(history.len()).unwrap_or(u64::MAX);
    let now = penalties.into_iter();
    now.map(|(user, (penalty, at))| (user, recency::decayed(penalty, count - at)))
        .collect()
}

/// The usage of each user in GPU-seconds at `now`, in seconds since 1970. What lies after it is left out.
#[must_use]
pub fn by_usage(history: &[HistoryJob], half_life: Duration, now: f64) -> BTreeMap<String, f64> {
    let mut usages: BTreeMap<String, f64> = BTreeMap::new();
    for job in history {
        let usage = usages.entry(job.user.clone()).or_default();
        let end = job.finished_at.min(now);
        let held = seconds(end - job.started_at);
        let whole = charged(Rate::GPU, held, half_life) * job.gpus;
        *usage += whole * kept(seconds(now - end), half_life);
    }
    usages
}

/// Seconds that are not below 0.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::penalty::usage::after;

    #[test]
    fn both_penalties_follow_from_a_history() {
        let text = r#"{"user":"anna","started_at":0,"finished_at":100,"gpus":2}
{"user":"bert","started_at":100,"finished_at":86500}

{"user":"anna","started_at":86500,"finished_at":86500,"gpus":1}"#;
        let history = read(text).expect("a history");
        let recency = by_recency(&history);
        assert!((recency["anna"] - (1.0 + (-2.0_f64).exp())).abs() < 1e-12);
        assert!((recency["bert"] - (-1.0_f64).exp()).abs() < 1e-12);
        let half_life = Duration::from_secs(86_400);
        let usage = by_usage(&history, half_life, 86_500.0);
        let expected = after(0.0, Rate(2_000_000), Duration::from_secs(100), half_life) / 2.0;
        assert!((usage["anna"] - expected).abs() < 1e-9);
        assert!((usage["bert"] - charged(Rate::GPU, half_life, half_life)).abs() < 1e-9);
        let same = r#"{"user":"bert","started_at":"1970-01-01T00:01:40Z","finished_at":"1970-01-02T01:01:40+01:00"}"#;
        assert_eq!(read(same).expect("a history"), history[1..2]);
        for bad in [
            r#"{"user":"a"}"#,
            r#"{"user":"a","started_at":"noon","finished_at":1}"#,
            r#"{"user":"a","started_at":9,"finished_at":1}"#,
            "x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
