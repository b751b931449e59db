//! The worker's life from start to shutdown.

use dopq_common::broker::{self, Broker};
use tokio_util::sync::CancellationToken;

use crate::Options;

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker refuses this worker.
    #[error("prepare the worker's queue")]
    Broker(#[source] broker::Error),
}

/// Runs a worker until `shutdown`. Its containers run on after that, and are adopted at the next start.
///
/// # Errors
/// [`Error`] when it cannot start, or cannot write its records any more.
pub async fn run(
    options: Options,
    broker: Broker,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    broker
        .declare_worker(&options.name)
        .await
        .map_err(Error::Broker)?;
    shutdown.cancelled().await;
    Ok(())
}
