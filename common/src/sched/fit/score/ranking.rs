//! The machines that fit a request, best first, kept by request between decisions.
//!
//! Every change of a machine is logged by the index; before a ranking is used it catches up with the log.
//! So a decision costs what has changed since the last one that asked for the same, not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::WorkerId;
use crate::job::Job;
use crate::resources::{Allocation, Request};
use crate::sched::fit::fits::{Fitness, allocation, fitness, fitting, has_room, is_open};
use crate::sched::model::settings::{Placement, Settings};
use crate::sched::model::shape::ShapeId;
use crate::sched::state::index::{ClassId, Index};
use crate::sched::state::node_load::Room;

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
    fitness: BTreeMap<ClassId, Option<Arc<Fitness>>>,
}

impl Rankings {
    /// Whether any machine has room for the shape now.
    pub(crate) fn has_room(&mut self, index: &Index, settings: &Settings, shape: ShapeId) -> bool {
        let Some(request) = index.request(shape) else {
            return false;
        };
        let ranking = self.up_to_date(index, settings, shape, request);
        !ranking.order.is_empty()
    }

    /// Which of the shapes some of these machines have room for now. Asks them alone, and brings nothing else up to
    /// date.
    pub(crate) fn fitting(
        &mut self,
        index: &Index,
        settings: &Settings,
        shapes: impl Iterator<Item = ShapeId>,
        workers: &BTreeSet<WorkerId>,
    ) -> BTreeSet<ShapeId> {
        let rooms = workers.iter().filter_map(|worker| index.room(worker));
        let rooms: Vec<&Room> = rooms
            .filter(|room| is_open(settings, room, None).is_ok())
            .collect();
        let shapes = shapes.filter(|shape| {
            let Some(request) = index.request(*shape).filter(|_| !rooms.is_empty()) else {
                return false;
            };
            self.bound_kept(*shape);
            let ranking = self.by_shape.entry(*shape).or_default();
            rooms.iter().any(|room| {
                let fitness = ranking.fitness(room, request);
                fitness.is_some_and(|fitness| has_room(room, fitness).is_ok())
            })
        });
        shapes.collect()
    }

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
                        let worker = index.room(id).and_then(|room| room.worker.as_ref());
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

    fn allocate(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        job: &Job,
        id: &WorkerId,
    ) -> Option<Allocation> {
        let room = index.room(id)?;
        let worker = room.worker.as_ref()?;
        let ranking = self.by_shape.get(&shape)?;
        let fitness = ranking.fitness.get(&room.class)?.clone()?;
        let mut gpus = fitting(room, &fitness).ok()?;
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
                let mix = self.mix.on(room.class, &worker.capacity);
                let seen = Seen::new(lot(room), &mix, settings.placement);
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
        let (era, changed) = index.changed_rooms();
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
                    ranking.update(id, index.room(id), &mut context);
                }
            }
            Some(_) | None => {
                ranking.order.clear();
                ranking.scores.clear();
                for (id, room) in index.rooms() {
                    ranking.update(id, Some(room), &mut context);
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
    fn update(&mut self, id: &WorkerId, room: Option<&Room>, context: &mut Context<'_>) {
        let score = room.and_then(|room| self.score(room, context));
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

    fn score(&mut self, room: &Room, context: &mut Context<'_>) -> Option<Score> {
        is_open(context.settings, room, None).ok()?;
        let capacity = &room.worker.as_ref()?.capacity;
        let fitness = Arc::clone(self.fitness(room, context.request)?);
        let gpus = fitting(room, &fitness).ok()?;
        let placement = context.settings.placement;
        let mix = match placement {
            Placement::Default | Placement::Fgd => context.mix.on(room.class, capacity),
            Placement::BestFit | Placement::Random { .. } => Arc::new([]),
        };
        let seen = Seen::new(lot(room), &mix, placement);
        Some(score(placement, seen, &fitness, &gpus, context.scratch).0)
    }

    /// What the request comes to on machines like this one.
    fn fitness(&mut self, room: &Room, request: &Request) -> Option<&Arc<Fitness>> {
        let capacity = &room.worker.as_ref()?.capacity;
        let of_class = self.fitness.entry(room.class);
        let of_class = of_class.or_insert_with(|| fitness(capacity, request).ok().map(Arc::new));
        of_class.as_ref()
    }
}

fn lot(room: &Room) -> Lot<'_> {
    Lot {
        gpus: &room.free,
        cpu: room.free_cpu().0,
        memory: room.free_memory().0,
    }
}
