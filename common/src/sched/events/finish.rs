//! How attempts and jobs end: what is tried again, what is over, and what follows from it.

use std::time::Duration;

use crate::id::{JobId, UserName};
use crate::job::{
    Active, Cause, Charge, ChargeEnd, Finished, Job, JobState, OnWorkerLoss, Outcome, Phase,
    Queued, Results, RetryRule, Stage, StopReason, write_down,
};
use crate::penalty::recency;
use crate::time::Timestamp;

use crate::sched::events::array;
use crate::sched::model::effect::Effect;
use crate::sched::state::core::DependencyStatus;
use crate::sched::state::step::Step;

/// How many times the first wait the longest wait before a further try is.
const BACKOFF_MAX: u32 = 100;

/// An attempt that has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) ran: Duration,
    pub(crate) log_bytes: Option<u64>,
    pub(crate) results: Option<Results>,
}

/// What follows from the end of an attempt.
enum Next {
    Over(Outcome),
    /// Queued again; the counters say on whose account.
    Again {
        retries: u32,
        faults: u32,
        wait: bool,
        avoid: bool,
    },
}

impl Next {
    /// Whether it runs again only because somebody took it from its machine, whatever its program made of that.
    fn is_by_eviction(&self, job: &Job) -> bool {
        let stopping = job.state.stage().and_then(Stage::stopping);
        match self {
            Self::Again { retries, .. } => {
                matches!(stopping, Some(StopReason::Evicted(_))) && *retries == job.retries_used
            }
            Self::Over(_) => false,
        }
    }
}

impl Step<'_> {
    /// The current attempt of the job has ended, or its machine is lost.
    pub(crate) fn attempt_ended(&mut self, id: JobId, ended: Ended) {
        let Some(job) = self.state.job(id) else {
            return;
        };
        let Some(active) = job.state.active().cloned() else {
            return;
        };
        let user = job.user.clone();
        let next = self.next(job, &ended.outcome);
        let charge_end = if next.is_by_eviction(job) {
            ChargeEnd::Refunded
        } else {
            ChargeEnd::of(&ended.outcome)
        };
        self.settle(&user);
        let charge = self.close_account(&user, &active, charge_end);
        match next {
            Next::Over(outcome) => {
                let ended = Ended { outcome, ..ended };
                self.over(id, ended, Some((active, charge)));
            }
            Next::Again {
                retries,
                faults,
                wait,
                avoid,
            } => {
                let tries = retries.max(faults);
                let not_before = wait.then(|| self.now.after(self.backoff(tries)));
                let avoid = avoid.then(|| active.worker.clone());
                let note = format!("{}: {}", ended.outcome.cause.as_str(), ended.outcome.detail);
                self.queue_again(id, not_before, avoid, note, |job| {
                    job.retries_used = retries;
                    job.faults = faults;
                    write_down(&mut job.charges, charge);
                });
            }
        }
    }

    /// Its machine did not take the attempt. That is nobody's failure: it is tried again for ever, ever
    /// more slowly, elsewhere where it can.
    pub(crate) fn attempt_refused(&mut self, id: JobId, reason: &str) {
        let Some(job) = self.state.job(id) else {
            return;
        };
        let Some(active) = job.state.active() else {
            return;
        };
        let note = format!("{} refused it: {reason}", active.worker);
        let not_before = self.now.after(self.backoff(job.last_attempt));
        let avoid = active.worker.clone();
        let (user, active) = (job.user.clone(), active.clone());
        self.settle(&user);
        let charge = self.close_account(&user, &active, ChargeEnd::Refunded);
        self.queue_again(id, Some(not_before), Some(avoid), note, |job| {
            write_down(&mut job.charges, charge);
        });
    }

    fn queue_again(
        &mut self,
        id: JobId,
        not_before: Option<Timestamp>,
        avoid: Option<crate::id::WorkerId>,
        note: String,
        edit: impl FnOnce(&mut Job),
    ) {
        let now = self.now;
        self.edit(id, |job| {
            // The line still names the attempt that it is about.
            job.enter(now, Phase::Queued, note);
            edit(job);
            job.state = JobState::Queued(Queued {
                since: now,
                not_before,
                hold: None,
                avoid,
            });
        });
        self.state.watch_mut().answered(id);
    }

    /// Ends a job that has no machine.
    pub(crate) fn finish(&mut self, id: JobId, outcome: Outcome) {
        let ended = Ended {
            outcome,
            ran: Duration::ZERO,
            log_bytes: None,
            results: None,
        };
        self.over(id, ended, None);
    }

    /// Ends a job for good, and those that can no longer start because of it.
    fn over(&mut self, id: JobId, ended: Ended, last: Option<(Active, Charge)>) {
        self.over_alone(id, ended, last);
        // A list instead of recursion, because chains of dependencies may be long.
        let mut over = self.over_with(id);
        while let Some((id, outcome)) = over.pop() {
            let job = self.state.job(id);
            if job.is_none_or(|job| job.state.is_finished()) {
                continue;
            }
            let end = Ended {
                outcome,
                ran: Duration::ZERO,
                log_bytes: None,
                results: None,
            };
            self.over_alone(id, end, None);
            over.extend(self.over_with(id));
        }
        self.bound_history();
    }

    /// The jobs that are over because this one is: those that waited for it in vain, and its array's.
    fn over_with(&mut self, id: JobId) -> Vec<(JobId, Outcome)> {
        let mut over = self.task_over(id);
        let dependents = self.state.index().dependents(id);
        over.extend(dependents.filter_map(|id| Some((id, self.impossible(id)?))));
        over
    }

    /// How a waiting job ends whose dependencies can no longer hold; `None` while they can.
    pub(crate) fn impossible(&self, id: JobId) -> Option<Outcome> {
        let job = self.state.job(id)?;
        let mut after = job.waits_after().iter();
        let failed =
            after.find(|d| self.state.dependency_status(**d) == DependencyStatus::Impossible)?;
        let finished = self.state.job(failed.job)?.state.finished()?;
        let cause = finished.outcome.cause.as_str();
        let detail = format!(
            "job {}, which had to succeed first, ended: {cause}",
            failed.job
        );
        Some(Outcome::new(Cause::DependencyFailed, detail))
    }

    fn over_alone(&mut self, id: JobId, ended: Ended, last: Option<(Active, Charge)>) {
        let now = self.now;
        let had_machine = last.is_some();
        let rule = ended.outcome.cause.retry_rule();
        let note = format!("{}: {}", ended.outcome.cause.as_str(), ended.outcome.detail);
        let (last, charge) = last.unzip();
        self.edit(id, |job| {
            job.enter(now, Phase::Finished, note);
            if let Some(charge) = charge {
                write_down(&mut job.charges, charge);
            }
            let mut finished = Finished {
                outcome: ended.outcome,
                at: now,
                last,
                ran: ended.ran,
                log_bytes: ended.log_bytes,
                results: ended.results,
                tasks: None,
            };
            array::close(job, &mut finished);
            job.state = JobState::Finished(Box::new(finished));
        });
        self.state.watch_mut().answered(id);
        if had_machine && rule != RetryRule::Infrastructure {
            self.charge_recency(id);
        }
        if let Some(job) = self.state.job(id).cloned() {
            self.act(Effect::Archive { job });
        }
    }

    fn charge_recency(&mut self, id: JobId) {
        let Some(user) = self.state.job(id).map(|job| job.user.clone()) else {
            return;
        };
        let before = self.state.meta().finished_jobs;
        let count = before.saturating_add(1);
        self.state.meta_mut().finished_jobs = count;
        self.effects.dirty.meta = true;
        self.edit_user(&user, |user| {
            let since = before.saturating_sub(user.recency_at);
            user.recency = recency::after_own(recency::decayed(user.recency, since));
            user.recency_at = count;
        });
    }

    pub(crate) fn history_cleared(&mut self, user: Option<UserName>, before: Timestamp) {
        let state = &*self.state;
        let theirs = |id: &JobId| {
            let of = |job: &Job| user.as_ref().is_none_or(|user| job.user == *user);
            state.job(*id).is_some_and(|job| of(job))
        };
        let history = state.index().history().iter();
        let old = history.take_while(|(at, _)| *at < before);
        let ids = old.map(|(_, id)| *id).filter(theirs);
        let drop: Vec<JobId> = ids
            .filter(|id| state.index().dependents(*id).next().is_none())
            .collect();
        for id in drop {
            self.state.drop_job(id);
            self.effects.dirty.jobs.insert(id);
        }
        self.act(Effect::ClearArchive { user, before });
    }

    /// Forgets the oldest finished jobs beyond the bound, but none that a waiting one still names.
    pub(crate) fn bound_history(&mut self) {
        let history = self.state.index().history();
        let excess = history
            .len()
            .saturating_sub(self.state.settings().history_max_jobs);
        if excess == 0 {
            return;
        }
        let ids = history.iter().map(|(_, id)| *id);
        let drop: Vec<JobId> = ids
            .filter(|id| self.state.index().dependents(*id).next().is_none())
            .take(excess)
            .collect();
        for id in drop {
            self.state.drop_job(id);
            self.effects.dirty.jobs.insert(id);
        }
    }

    fn next(&self, job: &Job, outcome: &Outcome) -> Next {
        let stopping = job.state.stage().and_then(Stage::stopping);
        let again = Next::Again {
            retries: job.retries_used,
            faults: job.faults,
            wait: false,
            avoid: matches!(stopping, Some(StopReason::Evicted(_))),
        };
        let over = || Next::Over(outcome.clone());
        match stopping {
            Some(reason @ (StopReason::Cancelled(_) | StopReason::TooManyFailed)) => {
                return match outcome.cause.retry_rule() {
                    // It ended by itself before the order reached it, and that is how it ended.
                    RetryRule::Never | RetryRule::UserBudget => over(),
                    RetryRule::Infrastructure | RetryRule::Requeue => {
                        let ordered = reason.outcome(job);
                        Next::Over(Outcome {
                            exit_code: outcome.exit_code,
                            detail: format!("{}; {}", ordered.detail, outcome.detail),
                            ..ordered
                        })
                    }
                };
            }
            Some(StopReason::Preempted | StopReason::Evicted(_))
                if outcome.exit_code == Some(crate::job::CHECKPOINTED) =>
            {
                return again;
            }
            // Whatever kept the machine from saying so, the order has been obeyed; a lost machine has not.
            Some(StopReason::Evicted(_)) if outcome.cause != Cause::WorkerLost => {
                match outcome.cause.retry_rule() {
                    RetryRule::Infrastructure | RetryRule::Requeue => return again,
                    // It ended by itself before the order reached it.
                    RetryRule::Never | RetryRule::UserBudget => {}
                }
            }
            // The run was long enough, whatever kept the machine from saying so.
            Some(StopReason::TimeLimit) if outcome.cause == Cause::WorkerLost => {
                return Next::Over(Outcome::new(Cause::TimeLimit, outcome.detail.clone()));
            }
            Some(StopReason::Preempted | StopReason::Evicted(_) | StopReason::TimeLimit) | None => {
            }
        }
        match outcome.cause.retry_rule() {
            RetryRule::Never => over(),
            RetryRule::UserBudget if job.retries_used < job.spec.retries => Next::Again {
                retries: job.retries_used + 1,
                faults: job.faults,
                wait: true,
                avoid: false,
            },
            RetryRule::UserBudget => over(),
            RetryRule::Infrastructure => {
                let may_repeat = outcome.cause != Cause::WorkerLost
                    || job.spec.on_worker_loss == OnWorkerLoss::Requeue;
                if may_repeat && job.faults < self.state.settings().infrastructure_retries {
                    Next::Again {
                        retries: job.retries_used,
                        faults: job.faults + 1,
                        wait: true,
                        avoid: true,
                    }
                } else {
                    over()
                }
            }
            RetryRule::Requeue => again,
        }
    }

    /// The longest wait before a further try.
    pub(crate) fn longest_backoff(&self) -> Duration {
        let first = self.state.settings().retry_backoff;
        first.saturating_mul(BACKOFF_MAX)
    }

    /// The wait before the try after so many.
    fn backoff(&self, tries: u32) -> Duration {
        let factor = 2_u32
            .saturating_pow(tries.saturating_sub(1))
            .min(BACKOFF_MAX);
        self.state.settings().retry_backoff.saturating_mul(factor)
    }
}
