//! Machines: cordon, uncordon, drain, evict, remove.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::chain::chain;
use dopq_common::id::{UserName, WorkerId};
use dopq_common::sched::{self, Cordon, Drain, Event, Rejected};
use serde::Deserialize;

use crate::clock;
use crate::driver::ActError;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::{gpus as gpus_of, node};
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id, Params};
use crate::http::routes::{audit, line};
use crate::store::AccountChange;

/// Every machine.
pub(in crate::http) async fn list(State(context): State<Ctx>) -> Json<api::NodeList> {
    let nodes = context.view().read(|model| {
        let workers = model.state.workers();
        workers.map(|worker| node(model, worker)).collect()
    });
    Json(api::NodeList {
        version: API_VERSION,
        nodes,
    })
}

/// Every GPU of every machine.
pub(in crate::http) async fn gpus(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Json<api::GpuList> {
    let now = clock::now();
    let sight = |owner: &UserName| context.sight(&caller, owner);
    let gpus = context.view().read(|model| gpus_of(model, sight, now));
    Json(api::GpuList {
        version: API_VERSION,
        gpus,
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

/// The query string of [`remove`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RemoveQuery {
    /// Whether the jobs that the machine holds run elsewhere.
    #[serde(default)]
    force: bool,
}

/// Removes the machine from the cluster: its key, its record, its queue, and its account at RabbitMQ where this master can.
pub(in crate::http) async fn remove(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
    Params(query): Params<RemoveQuery>,
) -> Result<Json<api::NodeRemoved>> {
    let changing = context.accounts.lock().await;
    let (known, has_key, jobs) = context.view().read(|model| {
        let known = model.state.worker(&worker).is_some();
        let jobs = sched::held(&model.state, &worker).jobs.len();
        (known, model.nodes.contains_key(&worker), jobs)
    });
    if !known && !has_key {
        return Err(Rejected::NoSuchWorker(worker).into());
    }
    if jobs > 0 && !query.force {
        let message = format!("{worker} holds {jobs} jobs");
        return Err(Error::new(ErrorCode::Conflict, message).hint(format!(
            "empty it first: dopq drain {worker} --wait; or give its jobs to others at once with --force"
        )));
    }
    let handle = &context.app.handle;
    let entry = audit(&caller, clock::now(), "node_remove", &worker, String::new());
    if has_key {
        // First the key: what the worker says from now on is not believed.
        let change = AccountChange::NodeRemoved(worker.clone());
        handle.change_account(change, entry.clone()).await?;
    }
    drop(changing);
    let event = Event::WorkerForgotten {
        worker: worker.clone(),
    };
    match handle.act(event, entry).await {
        // It never joined.
        Ok(()) | Err(ActError::Rejected(Rejected::NoSuchWorker(_))) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Json(remove_from_broker(&context, worker).await))
}

/// Removes what the broker has of a machine that is no more. What it keeps is told, because the rest is done.
async fn remove_from_broker(context: &Ctx, worker: WorkerId) -> api::NodeRemoved {
    let mut left = Vec::new();
    let mut keep = |what: String, error: &(dyn std::error::Error + 'static)| {
        let fault = format!("{what}: failed to {}", chain(error));
        tracing::warn!(worker.id = %worker, fault, "something is left of a removed node");
        left.push(fault);
    };
    if let Err(error) = context.app.broker.remove_worker(&worker).await {
        keep("its queue".to_owned(), &error);
    }
    let mut broker_user = context.app.broker.rights(&worker).map(|of| of.user);
    if let (Some(user), Some(management)) = (&broker_user, &context.app.management) {
        match management.remove_account(user).await {
            Ok(()) => broker_user = None,
            Err(error) => keep(format!("its account {user} at RabbitMQ"), &error),
        }
    }
    api::NodeRemoved {
        name: worker.to_string(),
        broker_user,
        left,
    }
}
