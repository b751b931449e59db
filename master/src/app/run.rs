//! Builds the parts, runs them until told to stop, and ends them in order: first those that take work
//! in, then the owner of the state, last the links.

use dopq_common::chain::chain;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::Broker;
use dopq_common::bundle;
use dopq_common::wire::ClusterKey;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data_dir::DataDir;
use super::watched::Watched;
use super::{Error, first_start, health, local_worker, open};
use crate::accounts::Uses;
use crate::audit::AuditLog;
use crate::bundles::Intake;
use crate::clock;
use crate::config::{Args, Config, Limits, Settings, Source};
use crate::disk::Space;
use crate::driver::{self, Inputs, Parts};
use crate::keys::NodeKeys;
use crate::leader::{self, Standing};
use crate::management::Management;
use crate::metrics::{Board, Metrics, Part, PartState};
use crate::quota::Quota;
use crate::reload::Reloader;
use crate::retention::Pruner;
use crate::store::LeaderInfo;
use crate::telemetry::{self, Heard};
use crate::view::View;
use crate::{http, retention};

/// How long the owner of the state may take to commit what is under way when it is asked to stop.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Before a worker of this process that has ended is started again.
const WORKER_PAUSE: Duration = Duration::from_secs(10);

/// Runs a master until `shutdown`.
///
/// # Errors
/// [`Error`] when it cannot start. Once it runs, trouble is waited out and told.
pub async fn run(args: Args, config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if !config.shared_secret {
        tracing::info!(
            "only workers with a key of their own may join; make one with: dopq node add NAME"
        );
    }
    let source = Source::new(args, &config);
    match Box::pin(Master::build(config, &shutdown)).await? {
        Some(master) => Box::pin(master.run(source, shutdown)).await,
        None => Ok(()),
    }
}

/// Everything that was opened, not yet running.
struct Master {
    config: Config,
    data_dir: Arc<DataDir>,
    listener: TcpListener,
    tls: Option<Arc<http::Tls>>,
    key: ClusterKey,
    /// Where others reach this master.
    url: String,
    parts: Parts,
    inputs: Inputs,
    intake: Intake,
}

impl Master {
    /// Opens everything; `None` when asked to stop while waiting for the store.
    async fn build(config: Config, shutdown: &CancellationToken) -> Result<Option<Self>, Error> {
        let data_dir = DataDir::open(&config.settings.data_dir)?;
        let secret = match &config.secret {
            Some(secret) => secret,
            None => &data_dir.secret()?,
        };
        let key = ClusterKey::from_secret(secret.expose_secret());
        let tls = open::tls(&config)?;
        let listener = open::listen(config.settings.listen).await?;
        let address = listener.local_addr().unwrap_or(config.settings.listen);
        let url = open::url(&config, address);
        let board = Board::default();
        let Some(store) = open::store(&config, &data_dir, &board, shutdown).await? else {
            return Ok(None);
        };
        let bundles = open::bundles(&config, &data_dir)?;
        let (spool, limits) = (
            data_dir.join("spool"),
            bundle_limits(&config.settings.limits),
        );
        let intake = Intake::new(bundles.clone(), &spool, limits).map_err(Error::Bundles)?;
        let intake = intake.with_quota(Quota::new(config.settings.limits.user_storage));
        note_parts(&config, bundles.name(), &board);
        let view = View::new(config.settings.scheduler.clone());
        let (handle, inputs) = driver::channel(view.clone());
        let parts = Parts {
            store,
            broker: open::broker(&config)?,
            bundles,
            keys: NodeKeys::new(key.clone(), view, config.shared_secret),
            cluster: config.settings.cluster.to_string(),
            data_urls: vec![url.clone()],
            results_max_bytes: config.settings.limits.results_size.0,
            checkpoint_max_bytes: config.settings.limits.checkpoint_size.0,
            handle,
            heard: Heard::default(),
            metrics: Metrics::default(),
            board,
        };
        Ok(Some(Self {
            config,
            data_dir: Arc::new(data_dir),
            listener,
            tls,
            key,
            url,
            parts,
            inputs,
            intake,
        }))
    }

    async fn run(self, source: Source, shutdown: CancellationToken) -> Result<(), Error> {
        let worker = self.worker()?;
        let management = open::management(&self.config)?;
        let Self {
            config,
            data_dir,
            listener,
            tls,
            key: _,
            url,
            parts,
            inputs,
            intake,
        } = self;
        let (config, parts) = (&config, &parts);
        let lead = leader::Options {
            me: LeaderInfo {
                id: random_id(),
                url,
            },
            ttl: config.settings.leader.lease,
            poll: config.settings.leader.poll,
        };
        let broker = parts.broker.clone();
        // The owner of the state stops after those that feed it.
        let stop_owner = CancellationToken::new();
        let (standing, mut stands) = watch::channel(Standing::Unknown);
        let leading = leader::run(lead, parts.clone(), inputs, standing, stop_owner.clone());
        let owner = tokio::spawn(leading);
        let feeders = TaskTracker::new();
        let name = open::broker_name(config);
        let board = parts.board.clone();
        feeders.spawn(health::watch_broker(
            broker.clone(),
            name,
            board,
            shutdown.clone(),
        ));
        feeders.spawn(telemetry::run(
            broker.clone(),
            parts.keys.clone(),
            parts.handle.view().clone(),
            parts.heard.clone(),
            parts.metrics.clone(),
            shutdown.clone(),
        ));
        let prepared = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            prepared = first_start::prepare(&parts.handle, &data_dir, &mut stands) => prepared,
        };
        if prepared.is_ok() && !shutdown.is_cancelled() {
            let (pruner, requests) = retention::channel();
            let (audit, writer) = AuditLog::of(parts.store.clone());
            feeders.spawn(writer.run(shutdown.clone()));
            let reloader = Reloader::new(source, parts.handle.clone());
            feeders.spawn(reloader.clone().at_signals(shutdown.clone()));
            let control = (management, reloader);
            let app = app(config, parts, &intake, (pruner, audit), control, &shutdown);
            feeders.spawn(app.uses.clone().run(shutdown.clone()));
            let router = http::router(app);
            let per_address = config.settings.limits.connections_per_address;
            feeders.spawn(http::serve(
                listener,
                tls,
                router,
                per_address,
                shutdown.clone(),
            ));
            feeders.spawn(first_start::stand_by(
                parts.handle.clone(),
                Arc::clone(&data_dir),
                stands.clone(),
                shutdown.clone(),
            ));
            feeders.spawn(retention::run(
                retention_parts(config, parts, &intake),
                requests,
                stands.clone(),
                shutdown.clone(),
            ));
            if let Some(watched) = watched(config, parts, &intake) {
                feeders.spawn(watched.run(stands, shutdown.clone()));
            }
            if let Some(options) = worker {
                feeders.spawn(run_worker(options, broker.clone(), shutdown.clone()));
            }
            shutdown.cancelled().await;
        }
        shutdown.cancel();
        feeders.close();
        feeders.wait().await;
        stop_owner.cancel();
        if tokio::time::timeout(END_WITHIN, owner).await.is_err() {
            tracing::warn!("the last commit is not confirmed; the next start checks it");
        }
        broker.close().await;
        prepared
    }

    /// The worker of a standalone master.
    fn worker(&self) -> Result<Option<dopq_worker::Options>, Error> {
        if self.config.services.is_some() {
            return Ok(None);
        }
        let options = local_worker::options(
            &self.config.settings,
            &self.key,
            self.data_dir.path(),
            &self.url,
        );
        options.map(Some).map_err(Error::Worker)
    }
}

fn app(
    config: &Config,
    parts: &Parts,
    intake: &Intake,
    (pruner, audit): (Pruner, AuditLog),
    (management, reloader): (Option<Management>, Reloader),
    shutdown: &CancellationToken,
) -> http::App {
    http::App {
        pruner,
        audit,
        management,
        reloader,
        uses: Uses::of(parts.store.clone()),
        handle: parts.handle.clone(),
        bundles: parts.bundles.clone(),
        intake: intake.clone(),
        broker: parts.broker.clone(),
        keys: parts.keys.clone(),
        settings: http_settings(config),
        metrics: parts.metrics.clone(),
        board: parts.board.clone(),
        shutdown: shutdown.clone(),
    }
}

fn retention_parts(config: &Config, parts: &Parts, intake: &Intake) -> retention::Parts {
    retention::Parts {
        bundles: parts.bundles.clone(),
        view: parts.handle.view().clone(),
        settings: config.settings.retention.clone(),
        space: Space::of,
        grace: 2 * config.settings.leader.lease,
        quota: intake.quota().clone(),
        metrics: parts.metrics.clone(),
        board: parts.board.clone(),
    }
}

fn watched(config: &Config, parts: &Parts, intake: &Intake) -> Option<Watched> {
    let settings = config.settings.ingest.clone();
    Some(Watched {
        url: settings.url.clone()?,
        settings,
        intake: intake.clone(),
        handle: parts.handle.clone(),
        board: parts.board.clone(),
        metrics: parts.metrics.clone(),
    })
}

fn note_parts(config: &Config, name: &str, board: &Board) {
    let now = clock::now();
    board.set(now, Part::Scheduler, PartState::Up, "");
    board.set(now, Part::Leader, PartState::Degraded, "wants to lead");
    board.set(now, Part::Bundles, PartState::Up, name);
    match &config.settings.ingest.url {
        Some(_) => board.set(now, Part::Ingest, PartState::Off, "only the leader ingests"),
        None => board.set(now, Part::Ingest, PartState::Off, "ingest.url is not set"),
    }
}

fn bundle_limits(limits: &Limits) -> bundle::Limits {
    bundle::Limits {
        compressed_bytes: limits.bundle_size.0,
        expanded_bytes: limits.expanded_size.0,
        entries: limits.entries,
        ratio: limits.ratio,
        ..bundle::Limits::default()
    }
}

fn http_settings(config: &Config) -> http::Settings {
    let Settings { limits, .. } = &config.settings;
    http::Settings {
        cluster: config.settings.cluster.to_string(),
        bundle_max_bytes: limits.bundle_size.0,
        results_max_bytes: limits.results_size.0,
        checkpoint_max_bytes: limits.checkpoint_size.0,
        min_free_bytes: limits.min_free.0,
        signed_url_ttl: config.settings.bundles.signed_url_ttl,
        privacy: config.settings.privacy,
        open_metrics_on_loopback: config.settings.open_metrics_on_loopback,
    }
}

async fn run_worker(options: dopq_worker::Options, broker: Broker, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let running = dopq_worker::run(options.clone(), broker.clone(), shutdown.clone());
        let Err(error) = Box::pin(running).await else {
            continue;
        };
        tracing::error!(
            error = chain(&error),
            "the worker of this process ended; restarting it"
        );
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(WORKER_PAUSE) => {}
        }
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
