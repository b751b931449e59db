//! `kill -9` in mid-run: nothing is lost, nothing runs twice, the log has no gap, the outcome is right.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::engine;
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::json;

use crate::cluster::Cluster;

/// Counts to fifteen in fifteen seconds and leaves a file for each time it was started.
const COUNTER: &str = "
echo started >> /outdir/starts
i=1; while [ $i -le 15 ]; do echo tick $i; i=$((i+1)); sleep 1; done
exit 5
";

fn ticks() -> String {
    (1..=15).map(|i| format!("tick {i}\n")).collect()
}

fn wait_for_line(admin: &Cli, id: u64, line: &str) {
    wait_for("the job to print", Duration::from_secs(90), || {
        let log = admin.run(&["logs", &id.to_string(), "--source", "stdout"]);
        log.text()
            .lines()
            .any(|printed| printed == line)
            .then_some(())
    });
}

/// Checks the counter's log, outcome and results once it has finished.
fn assert_counted_once(admin: &Cli, id: u64) {
    let job = admin.finished(id);
    assert_eq!(job["outcome"]["cause"], json!("user_error"), "{job:#}");
    assert_eq!(job["outcome"]["exit_code"], json!(5));
    assert_eq!(job["attempt"], json!(1), "it was run again: {job:#}");
    let log = admin
        .run(&["logs", &id.to_string(), "--source", "stdout"])
        .ok();
    assert_eq!(log.text(), ticks());
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("results");
    let into = target.to_str().expect("UTF-8");
    drop(admin.run(&["fetch", &id.to_string(), "--into", into]).ok());
    let starts = fs::read_to_string(target.join("starts")).expect("the job's results");
    assert_eq!(starts, "started\n");
}

fn running(cluster: &str) -> Vec<String> {
    let containers = engine::containers(cluster, false);
    containers
        .into_iter()
        .map(|container| container.name)
        .collect()
}

#[test]
fn a_killed_worker_adopts_its_container() {
    let mut cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let id = admin.submit(Bundle::script("admin", "counter", COUNTER).path());
    wait_for_line(&admin, id, "tick 3");

    let worker = &mut cluster.workers[0];
    worker.program.kill();
    let before = running(&cluster.name);
    assert_eq!(before.len(), 1, "the container must outlive its worker");
    worker.restart();
    assert_eq!(running(&cluster.name), before);
    assert_counted_once(&admin, id);
}

#[test]
fn a_worker_catches_up_on_what_ended_while_it_was_dead() {
    let mut cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let id = admin.submit(Bundle::script("admin", "counter", COUNTER).path());
    wait_for_line(&admin, id, "tick 1");
    cluster.workers[0].program.kill();
    wait_for("the container to end", Duration::from_secs(60), || {
        running(&cluster.name).is_empty().then_some(())
    });
    cluster.workers[0].restart();
    assert_counted_once(&admin, id);
}

#[test]
fn a_killed_master_loses_nothing_and_repeats_nothing() {
    let mut cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let id = admin.submit(Bundle::script("admin", "counter", COUNTER).path());
    let waiting: Vec<_> = (0..5)
        .map(|n| admin.submit(Bundle::script("admin", &format!("waiting-{n}"), "echo ran").path()))
        .collect();
    wait_for_line(&admin, id, "tick 2");
    let before = running(&cluster.name);
    cluster.master.program.kill();
    assert_eq!(running(&cluster.name), before, "running jobs are untouched");
    cluster.master.restart();
    assert_counted_once(&admin, id);
    for id in waiting {
        let job = admin.finished(id);
        assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
        assert_eq!(job["attempt"], json!(1), "{job:#}");
        let log = admin
            .run(&["logs", &id.to_string(), "--source", "stdout"])
            .ok();
        assert_eq!(log.text(), "ran\n");
    }
}

#[test]
fn the_standalone_process_killed_again_and_again_loses_no_job() {
    let mut master = Standalone::start(2);
    let admin = master.admin();
    let counter = admin.submit(Bundle::script("admin", "counter", COUNTER).path());
    let mut ids = BTreeSet::new();
    for round in 0..3 {
        for n in 0..3 {
            let name = format!("round-{round}-job-{n}");
            ids.insert(admin.submit(Bundle::script("admin", &name, "echo ran").path()));
        }
        // In whatever it is doing right after the last submission was answered.
        master.program.kill();
        master.restart();
    }
    assert_eq!(ids.len(), 9, "every accepted job has an id of its own");
    assert_counted_once(&admin, counter);
    for id in ids {
        let job = admin.finished(id);
        assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
        let log = admin
            .run(&["logs", &id.to_string(), "--source", "stdout"])
            .ok();
        assert_eq!(log.text(), "ran\n", "{job:#}");
    }
}
