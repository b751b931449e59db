//! Decides the parameters of a container: the job's specification, limited by the worker's settings.
//!
//! [`plan`] is pure. A [`Plan`] has no field for privileges, capabilities, host devices, other containers' volumes or
//! other jobs' namespaces, so no input can ask for them. [`body`](super::body) converts it to the engine's request and adds the
//! fixed rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use dopq_common::id::{AttemptId, GpuId, WorkerId};
use dopq_common::job::{ContainerSpec, HealthCheck, Network, Port, Ulimit};
use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_common::secret::Secret;
use dopq_common::settings::ClusterName;

use super::environment::{self, CHECKPOINT_DIR};
use super::mounts::{HostFolder, PlanMount};
use super::plan_input::PlanInput;

/// Label of the cluster's name.
pub const LABEL_CLUSTER: &str = "dopq.cluster";
/// Label of the worker's name.
pub const LABEL_WORKER: &str = "dopq.worker";
/// Label that tells this worker's folder of records from another worker's of the same name. Images have it too.
pub const LABEL_INSTANCE: &str = "dopq.instance";
/// Label of the job's id.
pub const LABEL_JOB: &str = "dopq.job";
/// Label of the attempt, such as `1423.2`.
pub const LABEL_ATTEMPT: &str = "dopq.attempt";
/// Label of the user's name.
pub const LABEL_USER: &str = "dopq.user";
/// Label of the bundle's digest.
pub const LABEL_DIGEST: &str = "dopq.digest";
/// Label of the GPUs' ids, separated by commas; empty without GPU.
pub const LABEL_GPUS: &str = "dopq.gpus";
/// Label of the accepted configuration document.
pub const LABEL_CONFIG: &str = "dopq.config";

/// Labels under this prefix are DoPQ's own.
const OWN_LABELS: &str = "dopq.";

/// How GPUs get into containers on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuAccess {
    /// The engine injects them from CDI specifications (`nvidia.com/gpu=UUID`).
    Cdi,
    /// The engine's device requests, with NVIDIA's hook.
    DeviceRequests,
    /// The `nvidia` runtime reads `NVIDIA_VISIBLE_DEVICES`.
    NvidiaRuntime,
    /// Not at all. Only the environment names them, for simulated GPUs.
    EnvironmentOnly,
}

/// The worker's settings for every container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// The worker's name.
    pub worker: WorkerId,
    /// The bridge for jobs, made by [`Engine::ensure_network`](super::Engine::ensure_network); `None` if they get no
    /// network, whatever they ask for.
    pub bridge: Option<String>,
    /// The address of the machine on which ports of jobs are published; `None` if none are.
    pub publish: Option<IpAddr>,
    /// Whether jobs may use the machine's network.
    pub allow_host_network: bool,
    /// Maximum of processes and threads in a container.
    pub pids: i64,
    /// How GPUs get in.
    pub gpu_access: GpuAccess,
    /// The log limit of an attempt; sizes the engine's own log.
    pub log_quota: ByteSize,
    /// `/imgdir`, read-only.
    pub imgdir: Option<HostFolder>,
}

/// The container's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanNetwork {
    /// Loopback only.
    None,
    /// The named bridge.
    Bridge(String),
    /// The machine's own.
    Host,
    /// A namespace of the worker's, which no other job uses meanwhile.
    Joined(JoinedNetwork),
}

impl PlanNetwork {
    /// The id of the container whose network it is.
    #[must_use]
    pub fn joins(&self) -> Option<&str> {
        match self {
            Self::Joined(joined) => Some(&joined.holder),
            Self::None | Self::Bridge(_) | Self::Host => None,
        }
    }
}

/// A network namespace that the worker made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedNetwork {
    /// The container that holds it, by id.
    pub holder: String,
    /// The folder of the job's own copies of [`NETWORK_FILES`](super::NETWORK_FILES). The holder's would be shared.
    pub files: HostFolder,
}

/// Ports to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// On which address of the machine.
    pub address: IpAddr,
    /// Those of the container.
    pub ports: BTreeSet<Port>,
}

/// A request that this worker does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The machine's network is not allowed.
    #[error("network host is not allowed on this worker; use bridge or none")]
    HostNetwork,
}

/// All parameters of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `dopq-<job>-<attempt>`, with the cluster's name where it is not `default`.
    pub name: String,
    /// The image's id.
    pub image: String,
    /// The user's labels, then DoPQ's.
    pub labels: BTreeMap<String, String>,
    /// Each name once; DoPQ's last. The job's secrets are among them.
    pub env: Vec<(String, Secret)>,
    /// Folders of the machine.
    pub mounts: Vec<PlanMount>,
    /// The network.
    pub network: PlanNetwork,
    /// Ports of the container that the engine publishes on ports of its choice.
    pub publish: Option<Publish>,
    /// Memory, which is also the limit of memory and swap together.
    pub memory: ByteSize,
    /// CPU limit; `None` for no limit.
    pub cpu_limit: Option<MilliCpu>,
    /// Relative CPU weight.
    pub cpu_shares: i64,
    /// Maximum of processes and threads.
    pub pids: i64,
    /// GPUs by id.
    pub gpus: Vec<GpuId>,
    /// How they get in.
    pub gpu_access: GpuAccess,
    /// Maximum size of the engine's log.
    pub log_bytes: ByteSize,
    /// The engine's default grace.
    pub grace: Duration,
    /// The user's settings; only fields that cannot extend what the container may do.
    pub user: UserPart,
}

/// Settings copied from the job's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct UserPart {
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Working directory inside.
    pub working_dir: Option<String>,
    /// User inside.
    pub user: Option<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Domain name inside.
    pub domainname: Option<String>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm`.
    pub shm_size: ByteSize,
    /// The stop signal.
    pub stop_signal: String,
    /// Whether a small init reaps children.
    pub init: bool,
    /// Whether a terminal is attached.
    pub tty: bool,
    /// Whether standard input stays open.
    pub stdin_open: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// In-memory file systems.
    pub tmpfs: BTreeMap<String, String>,
    /// 0 to 100.
    pub mem_swappiness: Option<i64>,
    /// CPUs it may run on.
    pub cpuset_cpus: Option<String>,
    /// A health check of the user's own.
    pub healthcheck: Option<HealthCheck>,
    /// Further groups.
    pub group_add: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Extra hosts.
    pub extra_hosts: BTreeMap<String, String>,
    /// Safe kernel parameters.
    pub sysctls: BTreeMap<String, String>,
}

/// Decides the parameters of the container.
///
/// # Errors
/// [`PlanError`] if this worker's settings forbid the request.
pub fn plan(input: &PlanInput<'_>, settings: &RunSettings) -> Result<Plan, PlanError> {
    let wishes = &input.spec.container;
    let network = match wishes.network {
        Network::None => PlanNetwork::None,
        Network::Bridge => match &settings.bridge {
            Some(bridge) => PlanNetwork::Bridge(bridge.clone()),
            None => PlanNetwork::None,
        },
        Network::Host if settings.allow_host_network => PlanNetwork::Host,
        Network::Host => return Err(PlanError::HostNetwork),
    };
    let gpus: Vec<GpuId> = input
        .allocation
        .gpus
        .iter()
        .map(|share| share.id.clone())
        .collect();
    Ok(Plan {
        name: container_name(input.cluster, input.attempt),
        image: input.image.to_owned(),
        labels: labels(input, settings, &gpus),
        env: environment::merge(input, &gpus),
        mounts: mounts(input, settings),
        publish: publish(wishes, &network, settings),
        network,
        memory: input.allocation.memory,
        cpu_limit: wishes.cpu_limit,
        cpu_shares: cpu_shares(input.allocation.cpu),
        pids: settings.pids,
        gpus,
        gpu_access: settings.gpu_access,
        log_bytes: log_bytes(settings.log_quota),
        grace: input.spec.grace,
        user: user_part(wishes),
    })
}

/// What is published of what the job wishes.
fn publish(
    wishes: &ContainerSpec,
    network: &PlanNetwork,
    settings: &RunSettings,
) -> Option<Publish> {
    let address = settings.publish?;
    let ports = wishes.ports.clone();
    let is_bridge = matches!(network, PlanNetwork::Bridge(_));
    (is_bridge && !ports.is_empty()).then_some(Publish { address, ports })
}

/// The container's name. It makes a second creation for the same attempt fail. It ends in the beginning of the job's
/// key, so that it is not taken by what a job of the same id left.
#[must_use]
pub fn container_name(cluster: &str, attempt: AttemptId) -> String {
    let AttemptId { job, number, key } = attempt;
    let key = key.short();
    if cluster == ClusterName::DEFAULT {
        format!("dopq-{job}-{number}-{key}")
    } else {
        format!("dopq-{cluster}-{job}-{number}-{key}")
    }
}

fn labels(
    input: &PlanInput<'_>,
    settings: &RunSettings,
    gpus: &[GpuId],
) -> BTreeMap<String, String> {
    let wishes = input.spec.container.labels.iter();
    let mut labels: BTreeMap<String, String> = wishes
        .filter(|(name, _)| !is_own_label(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let gpus: Vec<&str> = gpus.iter().map(GpuId::as_str).collect();
    let digest = input.digest.map(|digest| digest.to_string());
    let own = [
        (LABEL_CLUSTER, input.cluster.to_owned()),
        (LABEL_WORKER, settings.worker.to_string()),
        (LABEL_JOB, input.attempt.job.to_string()),
        (LABEL_ATTEMPT, input.attempt.to_string()),
        (LABEL_USER, input.user.to_string()),
        (LABEL_DIGEST, digest.unwrap_or_default()),
        (LABEL_GPUS, gpus.join(",")),
        (LABEL_CONFIG, input.config.to_owned()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    labels
}

/// Whether a label is DoPQ's, ignoring case.
fn is_own_label(name: &str) -> bool {
    name.trim_start()
        .to_ascii_lowercase()
        .starts_with(OWN_LABELS)
}

fn mounts(input: &PlanInput<'_>, settings: &RunSettings) -> Vec<PlanMount> {
    let imgdir = settings.imgdir.clone().map(|source| PlanMount {
        source,
        target: "/imgdir".into(),
        read_only: true,
    });
    let outdir = input.outdir.clone().map(|source| PlanMount {
        source,
        target: "/outdir".into(),
        read_only: false,
    });
    let checkpoint = input.checkpoint.clone().map(|checkpoint| PlanMount {
        source: checkpoint.folder,
        target: CHECKPOINT_DIR.into(),
        read_only: false,
    });
    let own = imgdir.into_iter().chain(outdir).chain(checkpoint);
    own.chain(input.volumes.iter().cloned()).collect()
}

/// The engine's CPU weight: 1024 for each core, within the kernel's bounds.
fn cpu_shares(cpu: MilliCpu) -> i64 {
    let shares = (cpu.0.saturating_mul(1024) / 1000).clamp(2, 262_144);
    i64::try_from(shares).unwrap_or(262_144)
}

/// The engine's log adds some 30 bytes to each line. It must not drop its start before the log limit was read, because
/// a resumed reader skips by position. Four times the limit is enough for lines of ten bytes or more on average.
fn log_bytes(quota: ByteSize) -> ByteSize {
    ByteSize(quota.0.saturating_mul(4).max(16 * ByteSize::MIB))
}

fn user_part(wishes: &ContainerSpec) -> UserPart {
    UserPart {
        command: wishes.command.clone(),
        entrypoint: wishes.entrypoint.clone(),
        working_dir: wishes.working_dir.clone(),
        user: wishes.user.clone(),
        hostname: wishes.hostname.clone(),
        domainname: wishes.domainname.clone(),
        ulimits: wishes.ulimits.clone(),
        shm_size: wishes.shm_size,
        stop_signal: wishes
            .stop_signal
            .clone()
            .unwrap_or_else(|| "SIGTERM".to_owned()),
        init: wishes.init,
        tty: wishes.tty,
        stdin_open: wishes.stdin_open,
        read_only: wishes.read_only,
        tmpfs: wishes.tmpfs.clone(),
        mem_swappiness: wishes.mem_swappiness,
        cpuset_cpus: wishes.cpuset_cpus.clone(),
        healthcheck: wishes.healthcheck.clone(),
        group_add: wishes.group_add.clone(),
        dns: wishes.dns.clone(),
        extra_hosts: wishes.extra_hosts.clone(),
        sysctls: wishes.sysctls.clone(),
    }
}

impl fmt::Display for GpuAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cdi => "cdi",
            Self::DeviceRequests => "device-requests",
            Self::NvidiaRuntime => "nvidia-runtime",
            Self::EnvironmentOnly => "environment-only",
        })
    }
}

#[cfg(test)]
mod tests;
