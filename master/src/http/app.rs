//! What the routes work with.

use std::path::PathBuf;
use std::time::Duration;

use dopq_common::wire::ClusterKey;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Board, Metrics};

/// Everything that the routes work with; the driver fills it in.
#[derive(Debug, Clone)]
pub struct App {
    /// The cluster's key, which proves attempt tokens.
    pub key: ClusterKey,
    /// Limits and names.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// How the parts are doing.
    pub board: Board,
    /// Ends every stream that would otherwise last as long as its reader.
    pub shutdown: CancellationToken,
}

/// Limits and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// A private folder on the master's disk for uploads that are being received.
    pub spool_dir: PathBuf,
    /// The largest bundle.
    pub bundle_max_bytes: u64,
    /// The largest results archive of one attempt.
    pub results_max_bytes: u64,
    /// Uploads are refused when they would leave less than this free in `spool_dir`.
    pub min_free_bytes: u64,
    /// How long a signed address of a bundle is good for.
    pub signed_url_ttl: Duration,
    /// Whether `/metrics` answers without a token to clients on the loopback address.
    pub open_metrics_on_loopback: bool,
}
