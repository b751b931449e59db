//! A stream of the committed changes of jobs.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use dopq_common::api::{self, ErrorCode};
use dopq_common::id::{JobId, ParseIdError};
use futures::Stream;
use futures::stream::unfold;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::job_page_item;
use crate::http::error::{Error, Result};
use crate::http::extract::Params;
use crate::http::routes::jobs::{among, ids};
use crate::http::routes::logs::{KEEP_ALIVE, event};

/// `GET /v1/events`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// Arrays whose tasks to include; ids separated by commas.
    array: Option<String>,
    /// Only these jobs, and the tasks of those arrays: ids and ranges, separated by commas.
    ids: Option<String>,
}

/// The maximum number of arrays.
const ARRAYS_MAX: usize = 200;

/// A `job` event for each change, and `reset` if the client missed too many and must read the list again.
pub(in crate::http) async fn stream(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let arrays = which.array.as_deref().map(arrays).transpose()?;
    let changes = Changes {
        changed: context.view().watch(),
        context,
        caller,
        arrays: arrays.unwrap_or_default(),
        ids: which.ids.as_deref().map(ids).transpose()?,
        waiting: VecDeque::new(),
    };
    let stream = unfold(changes, |mut changes| async move {
        let event = changes.next().await?;
        Some((Ok(event), changes))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn arrays(text: &str) -> Result<BTreeSet<JobId>> {
    let arrays: BTreeSet<JobId> = text
        .split(',')
        .map(|id| id.trim().parse())
        .collect::<std::result::Result<_, ParseIdError>>()?;
    if arrays.len() > ARRAYS_MAX {
        let message = format!("array may name at most {ARRAYS_MAX} arrays");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    Ok(arrays)
}

struct Changes {
    context: Ctx,
    caller: Caller,
    arrays: BTreeSet<JobId>,
    ids: Option<Vec<RangeInclusive<JobId>>>,
    changed: broadcast::Receiver<Arc<Vec<JobId>>>,
    /// The rest of one commit, bounded by the driver's batch.
    waiting: VecDeque<JobId>,
}

impl Changes {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(id) = self.waiting.pop_front() {
                if let Some(job) = self.job(id) {
                    return Some(event("job", &job));
                }
            }
            let changed = tokio::select! {
                changed = self.changed.recv() => changed,
                () = self.context.app.shutdown.cancelled() => return None,
            };
            match changed {
                Ok(jobs) => self.waiting.extend(jobs.iter().copied()),
                Err(RecvError::Lagged(_)) => {
                    return Some(Event::default().event("reset").data("{}"));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn job(&self, id: JobId) -> Option<api::Job> {
        let now = clock::now();
        self.context.view().read(|model| {
            let job = model.state.job(id)?;
            let wanted = self.ids.as_ref().is_none_or(|ids| among(ids, id));
            let wanted = match job.task {
                Some(task) => self.arrays.contains(&task.array),
                None => wanted,
            };
            wanted.then(|| {
                let sight = self.context.sight(&self.caller, &job.user);
                sight.job(job_page_item(model, &self.context.positions, now, job))
            })
        })
    }
}
