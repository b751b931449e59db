//! Time: silent workers, time limits, retries that are due, locks that end, orders without an answer.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{JobId, WorkerId};
use crate::job::{Cause, JobState, Outcome, StopReason};

use crate::sched::events::finish::Ended;
use crate::sched::model::entities::{Health, Worker};
use crate::sched::model::event::Rejected;
use crate::sched::state::step::Step;

/// How much longer a worker may be silent that said goodbye.
const GOODBYE: Duration = Duration::from_secs(600);

/// An order whose answer is this late is given again: its queue may have lost it. Repeats are harmless.
const ORDER_AGAIN: Duration = Duration::from_secs(30);

impl Step<'_> {
    pub(crate) fn worker_heard(&mut self, id: &WorkerId, session: &str) -> Result<(), Rejected> {
        self.in_session(id, session)?;
        self.state.watch_mut().hear(id, self.now);
        self.set_health(id, Health::Up);
        Ok(())
    }

    /// The worker, if this is the session that it introduced.
    pub(crate) fn in_session(
        &self,
        id: &WorkerId,
        session: &str,
    ) -> Result<&Arc<Worker>, Rejected> {
        let known = self.state.worker(id);
        let known = known.ok_or_else(|| Rejected::NoSuchWorker(id.clone()))?;
        if *known.session == *session {
            return Ok(known);
        }
        let text = format!("{id} speaks of a session that it has not introduced");
        Err(Rejected::Invalid(text))
    }

    pub(crate) fn worker_left(&mut self, id: &WorkerId) -> Result<(), Rejected> {
        let known = self.state.worker(id);
        let health = known
            .ok_or_else(|| Rejected::NoSuchWorker(id.clone()))?
            .health;
        self.state.watch_mut().excuse(id, self.now, GOODBYE);
        match health {
            Health::Up => self.set_health(id, Health::Suspect { since: self.now }),
            Health::Suspect { .. } | Health::Lost { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn worker_removed(&mut self, id: &WorkerId) -> Result<(), Rejected> {
        let known = self.state.worker(id);
        let health = known
            .ok_or_else(|| Rejected::NoSuchWorker(id.clone()))?
            .health;
        match health {
            Health::Up | Health::Suspect { .. } => {
                self.lose(id, &format!("{id} was removed from the cluster"));
            }
            Health::Lost { .. } => {}
        }
        Ok(())
    }

    /// Forgets a worker. Should its agent introduce itself again, it is a new one.
    pub(crate) fn worker_forgotten(&mut self, id: &WorkerId) -> Result<(), Rejected> {
        self.worker_removed(id)?;
        self.state.drop_worker(id);
        self.effects.dirty.workers.insert(id.clone());
        Ok(())
    }

    /// The lead was taken with a state from the store: what its orders were is given again, and every
    /// worker's time starts anew.
    pub(crate) fn leadership_acquired(&mut self) {
        self.state.watch_mut().forget_silences();
        let workers: Vec<WorkerId> = self.state.workers().map(|w| w.id.clone()).collect();
        for worker in workers {
            self.state.watch_mut().silence(&worker, self.now);
        }
        let unanswered: Vec<JobId> = self.state.index().unanswered().iter().copied().collect();
        for job in unanswered {
            self.order_again(job);
        }
    }

    pub(crate) fn ticked(&mut self) {
        self.end_lock();
        self.end_waits();
        self.end_runs();
        self.end_drains();
        if self.state.watch().is_link_up() {
            self.judge_silences();
            self.repeat_orders();
        }
    }

    fn end_lock(&mut self) {
        let lock = self.state.meta().lock.as_ref();
        if lock.is_some_and(|lock| lock.until <= self.now) {
            self.state.meta_mut().lock = None;
            self.effects.dirty.meta = true;
        }
    }

    fn end_waits(&mut self) {
        let retries = self.state.index().retries();
        // Nobody is made to wait longer than the longest wait, so one that is due later was dated by a
        // clock that has since been set back.
        let last = self.now.after(self.longest_backoff());
        let due = retries.iter().take_while(|(at, _)| *at <= self.now);
        let misdated = retries.iter().rev().take_while(|(at, _)| *at > last);
        let due: Vec<JobId> = due.chain(misdated).map(|(_, id)| *id).collect();
        for id in due {
            self.edit(id, |job| {
                if let JobState::Queued(queued) = &mut job.state {
                    queued.not_before = None;
                }
            });
        }
    }

    fn end_runs(&mut self) {
        let deadlines = self.state.index().deadlines().iter();
        let due = deadlines.take_while(|(at, _)| *at <= self.now);
        let due: Vec<JobId> = due.map(|(_, id)| *id).collect();
        for id in due {
            let active = self.state.job(id).and_then(|job| job.state.active());
            if let Some(active) = active.cloned() {
                self.stop(id, active, StopReason::TimeLimit);
            }
        }
    }

    fn judge_silences(&mut self) {
        let workers: Vec<(WorkerId, Health)> = self
            .state
            .workers()
            .map(|worker| (worker.id.clone(), worker.health))
            .collect();
        let suspect_after = self.state.settings().suspect_after;
        let lost_after = self.state.settings().lost_after;
        for (id, health) in workers {
            let silence = self.state.watch_mut().silence(&id, self.now);
            match health {
                Health::Up | Health::Suspect { .. } if silence >= lost_after => {
                    self.lose(&id, &format!("{id} has fallen silent"));
                }
                Health::Up if silence >= suspect_after => {
                    self.set_health(&id, Health::Suspect { since: self.now });
                }
                Health::Up | Health::Suspect { .. } | Health::Lost { .. } => {}
            }
        }
    }

    /// Gives a worker's jobs to others, and orders it to end them should it come back.
    fn lose(&mut self, id: &WorkerId, why: &str) {
        self.set_health(id, Health::Lost { since: self.now });
        let node = self.state.index().node(id);
        let jobs: Vec<JobId> =
            node.map_or_else(Vec::new, |node| node.jobs.keys().copied().collect());
        for job in jobs {
            let attempt = self.state.job(job).and_then(|job| job.attempt());
            let ended = Ended {
                outcome: Outcome::new(Cause::WorkerLost, why),
                ran: Duration::ZERO,
                log_bytes: None,
                results: None,
            };
            self.attempt_ended(job, ended);
            if let Some(attempt) = attempt {
                self.clean_up(id.clone(), attempt, false);
            }
        }
    }

    fn repeat_orders(&mut self) {
        let unanswered = self.state.index().unanswered().iter();
        let late: Vec<JobId> = unanswered
            .filter(|id| {
                let age = self.state.watch().order_age(**id);
                let worker = self.state.job(**id).and_then(|job| job.state.active());
                let worker = worker.and_then(|active| self.state.worker(&active.worker));
                age.is_none_or(|age| age >= ORDER_AGAIN)
                    && worker.is_some_and(|worker| worker.health == Health::Up)
            })
            .copied()
            .collect();
        for id in late {
            self.order_again(id);
        }
    }

    fn set_health(&mut self, id: &WorkerId, health: Health) {
        if let Some(known) = self.state.worker(id)
            && known.health != health
        {
            let changed = Worker {
                health,
                ..(**known).clone()
            };
            self.put_worker(changed);
        }
    }
}
