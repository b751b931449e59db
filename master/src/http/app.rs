//! The dependencies of the routes.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::Broker;
use dopq_common::id::UserName;
use dopq_common::time::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::convert::Positions;
use super::forecasts::Forecasts;
use super::limiter::Limiter;
use super::logins::Logins;
use super::sight::Sight;
use super::streams::Streams;
use super::trail::Refusals;
use super::uploads::Uploads;
use crate::accounts::Uses;
use crate::audit::AuditLog;
use crate::bundles::{Bundles, Intake};
use crate::clock;
use crate::config::Privacy;
use crate::driver::Handle;
use crate::keys::NodeKeys;
use crate::logs;
use crate::management::Management;
use crate::metrics::{Board, Metrics};
use crate::reload::Reloader;
use crate::retention::Pruner;
use crate::view::View;

/// Larger bodies that are read concurrently; the largest is a log's chunk of 4 MiB.
const LARGE_BODIES_MAX: usize = 64;

/// The dependencies of the routes.
#[derive(Clone)]
pub struct App {
    /// Submits, acts and reads.
    pub handle: Handle,
    /// Bundles, logs and results.
    pub bundles: Bundles,
    /// Validates and stores uploaded bundles.
    pub intake: Intake,
    /// Removes what nobody needs from the bundle store.
    pub pruner: Pruner,
    /// Live tails of logs.
    pub broker: Broker,
    /// Makes and removes the workers' accounts at RabbitMQ, where it can.
    pub management: Option<Management>,
    /// The workers' keys, which verify attempt tokens.
    pub keys: NodeKeys,
    /// Who did what.
    pub audit: AuditLog,
    /// When tokens were last used.
    pub uses: Uses,
    /// Limits and names.
    pub settings: Settings,
    /// Reads the settings anew.
    pub reloader: Reloader,
    /// The counters.
    pub metrics: Metrics,
    /// The parts' status.
    pub board: Board,
    /// Ends all streams at shutdown.
    pub shutdown: CancellationToken,
}

/// Limits and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The largest bundle.
    pub bundle_max_bytes: u64,
    /// The largest results archive of one attempt.
    pub results_max_bytes: u64,
    /// The largest checkpoint of a job.
    pub checkpoint_max_bytes: u64,
    /// Uploads must leave this much of the intake's disk free.
    pub min_free_bytes: u64,
    /// Lifetime of a bundle's signed URL.
    pub signed_url_ttl: Duration,
    /// What users see of each other's jobs.
    pub privacy: Privacy,
    /// Whether `/metrics` answers without a token to clients on the loopback address.
    pub open_metrics_on_loopback: bool,
}

/// The state of the router: [`App`] and what lives with it.
pub(super) struct Context {
    pub(super) app: App,
    pub(super) limiter: Limiter,
    pub(super) uploads: Uploads,
    pub(super) streams: Streams,
    pub(super) refusals: Refusals,
    pub(super) logins: Logins,
    /// One reader of the audit log at a time.
    pub(super) audit_readers: Semaphore,
    /// Readers of the archive, each with a segment in memory.
    pub(super) history_readers: Semaphore,
    pub(super) positions: Positions,
    pub(super) forecasts: Forecasts,
    pub(super) registry: Registry,
    /// Bounds the memory of large bodies.
    pub(super) large_bodies: Semaphore,
    pub(super) started_at: Timestamp,
    /// Serialises changes of accounts, because each writes the account's whole value.
    pub(super) accounts: Mutex<()>,
}

pub(super) type Ctx = Arc<Context>;

impl Context {
    pub(super) fn new(app: App) -> Ctx {
        let registry = crate::metrics::registry(&app.metrics, app.handle.view());
        Arc::new(Self {
            limiter: Limiter::default(),
            uploads: Uploads::new(
                app.intake.spool_folder().to_owned(),
                app.settings.min_free_bytes,
            ),
            streams: Streams::default(),
            refusals: Refusals::default(),
            logins: Logins::default(),
            audit_readers: Semaphore::new(1),
            history_readers: Semaphore::new(2),
            positions: Positions::default(),
            forecasts: Forecasts::default(),
            registry,
            large_bodies: Semaphore::new(LARGE_BODIES_MAX),
            started_at: clock::now(),
            accounts: Mutex::new(()),
            app,
        })
    }

    pub(super) fn view(&self) -> &View {
        self.app.handle.view()
    }

    /// How much `caller` sees of a job of `owner`.
    pub(super) fn sight(&self, caller: &Caller, owner: &UserName) -> Sight {
        Sight::of(self.app.settings.privacy, caller, owner)
    }

    pub(super) fn log_sources(&self) -> logs::Sources {
        logs::Sources {
            view: self.view().clone(),
            bundles: self.app.bundles.clone(),
            broker: self.app.broker.clone(),
            keys: self.app.keys.clone(),
        }
    }
}
