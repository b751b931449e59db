//! The queue in its order, and the lock.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::sched::{Event, QueueLock};

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::queue_entry;
use crate::http::error::{Error, Result};
use crate::http::extract;
use crate::http::routes::{AT_ONCE, audit, line};

/// The most entries in an answer.
const ENTRIES_MAX: usize = 1000;
/// The longest lock.
const LOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The first queued jobs that the caller may see, at their true positions.
pub(in crate::http) async fn show(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Json<api::Queue> {
    let forecast = context.forecasts.of(context.view()).await;
    let forecast = forecast.as_deref();
    let now = clock::now();
    let (order, lock) = context.view().read(|model| {
        let lock = model.state.meta().lock.as_ref();
        let lock = lock.filter(|lock| lock.until > now);
        (context.positions.of(model, now), lock.map(locked))
    });
    let mut entries = Vec::new();
    let numbered: Vec<_> = (1..).zip(&order.jobs).collect();
    for some in numbered.chunks(AT_ONCE) {
        context.view().read(|model| {
            let waiting = some.iter().filter_map(|(position, (id, penalty))| {
                let job = model.state.job(*id)?;
                let visible = caller.sees(&job.user);
                visible.then(|| queue_entry(model, forecast, now, (*position, *penalty), job))?
            });
            entries.extend(waiting.take(ENTRIES_MAX - entries.len()));
        });
        if entries.len() == ENTRIES_MAX {
            break;
        }
    }
    Json(api::Queue {
        version: API_VERSION,
        lock,
        entries,
    })
}

/// A lock as text.
pub(in crate::http) fn locked(lock: &QueueLock) -> String {
    let QueueLock { by, reason, until } = lock;
    format!("locked by {by} until {until}: {reason}")
}

/// Places no jobs until the lock ends.
pub(in crate::http) async fn lock(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    extract::Json(request): extract::Json<api::LockRequest>,
) -> Result<StatusCode> {
    let lasts = Duration::from_secs(request.for_seconds);
    if lasts.is_zero() || lasts > LOCK_MAX {
        let message = format!("for_seconds must be 1 to {}", LOCK_MAX.as_secs());
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let reason = line("reason", &request.reason)?;
    let now = clock::now();
    let lock = QueueLock {
        by: caller.name.clone(),
        reason: reason.clone(),
        until: now.after(lasts),
    };
    let entry = audit(
        &caller,
        now,
        "lock",
        "queue",
        format!("{reason}, until {}", lock.until),
    );
    let event = Event::LockSet { lock: Some(lock) };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Places jobs again.
pub(in crate::http) async fn unlock(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode> {
    let entry = audit(&caller, clock::now(), "unlock", "queue", String::new());
    let event = Event::LockSet { lock: None };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
