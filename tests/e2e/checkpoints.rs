//! A training that is killed ten times goes on each time, and ends with the bytes of one that nobody disturbed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::wait_for;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Each step depends on all steps before. The first attempts take their time, so that they can be killed.
const TRAINING: &str = "
trap 'exit 85' TERM
cd $DOPQ_CHECKPOINT_DIR
[ -f progress ] || echo seed > progress
at=$(wc -l < progress)
echo attempt $DOPQ_ATTEMPT resumed=$DOPQ_RESUMED at $at
while [ $at -lt 600 ]; do
    cp progress progress.new
    sha256sum < progress >> progress.new
    mv progress.new progress
    at=$((at+1))
    echo step $at
    [ -n \"$FAST\" ] || [ $DOPQ_ATTEMPT -gt 10 ] || sleep 0.4
done
cp progress /outdir/result
";

/// A way to end an attempt.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// Urgent jobs take both machines.
    Preempted,
    /// The program dies.
    Program,
    /// The worker and the program die, and the worker comes back.
    Worker,
    /// The machine is not heard of for so long that the job runs elsewhere, while the program goes on there.
    Machine,
    /// The job has run for as long as it may, and says "run me again".
    TimeLimit,
}

const KILLS: [Kill; 10] = [
    Kill::Preempted,
    Kill::Machine,
    Kill::Program,
    Kill::Worker,
    Kill::TimeLimit,
    Kill::Preempted,
    Kill::Worker,
    Kill::Machine,
    Kill::Program,
    Kill::Preempted,
];

fn training(name: &str) -> Bundle {
    Bundle::script("anna", name, TRAINING)
        .with("preemptible", json!(true))
        .with("retries", json!(20))
        .with("time_limit", json!("40s"))
}

/// Waits until attempt `number` has printed where it began and made two steps; returns where it began.
fn progress(anna: &Cli, id: u64, number: u64) -> u64 {
    let (id, attempt) = (id.to_string(), number.to_string());
    wait_for("an attempt to go on", Duration::from_secs(120), || {
        let log = anna.run(&["logs", &id, "--source", "stdout", "--attempt", &attempt]);
        let text = log.text();
        let start = text.lines().find(|line| line.starts_with("attempt "))?;
        let resumed = if number > 1 { "resumed=1" } else { "resumed= " };
        assert!(start.contains(resumed), "{start}");
        let at = start.rsplit_once(' ')?.1.parse().ok()?;
        text.contains(&format!("step {}\n", at + 2)).then_some(at)
    })
}

fn await_job(anna: &Cli, id: u64, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, Duration::from_secs(120), || {
        let job = anna.job(id);
        if is(&job) {
            return Some(job);
        }
        assert_ne!(job["state"], json!("finished"), "{job:#}");
        None
    })
}

fn kill_program(cluster: &Cluster, id: u64, attempt: u64) {
    let prefix = format!("dopq-{}-{id}-{attempt}-", cluster.name);
    let containers = dopq_tests::engine::containers(&cluster.name, false);
    let container = containers
        .into_iter()
        .find(|container| container.name.starts_with(&prefix))
        .expect("its container");
    let killed = Command::new("docker")
        .args(["kill", &container.name])
        .output()
        .expect("docker runs");
    assert!(killed.status.success(), "{killed:?}");
}

/// Ends the attempt, and returns once the next one begins.
fn kill(cluster: &mut Cluster, anna: &Cli, id: u64, how: Kill) {
    let job = anna.job(id);
    let attempt = job["attempt"].as_u64().expect("an attempt");
    let name = job["worker"].as_str().expect("a worker").to_owned();
    let at = cluster
        .workers
        .iter()
        .position(|worker| worker.name == name);
    let at = at.expect("a worker of the cluster");
    let next = |job: &Value| job["attempt"].as_u64() > Some(attempt);
    match how {
        Kill::Preempted => {
            let admin = cluster.admin();
            let urgent: Vec<u64> = (0..2)
                .map(|n| {
                    let job = Bundle::script("admin", &format!("urgent-{n}"), "sleep 1");
                    admin.submit(job.with("class", json!("urgent")).path())
                })
                .collect();
            for id in urgent {
                let ended = admin.finished(id);
                assert_eq!(ended["outcome"]["cause"], json!("succeeded"), "{ended:#}");
            }
        }
        Kill::Program => kill_program(cluster, id, attempt),
        Kill::Worker => {
            cluster.workers[at].program.kill();
            kill_program(cluster, id, attempt);
            cluster.workers[at].restart();
        }
        Kill::Machine => {
            await_job(anna, id, "its checkpoint", |job| {
                job["checkpoint"]["attempt"].as_u64() == Some(attempt)
            });
            cluster.workers[at].program.kill();
            let job = await_job(anna, id, "it to run elsewhere", next);
            assert_ne!(job["worker"], json!(name), "{job:#}");
            progress(anna, id, attempt + 1);
            cluster.workers[at].restart();
            let admin = cluster.admin();
            wait_for("the machine to be back", Duration::from_secs(60), || {
                let nodes = admin.json(&["nodes"]);
                let mut nodes = nodes["nodes"].as_array().expect("nodes").iter();
                nodes.all(|node| node["state"] == "up").then_some(())
            });
        }
        Kill::TimeLimit => {}
    }
    await_job(anna, id, "the next attempt", next);
}

fn result(anna: &Cli, id: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("results");
    let into = target.to_str().expect("UTF-8");
    drop(anna.run(&["fetch", &id.to_string(), "--into", into]).ok());
    fs::read(target.join("result")).expect("its result")
}

#[test]
fn a_training_that_is_killed_ten_times_ends_with_the_same_bytes() {
    let mut cluster = Cluster::start_with(
        &[("gpu-a", 1), ("gpu-b", 1)],
        &[
            ("DOPQ_LIMITS_CHECKPOINT_EVERY", "1s"),
            ("DOPQ_SCHEDULER_SUSPECT_AFTER", "8s"),
            ("DOPQ_SCHEDULER_LOST_AFTER", "12s"),
            ("DOPQ_SCHEDULER_PREEMPT_AFTER", "1s"),
            ("DOPQ_SCHEDULER_INFRASTRUCTURE_RETRIES", "30"),
            ("DOPQ_SCHEDULER_RETRY_BACKOFF", "20ms"),
        ],
    );
    let anna = cluster.admin().add_user("anna");
    let undisturbed = training("undisturbed").with("env", json!({"FAST": "1"}));
    let undisturbed = anna.submit(undisturbed.path());
    let ended = anna.finished(undisturbed);
    assert_eq!(ended["outcome"]["cause"], json!("succeeded"), "{ended:#}");
    assert_eq!(ended["attempt"], json!(1), "{ended:#}");

    let id = anna.submit(training("training").path());
    let mut reached = 0;
    for (number, how) in (1..).zip(KILLS) {
        let at = progress(&anna, id, number);
        assert!(at >= reached, "attempt {number} began at {at} of {reached}");
        assert!(at > 1 || number == 1, "attempt {number} began anew");
        reached = at;
        kill(&mut cluster, &anna, id, how);
    }
    let ended = anna.finished(id);
    assert_eq!(ended["outcome"]["cause"], json!("succeeded"), "{ended:#}");
    assert_eq!(ended["attempt"], json!(11), "{ended:#}");
    let causes: Vec<&str> = ["preempted", "worker_lost", "user_error", "engine_error"]
        .into_iter()
        .filter(|cause| ended["timeline"].to_string().contains(cause))
        .collect();
    assert_eq!(causes.len(), 4, "{ended:#}");
    assert_eq!(result(&anna, id), result(&anna, undisturbed));
}
