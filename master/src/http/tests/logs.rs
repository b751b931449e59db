//! Logs over HTTP: what is stored and what comes live, over attempts, in order and once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dopq_common::api::{ErrorCode, LogEnd, LogEvent};
use dopq_common::time::Timestamp;
use dopq_common::wire::log::{self, Source};

use super::ask::Sse;
use super::world::World;

fn frames(texts: &[(Source, &str)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (source, text) in texts {
        log::append(
            &mut stream,
            *source,
            Timestamp::from_millis(1),
            text.as_bytes(),
        );
    }
    stream
}

/// The text of every `log` event up to `end`, and whether the end came.
fn text(events: &[Sse]) -> (String, bool) {
    let mut text = String::new();
    for event in events {
        match event.name.as_str() {
            "log" => {
                let log: LogEvent = serde_json::from_str(&event.data).expect("event");
                assert_eq!(event.id, format!("{}:{}", log.attempt, log.next));
                let data = STANDARD.decode(log.data).expect("base64");
                text += &String::from_utf8_lossy(&data);
            }
            "end" => {
                let end: LogEnd = serde_json::from_str(&event.data).expect("end");
                assert!(end.job.id > 0);
                return (text, true);
            }
            other => panic!("{other}: {}", event.data),
        }
    }
    (text, false)
}

#[tokio::test]
async fn what_is_stored_is_downloaded_byte_for_byte() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let stream = frames(&[
        (Source::Build, "built\n"),
        (Source::Stdout, "one\n"),
        (Source::Stderr, "bad \u{1b}[31m\n"),
        (Source::Stdout, "two"),
    ]);
    // Chunks overlap, and cut frames where they like.
    world.store_log(job, 1, 0, &stream[..20]).await;
    world.store_log(job, 1, 11, &stream[11..40]).await;
    world.store_log(job, 1, 40, &stream[40..]).await;
    let anna = world.token("anna");
    for (query, expected) in [
        ("", "built\none\nbad \u{1b}[31m\ntwo"),
        ("?source=stdout", "one\ntwo"),
        ("?source=build,stderr&attempt=1", "built\nbad \u{1b}[31m\n"),
        ("?attempt=2", ""),
    ] {
        let path = format!("/v1/jobs/{job}/logs{query}");
        let reply = world.request("GET", &path).token(&anna).send().await;
        assert_eq!(reply.text(), expected, "{query}");
        assert_eq!(reply.header("content-type"), "text/plain");
        assert!(
            reply
                .header("content-disposition")
                .starts_with("attachment")
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    for (query, expected) in [
        ("", "built\none\nbad \u{1b}[31m\ntwo"),
        ("?tail=2", "bad \u{1b}[31m\ntwo"),
        ("?from=1:19", "one\nbad \u{1b}[31m\ntwo"),
    ] {
        let path = format!("/v1/jobs/{job}/logs/stream{query}");
        let reply = world.request("GET", &path).token(&anna).send().await;
        assert_eq!(
            text(&reply.events()),
            (expected.to_owned(), true),
            "{query}"
        );
    }
    for (query, code) in [
        ("?from=x", ErrorCode::BadRequest),
        ("?attempt=0", ErrorCode::BadRequest),
        ("?attempt=2&from=1:0", ErrorCode::BadRequest),
        ("?follow=maybe", ErrorCode::BadRequest),
    ] {
        let path = format!("/v1/jobs/{job}/logs/stream{query}");
        let reply = world.request("GET", &path).token(&anna).send().await;
        assert_eq!(reply.error().code, code, "{query}");
    }
}

#[tokio::test]
async fn a_place_amid_a_frame_is_an_error_and_not_garbage() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    world
        .store_log(
            job,
            1,
            0,
            &frames(&[(Source::Stdout, "zzzzzzzzzzzzzzzzzz\n")]),
        )
        .await;
    let path = format!("/v1/jobs/{job}/logs/stream?from=1:14");
    let reply = world
        .request("GET", &path)
        .token(&world.token("anna"))
        .send()
        .await;
    let events = reply.events();
    assert_eq!(
        events.last().map(|event| event.name.as_str()),
        Some("error")
    );
}

#[tokio::test]
async fn a_follower_joins_stored_and_live_pieces_until_the_job_has_finished() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let stream = frames(&[
        (Source::Stdout, "one\n"),
        (Source::Stdout, "two\n"),
        (Source::Stdout, "three\n"),
        (Source::Stdout, "four\n"),
    ]);
    world.store_log(job, 1, 0, &stream[..17]).await;
    let mut requests = world.requests_to("gpu-1").await;
    let path = format!("/v1/jobs/{job}/logs/stream?follow=true");
    let mut follower = world
        .request("GET", &path)
        .token(&world.token("anna"))
        .open()
        .await;
    assert_eq!(text(&[follower.event().await]).0, "one\n");
    let mut next = Box::pin(follower.event());
    // Polling the follower is what makes it ask the worker for the live tail.
    let asked = tokio::select! {
        request = requests.next() => request.expect("a request"),
        event = &mut next => panic!("{event:?} before anything was printed"),
    };
    assert!(String::from_utf8_lossy(&asked.body).contains("follow"));
    world.tail(job, 1, "gpu-1", 10, &stream[10..34]).await;
    assert_eq!(text(&[next.await]).0, "two\n");
    // A forged piece is nobody's; a gap is filled from the store.
    world.tail(job, 1, "gpu-2", 34, b"forged").await;
    world.tail(job, 1, "gpu-1", 53, &stream[53..]).await;
    world.store_log(job, 1, 17, &stream[17..60]).await;
    assert_eq!(text(&[follower.event().await]).0, "three\n");
    assert_eq!(text(&[follower.event().await]).0, "four\n");
    world.store_log(job, 1, 60, &stream[60..]).await;
    world.finished(job, "gpu-1", stream.len() as u64).await;
    let end = follower.event().await;
    assert_eq!(end.name, "end");
    let end: LogEnd = serde_json::from_str(&end.data).expect("end");
    assert_eq!(
        (end.job.state.as_str(), end.job.log_bytes),
        ("finished", Some(stream.len() as u64))
    );
    assert_eq!(follower.try_event().await, None);

    // Who reads again from where a stream broke gets the rest.
    let request = world.request("GET", &path).token(&world.token("anna"));
    let reply = request.header("last-event-id", "1:34").send().await;
    assert_eq!(text(&reply.events()), ("three\nfour\n".to_owned(), true));
}

#[tokio::test]
async fn a_follower_goes_on_with_the_next_attempt() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let first = frames(&[(Source::Stdout, "first try\n")]);
    world.store_log(job, 1, 0, &first).await;
    let path = format!("/v1/jobs/{job}/logs/stream?follow=true");
    let mut follower = world
        .request("GET", &path)
        .token(&world.token("anna"))
        .open()
        .await;
    assert_eq!(text(&[follower.event().await]).0, "first try\n");
    world.refused(job, "gpu-1").await;
    world.runs_again(job, 2, "gpu-1").await;
    let second = frames(&[(Source::Stdout, "second try\n")]);
    world.store_log(job, 2, 0, &second).await;
    world.finished(job, "gpu-1", second.len() as u64).await;
    assert_eq!(text(&[follower.event().await]).0, "second try\n");
    assert_eq!(follower.event().await.name, "end");
}

#[tokio::test]
async fn what_was_reported_and_never_stored_is_said_to_be_missing() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    world.finished(job, "gpu-1", 100).await;
    let path = format!("/v1/jobs/{job}/logs");
    let reply = world
        .request("GET", &path)
        .token(&world.token("anna"))
        .send()
        .await;
    assert!(
        reply.text().contains("100 bytes of attempt 1"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn events_tell_of_everybodys_jobs() {
    let world = World::new().await;
    world.worker("gpu-1", 2).await;
    let mut anna = world
        .request("GET", "/v1/events")
        .token(&world.token("anna"))
        .open()
        .await;
    let mut olga = world
        .request("GET", "/v1/events")
        .token(&world.token("olga"))
        .open()
        .await;
    let of_bert = world.submit("bert").await;
    let of_anna = world.submit("anna").await;
    let id = |event: Sse| {
        assert_eq!(event.name, "job");
        let job: dopq_common::api::Job = serde_json::from_str(&event.data).expect("job");
        job.id
    };
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 2 {
        told.insert(id(anna.event().await));
    }
    assert_eq!(told, [of_bert, of_anna].into());
    assert_eq!(id(olga.event().await), of_bert);
}
