//! What a worker is told at its start: settings only, already validated.
//!
//! Reading them from files, environment and flags is left to the program; the master's standalone
//! mode fills them in itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::id::WorkerId;
use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_common::wire::WorkerKey;

/// The cluster's name where none is set.
pub const DEFAULT_CLUSTER: &str = "default";

/// Settings of one worker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name; stands in labels and, unless `default`, in container names.
    pub cluster: String,
    /// The worker's name, which is also the last part of its queue's name.
    pub name: WorkerId,
    /// Seals its reports.
    pub key: WorkerKey,
    /// Private folder for records, spools and fetched bundles.
    pub data_dir: PathBuf,
    /// Base URLs of masters, tried after those that an order names.
    pub master_urls: Vec<String>,
    /// The engine's address, such as `unix:///var/run/docker.sock`; `None` for that in
    /// `DOCKER_HOST`, or else the usual one.
    pub docker_host: Option<String>,
    /// GPUs and how containers get them.
    pub gpu: GpuOptions,
    /// Slots on each GPU, at least 1.
    pub slots_per_gpu: u32,
    /// CPU for jobs; all of the machine's when `None`.
    pub cpus: Option<MilliCpu>,
    /// Memory for jobs; all but a twentieth of the machine's when `None`.
    pub memory: Option<ByteSize>,
    /// Labels that jobs may require.
    pub labels: BTreeMap<String, String>,
    /// Mounted read-only as `/imgdir`.
    pub imgdir: Option<PathBuf>,
    /// Root of the folders mounted as `/outdir`; `data_dir/out` when `None`.
    pub outdir: Option<PathBuf>,
    /// Holds a folder for each user with a file for each secret that the user's jobs may name.
    pub secrets_dir: Option<PathBuf>,
    /// Bounds on what it does at once and on what it keeps.
    pub limits: Limits,
    /// Whether jobs may ask for the machine's own network.
    pub allow_host_network: bool,
    /// The network of image builds: `none`, or a network's name; the jobs' own bridge when `None`.
    pub build_network: Option<String>,
}

/// How containers get GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuMode {
    /// The best that the engine offers, found out at start.
    #[default]
    Auto,
    /// CDI devices.
    Cdi,
    /// The `nvidia` runtime and `NVIDIA_VISIBLE_DEVICES`.
    NvidiaRuntime,
    /// Docker's device requests.
    DeviceRequests,
    /// The machine's GPUs are not offered.
    None,
}

/// GPUs and how containers get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuOptions {
    /// How containers get them.
    pub mode: GpuMode,
    /// Offer this many pretended GPUs instead of the machine's own.
    pub simulated: Option<u32>,
}

/// Bounds on what a worker does at once and on what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Image builds at once.
    pub builds: usize,
    /// Container starts at once; more only makes each slower.
    pub starts: usize,
    /// The longest log of one attempt; what is beyond is cut, with a mark.
    pub log: ByteSize,
    /// Bundles that are kept for the next job; more may lie there while they are in use.
    pub bundles: ByteSize,
    /// New jobs are refused while less than this is free where the spool lies.
    pub min_free_disk: ByteSize,
    /// The longest image build.
    pub build_time: Duration,
    /// Memory of an image build.
    pub build_memory: ByteSize,
    /// How long a cut-off worker lets a `strict_once` job run on. Must be below the masters' time after
    /// which a silent worker is lost.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            builds: 2,
            starts: (2 * cores).max(2),
            log: ByteSize(ByteSize::GIB),
            bundles: ByteSize(20 * ByteSize::GIB),
            min_free_disk: ByteSize(ByteSize::GIB),
            build_time: Duration::from_secs(3600),
            build_memory: ByteSize(8 * ByteSize::GIB),
            lease: Duration::from_secs(8 * 60),
        }
    }
}

impl Options {
    /// Settings with every default: the machine's own GPUs, CPU and memory.
    #[must_use]
    pub fn new(name: WorkerId, key: WorkerKey, data_dir: PathBuf) -> Self {
        Self {
            cluster: DEFAULT_CLUSTER.to_owned(),
            name,
            key,
            data_dir,
            master_urls: Vec::new(),
            docker_host: None,
            gpu: GpuOptions::default(),
            slots_per_gpu: 1,
            cpus: None,
            memory: None,
            labels: BTreeMap::new(),
            imgdir: None,
            outdir: None,
            secrets_dir: None,
            limits: Limits::default(),
            allow_host_network: false,
            build_network: None,
        }
    }
}
