//! Brings together what this side and a worker that introduces itself know of its attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{AttemptId, Digest, JobId, WorkerId};
use crate::job::{Cause, Outcome, Stage};
use crate::resources::Capacity;
use crate::wire::{AttemptPhase, KnownAttempt};

use crate::sched::events::finish::Ended;
use crate::sched::model::entities::{Health, Machine, Worker};
use crate::sched::model::event::Rejected;
use crate::sched::state::step::Step;

/// The most ids that are skipped at once, so that no worker can use them all up by claiming to know a high one.
const GAP_MAX: u64 = 1 << 40;

/// What a worker says of itself.
pub(crate) struct Joined {
    pub(crate) session: Arc<str>,
    pub(crate) capacity: Capacity,
    pub(crate) images: BTreeSet<Digest>,
    pub(crate) machine: Arc<Machine>,
}

impl Step<'_> {
    pub(crate) fn worker_joined(
        &mut self,
        id: WorkerId,
        joined: Joined,
        known: &[KnownAttempt],
    ) -> Result<(), Rejected> {
        let before = self.state.worker(&id);
        if let Some(before) = before
            && before.is_other_than(&joined.machine.instance)
        {
            return Err(Rejected::NameTaken {
                worker: id,
                holder: before.machine.host.clone(),
                other: joined.machine.host.clone(),
            });
        }
        let worker = Worker {
            session: joined.session,
            capacity: joined.capacity,
            images: joined.images,
            machine: joined.machine,
            joined_at: before.map_or(self.now, |worker| worker.joined_at),
            health: Health::Up,
            cordon: before.and_then(|worker| worker.cordon.clone()),
            closed: before.and_then(|worker| worker.closed.clone()),
            taken: before.map_or_else(BTreeMap::new, |worker| worker.taken.clone()),
            id: id.clone(),
        };
        self.put_worker(worker);
        self.state.watch_mut().hear(&id, self.now);
        if let Some(used) = known.iter().map(|known| known.attempt.job).max() {
            self.count_beyond(used);
        }
        let known: BTreeMap<AttemptId, Option<AttemptPhase>> = known
            .iter()
            .map(|known| (known.attempt, known.phase))
            .collect();
        let node = self.state.index().node(&id);
        let ours: Vec<JobId> =
            node.map_or_else(Vec::new, |node| node.jobs.keys().copied().collect());
        let mut current = BTreeSet::new();
        for job in ours {
            if let Some(attempt) = self.state.job(job).and_then(|job| job.attempt()) {
                current.insert(attempt);
                match known.get(&attempt) {
                    Some(phase) => self.both_know(attempt, *phase),
                    None => self.worker_does_not_know(attempt),
                }
            }
        }
        for (attempt, phase) in known {
            if !current.contains(&attempt) {
                self.clean_up(id.clone(), attempt, phase.is_none());
            }
        }
        Ok(())
    }

    /// Lets new ids begin above those that are known to be given out, which a store that lost data may not know. Job
    /// keys keep such jobs apart anyhow; people should not have to.
    pub(crate) fn count_beyond(&mut self, used: JobId) {
        let last = self.state.meta().last_job;
        if used.0 > last && used.0 - last <= GAP_MAX {
            self.state.meta_mut().last_job = used.0;
            self.effects.dirty.meta = true;
        }
    }

    fn both_know(&mut self, attempt: AttemptId, phase: Option<AttemptPhase>) {
        // Without a phase its end is reported already, and that report is on its way here.
        if let Some(phase) = phase {
            // That it is in that phase already is as good as that it now enters it.
            drop(self.entered(attempt, phase, String::new()));
            let job = self.state.job(attempt.job);
            let stopping = job.and_then(|job| job.state.stage()?.stopping());
            if stopping.is_some() && phase < AttemptPhase::Stopping {
                self.order_again(attempt.job);
            }
        }
    }

    fn worker_does_not_know(&mut self, attempt: AttemptId) {
        let Some(job) = self.state.job(attempt.job) else {
            return;
        };
        let Some((active, stage)) = job.state.active().zip(job.state.stage()) else {
            return;
        };
        match stage {
            // The order may still be on its way to it; repeats are harmless. A stop of an unknown attempt
            // is answered with its end.
            Stage::Assigned if !active.confirmed => self.order_again(attempt.job),
            Stage::Stopping(_) => self.order_again(attempt.job),
            Stage::Assigned
            | Stage::Building
            | Stage::Running
            | Stage::Paused
            | Stage::Publishing => {
                let worker = active.worker.clone();
                let detail = format!("{worker} came back without it");
                let ended = Ended {
                    outcome: Outcome::new(Cause::WorkerLost, detail),
                    ran: Duration::ZERO,
                    log_bytes: None,
                    results: None,
                };
                self.attempt_ended(attempt.job, ended);
                // So that it is never begun there should its order turn up after all.
                self.clean_up(worker, attempt, false);
            }
        }
    }
}
