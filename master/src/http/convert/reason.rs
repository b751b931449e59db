//! Why a job waits: the whole sentence, and its first reason in a few words for tables.

use dopq_common::job::Job;
use dopq_common::resources::MilliGpu;
use dopq_common::sched::{self, Reason};
use dopq_common::time::Timestamp;

use crate::view::Model;

/// A job's reasons in words.
pub(super) struct Why {
    /// Every reason.
    pub(super) whole: String,
    /// The first, in a few words.
    pub(super) short: Option<String>,
}

/// Why the job waits.
pub(super) fn why(model: &Model, now: Timestamp, job: &Job) -> Why {
    let reasons = sched::reasons(&model.state, now, job);
    let whole: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    Why {
        whole: whole.join("; "),
        short: reasons.first().map(|reason| short(model, job, reason)),
    }
}

fn short(model: &Model, job: &Job, reason: &Reason) -> String {
    let gpus = |milli: u32| f64::from(milli) / 1000.0;
    match reason {
        Reason::Held { by } => format!("held by {by}"),
        Reason::Dependency { job, .. } => format!("after job {job}"),
        Reason::Backoff { .. } => "retry after a pause".to_owned(),
        Reason::ArrayLimit { max } => format!("{max} tasks run, the limit"),
        Reason::Locked(_) => "queue locked".to_owned(),
        Reason::BrokerDown => "workers unreachable".to_owned(),
        Reason::RunningLimit { max } => format!("user limit: {max} jobs"),
        Reason::GpuLimit { max } => format!("user limit: {} GPUs", gpus(*max)),
        Reason::GroupRunningLimit { max, .. } => format!("group limit: {max} jobs"),
        Reason::GroupGpuLimit { max, .. } => format!("group limit: {} GPUs", gpus(*max)),
        Reason::NoMachine => "no nodes".to_owned(),
        Reason::NeverFits(_) => "fits no node".to_owned(),
        Reason::NoRoom(_) => no_room(model, job),
        Reason::Reserved { worker, .. } => format!("{worker} reserved"),
        Reason::Behind { job } => format!("behind job {job}"),
        Reason::Next => "starts next".to_owned(),
    }
}

/// Such as `2 of 4 GPUs free`: the free GPUs of the best node, of those that the job asks for.
fn no_room(model: &Model, job: &Job) -> String {
    let request = &job.spec.request;
    let wanted = request.gpus;
    let nodes = model.state.workers();
    let nodes = nodes.filter(|worker| worker.cordon.is_none());
    let free = nodes.filter_map(|worker| {
        let each = request.gpu_amount.on(worker.capacity.slots_per_gpu)?;
        let held = sched::held(&model.state, &worker.id).gpus;
        let free = worker.capacity.gpus.iter().filter(|gpu| {
            let held = held.get(&gpu.id).map_or(0, |milli| milli.0);
            gpu.healthy && held + each.0 <= MilliGpu::WHOLE.0
        });
        u32::try_from(free.count()).ok()
    });
    match free.max() {
        Some(0) if wanted == 1 => "no GPU free".to_owned(),
        Some(free) if free < wanted => format!("{free} of {wanted} GPUs free"),
        Some(_) | None => "no node has room".to_owned(),
    }
}
