//! Leading: the loop that owns the state from taking the lead until it ends.
//!
//! Each round gathers what is ready, steps it, commits it, shows it to readers, and only then answers those
//! who asked, acts on it, and acknowledges the reports. Holding the lease is left to [`crate::leader`].

use std::time::Duration;

use dopq_common::broker::{Broker, Link};
use dopq_common::chain::chain;
use dopq_common::id::Epoch;
use dopq_common::job::{Cause, ExpectedBy, Finished};
use dopq_common::sched::{Effect, Event, Planner, State};
use dopq_common::time::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::ActError;
use super::batch::Batch;
use super::commit::Committer;
use super::ended::Ended;
use super::handle::Handle;
use super::input::{Input, Inputs};
use super::settle::Settler;
use crate::archive;
use crate::bundles::Bundles;
use crate::clock::{self, Clock};
use crate::dispatch::{Dispatch, Orders};
use crate::keys::NodeKeys;
use crate::metrics::{Board, Metrics};
use crate::reports;
use crate::store::Store;
use crate::telemetry::Heard;
use crate::view::View;

/// How often time passes for the scheduler.
const TICK: Duration = Duration::from_millis(500);

/// A gap between two ticks that is this long was a standstill of this process or of the store, during
/// which no worker could be heard.
const STANDSTILL: Duration = Duration::from_secs(5);

/// How long an empty store's leader waits for the archive to tell it which ids were given out.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(3);

/// How long the tasks of a former leader may take to end before they are left to end by themselves.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The parts that leading works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The truth.
    pub store: Store,
    /// Orders out, reports in.
    pub broker: Broker,
    /// Where records are archived.
    pub bundles: Bundles,
    /// Opens reports and makes tokens.
    pub keys: NodeKeys,
    /// The cluster's name.
    pub cluster: String,
    /// Where workers reach the data plane, in the order to be tried.
    pub data_urls: Vec<String>,
    /// The most that the data plane takes as results.
    pub results_max_bytes: u64,
    /// The most that the data plane takes as a checkpoint.
    pub checkpoint_max_bytes: u64,
    /// How this master's own reports reach the owner.
    pub handle: Handle,
    /// Who was heard.
    pub heard: Heard,
    /// What is counted.
    pub metrics: Metrics,
    /// How the parts are doing.
    pub board: Board,
}

/// Leads with the state that the view shows, until it ends, and tells why.
pub async fn lead(
    parts: &Parts,
    inputs: &mut Inputs,
    lease_lost: &CancellationToken,
    shutdown: &CancellationToken,
) -> Ended {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let ended = {
        let mut leader = Leader::start(parts, &tasks, &stop);
        leader.run(inputs, lease_lost, shutdown).await
    };
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(END_WITHIN, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some tasks of the former leadership still run");
    }
    inputs.refuse_ready(|| ActError::NotLeader { leader_url: None });
    ended
}

struct Leader<'a> {
    parts: &'a Parts,
    view: &'a View,
    state: State,
    planner: Planner,
    epoch: Epoch,
    seq: u64,
    clock: Clock,
    committer: Committer,
    dispatch: Dispatch,
    settler: Settler,
}

impl<'a> Leader<'a> {
    fn start(parts: &'a Parts, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let view = parts.handle.view();
        let (state, epoch, seq) = view.read(|model| (model.state.clone(), model.epoch, model.seq));
        tasks.spawn(reports::run(
            parts.broker.clone(),
            reports::Intake {
                keys: parts.keys.clone(),
                handle: parts.handle.clone(),
                metrics: parts.metrics.clone(),
            },
            stop.clone(),
        ));
        let orders = Orders {
            broker: parts.broker.clone(),
            view: view.clone(),
            keys: parts.keys.clone(),
            cluster: parts.cluster.clone(),
            data_urls: parts.data_urls.clone(),
            results_max_bytes: parts.results_max_bytes,
            checkpoint_max_bytes: parts.checkpoint_max_bytes,
            epoch,
            metrics: parts.metrics.clone(),
        };
        let archive = archive::Options {
            bundles: parts.bundles.clone(),
            board: parts.board.clone(),
            epoch,
        };
        let mut clock = Clock::start(clock::now(), latest(&state), Instant::now());
        let now = clock.read(clock::now(), Instant::now());
        let dispatch = Dispatch::start(orders, archive, &state, now, tasks, stop);
        Self {
            parts,
            view,
            clock,
            state,
            planner: Planner::default(),
            epoch,
            seq,
            committer: Committer {
                store: parts.store.clone(),
                view: view.clone(),
                metrics: parts.metrics.clone(),
                board: parts.board.clone(),
            },
            dispatch,
            settler: Settler::start(tasks),
        }
    }

    async fn run(
        &mut self,
        inputs: &mut Inputs,
        lease_lost: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Ended {
        let mut link = self.parts.broker.link();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticked_at = Instant::now();
        let mut first = vec![Event::LeadershipAcquired];
        first.extend(self.ids_used().await);
        first
            .extend((!is_up(&link.borrow_and_update())).then_some(Event::BrokerLink { up: false }));
        let mut due = Due::Events(first);
        loop {
            let now = self.now();
            let batch = self.gather(now, due, inputs);
            if let Err(ended) = self.settle(batch, lease_lost).await {
                return ended;
            }
            due = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ended::Shutdown,
                () = lease_lost.cancelled() => return Ended::LeaseLost,
                Ok(()) = link.changed() => {
                    let up = is_up(&link.borrow_and_update());
                    Due::Events(vec![Event::BrokerLink { up }])
                }
                _ = ticks.tick() => {
                    let stood_still = ticked_at.elapsed() >= STANDSTILL;
                    ticked_at = Instant::now();
                    Due::Events(self.tick(stood_still, is_up(&link.borrow())))
                }
                input = inputs.next() => Due::Input(Box::new(input)),
            };
        }
    }

    /// What the archive tells an empty store of ids that were given out.
    async fn ids_used(&self) -> Option<Event> {
        if self.state.meta().last_job > 0 {
            return None;
        }
        let asked = archive::last_id(&self.parts.bundles);
        match tokio::time::timeout(ARCHIVE_PATIENCE, asked).await {
            Ok(Ok(last)) => last.map(|last| Event::IdsUsed { last }),
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::warn!(error, "the archive does not tell the last job id");
                None
            }
            Err(_) => {
                tracing::warn!("the archive does not tell the last job id in time");
                None
            }
        }
    }

    /// The events of one tick. Whoever was heard since the last one comes first, so that a standstill
    /// of ours does not make others look silent.
    fn tick(&self, stood_still: bool, link_up: bool) -> Vec<Event> {
        let mut events = Vec::new();
        if stood_still && link_up {
            tracing::warn!("this master was paused; no worker is counted as silent for that time");
            events.push(Event::BrokerLink { up: false });
            events.push(Event::BrokerLink { up: true });
        }
        let heard = self.parts.heard.take();
        events.extend(
            heard
                .into_iter()
                .map(|(worker, session)| Event::WorkerHeard { worker, session }),
        );
        events.push(Event::Ticked);
        events
    }

    fn gather(&mut self, now: Timestamp, due: Due, inputs: &mut Inputs) -> Batch {
        let began = Instant::now();
        let mut batch = Batch::default();
        let metrics = &self.parts.metrics;
        match due {
            Due::Input(input) => batch.take(&mut self.state, now, *input, metrics),
            Due::Events(events) => {
                for event in events {
                    batch.note(&mut self.state, now, event);
                }
            }
        }
        while !batch.is_full() {
            let Some(input) = inputs.ready() else { break };
            batch.take(&mut self.state, now, input, metrics);
        }
        batch.schedule(&mut self.planner, &mut self.state, now);
        metrics.scheduler_cycled(began.elapsed());
        batch
    }

    /// Commits the batch, shows it, answers, acts on it and acknowledges its reports, in this order.
    async fn settle(&mut self, batch: Batch, lease_lost: &CancellationToken) -> Result<(), Ended> {
        if let Some(commit) = batch.to_commit(&self.state, self.epoch, self.seq + 1) {
            if let Err(ended) = self.committer.commit(&commit, lease_lost).await {
                batch.abandon(&format!("{ended}; it is unknown whether this took effect"));
                return Err(ended);
            }
            self.seq = commit.seq;
            self.view.publish(&commit);
        }
        self.view.show_unstored(self.state.unstored());
        let done = batch.finish();
        for act in done.acts {
            self.count(&act);
            self.dispatch.perform(act, &self.state);
        }
        self.settler.acknowledge(done.reports);
        Ok(())
    }

    fn count(&self, act: &Effect) {
        match act {
            Effect::Accepted { new: true, .. } => self.parts.metrics.job_submitted(),
            Effect::Archive { job } => {
                if let Some(end) = job.state.finished() {
                    self.parts.metrics.job_finished(end.outcome.cause.as_str());
                    if let Some((by, ratio)) = estimated(end) {
                        self.parts.metrics.runtime_estimated(by.as_str(), ratio);
                    }
                }
            }
            Effect::Accepted { new: false, .. }
            | Effect::Run { .. }
            | Effect::Stop { .. }
            | Effect::Forget { .. }
            | Effect::ClearArchive { .. } => {}
        }
    }

    fn now(&mut self) -> Timestamp {
        self.clock.read(clock::now(), Instant::now())
    }
}

/// How many times as long as expected a job took, and what was expected by; `None` of one that did not
/// end by itself or of which nothing was expected.
fn estimated(end: &Finished) -> Option<(ExpectedBy, f64)> {
    let expected = end.last.as_ref()?.expected?;
    let ratio = end.ran.as_secs_f64() / expected.typical.as_secs_f64();
    let counts = end.outcome.cause == Cause::Succeeded && ratio.is_finite();
    counts.then_some((expected.by, ratio))
}

/// What begins a batch.
#[derive(Debug)]
enum Due {
    Events(Vec<Event>),
    Input(Box<Input>),
}

/// A blocked broker takes no heartbeats either, so silence means as little as when it is down.
fn is_up(link: &Link) -> bool {
    match link {
        Link::Up => true,
        Link::Down { .. } | Link::Blocked => false,
    }
}

/// The latest time that the state was dated with.
fn latest(state: &State) -> Timestamp {
    let dated = state
        .jobs()
        .filter_map(|job| job.timeline.last().map(|last| last.at));
    dated.max().unwrap_or_default()
}
