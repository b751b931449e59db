//! What change would start a waiting job now: each is found by asking the placing predicates about the job
//! as it would be, so that what is told holds when it is done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{GroupName, UserName};
use crate::job::{Job, JobSpec};
use crate::resources::{ByteSize, GpuAmount, MilliCpu, MilliGpu, Request};
use crate::time::Timestamp;

use crate::sched::fit::fits::Blocker;
use crate::sched::model::queue_key::QueueKey;
use crate::sched::model::reservation::Blocked;
use crate::sched::model::text::cores;
use crate::sched::place::blocker::blocker;
use crate::sched::rank::account::penalty;
use crate::sched::rank::next::next_ready;
use crate::sched::rank::order::Head;
use crate::sched::rank::ranks::Ranks;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;

use super::reasons::{Reason, reasons};

/// A change that would start the job now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Somebody lets it go.
    Release,
    /// An operator unlocks the queue.
    Unlock,
    /// An admin raises the limit that keeps it back.
    RaiseLimit,
    /// An admin raises the limit that keeps its user's group back.
    RaiseGroupLimit(GroupName),
    /// It asks for so many GPUs instead.
    Gpus(u32),
    /// It asks for so many thousandths of each GPU instead.
    Share(MilliGpu),
    /// It asks for so much CPU instead.
    Cpu(MilliCpu),
    /// It asks for so much memory instead.
    Memory(ByteSize),
    /// It takes any model of GPU.
    AnyModel,
    /// It takes GPUs with any amount of memory.
    AnyGpuMemory,
    /// It takes machines whatever their labels.
    AnyLabels,
    /// Its `time_request` says that it runs for so long at most, so that it delays nobody for whom a place is kept.
    Time(Duration),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release => f.write_str("release it"),
            Self::Unlock => f.write_str("unlock the queue"),
            Self::RaiseLimit => f.write_str("ask an admin to raise the limit"),
            Self::RaiseGroupLimit(group) => {
                write!(f, "ask an admin to raise the limit of group {group}")
            }
            Self::Gpus(1) => f.write_str("ask for 1 GPU"),
            Self::Gpus(gpus) => write!(f, "ask for {gpus} GPUs"),
            Self::Share(milli) => {
                write!(f, "ask for a gpu_share of {}", f64::from(milli.0) / 1000.0)
            }
            Self::Cpu(cpu) => write!(f, "ask for {} CPU cores", cores(*cpu)),
            Self::Memory(memory) => write!(f, "ask for {memory} of memory"),
            Self::AnyModel => f.write_str("allow any gpu_model"),
            Self::AnyGpuMemory => f.write_str("ask for no gpu_memory"),
            Self::AnyLabels => f.write_str("ask for no node labels"),
            Self::Time(length) => {
                f.write_str("set time_request to at most ")?;
                let seconds = length.as_secs();
                match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                    (0, 0, seconds) => write!(f, "{seconds}s"),
                    (0, minutes, 0) => write!(f, "{minutes}m"),
                    (0, minutes, seconds) => write!(f, "{minutes}m{seconds}s"),
                    (hours, minutes, _) => write!(f, "{hours}h{minutes}m"),
                }
            }
        }
    }
}

impl Remedy {
    /// What the job would ask for; `None` for what is not the job's to change.
    pub(crate) fn applied_to(&self, spec: &JobSpec) -> Option<JobSpec> {
        let mut spec = spec.clone();
        let request = &mut spec.request;
        match self {
            Self::Release | Self::Unlock | Self::RaiseLimit | Self::RaiseGroupLimit(_) => {
                return None;
            }
            Self::Gpus(gpus) => request.gpus = *gpus,
            Self::Share(milli) => request.gpu_amount = GpuAmount::Milli(*milli),
            Self::Cpu(cpu) => request.cpu = Some(*cpu),
            Self::Memory(memory) => request.memory = Some(*memory),
            Self::AnyModel => request.gpu_models.clear(),
            Self::AnyGpuMemory => request.gpu_memory = None,
            Self::AnyLabels => request.labels.clear(),
            Self::Time(length) => spec.time_request = Some(*length),
        }
        Some(spec)
    }
}

/// Single changes each of which would start the waiting job now, where `why` is why it waits; empty when one
/// alone would not.
#[must_use]
pub fn remedies(state: &State, now: Timestamp, job: &Job, why: &[Reason]) -> Vec<Remedy> {
    // That GPUs are in other use only explains why there is no room.
    let mut why = why
        .iter()
        .filter(|why| !matches!(why, Reason::GpusTaken(_)));
    let (Some(only), None) = (why.next(), why.next()) else {
        return Vec::new();
    };
    match only {
        Reason::Held { .. } => vec![Remedy::Release],
        Reason::Locked(_) => vec![Remedy::Unlock],
        Reason::RunningLimit { .. } | Reason::GpuLimit { .. } => {
            // Others of the same user that go first might take the room.
            let is_first = is_first_of(state, now, job, std::iter::once(&job.user));
            is_first.then_some(Remedy::RaiseLimit).into_iter().collect()
        }
        Reason::GroupRunningLimit { group, .. } | Reason::GroupGpuLimit { group, .. } => {
            let is_first = is_first_of(state, now, job, state.members(group));
            let raise = is_first.then(|| Remedy::RaiseGroupLimit(group.clone()));
            raise.into_iter().collect()
        }
        Reason::NoRoom(_) | Reason::NeverFits(_) => {
            let candidates = candidates(state, now, job);
            let mut found: Vec<Remedy> = Vec::new();
            for remedy in candidates {
                // Candidates of a kind come best first, so that one of each is enough.
                let is_known = found
                    .iter()
                    .any(|known| std::mem::discriminant(known) == std::mem::discriminant(&remedy));
                let changed = remedy.applied_to(&job.spec).filter(|_| !is_known);
                if let Some(changed) = changed
                    && starts(state, now, job, changed)
                {
                    found.push(remedy);
                }
            }
            found
        }
        Reason::GpusTaken(_)
        | Reason::Dependency { .. }
        | Reason::Backoff { .. }
        | Reason::ArrayLimit { .. }
        | Reason::Closing { .. }
        | Reason::BrokerDown
        | Reason::NoMachine
        | Reason::Reserved { .. }
        | Reason::Behind { .. }
        | Reason::Next => Vec::new(),
    }
}

/// Whether the job goes before every other of these users.
fn is_first_of<'a>(
    state: &State,
    now: Timestamp,
    job: &Job,
    users: impl Iterator<Item = &'a UserName>,
) -> bool {
    let ranks = Ranks::new(state, now);
    let index = state.index();
    let firsts = users.filter_map(|user| {
        let user_queue = index.user_queue(user)?;
        let next = next_ready(state, &ranks, user, user_queue)?;
        let ranked = next.ranked(state, &ranks, penalty(state, now, user_queue));
        Some(Head::new(ranked, next, user_queue))
    });
    let first = firsts.min();
    first.is_some_and(|first| first.key == QueueKey::of(job))
}

/// Whether the job would start now if it were so.
fn starts(state: &State, now: Timestamp, job: &Job, spec: JobSpec) -> bool {
    let changed = Job {
        spec: Arc::new(spec),
        ..job.clone()
    };
    reasons(state, now, &changed) == [Reason::Next]
}

/// What is worth asking about, the least change of each kind first.
fn candidates(state: &State, now: Timestamp, job: &Job) -> Vec<Remedy> {
    let request = &job.spec.request;
    let mut candidates: Vec<Remedy> = (1..request.gpus).rev().map(Remedy::Gpus).collect();
    if request.gpus > 0 {
        candidates.extend(shares(state, request));
    }
    let nodes = || state.index().nodes().values();
    let lacking =
        |what: Blocker| nodes().filter(move |node| blocker(state, now, node, job) == Some(what));
    candidates.extend(largest(lacking(Blocker::Cpu), |node| node.free_cpu()).map(Remedy::Cpu));
    let memory = largest(lacking(Blocker::Memory), |node| node.free_memory());
    candidates.extend(memory.map(Remedy::Memory));
    if !request.gpu_models.is_empty() {
        candidates.push(Remedy::AnyModel);
    }
    if request.gpu_memory.is_some() {
        candidates.push(Remedy::AnyGpuMemory);
    }
    if !request.labels.is_empty() {
        candidates.push(Remedy::AnyLabels);
    }
    candidates.extend(time_left(state, now).map(Remedy::Time));
    candidates
}

/// How long a job may run without delay for the one for which a place is kept. Less than a second, which a job could
/// hardly keep to, is nothing, and of hours the seconds are left out.
fn time_left(state: &State, now: Timestamp) -> Option<Duration> {
    let reservation = state.blocked().and_then(Blocked::reservation)?;
    let seconds = reservation.at.since(now).as_secs();
    let seconds = if seconds < 3600 {
        seconds
    } else {
        seconds / 60 * 60
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The shares of a GPU that are free somewhere and smaller than what is asked for, the largest first.
fn shares(state: &State, request: &Request) -> impl Iterator<Item = Remedy> {
    let demand = match request.gpu_amount {
        GpuAmount::Milli(milli) => milli.0,
        GpuAmount::Slots(_) => MilliGpu::WHOLE.0,
    };
    let nodes = state.index().nodes().values();
    let free = nodes.flat_map(|node| node.free.iter().copied());
    let mut free: Vec<u32> = free.filter(|free| *free > 0 && *free < demand).collect();
    free.sort_unstable();
    free.dedup();
    free.into_iter()
        .rev()
        .map(|milli| Remedy::Share(MilliGpu(milli)))
}

fn largest<'a, T: Ord + Default>(
    nodes: impl Iterator<Item = &'a NodeLoad>,
    free: impl Fn(&NodeLoad) -> T,
) -> Option<T> {
    nodes.map(free).max().filter(|most| *most > T::default())
}
