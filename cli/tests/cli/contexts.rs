//! Contexts, as a user of two clusters keeps them; and completion, as the shell asks for it.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Reply, Server, command, job, stderr, stdout};

/// The program without a master in its environment.
fn bare(home: &Path, arguments: &[&str]) -> Command {
    let mut command = command(home, "", arguments);
    command.env_remove("DOPQ_URL").env_remove("DOPQ_TOKEN");
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    bare(home, arguments).output().unwrap()
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it reads.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

fn master(name: &'static str) -> Server {
    Server::start(move |request| match request.route().as_str() {
        "GET /v1/whoami" => Reply::json(200, &json!({"name": name, "role": "user"})),
        "GET /v1/jobs" => Reply::json(
            200,
            &json!({"version": 1, "jobs": [job(12, "running", None), job(8, "queued", None)]}),
        ),
        "GET /v1/nodes" => Reply::json(
            200,
            &json!({"version": 1, "nodes": [node("gpu-1"), node("$(reboot)"), node("gpu-2")]}),
        ),
        _ => Reply::error(403, "forbidden", "no"),
    })
}

fn node(name: &str) -> Value {
    json!({"name": name, "state": "up", "cordon": null, "agent": "0", "engine": "", "gpu_mode": "", "gpus": [],
           "last_seen_at": null, "cpu_cores": 1.0, "cpu_cores_held": 0.0, "memory_bytes": 1, "memory_held_bytes": 0,
           "jobs": [], "labels": {}})
}

#[test]
fn two_clusters_have_names_and_tokens_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (lab, cloud) = (master("anna"), master("anna.cloud"));
    for (name, server) in [("lab", &lab), ("cloud", &cloud)] {
        let added = run(home, &["context", "add", name, &server.url()]);
        assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
        let login = bare(home, &["login", "--context", name]);
        let login = with_input(login, &format!("dopq_{name}\n"));
        assert_eq!(login.status.code(), Some(0), "{}", stderr(&login));
    }
    let again = run(home, &["context", "add", "lab", "http://elsewhere"]);
    assert_eq!(again.status.code(), Some(6), "{}", stderr(&again));

    let who = |more: &[&str]| stdout(&run(home, &[&["whoami"], more].concat()));
    assert!(who(&[]).contains("anna.cloud"), "the last login");
    let used = run(home, &["context", "use", "lab"]);
    assert_eq!(used.status.code(), Some(0), "{}", stderr(&used));
    let shown = who(&[]);
    assert!(shown.contains("anna ") && shown.contains("lab"), "{shown}");
    assert!(who(&["--context", "cloud"]).contains("anna.cloud"));
    let listed = run(home, &["context", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    assert_eq!(
        listed,
        json!([
            {"name": "cloud", "url": cloud.url(), "current": false, "logged_in": true},
            {"name": "lab", "url": lab.url(), "current": true, "logged_in": true},
        ])
    );
    for (server, token) in [(&lab, "Bearer dopq_lab"), (&cloud, "Bearer dopq_cloud")] {
        let requests = server.requests();
        let all = requests
            .iter()
            .all(|it| it.header("authorization") == Some(token));
        assert!(all, "a token went elsewhere: {requests:?}");
    }
    let removed = run(home, &["context", "rm", "lab"]);
    assert_eq!(removed.status.code(), Some(0), "{}", stderr(&removed));
    let file = fs::read_to_string(home.join(".config/dopq/config.toml")).unwrap();
    assert!(
        !file.contains("dopq_lab") && file.contains("dopq_cloud"),
        "{file}"
    );
    let unknown = run(home, &["context", "use", "lab"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", stderr(&unknown));
}

#[test]
fn a_token_that_nobody_asks_for_is_not_sent_where_a_project_says() {
    let home = tempfile::tempdir().unwrap();
    let evil = master("mallory");
    let project = format!("url = '{}'\n", evil.url());
    fs::write(home.path().join(".dopq.toml"), project).unwrap();
    fs::write(home.path().join("token"), "dopq_secret").unwrap();
    let piped = with_input(bare(home.path(), &["login"]), "dopq_secret\n");
    let from_file = run(home.path(), &["login", "--token-file", "token"]);
    let given = run(home.path(), &["ps", "--token-file", "token"]);
    for (output, code) in [(piped, 2), (from_file, 2), (given, 64)] {
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(!stderr(&output).contains("dopq_secret"));
    }
    assert!(evil.requests().is_empty());
}

/// What bash offers for the last of these words.
fn offered(home: &Path, words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_dopq"));
    let script = r#"
        eval "$(dopq completions bash)"
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_dopq dopq "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .args(words)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        )
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "", "a completion is silent");
    let lines = stdout(&output);
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn configure(home: &Path, url: &str) {
    let folder = home.join(".config/dopq");
    fs::create_dir_all(&folder).unwrap();
    let file = format!(
        "context = 'lab'\n[contexts.lab]\nurl = '{url}'\n[contexts.lake]\nurl = 'http://127.0.0.1:9'\n\
         [tokens]\n'{url}' = 'dopq_t'\n"
    );
    fs::write(folder.join("config.toml"), file).unwrap();
}

#[test]
fn bash_completes_what_the_master_and_the_file_know() {
    let home = tempfile::tempdir().unwrap();
    let server = master("anna");
    configure(home.path(), &server.url());
    let offered = |words: &[&str]| offered(home.path(), words);
    assert_eq!(offered(&["dopq", "logs", ""])[..3], ["12", "8", "last"]);
    assert_eq!(offered(&["dopq", "logs", "1"]), ["12"]);
    assert_eq!(offered(&["dopq", "cancel", "8,1"]), ["8,12"]);
    let nodes = offered(&["dopq", "cordon", "g"]);
    assert_eq!(nodes, ["gpu-1", "gpu-2"], "and nothing that a shell runs");
    assert!(offered(&["dopq", "cordon", "$"]).is_empty());
    assert_eq!(offered(&["dopq", "ps", "--user", "a"]), ["anna"]);
    assert_eq!(offered(&["dopq", "context", "use", "l"]), ["lab", "lake"]);
    assert_eq!(offered(&["dopq", "--context", "la"]), ["lab", "lake"]);
    assert_eq!(offered(&["dopq", "expl"]), ["explain"]);
    let jobs = server.of("GET /v1/jobs");
    assert!(jobs[0].path.contains("user=anna"), "{}", jobs[0].path);
}

#[test]
fn completion_is_quick_and_silent_without_a_master() {
    // One that refuses, and one that takes the call and never answers.
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", refusing.local_addr().unwrap());
    drop(refusing);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}", silent.local_addr().unwrap());
    for url in [closed, mute] {
        let home = tempfile::tempdir().unwrap();
        configure(home.path(), &url);
        let before = tokio::time::Instant::now();
        let found = offered(home.path(), &["dopq", "cancel", "1"]);
        let took = before.elapsed();
        assert!(found.is_empty(), "{found:?}");
        // Bash and two starts of the program are part of it.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
