//! Takes one event: the entrance, the words that transitions are made of, and what orders do.
//!
//! What came of the acts is in `progress`; what the engine shows and the clock brings in `adopt`.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Epoch, GpuId, JobKey};
use crate::job::{Cause, Outcome};
use crate::time::Timestamp;
use crate::wire::{AttemptPhase, Order, Report};

use super::effect::{Act, Effects};
use super::event::{Event, Rejected};
use super::run::{Run, Unreadable};
use super::state::{Attempt, Ended, Stage, State, StopOrder};

/// Takes one event. An error means that nothing changed, except that an order which is rejected for another
/// reason than its age still tells of its epoch.
///
/// # Errors
/// [`Rejected`] for what is stale, repeated or unknown; that is normal and never a fault of the caller.
pub fn step(
    state: &mut State,
    now: Timestamp,
    event: Event,
    effects: &mut Effects,
) -> Result<(), Rejected> {
    let mut step = Step {
        state,
        now,
        effects,
    };
    match event {
        Event::Ordered {
            epoch,
            attempt,
            order,
        } => step.ordered(epoch, attempt, order),
        Event::Fetched(attempt) => step.fetched(attempt),
        Event::ImageReady { attempt, image } => step.image_ready(attempt, image),
        Event::PreparationDelayed { attempt, note } => step.preparation_delayed(attempt, note),
        Event::PreparationFailed { attempt, outcome } => step.preparation_failed(attempt, outcome),
        Event::ContainerCreated { attempt, created } => step.created(attempt, created),
        Event::ContainerStarted { attempt, at, note } => step.started(attempt, at, &note),
        Event::StartFailed { attempt, fault } => step.start_failed(attempt, fault),
        Event::Inspected { attempt, status } => step.inspected(attempt, status),
        Event::Verified {
            attempt,
            engine_stopped,
            oom_killed,
        } => step.verified(attempt, engine_stopped, oom_killed),
        Event::ContainerPaused(attempt) => step.froze(attempt, true),
        Event::ContainerUnpaused(attempt) => step.froze(attempt, false),
        Event::QuotaExceeded { attempt, outcome } => step.exceeded(attempt, outcome),
        Event::Uploaded { attempt, stored } => step.uploaded(attempt, stored),
        Event::TaskFailed {
            attempt,
            detail,
            log_bytes,
        } => step.task_failed(attempt, &detail, log_bytes),
        Event::Resumed { boot, containers } => {
            step.resumed(boot, &containers);
            Ok(())
        }
        Event::Listed { containers } => {
            step.listed(&containers);
            Ok(())
        }
        Event::GpusFound(gpus) => {
            step.gpus_found(gpus);
            Ok(())
        }
        Event::DiskFound { low } => {
            step.state.gate.disk_low = low;
            Ok(())
        }
        Event::LinkChanged { up } => {
            step.link_changed(up);
            Ok(())
        }
        Event::EpochTold(epoch) => {
            step.saw(epoch);
            Ok(())
        }
        Event::HelloDue(mut hello) => {
            hello.attempts = step.state.known();
            step.report(Report::Hello(hello));
            Ok(())
        }
        Event::Leaving => {
            step.report(Report::Goodbye);
            Ok(())
        }
        Event::Ticked => {
            step.ticked();
            Ok(())
        }
    }
}

/// One event's view of the state.
pub(super) struct Step<'a> {
    pub(super) state: &'a mut State,
    pub(super) now: Timestamp,
    pub(super) effects: &'a mut Effects,
}

impl Step<'_> {
    // Small words of which the transitions are made.

    pub(super) fn get(&self, id: AttemptId) -> Result<&Attempt, Rejected> {
        self.state.attempts.get(&id).ok_or(Rejected::Unknown(id))
    }

    pub(super) fn stale(&self, id: AttemptId) -> Rejected {
        match self.state.attempts.get(&id) {
            Some(attempt) => Rejected::Stale {
                attempt: id,
                stage: attempt.stage.as_str(),
            },
            None => Rejected::Unknown(id),
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.state.meta.seq += 1;
        self.effects.meta = true;
        self.effects.reports.push((self.state.meta.seq, report));
    }

    pub(super) fn act(&mut self, act: Act) {
        self.effects.acts.push(act);
    }

    /// Sets the stage, and reports when that is another phase to the masters.
    pub(super) fn enter(&mut self, id: AttemptId, stage: Stage, note: &str) {
        let boot = Arc::clone(&self.state.boot);
        let before = self.state.attempts.get(&id).and_then(|a| a.stage.phase());
        let after = stage.phase();
        let Some(attempt) = self.state.set_stage(id, stage) else {
            return;
        };
        attempt.boot = boot;
        self.effects.attempts.insert(id);
        if let Some(phase) = after
            && before != after
        {
            self.report(Report::Entered {
                attempt: id,
                phase,
                note: note.to_owned(),
            });
        }
    }

    /// It is over: store its log and results. `discard` is for a container that must never run.
    pub(super) fn finish(
        &mut self,
        id: AttemptId,
        container: Option<Arc<str>>,
        discard: bool,
        ended: Ended,
    ) {
        let discarded = container.clone().filter(|_| discard);
        let note = format!("{}: {}", ended.outcome.cause.as_str(), ended.outcome.detail);
        let stage = Stage::Uploading {
            container,
            discard: discarded.is_some(),
            ended,
        };
        self.enter(id, stage, &note);
        self.act(Act::Finish {
            attempt: id,
            discard: discarded,
        });
    }

    /// Ends it on the order that it has.
    pub(super) fn finish_as_ordered(
        &mut self,
        id: AttemptId,
        stop: &StopOrder,
        container: Option<Arc<str>>,
    ) {
        let ended = Ended::new(stop.outcome.clone(), 0);
        self.finish(id, container, true, ended);
    }

    pub(super) fn finished(&mut self, id: AttemptId, ended: &Ended) {
        if let Some(measured) = ended.measured.clone() {
            self.report(Report::Measured {
                attempt: id,
                measured,
            });
        }
        self.report(Report::Finished {
            attempt: id,
            outcome: ended.outcome.clone(),
            ran_ms: ended.ran_ms,
            log_bytes: ended.log_bytes,
            results: ended.results.clone(),
        });
    }

    // Orders.

    /// Notes a leadership, so that no earlier one is obeyed any more.
    fn saw(&mut self, epoch: Epoch) {
        if epoch > self.state.meta.epoch {
            self.state.meta.epoch = epoch;
            self.effects.meta = true;
        }
    }

    fn ordered(
        &mut self,
        epoch: Epoch,
        id: AttemptId,
        order: Result<Order, Unreadable>,
    ) -> Result<(), Rejected> {
        let highest = self.state.meta.epoch;
        if epoch < highest {
            return Err(Rejected::OldEpoch {
                given: epoch,
                highest,
            });
        }
        if !self.state.believes(epoch) {
            return Err(Rejected::EpochJump {
                given: epoch,
                highest,
            });
        }
        self.saw(epoch);
        match order {
            Ok(Order::Run(order)) => {
                self.ordered_run(id, Run::read(*order));
                Ok(())
            }
            Err(fault) => {
                self.ordered_run(id, Err(fault));
                Ok(())
            }
            Ok(Order::Stop {
                outcome,
                grace,
                insists,
            }) => {
                let stop = StopOrder {
                    outcome,
                    grace,
                    forget: false,
                    insists,
                };
                self.ordered_stop(id, stop)
            }
            Ok(Order::Pause) => {
                let Stage::Running { container, .. } = &self.get(id)?.stage else {
                    return Err(self.stale(id));
                };
                let container = Arc::clone(container);
                let attempt = id;
                self.act(Act::Pause { attempt, container });
                Ok(())
            }
            Ok(Order::Unpause) => {
                let Stage::Paused { container, .. } = &self.get(id)?.stage else {
                    return Err(self.stale(id));
                };
                let container = Arc::clone(container);
                let attempt = id;
                self.act(Act::Unpause { attempt, container });
                Ok(())
            }
            Ok(Order::Forget) => self.ordered_forget(id),
            // `read` drops it.
            Ok(Order::Unknown) => Ok(()),
        }
    }

    fn ordered_run(&mut self, id: AttemptId, run: Result<Run, Unreadable>) {
        if let Some(attempt) = self.state.attempts.get(&id) {
            // A repeat: say again what was said, and do nothing again.
            match &attempt.stage {
                Stage::Reported { ended, .. } | Stage::Forgotten { ended, .. } => {
                    let ended = ended.clone();
                    self.finished(id, &ended);
                }
                Stage::Refused { reason, .. } => {
                    let reason = reason.clone();
                    self.report(Report::Refused {
                        attempt: id,
                        reason,
                    });
                }
                open => {
                    let phase = open.phase();
                    self.report(Report::Accepted { attempt: id });
                    if let Some(phase) = phase {
                        self.report(Report::Entered {
                            attempt: id,
                            phase,
                            note: String::new(),
                        });
                    }
                }
            }
            return;
        }
        self.end_predecessors(id);
        let run = run
            .map_err(|fault| fault.to_string())
            .and_then(|run| self.admit(&run).map(|()| Arc::new(run)));
        let (run, stage) = match run {
            Ok(run) => {
                let stage = if run.needs_bundle() {
                    Stage::Fetching
                } else {
                    Stage::Building
                };
                (Some(run), stage)
            }
            Err(reason) => {
                self.report(Report::Refused {
                    attempt: id,
                    reason: reason.clone(),
                });
                let at = self.now;
                (None, Stage::Refused { reason, at })
            }
        };
        let fetch = stage == Stage::Fetching;
        let accepted = run.is_some();
        self.add(id, run, stage);
        if self.state.link_down_since.is_none() {
            self.state.meta.linked_at = self.now;
        }
        if accepted {
            self.report(Report::Accepted { attempt: id });
            self.report(Report::Entered {
                attempt: id,
                phase: AttemptPhase::Building,
                note: String::new(),
            });
            self.act(if fetch {
                Act::Fetch(id)
            } else {
                Act::Build(id)
            });
        }
    }

    /// Forgets the attempts of another job that had this job's number, in a store whose data was lost.
    fn end_predecessors(&mut self, id: AttemptId) {
        let of_number = |number, key| AttemptId { number, key, ..id };
        let all = of_number(0, JobKey([0; 16]))..=of_number(u32::MAX, JobKey([u8::MAX; 16]));
        let known = self.state.attempts.range(all).map(|(known, _)| *known);
        let others: Vec<_> = known.filter(|known| known.key != id.key).collect();
        for other in others {
            // One that is forgotten already stays so.
            drop(self.ordered_forget(other));
        }
    }

    fn add(&mut self, id: AttemptId, run: Option<Arc<Run>>, stage: Stage) {
        let attempt = Attempt {
            id,
            run,
            boot: Arc::clone(&self.state.boot),
            stop: None,
            cut: false,
            stage,
        };
        if !attempt.stage.is_over() {
            self.state.open.insert(id);
        }
        self.state.attempts.insert(id, attempt);
        self.effects.attempts.insert(id);
    }

    /// Why a new attempt cannot be taken on, if it cannot.
    fn admit(&self, run: &Run) -> Result<(), String> {
        let gate = &self.state.gate;
        if let Some(low) = &gate.disk_low {
            return Err(low.clone());
        }
        let asked = run.order.allocation.gpus.iter().map(|share| &share.id);
        let missing = asked
            .filter(|gpu| !gate.gpus.as_ref().is_none_or(|have| have.contains(gpu)))
            .map(GpuId::as_str)
            .collect::<Vec<_>>();
        if !missing.is_empty() {
            return Err(format!(
                "this worker has no GPU {} for jobs now",
                missing.join(", ")
            ));
        }
        Ok(())
    }

    fn ordered_stop(&mut self, id: AttemptId, stop: StopOrder) -> Result<(), Rejected> {
        let Some(attempt) = self.state.attempts.get(&id) else {
            // It never ran here. The record stays, so that a run order which comes late finds it over.
            let ended = Ended::new(stop.outcome, 0);
            self.finished(id, &ended);
            let container = None;
            self.add(id, None, Stage::Reported { container, ended });
            return Ok(());
        };
        match &attempt.stage {
            Stage::Reported { ended, .. } | Stage::Forgotten { ended, .. } => {
                let ended = ended.clone();
                self.finished(id, &ended);
                Ok(())
            }
            Stage::Refused { .. } => {
                let ended = Ended::new(stop.outcome, 0);
                self.finished(id, &ended);
                Ok(())
            }
            stage @ (Stage::Exited { .. } | Stage::Uploading { .. }) => {
                let storing = matches!(stage, Stage::Uploading { .. });
                let known = attempt.stop.as_ref();
                let cancelled = known.is_some_and(StopOrder::is_cancel);
                // The masters repeat the cancel that ended the container; only a user's own repeat means the storing.
                let is_meant = stop.forget || stop.is_cancel() && (!cancelled || stop.insists);
                let cut = storing && !attempt.cut && is_meant;
                if !stop.forget && !cut {
                    return Err(self.stale(id));
                }
                if let Some(attempt) = self.state.attempts.get_mut(&id) {
                    attempt.stop = Some(stop);
                    attempt.cut |= cut;
                    self.effects.attempts.insert(id);
                }
                if cut {
                    self.act(Act::Cut(id));
                }
                Ok(())
            }
            _ => {
                if attempt.stop.is_some() && !stop.forget {
                    return Err(Rejected::Repeated(id));
                }
                self.stop(id, stop);
                Ok(())
            }
        }
    }

    /// Ends what is under way, in whatever stage it is.
    pub(super) fn stop(&mut self, id: AttemptId, stop: StopOrder) {
        let Some(attempt) = self.state.attempts.get_mut(&id) else {
            return;
        };
        attempt.stop = Some(stop.clone());
        self.effects.attempts.insert(id);
        match attempt.stage.clone() {
            Stage::Fetching | Stage::Building => {
                self.act(Act::Abandon(id));
                self.finish_as_ordered(id, &stop, None);
            }
            Stage::Running { container, since } => self.terminate(id, &container, since, false),
            Stage::Paused { container, since } => self.terminate(id, &container, since, true),
            // The create or start that is under way answers first; then it ends as ordered.
            Stage::Creating { .. } | Stage::Starting { .. } => {}
            // It is ending already.
            _ => {}
        }
    }

    pub(super) fn terminate(
        &mut self,
        id: AttemptId,
        container: &Arc<str>,
        since: Timestamp,
        thaw: bool,
    ) {
        let stop = self.state.attempts.get(&id).and_then(|a| a.stop.as_ref());
        let grace = stop.map_or(Duration::ZERO, |stop| stop.grace);
        let stage = Stage::Stopping {
            container: Arc::clone(container),
            since,
            kill_at: self.now.after(grace),
        };
        let note = stop.map_or_else(String::new, |stop| stop.outcome.detail.clone());
        self.enter(id, stage, &note);
        self.act(Act::Terminate {
            attempt: id,
            container: Arc::clone(container),
            thaw,
        });
    }

    fn ordered_forget(&mut self, id: AttemptId) -> Result<(), Rejected> {
        match self.get(id)?.stage.clone() {
            Stage::Reported { container, ended } => {
                self.forget(id, container, ended);
                Ok(())
            }
            Stage::Forgotten { .. } | Stage::Refused { .. } => Err(Rejected::Repeated(id)),
            _ => {
                let detail = "the master abandoned this attempt";
                let stop = StopOrder {
                    outcome: Outcome::new(Cause::WorkerLost, detail),
                    grace: Duration::from_secs(10),
                    forget: true,
                    insists: false,
                };
                self.ordered_stop(id, stop)
            }
        }
    }

    pub(super) fn forget(&mut self, id: AttemptId, container: Option<Arc<str>>, ended: Ended) {
        let at = self.now;
        let ended = Ended {
            measured: None,
            ..ended
        };
        self.enter(id, Stage::Forgotten { ended, at }, "");
        if let Some(attempt) = self.state.attempts.get_mut(&id) {
            // A tombstone needs no more than its end.
            attempt.run = None;
            attempt.stop = None;
        }
        self.act(Act::Clean {
            attempt: id,
            container,
        });
    }
}
