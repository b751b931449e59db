//! A batch: inputs that are stepped one after another and committed together.
//!
//! Nothing here does I/O. [`mod@super::lead`] commits a batch and then finishes it.

use dopq_common::broker::Delivery;
use dopq_common::id::{Epoch, JobId};
use dopq_common::sched::{self, Effect, Effects, Event, Planner, Progress, Rejected, State};
use dopq_common::time::Timestamp;
use dopq_common::wire::AttemptPhase;

use super::answer::{Accepted, ActError};
use super::input::{Input, Reply, answer};
use crate::metrics::Metrics;
use crate::store::{self, AccountChange, AuditEntry, IngestMark};

/// A batch takes no more inputs once it has this many events: enough to spread a commit's cost, few enough
/// that the first of them does not wait for long. One message of reports can exceed it by a few hundred.
const EVENTS_MAX: usize = 512;

/// The batch so far.
#[derive(Debug, Default)]
pub(super) struct Batch {
    effects: Effects,
    accounts: Vec<AccountChange>,
    ingested: Vec<(IngestMark, JobId)>,
    audit: Vec<AuditEntry>,
    answers: Vec<Answer>,
    events: usize,
}

/// Senders to answer after the commit.
#[derive(Debug)]
enum Answer {
    Submitted(Reply<Accepted>, Result<Accepted, ActError>),
    Acted(Reply<()>, Result<(), ActError>),
    Reported(Delivery),
}

/// A committed batch: what remains to do.
#[derive(Debug)]
pub(super) struct Done {
    /// Effects to perform, in order.
    pub(super) acts: Vec<Effect>,
    /// Reports to acknowledge.
    pub(super) reports: Vec<Delivery>,
}

impl Batch {
    /// Steps one input.
    pub(super) fn take(
        &mut self,
        state: &mut State,
        now: Timestamp,
        input: Input,
        metrics: &Metrics,
    ) {
        self.events += 1;
        match input {
            Input::Submit {
                submission,
                mark,
                reply,
            } => {
                let result = self.submit(state, now, Event::Submitted(*submission));
                if let (Ok(accepted), Some(mark)) = (&result, mark) {
                    self.ingested.push((mark, accepted.job));
                }
                self.answers
                    .push(Answer::Submitted(reply, result.map_err(ActError::Rejected)));
            }
            Input::Act {
                event,
                audit,
                reply,
            } => {
                let result = sched::step(state, now, *event, &mut self.effects);
                if result.is_ok() {
                    self.audit.push(audit);
                }
                self.answers
                    .push(Answer::Acted(reply, result.map_err(ActError::Rejected)));
            }
            Input::Account {
                change,
                audit,
                reply,
            } => {
                self.accounts.push(change);
                self.audit.push(audit);
                self.answers.push(Answer::Acted(reply, Ok(())));
            }
            Input::Audit { audit, reply } => {
                self.audit.push(audit);
                self.answers.push(Answer::Acted(reply, Ok(())));
            }
            Input::Reports { events, delivery } => {
                // The input itself counts as one event.
                self.events += events.len().saturating_sub(1);
                for event in events {
                    self.report(state, now, event, metrics);
                }
                self.answers.push(Answer::Reported(delivery));
            }
        }
    }

    /// Whether the batch is large enough to spread a commit's cost.
    pub(super) const fn is_full(&self) -> bool {
        self.events >= EVENTS_MAX
    }

    fn report(&mut self, state: &mut State, now: Timestamp, event: Event, metrics: &Metrics) {
        let started = first_start(&event);
        match sched::step(state, now, event, &mut self.effects) {
            Ok(()) => {
                let job = started.and_then(|job| state.job(job));
                if let Some(job) = job {
                    metrics.queue_waited(now.since(job.submitted_at));
                }
            }
            Err(rejected) => count_rejected(&rejected, metrics),
        }
    }

    /// Steps an internal event. Nobody waits for its answer.
    pub(super) fn note(&mut self, state: &mut State, now: Timestamp, event: Event) {
        if let Err(rejected) = sched::step(state, now, event, &mut self.effects) {
            tracing::debug!(%rejected, "the scheduler rejected an internal event");
        }
    }

    /// Plans once for all that was stepped.
    pub(super) fn schedule(&mut self, planner: &mut Planner, state: &mut State, now: Timestamp) {
        planner.schedule(state, now, &mut self.effects);
    }

    fn submit(
        &mut self,
        state: &mut State,
        now: Timestamp,
        event: Event,
    ) -> Result<Accepted, Rejected> {
        let before = self.effects.acts.len();
        sched::step(state, now, event, &mut self.effects)?;
        let acts = self.effects.acts.iter().skip(before);
        acts.filter_map(accepted).next().ok_or_else(|| {
            Rejected::Invalid("the scheduler created no job for the submission".to_owned())
        })
    }

    /// The transaction to commit; `None` if nothing changed.
    pub(super) fn to_commit(&self, state: &State, epoch: Epoch, seq: u64) -> Option<store::Batch> {
        let batch = store::Batch {
            epoch,
            seq,
            changes: state.changes(&self.effects.dirty),
            accounts: self.accounts.clone(),
            ingested: self.ingested.clone(),
            audit: self.audit.clone(),
        };
        let empty = batch.changes.is_empty()
            && batch.accounts.is_empty()
            && batch.ingested.is_empty()
            && batch.audit.is_empty();
        (!empty).then_some(batch)
    }

    /// After the commit: answers all senders and returns what remains to do.
    pub(super) fn finish(self) -> Done {
        let mut reports = Vec::new();
        for due in self.answers {
            match due {
                Answer::Submitted(reply, result) => answer(reply, result),
                Answer::Acted(reply, result) => answer(reply, result),
                Answer::Reported(delivery) => reports.push(delivery),
            }
        }
        Done {
            acts: self.effects.acts,
            reports,
        }
    }

    /// Instead of a commit, when its result is unknown. The broker redelivers the reports.
    pub(super) fn abandon(self, why: &str) {
        for due in self.answers {
            let error = ActError::Unavailable(why.to_owned());
            match due {
                Answer::Submitted(reply, _) => answer(reply, Err(error)),
                Answer::Acted(reply, _) => answer(reply, Err(error)),
                Answer::Reported(delivery) => drop(delivery),
            }
        }
    }
}

fn accepted(act: &Effect) -> Option<Accepted> {
    match act {
        Effect::Accepted { job, new } => Some(Accepted {
            job: *job,
            new: *new,
        }),
        Effect::Run { .. }
        | Effect::Stop { .. }
        | Effect::Forget { .. }
        | Effect::Archive { .. }
        | Effect::ClearArchive { .. } => None,
    }
}

/// The job, if `event` reports the start of its first attempt's container.
fn first_start(event: &Event) -> Option<JobId> {
    match event {
        Event::Reported {
            attempt,
            progress:
                Progress::Entered {
                    phase: AttemptPhase::Running,
                    ..
                },
            ..
        } if attempt.number == 1 => Some(attempt.job),
        _ => None,
    }
}

fn count_rejected(rejected: &Rejected, metrics: &Metrics) {
    tracing::debug!(%rejected, "a report changed nothing");
    match rejected {
        Rejected::NameTaken { .. } => {
            tracing::error!(%rejected, "two workers have one name; give one of them another");
            metrics.fenced("name_taken");
        }
        Rejected::Stale(_) => metrics.fenced("stale_report"),
        Rejected::Repeated(_) => metrics.fenced("repeated_report"),
        Rejected::NoSuchJob(_)
        | Rejected::NoSuchWorker(_)
        | Rejected::NoSuchGroup(_)
        | Rejected::GroupInUse { .. }
        | Rejected::AlreadyFinished { .. }
        | Rejected::NotQueued { .. }
        | Rejected::NotActive { .. }
        | Rejected::NeverFits(_)
        | Rejected::Guarded(_)
        | Rejected::KeyUsed(_)
        | Rejected::Invalid(_) => metrics.fenced("refused_report"),
    }
}
