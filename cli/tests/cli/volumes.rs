//! What the command line tells of volumes.

use std::fs;

use serde_json::json;

use crate::support::{Reply, Server, command, dopq, stderr};

const CONFIG: &str =
    r#"{"name":"train","executor_name":"anna","volumes":["imagenet","coco"],"image":"x:1"}"#;

fn status() -> Reply {
    Reply::json(
        200,
        &json!({
            "version": 1, "cluster": "default", "build": "1", "role": "leader", "epoch": 1, "uptime_seconds": 1,
            "components": [], "jobs": {}, "workers": {},
            "volumes": [{"name": "imagenet", "read_only": true, "groups": ["vision"], "nodes": ["gpu-1"]}]
        }),
    )
}

#[test]
fn volumes_are_shown_by_status_and_looked_up_by_check() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| status());
    let line = "volume imagenet: read-only, for vision, on gpu-1";
    let shown = stderr(&dopq(home.path(), &server, &["status"]));
    assert!(shown.contains(line), "{shown}");

    let bundle = home.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("container_config.json"), CONFIG).unwrap();
    let output = dopq(home.path(), &server, &["check", bundle.to_str().unwrap()]);
    let shown = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in [
        line,
        "warning: volume coco: no node offers it; volumes there are: imagenet",
    ] {
        assert!(shown.contains(part), "{shown}");
    }

    // A check needs no master.
    let nobody = ["check", bundle.to_str().unwrap()];
    let output = command(home.path(), "http://127.0.0.1:1", &nobody)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = stderr(&output);
    assert!(shown.contains("cannot ask the master"), "{shown}");
}
