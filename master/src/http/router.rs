//! Combines the table, the guard and the layers.

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use dopq_common::api::ErrorCode;
use tower_http::catch_panic::CatchPanicLayer;

use super::app::{App, Context, Ctx};
use super::error::Error;
use super::guard::{Guard, guard};
use super::observe::observe;
use super::table::{Route, table};

/// The routes over `app`.
pub fn router(app: App) -> Router {
    assemble(Context::new(app), table())
}

/// Puts the guard before each route and the layers around all of them.
pub(super) fn assemble(context: Ctx, routes: Vec<Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let rule = Guard {
            context: context.clone(),
            rule: route.rule,
        };
        let handler = route.handler.route_layer(from_fn_with_state(rule, guard));
        router = router.route(route.path, handler);
    }
    router
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(context.clone(), observe))
        .with_state(context)
}

async fn unknown(uri: Uri) -> Error {
    Error::new(
        ErrorCode::NotFound,
        format!("no such route: {}", uri.path()),
    )
    .hint("docs/API.md lists all routes")
}

async fn not_allowed() -> Response {
    let error = Error::new(ErrorCode::BadRequest, "method not allowed here")
        .hint("docs/API.md lists all routes");
    let mut response = error.into_response();
    *response.status_mut() = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = cause
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    tracing::error!(panic = text, "a request handler panicked");
    Error::new(ErrorCode::Internal, "internal error")
        .hint("send the answer's X-Request-Id to an admin, who finds it in the master's log")
        .into_response()
}
