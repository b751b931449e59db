//! The loop of ingest: looks, takes files and reports its status.

use dopq_common::chain::chain;
use dopq_common::id::UserName;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::examined::Examined;
use super::looks::{End, Looks};
use super::share::{Error, Share};
use super::space;
use super::submit::Submit;
use super::take::{Outcome, Taker};
use crate::bundles::Intake;
use crate::clock;
use crate::config::Ingest;
use crate::metrics::{Board, Metrics, Part, PartState};

/// Files taken concurrently. A large one does not delay small ones, and the disk is not overloaded.
const AT_ONCE: usize = 4;
/// The most ticks between attempts to list a failing share.
const SKIPPED_MAX: u32 = 30;

/// The dependencies of ingest.
#[derive(Debug, Clone)]
pub struct Parts<S> {
    /// Where bundles go.
    pub intake: Intake,
    /// Where jobs go.
    pub submit: S,
    /// Where it reports its status.
    pub board: Board,
    /// Where refusals are counted.
    pub metrics: Metrics,
}

/// Watches `url` until it is told to stop. Only the leading master may run it. Stopping it loses nothing.
///
/// # Errors
/// If the share cannot be opened. Later failures appear on the board and are tried again.
pub async fn run<S: Submit>(
    url: &str,
    settings: &Ingest,
    parts: Parts<S>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let share = Share::open(url, &settings.options).await?;
    let spool = parts.intake.spool_folder();
    let examined = Examined::open(spool).map_err(|source| Error::Folder {
        action: "read the notes in",
        path: spool.display().to_string(),
        source,
    })?;
    let watch = Watch {
        taker: Taker {
            share,
            intake: parts.intake,
            examined,
            submit: parts.submit,
            trust_executor_name: settings.trust_executor_name,
            keep_accepted: settings.keep_accepted,
            min_space: settings.min_space.0,
            names: Arc::default(),
        },
        board: parts.board,
        metrics: parts.metrics,
        looks: Looks::default(),
        welcomed: BTreeSet::new(),
        counts: Counts::default(),
        failures: 0,
        skip: 0,
    };
    watch.run(settings.poll, shutdown).await;
    Ok(())
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    rejected: u64,
    ignored: u64,
    last_error: Option<String>,
}

enum Event {
    Stop,
    Look,
    Ended(String, Outcome),
    Lost(tokio::task::JoinError),
}

struct Watch<S> {
    taker: Taker<S>,
    board: Board,
    metrics: Metrics,
    looks: Looks,
    /// Users whose folders were made, or were there.
    welcomed: BTreeSet<UserName>,
    counts: Counts,
    /// Failed listings in a row.
    failures: u32,
    /// Ticks until the next listing.
    skip: u32,
}

impl<S: Submit> Watch<S> {
    async fn run(mut self, interval: Duration, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut takes: JoinSet<(String, Outcome)> = JoinSet::new();
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => Event::Stop,
                Some(ended) = takes.join_next() => match ended {
                    Ok((path, outcome)) => Event::Ended(path, outcome),
                    Err(error) => Event::Lost(error),
                },
                _ = ticks.tick() => Event::Look,
            };
            match event {
                // Takes in progress are dropped, as in a crash.
                Event::Stop => return,
                Event::Look => self.look(&mut takes).await,
                Event::Ended(path, outcome) => self.ended(&path, outcome),
                Event::Lost(error) => tracing::error!(%error, "an ingest task was aborted"),
            }
        }
    }

    async fn look(&mut self, takes: &mut JoinSet<(String, Outcome)>) {
        if let Some(skip) = self.skip.checked_sub(1) {
            self.skip = skip;
            return;
        }
        let listing = match self.taker.share.list().await {
            Ok(listing) => listing,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.skip = (1_u32 << self.failures.min(8)).min(SKIPPED_MAX);
                let error = chain(&error);
                tracing::warn!(%error, "failed to list the share");
                let detail = format!("{}: {error}", self.taker.share.name());
                self.board
                    .set(clock::now(), Part::Ingest, PartState::Down, detail);
                return;
            }
        };
        self.failures = 0;
        self.welcome().await;
        self.counts.ignored = listing.ignored;
        let shortage = self.shortage();
        let room = match shortage {
            Some(_) => 0,
            None => AT_ONCE.saturating_sub(self.looks.taking()),
        };
        for take in self.looks.look(clock::now(), listing.zips, room) {
            let taker = self.taker.clone();
            takes.spawn(async move {
                // A file that causes a panic must not stay marked as being taken, nor stop the others.
                let outcome = AssertUnwindSafe(taker.take(&take)).catch_unwind().await;
                let defect = |_| Outcome::Open(End::Failed("internal error".to_owned()));
                (take.found.path, outcome.unwrap_or_else(defect))
            });
        }
        self.say(shortage);
    }

    /// Makes the folders of new users, so that they need only copy their bundles there.
    async fn welcome(&mut self) {
        for user in self.taker.submit.users() {
            if self.welcomed.contains(&user) {
                continue;
            }
            if let Err(error) = self.taker.share.welcome(&user).await {
                // A share that an administrator closed to us still works where the folders are.
                tracing::warn!(user.name = %user, error = chain(&error), "cannot make a user's folder on the share");
            }
            self.welcomed.insert(user);
        }
    }

    /// Why ingest takes nothing at all.
    fn shortage(&self) -> Option<String> {
        let mut folders = vec![self.taker.intake.spool_folder()];
        folders.extend(self.taker.intake.bundles().folder());
        space::shortage(&folders, 0, self.taker.min_space)
    }

    fn ended(&mut self, path: &str, outcome: Outcome) {
        let end = match outcome {
            Outcome::Accepted { job, new } => {
                tracing::info!(
                    job.id = job.0,
                    file = path,
                    new,
                    "accepted a bundle from the share"
                );
                self.counts.accepted = self.counts.accepted.saturating_add(1);
                End::Done
            }
            Outcome::Rejected(rules) => {
                tracing::info!(file = path, ?rules, "rejected a bundle on the share");
                self.counts.rejected = self.counts.rejected.saturating_add(1);
                for rule in rules {
                    self.metrics.bundle_rejected(rule);
                }
                End::Done
            }
            Outcome::Open(end) => {
                if let End::Failed(reason) = &end {
                    tracing::warn!(
                        file = path,
                        reason,
                        "cannot accept a bundle yet; trying again"
                    );
                    self.counts.last_error = Some(format!("{path}: {reason}"));
                }
                end
            }
        };
        self.looks.ended(clock::now(), path, end);
        self.say(self.shortage());
    }

    fn say(&self, shortage: Option<String>) {
        let mut detail = format!(
            "{}: {} accepted, {} rejected, {} waiting",
            self.taker.share.name(),
            self.counts.accepted,
            self.counts.rejected,
            self.looks.len()
        );
        if self.counts.ignored > 0 {
            let ignored = self.counts.ignored;
            detail = format!(
                "{detail}, {ignored} ignored (only zips and image tars in incoming/<user>/ become jobs)"
            );
        }
        let state = match (shortage, self.looks.failing()) {
            (Some(shortage), _) => {
                detail = format!("paused, {shortage}; {detail}");
                PartState::Degraded
            }
            (None, Some((count, first))) => {
                detail = format!("{detail}; {count} will be tried again, first {first}");
                PartState::Degraded
            }
            (None, None) => {
                if let Some(error) = &self.counts.last_error {
                    detail = format!("{detail}; last error: {error}");
                }
                PartState::Up
            }
        };
        self.board.set(clock::now(), Part::Ingest, state, detail);
    }
}
