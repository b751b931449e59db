//! The machines that fit a request, best first, kept by request between decisions.
//!
//! Every change of a machine is logged by the index; before a ranking is used it catches up with the log.
//! So a decision costs what has changed since the last one that asked for the same, not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::WorkerId;
use crate::job::Job;
use crate::resources::{Allocation, Request};
use crate::sched::fit::fits::{Fitness, allocation, fitness, fitting, is_open};
use crate::sched::model::settings::{Placement, Settings};
use crate::sched::model::shape::{NodeClassId, ShapeId};
use crate::sched::state::index::Index;
use crate::sched::state::node_load::NodeLoad;

use super::frag::Lot;
use super::mix::Mix;
use super::scorer::{Score, Seen, lot_of, score};

/// The most requests whose rankings are kept. Beyond that all are dropped and built anew as needed.
const KEPT_MAX: usize = 512;

/// The most equally good machines that are searched for one that holds the image.
const IMAGE_SEARCH_MAX: usize = 64;

/// All rankings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rankings {
    mix: Mix,
    by_shape: BTreeMap<ShapeId, Ranking>,
    scratch: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
struct Ranking {
    seen: Option<(u64, usize)>,
    order: BTreeSet<(Score, WorkerId)>,
    scores: BTreeMap<WorkerId, Score>,
    fitness: BTreeMap<NodeClassId, Option<Arc<Fitness>>>,
}

impl Rankings {
    /// The best machine for the job but those to be avoided, and what the job would hold of it.
    pub(crate) fn best(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        job: &Job,
        avoid: [Option<&WorkerId>; 2],
    ) -> Option<(WorkerId, Allocation)> {
        let request = Arc::clone(index.request(shape)?);
        let ranking = self.up_to_date(index, settings, shape, &request);
        let ranked = ranking.order.iter();
        let ranked = ranked.filter(|(_, id)| !avoid.contains(&Some(id)));
        let id = match settings.placement {
            Placement::Default => {
                let (best, first) = ranked.clone().next()?;
                let equal = ranked.take_while(|(score, _)| score.first == best.first);
                let mut searched = equal.take(IMAGE_SEARCH_MAX);
                let holder = job.bundle.and_then(|bundle| {
                    searched.find(|(_, id)| {
                        let worker = index.node(id).and_then(|node| node.worker.as_ref());
                        worker.is_some_and(|worker| worker.images.contains(&bundle.digest))
                    })
                });
                holder.map_or(first, |(_, id)| id)
            }
            Placement::Fgd | Placement::BestFit => &ranked.clone().next()?.1,
            Placement::Random { seed } => {
                let numbered = (0..).zip(ranked);
                let drawn = numbered.min_by_key(|(at, _)| lot_of(seed, job.id, *at));
                &drawn?.1.1
            }
        };
        let id = id.clone();
        let allocation = self.allocate(index, settings, shape, job, &id)?;
        Some((id, allocation))
    }

    /// What the job would hold of this node; `None` when it has no room for it now.
    pub(crate) fn best_on(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        job: &Job,
        worker: &WorkerId,
    ) -> Option<Allocation> {
        let request = Arc::clone(index.request(shape)?);
        let ranking = self.up_to_date(index, settings, shape, &request);
        ranking.scores.get(worker)?;
        self.allocate(index, settings, shape, job, worker)
    }

    fn allocate(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        job: &Job,
        id: &WorkerId,
    ) -> Option<Allocation> {
        let node = index.node(id)?;
        let worker = node.worker.as_ref()?;
        let ranking = self.by_shape.get(&shape)?;
        let fitness = ranking.fitness.get(&node.class)?.clone()?;
        let mut gpus = fitting(node, &fitness).ok()?;
        let chosen = match settings.placement {
            Placement::Random { seed } => {
                gpus.sort_by_key(|at| {
                    let number = u64::try_from(*at).unwrap_or(u64::MAX);
                    lot_of(!seed, job.id, number)
                });
                gpus.truncate(usize::try_from(fitness.needs.gpus).unwrap_or(usize::MAX));
                gpus
            }
            Placement::Default | Placement::Fgd | Placement::BestFit => {
                let mix = self.mix.on(node.class, &worker.capacity);
                let seen = Seen::new(lot(node), &mix, settings.placement);
                score(settings.placement, seen, &fitness, &gpus, &mut self.scratch).1
            }
        };
        Some(allocation(&worker.capacity, &fitness, &chosen))
    }

    /// Makes sure that there is room for what is kept of one more shape.
    fn bound_kept(&mut self, shape: ShapeId) {
        if self.by_shape.len() >= KEPT_MAX && !self.by_shape.contains_key(&shape) {
            self.by_shape.clear();
        }
    }

    fn up_to_date(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        request: &Request,
    ) -> &Ranking {
        if self.mix.is_outdated(index) {
            self.mix.learn(index);
            self.by_shape.clear();
        }
        self.bound_kept(shape);
        let ranking = self.by_shape.entry(shape).or_default();
        let (era, changed) = index.changed_nodes();
        let mut context = Context {
            settings,
            request,
            mix: &mut self.mix,
            scratch: &mut self.scratch,
        };
        match ranking.seen {
            Some((seen_era, seen)) if seen_era == era => {
                let news = changed.get(seen..).unwrap_or_default();
                let news: BTreeSet<&WorkerId> = news.iter().collect();
                for id in news {
                    ranking.update(id, index.node(id), &mut context);
                }
            }
            Some(_) | None => {
                ranking.order.clear();
                ranking.scores.clear();
                for (id, node) in index.nodes() {
                    ranking.update(id, Some(node), &mut context);
                }
            }
        }
        ranking.seen = Some((era, changed.len()));
        ranking
    }
}

/// What scoring a machine takes besides the machine.
struct Context<'a> {
    settings: &'a Settings,
    request: &'a Request,
    mix: &'a mut Mix,
    scratch: &'a mut Vec<u32>,
}

impl Ranking {
    fn update(&mut self, id: &WorkerId, node: Option<&NodeLoad>, context: &mut Context<'_>) {
        let score = node.and_then(|node| self.score(node, context));
        let before = match score {
            Some(score) => self.scores.insert(id.clone(), score),
            None => self.scores.remove(id),
        };
        if before == score {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, id.clone()));
        }
        if let Some(score) = score {
            self.order.insert((score, id.clone()));
        }
    }

    fn score(&mut self, node: &NodeLoad, context: &mut Context<'_>) -> Option<Score> {
        is_open(context.settings, node, None).ok()?;
        let capacity = &node.worker.as_ref()?.capacity;
        let fitness = Arc::clone(self.fitness(node, context.request)?);
        let gpus = fitting(node, &fitness).ok()?;
        let placement = context.settings.placement;
        let mix = match placement {
            Placement::Default | Placement::Fgd => context.mix.on(node.class, capacity),
            Placement::BestFit | Placement::Random { .. } => Arc::new([]),
        };
        let seen = Seen::new(lot(node), &mix, placement);
        Some(score(placement, seen, &fitness, &gpus, context.scratch).0)
    }

    /// What the request comes to on machines like this one.
    fn fitness(&mut self, node: &NodeLoad, request: &Request) -> Option<&Arc<Fitness>> {
        let capacity = &node.worker.as_ref()?.capacity;
        let of_class = self.fitness.entry(node.class);
        let of_class = of_class.or_insert_with(|| fitness(capacity, request).ok().map(Arc::new));
        of_class.as_ref()
    }
}

fn lot(node: &NodeLoad) -> Lot<'_> {
    Lot {
        gpus: &node.free,
        cpu: node.free_cpu().0,
        memory: node.free_memory().0,
    }
}
