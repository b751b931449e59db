//! The scorers.

use crate::id::JobId;
use crate::sched::fit::fits::{Fitness, Needs};
use crate::sched::model::settings::Placement;

use super::frag::{Depth, Lot, Typical, fragment};

/// How good a machine is for a request; the lowest is taken. Whole numbers, so that equal is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score {
    /// What the policy minimises.
    pub(crate) first: i64,
    /// What is left of the machine: GPUs, then CPU.
    left: (u64, u64),
}

/// A machine as a scorer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    lot: Lot<'a>,
    mix: &'a [Typical],
    depth: Depth,
    /// What of it nobody could use as it is.
    fragment: f64,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(lot: Lot<'a>, mix: &'a [Typical], placement: Placement) -> Self {
        let depth = match placement {
            Placement::Default => Depth::Filled,
            Placement::Fgd | Placement::BestFit | Placement::Random { .. } => Depth::Next,
        };
        Self {
            lot,
            mix,
            depth,
            fragment: fragment(lot, mix, depth),
        }
    }
}

/// What `best-fit` counts as a whole machine's CPU and GPUs, in thousandths: the published comparison's.
const BEST_FIT_CPU: f64 = 128_000.0;
const BEST_FIT_GPUS: f64 = 8_000.0;

/// Scores a machine on which the request fits, and says which of its GPUs it would be given.
///
/// `fitting` are the GPUs that it could be given, the fullest first; there are as many as it needs.
pub(crate) fn score(
    placement: Placement,
    seen: Seen<'_>,
    fitness: &Fitness,
    fitting: &[usize],
    scratch: &mut Vec<u32>,
) -> (Score, Vec<usize>) {
    let needs = fitness.needs;
    let count = usize::try_from(needs.gpus).unwrap_or(usize::MAX);
    let fullest = || fitting.iter().take(count).copied().collect::<Vec<_>>();
    match placement {
        Placement::Default | Placement::Fgd => {
            let is_share = needs.gpus == 1 && needs.milli.0 < 1000;
            let (added, gpus) = if is_share {
                // GPUs that are equally full are equally good, so that each fullness is tried once.
                let mut tried = Vec::new();
                let mut best: Option<(i64, usize)> = None;
                for at in fitting {
                    let free = seen.lot.gpus.get(*at).copied().unwrap_or(0);
                    if tried.contains(&free) {
                        continue;
                    }
                    tried.push(free);
                    let added = added_fragment(seen, needs, &[*at], scratch);
                    if best.is_none_or(|(least, _)| added < least) {
                        best = Some((added, *at));
                    }
                }
                best.map_or((0, Vec::new()), |(added, at)| (added, vec![at]))
            } else {
                let gpus = fullest();
                (added_fragment(seen, needs, &gpus, scratch), gpus)
            };
            let left = left(seen.lot, needs);
            (Score { first: added, left }, gpus)
        }
        Placement::BestFit => {
            let (gpus, cpu) = left(seen.lot, needs);
            let first =
                fixed(0.5 * as_f64(cpu) / BEST_FIT_CPU + 0.5 * as_f64(gpus) / BEST_FIT_GPUS);
            (
                Score {
                    first,
                    left: (0, 0),
                },
                fullest(),
            )
        }
        Placement::Random { .. } => {
            let left = (0, 0);
            (Score { first: 0, left }, fullest())
        }
    }
}

/// By how much placing the request there adds to what nobody could use.
fn added_fragment(seen: Seen<'_>, needs: Needs, gpus: &[usize], scratch: &mut Vec<u32>) -> i64 {
    scratch.clear();
    scratch.extend_from_slice(seen.lot.gpus);
    for at in gpus {
        if let Some(free) = scratch.get_mut(*at) {
            *free = free.saturating_sub(needs.milli.0);
        }
    }
    let after = Lot {
        gpus: scratch,
        cpu: seen.lot.cpu.saturating_sub(needs.cpu.0),
        memory: seen.lot.memory.saturating_sub(needs.memory.0),
    };
    fixed((fragment(after, seen.mix, seen.depth) - seen.fragment) / 1000.0)
}

/// What would be left of a machine's GPUs and CPU.
fn left(lot: Lot<'_>, needs: Needs) -> (u64, u64) {
    let free: u64 = lot.gpus.iter().map(|free| u64::from(*free)).sum();
    let taken = u64::from(needs.gpus) * u64::from(needs.milli.0);
    (
        free.saturating_sub(taken),
        lot.cpu.saturating_sub(needs.cpu.0),
    )
}

/// A lot that is as good as a draw, and the same for the same job everywhere: a mixing function over the
/// seed, the job and the machine (or the GPU).
pub(crate) fn lot_of(seed: u64, job: JobId, number: u64) -> u64 {
    let mut mixed = seed
        .wrapping_add(job.0.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(number.wrapping_mul(0xd1b5_4a32_d192_ed03));
    // The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// In millionths, as a whole number.
fn fixed(value: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scores are a few GPUs large, and a cast that saturates still orders"
    )]
    let fixed = (value * 1e6).round() as i64;
    fixed
}

fn as_f64(value: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "thousandths of one machine's GPUs and cores"
    )]
    let value = value as f64;
    value
}
