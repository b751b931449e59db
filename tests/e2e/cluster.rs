//! A master, Redis, RabbitMQ and two workers: GPUs are never given out twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::engine;
use dopq_tests::programs::{Master, Worker, unique};
use dopq_tests::services::{RabbitMq, Redis};
use dopq_tests::wait_for;
use serde_json::json;
use tempfile::TempDir;

/// A whole cluster on private services.
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) master: Master,
    pub(crate) workers: Vec<Worker>,
    rabbit: Arc<RabbitMq>,
    _redis: Redis,
    _bundles: TempDir,
}

impl Cluster {
    /// Starts everything and waits until every worker has joined.
    pub(crate) fn start(workers: &[(&str, u32)]) -> Self {
        Self::start_with(workers, &[])
    }

    /// Like [`Cluster::start`], with further settings of the master and the workers.
    pub(crate) fn start_with(workers: &[(&str, u32)], settings: &[(&str, &str)]) -> Self {
        let name = unique("cluster");
        let rabbit = RabbitMq::shared();
        let redis = Redis::start();
        let bundles = tempfile::tempdir().expect("a folder");
        let mut environment: Vec<(String, String)> = [
            ("DOPQ_CLUSTER", name.clone()),
            ("DOPQ_SECRET", "a secret of this test alone".to_owned()),
            ("DOPQ_STORE_URL", redis.url()),
            ("DOPQ_BUNDLES_URL", bundles.path().display().to_string()),
            ("DOPQ_BROKER_URL", rabbit.url()),
            ("DOPQ_BROKER_PREFIX", name.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        environment.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let master = Master::start(&environment);
        environment.push(("DOPQ_MASTER_URLS".to_owned(), master.url()));
        let workers: Vec<_> = workers
            .iter()
            .map(|(worker, gpus)| Worker::start(worker, *gpus, &environment))
            .collect();
        let this = Self {
            name,
            master,
            workers,
            rabbit,
            _redis: redis,
            _bundles: bundles,
        };
        let admin = this.admin();
        wait_for("every worker to join", Duration::from_secs(60), || {
            let nodes = admin.json(&["nodes"]);
            let nodes = nodes["nodes"].as_array().expect("nodes");
            let up = nodes.iter().filter(|node| node["state"] == "up").count();
            (up == this.workers.len()).then_some(())
        });
        this
    }

    pub(crate) fn admin(&self) -> Cli {
        self.master.admin()
    }

    /// RabbitMQ's URL with all rights.
    pub(crate) fn rabbit_url(&self) -> String {
        self.rabbit.url()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if worker.program.runs() {
                worker.program.kill();
            }
        }
        engine::sweep(&self.name);
    }
}

#[test]
fn no_gpu_is_given_to_two_running_containers() {
    let cluster = Cluster::start(&[("gpu-a", 2), ("gpu-b", 2)]);
    let admin = cluster.admin();

    let too_large = Bundle::script("admin", "wants-three", "true").with("num_gpus", json!(3));
    let refused = admin.run(&["submit", too_large.path().to_str().expect("UTF-8")]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("3 GPUs"), "{}", refused.stderr);

    let ids: Vec<_> = (0..12)
        .map(|n| {
            let job = Bundle::script("admin", &format!("sleeper-{n}"), "sleep 2");
            let gpus = if n % 3 == 0 { 2 } else { 1 };
            admin.submit(job.with("num_gpus", json!(gpus)).path())
        })
        .collect();

    let mut most_at_once = 0;
    wait_for("all jobs to finish", Duration::from_secs(180), || {
        let running = engine::containers(&cluster.name, false);
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for container in running
            .iter()
            .filter(|container| container.state == "running")
        {
            for gpu in &container.gpus {
                users.entry(gpu).or_default().push(&container.name);
            }
        }
        most_at_once = most_at_once.max(users.len());
        for (gpu, containers) in users {
            assert_eq!(containers.len(), 1, "{gpu} is given to {containers:?}");
        }
        let jobs = admin.json(&["ps", "--all"]);
        let jobs = jobs["jobs"].as_array().expect("jobs");
        let over = jobs.iter().filter(|job| job["state"] == "finished").count();
        (over == ids.len()).then_some(())
    });
    assert!(
        most_at_once >= 2,
        "the check saw no two GPUs in use at once"
    );
    for id in ids {
        let outcome = &admin.job(id)["outcome"];
        assert_eq!(outcome["cause"], json!("succeeded"), "{outcome}");
    }
}
