//! Weighted GPU-seconds, charged while held, with half-life `h`:
//! `U(t) = U0·2^(-(t-t0)/h) + r·(h/ln 2)·(1 - 2^(-(t-t0)/h))`, where `r` is what is held since `t0`.
//!
//! The formula is closed, so a value is exact at any time, however rarely it is updated. It is linear, so what one
//! attempt added can be subtracted exactly.

use serde::{Deserialize, Serialize};

use std::f64::consts::LN_2;
use std::time::Duration;

/// The charge rate of an attempt while it holds its machine, in millionths of a weighted GPU.
/// Integers, so that sums do not depend on their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub u64);

impl Rate {
    /// One GPU of weight 1.
    pub const GPU: Self = Self(1_000_000);

    /// In weighted GPUs.
    #[must_use]
    pub fn gpus(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "rounded only beyond 9,000 million GPUs"
        )]
        let micro = self.0 as f64;
        micro / 1e6
    }
}

/// The fraction left after `elapsed`: `2^(-elapsed/h)`.
#[must_use]
pub fn kept(elapsed: Duration, half_life: Duration) -> f64 {
    (-elapsed.as_secs_f64() / half_life.as_secs_f64()).exp2()
}

/// The usage added by holding `rate` for `elapsed` until now: `r·(h/ln 2)·(1 - 2^(-elapsed/h))`.
#[must_use]
pub fn charged(rate: Rate, elapsed: Duration, half_life: Duration) -> f64 {
    rate.gpus() * (half_life.as_secs_f64() / LN_2) * forgotten(elapsed, half_life)
}

/// The fraction forgotten after `elapsed`: `1 - 2^(-elapsed/h)`.
fn forgotten(elapsed: Duration, half_life: Duration) -> f64 {
    // exp_m1 is exact for short times; subtracting from 1 is not.
    -(-LN_2 * elapsed.as_secs_f64() / half_life.as_secs_f64()).exp_m1()
}

/// `U(t)`: the usage after `elapsed`, during which `rate` was held.
#[must_use]
pub fn after(usage: f64, rate: Rate, elapsed: Duration, half_life: Duration) -> f64 {
    let forgotten = forgotten(elapsed, half_life);
    usage * (1.0 - forgotten) + rate.gpus() * (half_life.as_secs_f64() / LN_2) * forgotten
}

/// `x`: the usage as a fraction of the whole cluster's, 1 for all of it all the time.
/// A cluster without GPUs counts as having one.
#[must_use]
pub fn normalised(usage: f64, capacity: Rate, half_life: Duration) -> f64 {
    let capacity = if capacity == Rate(0) {
        Rate::GPU
    } else {
        capacity
    };
    usage / (capacity.gpus() * half_life.as_secs_f64() / LN_2)
}

/// Measures many usages at one time: [`normalised`] of [`after`], with the common parts computed once.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// What a millisecond adds to the exponent of `e`.
    per_milli: f64,
    /// The usage of holding one GPU for ever, in GPU-seconds.
    held: f64,
    /// One GPU-second as a fraction of the whole cluster's usage.
    part: f64,
}

impl Meter {
    /// For a cluster of this capacity.
    #[must_use]
    pub fn new(capacity: Rate, half_life: Duration) -> Self {
        let held = half_life.as_secs_f64() / LN_2;
        Self {
            per_milli: -1.0 / (held * 1000.0),
            held,
            part: normalised(1.0, capacity, half_life),
        }
    }

    /// `x`: the usage after this many milliseconds with `rate` held, as a fraction of the whole cluster's.
    #[must_use]
    pub fn measure(&self, usage: f64, rate: Rate, millis: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds are rounded only beyond 285,000 years"
        )]
        let millis = millis as f64;
        let forgotten = -(self.per_milli * millis).exp_m1();
        (usage * (1.0 - forgotten) + rate.gpus() * self.held * forgotten) * self.part
    }
}

/// How long an idle user's usage takes to fall to `part` of itself.
#[must_use]
pub fn falls_to(part: f64, half_life: Duration) -> Duration {
    let halvings = -part.log2();
    Duration::try_from_secs_f64(halvings * half_life.as_secs_f64()).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Duration = Duration::from_secs(86_400);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn equals_the_sum_over_small_steps() {
        let rate = Rate(2_500_000);
        let mut stepped = 1000.0;
        for _ in 0..100_000 {
            // Each second's charge, which is half a second old on average.
            stepped = stepped * kept(secs(1), H) + 2.5 * kept(Duration::from_millis(500), H);
        }
        let exact = after(1000.0, rate, secs(100_000), H);
        assert!((stepped / exact - 1.0).abs() < 1e-9, "{stepped} {exact}");
    }

    #[test]
    fn does_not_depend_on_when_it_is_looked_at() {
        let rate = Rate(3_000_000);
        let once = after(7.0, rate, secs(50_000), H);
        let twice = after(after(7.0, rate, secs(20_000), H), rate, secs(30_000), H);
        assert!((once - twice).abs() < 1e-9 * once);
        let seconds = charged(Rate::GPU, secs(1), H);
        assert!(
            (seconds - 1.0).abs() < 1e-5,
            "a second is a second at first"
        );
    }

    #[test]
    fn all_of_the_cluster_all_the_time_is_one() {
        let capacity = Rate(8_000_000);
        let usage = after(0.0, capacity, secs(100 * 86_400), H);
        assert!((normalised(usage, capacity, H) - 1.0).abs() < 1e-12);
        assert!((normalised(usage / 2.0, capacity, H) - 0.5).abs() < 1e-12);
        assert!(normalised(1.0, Rate(0), H).is_finite());
    }

    #[test]
    fn a_meter_says_the_same() {
        let capacity = Rate(8_000_000);
        let meter = Meter::new(capacity, H);
        for millis in [0, 1, 250, 60_000, 86_400_000, 40_000_000_000] {
            let elapsed = Duration::from_millis(millis);
            let exact = normalised(after(77.0, Rate(2_500_000), elapsed, H), capacity, H);
            let measured = meter.measure(77.0, Rate(2_500_000), millis);
            assert!((measured / exact - 1.0).abs() < 1e-12, "{millis}");
        }
    }

    #[test]
    fn a_tenth_is_left_after_three_and_a_third_half_lives() {
        let wait = falls_to(0.1, H);
        assert!((kept(wait, H) - 0.1).abs() < 1e-9);
        assert_eq!(falls_to(2.0, H), Duration::ZERO);
    }
}
