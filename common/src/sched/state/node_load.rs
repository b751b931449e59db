//! What is held and what is free on one machine, kept up to date as jobs come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{GpuId, JobId};
use crate::job::{Active, Job, Stage};
use crate::penalty::usage::Rate;
use crate::resources::{Allocation, ByteSize, GpuShare, MilliCpu, MilliGpu};

use crate::sched::model::entities::{Health, Worker};
use crate::sched::model::settings::UsageSettings;
use crate::sched::model::shape::NodeClassId;

/// A machine's books. Derived from its worker and its jobs, never stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeLoad {
    /// The machine, absent while only jobs that name it are known.
    pub(crate) worker: Option<Arc<Worker>>,
    /// The jobs that have it.
    pub(crate) jobs: BTreeMap<JobId, Arc<Job>>,
    /// How many of them have no container yet.
    pub(crate) starting: u32,
    /// Held of each GPU; none that is held not at all.
    pub(crate) gpus: BTreeMap<GpuId, u32>,
    /// Held CPU.
    pub(crate) cpu: u64,
    /// Held memory in bytes.
    pub(crate) memory: u64,
    /// Free thousandths of each GPU in the machine's order, 0 for one that is not offered to jobs.
    pub(crate) free: Vec<u32>,
    /// Where in that order each GPU is that is offered to jobs.
    pub(crate) places: Arc<BTreeMap<GpuId, usize>>,
    /// What all its GPUs would be charged; nothing while it is lost.
    pub(crate) worth: Rate,
    /// What kind of machine it is.
    pub(crate) class: NodeClassId,
}

impl NodeLoad {
    pub(crate) fn is_unused(&self) -> bool {
        self.worker.is_none() && self.jobs.is_empty()
    }

    /// Free CPU.
    pub(crate) fn free_cpu(&self) -> MilliCpu {
        let all = self.worker.as_ref().map_or(0, |w| w.capacity.cpu.0);
        MilliCpu(all.saturating_sub(self.cpu))
    }

    /// Free memory.
    pub(crate) fn free_memory(&self) -> ByteSize {
        let all = self.worker.as_ref().map_or(0, |w| w.capacity.memory.0);
        ByteSize(all.saturating_sub(self.memory))
    }

    /// The model of GPU that an allocation here is of.
    pub(crate) fn model_of(&self, held: &Allocation) -> Option<&str> {
        self.worker.as_deref()?.capacity.model_of(held)
    }

    /// The machine, unless it is lost.
    pub(crate) fn present(&self) -> Option<&Worker> {
        let worker = self.worker.as_deref()?;
        match worker.health {
            Health::Up | Health::Suspect { .. } => Some(worker),
            Health::Lost { .. } => None,
        }
    }

    pub(crate) fn set_worker(&mut self, worker: Option<Arc<Worker>>, usage: &UsageSettings) {
        self.worker = worker;
        let gpus = self.present().map(|worker| &worker.capacity.gpus);
        let rates = gpus.into_iter().flatten();
        let worth = rates.map(|gpu| usage.gpu_rate(&gpu.model).0).sum();
        self.worth = Rate(worth);
        let offered = self.worker.iter().flat_map(|worker| {
            let gpus = worker.capacity.gpus.iter().enumerate();
            gpus.filter(|(_, gpu)| worker.offers(gpu))
        });
        self.places = Arc::new(offered.map(|(at, gpu)| (gpu.id.clone(), at)).collect());
        self.count_free();
    }

    pub(crate) fn enter(&mut self, job: &Arc<Job>, active: &Active) {
        self.jobs.insert(job.id, Arc::clone(job));
        self.starting += u32::from(job.state.stage().is_some_and(Stage::is_starting));
        let Some(held) = active.held() else {
            return;
        };
        self.cpu += held.cpu.0;
        self.memory += held.memory.0;
        for GpuShare { id: gpu, milli } in &held.gpus {
            *self.gpus.entry(gpu.clone()).or_default() += milli.0;
        }
        self.count_free();
    }

    pub(crate) fn leave(&mut self, job: &Job, active: &Active) {
        self.jobs.remove(&job.id);
        self.starting -= u32::from(job.state.stage().is_some_and(Stage::is_starting));
        let Some(held) = active.held() else {
            return;
        };
        self.cpu -= held.cpu.0;
        self.memory -= held.memory.0;
        for GpuShare { id: gpu, milli } in &held.gpus {
            if let Some(held) = self.gpus.get_mut(gpu) {
                *held -= milli.0;
                if *held == 0 {
                    self.gpus.remove(gpu);
                }
            }
        }
        self.count_free();
    }

    fn count_free(&mut self) {
        self.free.clear();
        let Some(worker) = &self.worker else {
            return;
        };
        self.free.extend(worker.capacity.gpus.iter().map(|gpu| {
            let held = self.gpus.get(&gpu.id).copied().unwrap_or(0);
            if worker.offers(gpu) {
                MilliGpu::WHOLE.0.saturating_sub(held)
            } else {
                0
            }
        }));
    }
}
