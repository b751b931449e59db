//! Whether and how a request fits on a machine. Placing and explaining ask here, so that they cannot
//! disagree. Which of the machines that fit is taken is left to [`crate::sched::place::planner`].

use std::fmt;

use crate::id::WorkerId;
use crate::resources::{
    Allocation, ByteSize, Capacity, GpuDevice, GpuShare, MilliCpu, MilliGpu, Request,
};

use crate::sched::model::entities::Health;
use crate::sched::model::settings::Settings;
use crate::sched::state::node_load::NodeLoad;

/// CPU of a job that asks for neither GPU nor CPU.
const DEFAULT_CPU: MilliCpu = MilliCpu(1000);

/// What a request comes to on one kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) gpus: u32,
    /// Of each of its GPUs.
    pub(crate) milli: MilliGpu,
    pub(crate) cpu: MilliCpu,
    pub(crate) memory: ByteSize,
}

/// Why a machine would not take a request even if nothing ran on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Misfit {
    /// It does not offer a volume.
    Volume,
    /// It lacks a label.
    Label,
    /// None of its GPUs is of an allowed model.
    Model,
    /// None of the allowed GPUs has enough memory.
    GpuMemory,
    /// More is asked of each GPU than it has slots.
    Slots,
    /// It has too few such GPUs.
    Gpus,
    /// It has too little CPU.
    Cpu,
    /// It has too little memory.
    Memory,
}

/// Why a machine does not take a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blocker {
    /// It could never.
    Never,
    /// It has not been heard from lately.
    Silent,
    /// An operator closed it.
    Cordoned,
    /// It says that it takes no jobs.
    Closed,
    /// The job's last attempt failed on it.
    Avoided,
    /// Too many attempts are being started there.
    Starting,
    /// Too few of its GPUs are free enough.
    Gpus,
    /// Too little CPU is free.
    Cpu,
    /// Too little memory is free.
    Memory,
    /// It has room, but the job would delay another that it is kept for.
    Reserved,
}

impl fmt::Display for Blocker {
    /// Completes a count of nodes, as in "3 without enough free GPUs".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "too small or of another kind",
            Self::Silent => "silent",
            Self::Cordoned => "cordoned",
            Self::Closed => "short of disk space",
            Self::Avoided => "avoided after a failed attempt there",
            Self::Starting => "busy starting jobs",
            Self::Gpus => "without enough free GPUs",
            Self::Cpu => "without enough free CPU",
            Self::Memory => "without enough free memory",
            Self::Reserved => "reserved for another job",
        })
    }
}

/// The GPUs that the request's model and memory allow, by their place in the machine's order.
pub(crate) fn allowed_gpus<'a>(
    capacity: &'a Capacity,
    request: &'a Request,
) -> impl Iterator<Item = (usize, &'a GpuDevice)> {
    let gpus = capacity.gpus.iter().enumerate();
    gpus.filter(|(_, gpu)| is_model_allowed(gpu, request) && has_gpu_memory(gpu, request))
}

pub(crate) fn is_model_allowed(gpu: &GpuDevice, request: &Request) -> bool {
    request.gpu_models.is_empty()
        || request.gpu_models.iter().any(|wanted| {
            let model = gpu.model.to_ascii_lowercase();
            model.contains(&wanted.to_ascii_lowercase())
        })
}

pub(crate) fn has_gpu_memory(gpu: &GpuDevice, request: &Request) -> bool {
    request.gpu_memory.is_none_or(|least| gpu.memory >= least)
}

/// What the request comes to on a machine with nothing on it.
///
/// Where it names no CPU or memory it gets the machine's share that its part of the GPUs is; a job
/// without GPU gets one core, and memory by its part of the cores.
pub(crate) fn needs(capacity: &Capacity, request: &Request) -> Result<Needs, Misfit> {
    let mut volumes = request.volumes.iter();
    if !volumes.all(|volume| capacity.volumes.contains_key(volume)) {
        return Err(Misfit::Volume);
    }
    let has_labels = request
        .labels
        .iter()
        .all(|(name, value)| capacity.labels.get(name) == Some(value));
    if !has_labels {
        return Err(Misfit::Label);
    }
    let milli = if request.gpus == 0 {
        MilliGpu(0)
    } else {
        let mut of_model = capacity
            .gpus
            .iter()
            .filter(|gpu| is_model_allowed(gpu, request))
            .peekable();
        if of_model.peek().is_none() && !request.gpu_models.is_empty() {
            return Err(Misfit::Model);
        }
        let allowed = of_model.filter(|gpu| has_gpu_memory(gpu, request)).count();
        if allowed == 0 && request.gpu_memory.is_some() {
            return Err(Misfit::GpuMemory);
        }
        if allowed < usize::try_from(request.gpus).unwrap_or(usize::MAX) {
            return Err(Misfit::Gpus);
        }
        request
            .gpu_amount
            .on(capacity.slots_per_gpu)
            .ok_or(Misfit::Slots)?
    };
    let part = u64::from(request.gpus) * u64::from(milli.0);
    let all = 1000 * u64::try_from(capacity.gpus.len()).unwrap_or(u64::MAX);
    let cpu = request.cpu.unwrap_or_else(|| {
        if part == 0 {
            DEFAULT_CPU.min(capacity.cpu)
        } else {
            MilliCpu(share(capacity.cpu.0, part, all))
        }
    });
    if cpu > capacity.cpu {
        return Err(Misfit::Cpu);
    }
    let memory = request.memory.unwrap_or_else(|| {
        ByteSize(if part == 0 {
            share(capacity.memory.0, cpu.0, capacity.cpu.0)
        } else {
            share(capacity.memory.0, part, all)
        })
    });
    if memory > capacity.memory {
        return Err(Misfit::Memory);
    }
    Ok(Needs {
        gpus: request.gpus,
        milli,
        cpu,
        memory,
    })
}

/// `part / all` of `whole`, rounded down; all of it when there is nothing to divide by.
fn share(whole: u64, part: u64, all: u64) -> u64 {
    let share = (u128::from(whole) * u128::from(part)).checked_div(u128::from(all));
    share.map_or(whole, |share| {
        u64::try_from(share).unwrap_or(u64::MAX).min(whole)
    })
}

/// Whether the machine takes new jobs at all, and this one, whatever is free there.
pub(crate) fn is_open(
    settings: &Settings,
    node: &NodeLoad,
    avoid: Option<&WorkerId>,
) -> Result<(), Blocker> {
    let Some(worker) = &node.worker else {
        return Err(Blocker::Silent);
    };
    match worker.health {
        Health::Up => {}
        Health::Suspect { .. } | Health::Lost { .. } => return Err(Blocker::Silent),
    }
    if worker.cordon.is_some() {
        return Err(Blocker::Cordoned);
    }
    if worker.closed.is_some() {
        return Err(Blocker::Closed);
    }
    if avoid == Some(&worker.id) {
        return Err(Blocker::Avoided);
    }
    if node.starting >= settings.starts_per_worker {
        return Err(Blocker::Starting);
    }
    Ok(())
}

/// What a request comes to on one kind of machine, and which GPUs it may be given there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fitness {
    pub(crate) needs: Needs,
    /// By the machine's order; absent where all are allowed.
    pub(crate) allowed: Option<Box<[bool]>>,
}

impl Fitness {
    /// Whether the GPU at this place in the machine's order is allowed.
    pub(crate) fn allows(&self, at: usize) -> bool {
        let allowed = self.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.get(at).copied().unwrap_or(false))
    }
}

/// What the request comes to on a machine, whatever is free there.
pub(crate) fn fitness(capacity: &Capacity, request: &Request) -> Result<Fitness, Misfit> {
    let needs = needs(capacity, request)?;
    let gpus = capacity.gpus.iter();
    let allowed: Box<[bool]> = gpus
        .map(|gpu| is_model_allowed(gpu, request) && has_gpu_memory(gpu, request))
        .collect();
    let allowed = (!allowed.iter().all(|allowed| *allowed)).then_some(allowed);
    Ok(Fitness { needs, allowed })
}

/// Whether enough is free now.
pub(crate) fn has_room(node: &NodeLoad, fitness: &Fitness) -> Result<(), Blocker> {
    let needs = fitness.needs;
    if needs.gpus > 0 {
        let gpus = u32::try_from(free_enough(node, fitness).count()).unwrap_or(u32::MAX);
        if gpus < needs.gpus {
            return Err(Blocker::Gpus);
        }
    }
    if needs.cpu > node.free_cpu() {
        return Err(Blocker::Cpu);
    }
    if needs.memory > node.free_memory() {
        return Err(Blocker::Memory);
    }
    Ok(())
}

/// The GPUs that it could be given now, by their place in the machine's order.
fn free_enough<'a>(node: &'a NodeLoad, fitness: &'a Fitness) -> impl Iterator<Item = usize> + 'a {
    let free = node.free.iter().enumerate();
    let milli = fitness.needs.milli.0;
    let fits = free.filter(move |(at, free)| **free >= milli && fitness.allows(*at));
    fits.map(|(at, _)| at)
}

/// The GPUs that it could be given now by their place in the machine's order, the fullest first so that
/// whole ones stay whole; at least as many as it needs.
pub(crate) fn fitting(node: &NodeLoad, fitness: &Fitness) -> Result<Vec<usize>, Blocker> {
    has_room(node, fitness)?;
    let mut gpus: Vec<usize> = Vec::new();
    if fitness.needs.gpus > 0 {
        gpus.extend(free_enough(node, fitness));
        gpus.sort_by_key(|at| (node.free.get(*at).copied(), *at));
    }
    Ok(gpus)
}

/// What it would hold with these GPUs.
pub(crate) fn allocation(capacity: &Capacity, fitness: &Fitness, gpus: &[usize]) -> Allocation {
    let needs = fitness.needs;
    let gpus = gpus.iter().filter_map(|at| {
        let gpu = capacity.gpus.get(*at)?;
        Some(GpuShare {
            id: gpu.id.clone(),
            milli: needs.milli,
        })
    });
    Allocation {
        gpus: gpus.collect(),
        cpu: needs.cpu,
        memory: needs.memory,
    }
}

/// What the request could hold of the machine if it went there now.
pub(crate) fn fit(node: &NodeLoad, request: &Request) -> Result<Allocation, Blocker> {
    let Some(worker) = &node.worker else {
        return Err(Blocker::Silent);
    };
    let fitness = fitness(&worker.capacity, request).map_err(|_| Blocker::Never)?;
    let mut gpus = fitting(node, &fitness)?;
    gpus.truncate(usize::try_from(request.gpus).unwrap_or(usize::MAX));
    Ok(allocation(&worker.capacity, &fitness, &gpus))
}
