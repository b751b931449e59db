//! Every change of the caller's jobs, as it is committed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use dopq_common::api;
use dopq_common::id::JobId;
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::http::app::Ctx;
use crate::http::convert::job_page_item;
use crate::http::guard::Caller;
use crate::http::routes::logs::{KEEP_ALIVE, event};

/// A `job` event for each change, and `reset` when so many were missed that the list must be read again.
pub(in crate::http) async fn stream(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = Changes {
        changed: context.view().watch(),
        context,
        caller,
        waiting: VecDeque::new(),
    };
    let stream = unfold(changes, |mut changes| async move {
        let event = changes.next().await?;
        Some((Ok(event), changes))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Changes {
    context: Ctx,
    caller: Caller,
    changed: broadcast::Receiver<Arc<Vec<JobId>>>,
    /// What is left of one commit, which is bounded by the driver's batch.
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
            let visible = self.caller.sees(&job.user);
            visible.then(|| job_page_item(model, &self.context.positions, now, job))
        })
    }
}
