//! The containers that hold namespaces: how they are named, made and found again.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::id::WorkerId;
use dopq_common::resources::ByteSize;
use tokio::time::Instant;

use crate::docker::{
    Engine, Error, GpuAccess, LABEL_INSTANCE, LABEL_WORKER, NetworkFiles, Plan, PlanNetwork,
    Traces, UserPart, holder_image,
};

/// Label of the cluster's name. It differs from that of jobs' containers, so that these are never taken for jobs.
const LABEL_HOLDER: &str = "dopq.holder";
/// Begins their names.
const NAME: &str = "dopq-holder-";
/// Enough for the runtime, which needs more than the program.
const MEMORY: ByteSize = ByteSize(64 * ByteSize::MIB);
const PIDS: i64 = 64;
/// How long the program may take to be seen, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The user `nobody`.
const USER: &str = "65534:65534";

/// Whose they are.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) worker: WorkerId,
    /// The worker's folder of records.
    pub(crate) instance: String,
}

impl Identity {
    /// The labels of all of this worker's.
    pub(super) fn labels(&self) -> [(&str, &str); 3] {
        [
            (LABEL_HOLDER, &self.cluster),
            (LABEL_WORKER, self.worker.as_str()),
            (LABEL_INSTANCE, &self.instance),
        ]
    }
}

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Loopback only.
    None,
    /// On the jobs' bridge.
    Bridge,
}

/// A container that holds a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) pid: u32,
    /// What the engine wrote for it.
    pub(super) files: NetworkFiles,
    /// Those of a namespace that no job has used.
    pub(super) traces: Traces,
}

/// What came of making one.
#[derive(Debug)]
pub(super) enum Made {
    Ready(Holder),
    /// It runs, but this worker cannot look into its namespace.
    Hidden,
}

/// A name that no other has.
///
/// # Errors
/// The machine's, when it gives no random numbers.
pub(super) fn new_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{NAME}{}", hex::encode(bytes)))
}

/// Whether a container of this name holds a namespace.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(NAME)
}

/// Makes one. After an error the container may exist.
///
/// # Errors
/// The engine's.
pub(super) async fn make(
    engine: &Engine,
    identity: &Identity,
    name: &str,
    (kind, bridge): (Kind, &str),
) -> Result<Made, Error> {
    let network = match kind {
        Kind::None => PlanNetwork::None,
        Kind::Bridge => PlanNetwork::Bridge(bridge.to_owned()),
    };
    let plan = plan(identity, name, network);
    let created = match engine.create(&plan).await {
        Err(Error::ImageMissing { .. }) => {
            engine.add_holder_image().await?;
            engine.create(&plan).await?
        }
        created => created?,
    };
    engine.start(&created.id).await?;
    let found = engine.inspect(&created.id).await?;
    let pid = found.and_then(|found| found.pid);
    let ended = || Error::NetworkGone {
        message: format!("{name} ended at once"),
    };
    let pid = pid.ok_or_else(ended)?;
    let files = engine.network_files(&created.id).await?;
    let Some(traces) = first_traces(engine, pid, name).await else {
        // One that ended says nothing of what this worker can see.
        let found = engine.inspect(&created.id).await?;
        let runs = found.is_some_and(|found| found.pid == Some(pid));
        return runs.then_some(Made::Hidden).ok_or_else(ended);
    };
    Ok(Made::Ready(Holder {
        id: created.id,
        name: name.to_owned(),
        kind,
        pid,
        files,
        traces,
    }))
}

/// The traces of a new one. The engine answers before the runtime has replaced itself by the program.
async fn first_traces(engine: &Engine, pid: u32, name: &str) -> Option<Traces> {
    let begun = Instant::now();
    loop {
        let traces = engine.traces(pid, name);
        if traces.is_some() || begun.elapsed() >= PATIENCE {
            return traces;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A container without anything but the namespace.
pub(super) fn plan(identity: &Identity, name: &str, network: PlanNetwork) -> Plan {
    let labels = identity.labels().into_iter();
    Plan {
        name: name.to_owned(),
        image: holder_image(),
        labels: labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        env: Vec::new(),
        mounts: Vec::new(),
        network,
        publish: None,
        memory: MEMORY,
        cpu_limit: None,
        cpu_shares: 2,
        pids: PIDS,
        gpus: Vec::new(),
        gpu_access: GpuAccess::EnvironmentOnly,
        log_bytes: ByteSize(ByteSize::MIB),
        grace: Duration::ZERO,
        user: UserPart {
            // Its name as an argument, by which the process is known.
            command: Some(vec!["/wait".to_owned(), name.to_owned()]),
            entrypoint: None,
            working_dir: None,
            user: Some(USER.to_owned()),
            hostname: None,
            domainname: None,
            ulimits: Vec::new(),
            shm_size: ByteSize(ByteSize::MIB),
            stop_signal: "SIGKILL".to_owned(),
            init: false,
            tty: false,
            stdin_open: false,
            read_only: true,
            tmpfs: BTreeMap::new(),
            mem_swappiness: None,
            cpuset_cpus: None,
            healthcheck: None,
            group_add: Vec::new(),
            dns: Vec::new(),
            extra_hosts: BTreeMap::new(),
            sysctls: BTreeMap::new(),
        },
    }
}
