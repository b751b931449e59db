//! Removes from the bundle store what nobody needs any more: bundles, logs, results, checkpoints, and old
//! records of the archive.
//!
//! The leader sweeps every `retention.every`, when an admin asks, and at once when a local store's disk is too full. A sweep lists the store in pages and never holds
//! all of it. It ends with the leadership.
//!
//! - [`rules`]: what may go; pure
//! - [`sweep`]: one sweep
//! - [`report`]: what came of it

mod report;
mod rules;
mod sweep;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::id::{JobId, JobKey};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::bundles::{Bundles, Error};
use crate::clock;
use crate::config;
use crate::disk::Space;
use crate::leader::Standing;
use crate::metrics::{Board, Metrics, Part, PartState};
use crate::quota::Quota;
use crate::view::View;

pub use report::{Count, Kind, Report};
use sweep::{Mode, Sweep};

/// Requests that may wait; each is a whole sweep.
const REQUESTS: usize = 4;
/// From the begin of a leadership to its first sweep, at most.
const FIRST: Duration = Duration::from_secs(60);
/// Between two looks at the disk.
const WATCH: Duration = Duration::from_secs(10);
/// Between the end of a sweep and the next one for want of room.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two pages of a sweep that nobody waits for.
const PAUSE: Duration = Duration::from_millis(100);
/// What is shown of a master that does not lead.
const NOT_LEADING: &str = "only the leader removes";

/// What retention works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where it removes.
    pub bundles: Bundles,
    /// What is needed.
    pub view: View,
    /// For how long things are kept.
    pub settings: config::Retention,
    /// Tells the room on the disk of a folder.
    pub space: fn(&Path) -> io::Result<Space>,
    /// After which no former leader acts any more.
    pub grace: Duration,
    /// Learns what each user keeps.
    pub quota: Quota,
    /// Counts what is removed.
    pub metrics: Metrics,
    /// Shows the last sweep.
    pub board: Board,
}

/// A sweep that somebody waits for.
#[derive(Debug)]
struct Request {
    dry_run: bool,
    reply: oneshot::Sender<Result<Report, Error>>,
}

/// Asks for sweeps; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pruner(mpsc::Sender<Request>);

/// The receiving end of a [`Pruner`].
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// A pruner and its receiving end, for [`run`].
#[must_use]
pub fn channel() -> (Pruner, Requests) {
    let (sender, receiver) = mpsc::channel(REQUESTS);
    (Pruner(sender), Requests(receiver))
}

impl Pruner {
    /// Sweeps now, or finds out what a sweep would remove. `None` when this master does not lead any more.
    ///
    /// # Errors
    /// The bundle store's.
    pub async fn prune(&self, dry_run: bool) -> Option<Result<Report, Error>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request { dry_run, reply }).await.ok()?;
        answer.await.ok()
    }
}

/// Removes the logs, results and checkpoint of a job that has ended, as much as can be.
///
/// # Errors
/// The bundle store's, if it cannot be listed.
pub async fn remove_output(bundles: &Bundles, job: (JobId, JobKey)) -> Result<Report, Error> {
    let mut report = Report::default();
    sweep::output(bundles, job, false, &mut report).await?;
    Ok(report)
}

/// Sweeps for as long as this master leads, until `shutdown`.
pub async fn run(
    parts: Parts,
    mut requests: Requests,
    mut stands: watch::Receiver<Standing>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        parts.show(PartState::Off, NOT_LEADING);
        let leads = async {
            loop {
                tokio::select! {
                    leads = stands.wait_for(|standing| *standing == Standing::Leads) => {
                        return leads.is_ok();
                    }
                    // Nobody is answered: its sender is dropped.
                    Some(_) = requests.0.recv() => {}
                }
            }
        };
        if shutdown.run_until_cancelled(leads).await != Some(true) {
            return;
        }
        let lost = stands.wait_for(|standing| *standing != Standing::Leads);
        tokio::select! {
            () = shutdown.cancelled() => {}
            // The sender's end is the end of leading as well.
            _ = lost => {}
            () = parts.lead(&mut requests) => {}
        }
    }
}

impl Parts {
    async fn lead(&self, requests: &mut Requests) {
        self.show(PartState::Up, "no sweep yet");
        let every = self.settings.every;
        let mut due = tokio::time::interval_at(Instant::now() + FIRST.min(every), every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = tokio::time::interval(WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept_at: Option<Instant> = None;
        loop {
            let request = tokio::select! {
                _ = due.tick() => None,
                _ = watch.tick() => {
                    let is_recent = swept_at.is_some_and(|at| at.elapsed() < AGAIN);
                    if is_recent || self.shortage().await == 0 {
                        continue;
                    }
                    None
                }
                Some(request) = requests.0.recv() => Some(request),
            };
            let (dry_run, pause) = match &request {
                Some(request) => (request.dry_run, Duration::ZERO),
                None if self.shortage().await > 0 => (false, Duration::ZERO),
                None => (false, PAUSE),
            };
            let swept = self.sweep(dry_run, pause).await;
            swept_at = Some(Instant::now());
            if let Some(request) = request {
                // Whoever asked may be gone; what was removed is told in the log.
                drop(request.reply.send(swept));
            }
        }
    }

    async fn sweep(&self, dry_run: bool, pause: Duration) -> Result<Report, Error> {
        let began = Instant::now();
        let mode = Mode {
            dry_run,
            pause,
            grace: self.grace,
            shortage: self.shortage().await,
        };
        let sweep = Sweep::new(
            &self.bundles,
            &self.view,
            &self.settings,
            mode,
            clock::now(),
        );
        let swept = Box::pin(sweep.run()).await.map(|(report, used)| {
            self.quota.counted(used);
            Report {
                took: began.elapsed(),
                ..report
            }
        });
        match &swept {
            Ok(report) if report.dry_run => {}
            Ok(report) => {
                for kind in Kind::ALL {
                    let removed = report.removed.get(&kind).copied().unwrap_or_default();
                    let left = report.kept(kind).bytes;
                    let name = kind.as_str();
                    self.metrics
                        .swept(name, removed.objects, removed.bytes, left);
                }
                self.show_swept(report).await;
                if !report.removed.is_empty() {
                    tracing::info!(%report, elapsed_ms = report.took.as_millis(), "swept the bundle store");
                }
            }
            Err(error) => {
                let error = chain(error);
                tracing::warn!(error, "failed to sweep the bundle store");
                self.show(PartState::Degraded, error);
            }
        }
        swept
    }

    /// How much is to be freed of the disk of a store on this machine.
    async fn shortage(&self) -> u64 {
        let Some(folder) = self.bundles.folder().map(Path::to_owned) else {
            return 0;
        };
        let ask = self.space;
        let space = tokio::task::spawn_blocking(move || ask(&folder)).await;
        // Whoever writes to a disk that cannot be asked tells of it.
        let space = space.ok().and_then(Result::ok);
        space.map_or(0, |space| rules::shortage(self.settings.min_free, space))
    }

    async fn show_swept(&self, report: &Report) {
        if self.shortage().await > 0 {
            let detail = format!(
                "{report}; the disk has less than {} free and nothing more can go",
                self.settings.min_free
            );
            self.show(PartState::Degraded, detail);
        } else if report.failed > 0 {
            tracing::warn!(%report, "some objects of the bundle store cannot be removed");
            self.show(PartState::Degraded, report.to_string());
        } else {
            self.show(PartState::Up, report.to_string());
        }
    }

    fn show(&self, state: PartState, detail: impl Into<String>) {
        self.board.set(clock::now(), Part::Retention, state, detail);
    }
}
