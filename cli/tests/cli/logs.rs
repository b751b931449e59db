//! Logs through connections that break: every byte, in order, once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Reply, Request, Server, dopq, job, stderr, stdout};

fn event(attempt: u32, next: u64, source: &str, data: &[u8]) -> String {
    let data = json!({
        "attempt": attempt, "next": next, "source": source, "at": "2026-11-24T07:00:00Z",
        "data": STANDARD.encode(data)
    });
    format!("event: log\nid: {attempt}:{next}\ndata: {data}\n\n")
}

fn end(outcome: (&str, Option<i32>)) -> String {
    let job = job(7, "finished", Some(outcome));
    format!("event: end\ndata: {}\n\n", json!({ "job": job }))
}

/// Breaks three times: between events, in the middle of one, and after a repeat.
fn breaking(request: &Request) -> Reply {
    let pieces = [
        event(1, 30, "build", b"Step 1/2\n"),
        event(1, 60, "stdout", b"\x1b[31mred\xff\xfe "),
        event(2, 20, "stderr", b"again\r\n"),
        event(2, 50, "stdout", b"no newline"),
    ];
    let (half, _) = pieces[1].split_at(40);
    match request.before {
        0 => Reply::broken_events(&format!("{}{half}", pieces[0])),
        1 => Reply::broken_events(&format!(": hello\n\n{}{}", pieces[0], pieces[1])),
        2 => Reply::events(&pieces[2]),
        _ => Reply::events(&format!(
            "{}{}{}",
            pieces[2],
            pieces[3],
            end(("user_error", Some(3)))
        )),
    }
}

#[test]
fn a_broken_stream_loses_and_repeats_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(breaking);
    let output = dopq(home.path(), &server, &["logs", "-f", "7"]);
    assert_eq!(
        output.stdout,
        b"Step 1/2\n\x1b[31mred\xff\xfe again\r\nno newline",
        "{}",
        stderr(&output)
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "logs does not give the job's code"
    );
    let asked: Vec<Option<String>> = server
        .of("GET /v1/jobs/7/logs/stream")
        .iter()
        .map(|request| request.header("last-event-id").map(str::to_owned))
        .collect();
    let expected = [None, Some("1:30"), Some("1:60"), Some("2:20")].map(|id| id.map(str::to_owned));
    assert_eq!(asked, expected);
    assert!(
        stderr(&output).contains("job 7 ended: user_error, exit code 3"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn sources_and_the_tail_can_be_chosen() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| {
        Reply::events(&format!(
            "{}{}{}",
            event(1, 30, "build", b"built\n"),
            event(1, 60, "stdout", b"ran\n"),
            end(("succeeded", Some(0)))
        ))
    });
    let output = dopq(
        home.path(),
        &server,
        &["logs", "7", "--source", "stdout", "--tail", "5"],
    );
    assert_eq!(stdout(&output), "ran\n");
    let path = &server.requests()[0].path;
    assert!(
        path.contains("follow=false") && path.contains("tail=5"),
        "{path}"
    );
}

#[test]
fn programs_get_events_and_the_end() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| {
        Reply::events(&format!(
            "{}{}",
            event(1, 9, "stdout", b"x"),
            end(("succeeded", Some(0)))
        ))
    });
    let output = dopq(home.path(), &server, &["logs", "7", "-o", "json"]);
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["data"], STANDARD.encode("x"));
    assert_eq!(lines[1]["job"]["outcome"]["cause"], "succeeded");
}

#[test]
fn a_log_of_a_job_that_is_not_there_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::error(404, "not_found", "there is no job 7"));
    let output = dopq(home.path(), &server, &["logs", "-f", "7"]);
    assert_eq!(output.status.code(), Some(3));
    // It may have asked how the job stands meanwhile.
    let requests = server.requests();
    let of_log = requests.iter().filter(|one| one.path.contains("/logs/"));
    assert_eq!(of_log.count(), 1, "asking again would not help");
}

#[test]
fn what_a_master_says_about_its_log_is_heard() {
    let home = tempfile::tempdir().unwrap();
    let away =
        json!({"error": {"code": "unavailable", "message": "the store is away", "hint": ""}});
    let server = Server::start(move |request| {
        let first = event(1, 9, "stdout", b"before\n");
        let hole = event(1, 0, "dopq", b"[5 bytes are missing]\n");
        if request.before == 0 {
            Reply::events(&format!("{first}{hole}event: error\ndata: {away}\n\n"))
        } else {
            let last = event(1, 30, "stdout", b"after\n");
            Reply::events(&format!("{last}{}", end(("succeeded", Some(0)))))
        }
    });
    let output = dopq(home.path(), &server, &["logs", "7"]);
    assert_eq!(
        stdout(&output),
        "before\n[5 bytes are missing]\nafter\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(server.requests()[1].header("last-event-id"), Some("1:9"));
}
