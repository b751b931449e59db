//! Gives a job its node: makes the attempt, charges for it, orders it.

use std::sync::Arc;

use crate::id::{JobId, WorkerId};
use crate::job::{Active, JobState, Phase, Stage};
use crate::penalty::usage::Rate;
use crate::resources::Allocation;
use crate::sched::model::effect::Effect;
use crate::sched::rank::account::rate_of;
use crate::sched::state::run_times::expected_if_placed;
use crate::sched::state::step::Step;

impl Step<'_> {
    /// Gives a queued job, or an array's next task, what it will hold of a node.
    pub(crate) fn assign(&mut self, id: JobId, worker: WorkerId, allocation: Allocation) {
        let now = self.now;
        let Some(id) = self.job_to_start(id) else {
            return;
        };
        let Some(job) = self.state.job(id) else {
            return;
        };
        let user = job.user.clone();
        let number = job.last_attempt + 1;
        let attempt = job.attempt_id(number);
        let node = self.state.index().node(&worker);
        let rate = node.map_or(Rate(0), |node| {
            rate_of(&self.state.settings().usage, node, job, &allocation)
        });
        let gpu_model = node.and_then(|node| node.model_of(&allocation));
        let expected = expected_if_placed(self.state, job, gpu_model);
        let gpu_model = gpu_model.map(Arc::from);
        self.settle(&user);
        self.charge_deposit(&user, rate);
        self.edit(id, |job| {
            job.last_attempt = number;
            let note = worker.to_string();
            let active = Active {
                attempt: number,
                worker: worker.clone(),
                allocation,
                rate,
                assigned_at: now,
                started_at: None,
                ended_at: None,
                confirmed: false,
                gpu_model,
                expected,
            };
            job.state = JobState::Active(Box::new(active), Stage::Assigned);
            job.enter(now, Phase::Assigned, note);
        });
        self.state.watch_mut().order(id);
        self.act(Effect::Run { worker, attempt });
    }

    /// The job to give a node to: an array's next task, which becomes a job of its own, or the job itself.
    fn job_to_start(&mut self, id: JobId) -> Option<JobId> {
        let Some(array) = self.state.job(id)?.state.array() else {
            return Some(id);
        };
        let index = array.waiting.first()?;
        self.begin_task(id, index)
    }
}
