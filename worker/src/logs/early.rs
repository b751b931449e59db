//! Requests to follow logs that are not open yet: a master often asks before the worker has begun the attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::id::AttemptId;
use tokio::time::Instant;

/// So many requests are kept, because anybody at the broker may ask for any attempt. Beyond it the one that ends
/// first is forgotten.
const MOST: usize = 256;
/// No request lasts longer.
const LONGEST: Duration = Duration::from_secs(600);

/// Until when each attempt is to be followed that has no log yet.
#[derive(Debug, Default)]
pub(crate) struct EarlyFollowers(BTreeMap<AttemptId, Instant>);

impl EarlyFollowers {
    /// Keeps a request that lasts for `span` from `now` on.
    pub(crate) fn keep(&mut self, attempt: AttemptId, now: Instant, span: Duration) {
        self.0.retain(|_, until| *until > now);
        let until = now + span.min(LONGEST);
        let known = self.0.entry(attempt).or_insert(until);
        *known = until.max(*known);
        if self.0.len() > MOST {
            let first = self.0.iter().min_by_key(|(_, until)| **until);
            if let Some(attempt) = first.map(|(attempt, _)| *attempt) {
                self.0.remove(&attempt);
            }
        }
    }

    /// For how long the attempt, whose log is open now, is still to be followed.
    pub(crate) fn take(&mut self, attempt: AttemptId, now: Instant) -> Option<Duration> {
        let until = self.0.remove(&attempt)?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::id::{JobId, JobKey};

    use super::*;

    fn attempt(job: u64) -> AttemptId {
        AttemptId {
            job: JobId(job),
            number: 1,
            key: JobKey([7; 16]),
        }
    }

    #[test]
    fn a_request_is_kept_until_its_end() {
        let mut early = EarlyFollowers::default();
        let start = Instant::now();
        early.keep(attempt(1), start, Duration::from_secs(60));
        early.keep(attempt(1), start, Duration::from_secs(30));
        early.keep(attempt(2), start, Duration::from_secs(30));
        let later = start + Duration::from_secs(40);
        assert_eq!(early.take(attempt(1), later), Some(Duration::from_secs(20)));
        assert_eq!(early.take(attempt(1), later), None, "taken once");
        assert_eq!(early.take(attempt(2), later), None, "over");
    }

    #[test]
    fn those_that_last_longest_are_kept() {
        let mut early = EarlyFollowers::default();
        let now = Instant::now();
        early.keep(attempt(1), now, Duration::from_secs(100_000));
        for job in 2..1000 {
            early.keep(attempt(job), now, Duration::from_secs(30));
        }
        assert_eq!(early.0.len(), MOST);
        assert_eq!(early.take(attempt(1), now), Some(LONGEST));
    }
}
