//! Quantiles of many durations in little memory: a histogram whose buckets grow with what they hold, so
//! that a quantile is off by at most a thirty-second of itself, however long or short the durations are.
//!
//! It is `DDSketch` (Masson, Rim and Lee, "`DDSketch`: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", PVLDB 12(12), 2019) with the mapping that goes straight from one power of
//! two to the next, in whole numbers, so that it counts the same on every machine. The order in which durations come
//! does not matter, and any of them can be taken out again.

use std::collections::BTreeMap;
use std::time::Duration;

/// Each power of two is cut into so many buckets, as a power of two.
const PARTS_LOG2: u32 = 4;
const PARTS: u64 = 1 << PARTS_LOG2;

/// How many durations there are of about which length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// By bucket; none that is empty.
    counts: BTreeMap<u16, u32>,
    total: u32,
}

impl Sketch {
    /// How many durations it holds.
    pub(crate) const fn len(&self) -> u32 {
        self.total
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        *self.counts.entry(bucket_of(duration)).or_default() += 1;
        self.total += 1;
    }

    /// Takes a duration out again; without effect on one that was never added.
    pub(crate) fn remove(&mut self, duration: Duration) {
        let bucket = bucket_of(duration);
        if let Some(count) = self.counts.get_mut(&bucket) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.counts.remove(&bucket);
            }
        }
    }

    /// The duration that so many of a hundred do not exceed, 1 to 100; `None` of no durations.
    pub(crate) fn percentile(&self, percent: u8) -> Option<Duration> {
        let rank = (u64::from(self.total) * u64::from(percent)).div_ceil(100);
        let rank = rank.max(1);
        let mut seen = 0;
        let found = self.counts.iter().find(|(_, count)| {
            seen += u64::from(**count);
            seen >= rank
        });
        found.map(|(bucket, _)| middle_of(*bucket))
    }
}

/// The bucket of a duration in whole milliseconds. The first hold one value each, later ones a sixteenth of a
/// power of two.
fn bucket_of(duration: Duration) -> u16 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bucket = if millis < PARTS {
        millis
    } else {
        let shift = millis.ilog2() - PARTS_LOG2;
        (u64::from(shift) << PARTS_LOG2) + (millis >> shift)
    };
    u16::try_from(bucket).unwrap_or(u16::MAX)
}

fn middle_of(bucket: u16) -> Duration {
    let bucket = u64::from(bucket);
    if bucket < 2 * PARTS {
        return Duration::from_millis(bucket);
    }
    let shift = (bucket >> PARTS_LOG2) - 1;
    let first = (PARTS + bucket % PARTS) << shift;
    Duration::from_millis(first + (1 << shift) / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let any_length = (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        prop::collection::vec(any_length, 1..200)
    }

    fn of(millis: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for millis in millis {
            sketch.add(Duration::from_millis(*millis));
        }
        sketch
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for at in [0, 15, 16, 17, 31, 32, 33, 1000, 3_599_999, u64::MAX - 1] {
            let (this, next) = (Duration::from_millis(at), Duration::from_millis(at + 1));
            let step = bucket_of(next) - bucket_of(this);
            assert!(step <= 1, "{at}");
        }
        for bucket in 0..=bucket_of(Duration::MAX) {
            assert_eq!(bucket_of(middle_of(bucket)), bucket);
        }
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        assert_eq!(Sketch::default().percentile(50), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_a_thirty_second_at_most(mut millis in durations(), percent in 1_u8..=100) {
            let told = of(&millis).percentile(percent).expect("some").as_millis();
            millis.sort_unstable();
            let rank = (millis.len() * usize::from(percent)).div_ceil(100);
            let exact = u128::from(millis[rank - 1]);
            prop_assert!(told.abs_diff(exact) * 32 <= exact, "{told} instead of {exact}");
        }

        #[test]
        fn what_is_taken_out_was_never_there(stays in durations(), goes in durations(), seed in any::<u64>()) {
            let mut mixed: Vec<(u64, bool)> = stays.iter().map(|millis| (*millis, true)).collect();
            for (at, millis) in goes.iter().enumerate() {
                let place = usize::try_from(seed).expect("64 bits") % (mixed.len() + 1);
                mixed.insert(place.min(mixed.len() - at.min(mixed.len())), (*millis, false));
            }
            let all: Vec<u64> = mixed.iter().map(|(millis, _)| *millis).collect();
            let mut sketch = of(&all);
            for (millis, stays) in mixed {
                if !stays {
                    sketch.remove(Duration::from_millis(millis));
                }
            }
            prop_assert_eq!(&sketch, &of(&stays));
            prop_assert_eq!(sketch.len() as usize, stays.len());
        }
    }
}
