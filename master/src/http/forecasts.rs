//! Caches when queued jobs are expected to start.
//!
//! A forecast takes many decisions on a copy of the read model. It runs outside the request tasks, one at a time,
//! and serves all requests that arrive meanwhile.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::sched::{self, Forecast};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock;
use crate::view::View;

/// A forecast expires after this time even without a commit, because jobs become overdue.
const FRESH: Duration = Duration::from_secs(60);
/// After a commit a forecast stays valid for this many times as long as it took, so that at most a twentieth of
/// the time goes into it.
const KEPT_FOR: u32 = 20;

/// The last forecast.
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
    /// The forecast for `view`, or a recent one; `None` if it failed.
    pub(super) async fn of(&self, view: &View) -> Option<Arc<Forecast>> {
        // The forecasting task owns it, so no second one starts if the caller goes away.
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
