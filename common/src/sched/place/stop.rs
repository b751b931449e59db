//! Orders the end of an attempt.

use crate::id::JobId;
use crate::job::{Active, Job, JobState, Phase, Stage, StopReason};
use crate::sched::model::effect::Effect;
use crate::sched::state::step::Step;

impl Step<'_> {
    /// Orders an attempt's end; only its worker's final report, or the worker's loss, ends it.
    pub(crate) fn stop(&mut self, id: JobId, active: Active, reason: StopReason) {
        let now = self.now;
        self.edit(id, |job| {
            let note = reason.outcome(job).detail;
            job.state = JobState::Active(Box::new(active), Stage::Stopping(reason));
            job.enter(now, Phase::Stopping, note);
        });
        self.order_again(id);
    }

    /// Gives the order again that the job's worker owes an answer to.
    pub(crate) fn order_again(&mut self, id: JobId) {
        let Some(job) = self.state.job(id) else {
            return;
        };
        let Some((active, stage)) = job.state.active().zip(job.state.stage()) else {
            return;
        };
        let order = match stage {
            Stage::Assigned => job.attempt().map(|attempt| Effect::Run {
                worker: active.worker.clone(),
                attempt,
            }),
            Stage::Stopping(reason) => Some(stop_order(job, active, reason)),
            Stage::Building | Stage::Running | Stage::Paused | Stage::Publishing => None,
        };
        if let Some(order) = order {
            self.state.watch_mut().order(id);
            self.act(order);
        }
    }
}

/// The order that ends an attempt.
pub(crate) fn stop_order(job: &Job, active: &Active, reason: &StopReason) -> Effect {
    Effect::Stop {
        worker: active.worker.clone(),
        attempt: job.attempt_id(active.attempt),
        outcome: reason.outcome(job),
        grace: job.spec.grace,
        insists: false,
    }
}
