//! Machines: cordon, uncordon, drain, evict.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION};
use dopq_common::id::WorkerId;
use dopq_common::sched::{Cordon, Drain, Event};

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::node;
use crate::http::error::Result;
use crate::http::extract::{self, Id};
use crate::http::routes::{audit, line};

/// Every machine.
pub(in crate::http) async fn list(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Json<api::NodeList> {
    let nodes = context.view().read(|model| {
        let workers = model.state.workers();
        workers.map(|worker| node(model, &caller, worker)).collect()
    });
    Json(api::NodeList {
        version: API_VERSION,
        nodes,
    })
}

/// Places no new jobs on the machine.
pub(in crate::http) async fn cordon(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
    extract::Json(request): extract::Json<api::CordonRequest>,
) -> Result<StatusCode> {
    let reason = line("reason", &request.reason)?;
    let now = clock::now();
    let entry = audit(&caller, now, "cordon", &worker, reason.clone());
    let cordon = Cordon {
        by: caller.name,
        reason,
        at: now,
        drain: None,
    };
    let event = Event::CordonSet {
        worker,
        cordon: Some(cordon),
    };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Places new jobs on the machine again.
pub(in crate::http) async fn uncordon(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
) -> Result<StatusCode> {
    let entry = audit(&caller, clock::now(), "uncordon", &worker, String::new());
    let event = Event::CordonSet {
        worker,
        cordon: None,
    };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Places no new jobs on the machine until it is empty and beyond, and evicts what is left at the deadline.
pub(in crate::http) async fn drain(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
    extract::Json(request): extract::Json<api::DrainRequest>,
) -> Result<StatusCode> {
    let reason = line("reason", &request.reason)?;
    let now = clock::now();
    let entry = audit(&caller, now, "drain", &worker, reason.clone());
    let deadline = request.deadline_seconds.map(Duration::from_secs);
    let drain = Drain {
        deadline: deadline.map(|within| now.after(within)),
    };
    let cordon = Cordon {
        by: caller.name,
        reason,
        at: now,
        drain: Some(drain),
    };
    let event = Event::CordonSet {
        worker,
        cordon: Some(cordon),
    };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes every job from the machine. 202, because containers take time to end.
pub(in crate::http) async fn evict(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
) -> Result<StatusCode> {
    let entry = audit(&caller, clock::now(), "evict", &worker, String::new());
    let by = caller.name;
    let event = Event::NodeEvictRequested { worker, by };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::ACCEPTED)
}
