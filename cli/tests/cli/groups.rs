//! `dopq group` and the groups and floors of `dopq user limit`.

use serde_json::{Value, json};

use crate::support::{Reply, Server, dopq, stderr, stdout};

fn group(members: &[&str]) -> Value {
    json!({
        "name": "vision",
        "members": members,
        "penalty": 0.25,
        "weight": 2.0,
        "queued": 3,
        "running": 1,
        "held_gpus_milli": 1500,
        "limits": {"weight": 2.0, "max_gpus_milli": 4000, "floor_gpus_milli": 500},
        "usage_gpu_seconds": 10.0,
        "charged_gpus": 1.5,
    })
}

fn user() -> Value {
    json!({
        "name": "anna", "role": "user", "group": "vision", "penalty": 0.0, "weight": 1.0,
        "queued": 0, "running": 0, "finished": 0, "tokens": [],
        "limits": {"weight": 1.0, "floor_gpus_milli": 1000},
    })
}

#[test]
fn groups_are_listed_set_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.method.as_str() {
        "GET" => {
            let groups = [group(&["anna", "bert"])];
            Reply::json(200, &json!({"version": 1, "groups": groups}))
        }
        "PUT" => Reply::json(200, &group(&[])),
        _ => Reply::new(204, "text/plain", b""),
    });
    let output = dopq(home.path(), &server, &["group", "list"]);
    let text = stdout(&output);
    for part in ["vision", "0.2500", "4 GPUs, floor 0.5", "1.5", "anna, bert"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let set = "group set vision --weight 2 --max-gpus 4 --max-running 7 --max-queued 9 --floor 0.5";
    let set: Vec<&str> = set.split(' ').collect();
    let output = dopq(home.path(), &server, &set);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("dopq user limit USER --group vision"));
    let sent = &server.requests()[2];
    assert_eq!(sent.route(), "PUT /v1/groups/vision");
    let limits = json!({
        "weight": 2.0, "max_gpus_milli": 4000, "max_running": 7, "max_queued": 9,
        "floor_gpus_milli": 500,
    });
    assert_eq!(sent.json(), limits);
    let output = dopq(home.path(), &server, &["group", "rm", "vision"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.requests()[3].route(), "DELETE /v1/groups/vision");
}

#[test]
fn a_user_is_put_into_a_group_taken_out_of_it_or_left_there() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.method.as_str() {
        "GET" => {
            let mut user = user();
            user["limits"] = json!({"weight": 3.0, "max_running": 7});
            Reply::json(200, &json!({"version": 1, "users": [user]}))
        }
        _ => Reply::json(200, &user()),
    });
    for (flags, expected) in [
        (
            &["--group", "vision", "--floor", "1"][..],
            json!({"weight": 3.0, "max_running": 7, "floor_gpus_milli": 1000, "group": "vision"}),
        ),
        (
            &["--no-group"],
            json!({"weight": 3.0, "max_running": 7, "group": null}),
        ),
        (&["--weight", "2"], json!({"weight": 2.0, "max_running": 7})),
        (
            &["--max-running", "none", "--max-queued", "5"],
            json!({"weight": 3.0, "max_queued": 5}),
        ),
        (
            &["--reset", "--floor", "1"],
            json!({"floor_gpus_milli": 1000}),
        ),
    ] {
        let arguments = [&["user", "limit", "anna"], flags].concat();
        let output = dopq(home.path(), &server, &arguments);
        assert!(stdout(&output).contains("vision"), "{}", stderr(&output));
        let requests = server.requests();
        let sent = requests.last().unwrap();
        assert_eq!(sent.route(), "PUT /v1/users/anna/limits");
        assert_eq!(sent.json(), expected);
    }
    let both = ["user", "limit", "anna", "--no-group", "--group", "vision"];
    assert_eq!(dopq(home.path(), &server, &both).status.code(), Some(2));
}
