//! What a worker is told at its start. Each setting is described here once.
//!
//! The program fills [`Settings`] from a file, the environment and flags (`config`); the master's standalone mode fills
//! them itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::id::WorkerId;
use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_common::settings::{BaseUrl, ClusterName, Named, Share, at_least, between};
use dopq_common::wire::WorkerKey;

use crate::docker::{BuildNetwork, SharedFile};
use crate::egress::{Allowed, Egress, Wanted};
use crate::volumes::VolumeOptions;

pub use crate::docker::Pull;

/// Who a worker is, and its settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's name, which is also the last part of its queue's name.
    pub name: WorkerId,
    /// Seals its reports.
    pub key: WorkerKey,
    /// Certificates of the CAs, beside the system's, that sign those of masters; PEM.
    pub master_ca_pem: Option<String>,
    /// Its settings.
    pub settings: Settings,
}

impl Options {
    /// The engine's network for jobs.
    pub(crate) fn bridge(&self) -> String {
        match &*self.settings.cluster {
            ClusterName::DEFAULT => "dopq".to_owned(),
            cluster => format!("dopq-{cluster}"),
        }
    }

    /// What is to hold about what containers reach.
    pub(crate) fn egress(&self) -> Wanted {
        let Settings {
            cluster,
            network,
            build,
            ..
        } = &self.settings;
        Wanted {
            name: format!("{}/{}", &**cluster, self.name),
            jobs: network.egress,
            bridge: self.bridge(),
            builds: build.network,
            allowed: network.egress_allow.clone(),
        }
    }
}

dopq_common::settings! {
    /// Settings of one worker.
    #[derive(Debug, Clone)]
    pub struct Settings {
        /// The cluster's name
        pub cluster: ClusterName = ClusterName::default();
        /// Folder for records, logs and bundles
        pub data_dir: PathBuf = PathBuf::from("/var/lib/dopq-worker");
        /// Masters to try after those that an order names
        pub master_urls: Vec<BaseUrl> = Vec::new();
        /// The masters' certificates
        pub master: MasterOptions = MasterOptions::default();
        /// Slots on each GPU
        pub slots_per_gpu: u32 = 1, between(1, 1000);
        /// Cores for jobs; by default all
        pub cpus: Option<MilliCpu> = None;
        /// Memory for jobs; by default 95 % of the machine's
        pub memory: Option<ByteSize> = None, at_least(ByteSize(ByteSize::MIB));
        /// Labels that jobs can require
        pub labels: BTreeMap<String, String> = BTreeMap::new();
        /// Folder that jobs see read-only as /imgdir
        pub imgdir: Option<PathBuf> = None;
        /// Parent folder of all /outdir folders; by default data_dir/out
        pub outdir: Option<PathBuf> = None;
        /// Folders that outlive jobs
        pub volumes: VolumeOptions = VolumeOptions::default();
        /// Folder with one folder per user; it contains one file per secret
        pub secrets_dir: Option<PathBuf> = None;
        /// Whether jobs may use the machine's network
        pub allow_host_network: bool = false;
        /// Build and pull images of waiting jobs that will probably run here
        pub prefetch: bool = true;
        /// Image builds
        pub build as "builds": BuildOptions = BuildOptions::default();
        /// The container engine
        pub docker: DockerOptions = DockerOptions::default();
        /// GPUs and how containers get them
        pub gpu: GpuOptions = GpuOptions::default();
        /// Networks of jobs
        pub network: NetworkOptions = NetworkOptions::default();
        /// Commands and connections of users in running containers
        pub exec: ExecOptions = ExecOptions::default();
        /// Bounds on what it does at once and on what it keeps
        pub limits: Limits = Limits::default();
        /// What it removes to keep its disks free
        pub retention: Retention = Retention::default();
    }
}

dopq_common::settings! {
    /// The masters' certificates.
    #[derive(Debug, Clone)]
    pub struct MasterOptions {
        /// PEM file of additional CA certificates for the masters' https
        pub ca: Option<PathBuf> = None;
    }
}

dopq_common::settings! {
    /// The container engine.
    #[derive(Debug, Clone)]
    pub struct DockerOptions {
        /// The container engine; by default DOCKER_HOST or unix:///var/run/docker.sock
        pub host: Option<String> = None;
        /// Docker's config.json with logins for registries, and proxies for builds and containers
        pub config: Option<PathBuf> = None;
        /// Files that containers and build steps see read-only, such as certificates: /here:/inside
        pub files: Vec<SharedFile> = Vec::new();
        /// When to pull images, those that builds are based on too: missing, always or never
        pub pull: Pull = Pull::Missing;
    }
}

dopq_common::settings! {
    /// Image builds.
    #[derive(Debug, Clone)]
    pub struct BuildOptions {
        /// Network of image builds: default (the engine's default bridge), internet (from it only the Internet, for every container on it), auto (internet where it can be enforced and nobody else uses that bridge, else default) or none
        pub network: BuildNetwork = BuildNetwork::Auto;
    }
}

dopq_common::settings! {
    /// GPUs and how containers get them.
    #[derive(Debug, Clone, Copy)]
    pub struct GpuOptions {
        /// How containers get GPUs: auto, cdi, nvidia-runtime, device-requests or none
        pub mode: GpuMode = GpuMode::Auto;
        /// Simulate this many GPUs instead of using the machine's
        pub simulated: Option<u32> = None, between(0, 1000);
    }
}

dopq_common::settings! {
    /// Networks of jobs.
    #[derive(Debug, Clone)]
    pub struct NetworkOptions {
        /// What jobs reach: open (all that the machine reaches, and the machine), internet (no private, link-local or own addresses of the machine) or none
        pub egress: Egress = Egress::Open;
        /// What is reached beside the Internet: addresses, networks or names, with or without a port, such as 10.1.0.0/16 or proxy.lab:3128
        pub egress_allow: Vec<Allowed> = Vec::new();
        /// Address of this machine on which ports of jobs are published; by default none are
        pub publish: Option<IpAddr> = None;
        /// Networks of each kind that are kept ready for jobs; 0 makes each when its job starts
        pub pool: usize = 8, between(0, 1000);
    }
}

dopq_common::settings! {
    /// Commands and connections of users in running containers.
    #[derive(Debug, Clone, Copy)]
    pub struct ExecOptions {
        /// Let users enter their running containers
        pub allow: bool = true;
        /// Let them choose the user of a command, root too
        pub users: bool = false;
        /// Let admins run commands with all capabilities
        pub privileged: bool = false;
        /// Sessions at once, of all jobs
        pub sessions: usize = 48, between(1, 56);
        /// Sessions at once in one job
        pub per_job: usize = 24, between(1, 56);
    }
}

dopq_common::settings! {
    /// Bounds on what a worker does at once and on what it keeps.
    #[derive(Debug, Clone, Copy)]
    pub struct Limits {
        /// Concurrent image builds
        pub builds: usize = 2, between(1, 1000);
        /// Concurrent container starts; by default two per core
        pub starts: Option<usize> = None, between(1, 10_000);
        /// Maximum log size of one attempt
        pub log: ByteSize = ByteSize(ByteSize::GIB);
        /// Size of the cache of bundles
        pub bundles: ByteSize = ByteSize(20 * ByteSize::GIB);
        /// Accept no jobs while less disk space than this is free
        pub min_free_disk: ByteSize = ByteSize(ByteSize::GIB);
        /// Give up fetching a bundle that the masters do not give for this time; the job runs elsewhere if it can
        pub fetch_time: Duration = Duration::from_secs(600), at_least(Duration::from_secs(1));
        /// Maximum duration of an image build
        pub build_time: Duration = Duration::from_secs(3600);
        /// Give a log and results up that the masters do not have after this time; the job ends without them
        pub publish_time: Duration = Duration::from_secs(24 * 3600), at_least(Duration::from_secs(1));
        /// Store the /checkpoint of a running job at most this often, and this often if the job does not say
        pub checkpoint_every: Duration = Duration::from_secs(600), at_least(Duration::from_secs(1));
        /// Stop strict_once jobs after this time without broker; keep it below scheduler.lost_after
        pub lease: Duration = Duration::from_secs(8 * 60);
    }
}

dopq_common::settings! {
    /// What a worker removes to keep its disks free.
    #[derive(Debug, Clone, Copy)]
    pub struct Retention {
        /// Remove images, the longest unused first, once more of the engine's disk is used
        pub images_high: Share = Share(0.85);
        /// Stop removing images once no more of the engine's disk is used
        pub images_low: Share = Share(0.75);
        /// Size of the engine's build cache
        pub build_cache: ByteSize = ByteSize(20 * ByteSize::GIB);
        /// Keep an ended attempt's /checkpoint for so long, so that the job need not fetch it if it runs here again
        pub checkpoints: Duration = Duration::from_secs(24 * 3600);
        /// Keep /outdir folders after their results are stored
        pub keep_outdir: bool = false;
    }
}

/// How containers get GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuMode {
    /// The best that the engine offers, found out at start.
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

impl Named for GpuMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("cdi", Self::Cdi),
        ("nvidia-runtime", Self::NvidiaRuntime),
        ("device-requests", Self::DeviceRequests),
        ("none", Self::None),
    ];
}
