//! For load balancers, service managers and Prometheus.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dopq_common::api::ErrorCode;
use prometheus_client::encoding::text::encode;

use crate::http::app::Ctx;
use crate::http::error::{Error, Result};
use crate::view::Role;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process runs.
pub(in crate::http) async fn healthz() -> &'static str {
    "ok\n"
}

/// The master can work: it leads, or it knows the leader.
pub(in crate::http) async fn readyz(State(context): State<Ctx>) -> Response {
    let fault = context
        .view()
        .read(|model| match (&model.role, &model.store_fault) {
            (_, Some(fault)) => Some(format!("the store rejects writes: {fault}\n")),
            (Role::Standby { leader_url: None }, None) => Some("no leader is known\n".to_owned()),
            (Role::Leader | Role::Standby { .. }, None) => None,
        });
    match fault {
        None => "ready\n".into_response(),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, fault).into_response(),
    }
}

/// All metrics in the OpenMetrics text format.
pub(in crate::http) async fn metrics(State(context): State<Ctx>) -> Result<impl IntoResponse> {
    let mut text = String::new();
    encode(&mut text, &context.registry)
        .map_err(|_| Error::new(ErrorCode::Internal, "cannot encode the metrics"))?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text))
}
