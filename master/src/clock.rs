//! The master's clocks. Only shells read them; the core takes `now` as an argument.
//!
//! Leases and time-outs use the runtime's monotonic clock directly and are no business of this file.

use std::time::Duration;

use dopq_common::time::Timestamp;
use tokio::time::Instant;

/// How much of the elapsed time the [`Clock`] may be moved towards the machine's clock: one part in so many.
const SLEW: u32 = 10;

/// The current time of this machine's clock, in whole milliseconds.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_datetime(chrono::Utc::now())
}

/// The scheduler's clock: follows the machine's, but never jumps and never goes back.
///
/// When somebody sets the machine's clock an hour ahead, no worker has been silent for an hour. So the
/// time that passes is measured monotonically, and what separates it from the machine's clock is made
/// good by at most a tenth of the time that passes.
#[derive(Debug)]
pub struct Clock {
    /// Since 1970, finer than a [`Timestamp`], so that frequent readings lose nothing to rounding.
    shown: Duration,
    read_at: Instant,
}

impl Clock {
    /// Starts at `wall`, or at `not_before` when that is later: what a former leader has dated must not
    /// lie in the future.
    #[must_use]
    pub fn start(wall: Timestamp, not_before: Timestamp, at: Instant) -> Self {
        Self {
            shown: since_1970(wall.max(not_before)),
            read_at: at,
        }
    }

    /// The time, given what the machine's clock and the monotonic one say.
    pub fn read(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.read_at);
        self.read_at = at;
        let slew = passed / SLEW;
        let due = self.shown + passed;
        let wall = since_1970(wall);
        let ahead = wall.saturating_sub(due).min(slew);
        // The machine's clock is read in whole milliseconds, and is up to one later than it says.
        let latest = wall + Duration::from_millis(1);
        let behind = due.saturating_sub(latest).min(slew);
        self.shown = due + ahead - behind;
        Timestamp::default().after(self.shown)
    }
}

fn since_1970(at: Timestamp) -> Duration {
    at.since(Timestamp::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_jump_of_the_machines_clock_is_made_good_slowly() {
        let start = Timestamp::from_millis(1_000_000_000);
        let jumped = start.after(HOUR);
        let at = Instant::now();
        let mut ahead = Clock::start(start, Timestamp::default(), at);
        let mut behind = Clock::start(jumped, Timestamp::default(), at);
        let later = at + Duration::from_secs(10);
        assert_eq!(
            ahead.read(jumped, later),
            start.after(Duration::from_secs(11))
        );
        assert_eq!(
            behind.read(start, later),
            jumped.after(Duration::from_secs(9))
        );
    }

    #[test]
    fn a_right_clock_is_followed_however_often_it_is_read() {
        let start = Timestamp::from_millis(5_000);
        let at = Instant::now();
        let mut clock = Clock::start(start, Timestamp::default(), at);
        for tenths in 1..=50_000 {
            let passed = Duration::from_micros(100 * tenths);
            let wall = start.after(passed);
            assert_eq!(clock.read(wall, at + passed), wall);
        }
    }

    #[test]
    fn what_was_dated_before_is_not_in_the_future() {
        let start = Timestamp::from_millis(5_000);
        let later = start.after(HOUR);
        let at = Instant::now();
        let mut clock = Clock::start(start, later, at);
        assert_eq!(clock.read(start, at), later);
    }
}
