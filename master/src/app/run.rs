//! Builds the parts, runs them until told to stop, and ends them in order: first those that take work
//! in, then the owner of the state, last the links.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::{self, Broker};
use dopq_common::wire::ClusterKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data_dir::DataDir;
use super::first_start::{self, FirstStartError};
use super::{health, local_worker};
use crate::bundles::{self, Bundles, Intake};
use crate::clock;
use crate::config::{Config, Mode};
use crate::driver::{self, Parts, describe};
use crate::http;
use crate::leader::{self, Standing};
use crate::metrics::{Board, Metrics, Part, PartState};
use crate::store::{self, LeaderInfo, Store};
use crate::telemetry::{self, Heard};
use crate::view::View;

/// Between two attempts to open the store at the start.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// How long the owner of the state may take to commit what is under way when it is asked to stop.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Why a master could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses the data folder.
    #[error("{} is in use: another dopq-master runs there", .path.display())]
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
    /// The bundle store cannot be used.
    #[error("the bundle store cannot be used")]
    Bundles(#[source] bundles::Error),
    /// The first account could not be made.
    #[error("cannot make the first account: failed to {0}")]
    FirstStart(#[source] FirstStartError),
    /// The standalone worker's settings are not acceptable.
    #[error("the worker's settings cannot be used")]
    Worker(#[source] dopq_common::id::ParseIdError),
}

/// Runs a master until `shutdown`.
///
/// # Errors
/// [`Error`] when it cannot start. Once it runs, trouble is waited out and told.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let data_dir = DataDir::open(&config.data_dir)?;
    let key = ClusterKey::from_secret(&match &config.secret {
        Some(secret) => secret.reveal().to_owned(),
        None => data_dir.secret()?,
    });
    let tls = load_tls(&config)?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let url = url(&config, address);
    let view = View::new(config.scheduler.clone());
    let (handle, inputs) = driver::channel(view.clone());
    let (metrics, board, heard) = (Metrics::default(), Board::default(), Heard::default());
    let Some(store) = open_store(&config, &data_dir, &board, &shutdown).await? else {
        return Ok(());
    };
    let broker = open_broker(&config)?;
    let bundles = open_bundles(&config, &data_dir)?;
    let spool = data_dir.join("spool");
    let intake = Intake::new(bundles.clone(), &spool, config.bundle_limits.clone())
        .map_err(Error::Bundles)?;
    note_parts(&config, &board);

    let parts = Parts {
        store,
        broker: broker.clone(),
        bundles: bundles.clone(),
        key: key.clone(),
        cluster: config.cluster.clone(),
        data_urls: vec![url.clone()],
        settings: config.scheduler.clone(),
        handle: handle.clone(),
        heard: heard.clone(),
        metrics: metrics.clone(),
        board: board.clone(),
    };
    let lead = leader::Options {
        me: LeaderInfo {
            id: random_id(),
            url: url.clone(),
        },
        ttl: config.lease_ttl,
        poll: config.standby_poll,
    };
    // The owner of the state stops after those that feed it.
    let stop_owner = CancellationToken::new();
    let (standing, mut stands) = watch::channel(Standing::Unknown);
    let owner = tokio::spawn(leader::run(
        lead,
        parts,
        inputs,
        standing,
        stop_owner.clone(),
    ));
    let feeders = TaskTracker::new();
    feeders.spawn(health::watch_broker(
        broker.clone(),
        broker_name(&config),
        board.clone(),
        shutdown.clone(),
    ));
    feeders.spawn(telemetry::run(
        broker.clone(),
        key.clone(),
        view,
        heard,
        metrics.clone(),
        shutdown.clone(),
    ));
    let prepared = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        prepared = first_start::prepare(&handle, &data_dir, &mut stands) => prepared,
    };
    if prepared.is_ok() && !shutdown.is_cancelled() {
        let app = http::App {
            handle: handle.clone(),
            bundles: bundles.clone(),
            intake,
            broker: broker.clone(),
            key: key.clone(),
            settings: http_settings(&config),
            metrics,
            board,
            shutdown: shutdown.clone(),
        };
        let router = http::router(app);
        feeders.spawn(http::serve(listener, tls, router, shutdown.clone()));
        if let Mode::Standalone(worker) = &config.mode {
            let options =
                local_worker::options(worker, &config.cluster, &key, data_dir.path(), &url)
                    .map_err(Error::Worker)?;
            feeders.spawn(run_worker(options, broker.clone(), shutdown.clone()));
        }
        shutdown.cancelled().await;
    }
    shutdown.cancel();
    feeders.close();
    feeders.wait().await;
    stop_owner.cancel();
    if tokio::time::timeout(END_WITHIN, owner).await.is_err() {
        tracing::warn!("the last commit is not confirmed; it is looked for at the next start");
    }
    broker.close().await;
    drop(data_dir);
    prepared
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

fn load_tls(config: &Config) -> Result<Option<Arc<http::Tls>>, Error> {
    let files = config.tls.as_ref();
    let loaded = files.map(|files| http::Tls::load(&files.cert, &files.key).map(Arc::new));
    loaded.transpose().map_err(Error::Tls)
}

/// Where others reach this master.
fn url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.advertise_url {
        return url.clone();
    }
    let mut address = address;
    if address.ip().is_unspecified() {
        // Only a standalone master gets here, and its worker is on this machine.
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// Opens the store, waiting for one that cannot be reached; `None` when asked to stop meanwhile.
async fn open_store(
    config: &Config,
    data_dir: &DataDir,
    board: &Board,
    shutdown: &CancellationToken,
) -> Result<Option<Store>, Error> {
    let (name, options) = match &config.mode {
        Mode::Standalone(_) => (
            "embedded",
            store::Options::Embedded {
                dir: data_dir.join("store"),
            },
        ),
        Mode::Cluster { store, .. } => ("redis", store::Options::Redis(store.clone())),
    };
    let mut told = false;
    loop {
        match Store::open(options.clone()).await {
            Ok(store) => {
                board.set(clock::now(), Part::Store, PartState::Up, name);
                return Ok(Some(store));
            }
            Err(error @ store::Error::Unavailable(_)) => {
                let fault = describe(&error);
                if !told {
                    tracing::warn!(error = fault, store = name, "waiting for the store");
                    told = true;
                }
                board.set(clock::now(), Part::Store, PartState::Down, fault);
            }
            Err(error) => return Err(Error::Store(error)),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(STORE_PAUSE) => {}
        }
    }
}

fn open_broker(config: &Config) -> Result<Broker, Error> {
    match &config.mode {
        Mode::Standalone(_) => Ok(Broker::Inproc(broker::inproc::Broker::default())),
        Mode::Cluster { broker, .. } => broker::amqp::Broker::open((**broker).clone())
            .map(Broker::Amqp)
            .map_err(Error::Broker),
    }
}

const fn broker_name(config: &Config) -> &'static str {
    match &config.mode {
        Mode::Standalone(_) => "in-process",
        Mode::Cluster { .. } => "rabbitmq",
    }
}

fn open_bundles(config: &Config, data_dir: &DataDir) -> Result<Bundles, Error> {
    let opened = match &config.mode {
        Mode::Standalone(_) => {
            let folder = data_dir.join("bundles").display().to_string();
            Bundles::open(&folder, &BTreeMap::new())
        }
        Mode::Cluster { bundles, .. } => Bundles::open(&bundles.url, &bundles.options),
    };
    opened.map_err(Error::Bundles)
}

fn note_parts(config: &Config, board: &Board) {
    let now = clock::now();
    board.set(now, Part::Scheduler, PartState::Up, "");
    board.set(now, Part::Leader, PartState::Degraded, "seeks the lead");
    board.set(now, Part::Bundles, PartState::Up, "");
    match &config.ingest {
        Some(ingest) => board.set(now, Part::Ingest, PartState::Up, &*ingest.location.url),
        None => board.set(now, Part::Ingest, PartState::Off, "no folder is watched"),
    }
}

fn http_settings(config: &Config) -> http::Settings {
    http::Settings {
        cluster: config.cluster.clone(),
        bundle_max_bytes: config.bundle_limits.compressed_bytes,
        results_max_bytes: config.results_max_bytes,
        min_free_bytes: config.min_free_bytes,
        signed_url_ttl: config.signed_url_ttl,
        open_metrics_on_loopback: config.open_metrics_on_loopback,
    }
}

async fn run_worker(options: dopq_worker::Options, broker: Broker, shutdown: CancellationToken) {
    if let Err(error) = Box::pin(dopq_worker::run(options, broker, shutdown.clone())).await {
        tracing::error!(error = describe(&error), "the worker of this process ended");
    }
}

fn random_id() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        // Two masters then share an id only if they also share a process id and a start.
        Err(_) => format!("{}-{}", std::process::id(), clock::now().as_millis()),
    }
}
