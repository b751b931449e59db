//! The master's configuration: a TOML file, `DOPQ_…` variables and flags, in rising precedence.
//!
//! [`mod@read`] tells every mistake at once, so that nobody mends them one start at a time. What a setting
//! is for is told by its line in `keys`. Opening what the settings name is left to [`crate::app`].

mod args;
mod keys;
mod read;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::broker::amqp;
use dopq_common::bundle::Limits;
use dopq_common::sched;

use crate::{ingest, store};

pub use args::{Args, LogFormat};
pub use keys::KEYS;
pub use read::read;

/// The file that is read when it exists and no other is named.
pub const DEFAULT_FILE: &str = "/etc/dopq/master.toml";

/// Everything that a master is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's name.
    pub cluster: String,
    /// Private files: the embedded store, the spool, the admin's first token.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where workers, clients and other masters reach it; by default where it listens.
    pub advertise_url: Option<String>,
    /// Certificate and key of the API.
    pub tls: Option<TlsFiles>,
    /// Set when the API may be spoken to without TLS from other machines.
    pub insecure_http: bool,
    /// Whether `/metrics` answers without a token on the loopback address.
    pub open_metrics_on_loopback: bool,
    /// What workers' keys and attempts' tokens are derived from; `None` to keep one in the data folder.
    pub secret: Option<Secret>,
    /// Where the truth, the orders and the bundles lie.
    pub mode: Mode,
    /// A watched folder or bucket.
    pub ingest: Option<ingest::Options>,
    /// Limits of bundles.
    pub bundle_limits: Limits,
    /// The largest results archive of one attempt, in bytes.
    pub results_max_bytes: u64,
    /// Uploads must leave this much of the data folder's disk free, in bytes.
    pub min_free_bytes: u64,
    /// How long a signed address of a bundle is good for.
    pub signed_url_ttl: Duration,
    /// The scheduler's settings.
    pub scheduler: sched::Settings,
    /// How long the leader's lease lasts.
    pub lease_ttl: Duration,
    /// How often a standby looks at the store.
    pub standby_poll: Duration,
    /// Things that are not wrong but should be known, told once at the start.
    pub warnings: Vec<String>,
}

/// Everything in one process, or parts that several masters share.
#[derive(Debug, Clone)]
pub enum Mode {
    /// An embedded store, a broker in memory, and one worker in this process.
    Standalone(Box<LocalWorker>),
    /// Redis and RabbitMQ.
    Cluster {
        /// The truth.
        store: store::RedisOptions,
        /// Orders and reports.
        broker: Box<amqp::Options>,
        /// Where bundles lie.
        bundles: Location,
    },
}

/// The worker of a standalone master, as far as it is not like any other.
#[derive(Debug, Clone, Default)]
pub struct LocalWorker {
    /// Pretend to have so many GPUs.
    pub simulated_gpus: Option<u32>,
    /// Slots on each GPU.
    pub slots_per_gpu: u32,
    /// The engine's address.
    pub docker_host: Option<String>,
    /// Mounted read-only as `/imgdir`.
    pub imgdir: Option<PathBuf>,
    /// Root of the folders mounted as `/outdir`.
    pub outdir: Option<PathBuf>,
}

/// A folder or bucket.
#[derive(Clone)]
pub struct Location {
    /// A path, or `file://`, `s3://`, `gs://`, `az://`.
    pub url: String,
    /// Access keys, region, endpoint.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for Location {
    /// Without the options, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Where certificate and key lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The cluster's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Shorter ones can be guessed.
    pub const MIN_CHARS: usize = 16;

    /// From text; white space around it does not count.
    ///
    /// # Errors
    /// When it is too short to be one. The text is not repeated.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.chars().count() {
            count if count < Self::MIN_CHARS => Err(format!(
                "the secret has {count} characters and needs {} or more; make one with: \
                 openssl rand -hex 32",
                Self::MIN_CHARS
            )),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
