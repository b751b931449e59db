//! This master itself: its end, and its settings.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode, ShutdownMode};
use dopq_common::sched::Event;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Difference;
use crate::driver::ActError;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract;
use crate::http::routes::audit;
use crate::reload;
use crate::view::{Role, View};

/// So that the answer is sent before the master stops to answer.
const ANSWER_FIRST: Duration = Duration::from_millis(300);
/// Between two looks whether jobs are left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ends this master. 202, because its end comes after the answer.
pub(in crate::http) async fn shutdown(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    extract::Json(request): extract::Json<api::ShutdownRequest>,
) -> Result<(StatusCode, Json<api::ShuttingDown>)> {
    let handle = &context.app.handle;
    let view = handle.view().clone();
    let shutdown = context.app.shutdown.clone();
    let jobs_left = jobs_left(&view);
    let mode = match request.mode {
        ShutdownMode::Drain => "drain",
        ShutdownMode::Now => "now",
    };
    let entry = audit(&caller, clock::now(), "shutdown", "master", mode.to_owned());
    let by = caller.name;
    tracing::warn!(user.name = %by, mode, "this master is asked to end");
    match request.mode {
        ShutdownMode::Drain => match handle.act(Event::ShutdownRequested { by }, entry).await {
            // A standby starts nothing anyway.
            Ok(()) | Err(ActError::NotLeader { .. }) => {
                tokio::spawn(async move {
                    drained(&view, &shutdown).await;
                    shutdown.cancel();
                });
            }
            Err(error) => return Err(error.into()),
        },
        ShutdownMode::Now => {
            // What cannot be written down, for want of a store or of the lead, holds up no end.
            if let Err(error) = handle.audit(entry).await {
                tracing::debug!(%error, "the end is not in the audit log");
            }
            tokio::spawn(async move {
                tokio::time::sleep(ANSWER_FIRST).await;
                shutdown.cancel();
            });
        }
    }
    let answer = api::ShuttingDown {
        version: API_VERSION,
        jobs_left,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Waits until no job has a machine, or this master does not lead.
async fn drained(view: &View, shutdown: &CancellationToken) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let leads = view.read(|model| model.role == Role::Leader);
        if shutdown.is_cancelled() || !leads || jobs_left(view) == 0 {
            return;
        }
    }
}

fn jobs_left(view: &View) -> u64 {
    view.read(|model| {
        let jobs = model.state.jobs();
        let active = jobs.filter(|job| job.state.active().is_some());
        u64::try_from(active.count()).unwrap_or(u64::MAX)
    })
}

/// Reads the settings of this master anew.
pub(in crate::http) async fn reload(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<api::Reloaded>> {
    let line = caller.line(clock::now(), "reload", "settings", String::new());
    let reloaded = context.app.reloader.reload(line.clone()).await;
    let reloaded = reloaded.map_err(|error| match error {
        reload::Error::Mistakes(mistakes) => Error::new(ErrorCode::Invalid, mistakes.to_string())
            .hint("the settings in force stay; correct them and reload again"),
        reload::Error::Act(error) => error.into(),
    })?;
    if reloaded.is_audited {
        caller.trail.committed(&line);
    } else {
        caller.trail.due(line);
    }
    let changes = reloaded.differences.into_iter().map(|difference| {
        let Difference { changed, applies } = difference;
        api::SettingChange {
            name: changed.name,
            before: changed.before,
            now: changed.now,
            applied: applies,
        }
    });
    Ok(Json(api::Reloaded {
        version: API_VERSION,
        changes: changes.collect(),
    }))
}
