//! Accounts: logins, passwords, roles; what is disabled, removed or revoked stops working at once.

use std::time::Duration;

use dopq_common::api::{ErrorCode, Role, TokenCreated, TokenList, User};
use serde_json::{Value, json};

use super::ask::Reply;
use super::world::World;

const PASSWORD: &str = "nine purple ladders";

async fn ask(world: &World, who: &str, verb: &str, path: &str, body: Value) -> Reply {
    let request = world.request(verb, path).token(&world.token(who));
    request.json(&body).send().await
}

async fn has_password(world: &World, name: &str) {
    let path = format!("/v1/users/{name}/password");
    let reply = ask(world, "root", "PUT", &path, json!({"password": PASSWORD})).await;
    assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());
}

async fn login(world: &World, name: &str, password: &str) -> Reply {
    let body = json!({"name": name, "password": password, "label": "laptop"});
    world.request("POST", "/v1/login").json(&body).send().await
}

async fn status_with(world: &World, token: &str) -> u16 {
    let reply = world.request("GET", "/v1/whoami").token(token).send().await;
    reply.status.as_u16()
}

#[tokio::test]
async fn a_password_opens_a_token_that_logout_ends() {
    let world = World::new().await;
    has_password(&world, "anna").await;
    let reply = login(&world, "anna", PASSWORD).await;
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let created: TokenCreated = reply.json();
    assert!(created.info.expires_at.is_some() && created.info.by_login);
    let token = created.token.reveal().to_owned();
    assert_eq!(status_with(&world, &token).await, 200);

    let listed = world.request("GET", "/v1/users/anna/tokens").token(&token);
    let listed: TokenList = listed.send().await.json();
    assert_eq!(listed.tokens[1].label, "laptop");
    assert!(listed.tokens[1].used_at.is_some());
    assert!(listed.tokens[0].used_at.is_none());

    let out = world
        .request("POST", "/v1/logout")
        .token(&token)
        .send()
        .await;
    assert_eq!(out.status.as_u16(), 204, "{}", out.text());
    assert_eq!(status_with(&world, &token).await, 401);
    assert_eq!(status_with(&world, &world.token("anna")).await, 200);

    // Name, password and state are not told apart.
    let wrong = [
        login(&world, "anna", "nine purple ladder").await,
        login(&world, "bert", PASSWORD).await,
        login(&world, "nobody", PASSWORD).await,
        login(&world, "../anna", PASSWORD).await,
        login(&world, "anna", &"x".repeat(10_000)).await,
    ];
    let mut texts: Vec<_> = wrong.iter().map(Reply::text).collect();
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(wrong[0].error().code, ErrorCode::Unauthorized);
    // No password, hash or token is in any record.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let log = format!("{:?}", world.audit_log().await);
    assert!(log.contains("\"login\"") && log.contains("logout"), "{log}");
    for secret in [PASSWORD, "nine purple", "argon2id", &token] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn logins_are_limited_before_anything_is_computed() {
    let world = World::new().await;
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(login(&world, "anna", "x").await.error().code);
    }
    assert_eq!(codes[9], ErrorCode::Unauthorized);
    assert_eq!(codes[10], ErrorCode::TooManyRequests);
    let elsewhere = json!({"name": "anna", "password": "x"});
    let elsewhere = world
        .request("POST", "/v1/login")
        .peer("192.0.2.9")
        .json(&elsewhere);
    assert_eq!(elsewhere.send().await.error().code, ErrorCode::Unauthorized);
    assert_eq!(status_with(&world, &world.token("anna")).await, 200);
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_ends_other_logins() {
    let world = World::new().await;
    let path = "/v1/users/anna/password";
    let short = ask(&world, "anna", "PUT", path, json!({"password": "short"})).await;
    assert_eq!(short.error().code, ErrorCode::BadRequest);
    has_password(&world, "anna").await;
    let created: TokenCreated = login(&world, "anna", PASSWORD).await.json();
    let new = "ten green bottles";
    for (current, expected) in [(None, 403), (Some("wrong one"), 403), (Some(PASSWORD), 204)] {
        let body = json!({"password": new, "current": current});
        let reply = ask(&world, "anna", "PUT", path, body).await;
        assert_eq!(reply.status.as_u16(), expected, "{}", reply.text());
    }
    assert_eq!(status_with(&world, created.token.reveal()).await, 401);
    assert_eq!(status_with(&world, &world.token("anna")).await, 200);
    assert_eq!(login(&world, "anna", PASSWORD).await.status.as_u16(), 401);
    assert_eq!(login(&world, "anna", new).await.status.as_u16(), 201);
}

#[tokio::test]
async fn a_disabled_account_opens_nothing_and_its_streams_end_within_a_second() {
    let world = World::new().await;
    has_password(&world, "anna").await;
    let job = world.submit("anna").await;
    let events = world
        .request("GET", "/v1/events")
        .token(&world.token("anna"));
    let mut events = events.open().await;
    let reply = ask(&world, "root", "POST", "/v1/users/anna/disable", json!({})).await;
    let user: User = reply.json();
    assert!(user.disabled_at.is_some() && user.has_password);
    assert_eq!(status_with(&world, &world.token("anna")).await, 401);
    assert_eq!(login(&world, "anna", PASSWORD).await.status.as_u16(), 401);
    let read = async { while events.try_event().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(1), read).await;
    ended.expect("the stream ends within a second");
    let path = format!("/v1/jobs/{job}");
    let shown: Value = ask(&world, "root", "GET", &path, json!({})).await.json();
    assert_eq!(shown["state"], "queued", "its jobs stay");
    ask(&world, "root", "POST", "/v1/users/anna/enable", json!({})).await;
    assert_eq!(status_with(&world, &world.token("anna")).await, 200);
}

#[tokio::test]
async fn a_removed_user_leaves_what_runs_and_what_was_charged() {
    let world = World::new().await;
    let running = world.running_job("anna", "gpu-1").await;
    let waiting = world.submit_with("anna", &json!({"num_gpus": 2})).await;
    let reply = ask(&world, "root", "DELETE", "/v1/users/anna", json!({})).await;
    assert_eq!(reply.status.as_u16(), 204, "{}", reply.text());
    assert_eq!(status_with(&world, &world.token("anna")).await, 401);
    let state = async |job: u64| -> Value {
        let path = format!("/v1/jobs/{job}");
        ask(&world, "root", "GET", &path, json!({})).await.json()
    };
    assert_eq!(state(running).await["state"], "running");
    assert_eq!(state(waiting).await["outcome"]["cause"], "cancelled");
    let usage = ask(&world, "root", "GET", "/v1/users/anna/usage", json!({})).await;
    assert_eq!(usage.status.as_u16(), 200);
    // Once more, as after a removal that broke off, and now what runs as well.
    let again = ask(
        &world,
        "root",
        "DELETE",
        "/v1/users/anna?now=true",
        json!({}),
    )
    .await;
    assert_eq!(again.status.as_u16(), 204, "{}", again.text());
    assert_eq!(state(running).await["state"], "stopping");
    let nobody = ask(&world, "root", "DELETE", "/v1/users/nobody", json!({})).await;
    assert_eq!(nobody.error().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn the_last_admin_stays_and_roles_change_at_once() {
    let world = World::new().await;
    let refused = [
        ("DELETE", "/v1/users/root", json!({})),
        ("POST", "/v1/users/root/disable", json!({})),
        ("PUT", "/v1/users/root/role", json!({"role": "user"})),
        ("POST", "/v1/logout", json!({})),
    ];
    for (verb, path, body) in refused {
        let reply = ask(&world, "root", verb, path, body).await;
        assert_eq!(reply.error().code, ErrorCode::Conflict, "{verb} {path}");
    }
    let path = "/v1/users/olga/role";
    let reply = ask(&world, "root", "PUT", path, json!({"role": "admin"})).await;
    assert_eq!(reply.json::<User>().role, Role::Admin);
    let by_olga = ask(
        &world,
        "olga",
        "PUT",
        "/v1/users/root/role",
        json!({"role": "user"}),
    )
    .await;
    assert_eq!(by_olga.status.as_u16(), 200, "{}", by_olga.text());
    let no_more = ask(&world, "root", "GET", "/v1/users", json!({})).await;
    assert_eq!(no_more.error().code, ErrorCode::Forbidden);
}
