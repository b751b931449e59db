//! What came of the acts: the way of an attempt from its bundle to its reported end.

use std::sync::Arc;
use std::time::Duration;

use crate::id::AttemptId;
use crate::job::{Cause, Outcome};
use crate::resources::ByteSize;
use crate::time::Timestamp;
use crate::wire::Report;

use super::effect::Act;
use super::event::{Created, Rejected, StartFault, Status, Stored};
use super::exit::{Ender, Exit, blame_gpu_memory, classify, without_checkpoint};
use super::state::{Ended, Stage};
use super::step::Step;

impl Step<'_> {
    pub(super) fn fetched(&mut self, id: AttemptId) -> Result<(), Rejected> {
        let Stage::Fetching = self.get(id)?.stage else {
            return Err(self.stale(id));
        };
        self.enter(id, Stage::Building, "");
        self.act(Act::Build(id));
        Ok(())
    }

    pub(super) fn image_ready(&mut self, id: AttemptId, image: Arc<str>) -> Result<(), Rejected> {
        let Stage::Building = self.get(id)?.stage else {
            return Err(self.stale(id));
        };
        let stage = Stage::Creating {
            image: Arc::clone(&image),
        };
        self.enter(id, stage, "");
        self.act(Act::Create { attempt: id, image });
        Ok(())
    }

    /// Tells the masters why the attempt does not go on; it stays where it is.
    pub(super) fn preparation_delayed(
        &mut self,
        id: AttemptId,
        note: String,
    ) -> Result<(), Rejected> {
        let attempt = self.get(id)?;
        let phase = attempt.stage.phase();
        match phase {
            Some(phase) if attempt.stage.is_preparing() && attempt.stop.is_none() => {
                self.report(Report::Entered {
                    attempt: id,
                    phase,
                    note,
                });
                Ok(())
            }
            Some(_) | None => Err(self.stale(id)),
        }
    }

    pub(super) fn preparation_failed(
        &mut self,
        id: AttemptId,
        outcome: Outcome,
    ) -> Result<(), Rejected> {
        let attempt = self.get(id)?;
        if !attempt.stage.is_preparing() {
            return Err(self.stale(id));
        }
        let stop = attempt.stop.as_ref();
        let outcome = stop.map_or(outcome, |stop| stop.outcome.clone());
        self.finish(id, None, false, Ended::new(outcome, 0));
        Ok(())
    }

    pub(super) fn created(&mut self, id: AttemptId, created: Created) -> Result<(), Rejected> {
        let Stage::Creating { .. } = self.get(id)?.stage else {
            return Err(self.stale(id));
        };
        let Created { container, found } = created;
        let stop = self.get(id)?.stop.clone();
        let started = match found {
            None | Some(Status::Created) => None,
            Some(status @ (Status::Running { .. } | Status::Paused { .. } | Status::Exited(_))) => {
                Some(status)
            }
        };
        if let (Some(stop), None) = (&stop, &started) {
            self.finish_as_ordered(id, stop, Some(container));
            return Ok(());
        }
        let stage = Stage::Starting {
            container: Arc::clone(&container),
            since: self.now,
            look_at: None,
        };
        self.enter(id, stage, "");
        match started {
            None => {
                self.act(Act::Start {
                    attempt: id,
                    container,
                });
                Ok(())
            }
            // The record is older than the container: it was started already, and is not started again.
            Some(status) => self.inspected(id, Some(status)),
        }
    }

    pub(super) fn started(
        &mut self,
        id: AttemptId,
        at: Timestamp,
        note: &str,
    ) -> Result<(), Rejected> {
        let Stage::Starting { container, .. } = &self.get(id)?.stage else {
            return Err(self.stale(id));
        };
        let container = Arc::clone(container);
        self.runs(id, container, at, (false, note));
        Ok(())
    }

    pub(super) fn start_failed(
        &mut self,
        id: AttemptId,
        fault: StartFault,
    ) -> Result<(), Rejected> {
        let attempt = self.get(id)?;
        let Stage::Starting {
            container, since, ..
        } = &attempt.stage
        else {
            return Err(self.stale(id));
        };
        let (container, since) = (Arc::clone(container), *since);
        match fault {
            StartFault::Refused(outcome) => {
                let stop = attempt.stop.as_ref();
                let outcome = stop.map_or(outcome, |stop| stop.outcome.clone());
                self.finish(id, Some(container), true, Ended::new(outcome, 0));
            }
            StartFault::Removed { image } => match attempt.stop.clone() {
                Some(stop) => self.finish_as_ordered(id, &stop, None),
                None => {
                    let stage = Stage::Creating {
                        image: Arc::clone(&image),
                    };
                    self.enter(id, stage, "");
                    self.act(Act::Create { attempt: id, image });
                }
            },
            StartFault::Unclear => {
                let stage = Stage::Starting {
                    container: Arc::clone(&container),
                    since,
                    look_at: Some(self.now.after(self.state.settings.look_every)),
                };
                self.enter(id, stage, "");
                self.act(Act::Inspect {
                    attempt: id,
                    container,
                });
            }
        }
        Ok(())
    }

    pub(super) fn inspected(
        &mut self,
        id: AttemptId,
        status: Option<Status>,
    ) -> Result<(), Rejected> {
        let (container, since) = match &self.get(id)?.stage {
            Stage::Starting {
                container, since, ..
            }
            | Stage::Running { container, since }
            | Stage::Paused { container, since }
            | Stage::Stopping {
                container, since, ..
            } => (Arc::clone(container), *since),
            _ => return Err(self.stale(id)),
        };
        match (self.get(id)?.stage.clone(), status) {
            (_, Some(Status::Exited(exit))) => self.exited(id, container, exit),
            (_, None) => self.gone(id, since),
            (Stage::Starting { look_at, .. }, Some(Status::Created)) => {
                return self.still_created(id, container, since, look_at);
            }
            (Stage::Starting { .. }, Some(Status::Running { since })) => {
                self.runs(id, container, since, (false, ""));
            }
            (Stage::Starting { .. }, Some(Status::Paused { since })) => {
                self.runs(id, container, since, (true, ""));
            }
            (Stage::Running { .. }, Some(Status::Paused { .. })) => {
                self.enter(id, Stage::Paused { container, since }, "");
            }
            (Stage::Paused { .. }, Some(Status::Running { .. })) => {
                self.enter(id, Stage::Running { container, since }, "");
            }
            (_, Some(_)) => return Err(Rejected::Repeated(id)),
        }
        Ok(())
    }

    /// A container whose start was asked for and which still shows as never started.
    fn still_created(
        &mut self,
        id: AttemptId,
        container: Arc<str>,
        since: Timestamp,
        look_at: Option<Timestamp>,
    ) -> Result<(), Rejected> {
        if look_at.is_none() {
            // The start is still under way and will answer.
            return Err(Rejected::Repeated(id));
        }
        let settings = self.state.settings;
        let given_up = self.now.since(since) >= settings.unclear_for;
        let stop = self.get(id)?.stop.clone();
        match stop {
            Some(stop) => self.finish_as_ordered(id, &stop, Some(container)),
            None if given_up => {
                let detail = "the engine did not confirm the container's start";
                let outcome = Outcome::new(Cause::EngineError, detail);
                self.finish(id, Some(container), true, Ended::new(outcome, 0));
            }
            None => {
                let stage = Stage::Starting {
                    container,
                    since,
                    look_at: Some(self.now.after(settings.look_every)),
                };
                self.enter(id, stage, "");
            }
        }
        Ok(())
    }

    /// It was started, by whatever way that is known; end it at once when it was told to meanwhile.
    fn runs(
        &mut self,
        id: AttemptId,
        container: Arc<str>,
        since: Timestamp,
        (paused, note): (bool, &str),
    ) {
        let ending = self
            .state
            .attempts
            .get(&id)
            .is_some_and(|a| a.stop.is_some());
        self.act(Act::Watch {
            attempt: id,
            container: Arc::clone(&container),
        });
        let running = Stage::Running {
            container: Arc::clone(&container),
            since,
        };
        self.enter(id, running, note);
        if ending {
            self.terminate(id, &container, since, paused);
        } else if paused {
            self.enter(id, Stage::Paused { container, since }, "");
        }
    }

    pub(super) fn exited(&mut self, id: AttemptId, container: Arc<str>, exit: Exit) {
        let Some(attempt) = self.state.attempts.get(&id) else {
            return;
        };
        let rebooted = attempt.boot != self.state.boot;
        let ender = match &attempt.stop {
            Some(stop) => Ender::Order(stop.outcome.clone()),
            None if !exit.is_doubtful() => Ender::Itself,
            None if rebooted => Ender::Reboot,
            None => {
                let verify = Act::Verify {
                    attempt: id,
                    container: Arc::clone(&container),
                };
                self.enter(id, Stage::Exited { container, exit }, "");
                self.act(verify);
                return;
            }
        };
        self.end(id, container, &exit, &ender);
    }

    pub(super) fn end(&mut self, id: AttemptId, container: Arc<str>, exit: &Exit, ender: &Ender) {
        let run = self.state.attempts.get(&id).and_then(|a| a.run.as_ref());
        let memory = run.map_or(ByteSize(0), |run| run.order.allocation.memory);
        let ended = Ended::new(classify(exit, ender, memory), exit.ran_ms());
        self.finish(id, Some(container), false, ended);
    }

    /// Its container is not there any more.
    pub(super) fn gone(&mut self, id: AttemptId, since: Timestamp) {
        let Some(attempt) = self.state.attempts.get(&id) else {
            return;
        };
        let outcome = match &attempt.stop {
            Some(stop) => stop.outcome.clone(),
            None if attempt.boot != self.state.boot => Outcome::new(
                Cause::WorkerLost,
                "the machine restarted and the container is gone",
            ),
            None => Outcome::new(
                Cause::EngineError,
                "something other than DoPQ removed its container",
            ),
        };
        let ran = self.now.since(since);
        let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        self.finish(id, None, false, Ended::new(outcome, ran_ms));
    }

    pub(super) fn verified(
        &mut self,
        id: AttemptId,
        engine_stopped: bool,
        oom_killed: bool,
    ) -> Result<(), Rejected> {
        let Stage::Exited {
            container,
            mut exit,
        } = self.get(id)?.stage.clone()
        else {
            return Err(self.stale(id));
        };
        exit.oom_killed |= oom_killed;
        let ender = if engine_stopped && !exit.ran_out_of_memory() {
            Ender::Engine
        } else {
            Ender::Itself
        };
        self.end(id, container, &exit, &ender);
        Ok(())
    }

    pub(super) fn froze(&mut self, id: AttemptId, frozen: bool) -> Result<(), Rejected> {
        let since = Timestamp::default();
        let status = if frozen {
            Status::Paused { since }
        } else {
            Status::Running { since }
        };
        if self.get(id)?.stage.is_running() {
            self.inspected(id, Some(status))
        } else {
            Err(self.stale(id))
        }
    }

    pub(super) fn uploaded(&mut self, id: AttemptId, stored: Stored) -> Result<(), Rejected> {
        let attempt = self.get(id)?;
        let Stage::Uploading {
            container, ended, ..
        } = &attempt.stage
        else {
            return Err(self.stale(id));
        };
        let unwanted = attempt.stop.as_ref().is_some_and(|stop| stop.forget);
        let container = container.clone();
        let lost = stored.results.as_ref().is_some_and(|r| r.lost.is_some());
        let outcome = blame_gpu_memory(ended.outcome.clone(), stored.gpu_memory.as_deref());
        let cancel = attempt.stop.as_ref().filter(|stop| stop.is_cancel());
        // A success whose results were given up because somebody cancelled it is none.
        let outcome = match cancel {
            Some(stop) if lost && outcome.cause == Cause::Succeeded => Outcome {
                exit_code: outcome.exit_code,
                detail: format!("{}; {}", stop.outcome.detail, outcome.detail),
                ..stop.outcome.clone()
            },
            Some(_) | None => outcome,
        };
        let outcome = without_checkpoint(outcome, stored.checkpoint_lost.as_deref());
        let outcome = match &stored.log_cut {
            Some(why) => Outcome {
                detail: format!("{}; the log is cut: {why}", outcome.detail),
                ..outcome
            },
            None => outcome,
        };
        let ended = Ended {
            outcome,
            ran_ms: ended.ran_ms,
            log_bytes: stored.log_bytes,
            results: stored.results,
            measured: stored.measured,
        };
        if unwanted {
            self.forget(id, container, ended);
            return Ok(());
        }
        self.finished(id, &ended);
        self.enter(id, Stage::Reported { container, ended }, "");
        Ok(())
    }

    /// A panic ends what waits for an answer. A container that runs needs none: its output is read again at its
    /// end, and the periodic look notices that.
    pub(super) fn task_failed(
        &mut self,
        id: AttemptId,
        detail: &str,
        log_bytes: u64,
    ) -> Result<(), Rejected> {
        let outcome = Outcome::new(Cause::EngineError, format!("the worker failed: {detail}"));
        match self.get(id)?.stage.clone() {
            Stage::Fetching | Stage::Building | Stage::Creating { .. } => {
                self.preparation_failed(id, outcome)
            }
            Stage::Starting { .. } => self.start_failed(id, StartFault::Unclear),
            Stage::Exited { container, exit } => {
                let outcome = Outcome {
                    exit_code: i32::try_from(exit.code).ok(),
                    ..outcome
                };
                let ended = Ended::new(outcome, exit.ran_ms());
                self.finish(id, Some(container), false, ended);
                Ok(())
            }
            Stage::Uploading {
                container, ended, ..
            } => {
                self.not_stored(id, container, ended, &outcome);
                let stored = Stored {
                    log_bytes,
                    ..Stored::default()
                };
                self.uploaded(id, stored)
            }
            Stage::Running { .. }
            | Stage::Paused { .. }
            | Stage::Stopping { .. }
            | Stage::Reported { .. }
            | Stage::Forgotten { .. }
            | Stage::Refused { .. } => Err(self.stale(id)),
        }
    }

    /// Its log or results may be missing: a success is none without them, and any other end stands.
    fn not_stored(
        &mut self,
        id: AttemptId,
        container: Option<Arc<str>>,
        mut ended: Ended,
        why: &Outcome,
    ) {
        if ended.outcome.cause == Cause::Succeeded {
            ended.outcome.cause = why.cause;
        }
        ended.outcome.detail = format!("{}; {}", ended.outcome.detail, why.detail);
        // Whoever was to remove it may not have done so.
        if let Some(container) = container.clone() {
            self.act(Act::Remove {
                attempt: id,
                container,
            });
        }
        let stage = Stage::Uploading {
            container,
            discard: false,
            ended,
        };
        self.enter(id, stage, "");
    }

    /// The grace of a stop that the agent itself decides on.
    pub(super) fn own_grace(&self, id: AttemptId) -> Duration {
        let run = self.state.attempts.get(&id).and_then(|a| a.run.as_ref());
        run.map_or(Duration::from_secs(10), |run| run.spec.grace)
    }
}
