//! Bounds on long answers.

use std::time::Duration;

use axum::http::StatusCode;
use dopq_common::api::{ErrorCode, TokenCreated};
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn a_revoked_token_ends_its_open_streams_within_a_second() {
    let world = World::new().await;
    let anna = world.token("anna");
    let path = "/v1/users/anna/tokens";
    let made = world
        .request("POST", path)
        .token(&anna)
        .json(&json!({}))
        .send()
        .await;
    let made: TokenCreated = made.json();
    let job = world.submit("anna").await;
    let log = format!("/v1/jobs/{job}/logs/stream?follow=true");
    for stream in ["/v1/events", log.as_str()] {
        let mut kept = world.request("GET", stream).token(&anna).open().await;
        let quiet = tokio::time::timeout(Duration::from_secs(1), kept.try_event()).await;
        assert!(quiet.is_err(), "{stream} goes on with its token");
    }
    let mut events = world
        .request("GET", "/v1/events")
        .token(made.token.reveal())
        .open()
        .await;
    let mut log = world
        .request("GET", &log)
        .token(made.token.reveal())
        .open()
        .await;
    let path = format!("{path}/{}", made.info.id);
    let revoked = world.request("DELETE", &path).token(&anna).send().await;
    assert!(revoked.status.is_success(), "{}", revoked.text());
    let ends = async { (events.try_event().await, log.try_event().await) };
    let ends = tokio::time::timeout(Duration::from_secs(1), ends).await;
    assert_eq!(ends, Ok((None, None)));
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_streams() {
    let world = World::new().await;
    let open = async |who: &str| {
        let request = world.request("GET", "/v1/events");
        request.token(&world.token(who)).open().await
    };
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(open("anna").await);
    }
    let request = world
        .request("GET", "/v1/events")
        .token(&world.token("anna"));
    let refused = request.send().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.error().code, ErrorCode::TooManyRequests);
    drop(open("bert").await);
    assert!(held.pop().is_some());
    drop(open("anna").await);
    drop(held);
}
