//! What people and scripts at a shell meet beside the commands: errors as JSON, the pager, manual pages, other names.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Reply, Server, command, dopq, job, stderr, stdout};

#[test]
fn errors_are_json_where_output_is() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::error(404, "not_found", "no job 7\u{1b}[2J"));
    let error = |line: &[&str], code: i32| -> Value {
        let output = dopq(home.path(), &server, line);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
        assert!(!output.stderr.contains(&0x1b));
        let document: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(document["error"]["exit_code"], json!(code));
        document["error"].clone()
    };
    assert_eq!(
        error(&["show", "7", "-o", "json"], 3),
        json!({"code": "not_found", "message": "failed to show job 7: no job 7\u{1b}[2J", "hint": "a hint",
               "faults": [], "exit_code": 3})
    );
    let usage = error(&["show", "-o", "json", "--nonsense"], 2);
    assert_eq!(usage["code"], json!("usage"));
    let message = usage["message"].as_str().unwrap();
    assert!(
        message.starts_with("unexpected argument") && !message.contains("Usage"),
        "{message}"
    );
    fs::write(home.path().join(".dopq.toml"), "utl = 'http://x'\n").unwrap();
    let configuration = error(&["ps", "-o", "json"], 64);
    assert_eq!(configuration["code"], json!("bad_configuration"));
    let fault = &configuration["faults"][0];
    assert!(fault["place"].as_str().unwrap().ends_with("utl"), "{fault}");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &[&str]| {
        let output = command(home.path(), "", line).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    run(&["man", "pages"]);
    let page = |name: &str| fs::read_to_string(home.path().join("pages").join(name)).unwrap();
    assert!(page("dopq-submit.1").contains(".TH"));
    assert!(
        page("dopq-user-add.1").contains("dopq\\-user\\-add"),
        "{}",
        page("dopq-user-add.1")
    );
    let one = run(&["man"]);
    assert!(
        one.contains("Exit codes") && one.contains("\\-\\-url"),
        "{one}"
    );
}

#[test]
fn long_lists_go_through_a_pager_on_a_terminal_only() {
    let home = tempfile::tempdir().unwrap();
    let jobs: Vec<_> = (1..=40).map(|id| job(id, "running", None)).collect();
    let server = Server::start(move |_| Reply::json(200, &json!({"version": 1, "jobs": jobs})));
    // util-linux's script gives it a terminal, of 24 rows.
    let on_terminal = |line: &str, rows: u16, pager: &str| {
        let program = env!("CARGO_BIN_EXE_dopq");
        let inner = format!("stty rows {rows} cols 100; exec '{program}' {line}");
        let output = Command::new("script")
            .args(["-qec", &inner, "/dev/null"])
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("DOPQ_URL", server.url())
            .env("DOPQ_TOKEN", "dopq_t")
            .env("PAGER", pager)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        stdout(&output)
    };
    let paged = on_terminal("ps", 24, "sed s/^/paged:/");
    assert_eq!(paged.matches("paged:").count(), 41, "{paged}");
    let left_early = on_terminal("ps", 24, "head -n 1");
    assert!(left_early.contains("NAME"), "{left_early}");
    for plain in [
        on_terminal("ps --no-pager", 24, "sed s/^/paged:/"),
        on_terminal("ps", 50, "sed s/^/paged:/"),
        on_terminal("ps", 24, ""),
        on_terminal("ps", 24, "/no/such/pager"),
    ] {
        assert!(!plain.contains("paged:"), "{plain}");
        assert_eq!(plain.matches("train").count(), 40, "{plain}");
    }
    let piped = command(home.path(), &server.url(), &["ps"])
        .env("PAGER", "/bin/false")
        .output()
        .unwrap();
    assert_eq!(stdout(&piped).lines().count(), 41);
}
