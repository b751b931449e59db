//! The master's configuration: a TOML file, `DOPQ_…` variables and flags, in rising precedence.
//!
//! [`mod@settings`] describes every setting, [`mod@read`] says which go together. All mistakes are reported at once.
//! Opening what the settings name is left to [`crate::app`].

mod args;
mod privacy;
mod read;
mod reload;
mod settings;

#[cfg(test)]
mod tests;

use dopq_common::broker::amqp;
use dopq_common::settings::Snapshot;
use secrecy::SecretString;

use crate::store;

pub use args::{Args, LogFormat};
pub use privacy::Privacy;
pub use read::read;
pub use reload::{Difference, Source, is_reloadable};
pub use settings::{
    Bundles, Ingest, Leader, Limits, LocalWorker, Management, Retention, Settings, Store, Tls,
};

/// Everything that a master is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// What workers' keys and attempts' tokens are derived from; `None` to keep one in the data folder.
    pub secret: Option<SecretString>,
    /// Whether a worker may have the cluster's secret instead of a key of its own.
    pub shared_secret: bool,
    /// Redis and RabbitMQ; `None` for a standalone master, which has its own.
    pub services: Option<Services>,
    /// The values of all settings.
    pub values: Snapshot,
    /// Things that are not wrong but should be known, told once at the start.
    pub warnings: Vec<String>,
}

/// What the masters of a cluster share.
#[derive(Debug, Clone)]
pub struct Services {
    /// Redis.
    pub store: store::RedisOptions,
    /// RabbitMQ.
    pub broker: amqp::Options,
    /// The URL of the bundle store.
    pub bundles: String,
}
