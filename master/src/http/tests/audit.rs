//! The audit log: no change and no privileged access is without its line, and nobody can hide or forge one.

use std::time::Duration;

use axum::routing::on;
use dopq_common::api::{AuditPage, ErrorCode};
use serde_json::{Value, json};

use super::world::{World, config, zip};
use crate::http::access::Access;
use crate::http::table::{Route, Verb, table};
use crate::store::AuditEntry;

/// The log once it has so many lines by others than the world itself, newest first.
async fn lines(world: &World, count: usize) -> Vec<AuditEntry> {
    for _ in 0..200 {
        let mut lines = world.audit_log().await;
        lines.retain(|line| line.by != "test");
        if lines.len() >= count {
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {count} lines: {:?}", world.audit_log().await);
}

#[tokio::test]
async fn every_changing_route_of_users_leaves_a_line() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await.to_string();
    let changing = |route: &Route| {
        route.verb != Verb::Get
            && !matches!(
                route.rule.access,
                Access::Open | Access::Attempt | Access::Bundle | Access::Worker
            )
    };
    let routes: Vec<Route> = table().into_iter().filter(changing).collect();
    assert!(routes.len() > 15);
    // A handler that forgets the log.
    let probes = table().into_iter().map(|route| Route {
        handler: on(route.verb.filter(), async || "reached"),
        ..route
    });
    let world = world.with_routes(probes.collect());
    for (number, route) in routes.iter().enumerate() {
        let verb = format!("{:?}", route.verb).to_uppercase();
        let path = route
            .path
            .replace("/jobs/{id}", &format!("/jobs/{job}"))
            .replace("{id}", "gpu-1")
            .replace("{name}", "anna");
        let path = path.replace(['{', '}'], "");
        let reply = world.request(&verb, &path).token(&world.token("root"));
        assert_eq!(reply.send().await.text(), "reached", "{verb} {path}");
        let log = lines(&world, number + 1).await;
        let word = verb.to_lowercase();
        assert!(
            log[0].action.starts_with(&word),
            "{verb} {path}: {:?}",
            log[0]
        );
        assert_eq!((log[0].by.as_str(), log[0].refused.as_str()), ("root", ""));
    }
}

#[tokio::test]
async fn a_line_says_who_with_which_token_did_what_and_what_became_of_it() {
    let world = World::new().await;
    let bundle = zip(&config("anna"));
    world.upload("anna", &bundle).await;
    let digest = blake3::hash(&bundle).to_hex().to_string();
    let submitted = world
        .request("POST", "/v1/jobs")
        .token(&world.token("anna"))
        .json(&json!({"bundle": digest}));
    let job = submitted.send().await.json::<Value>()["id"]
        .as_u64()
        .expect("an id");
    let log = lines(&world, 2).await;
    let line = &log[0];
    assert_eq!((line.by.as_str(), line.action.as_str()), ("anna", "submit"));
    assert_eq!(
        (line.target.as_str(), line.by_user),
        (&*job.to_string(), true)
    );
    assert_eq!((line.token.len(), line.from.as_str()), (12, "0.0.0.0"));

    let cancel = format!("/v1/jobs/{job}");
    let other = world.request("DELETE", &cancel).token(&world.token("bert"));
    assert_eq!(other.send().await.error().code, ErrorCode::NotFound);
    let line = &lines(&world, 3).await[0];
    assert_eq!(
        (line.by.as_str(), line.refused.as_str()),
        ("bert", "not_found")
    );
    assert_eq!(
        (line.action.as_str(), line.target.as_str()),
        ("delete_jobs", &*job.to_string())
    );

    for expected in ["", "conflict"] {
        let own = world.request("DELETE", &cancel).token(&world.token("olga"));
        own.send().await;
        let count = if expected.is_empty() { 4 } else { 5 };
        let line = &lines(&world, count).await[0];
        assert_eq!((line.by.as_str(), line.action.as_str()), ("olga", "cancel"));
        assert_eq!((line.refused.as_str(), line.by_user), (expected, false));
    }
    let denied = world
        .request("POST", "/v1/users")
        .token(&world.token("bert"));
    denied
        .json(&json!({"name": "eve", "role": "admin"}))
        .send()
        .await;
    let line = &lines(&world, 6).await[0];
    assert_eq!(
        (line.by.as_str(), line.refused.as_str()),
        ("bert", "forbidden")
    );
    for who in ["anna", "bert", "olga"] {
        let secret = world.token(who);
        assert!(!format!("{:?}", world.audit_log().await).contains(&secret));
    }
}

#[tokio::test]
async fn reading_anothers_log_leaves_a_line_and_reading_ones_own_does_not() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    for who in ["anna", "olga"] {
        for what in ["logs", "results"] {
            let path = format!("/v1/jobs/{job}/{what}");
            world
                .request("GET", &path)
                .token(&world.token(who))
                .send()
                .await;
        }
    }
    let log = lines(&world, 2).await;
    let told: Vec<_> = log.iter().map(|line| (&*line.by, &*line.action)).collect();
    assert!(told.contains(&("olga", "get_jobs_logs")), "{log:?}");
    assert!(told.contains(&("olga", "get_jobs_results")), "{log:?}");
    assert!(!told.iter().any(|(by, _)| *by == "anna"), "{log:?}");
}

#[tokio::test]
async fn a_flood_of_refusals_is_cut_and_pushes_no_line_of_an_admin_out() {
    let world = World::new().await;
    for _ in 0..100 {
        let denied = world
            .request("POST", "/v1/users")
            .token(&world.token("bert"));
        assert_eq!(denied.send().await.error().code, ErrorCode::Forbidden);
    }
    let add = world
        .request("POST", "/v1/users")
        .token(&world.token("root"));
    add.json(&json!({"name": "carl"})).send().await;
    let log = lines(&world, 61).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let of = |who: &str| log.iter().filter(|line| line.by == who).count();
    assert!((60..=62).contains(&of("bert")), "{}", of("bert"));
    assert_eq!(of("root"), 1);
    assert!(log.iter().all(|line| line.by_user == (line.by == "bert")));
}

#[tokio::test]
async fn admins_read_the_log_in_pages_and_filter_it() {
    let world = World::new().await;
    // Many lines of one millisecond and a name that looks like another line.
    for number in 0..7 {
        let line = AuditEntry {
            at: dopq_common::time::Timestamp::from_millis(1_000 + number / 3),
            by: if number % 2 == 0 { "anna" } else { "bert" }.to_owned(),
            action: "probe".to_owned(),
            target: number.to_string(),
            detail: "\",\"by\":\"root\"}\n{\"by\":\"root\"".to_owned(),
            by_user: number % 3 == 0,
            ..AuditEntry::default()
        };
        world.audit(line).await;
    }
    let read = async |query: &str| -> AuditPage {
        let path = format!("/v1/audit?action=probe&{query}");
        let reply = world
            .request("GET", &path)
            .token(&world.token("root"))
            .send()
            .await;
        serde_json::from_slice(&reply.body).expect("a page")
    };
    let all = read("limit=100").await;
    let targets = |page: &AuditPage| -> Vec<String> {
        page.lines.iter().map(|line| line.target.clone()).collect()
    };
    assert_eq!(all.lines.len(), 7);
    assert_eq!(all.next, None);
    assert!(all.lines.iter().all(|line| line.by != "root"));
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page = read(&format!("limit=2{next}")).await;
        paged.extend(targets(&page));
        let Some(before) = page.next else { break };
        next = format!("&before={before}");
    }
    assert_eq!(paged, targets(&all));
    assert_eq!(read("user=bert").await.lines.len(), 3);
    assert_eq!(read("since=1970-01-01T00:00:01.001Z").await.lines.len(), 4);
    for wrong in ["limit=0", "before=x", "before=1-2-3", "since=x", "colour=1"] {
        let path = format!("/v1/audit?{wrong}");
        let reply = world
            .request("GET", &path)
            .token(&world.token("root"))
            .send()
            .await;
        assert_eq!(reply.error().code, ErrorCode::BadRequest, "{wrong}");
    }
}
