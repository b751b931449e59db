//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::app::App;

/// The routes over `app`.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .with_state(Arc::new(app))
}
