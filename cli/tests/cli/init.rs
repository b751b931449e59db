//! `dopq init`: what it writes is a bundle that `dopq check` accepts, and what is there stays.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Reply, Server, command, dopq, stderr, stdout};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

#[test]
fn every_template_is_a_valid_bundle() {
    let existing: [&[(&str, &str)]; 4] = [
        &[],
        &[("requirements.txt", "numpy\n"), ("train.py", "pass\n")],
        &[("pyproject.toml", "[project]\n"), ("uv.lock", "")],
        &[("run.sh", "true\n")],
    ];
    let server = Server::start(|_| Reply::json(200, &json!({"name": "anna.b", "role": "user"})));
    for template in ["plain", "pytorch", "uv"] {
        for files in existing {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("My Job");
            fs::create_dir(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
            let output = dopq(
                home.path(),
                &server,
                &["init", "--template", template, "My Job"],
            );
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert!(
                stderr(&output).contains("dopq submit 'My Job' --follow"),
                "{}",
                stderr(&output)
            );
            let config = fs::read(folder.join("container_config.json")).unwrap();
            let config: Value = serde_json::from_slice(&config).unwrap();
            let gpus = i32::from(template != "plain");
            let expected = json!({"name": "my-job", "executor_name": "anna.b", "num_gpus": gpus});
            assert_eq!(config, expected);
            for (name, text) in files {
                assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), *text);
            }
            let checked = dopq(home.path(), &server, &["check", "My Job"]);
            assert_eq!(
                checked.status.code(),
                Some(0),
                "{template} {files:?}: {}",
                stdout(&checked)
            );
        }
    }
}

#[test]
fn nothing_is_overwritten_without_force() {
    let home = tempfile::tempdir().unwrap();
    let init = |more: &[&str]| {
        let line = [&["init", "job", "-o", "json"], more].concat();
        command(home.path(), NOWHERE, &line)
            .env("USER", "bert")
            .output()
            .unwrap()
    };
    let folder = home.path().join("job");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), "FROM mine\n").unwrap();
    let output = init(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["written"], json!(["container_config.json"]));
    assert_eq!(report["kept"], json!(["Dockerfile"]));
    assert_eq!(report["executor_name"], json!("bert"));
    assert!(stderr(&output).contains("executor_name is bert"));
    assert!(!folder.join("main.py").exists());

    let output = init(&[]);
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    let dockerfile = || fs::read_to_string(folder.join("Dockerfile")).unwrap();
    assert_eq!(dockerfile(), "FROM mine\n");

    // A link is replaced; what it leads to stays.
    #[cfg(unix)]
    {
        let elsewhere = home.path().join("elsewhere");
        fs::rename(folder.join("Dockerfile"), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.join("Dockerfile")).unwrap();
        fs::write(folder.join("main.py"), "mine\n").unwrap();
        let output = init(&["--force", "--template", "pytorch"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            dockerfile().starts_with("FROM pytorch/"),
            "{}",
            dockerfile()
        );
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "FROM mine\n");
        let main = fs::read_to_string(folder.join("main.py")).unwrap();
        assert_eq!(
            main, "mine\n",
            "--force is about the bundle's own two files"
        );
    }
}
