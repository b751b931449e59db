//! Takes new jobs in, or says at once why they can never run.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{JobId, VolumeName};
use crate::job::{Array, Job, JobState, Phase, Queued, TaskEnds};
use crate::resources::{ByteSize, GpuAmount, MilliGpu, Request};

use crate::sched::fit::fits::{Misfit, allowed_gpus, is_model_allowed, needs};
use crate::sched::fit::guard::may_wait;
use crate::sched::fit::volumes::may_mount;
use crate::sched::model::effect::Effect;
use crate::sched::model::entities::Worker;
use crate::sched::model::event::{Rejected, Submission};
use crate::sched::model::text::{cores, listed};
use crate::sched::state::core::State;
use crate::sched::state::step::Step;

impl Step<'_> {
    pub(crate) fn submitted(&mut self, submission: Submission) -> Result<(), Rejected> {
        if let Some(job) = self.known_submission(&submission)? {
            self.act(Effect::Accepted { job, new: false });
            return Ok(());
        }
        self.check_submission(&submission)?;
        let meta = self.state.meta_mut();
        // The ids that follow an array's are those of its tasks.
        let array = submission.spec.array.as_ref();
        let tasks = array.map_or(0, |array| array.indexes.len());
        let next = meta.last_job.checked_add(1);
        let ids = next.and_then(|next| Some((next, next.checked_add(u64::from(tasks))?)));
        let (next, last) =
            ids.ok_or_else(|| Rejected::Invalid("no job ids are left".to_owned()))?;
        meta.last_job = last;
        let id = JobId(next);
        self.effects.dirty.meta = true;
        if self.state.user(&submission.user).is_none() {
            self.edit_user(&submission.user, |_| {});
        }
        let state = match &submission.spec.array {
            None => JobState::Queued(Queued {
                since: self.now,
                not_before: None,
                hold: None,
                avoid: None,
            }),
            Some(array) => JobState::Array(Box::new(Array {
                since: self.now,
                hold: None,
                waiting: array.indexes.clone(),
                open: 0,
                ends: TaskEnds::default(),
                failure: None,
                stopping: None,
            })),
        };
        let mut job = Job {
            id,
            key: submission.job_key,
            user: submission.user,
            priority: submission.spec.priority,
            spec: submission.spec,
            config: submission.config,
            bundle: submission.bundle,
            submitted_at: self.now,
            last_attempt: 0,
            retries_used: 0,
            faults: 0,
            task: None,
            state,
            timeline: Vec::with_capacity(1),
            charges: Vec::new(),
            measured: Vec::new(),
        };
        job.enter(self.now, Phase::Queued, String::new());
        self.state.set_job(Arc::new(job));
        self.effects.dirty.jobs.insert(id);
        if let Some(key) = submission.key {
            self.state.set_key(Arc::clone(&key), id);
            self.effects.dirty.keys.insert((key, id));
        }
        self.act(Effect::Accepted { job: id, new: true });
        if let Some(outcome) = self.impossible(id) {
            self.finish(id, outcome);
        }
        Ok(())
    }

    /// The job that the same request became before.
    fn known_submission(&self, submission: &Submission) -> Result<Option<JobId>, Rejected> {
        let key = submission.key.as_deref();
        let Some(id) = key.and_then(|key| self.state.job_of_key(key)) else {
            return Ok(None);
        };
        let is_same = self.state.job(id).is_none_or(|job| {
            job.user == submission.user
                && job.config == submission.config
                && job.bundle == submission.bundle
        });
        if is_same {
            Ok(Some(id))
        } else {
            Err(Rejected::KeyUsed(id))
        }
    }

    fn check_submission(&self, submission: &Submission) -> Result<(), Rejected> {
        let spec = &submission.spec;
        let tasks = spec.array.as_ref().map(|array| array.indexes.len());
        if tasks == Some(0) {
            return Err(Rejected::Invalid("an array has no tasks".to_owned()));
        }
        let per_gpu = match spec.request.gpu_amount {
            GpuAmount::Slots(slots) => slots,
            GpuAmount::Milli(milli) => milli.0,
        };
        if spec.request.gpus > 0 && per_gpu == 0 {
            let text =
                "a job that asks for GPUs must ask for a part of each; set num_gpus to 0 for none"
                    .to_owned();
            return Err(Rejected::Invalid(text));
        }
        for dependency in &spec.after {
            // Another user's job is not told from one that does not exist.
            let other = self.state.job(dependency.job);
            if other.is_none_or(|other| other.user != submission.user) {
                let text = format!(
                    "it is to run after job {}, which you do not have",
                    dependency.job
                );
                return Err(Rejected::Invalid(text));
            }
        }
        may_wait(self.state, &submission.user, tasks)?;
        may_mount(self.state, &submission.user, &spec.request)?;
        match never_fits(self.state, &spec.request) {
            Some(text) => Err(Rejected::NeverFits(text)),
            None => Ok(()),
        }
    }
}

/// Why no machine that is known could ever run the request, and what would fit; `None` when one could,
/// or when none has joined yet.
pub(crate) fn never_fits(state: &State, request: &Request) -> Option<String> {
    let mut nearest: Option<(Misfit, Vec<&Worker>)> = None;
    for worker in state.workers() {
        match needs(&worker.capacity, request) {
            Ok(_) => return None,
            // Misfits are ordered as they are looked for: who fails last is nearest.
            Err(misfit) => match &mut nearest {
                Some((nearest, workers)) if *nearest == misfit => workers.push(worker),
                Some((nearest, _)) if *nearest > misfit => {}
                Some(_) | None => nearest = Some((misfit, vec![worker])),
            },
        }
    }
    let (misfit, workers) = nearest?;
    Some(format!(
        "no machine could ever run it: {}",
        tell(&misfit, request, &workers)
    ))
}

fn tell(misfit: &Misfit, request: &Request, workers: &[&Worker]) -> String {
    match misfit {
        Misfit::Volume => {
            let wanted: Vec<_> = request.volumes.iter().map(VolumeName::as_str).collect();
            let there: BTreeSet<_> = workers
                .iter()
                .flat_map(|worker| worker.capacity.volumes.keys())
                .map(VolumeName::to_string)
                .collect();
            let together = wanted.iter().all(|name| there.contains(*name));
            let together = if together { " together" } else { "" };
            let there = listed(there).unwrap_or_else(|| "none".to_owned());
            format!(
                "none offers the volumes {}{together}; volumes there are: {there}",
                wanted.join(", ")
            )
        }
        Misfit::Label => {
            let wanted = request.labels.iter();
            let wanted: Vec<_> = wanted
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let there: BTreeSet<_> = workers
                .iter()
                .flat_map(|worker| &worker.capacity.labels)
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let there = listed(there).unwrap_or_else(|| "none".to_owned());
            format!(
                "none has the labels {}; labels there are: {there}",
                wanted.join(", ")
            )
        }
        Misfit::Model => {
            let there: BTreeSet<_> = workers
                .iter()
                .flat_map(|worker| &worker.capacity.gpus)
                .map(|gpu| gpu.model.clone())
                .collect();
            let there = listed(there).unwrap_or_else(|| "none".to_owned());
            let wanted = request.gpu_models.join(" or ");
            format!("none has a GPU of the model {wanted}; models there are: {there}")
        }
        Misfit::GpuMemory => {
            let wanted = request.gpu_memory.unwrap_or_default();
            let gpus = workers.iter().flat_map(|worker| &worker.capacity.gpus);
            let most = gpus
                .filter(|gpu| is_model_allowed(gpu, request))
                .map(|gpu| gpu.memory)
                .max()
                .unwrap_or_default();
            format!("it asks for GPUs with {wanted} of memory, and the largest has {most}")
        }
        Misfit::Slots => {
            let most = workers
                .iter()
                .map(|worker| worker.capacity.slots_per_gpu)
                .max();
            let most = most.unwrap_or(1);
            match request.gpu_amount {
                GpuAmount::Slots(slots) => {
                    format!("it asks for {slots} slots of each GPU, and a GPU has at most {most}")
                }
                GpuAmount::Milli(MilliGpu(milli)) => {
                    format!("it asks for {milli} thousandths of each GPU, and a GPU has 1000")
                }
            }
        }
        Misfit::Gpus => {
            let counts = workers
                .iter()
                .map(|worker| allowed_gpus(&worker.capacity, request).count());
            let most = counts.max().unwrap_or(0);
            let any = request.gpu_models.is_empty() && request.gpu_memory.is_none();
            let which = if any { "" } else { "such " };
            let wanted = match request.gpus {
                1 => format!("1 {which}GPU"),
                many => format!("{many} {which}GPUs"),
            };
            match most {
                0 => format!("it asks for {wanted}, and no machine has any"),
                most => format!(
                    "it asks for {wanted}, and one machine has at most {most}; ask for {most} or fewer"
                ),
            }
        }
        Misfit::Cpu => {
            let most = workers.iter().map(|worker| worker.capacity.cpu).max();
            let most = cores(most.unwrap_or_default());
            let wanted = cores(request.cpu.unwrap_or_default());
            format!(
                "it asks for {wanted} CPU cores, and one machine has at most {most}; ask for {most} or fewer"
            )
        }
        Misfit::Memory => {
            let most = workers.iter().map(|worker| worker.capacity.memory).max();
            let most: ByteSize = most.unwrap_or_default();
            let wanted = request.memory.unwrap_or_default();
            format!(
                "it asks for {wanted} of memory, and one machine has at most {most}; ask for {most} or less"
            )
        }
    }
}
