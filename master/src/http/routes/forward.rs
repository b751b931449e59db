//! A connection to a port in a job's container, over a WebSocket.

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use dopq_common::id::{AttemptId, JobId};
use dopq_common::wire::SessionRequest;
use serde::Deserialize;

use super::exec::{open, place, serve, upgraded};
use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::{Named, Params};
use crate::http::relay::Client;
use crate::http::watched::Watch;
use crate::sessions::Session;

/// `GET /v1/jobs/{id}/forward`: its query string.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    port: std::num::NonZeroU16,
}

/// Becomes a connection to that port. There is no first message.
pub(in crate::http) async fn forward(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Extension(watch): Extension<Watch>,
    Named(job): Named,
    Params(which): Params<Which>,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    let upgrade = upgraded(upgrade)?;
    place(&context, job)?;
    let port = which.port.get();
    Ok(upgrade.on_upgrade(async move |socket| {
        let client = Client::new(socket);
        let begun = begin(&context, &caller, job, port).await;
        serve(context, caller, watch, client, begun).await;
    }))
}

async fn begin(
    context: &Ctx,
    caller: &Caller,
    job: JobId,
    port: u16,
) -> Result<(Session, AttemptId)> {
    let (attempt, worker) = place(context, job)?;
    let line = caller.line(clock::now(), "forward", job, format!("port {port}"));
    // Nobody gets in without a line that stays.
    let recorded = context.app.audit.record(line).await;
    recorded.map_err(|error| Error::unavailable("cannot write the audit log", &error))?;
    let request = SessionRequest::Forward { port };
    let session = open(context, caller, attempt, worker, request).await?;
    Ok((session, attempt))
}
