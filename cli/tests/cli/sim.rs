//! `dopq sim replay --from-history`: the master's own past under another policy.

use serde_json::{Value, json};

use crate::support::{Reply, Server, dopq, job, stderr, stdout};

/// A finished job: when it was submitted, started and ended, in seconds.
fn ran(id: u64, user: &str, gpus: u32, times: [u32; 3]) -> Value {
    let at = |seconds: u32| {
        let (hours, minutes) = (7 + seconds / 3600, seconds / 60 % 60);
        format!("2026-11-24T{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
    };
    let mut job = job(id, "finished", Some(("succeeded", Some(0))));
    job["user"] = user.into();
    job["num_gpus"] = gpus.into();
    for (field, seconds) in ["submitted_at", "started_at", "finished_at"]
        .into_iter()
        .zip(times)
    {
        job[field] = at(seconds).into();
    }
    job
}

fn machine(name: &str, gpus: usize, state: &str) -> Value {
    let gpu = |at: usize| {
        json!({
            "id": format!("GPU-{name}-{at}"), "model": "H100", "healthy": true, "memory_bytes": 1,
            "held_ratio": 0.0, "utilization_ratio": null, "memory_used_bytes": null
        })
    };
    json!({
        "name": name, "state": state, "cordon": null, "agent": "", "engine": "", "gpu_mode": "",
        "last_seen_at": null, "gpus": (0..gpus).map(gpu).collect::<Vec<_>>(), "cpu_cores": 8.0,
        "cpu_cores_held": 0.0, "memory_bytes": 1, "memory_held_bytes": 0, "jobs": [], "labels": {}
    })
}

/// A master with two GPUs that are there and eight that are lost.
fn master(jobs: Vec<Value>) -> Server {
    Server::start(move |request| match request.route().as_str() {
        "GET /v1/users" => Reply::json(200, &json!({"version": 1, "users": []})),
        "GET /v1/nodes" => {
            let nodes = [
                machine("a", 2, "up"),
                machine("b", 0, "up"),
                machine("c", 8, "lost"),
            ];
            Reply::json(200, &json!({"version": 1, "nodes": nodes}))
        }
        // Two pages, as long as there are jobs.
        "GET /v1/jobs" if request.before % 2 == 0 && !jobs.is_empty() => {
            let first = json!({"version": 1, "jobs": jobs[..1], "next": 99});
            Reply::json(200, &first)
        }
        "GET /v1/jobs" => {
            let rest = jobs.get(1..).unwrap_or_default();
            Reply::json(200, &json!({"version": 1, "jobs": rest}))
        }
        route => Reply::error(404, "not_found", route),
    })
}

/// The newest first, as the API lists them: Anna's job held both GPUs while those of Bert waited, the second
/// of them longer than it had to.
fn past() -> Vec<Value> {
    let mut never_ran = job(9, "finished", Some(("cancelled", None)));
    never_ran["started_at"] = Value::Null;
    vec![
        never_ran,
        ran(8, "bert", 1, [60, 700, 800]),
        ran(7, "bert", 1, [60, 600, 700]),
        ran(6, "anna", 2, [0, 0, 600]),
        ran(5, "anna", 0, [0, 0, 5]),
    ]
}

const REPLAY: [&str; 3] = ["sim", "replay", "--from-history"];

#[test]
fn the_past_is_replayed_beside_what_it_was() {
    let home = tempfile::tempdir().unwrap();
    let server = master(past());
    let line = [&REPLAY[..], &["--policy", "fifo", "-o", "json"]].concat();
    let output = dopq(home.path(), &server, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("2 finished jobs left out"), "{told}");
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let observed = &report["observed"];
    let figures =
        |of: &Value| [&of["makespan_seconds"], &of["wait_seconds"]["p99"]].map(Value::clone);
    assert_eq!(figures(observed), [json!(800.0), json!(640.0)]);
    assert_eq!(figures(&report), [json!(700.0), json!(540.0)]);
    assert_eq!((&report["jobs"], &observed["jobs"]), (&json!(3), &json!(3)));
    assert_eq!(observed["late_starts"], Value::Null);
    let pages = server.of("GET /v1/jobs");
    assert!(
        pages
            .iter()
            .all(|page| page.path.contains("state=finished"))
    );
    assert!(pages[1].path.contains("before=99"));

    let output = dopq(home.path(), &server, &REPLAY);
    let text = stdout(&output);
    let row = text.lines().find(|line| line.starts_with("makespan"));
    let row: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    assert_eq!(row, ["makespan,", "s", "800", "700"], "{text}");
}

#[test]
fn shares_of_gpus_are_replayed_as_shares() {
    let home = tempfile::tempdir().unwrap();
    let jobs = (1..=4).rev().map(|id| {
        let mut job = ran(id, "anna", 1, [0, 0, 100]);
        job["gpu_milli"] = 500.into();
        job
    });
    let server = master(jobs.collect());
    let output = dopq(
        home.path(),
        &server,
        &[&REPLAY[..], &["-o", "json"]].concat(),
    );
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let figures = [&report["utilisation"], &report["wait_seconds"]["p99"]];
    assert_eq!(figures, [&json!(1.0), &json!(0.0)], "{}", stderr(&output));
}

#[test]
fn what_cannot_be_replayed_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let cpu_only = vec![ran(5, "anna", 0, [0, 0, 5])];
    for (jobs, arguments, code, reason) in [
        (vec![], &[][..], 3, "no finished jobs"),
        (cpu_only, &[], 3, "none ran on a GPU"),
        (
            past(),
            &["--gpus", "1"],
            2,
            "up to 2 GPUs, but the largest node has 1",
        ),
        (
            past(),
            &["--gpus", "4", "--gpus-per-node", "1"],
            2,
            "largest node has 1",
        ),
        (past(), &["--trace", "x.swf"], 2, "cannot be used with"),
        (past(), &["--users", "3"], 2, "cannot be used with"),
        (past(), &["--gpus-per-node", "1"], 2, "--gpus"),
    ] {
        let server = master(jobs);
        let output = dopq(home.path(), &server, &[&REPLAY[..], arguments].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
    let server = Server::start(|_| Reply::error(403, "forbidden", "only operators and admins may"));
    let output = dopq(home.path(), &server, &REPLAY);
    assert_eq!(output.status.code(), Some(4), "a part of the past is none");
    let neither = dopq(home.path(), &server, &["sim", "replay", "--gpus", "4"]);
    assert_eq!(neither.status.code(), Some(2));
    let without_gpus = dopq(home.path(), &server, &["sim", "replay", "--trace", "x.swf"]);
    assert_eq!(without_gpus.status.code(), Some(2));
}
