//! Removes from the bundle store what nobody needs, or tells what would be removed.

use axum::extract::State;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Named};
use crate::http::routes::audit;
use crate::quota::Used;
use crate::retention::{self, Kind, Report};

/// Sweeps now. The answer comes when all is removed.
pub(in crate::http) async fn prune(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    extract::Json(request): extract::Json<api::PruneRequest>,
) -> Result<Json<api::Pruned>> {
    if !request.dry_run {
        let entry = audit(&caller, clock::now(), "prune", "bundles", String::new());
        context.app.handle.audit(entry).await?;
    }
    match context.app.pruner.prune(request.dry_run).await {
        Some(Ok(report)) => Ok(Json(pruned(&report))),
        Some(Err(error)) => Err(Error::unavailable(
            "the bundle store does not answer",
            &error,
        )),
        None => Err(Error::not_leader(None)),
    }
}

/// Removes the logs, results and checkpoint of a job that has ended.
pub(in crate::http) async fn output(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<Json<api::Pruned>> {
    let known = context.view().read(|model| {
        let job = model.state.job(id)?;
        Some((job.key, job.user.clone(), job.state.is_finished()))
    });
    let (key, user, is_finished) = known.ok_or_else(|| Error::no_job(id))?;
    if !is_finished {
        let message = format!("job {id} has not ended");
        return Err(Error::new(ErrorCode::Conflict, message).hint("wait for its end, or cancel it"));
    }
    let entry = audit(&caller, clock::now(), "prune", id, String::new());
    context.app.handle.audit(entry).await?;
    let report = retention::remove_output(&context.app.bundles, (id, key)).await;
    let report =
        report.map_err(|error| Error::unavailable("the bundle store does not answer", &error))?;
    let bytes = |kind| report.removed.get(&kind).map_or(0, |count| count.bytes);
    let gone = Used {
        logs: bytes(Kind::Logs),
        results: bytes(Kind::Results),
        checkpoints: bytes(Kind::Checkpoints),
        ..Used::default()
    };
    context.app.intake.quota().removed(&user, id, &gone);
    Ok(Json(pruned(&report)))
}

fn pruned(report: &Report) -> api::Pruned {
    let kinds = Kind::ALL.iter().map(|kind| {
        let removed = report.removed.get(kind).copied().unwrap_or_default();
        let kept = report.kept(*kind);
        api::PrunedKind {
            kind: kind.as_str().to_owned(),
            removed_objects: removed.objects,
            removed_bytes: removed.bytes,
            kept_objects: kept.objects,
            kept_bytes: kept.bytes,
        }
    });
    api::Pruned {
        version: API_VERSION,
        dry_run: report.dry_run,
        kinds: kinds.collect(),
        failed_objects: report.failed,
        error: report.error.clone(),
    }
}
