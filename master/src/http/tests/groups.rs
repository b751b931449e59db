//! Limits, groups and floors: what admins set is shown, in force at once, and in the audit log.

use dopq_common::api::{ErrorCode, Group, GroupList, Job, Limits, User, UserList};
use serde_json::json;

use super::ask::Reply;
use super::world::World;

async fn put(world: &World, path: &str, body: serde_json::Value) -> Reply {
    let request = world.request("PUT", path).token(&world.token("root"));
    request.json(&body).send().await
}

async fn show(world: &World, job: u64) -> Job {
    let request = world.request("GET", &format!("/v1/jobs/{job}"));
    request.token(&world.token("root")).send().await.json()
}

async fn groups(world: &World) -> Vec<Group> {
    let request = world
        .request("GET", "/v1/groups")
        .token(&world.token("olga"));
    request.send().await.json::<GroupList>().groups
}

#[tokio::test]
async fn a_group_is_made_joined_limited_and_removed() {
    let world = World::new().await;
    assert_eq!(groups(&world).await, []);
    let limits = json!({
        "weight": 2.5,
        "max_gpus_milli": 4000,
        "max_running": 1,
        "max_queued": 100,
        "floor_gpus_milli": 1000,
    });
    let reply = put(&world, "/v1/groups/vision", limits.clone()).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    let set: Group = reply.json();
    assert_eq!((set.name.as_str(), set.members.len()), ("vision", 0));
    let given: Limits = serde_json::from_value(limits).expect("limits");
    assert_eq!(set.limits, given);

    let into = json!({ "group": "vision" });
    let reply = put(&world, "/v1/users/anna/limits", into.clone()).await;
    assert_eq!(reply.json::<User>().group.as_deref(), Some("vision"));
    put(&world, "/v1/users/bert/limits", into).await;
    // Who sets something else leaves them where they are.
    let weight = json!({ "weight": 3, "floor_gpus_milli": 500 });
    let anna: User = put(&world, "/v1/users/anna/limits", weight).await.json();
    assert_eq!(anna.group.as_deref(), Some("vision"));
    assert_eq!(anna.limits.floor_gpus_milli, Some(500));
    let request = world
        .request("GET", "/v1/users")
        .token(&world.token("olga"));
    let users: UserList = request.send().await.json();
    let of: Vec<_> = users
        .users
        .iter()
        .map(|user| user.group.as_deref())
        .collect();
    assert_eq!(of, [Some("vision"), Some("vision"), None, None]);

    // The limit of running jobs is of both together, and no longer when it is taken away.
    let first = world.running_job("anna", "gpu-1").await;
    let second = world.submit("bert").await;
    let waits = show(&world, second).await.reason.unwrap_or_default();
    assert!(
        waits.contains("the limit of running jobs of group vision is reached (1)"),
        "{waits}"
    );
    let listed = groups(&world).await.remove(0);
    assert_eq!(listed.members, ["anna", "bert"]);
    assert_eq!((listed.queued, listed.running), (1, 1));
    assert_eq!(listed.held_gpus_milli, 1000);
    assert!(listed.usage_gpu_seconds > 0.0 && listed.penalty > 0.0);
    put(&world, "/v1/groups/vision", json!({})).await;
    assert_ne!(show(&world, second).await.state, "queued");
    assert_eq!(show(&world, first).await.state, "running");

    let remove = async || {
        let request = world.request("DELETE", "/v1/groups/vision");
        request.token(&world.token("root")).send().await
    };
    let reply = remove().await;
    assert_eq!(reply.error().code, ErrorCode::Conflict);
    assert!(reply.error().message.contains("anna, bert"));
    for name in ["anna", "bert"] {
        let path = format!("/v1/users/{name}/limits");
        let user: User = put(&world, &path, json!({ "group": null })).await.json();
        assert_eq!((user.group, user.limits.group), (None, None));
    }
    assert_eq!(remove().await.status.as_u16(), 204);
    assert_eq!(remove().await.error().code, ErrorCode::NotFound);
    assert_eq!(groups(&world).await, []);

    let line = |action: &str, target: &str| {
        let root = "root".to_owned();
        (root, action.to_owned(), target.to_owned())
    };
    let audited = world.audited(3).await;
    assert_eq!(audited[0], line("group_removed", "vision"));
    assert_eq!(audited[1], line("user_limits", "bert"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_says_what_can() {
    let world = World::new().await;
    put(&world, "/v1/groups/nlp", json!({})).await;
    for (path, body, code, text) in [
        (
            "/v1/users/anna/limits",
            json!({ "group": "vision" }),
            ErrorCode::Invalid,
            "groups there are: nlp",
        ),
        (
            "/v1/users/anna/limits",
            json!({ "group": "a/b" }),
            ErrorCode::BadRequest,
            "is not a group name",
        ),
        (
            "/v1/users/nobody/limits",
            json!({}),
            ErrorCode::NotFound,
            "no user nobody",
        ),
        (
            "/v1/groups/nlp",
            json!({ "weight": 0 }),
            ErrorCode::Invalid,
            "a number above 0",
        ),
        (
            "/v1/groups/nlp",
            json!({ "max_gpus_milli": 1000, "floor_gpus_milli": 2000 }),
            ErrorCode::Invalid,
            "a floor of 2 GPUs",
        ),
        (
            "/v1/groups/nlp",
            json!({ "floor": 2 }),
            ErrorCode::BadRequest,
            "floor_gpus_milli",
        ),
        (
            "/v1/groups/nlp",
            json!({ "group": "ml" }),
            ErrorCode::BadRequest,
            "cannot be in a group",
        ),
        (
            "/v1/groups/.nlp",
            json!({}),
            ErrorCode::BadRequest,
            "is not a group name",
        ),
    ] {
        let error = put(&world, path, body).await.error();
        assert_eq!(error.code, code, "{path}: {}", error.message);
        assert!(error.message.contains(text), "{path}: {}", error.message);
    }
}

#[test]
fn null_takes_out_of_a_group_and_absence_does_not() {
    let read = |text| serde_json::from_str::<Limits>(text).expect("limits").group;
    assert_eq!(read("{}"), None);
    assert_eq!(read(r#"{"group": null}"#), Some(None));
    assert_eq!(read(r#"{"group": "ml"}"#), Some(Some("ml".to_owned())));
    let written = |group| {
        let limits = Limits {
            group,
            ..Limits::default()
        };
        serde_json::to_string(&limits).expect("JSON")
    };
    assert_eq!(written(None), "{}");
    assert_eq!(written(Some(None)), r#"{"group":null}"#);
}
