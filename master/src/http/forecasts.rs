//! When waiting jobs are expected to start, remembered for a while.
//!
//! Looking ahead takes many decisions on a copy of the read model, so it is done beside the tasks that answer
//! requests, one at a time, for everybody who asks meanwhile.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::sched::{self, Forecast};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock;
use crate::view::View;

/// Jobs become overdue with time, so it is looked anew after this even when nothing was committed.
const FRESH: Duration = Duration::from_secs(60);
/// Over further commits a forecast is kept for so many times as long as it took, so that at most a twentieth
/// of the time goes into it.
const KEPT_FOR: u32 = 20;

/// The forecast that was made last.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    last: Arc<Mutex<Option<Made>>>,
}

#[derive(Debug)]
struct Made {
    seq: u64,
    at: Instant,
    took: Duration,
    forecast: Arc<Forecast>,
}

impl Made {
    fn is_good(&self, seq: u64, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.at);
        age < FRESH && (self.seq == seq || age < self.took * KEPT_FOR)
    }
}

impl Forecasts {
    /// What is expected of the model in `view`, or was a moment ago; `None` when looking ahead broke.
    pub(super) async fn of(&self, view: &View) -> Option<Arc<Forecast>> {
        // Owned by whoever looks ahead, so that nobody else begins when the one who asked goes away.
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let seq = view.read(|model| model.seq);
        if let Some(made) = last
            .as_ref()
            .filter(|made| made.is_good(seq, Instant::now()))
        {
            return Some(Arc::clone(&made.forecast));
        }
        let view = view.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let (seq, state) = view.read(|model| (model.seq, model.state.clone()));
            let forecast = Arc::new(sched::forecast(state, clock::now()));
            *last = Some(Made {
                seq,
                at: begun,
                took: begun.elapsed(),
                forecast: Arc::clone(&forecast),
            });
            forecast
        });
        match looking.await {
            Ok(forecast) => Some(forecast),
            Err(error) => {
                tracing::error!(%error, "failed to look ahead");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::sched::{Settings, State};
    use dopq_common::time::Timestamp;

    use super::*;

    #[test]
    fn a_forecast_is_kept_while_it_is_true_or_dear() {
        let at = Instant::now();
        for (took_ms, seq, age_ms, good) in [
            (1, 7, 59_999, true),
            (1, 7, 60_001, false),
            (1, 8, 19, true),
            (1, 8, 21, false),
            (500, 8, 9_999, true),
            (500, 8, 10_001, false),
        ] {
            let made = Made {
                seq: 7,
                at,
                took: Duration::from_millis(took_ms),
                forecast: Arc::new(sched::forecast(
                    State::new(Settings::default()),
                    Timestamp::default(),
                )),
            };
            let now = at + Duration::from_millis(age_ms);
            assert_eq!(made.is_good(seq, now), good, "{took_ms} {seq} {age_ms}");
        }
    }

    #[tokio::test]
    async fn those_who_ask_at_once_share_one_look_ahead() {
        let forecasts = Forecasts::default();
        let view = View::new(Settings::default());
        let (one, other) = tokio::join!(forecasts.of(&view), forecasts.of(&view));
        let (one, other) = (one.expect("made"), other.expect("made"));
        assert!(Arc::ptr_eq(&one, &other));
    }
}
