//! The same twenty jobs give the same outcomes in both ways of running, and the cause that is told is true.

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::programs::Standalone;
use dopq_tests::registry::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Twenty jobs, each with the cause and exit code it must end with.
fn jobs(registry: &Registry) -> Vec<(Bundle, &'static str, Option<i64>)> {
    let user = "admin";
    let script = |name: &str, script: &str| Bundle::script(user, name, script);
    let mut jobs = vec![
        (script("says-hello", "echo hello"), "succeeded", Some(0)),
        (script("exits-3", "exit 3"), "user_error", Some(3)),
        (
            script("kills-itself", "kill -9 $$"),
            "user_error",
            Some(137),
        ),
        (script("segfaults", "kill -11 $$"), "user_error", Some(139)),
        (
            script("eats-memory", "sleep 1; x=a; while :; do x=$x$x; done")
                .with("required_memory", json!("32m")),
            "oom_host",
            Some(137),
        ),
        (
            script(
                "never-ends",
                "trap 'exit 0' TERM; while :; do sleep 1; done",
            )
            .with("time_limit", json!("2s"))
            .with("grace", json!("2s")),
            "time_limit",
            None,
        ),
        (
            script("no-image", "true")
                .with("build_flag", json!(false))
                .with("image", json!(registry.image())),
            "image_missing",
            None,
        ),
        (
            script(
                "wants-two",
                "test $(echo $NVIDIA_VISIBLE_DEVICES | tr ',' '\\n' | wc -l) = 2",
            )
            .with("num_gpus", json!(2)),
            "succeeded",
            Some(0),
        ),
        (
            script("wants-none", "test $NVIDIA_VISIBLE_DEVICES = void").with("num_gpus", json!(0)),
            "succeeded",
            Some(0),
        ),
        (
            script(
                "writes-results",
                "echo 42 > /outdir/answer && test -n \"$DOPQ_JOB_ID\" && test $DOPQ_ATTEMPT = 1",
            ),
            "succeeded",
            Some(0),
        ),
        (
            script("sees-environment", "test \"$GREETING\" = 'hello world'").with(
                "run_params",
                json!({"environment": {"GREETING": "hello world"}}),
            ),
            "succeeded",
            Some(0),
        ),
        (
            script("has-no-network", "test $(ls /sys/class/net | wc -l) = 1")
                .with("network", json!("none")),
            "succeeded",
            Some(0),
        ),
        (
            script("has-no-rights", "! chown 1:1 /run.sh 2>/dev/null"),
            "succeeded",
            Some(0),
        ),
        (
            script("replaces-command", "exit 1")
                .with("command", json!(["/bin/sh", "-c", "exit 11"])),
            "user_error",
            Some(11),
        ),
    ];
    let broken = script("does-not-build", "true");
    broken.file(
        "Dockerfile",
        b"FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"false\"]\n",
    );
    jobs.push((broken, "build_failed", None));
    let missing = script("copies-nothing", "true");
    missing.file(
        "Dockerfile",
        b"FROM scratch\nCOPY nothing-of-that-name /x\n",
    );
    jobs.push((missing, "build_failed", None));
    for code in [1, 2, 42, 255] {
        let job = script(&format!("exits-with-{code}"), &format!("exit {code}"));
        jobs.push((job, "user_error", Some(code)));
    }
    assert_eq!(jobs.len(), 20);
    jobs
}

/// Runs all twenty; gives name, cause and exit code of each.
fn run(cli: &Cli, registry: &Registry) -> Vec<(String, String, Value)> {
    let jobs = jobs(registry);
    let ids: Vec<_> = jobs
        .iter()
        .map(|(bundle, ..)| cli.submit(bundle.path()))
        .collect();
    let finished = ids.iter().map(|id| cli.finished(*id));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    finished
        .zip(&jobs)
        .map(|(job, (_, cause, code))| {
            let outcome = &job["outcome"];
            assert_eq!(outcome["cause"], json!(cause), "{job:#}");
            if let Some(code) = code {
                assert_eq!(outcome["exit_code"], json!(code), "{job:#}");
            }
            let hint = text(&outcome["hint"]);
            assert_eq!(hint.is_empty(), *cause == "succeeded", "{job:#}");
            assert!(job["finished_at"].is_string(), "{job:#}");
            (
                text(&job["name"]),
                text(&outcome["cause"]),
                outcome["exit_code"].clone(),
            )
        })
        .collect()
}

#[test]
fn twenty_jobs_end_alike_in_one_process_and_in_a_cluster() {
    let registry = Registry::without_images();
    let master = Standalone::start(2);
    let alone = run(&master.admin(), &registry);
    drop(master);
    let cluster = Cluster::start(&[("gpu-a", 2), ("gpu-b", 2)]);
    let together = run(&cluster.admin(), &registry);
    assert_eq!(alone, together);
}
