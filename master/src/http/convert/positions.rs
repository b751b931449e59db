//! Each waiting job's place in the queue, remembered for a moment.
//!
//! Finding a place means sorting the whole queue, and clients that wait ask for it every second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::JobId;
use dopq_common::sched;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;

use crate::view::Model;

/// Penalties decay with time, so places are found anew after this even when nothing was committed.
const FRESH: Duration = Duration::from_secs(1);

type Places = Arc<BTreeMap<JobId, u64>>;

/// The places as of the last commit that was asked about.
#[derive(Debug, Default)]
pub(in crate::http) struct Positions {
    last: Mutex<Option<(u64, Timestamp, Places)>>,
}

impl Positions {
    /// Every waiting job's place in `model`, from 1.
    pub(in crate::http) fn of(&self, model: &Model, now: Timestamp) -> Places {
        let mut last = self.last.lock();
        if let Some((seq, at, places)) = &*last
            && *seq == model.seq
            && now.since(*at) < FRESH
            && now >= *at
        {
            return Arc::clone(places);
        }
        let places: Places = Arc::new(
            sched::queue(&model.state, now)
                .into_iter()
                .map(|waiting| (waiting.job.id, waiting.position))
                .collect(),
        );
        *last = Some((model.seq, now, Arc::clone(&places)));
        places
    }
}
