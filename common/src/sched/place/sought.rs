//! What a walk over the waiting jobs looks at: which shapes, and of each which jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::id::{UserName, WorkerId};
use crate::time::Timestamp;

use crate::sched::model::shape::{ShapeId, ShapeMask};
use crate::sched::place::ledger::Line;
use crate::sched::place::news::Recent;
use crate::sched::rank::account::{Ruler, penalty};
use crate::sched::rank::floor::has_floor;
use crate::sched::rank::order::{AtBest, Head, Merge, Place};
use crate::sched::rank::ranks::{Asked, Ranks};
use crate::sched::state::core::State;
use crate::sched::state::user_queue::Desk;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Sought {
    now: Timestamp,
    shapes: BTreeMap<ShapeId, OfShape>,
    /// The same shapes, or some more.
    mask: ShapeMask,
    /// Whether of every shape all jobs are looked at.
    is_whole: bool,
    /// The shapes that no machine has room for, but of which one may be the first that cannot start.
    full: BTreeSet<ShapeId>,
    /// The machines on which something has changed; `None` where all of them are tried.
    rooms: Option<BTreeSet<WorkerId>>,
    /// What users' guards keep back.
    guarded: BTreeSet<(UserName, ShapeId)>,
    /// How far the jobs of users with a floor were looked at.
    looked_at: BTreeMap<(UserName, ShapeId), Place>,
}

/// Jobs of one shape.
#[derive(Debug)]
struct OfShape {
    asked: Asked,
    /// Whether all of them are looked at, because they may fit on a machine that has changed.
    is_whole: bool,
    /// Those that are looked at whatever has changed, by user.
    only: Only,
}

type Only = BTreeMap<UserName, BTreeSet<Place>>;

impl Sought {
    fn nothing(now: Timestamp) -> Self {
        Self {
            now,
            shapes: BTreeMap::new(),
            mask: ShapeMask::default(),
            is_whole: true,
            full: BTreeSet::new(),
            rooms: None,
            guarded: BTreeSet::new(),
            looked_at: BTreeMap::new(),
        }
    }

    /// Every shape for which there is room, and, where the first job that cannot start is to be found, the others.
    pub(crate) fn everything(state: &mut State, now: Timestamp, looks_for_blocked: bool) -> Self {
        let mut sought = Self::nothing(now);
        let ready: Vec<ShapeId> = state.index().ready_shapes().collect();
        for shape in ready {
            let is_open = state.has_room(shape);
            if is_open || looks_for_blocked {
                sought.add(state, shape, true, Only::new());
            }
            if !is_open {
                sought.full.insert(shape);
            }
        }
        sought
    }

    /// What is new, where a place on the machine `reserved` is kept for a job.
    pub(crate) fn recent(
        state: &mut State,
        now: Timestamp,
        recent: Recent,
        reserved: Option<&WorkerId>,
    ) -> Self {
        let mut sought = Self::nothing(now);
        let ready: Vec<ShapeId> = state.index().ready_shapes().collect();
        let open = state.fitting(ready.iter().copied(), &recent.rooms);
        let mut only: BTreeMap<ShapeId, Only> = BTreeMap::new();
        for job in recent.jobs.iter().filter_map(|id| state.job(*id)) {
            if state.is_ready(job)
                && let Some(shape) = state.index().shape_of(&job.spec.request)
            {
                enter(only.entry(shape).or_default(), &job.user, Place::of(job));
            }
        }
        for user in &recent.users {
            let desk = state.index().desk(user);
            for (shape, places) in desk.iter().flat_map(|desk| &desk.ready) {
                let only = only.entry(*shape).or_default();
                only.insert(user.clone(), places.clone());
            }
        }
        if let Some(reserved) = reserved.filter(|_| !recent.learned.is_empty()) {
            let beside = state.fitting(ready.into_iter(), &[reserved.clone()].into());
            for user in &recent.learned {
                for shape in &beside {
                    for place in unsaid(state, user, *shape) {
                        enter(only.entry(*shape).or_default(), user, place);
                    }
                }
            }
        }
        for shape in &open {
            let only = only.remove(shape).unwrap_or_default();
            sought.add(state, *shape, true, only);
        }
        for (shape, only) in only {
            if state.has_room(shape) {
                sought.add(state, shape, false, only);
            }
        }
        sought.rooms = Some(recent.rooms);
        sought
    }

    fn add(&mut self, state: &State, shape: ShapeId, is_whole: bool, only: Only) {
        if let Some(request) = state.index().request(shape) {
            let asked = Asked::by(state, request);
            self.is_whole &= is_whole;
            self.mask.add(shape);
            let of_shape = OfShape {
                asked,
                is_whole,
                only,
            };
            self.shapes.insert(shape, of_shape);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Whether it is known that no machine has room for the shape.
    pub(crate) fn is_full(&self, shape: ShapeId) -> bool {
        self.full.contains(&shape)
    }

    /// Whether the user's job of this shape at this place is looked at.
    pub(crate) fn looks_at(&self, user: &UserName, shape: ShapeId, place: Place) -> bool {
        let of_shape = self.shapes.get(&shape);
        self.has(user, shape)
            && of_shape.is_some_and(|of_shape| {
                let places = of_shape.only.get(user);
                of_shape.is_whole || places.is_some_and(|places| places.contains(&place))
            })
    }

    /// Whether any jobs of the shape are looked at, and the user's if they are among them.
    fn has(&self, user: &UserName, shape: ShapeId) -> bool {
        self.mask.may_hold(shape)
            && self.shapes.contains_key(&shape)
            && (self.guarded.is_empty() || !self.guarded.contains(&(user.clone(), shape)))
    }

    /// Passes over the shape from now on.
    pub(crate) fn drop(&mut self, shape: ShapeId) {
        self.shapes.remove(&shape);
    }

    /// Passes over what no machine has room for from now on.
    pub(crate) fn drop_full(&mut self) {
        let full = &self.full;
        self.shapes.retain(|shape, _| !full.contains(shape));
    }

    /// Passes over the user's jobs of the shape from now on.
    pub(crate) fn drop_of(&mut self, user: UserName, shape: ShapeId) {
        self.guarded.insert((user, shape));
    }

    /// Passes over what no longer fits on the machines on which something has changed.
    pub(crate) fn drop_outgrown(&mut self, state: &mut State) {
        if let Some(rooms) = &self.rooms {
            let open = state.fitting(self.shapes.keys().copied(), rooms);
            for (shape, of_shape) in &mut self.shapes {
                of_shape.is_whole &= open.contains(shape);
                self.is_whole &= of_shape.is_whole;
            }
            self.shapes
                .retain(|_, of_shape| of_shape.is_whole || !of_shape.only.is_empty());
        }
    }

    /// Looks at the next task of an array of which one that stood at `before` was begun.
    pub(crate) fn go_on(&mut self, user: &UserName, shape: ShapeId, before: Place, place: Place) {
        let of_shape = self.shapes.get_mut(&shape);
        let places = of_shape.and_then(|of_shape| of_shape.only.get_mut(user));
        if let Some(places) = places
            && places.contains(&before)
        {
            places.insert(place);
        }
    }

    /// Takes note of how far the jobs of a user with a floor were looked at.
    pub(crate) fn looked_at(&mut self, user: &UserName, shape: ShapeId, place: Place) {
        self.looked_at.insert((user.clone(), shape), place);
    }

    /// Puts up the first job of each user, or how soon their turn could be at best.
    pub(crate) fn put_up(&self, state: &State, merge: &mut Merge<ShapeId>) {
        let ledger = state.index().ledger();
        let head = |user: &UserName| self.head_of(state, &merge.ranks, user);
        let named = self.named();
        if self.shapes.values().all(|of_shape| !of_shape.is_whole) {
            let heads: Vec<_> = named.into_iter().filter_map(head).collect();
            merge.fill(heads);
            return;
        }
        let mut heads = Vec::new();
        let ruler = Ruler::of(state, self.now);
        let asks = Asks::of(&self.shapes);
        let mut at_best = Vec::with_capacity(ledger.lines().len());
        for (number, line) in ledger.lines().iter().enumerate() {
            let Some(least) = asks.least(line) else {
                continue;
            };
            let user = ledger.user(number);
            if !line.is_alone || user.is_some_and(|user| named.contains(user)) {
                heads.extend(user.and_then(head));
                continue;
            }
            let (class, submitted_at) = line.best;
            let penalty = ruler.penalty(&line.had, line.rate);
            let ranks = &merge.ranks;
            let standing = ranks.standing(state.settings(), penalty, true, least, submitted_at);
            at_best.push(AtBest {
                class,
                rank: standing.rank,
                submitted_at,
                line: number,
            });
        }
        merge.fill(heads);
        merge.expect(at_best);
    }

    /// Those of whose jobs of some shape only some are looked at.
    fn named(&self) -> BTreeSet<&UserName> {
        let shapes = self.shapes.values();
        let some = shapes.filter(|of_shape| !of_shape.is_whole);
        some.flat_map(|of_shape| of_shape.only.keys()).collect()
    }

    /// The first job of the user whose line in the ledger this is.
    pub(crate) fn head_in_line(
        &self,
        state: &State,
        ranks: &Ranks,
        line: usize,
    ) -> Option<Head<ShapeId>> {
        let index = state.index();
        let (user, desk) = index.ledger().user(line).zip(index.desk_in_line(line))?;
        self.head(state, ranks, user, desk, Bound::Unbounded)
    }

    fn head_of(&self, state: &State, ranks: &Ranks, user: &UserName) -> Option<Head<ShapeId>> {
        let desk = state.index().desk(user)?;
        self.head(state, ranks, user, desk, Bound::Unbounded)
    }

    /// The user's first job from there on that may still be looked at.
    pub(crate) fn head(
        &self,
        state: &State,
        ranks: &Ranks,
        user: &UserName,
        desk: &Desk,
        from: Bound<Place>,
    ) -> Option<Head<ShapeId>> {
        let has_floor = has_floor(state.index(), desk);
        let found = if self.is_whole && !has_floor && from == Bound::Unbounded {
            let first = desk.first(|shape| self.has(user, shape));
            first.map(|(place, shape)| (place, shape, true))
        } else {
            self.search(state, ranks, user, desk, from)
        };
        let (place, shape, is_past) = found?;
        let asked = self.shapes.get(&shape)?.asked;
        let penalty = penalty(state, self.now, desk);
        let since = place.submitted_at;
        let standing = ranks.standing(state.settings(), penalty, is_past, asked, since);
        Some(Head::new(standing, place, desk, shape))
    }

    /// The same by the first job of each shape; with it goes whether it is past a floor.
    fn search(
        &self,
        state: &State,
        ranks: &Ranks,
        user: &UserName,
        desk: &Desk,
        from: Bound<Place>,
    ) -> Option<(Place, ShapeId, bool)> {
        let has_floor = has_floor(state.index(), desk);
        let firsts = self.shapes.iter().filter_map(|(shape, of_shape)| {
            let places = if of_shape.is_whole {
                desk.ready.get(shape)?
            } else {
                of_shape.only.get(user)?
            };
            let from = if has_floor {
                let before = self.looked_at.get(&(user.clone(), *shape));
                before.map_or(Bound::Unbounded, |place| Bound::Excluded(*place))
            } else {
                from
            };
            let place = match from {
                Bound::Unbounded => places.first()?,
                Bound::Included(_) | Bound::Excluded(_) => {
                    places.range((from, Bound::Unbounded)).next()?
                }
            };
            let is_past = !has_floor || ranks.is_past_floor(state, desk, 0, of_shape.asked);
            self.has(user, *shape).then_some((*place, *shape, is_past))
        });
        firsts.min_by_key(|(place, _, is_past)| (place.class, *is_past, *place))
    }
}

fn enter(only: &mut Only, user: &UserName, place: Place) {
    only.entry(user.clone()).or_default().insert(place);
}

/// The user's next jobs of a shape whose run times are learned, not said.
fn unsaid(state: &State, user: &UserName, shape: ShapeId) -> Vec<Place> {
    let desk = state.index().desk(user).filter(|desk| desk.unsaid > 0);
    let places = desk.and_then(|desk| desk.ready.get(&shape));
    let places = places.into_iter().flatten().filter(|place| {
        let job = state.job(place.job);
        job.is_some_and(|job| job.spec.time_request.is_none())
    });
    let most = state.settings().backfill_window;
    places.take(most).copied().collect()
}

/// What is asked for by jobs of the shapes that are looked at.
struct Asks {
    /// The least first, each with the shapes that ask for just that.
    steps: Vec<(Asked, ShapeMask)>,
    /// By their place in a mask; nothing where two share one.
    placed: [Option<(ShapeId, Asked)>; ShapeMask::PLACES],
}

impl Asks {
    fn of(shapes: &BTreeMap<ShapeId, OfShape>) -> Self {
        let mut placed = [None; ShapeMask::PLACES];
        let mut shared = ShapeMask::default();
        let mut mask = ShapeMask::default();
        let mut all: Vec<(Asked, ShapeId)> = Vec::with_capacity(shapes.len());
        for (shape, of_shape) in shapes {
            all.push((of_shape.asked, *shape));
            if mask.may_hold(*shape) {
                shared.add(*shape);
            }
            mask.add(*shape);
            if let Some(place) = placed.get_mut(shape.place()) {
                *place = Some((*shape, of_shape.asked));
            }
        }
        if shared != ShapeMask::default() {
            placed = [None; ShapeMask::PLACES];
        }
        all.sort_by(|(a, _), (b, _)| a.cmp_part(b));
        let steps = all.chunk_by(|(a, _), (b, _)| a.cmp_part(b).is_eq());
        let steps = steps.filter_map(|step| {
            let (least, _) = step.first()?;
            Some((*least, step.iter().map(|(_, shape)| shape).collect()))
        });
        Self {
            steps: steps.collect(),
            placed,
        }
    }

    /// What the user's next job of these shapes asks for at least; `None` where they have none.
    fn least(&self, line: &Line) -> Option<Asked> {
        let mut steps = self.steps.iter();
        let (least, _) = steps.find(|(_, step)| step.may_meet(line.shapes))?;
        let mut next = line.next.iter().map_while(|shape| *shape);
        let next = next.find_map(|shape| {
            let placed = self.placed.get(shape.place())?.as_ref();
            placed.filter(|(sought, _)| *sought == shape)
        });
        Some(next.map_or(*least, |(_, asked)| *asked))
    }
}
