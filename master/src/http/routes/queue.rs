//! The queue in its order, and the lock.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::id::UserName;
use dopq_common::sched::{Event, QueueLock};
use serde::Deserialize;

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::queue_entry;
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Params};
use crate::http::routes::jobs::labels;
use crate::http::routes::{AT_ONCE, audit, line};

/// The most entries in a page.
const ENTRIES_MAX: usize = 1000;
/// The longest lock.
const LOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GET /v1/queue`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Filter {
    user: Option<String>,
    /// Labels such as `team=vision`, separated by commas.
    label: Option<String>,
    limit: Option<usize>,
    /// Only jobs behind this position.
    #[serde(default)]
    after: u64,
}

/// The queued jobs in their order, everybody's.
pub(in crate::http) async fn show(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Params(filter): Params<Filter>,
) -> Result<Json<api::Queue>> {
    let user: Option<UserName> = filter.user.as_deref().map(str::parse).transpose()?;
    let labels = labels(filter.label.as_deref())?;
    let limit = filter.limit.unwrap_or(ENTRIES_MAX);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {ENTRIES_MAX}");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let forecast = context.forecasts.of(context.view()).await;
    let forecast = forecast.as_deref();
    let now = clock::now();
    let (order, lock) = context.view().read(|model| {
        let lock = model.state.meta().lock.as_ref();
        let lock = lock.filter(|lock| lock.until > now);
        (context.positions.of(model, now), lock.map(locked))
    });
    let mut entries = Vec::new();
    let numbered = (1..).zip(&order.jobs);
    let numbered: Vec<_> = numbered
        .filter(|(position, _)| *position > filter.after)
        .collect();
    for some in numbered.chunks(AT_ONCE) {
        context.view().read(|model| {
            let waiting = some.iter().filter_map(|(position, (id, penalty))| {
                let job = model.state.job(*id)?;
                let sight = context.sight(&caller, &job.user);
                let wanted = user.as_ref().is_none_or(|user| job.user == *user)
                    && sight.has_labels(&job.spec.labels, &labels);
                let entry = || queue_entry(model, forecast, now, (*position, *penalty), job);
                wanted.then(entry)?.map(|entry| sight.entry(entry))
            });
            entries.extend(waiting.take(limit + 1 - entries.len()));
        });
        if entries.len() > limit {
            break;
        }
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.position);
    Ok(Json(api::Queue {
        version: API_VERSION,
        lock,
        entries,
        next,
    }))
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
