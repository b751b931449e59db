//! The caller and the system's status.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION};
use dopq_common::job::Phase;
use dopq_common::time::Timestamp;

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::volumes;
use crate::http::routes::queue::locked;
use crate::metrics::{Board, Part, PartState, health_word};
use crate::view::{Model, Role};

/// The token's owner.
pub(in crate::http) async fn whoami(Extension(caller): Extension<Caller>) -> Json<api::WhoAmI> {
    Json(api::WhoAmI {
        name: caller.name.to_string(),
        role: caller.role,
    })
}

/// All parts of the system, and the numbers of jobs and workers.
pub(in crate::http) async fn status(State(context): State<Ctx>) -> Json<api::Status> {
    let now = clock::now();
    let components = context
        .view()
        .read(|model| components(&context.app.board, model, now));
    let status = context.view().read(|model| {
        let mut jobs: BTreeMap<_, _> = Phase::ALL
            .iter()
            .map(|phase| (phase.as_str().to_owned(), 0))
            .collect();
        for (_, phase, count) in model.runs() {
            *jobs.entry(phase.as_str().to_owned()).or_default() += count;
        }
        let mut workers: BTreeMap<String, u64> = BTreeMap::new();
        for worker in model.state.workers() {
            *workers
                .entry(health_word(worker.health).to_owned())
                .or_default() += 1;
        }
        api::Status {
            version: API_VERSION,
            cluster: context.app.settings.cluster.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            role: match &model.role {
                Role::Leader => "leader",
                Role::Standby { .. } => "standby",
            }
            .to_owned(),
            epoch: model.epoch.0,
            uptime_seconds: now.since(context.started_at).as_secs(),
            components,
            jobs,
            workers,
            volumes: volumes(model),
        }
    });
    Json(status)
}

/// The status of each part. Adds the lock to the scheduler's.
fn components(board: &Board, model: &Model, now: Timestamp) -> Vec<api::Component> {
    let lock = model.state.meta().lock.as_ref();
    let lock = lock.filter(|lock| lock.until > now);
    let parts = board.all().into_iter().map(|(part, condition)| {
        let mut component = api::Component {
            name: part.as_str().to_owned(),
            state: condition.state.as_str().to_owned(),
            since: condition.since.to_datetime(),
            detail: condition.detail,
        };
        if let (Part::Scheduler, Some(lock)) = (part, lock) {
            component.state = PartState::Degraded.as_str().to_owned();
            component.detail = locked(lock);
        }
        if let (Part::Scheduler, Some(by)) = (part, model.state.closing()) {
            component.state = PartState::Degraded.as_str().to_owned();
            component.detail = format!("starts nothing: {by} is shutting this master down");
        }
        component
    });
    parts.collect()
}
