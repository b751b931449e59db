//! Whatever goes wrong is told in one form, and every answer bears the same headers.

use axum::routing::on;
use dopq_common::api::ErrorCode;

use super::world::World;
use crate::http::table::{Route, table};

#[tokio::test]
async fn every_failure_is_an_error_response() {
    let world = World::new().await;
    let anna = world.token("anna");
    let big = "x".repeat(3 << 20);
    for (verb, path, body, status, code) in [
        ("GET", "/", "", 404, ErrorCode::NotFound),
        ("GET", "/v1/nothing", "", 404, ErrorCode::NotFound),
        ("PUT", "/v1/jobs", "", 405, ErrorCode::BadRequest),
        ("POST", "/v1/jobs", "{", 400, ErrorCode::BadRequest),
        ("POST", "/v1/jobs", "{}", 400, ErrorCode::BadRequest),
        (
            "POST",
            "/v1/jobs",
            r#"{"bundle":"x"}"#,
            400,
            ErrorCode::BadRequest,
        ),
        (
            "POST",
            "/v1/jobs",
            r#"{"bundle":"x","more":1}"#,
            400,
            ErrorCode::BadRequest,
        ),
        ("POST", "/v1/jobs", big.as_str(), 413, ErrorCode::TooLarge),
        ("GET", "/v1/jobs?limit=0", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs?limit=x", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs?nonsense=1", "", 400, ErrorCode::BadRequest),
        (
            "GET",
            "/v1/jobs?state=asleep",
            "",
            400,
            ErrorCode::BadRequest,
        ),
        ("GET", "/v1/jobs?ids=1,x", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs/0", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs/1e3", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs/%2e%2e", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs/%ff", "", 400, ErrorCode::BadRequest),
        ("GET", "/v1/jobs/77", "", 404, ErrorCode::NotFound),
        ("DELETE", "/v1/jobs/77", "", 404, ErrorCode::NotFound),
        ("GET", "/v1/bundles/xyz", "", 400, ErrorCode::BadRequest),
        ("POST", "/v1/users", "{}", 403, ErrorCode::Forbidden),
    ] {
        let request = world.request(verb, path).token(&anna);
        let reply = request.body(body.to_owned()).send().await;
        let shown: String = body.chars().take(40).collect();
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{verb} {path} {shown}: {}",
            reply.text()
        );
        let error = reply.error();
        assert_eq!(error.code, code, "{verb} {path} {shown}");
        assert!(!error.message.is_empty(), "{verb} {path} {shown}");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(!reply.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn a_panic_is_an_error_response_too() {
    let world = World::new().await;
    let routes = table().into_iter().map(|route| Route {
        handler: on(route.verb.filter(), async || -> &'static str {
            panic!("on purpose")
        }),
        ..route
    });
    let world = world.with_routes(routes.collect());
    let reply = world.request("GET", "/healthz").send().await;
    assert_eq!(reply.status.as_u16(), 500);
    assert_eq!(reply.error().code, ErrorCode::Internal);
    assert!(!reply.text().contains("on purpose"));
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_right_ones_still_pass() {
    let world = World::new().await;
    let mut codes = Vec::new();
    for number in 0..40 {
        let request = world.request("GET", "/v1/whoami");
        let reply = request.token(&format!("dopq_{number}")).send().await;
        codes.push(reply.error().code);
    }
    assert_eq!(codes.first(), Some(&ErrorCode::Unauthorized));
    assert_eq!(codes.last(), Some(&ErrorCode::TooManyRequests));
    let request = world.request("GET", "/v1/whoami").token("dopq_x");
    let elsewhere = request.peer("192.0.2.1").send().await;
    assert_eq!(elsewhere.error().code, ErrorCode::Unauthorized);
    let request = world.request("GET", "/v1/whoami");
    let reply = request.token(&world.token("anna")).send().await;
    assert_eq!(reply.status.as_u16(), 200);
}

#[tokio::test]
async fn a_harmless_request_id_is_kept_and_another_replaced() {
    let world = World::new().await;
    for (given, kept) in [("abc-123", true), ("a b", false), (&"x".repeat(65), false)] {
        let request = world
            .request("GET", "/healthz")
            .header("x-request-id", given);
        let reply = request.send().await;
        assert_eq!(reply.header("x-request-id") == given, kept, "{given}");
    }
}

#[tokio::test]
async fn a_standby_answers_reads_and_names_the_leader_for_the_rest() {
    let world = World::standby(Some("http://leader:7070/")).await;
    let anna = world.token("anna");
    let reply = world
        .request("GET", "/v1/jobs?limit=5")
        .token(&anna)
        .send()
        .await;
    assert_eq!(reply.status.as_u16(), 200);
    let reply = world
        .request("POST", "/v1/jobs?a=b")
        .token(&anna)
        .send()
        .await;
    assert_eq!(reply.status.as_u16(), 307);
    assert_eq!(reply.header("location"), "http://leader:7070/v1/jobs?a=b");
    let path = format!("/v1/bundles/{}", "00".repeat(32));
    let upload = world.request("PUT", &path).token(&anna).body("a zip");
    let reply = upload.send().await;
    assert_eq!(reply.status.as_u16(), 307);
    // Who may not do it is told so here, and not sent on.
    let reply = world.request("POST", "/v1/users").token(&anna).send().await;
    assert_eq!(reply.error().code, ErrorCode::Forbidden);
    let world = World::standby(None).await;
    let anna = world.token("anna");
    let reply = world.request("POST", "/v1/jobs").token(&anna).send().await;
    assert_eq!(reply.error().code, ErrorCode::Unavailable);
    assert_eq!(reply.header("retry-after"), "2");
}

#[tokio::test]
async fn metrics_are_open_on_loopback_only_and_only_where_set() {
    for (open, peer, status) in [
        (true, "127.0.0.1", 200),
        (true, "::ffff:127.0.0.1", 200),
        (true, "192.0.2.1", 401),
        (false, "127.0.0.1", 401),
    ] {
        let world = World::with(|settings| settings.open_metrics_on_loopback = open).await;
        let reply = world.request("GET", "/metrics").peer(peer).send().await;
        assert_eq!(reply.status.as_u16(), status, "{open} {peer}");
    }
}
