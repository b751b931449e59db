//! The queue's order, remembered for a moment.
//!
//! Finding it means sorting every waiting job while the read model is held. Each submission is answered with the
//! job's position, and clients that wait ask for theirs every second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::JobId;
use dopq_common::sched;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::view::Model;

/// Penalties decay with time, so the order is found anew after this even when nothing was committed.
const FRESH: Duration = Duration::from_secs(1);
/// The order of so long a queue is kept over further commits, which may come every millisecond ...
const LONG_JOBS: usize = 500;
/// ... for this many times as long as it took to find, so that sorting takes at most a twentieth of the time. A job
/// that is newer than the kept order has no position until then.
const KEPT_FOR: u32 = 20;

/// The waiting jobs in the order in which they are tried, an array once: at the place of its first task.
#[derive(Debug, Default)]
pub(in crate::http) struct Order {
    /// Each job with its user's penalty.
    pub(in crate::http) jobs: Vec<(JobId, f64)>,
    /// Each job's place, from 1.
    places: BTreeMap<JobId, u64>,
}

impl Order {
    /// The job's place, from 1.
    pub(in crate::http) fn place(&self, job: JobId) -> Option<u64> {
        self.places.get(&job).copied()
    }
}

/// The order that was found last.
#[derive(Debug, Default)]
pub(in crate::http) struct Positions {
    last: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    seq: u64,
    at: Instant,
    took: Duration,
    order: Arc<Order>,
}

impl Found {
    fn is_good(&self, seq: u64, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.at);
        let kept = self.order.places.len() >= LONG_JOBS && age < self.took * KEPT_FOR;
        age < FRESH && (self.seq == seq || kept)
    }
}

impl Positions {
    /// The order in `model`, or one that was found a moment ago.
    pub(in crate::http) fn of(&self, model: &Model, now: Timestamp) -> Arc<Order> {
        let mut last = self.last.lock();
        let begun = Instant::now();
        if let Some(found) = last
            .as_ref()
            .filter(|found| found.is_good(model.seq, begun))
        {
            return Arc::clone(&found.order);
        }
        let mut order = Order::default();
        for waiting in sched::queue(&model.state, now) {
            let (job, array) = (waiting.job.id, waiting.job.task.map(|task| task.array));
            let row = array.unwrap_or(job);
            let place = order.places.get(&row).copied().unwrap_or_else(|| {
                order.jobs.push((job, waiting.penalty));
                u64::try_from(order.jobs.len()).unwrap_or(u64::MAX)
            });
            order.places.extend([(row, place), (job, place)]);
        }
        let order = Arc::new(order);
        *last = Some(Found {
            seq: model.seq,
            at: begun,
            took: begun.elapsed(),
            order: Arc::clone(&order),
        });
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_kept_while_it_is_true_or_long() {
        let at = Instant::now();
        let long = Arc::new(Order {
            places: (0..500).map(|id| (JobId(id), id + 1)).collect(),
            ..Order::default()
        });
        let short = Arc::new(Order::default());
        for (order, took_ms, seq, age_ms, good) in [
            (&short, 4, 7, 900, true),
            (&short, 4, 7, 1100, false),
            (&short, 4, 8, 1, false),
            (&long, 4, 8, 79, true),
            (&long, 4, 8, 81, false),
            (&long, 20, 8, 399, true),
            (&long, 20, 8, 401, false),
            (&long, 90, 8, 1100, false),
        ] {
            let found = Found {
                seq: 7,
                at,
                took: Duration::from_millis(took_ms),
                order: Arc::clone(order),
            };
            let now = at + Duration::from_millis(age_ms);
            assert_eq!(found.is_good(seq, now), good, "{took_ms} {seq} {age_ms}");
        }
    }
}
