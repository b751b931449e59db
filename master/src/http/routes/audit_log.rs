//! The audit log, for admins.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::time::Timestamp;
use serde::Deserialize;

use crate::http::app::Ctx;
use crate::http::error::{Error, Result};
use crate::http::extract::Params;
use crate::store::AuditEntry;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
/// Lines of the first read. Each further read takes ten times as many, until the page is full.
const FIRST_READ: usize = 1000;

/// `GET /v1/audit`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Filter {
    /// Who acted.
    user: Option<String>,
    action: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<usize>,
    /// The `next` of the page before.
    before: Option<String>,
}

/// After the last line of a page: its time, and how many lines of that time were shown.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: Timestamp,
    shown: usize,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let place = text.split_once('-').and_then(|(at, shown)| {
            let at = Timestamp::from_millis(at.parse().ok()?);
            let shown = shown.parse().ok()?;
            Some(Self { at, shown })
        });
        let message = "before must be the next of a page";
        place.ok_or_else(|| Error::new(ErrorCode::BadRequest, message))
    }
}

/// A page of the log, newest first.
pub(in crate::http) async fn list(
    State(context): State<Ctx>,
    Params(filter): Params<Filter>,
) -> Result<Json<api::AuditPage>> {
    let limit = filter.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {PAGE_MAX}");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let before: Option<Place> = filter.before.as_deref().map(str::parse).transpose()?;
    // The whole log takes some 50 MB of memory.
    let _one_at_a_time = context.audit_readers.acquire().await;
    let mut read = FIRST_READ;
    loop {
        let lines = context.app.audit.newest(read).await;
        let lines =
            lines.map_err(|error| Error::unavailable("the store does not answer", &error))?;
        let is_old = |line: &AuditEntry| {
            let since = filter.since;
            since.is_some_and(|since| line.at.to_datetime() < since)
        };
        let is_all = lines.len() < read || lines.last().is_some_and(is_old);
        let wanted = lines.into_iter().filter(|line| {
            filter.user.as_ref().is_none_or(|user| line.by == *user)
                && filter.action.as_ref().is_none_or(|it| line.action == *it)
                && !is_old(line)
        });
        let page = after(wanted, before).take(limit + 1);
        let mut page: Vec<AuditEntry> = page.collect();
        if page.len() <= limit && !is_all {
            read *= 10;
            continue;
        }
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|last| {
            let same = page.iter().filter(|line| line.at == last.at).count();
            let earlier = before.filter(|place| place.at == last.at);
            let shown = same + earlier.map_or(0, |place| place.shown);
            format!("{}-{shown}", last.at.as_millis())
        });
        return Ok(Json(api::AuditPage {
            version: API_VERSION,
            lines: page.into_iter().map(line).collect(),
            next,
        }));
    }
}

/// The lines after `place`.
fn after(
    lines: impl Iterator<Item = AuditEntry>,
    place: Option<Place>,
) -> impl Iterator<Item = AuditEntry> {
    let mut to_skip = place.map_or(0, |place| place.shown);
    lines.filter(move |line| {
        let Some(place) = place else { return true };
        if line.at == place.at && to_skip > 0 {
            to_skip -= 1;
            return false;
        }
        line.at <= place.at
    })
}

fn line(entry: AuditEntry) -> api::AuditLine {
    api::AuditLine {
        at: entry.at.to_datetime(),
        by: entry.by,
        action: entry.action,
        target: entry.target,
        detail: entry.detail,
        token: entry.token,
        token_name: entry.token_name,
        from: entry.from,
        refused: entry.refused,
    }
}
