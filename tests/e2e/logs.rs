//! A log holds every line that the container printed, in order, once.

use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dopq_tests::bundle::Bundle;
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::json;

use crate::cluster::Cluster;

/// Prints 100,000 numbered lines, then bytes that are no UTF-8, then a line without its end.
const SCRIPT: &str = r#"
seq 1 100000
printf 'caf\351 \377\376\001 end\n'
printf 'the last line has no end'
exit 7
"#;

fn expected() -> Vec<u8> {
    let mut lines: Vec<u8> = (1..=100_000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    lines.extend_from_slice(b"caf\xe9 \xff\xfe\x01 end\nthe last line has no end");
    lines
}

/// The engine itself ends the last line, so one newline more is accepted at the very end.
fn assert_same(log: &[u8]) {
    let log = log.strip_suffix(b"\n").unwrap_or(log);
    let expected = expected();
    let differs = log.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the logs part at this byte");
    assert_eq!(log.len(), expected.len());
}

#[test]
fn following_a_submission_gives_every_byte_and_the_exit_code() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let bundle = Bundle::script("admin", "printer", SCRIPT);
    let path = bundle.path().to_str().expect("UTF-8");

    let followed = admin.run(&["submit", path, "--follow"]);
    assert_eq!(followed.code, 7, "{}", followed.stderr);
    // What the build printed comes first.
    let printed = b"\n1\n2\n3\n4\n";
    let begin = followed
        .stdout
        .windows(printed.len())
        .position(|window| window == printed);
    assert_same(&followed.stdout[begin.expect("the container's output") + 1..]);

    let again = admin.run(&["logs", "last", "--source", "stdout"]);
    assert_same(&again.ok().stdout);
    let build = admin
        .run(&["logs", "last", "--source", "build"])
        .ok()
        .text();
    assert!(build.contains("] COPY busybox /bin/busybox\n"), "{build}");
}

#[test]
fn a_log_can_be_followed_from_the_middle_of_a_run() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let script = "for i in 1 2 3 4 5 6; do echo line $i; sleep 1; done";
    let id = admin.submit(Bundle::script("admin", "talker", script).path());
    wait_for("the job to run", Duration::from_secs(60), || {
        (admin.job(id)["state"] == "running").then_some(())
    });
    let follower = admin
        .command(&["logs", "-f", &id.to_string(), "--source", "stdout"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dopq runs");
    let output = follower.wait_with_output().expect("dopq ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected: String = (1..=6).map(|i| format!("line {i}\n")).collect();
    assert_eq!(text, expected);
    assert_eq!(admin.finished(id)["outcome"]["cause"], json!("succeeded"));
}

#[test]
fn a_flood_holds_its_machine_no_longer_than_it_runs() {
    const LIMIT_BYTES: usize = 4 << 20;
    let settings = [("DOPQ_LIMITS_LOG", "4m")];
    let cluster = Cluster::start_with(&[("flooded", 1)], &settings);
    let admin = cluster.admin();
    // Far more than the limit, in the shortest lines there are.
    let script = "yes & sleep 10; kill $!";
    let id = admin.submit(Bundle::script("admin", "flood", script).path());
    let job = admin.finished(id);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    let time = |field: &str| {
        let text = job[field].as_str().expect("a time");
        text.parse::<DateTime<Utc>>().expect("a time")
    };
    let took = time("finished_at") - time("started_at");
    assert!(took.num_seconds() < 15, "it took {took} to end");

    let id = id.to_string();
    let kept = admin.run(&["logs", &id, "--source", "stdout"]).ok().stdout;
    assert!(kept.len() <= LIMIT_BYTES, "{} bytes are kept", kept.len());
    // A line takes a header beside its bytes.
    assert!(
        kept.len() >= LIMIT_BYTES / 10,
        "only {} bytes are kept",
        kept.len()
    );
    let told = admin.run(&["logs", &id, "--source", "dopq"]).ok().text();
    assert_eq!(told.matches("the log is cut here").count(), 1, "{told}");
}

#[test]
fn a_flood_delays_no_cancel() {
    let cluster = Cluster::start_with(&[("flooded", 1)], &[("DOPQ_LIMITS_LOG", "16m")]);
    let admin = cluster.admin();
    let id = admin.submit(Bundle::script("admin", "flood", "yes").path());
    wait_for("the flood to begin", Duration::from_secs(120), || {
        (admin.job(id)["state"] == "running").then_some(())
    });
    std::thread::sleep(Duration::from_secs(5));
    let cancelled_at = Utc::now();
    drop(admin.run(&["cancel", &id.to_string()]).ok());
    let job = admin.finished(id);
    assert_eq!(job["outcome"]["cause"], json!("cancelled"), "{job:#}");
    let at = |state: &str| -> DateTime<Utc> {
        let timeline = job["timeline"].as_array().expect("a timeline");
        let line = timeline.iter().find(|line| line["state"] == state);
        let at = line.and_then(|line| line["at"].as_str());
        at.expect(state).parse().expect("a time")
    };
    let ended = at("publishing") - cancelled_at;
    assert!(ended.num_seconds() < 5, "its GPU was free after {ended}");
    let took = at("finished") - cancelled_at;
    assert!(took.num_seconds() < 30, "it took {took} to end");
}
