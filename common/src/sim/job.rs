//! Jobs as simulations submit them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::UserName;
use crate::job::{
    Artifacts, Class, ContainerSpec, ImageSource, JobSpec, Network, OnWorkerLoss, Outdir,
};
use crate::resources::{ByteSize, Request};

/// A job with this request and otherwise defaults.
#[must_use]
pub fn spec(user: UserName, request: Request) -> JobSpec {
    JobSpec {
        name: "simulated".to_owned(),
        executor: user,
        image: ImageSource::Named("simulated".to_owned()),
        request,
        container: ContainerSpec {
            command: None,
            entrypoint: None,
            env: Vec::new(),
            working_dir: None,
            user: None,
            hostname: None,
            domainname: None,
            labels: BTreeMap::new(),
            ulimits: Vec::new(),
            shm_size: ByteSize(ByteSize::GIB),
            stop_signal: None,
            init: true,
            tty: false,
            stdin_open: false,
            read_only: false,
            tmpfs: BTreeMap::new(),
            network: Network::Bridge,
            mem_swappiness: None,
            cpu_limit: None,
            cpuset_cpus: None,
            healthcheck: None,
            group_add: Vec::new(),
            dns: Vec::new(),
            extra_hosts: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            ports: BTreeSet::new(),
        },
        class: Class::Normal,
        priority: 0,
        time_limit: None,
        time_request: None,
        retries: 0,
        after: Vec::new(),
        array: None,
        sweep: None,
        max_fails: None,
        preemptible: false,
        grace: Duration::from_secs(10),
        outdir: Outdir::Own,
        artifacts: Artifacts::Always,
        on_worker_loss: OnWorkerLoss::Requeue,
        strict_once: false,
        labels: BTreeMap::new(),
        secrets: Vec::new(),
        build_args: BTreeMap::new(),
        checkpoint: true,
        checkpoint_every: None,
    }
}
