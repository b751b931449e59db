//! Gives every request an id, a span, counters and the common headers.

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;

use super::app::Ctx;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest accepted id of a client or proxy.
const REQUEST_ID_MAX_BYTES: usize = 64;

/// Adds an id, measures and counts the request, and sets security headers.
pub(super) async fn observe(State(context): State<Ctx>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let peer = request
        .extensions()
        .get::<ConnectInfo<std::net::SocketAddr>>();
    let peer = peer.map(|ConnectInfo(peer)| peer.to_string());
    // The log contains the route, not the path or query, which may contain private data.
    let span = tracing::info_span!(
        "request",
        request.id = id.to_str().unwrap_or_default(),
        http.method = %method,
        http.route = route,
        peer = peer.unwrap_or_default(),
    );
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.in_scope(|| {
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(http.status = status, elapsed_ms, "answered");
    });
    context
        .app
        .metrics
        .http_answered(method_label(&method), &route, status);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The client's own id if it is harmless, so that both logs can be correlated.
fn request_id(request: &Request) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_MAX_BYTES).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    if let Some(given) = request.headers().get(REQUEST_ID).filter(harmless) {
        return given.clone();
    }
    let mut random = [0; 8];
    let id = getrandom::fill(&mut random).map(|()| hex::encode(random));
    id.ok()
        .and_then(|id| HeaderValue::from_str(&id).ok())
        .unwrap_or(HeaderValue::from_static("none"))
}

/// Bounds the counter's labels; clients can invent methods.
fn method_label(method: &axum::http::Method) -> &'static str {
    use axum::http::Method;
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
