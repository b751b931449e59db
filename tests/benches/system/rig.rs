//! Master and worker as separate programs over one Redis and one RabbitMQ, with the stand-in engine.

use std::fs;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::programs::{Master, Worker, unique};
use dopq_tests::services::{RabbitMq, Redis};
use dopq_tests::wait_for;
use serde_json::json;
use tempfile::TempDir;

use crate::client::Client;
use crate::standin::{IMAGE, StandIn};

pub(crate) struct Rig {
    pub(crate) master: Master,
    pub(crate) worker: Worker,
    _engine: StandIn,
    _services: (Redis, RabbitMq, TempDir),
}

impl Rig {
    /// With one worker of `gpus` simulated GPUs.
    pub(crate) fn start(gpus: u32) -> Self {
        let (redis, rabbitmq) = (Redis::start(), RabbitMq::start());
        let bundles = tempfile::tempdir().expect("a folder");
        let environment = [
            ("DOPQ_CLUSTER", unique("bench")),
            ("DOPQ_SECRET", "a secret for this bench".to_owned()),
            ("DOPQ_STORE_URL", redis.url()),
            ("DOPQ_BROKER_URL", rabbitmq.url()),
            ("DOPQ_BUNDLES_URL", bundles.path().display().to_string()),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value));
        let master = Master::start(&environment);
        let engine = StandIn::start(false);
        let worker = start_worker(&master, &environment, &engine, gpus);
        Self {
            master,
            worker,
            _engine: engine,
            _services: (redis, rabbitmq, bundles),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(self.master.url(), &self.master.admin())
    }
}

/// Starts a worker on the stand-in and waits until the master knows it.
pub(crate) fn start_worker(
    master: &Master,
    environment: &[(String, String)],
    engine: &StandIn,
    gpus: u32,
) -> Worker {
    let mut environment = environment.to_vec();
    environment.push(("DOPQ_MASTER_URLS".to_owned(), master.url()));
    environment.push(("DOPQ_DOCKER_HOST".to_owned(), engine.host()));
    let worker = Worker::start("w", gpus, &environment);
    joined(&master.admin());
    worker
}

fn joined(admin: &Cli) {
    wait_for("the worker to join", Duration::from_secs(60), || {
        let nodes = admin.json(&["nodes"]);
        (nodes["nodes"][0]["state"] == "up").then_some(())
    });
}

/// A job that the stand-in runs.
pub(crate) fn bundle() -> Bundle {
    let bundle = Bundle::script("admin", "bench", "");
    bundle.config(&json!({
        "name": "bench", "executor_name": "admin", "required_memory": "8m", "num_gpus": 1,
        "image": IMAGE,
    }));
    fs::remove_file(bundle.path().join("Dockerfile")).expect("removed");
    bundle
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS")
}

/// A size in `/proc/PID/status`, such as `VmHWM`, in MiB.
pub(crate) fn status_mib(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<f64>().ok()).expect("a size") / 1024.0
}

/// CPU time that a process has used, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let used = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    used.sum::<f64>() / 1e9
}
