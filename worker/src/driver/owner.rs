//! The one loop that owns the agent's state: step, commit, then act. Acts that need no commit begin at once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{self, Act, Attempt, Effects, Event, Orders, State};
use dopq_common::broker::Delivery;
use dopq_common::id::{AttemptId, Epoch};
use dopq_common::resources::GpuShare;
use dopq_common::wire::NumberedReport;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::perform;
use super::work::Work;
use crate::input::Input;
use crate::outbox::{Outbox, Report};
use crate::records::{self, Commit, Records};
use crate::standing;
use dopq_common::chain::chain;

/// A batch takes no more inputs once it has this many events. One message of orders can exceed it by a
/// few hundred.
const BATCH: usize = 512;
/// The core is told of the time at least this often.
const TICK: Duration = Duration::from_secs(10);
/// How long reports may take to go out when the worker ends on purpose.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The attempts whose container may be running, by id.
pub(crate) type Running = Arc<Vec<RunningAttempt>>;

/// An attempt whose container may be running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunningAttempt {
    pub(crate) id: AttemptId,
    pub(crate) container: Arc<str>,
    /// What it holds of GPUs.
    pub(crate) gpus: Vec<GpuShare>,
}

/// Owns the state.
pub(crate) struct Driver {
    work: Work,
    records: Records,
    outbox: Outbox,
    inputs: mpsc::Receiver<Input>,
    /// The containers that may be running.
    may_run: BTreeMap<AttemptId, Arc<str>>,
    running: watch::Sender<Running>,
}

impl Driver {
    /// With a state that was resumed from `records`.
    pub(crate) fn new(
        context: Arc<Context>,
        state: State,
        records: Records,
        outbox: Outbox,
        inputs: mpsc::Receiver<Input>,
    ) -> Self {
        let may_run = state.attempts().filter_map(|attempt| {
            let container = container_that_may_run(attempt)?;
            Some((attempt.id, Arc::clone(container)))
        });
        let driver = Self {
            may_run: may_run.collect(),
            work: Work::new(context, state),
            records,
            outbox,
            inputs,
            running: watch::Sender::default(),
        };
        driver.show_all_running();
        driver
    }

    /// Watches which containers may be running.
    pub(crate) fn running(&self) -> watch::Receiver<Running> {
        self.running.subscribe()
    }

    /// Takes one event outside the loop, at start and at the end.
    pub(crate) async fn take(&mut self, event: Event) -> Result<(), records::Error> {
        let mut batch = Batch::default();
        batch.step(self, Input::Core(event));
        let commit = self.commit(batch)?;
        self.settle(commit).await
    }

    /// Drives until `shutdown`, then says goodbye. Containers run on.
    ///
    /// While a batch is written, the next one is gathered.
    ///
    /// # Errors
    /// When the records cannot be written: nothing more is done then.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), records::Error> {
        let mut batch = Batch::default();
        let mut under_way: Option<UnderWay> = None;
        loop {
            if under_way.is_none() && !batch.is_empty() {
                under_way = Some(self.commit(std::mem::take(&mut batch))?);
            }
            let latest = self.work.context.clock.now().after(TICK);
            let due = self.work.state.next_deadline();
            let due = due.map_or(latest, |due| due.min(latest));
            let next = tokio::select! {
                written = written(&mut under_way) => {
                    written?;
                    if let Some(done) = under_way.take() {
                        self.act(done);
                    }
                    continue;
                }
                input = self.inputs.recv(), if batch.events < BATCH => match input {
                    Some(input) => input,
                    None => break,
                },
                () = tokio::time::sleep_until(self.work.context.clock.instant(due)) => {
                    Input::Core(Event::Ticked)
                }
                () = shutdown.cancelled() => break,
            };
            batch.step(&mut self, next);
            while batch.events < BATCH {
                let Ok(input) = self.inputs.try_recv() else {
                    break;
                };
                batch.step(&mut self, input);
            }
        }
        if let Some(commit) = under_way {
            self.settle(commit).await?;
        }
        let commit = self.commit(batch)?;
        self.settle(commit).await?;
        self.take(Event::Leaving).await?;
        self.outbox.drained(LAST_WORDS).await;
        Ok(())
    }

    /// Begins to write what the batch changed.
    fn commit(&self, batch: Batch) -> Result<UnderWay, records::Error> {
        let Batch {
            effects,
            deliveries,
            confirmed,
            events: _,
        } = batch;
        let changed: Vec<AttemptId> = effects.attempts.iter().copied().collect();
        let mut reports = Vec::with_capacity(effects.reports.len());
        for (seq, report) in effects.reports {
            tracing::debug!(report.seq = seq, ?report, "report");
            let report = Report::new(&NumberedReport {
                seq,
                at_ms: self.work.context.clock.now().as_millis(),
                report,
            });
            reports.push(report.map_err(records::Error::Encode)?);
        }
        let stored = reports.iter();
        let stored = stored.map(|report| (report.seq, report.json().as_bytes().to_vec()));
        let attempts = effects.attempts.into_iter();
        let commit = Commit {
            attempts: attempts
                .map(|id| (id, self.work.state.attempt(id).cloned()))
                .collect(),
            meta: effects.meta.then(|| *self.work.state.meta()),
            reports: stored.collect(),
            confirmed,
        };
        Ok(UnderWay {
            writing: Box::pin(self.records.clone().commit(commit)),
            changed,
            reports,
            deliveries,
            acts: effects.acts,
        })
    }

    /// Waits until it is written, and only then acts and acknowledges.
    async fn settle(&mut self, mut commit: UnderWay) -> Result<(), records::Error> {
        commit.writing.as_mut().await?;
        self.act(commit);
        Ok(())
    }

    /// Does what waited for the commit.
    fn act(&mut self, done: UnderWay) {
        self.outbox.push(done.reports);
        let deliveries = done.deliveries;
        if !deliveries.is_empty() {
            self.work.context.spawn(async move {
                let late = Delivery::ack_all(deliveries).await;
                if late > 0 {
                    // They come again and change nothing then.
                    tracing::debug!(late, "failed to acknowledge orders");
                }
            });
        }
        for act in done.acts {
            tracing::debug!(?act, "act");
            perform::perform(&mut self.work, act);
        }
        self.show_running(&done.changed);
    }

    /// Shows what the change of these attempts means for which containers may run. A worker remembers
    /// thousands of attempts that are over, so the others are not looked at.
    fn show_running(&mut self, changed: &[AttemptId]) {
        let mut differs = false;
        for &id in changed {
            let attempt = self.work.state.attempt(id);
            let container = attempt.and_then(container_that_may_run);
            differs |= self.may_run.get(&id) != container;
            match container {
                Some(container) => drop(self.may_run.insert(id, Arc::clone(container))),
                None => drop(self.may_run.remove(&id)),
            }
            // An attempt that is over has no tasks.
            if attempt.is_none_or(|attempt| attempt.stage.is_over()) {
                self.work.tasks.remove(&id);
            }
        }
        if differs {
            self.show_all_running();
        }
    }

    fn show_all_running(&self) {
        let running = self.may_run.iter().map(|(id, container)| {
            let attempt = self.work.state.attempt(*id);
            let run = attempt.and_then(|attempt| attempt.run.as_ref());
            RunningAttempt {
                id: *id,
                container: Arc::clone(container),
                gpus: run.map_or_else(Vec::new, |run| run.order.allocation.gpus.clone()),
            }
        });
        self.running.send_replace(Arc::new(running.collect()));
    }
}

fn container_that_may_run(attempt: &Attempt) -> Option<&Arc<str>> {
    attempt
        .stage
        .container()
        .filter(|_| attempt.stage.may_run())
}

/// A batch that is being written, and what is done then.
struct UnderWay {
    writing: Pin<Box<dyn Future<Output = Result<(), records::Error>> + Send>>,
    changed: Vec<AttemptId>,
    reports: Vec<Report>,
    deliveries: Vec<Delivery>,
    acts: Vec<Act>,
}

/// Opens and reads a message of orders; `None` when it is not a master's.
fn open(driver: &Driver, delivery: &Delivery) -> Option<Orders> {
    let options = &driver.work.context.options;
    agent::read(&options.key, &options.name, &delivery.body)
        .inspect_err(|error| {
            tracing::error!(error = chain(error), "dropped a message of orders");
        })
        .ok()
}

/// Waits until it is written; for ever when nothing is.
async fn written(under_way: &mut Option<UnderWay>) -> Result<(), records::Error> {
    match under_way {
        Some(commit) => commit.writing.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Inputs whose changes are committed together.
#[derive(Default)]
struct Batch {
    effects: Effects,
    deliveries: Vec<Delivery>,
    confirmed: Vec<u64>,
    events: usize,
}

impl Batch {
    /// Whether nothing is in it to be committed or acknowledged.
    fn is_empty(&self) -> bool {
        self.effects.nothing_to_commit()
            && self.effects.acts.is_empty()
            && self.deliveries.is_empty()
            && self.confirmed.is_empty()
    }

    fn step(&mut self, driver: &mut Driver, input: Input) {
        match input {
            Input::Core(event) => self.event(driver, event),
            Input::Confirmed(seqs) => self.confirmed.extend(seqs),
            Input::Orders(delivery) => match open(driver, &delivery) {
                Some(orders) if !driver.work.state.believes(orders.epoch) => {
                    let context = Arc::clone(&driver.work.context);
                    driver
                        .work
                        .context
                        .spawn(standing::check(context, delivery));
                }
                orders => self.orders(driver, delivery, orders),
            },
            Input::Checked { delivery, told } => {
                let orders = open(driver, &delivery);
                // A worker that knows no master and has never heard of a leadership believes the first one.
                let is_new = driver.work.state.meta().epoch == Epoch::default();
                let first = orders.as_ref().filter(|_| is_new);
                if let Some(epoch) = told.or_else(|| first.map(|orders| orders.epoch)) {
                    self.event(driver, Event::EpochTold(epoch));
                }
                let refused = orders
                    .as_ref()
                    .filter(|orders| !driver.work.state.believes(orders.epoch));
                if let Some(orders) = refused {
                    tracing::error!(
                        epoch = orders.epoch.0,
                        known = driver.work.state.meta().epoch.0,
                        "refused orders of a leadership that no master knows of; if there is one, set master_urls"
                    );
                }
                self.orders(driver, delivery, orders);
            }
        }
    }

    /// Takes what a message of orders holds. Also what is not understood is acknowledged: it would come again for ever.
    fn orders(&mut self, driver: &mut Driver, delivery: Delivery, orders: Option<Orders>) {
        self.deliveries.push(delivery);
        for order in orders.into_iter().flat_map(|orders| orders.orders) {
            match order {
                Ok(event) => self.event(driver, event),
                Err(error) => tracing::warn!(error = chain(&error), "dropped an order"),
            }
        }
    }

    fn event(&mut self, driver: &mut Driver, event: Event) {
        self.events += 1;
        let now = driver.work.context.clock.now();
        if let Err(why) = agent::step(&mut driver.work.state, now, event, &mut self.effects) {
            tracing::debug!(%why, "ignored an event");
        }
        for act in self.effects.acts.extract_if(.., |act| !act.needs_commit()) {
            tracing::debug!(?act, "act");
            perform::perform(&mut driver.work, act);
        }
    }
}
