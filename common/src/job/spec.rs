//! The validated wishes of one `container_config.json`.
//!
//! Only [`crate::bundle::config`] builds a [`JobSpec`] from text, so holding one means that every
//! limit and rule held. The text itself is what is stored and sent; this type is never serialised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::id::{JobId, UserName};
use crate::job::{Indexes, Sweep};
use crate::resources::{ByteSize, MilliCpu, Request};

/// What a user asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// The job's name, at least 3 characters.
    pub name: String,
    /// Who the configuration says it is for; the shell checks it against the proven identity.
    pub executor: UserName,
    /// Where the image comes from.
    pub image: ImageSource,
    /// GPUs, CPU, memory and machine labels.
    pub request: Request,
    /// What the container is created with.
    pub container: ContainerSpec,
    /// Decides before the penalty does.
    pub class: Class,
    /// Among one's own jobs, the higher the sooner.
    pub priority: i32,
    /// Longest run; the container is stopped at its end.
    pub time_limit: Option<Duration>,
    /// Expected run, for planning only.
    pub time_request: Option<Duration>,
    /// How often the job is tried again after the user's own code failed.
    pub retries: u32,
    /// Jobs that must end first.
    pub after: Vec<Dependency>,
    /// Present on jobs of many tasks.
    pub array: Option<ArraySpec>,
    /// The environment by which the array's tasks differ; present only with `array`, whose every index is
    /// one of its combinations.
    pub sweep: Option<Sweep>,
    /// The array is ended when more than so many of its tasks failed; present only with `array`.
    pub max_fails: Option<u32>,
    /// Whether it may be stopped for an urgent one, or one within a floor, and requeued.
    pub preemptible: bool,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What `/outdir` is.
    pub outdir: Outdir,
    /// When `/outdir` is published.
    pub artifacts: Artifacts,
    /// What happens when its machine is lost.
    pub on_worker_loss: OnWorkerLoss,
    /// Whether its worker stops it when it cannot renew its lease.
    pub strict_once: bool,
    /// Free labels, shown and filtered by.
    pub labels: BTreeMap<String, String>,
    /// Names of secrets that the worker puts into the container.
    pub secrets: Vec<String>,
    /// Values of the Dockerfile's `ARG`s.
    pub build_args: BTreeMap<String, String>,
    /// Whether it has a `/checkpoint`.
    pub checkpoint: bool,
    /// How often `/checkpoint` is stored while it runs; the worker's own interval when `None`.
    pub checkpoint_every: Option<Duration>,
}

/// Where the image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The bundle's Dockerfile.
    Build,
    /// The bundle's `image.tar`.
    Load,
    /// An image that the machine has or may pull.
    Named(String),
}

/// The scheduling class; the first decides before the later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Before everybody; only by an admin's rule.
    Urgent,
    /// The usual one.
    #[default]
    Normal,
    /// After everybody, and not charged.
    Nice,
}

/// A job that must end before this one may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// The other job.
    pub job: JobId,
    /// How it must end.
    pub kind: DependencyKind,
}

/// How a dependency must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DependencyKind {
    /// It must succeed.
    Ok,
    /// It must end, in whatever way.
    Any,
}

/// A job of many tasks, which differ in their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySpec {
    /// The tasks' indexes; at least one.
    pub indexes: Indexes,
    /// At most so many at once, above 0; `None` for no limit.
    pub max_running: Option<u32>,
}

/// What `/outdir` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outdir {
    /// A folder of the attempt's own, whose content is its results.
    #[default]
    Own,
    /// The user's `/workspace`, as in DoPQ 1.0; nothing of it is published.
    Shared,
}

/// When `/outdir` is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Artifacts {
    /// However the job ends.
    #[default]
    Always,
    /// When it succeeds.
    Success,
    /// Not at all; the files stay at the worker's mount.
    Never,
}

/// What happens to a job whose machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWorkerLoss {
    /// It is queued again at its old place.
    #[default]
    Requeue,
    /// It ends with the cause `worker_lost`.
    Fail,
}

/// The container's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The worker's own bridge, on which containers cannot reach each other.
    #[default]
    Bridge,
    /// No network at all.
    None,
    /// The machine's network; only where an admin allows it.
    Host,
}

/// What a user may set of a container. There is no field for anything else, so that no input can
/// ask for privileges, host mounts, devices or another's namespaces.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Environment, in the order given; ours is set after it.
    pub env: Vec<(String, String)>,
    /// Absolute working directory inside the container.
    pub working_dir: Option<String>,
    /// User inside the container, `uid[:gid]` or a name.
    pub user: Option<String>,
    /// Host name inside the container.
    pub hostname: Option<String>,
    /// Domain name inside the container.
    pub domainname: Option<String>,
    /// Container labels; never below `dopq.`.
    pub labels: BTreeMap<String, String>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm`.
    pub shm_size: ByteSize,
    /// Signal that asks the process to end; SIGTERM when `None`.
    pub stop_signal: Option<String>,
    /// Whether a small init reaps children.
    pub init: bool,
    /// Whether a terminal is attached.
    pub tty: bool,
    /// Whether standard input stays open.
    pub stdin_open: bool,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// In-memory file systems: path to mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// The network.
    pub network: Network,
    /// 0 to 100.
    pub mem_swappiness: Option<i64>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit: Option<MilliCpu>,
    /// CPUs it may run on, such as `0-3,8`.
    pub cpuset_cpus: Option<String>,
    /// A health check of the user's own; the image's is always switched off.
    pub healthcheck: Option<HealthCheck>,
    /// Further groups of the process.
    pub group_add: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Extra lines of `/etc/hosts`: name to address.
    pub extra_hosts: BTreeMap<String, String>,
    /// Namespaced kernel parameters that are known to be safe.
    pub sysctls: BTreeMap<String, String>,
    /// Ports to be reached from outside, where the administrator allows it.
    pub ports: BTreeSet<Port>,
}

/// A port on which a container listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// From 1.
    pub number: u16,
    /// Of UDP; otherwise of TCP.
    pub is_udp: bool,
}

impl fmt::Display for Port {
    /// As Docker writes it: `8888/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.is_udp { "udp" } else { "tcp" };
        write!(f, "{}/{protocol}", self.number)
    }
}

/// A resource limit, as `setrlimit` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A command that tells whether the container is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Docker's form: `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// Longest one check may take.
    pub timeout: Option<Duration>,
    /// Failures in a row that count as unwell.
    pub retries: Option<i64>,
    /// Time to start in which failures do not count.
    pub start_period: Option<Duration>,
}
