//! Fragmentation: how much of a machine's free GPUs the typical requests could not use, in thousandths of
//! a GPU, expected over their mix.
//!
//! From "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent"
//! (Weng et al., USENIX ATC '23), section 4: for one request all that is free counts where the machine
//! lacks anything that the request needs, and else what is free on GPUs too full for it.

use crate::sched::fit::fits::Fitness;

/// What is free on one machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lot<'a> {
    pub(crate) gpus: &'a [u32],
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
}

/// A typical request as it comes to on one kind of machine, and how large a part of the mix it is.
#[derive(Debug, Clone)]
pub(crate) struct Typical {
    pub(crate) part: f64,
    /// Absent where the machine could never run it, or where it asks for no GPU.
    pub(crate) fitness: Option<Fitness>,
}

/// How far what is usable is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// By the next job: the published measure.
    Next,
    /// Also by the jobs after it. A machine with eight free GPUs and CPU for one job counts as wholly usable
    /// by the next job, and strands seven GPUs. On openb this allocates 0.3 % of all GPUs more.
    Filled,
}

/// How much of the measure is what a machine filled with the same request would use. A tenth to a half do
/// equally well on openb; nothing and all do worse.
const FILLED_PART: f64 = 0.25;

/// The expected fragment of what is free, in thousandths of a GPU.
pub(crate) fn fragment(lot: Lot<'_>, mix: &[Typical], depth: Depth) -> f64 {
    let total: u32 = lot.gpus.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let usable: f64 = mix
        .iter()
        .filter_map(|typical| Some(typical.part * usable(lot, typical.fitness.as_ref()?, depth)))
        .sum();
    let parts: f64 = mix.iter().map(|typical| typical.part).sum();
    parts * f64::from(total) - usable
}

/// What of the free GPUs one request could use.
fn usable(lot: Lot<'_>, fitness: &Fitness, depth: Depth) -> f64 {
    let needs = fitness.needs;
    if needs.cpu.0 > lot.cpu || needs.memory.0 > lot.memory {
        return 0.0;
    }
    let (mut usable, mut count) = (0, 0);
    for (at, free) in lot.gpus.iter().enumerate() {
        if *free >= needs.milli.0 && fitness.allows(at) {
            usable += free;
            count += 1;
        }
    }
    if count < needs.gpus {
        return 0.0;
    }
    let next = f64::from(usable);
    match depth {
        Depth::Next => next,
        Depth::Filled => {
            let by_cpu = lot.cpu.checked_div(needs.cpu.0).unwrap_or(u64::MAX);
            let by_memory = lot.memory.checked_div(needs.memory.0).unwrap_or(u64::MAX);
            let each = u64::from(needs.gpus) * u64::from(needs.milli.0);
            let all = by_cpu.min(by_memory).saturating_mul(each);
            let filled = u32::try_from(all).map_or(next, |all| f64::from(all).min(next));
            FILLED_PART * filled + (1.0 - FILLED_PART) * next
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{ByteSize, MilliCpu, MilliGpu};
    use crate::sched::fit::fits::Needs;

    fn typical(part: f64, gpus: u32, milli: u32, cpu: u64) -> Typical {
        let needs = Needs {
            gpus,
            milli: MilliGpu(milli),
            cpu: MilliCpu(cpu),
            memory: ByteSize(1),
        };
        let fitness = (gpus > 0).then_some(Fitness {
            needs,
            allowed: None,
        });
        Typical { part, fitness }
    }

    fn lot(gpus: &[u32], cpu: u64) -> Lot<'_> {
        let memory = 10;
        Lot { gpus, cpu, memory }
    }

    #[test]
    fn counts_what_nobody_could_use() {
        let one = [typical(1.0, 1, 500, 4)];
        let table: [(&[u32], u64, f64); 5] = [
            (&[1000, 400], 8, 400.0),
            (&[400, 400], 8, 800.0),
            (&[1000, 1000], 8, 0.0),
            (&[1000, 1000], 3, 2000.0),
            (&[0, 0], 8, 0.0),
        ];
        for (gpus, cpu, expected) in table {
            let found = fragment(lot(gpus, cpu), &one, Depth::Next);
            assert!((found - expected).abs() < 1e-9, "{gpus:?} {cpu}: {found}");
        }
    }

    #[test]
    fn looks_beyond_the_next_job_where_it_is_asked_to() {
        let one = [typical(1.0, 1, 1000, 4)];
        let four = [1000; 4];
        let fragment = |cpu| fragment(lot(&four, cpu), &one, Depth::Filled);
        assert!(fragment(16).abs() < 1e-9);
        // CPU for two more strands two GPUs, a quarter of which counts.
        assert!((fragment(8) - 500.0).abs() < 1e-9);
        assert!((fragment(3) - 4000.0).abs() < 1e-9);
    }

    #[test]
    fn is_expected_over_the_mix() {
        let mix = [
            typical(0.5, 1, 500, 4),
            typical(0.25, 2, 1000, 4),
            typical(0.25, 0, 0, 1),
        ];
        // Half a GPU is of no use to the first; the second lacks a whole one; the third uses none.
        let found = fragment(lot(&[1000, 400], 8), &mix, Depth::Next);
        assert!((found - (0.5 * 400.0 + 0.25 * 1400.0 + 0.25 * 1400.0)).abs() < 1e-9);
    }
}
