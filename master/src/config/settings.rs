//! Every setting of a master, each described once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::broker::amqp;
use dopq_common::resources::ByteSize;
use dopq_common::sched;
use dopq_common::settings::{BaseUrl, ClusterName, ServiceUrl, Share, at_least, between};
use dopq_worker::docker::SharedFile;
use secrecy::SecretString;

use super::privacy::Privacy;

const DAY_SECONDS: u64 = 24 * 3600;

dopq_common::settings! {
    /// Settings of a master.
    #[derive(Debug, Clone)]
    pub struct Settings {
        /// The cluster's name; stands in keys, labels and container names
        pub cluster: ClusterName = ClusterName::default();
        /// Run everything in this process: embedded store, in-process broker, one worker
        pub standalone: bool = false;
        /// Private folder for the embedded store, uploads in progress and the admin's first token
        pub data_dir: PathBuf = PathBuf::from("/var/lib/dopq");
        /// Address and port of the API; port 0 takes a free one
        pub listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 7070));
        /// Where workers, clients and other masters reach this API; by default where it listens
        pub advertise_url: Option<BaseUrl> = None;
        /// Allow the API to be reached from other machines without TLS
        pub insecure_http: bool = false;
        /// What users see of each other's jobs besides the row: open shows name, command and labels, own hides them
        pub privacy: Privacy = Privacy::Open;
        /// Answer /metrics without a token on the loopback address
        pub open_metrics_on_loopback: bool = true;
        /// The cluster's secret, the same on every master; 16 characters or more
        pub secret: Option<SecretString> = None;
        /// A file that holds the secret, instead of `secret`
        pub secret_file: Option<PathBuf> = None;
        /// Accept workers that have the cluster's secret instead of a key of their own although the broker is not on this machine's loopback address
        pub insecure_shared_secret: bool = false;
        /// Certificate and key of the API
        pub tls: Tls = Tls::default();
        /// Redis
        pub store: Store = Store::default();
        /// RabbitMQ
        pub broker: amqp::Settings = amqp::Settings { prefetch: 256, ..amqp::Settings::default() };
        /// RabbitMQ's management API
        pub management: Management = Management::default();
        /// Where bundles are kept
        pub bundles: Bundles = Bundles::default();
        /// A watched folder or bucket
        pub ingest: Ingest = Ingest::default();
        /// Bounds on bundles and results
        pub limits: Limits = Limits::default();
        /// What is removed from the bundle store
        pub retention: Retention = Retention::default();
        /// The scheduler
        pub scheduler: sched::Settings = sched::Settings::default();
        /// How masters take over from each other
        pub leader: Leader = Leader::default();
        /// The worker of a standalone master
        pub worker: LocalWorker = LocalWorker::default();
    }
}

dopq_common::settings! {
    /// Certificate and key of the API.
    #[derive(Debug, Clone)]
    pub struct Tls {
        /// The API's certificate chain, a PEM file
        pub cert: Option<PathBuf> = None;
        /// The certificate's private key, a PEM file
        pub key: Option<PathBuf> = None;
    }
}

dopq_common::settings! {
    /// Redis.
    #[derive(Debug, Clone)]
    pub struct Store {
        /// Redis: `redis[s]://user:password@host:port/db`
        pub url: Option<ServiceUrl> = None, ServiceUrl::with_scheme(["redis", "rediss"]);
        /// The longest that one call to the store may take
        pub timeout: Duration = Duration::from_secs(5), at_least(Duration::from_millis(100));
        /// Refuse a Redis that evicts keys or keeps no append-only file, instead of warning
        pub require_durability: bool = true;
        /// PEM file of the CA certificates for rediss, in place of the system's
        pub ca: Option<PathBuf> = None;
    }
}

dopq_common::settings! {
    /// RabbitMQ's management API.
    #[derive(Debug, Clone)]
    pub struct Management {
        /// RabbitMQ's management API, `http[s]://user:password@host:15672`, so that `dopq node add` makes the worker's account; the user needs the tag administrator
        pub url: Option<ServiceUrl> = None, ServiceUrl::with_scheme(["http", "https"]);
    }
}

dopq_common::settings! {
    /// Where bundles, logs and results are kept.
    #[derive(Debug, Clone)]
    pub struct Bundles {
        /// Where bundles, logs and results lie: a folder, file://, s3://, gs:// or az://
        pub url: Option<String> = None;
        /// The bucket's access keys, region and endpoint, as object_store names them
        pub options: BTreeMap<String, SecretString> = BTreeMap::new();
        /// How long an address that a worker fetches a bundle from is good for
        pub signed_url_ttl: Duration = Duration::from_secs(15 * 60);
    }
}

dopq_common::settings! {
    /// A watched folder or bucket.
    #[derive(Debug, Clone)]
    pub struct Ingest {
        /// A folder or bucket that is watched for bundles under incoming/USER/
        pub url: Option<String> = None;
        /// As bundles.options, for the watched bucket
        pub options: BTreeMap<String, SecretString> = BTreeMap::new();
        /// Take files that lie in no user's folder for the user whom they name themselves
        pub trust_executor_name: bool = false;
        /// Take nothing while less than this share of the disk is free
        pub min_space: Share = Share(0.05);
        /// Move accepted files to accepted/ instead of removing them once the bundle store has them
        pub keep_accepted: bool = true;
        /// Between two looks
        pub poll: Duration = Duration::from_secs(2), at_least(Duration::from_millis(100));
    }
}

dopq_common::settings! {
    /// Bounds on bundles and results.
    #[derive(Debug, Clone)]
    pub struct Limits {
        /// The largest bundle, compressed
        pub bundle_size: ByteSize = ByteSize(10 * ByteSize::GIB);
        /// The largest bundle, expanded
        pub expanded_size: ByteSize = ByteSize(50 * ByteSize::GIB);
        /// The most files and folders of a bundle
        pub entries: u64 = 200_000, at_least(1);
        /// The most bytes that one byte of a bundle may expand to
        pub ratio: u64 = 200, at_least(1);
        /// The largest results of one attempt
        pub results_size: ByteSize = ByteSize(50 * ByteSize::GIB);
        /// The largest checkpoint of a job; 0 turns /checkpoint off
        pub checkpoint_size: ByteSize = ByteSize(50 * ByteSize::GIB);
        /// Uploads must leave this much of the data folder's disk free
        pub min_free: ByteSize = ByteSize(ByteSize::GIB);
        /// The most that one user may keep in the bundle store; above it the user can neither upload nor submit
        pub user_storage: Option<ByteSize> = None;
        /// The most connections to the API from one address; behind a proxy all clients have the proxy's
        pub connections_per_address: usize = 1024, at_least(1);
    }
}

dopq_common::settings! {
    /// What the leader removes from the bundle store.
    #[derive(Debug, Clone)]
    pub struct Retention {
        /// Keep a bundle for so long after its upload and after the last job with it ended, so that the job can be retried
        pub bundles: Duration = Duration::from_secs(30 * DAY_SECONDS);
        /// Keep logs for so long after their job ended
        pub logs: Duration = Duration::from_secs(90 * DAY_SECONDS);
        /// Keep results for so long after their job ended
        pub results: Duration = Duration::from_secs(90 * DAY_SECONDS);
        /// Keep a checkpoint for so long after its job ended
        pub checkpoints: Duration = Duration::from_secs(DAY_SECONDS);
        /// Keep the archive's records for so long; by default for ever
        pub archive: Option<Duration> = None;
        /// Size of the archive; above it the oldest days go early
        pub archive_size: Option<ByteSize> = None;
        /// Size of all bundles, logs, results and checkpoints; above it those of the jobs that ended first go early
        pub store_size: Option<ByteSize> = None;
        /// With less free space than this on a local bundle store's disk, or than a tenth of a small disk, they go early and at once
        pub min_free: ByteSize = ByteSize(2 * ByteSize::GIB);
        /// Keep everything for at least so long
        pub min_age: Duration = Duration::from_secs(2 * 3600);
        /// Between two sweeps
        pub every: Duration = Duration::from_secs(3600), at_least(Duration::from_secs(1));
    }
}

dopq_common::settings! {
    /// How masters take over from each other.
    #[derive(Debug, Clone)]
    pub struct Leader {
        /// How long the lead lasts without being confirmed; another master takes over after it
        pub lease: Duration = Duration::from_secs(5), at_least(Duration::from_secs(1));
        /// How often a standby looks for a free lead and for what was committed
        pub poll: Duration = Duration::from_millis(500), at_least(Duration::from_millis(100));
    }
}

dopq_common::settings! {
    /// The worker of a standalone master, as far as it is not like any other.
    #[derive(Debug, Clone)]
    pub struct LocalWorker {
        /// Standalone: pretend to have so many GPUs instead of using the machine's own
        pub simulated_gpus: Option<u32> = None, between(0, 1000);
        /// Standalone: slots on each GPU, which num_slots counts
        pub slots_per_gpu: u32 = 1, between(1, 1000);
        /// Standalone: the container engine; by default DOCKER_HOST or unix:///var/run/docker.sock
        pub docker_host: Option<String> = None;
        /// Standalone: Docker's config.json with logins for registries, and proxies for builds and containers
        pub docker_config: Option<PathBuf> = None;
        /// Standalone: files that containers and build steps see read-only, such as certificates: /here:/inside
        pub docker_files: Vec<SharedFile> = Vec::new();
        /// Standalone: a folder that every container sees read-only as /imgdir
        pub imgdir: Option<PathBuf> = None;
        /// Standalone: the folder below which every attempt gets its /outdir
        pub outdir: Option<PathBuf> = None;
        /// Standalone: image builds
        pub build as "builds": dopq_worker::BuildOptions = dopq_worker::BuildOptions::default();
        /// Standalone: networks of jobs
        pub network: dopq_worker::NetworkOptions = dopq_worker::NetworkOptions::default();
        /// Standalone: folders that outlive jobs
        pub volumes: dopq_worker::VolumeOptions = dopq_worker::VolumeOptions::default();
        /// Standalone: build and pull images of waiting jobs
        pub prefetch: bool = true;
    }
}
