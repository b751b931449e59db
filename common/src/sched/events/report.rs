//! What workers report on attempts. What is not about the current attempt of its worker is stale, and its
//! worker is told to clean up; what the job's state has passed is a repetition.

use std::time::Duration;

use crate::id::{AttemptId, JobId, WorkerId};
use crate::job::{Cause, Job, JobState, Outcome, Phase, Stage};
use crate::telemetry::{Measured, write_down};
use crate::wire::AttemptPhase;

use crate::sched::events::finish::Ended;
use crate::sched::model::effect::Effect;
use crate::sched::model::event::{Progress, Rejected};
use crate::sched::state::step::Step;

impl Step<'_> {
    pub(crate) fn reported(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        progress: Progress,
    ) -> Result<(), Rejected> {
        if !self.is_current(&worker, attempt) {
            let is_over = match &progress {
                Progress::Finished { .. } | Progress::Refused { .. } => true,
                Progress::Accepted => false,
                // What follows tells whether it is over.
                Progress::Measured(_) => return Err(Rejected::Stale(attempt)),
                Progress::Entered { phase, .. } => match phase {
                    // It is ending as it is; a further order would change nothing.
                    AttemptPhase::Stopping | AttemptPhase::Uploading => {
                        return Err(Rejected::Stale(attempt));
                    }
                    AttemptPhase::Accepted
                    | AttemptPhase::Building
                    | AttemptPhase::Running
                    | AttemptPhase::Paused => false,
                },
            };
            let is_over = is_over || self.has_ended_with(&worker, attempt);
            self.clean_up(worker, attempt, is_over);
            return Err(Rejected::Stale(attempt));
        }
        match progress {
            Progress::Accepted => self.entered(attempt, AttemptPhase::Accepted, String::new()),
            Progress::Entered { phase, note } => self.entered(attempt, phase, note),
            Progress::Refused { reason } => self.refused(worker, attempt, &reason),
            Progress::Measured(measured) => {
                let measured = Measured {
                    attempt: attempt.number,
                    ..measured.bounded()
                };
                self.edit(attempt.job, |job| write_down(&mut job.measured, measured));
                Ok(())
            }
            Progress::Finished {
                outcome,
                ran,
                log_bytes,
                results,
            } => {
                let ended = Ended {
                    outcome,
                    ran,
                    log_bytes: Some(log_bytes),
                    results,
                };
                self.attempt_ended(attempt.job, ended);
                self.act(Effect::Forget { worker, attempt });
                Ok(())
            }
        }
    }

    fn is_current(&self, worker: &WorkerId, attempt: AttemptId) -> bool {
        let job = self.state.job(attempt.job);
        let current = job.and_then(|job| job.attempt().zip(job.state.active()));
        current.is_some_and(|(current, active)| current == attempt && active.worker == *worker)
    }

    /// Whether the job ended with this very attempt, so that its worker has said all there is to say.
    fn has_ended_with(&self, worker: &WorkerId, attempt: AttemptId) -> bool {
        let job = self.job_of(attempt);
        let last = job.and_then(|job| job.state.finished()?.last.as_ref());
        last.is_some_and(|last| last.attempt == attempt.number && last.worker == *worker)
    }

    /// The job that the attempt is of; `None` when the job with this id is another one.
    fn job_of(&self, attempt: AttemptId) -> Option<&Job> {
        let job = self.state.job(attempt.job)?;
        (job.key == attempt.key).then(|| job.as_ref())
    }

    /// Tells a worker what to do with an attempt that is not current there.
    pub(crate) fn clean_up(&mut self, worker: WorkerId, attempt: AttemptId, is_over: bool) {
        let effect = if is_over {
            Effect::Forget { worker, attempt }
        } else {
            let job = self.job_of(attempt);
            let outcome = match job.and_then(|job| job.state.finished()) {
                Some(finished) => finished.outcome.clone(),
                None => Outcome::new(
                    Cause::WorkerLost,
                    "the attempt was given up while its machine was silent",
                ),
            };
            Effect::Stop {
                worker,
                attempt,
                outcome,
                grace: job.map(|job| job.spec.grace).unwrap_or_default(),
                insists: false,
            }
        };
        self.act(effect);
    }

    fn refused(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        reason: &str,
    ) -> Result<(), Rejected> {
        let Some(job) = self.state.job(attempt.job) else {
            return Err(Rejected::Stale(attempt));
        };
        let ended = |outcome| Ended {
            outcome,
            ran: Duration::ZERO,
            log_bytes: None,
            results: None,
        };
        let Some(stage) = job.state.stage() else {
            return Err(Rejected::Stale(attempt));
        };
        match stage {
            Stage::Assigned => {
                self.attempt_refused(attempt.job, reason);
                self.act(Effect::Forget { worker, attempt });
            }
            // Nothing ran, so that the stop has been obeyed.
            Stage::Stopping(stop) => {
                let outcome = stop.outcome(job);
                self.attempt_ended(attempt.job, ended(outcome));
                self.act(Effect::Forget { worker, attempt });
            }
            // A refusal is the last word on an attempt: a machine that says so of what it had begun has lost its
            // records of it.
            Stage::Building | Stage::Running | Stage::Paused | Stage::Publishing => {
                let detail = format!("{worker} had begun it and then refused it: {reason}");
                let outcome = Outcome::new(Cause::WorkerLost, detail);
                self.attempt_ended(attempt.job, ended(outcome));
                // Should the refusal be the older word after all, what runs there must end.
                self.clean_up(worker, attempt, false);
            }
        }
        Ok(())
    }

    /// Brings a current attempt to the phase that its worker says it is in. Phases only go forward,
    /// except between running and paused.
    pub(crate) fn entered(
        &mut self,
        attempt: AttemptId,
        phase: AttemptPhase,
        note: String,
    ) -> Result<(), Rejected> {
        let id = attempt.job;
        let repeated = Err(Rejected::Repeated(attempt));
        let state = self.state.job(id).map(|job| &job.state);
        let Some(JobState::Active(active, stage)) = state else {
            return Err(Rejected::Stale(attempt));
        };
        match (stage, phase) {
            (Stage::Assigned, AttemptPhase::Accepted) => {
                if active.confirmed {
                    return repeated;
                }
                self.confirm(id);
                Ok(())
            }
            (Stage::Assigned, AttemptPhase::Building) => {
                self.advance(id, Stage::Building, note);
                Ok(())
            }
            (Stage::Assigned | Stage::Building | Stage::Paused, AttemptPhase::Running) => {
                self.advance(id, Stage::Running, note);
                Ok(())
            }
            (Stage::Assigned | Stage::Building | Stage::Running, AttemptPhase::Paused) => {
                self.advance(id, Stage::Paused, note);
                Ok(())
            }
            (
                Stage::Assigned | Stage::Building | Stage::Running | Stage::Paused,
                AttemptPhase::Stopping,
            ) => {
                let note = if note.is_empty() {
                    "stopping".to_owned()
                } else {
                    note
                };
                self.remark(id, attempt, note)
            }
            (
                Stage::Assigned | Stage::Building | Stage::Running | Stage::Paused,
                AttemptPhase::Uploading,
            ) => {
                self.release(id, note);
                Ok(())
            }
            (Stage::Stopping(_), AttemptPhase::Uploading) if active.ended_at.is_none() => {
                self.release(id, note);
                Ok(())
            }
            (Stage::Stopping(_), phase) => {
                let started = match phase {
                    AttemptPhase::Running | AttemptPhase::Paused => true,
                    AttemptPhase::Accepted
                    | AttemptPhase::Building
                    | AttemptPhase::Stopping
                    | AttemptPhase::Uploading => false,
                };
                if active.confirmed && (active.started_at.is_some() || !started) {
                    return repeated;
                }
                let now = self.now;
                self.edit(id, |job| {
                    if let JobState::Active(active, _) = &mut job.state {
                        active.confirmed = true;
                        if started {
                            active.started_at.get_or_insert(now);
                        }
                    }
                });
                Ok(())
            }
            // What it needs is not there yet, and its machine says why.
            (Stage::Building, AttemptPhase::Building) if !note.is_empty() => {
                self.remark(id, attempt, note)
            }
            (Stage::Publishing, _) => repeated,
            (Stage::Building, AttemptPhase::Accepted | AttemptPhase::Building)
            | (
                Stage::Running,
                AttemptPhase::Accepted | AttemptPhase::Building | AttemptPhase::Running,
            )
            | (
                Stage::Paused,
                AttemptPhase::Accepted | AttemptPhase::Building | AttemptPhase::Paused,
            ) => repeated,
        }
    }

    fn confirm(&mut self, id: JobId) {
        self.edit(id, |job| {
            if let JobState::Active(active, _) = &mut job.state {
                active.confirmed = true;
            }
        });
        self.state.watch_mut().answered(id);
    }

    fn advance(&mut self, id: JobId, next: Stage, note: String) {
        let now = self.now;
        self.edit(id, |job| {
            let JobState::Active(active, stage) = &mut job.state else {
                return;
            };
            active.confirmed = true;
            if next.is_running() {
                active.started_at.get_or_insert(now);
            }
            let phase = next.phase();
            *stage = next;
            job.enter(now, phase, note);
        });
        self.state.watch_mut().answered(id);
    }

    /// Its container has ended: what it held is free for others, and its user is charged no more.
    fn release(&mut self, id: JobId, note: String) {
        let Some(user) = self.state.job(id).map(|job| job.user.clone()) else {
            return;
        };
        self.settle(&user);
        let now = self.now;
        self.edit(id, |job| {
            let JobState::Active(active, stage) = &mut job.state else {
                return;
            };
            active.confirmed = true;
            active.ended_at.get_or_insert(now);
            if stage.stopping().is_none() {
                *stage = Stage::Publishing;
            }
            let note = if note.is_empty() {
                "the container ended; its log and results are being stored".to_owned()
            } else {
                note
            };
            job.enter(now, Phase::Publishing, note);
        });
        let stopping = self
            .state
            .job(id)
            .and_then(|job| job.state.stage()?.stopping());
        if stopping.is_none() {
            self.state.watch_mut().answered(id);
        }
    }

    /// Writes a line into the timeline without a change of state; once.
    fn remark(&mut self, id: JobId, attempt: AttemptId, note: String) -> Result<(), Rejected> {
        let is_last = |job: &Job| job.timeline.last().is_some_and(|last| last.note == note);
        if self.state.job(id).is_none_or(|job| is_last(job)) {
            return Err(Rejected::Repeated(attempt));
        }
        let now = self.now;
        self.edit(id, |job| {
            let phase = job.state.phase();
            job.enter(now, phase, note);
        });
        Ok(())
    }
}
