//! Finished jobs, as far back as the archive goes, and their clearing.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::id::{GroupName, UserName};
use dopq_common::job::Job;
use dopq_common::sched::Event;
use dopq_common::time::Timestamp;
use serde::Deserialize;

use crate::archive::{self, Place, Wanted};
use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::job_page_item;
use crate::http::error::{Error, Result};
use crate::http::extract::Params;
use crate::http::routes::{AT_ONCE, audit};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// `GET /v1/history`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Filter {
    user: Option<String>,
    /// The users who are in this group now.
    group: Option<String>,
    /// How the job ended; causes separated by commas.
    cause: Option<String>,
    /// Labels such as `a=b`, separated by commas; the job has all of them.
    label: Option<String>,
    /// Ended at this time or later.
    since: Option<DateTime<Utc>>,
    /// Ended before.
    until: Option<DateTime<Utc>>,
    /// Also the tasks of arrays, each for itself.
    #[serde(default)]
    tasks: bool,
    limit: Option<usize>,
    /// The `next` of the page before.
    before: Option<String>,
}

/// A page of the finished jobs that the caller may see, the newest first.
pub(in crate::http) async fn list(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Params(filter): Params<Filter>,
) -> Result<Json<api::HistoryPage>> {
    let limit = filter.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad(format!("limit must be 1 to {PAGE_MAX}")));
    }
    let from: Option<Place> = match &filter.before {
        Some(text) => {
            let place = text.parse();
            Some(place.map_err(|()| bad("before must be the next of a page"))?)
        }
        None => None,
    };
    let user: Option<UserName> = filter.user.as_deref().map(str::parse).transpose()?;
    let group: Option<GroupName> = filter.group.as_deref().map(str::parse).transpose()?;
    let members: Option<BTreeSet<UserName>> = group.map(|group| {
        context.view().read(|model| {
            let users = model.state.users();
            let members = users.filter(|user| user.group.as_ref() == Some(&group));
            members.map(|user| user.name.clone()).collect()
        })
    });
    let labels = filter.label.as_deref().map(labels).transpose()?;
    let causes: Option<BTreeSet<String>> = filter.cause.map(|causes| {
        causes
            .split(',')
            .map(|cause| cause.trim().to_owned())
            .collect()
    });
    let with_tasks = filter.tasks;
    let wanted = Wanted {
        user: Box::new(move |name| {
            caller.sees(name)
                && user.as_ref().is_none_or(|user| user == name)
                && members
                    .as_ref()
                    .is_none_or(|members| members.contains(name))
        }),
        job: Box::new(move |job: &Job| {
            let has = |(name, value): &(String, String)| job.spec.labels.get(name) == Some(value);
            let cause = job.state.finished().map(|end| end.outcome.cause.as_str());
            (with_tasks || job.task.is_none())
                && labels.iter().flatten().all(has)
                && causes
                    .as_ref()
                    .is_none_or(|causes| cause.is_some_and(|cause| causes.contains(cause)))
        }),
        since: filter.since.map(Timestamp::from_datetime),
        until: filter.until.map(Timestamp::from_datetime),
    };
    // A segment has up to 36 MiB.
    let _few_at_a_time = context.history_readers.acquire().await;
    let read = archive::history(&context.app.bundles, Arc::new(wanted), from, limit).await;
    let (found, next) =
        read.map_err(|error| Error::unavailable("the bundle store does not answer", &error))?;
    let now = clock::now();
    let mut jobs = Vec::with_capacity(found.len());
    for some in found.chunks(AT_ONCE) {
        context.view().read(|model| {
            let some = some.iter();
            jobs.extend(some.map(|job| job_page_item(model, &context.positions, now, job)));
        });
    }
    Ok(Json(api::HistoryPage {
        version: API_VERSION,
        jobs,
        next: next.map(|next| next.to_string()),
    }))
}

/// `DELETE /v1/history`: its query string; at least one of the two.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Clearing {
    user: Option<String>,
    before: Option<DateTime<Utc>>,
}

/// Forgets finished jobs. 202, because the archive takes time. What users were charged stays.
pub(in crate::http) async fn clear(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Params(clearing): Params<Clearing>,
) -> Result<StatusCode> {
    let now = clock::now();
    if clearing.user.is_none() && clearing.before.is_none() {
        return Err(bad("name a user, a time (before), or both"));
    }
    let user: Option<UserName> = clearing.user.as_deref().map(str::parse).transpose()?;
    let before = clearing
        .before
        .map_or(now, Timestamp::from_datetime)
        .min(now);
    let target = user.as_ref().map_or("all users", UserName::as_str);
    let detail = format!("before {}", before.to_datetime().to_rfc3339());
    let entry = audit(&caller, now, "history_clear", target, detail);
    let event = Event::HistoryCleared { user, before };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::ACCEPTED)
}

fn labels(text: &str) -> Result<Vec<(String, String)>> {
    let pairs = text.split(',').map(|pair| match pair.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(bad(format!("{pair:?} is no label such as a=b"))),
    });
    pairs.collect()
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadRequest, message)
}
