//! Why a master cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dopq_common::broker;

use crate::driver::ActError;
use crate::{bundles, http, store};

/// Why a master could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses the data folder.
    #[error("another dopq-master uses {}", .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder cannot be used.
    #[error("cannot use {}", .path.display())]
    DataDir {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate or key cannot be used.
    #[error("cannot serve TLS")]
    Tls(#[source] http::TlsError),
    /// The store cannot be used as it is.
    #[error("the store cannot be used")]
    Store(#[source] store::Error),
    /// The broker's options are not acceptable.
    #[error("the broker's settings cannot be used")]
    Broker(#[source] broker::OptionsError),
    /// The client of RabbitMQ's management API cannot be made.
    #[error("management.url cannot be used")]
    Management(#[source] reqwest::Error),
    /// The bundle store cannot be used.
    #[error("the bundle store cannot be used")]
    Bundles(#[source] bundles::Error),
    /// The first account could not be made.
    #[error("cannot create the first account: failed to {0}")]
    FirstStart(#[source] FirstStartError),
    /// The standalone worker's settings are not acceptable.
    #[error("the worker's settings cannot be used")]
    Worker(#[source] dopq_common::id::ParseIdError),
}

/// What was wrong when the first account was made.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// The operating system gives no random bytes.
    #[error("draw a random token")]
    Random(#[source] getrandom::Error),
    /// The account was not committed.
    #[error("commit the first account")]
    Commit(#[source] ActError),
}
