//! One user's jobs, kept up to date by [`crate::sched::state::index`] as jobs come and go. Never stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::GroupName;
use crate::job::{Class, Job};
use crate::penalty::usage::Rate;
use crate::resources::MilliGpu;
use crate::time::Timestamp;

use crate::sched::model::shape::{ShapeId, ShapeMask};
use crate::sched::rank::order::Place;
use crate::sched::state::counts::Tally;

/// One user's jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Desk {
    /// Those that may start, by shape.
    pub(crate) ready: BTreeMap<ShapeId, BTreeSet<Place>>,
    /// The shapes of those, in the user's own order of their first ones.
    order: Vec<ShapeId>,
    /// Their first ones.
    firsts: Vec<Place>,
    /// The best class of the first ones, and when the oldest of them was submitted.
    pub(crate) best: (Class, Timestamp),
    /// The shapes of those that may start, or some more.
    pub(crate) shapes: ShapeMask,
    /// Of how many of those nobody said how long they run.
    pub(crate) unsaid: usize,
    /// Those that wait for something else than a machine.
    pub(crate) parked: BTreeSet<Place>,
    /// How many they are, and what they hold.
    pub(crate) tally: Tally,
    /// What is charged for those that have a machine.
    pub(crate) rate: Rate,
    /// A copy of the user's.
    pub(crate) group: Option<GroupName>,
    /// A copy of the user's.
    pub(crate) floor: Option<MilliGpu>,
    /// A copy of what the user has had, so that ranking all users looks none of them up.
    pub(crate) had: Had,
}

impl Desk {
    /// Takes in a job that may start.
    pub(crate) fn enter(&mut self, shape: ShapeId, job: &Job) {
        let place = Place::of(job);
        let places = self.ready.entry(shape).or_default();
        if places.insert(place) {
            self.unsaid += usize::from(job.spec.time_request.is_none());
            if places.first() == Some(&place) {
                self.put_in_order(shape);
            }
        }
    }

    /// Takes out a job. Whether it was one that may start.
    pub(crate) fn leave(&mut self, shape: ShapeId, job: &Job) -> bool {
        let place = Place::of(job);
        let Some(places) = self.ready.get_mut(&shape) else {
            return false;
        };
        let was_first = places.first() == Some(&place);
        if !places.remove(&place) {
            return false;
        }
        self.unsaid -= usize::from(job.spec.time_request.is_none());
        if places.is_empty() {
            self.ready.remove(&shape);
            self.shapes = self.ready.keys().collect();
        }
        if was_first {
            self.put_in_order(shape);
        }
        true
    }

    /// Puts a shape where its first job, which is another than before, belongs.
    fn put_in_order(&mut self, shape: ShapeId) {
        if let Some(at) = self.order.iter().position(|other| *other == shape) {
            self.order.remove(at);
            self.firsts.remove(at);
        }
        if let Some(first) = self.ready.get(&shape).and_then(BTreeSet::first) {
            let at = self.firsts.partition_point(|other| other < first);
            self.order.insert(at, shape);
            self.firsts.insert(at, *first);
            self.shapes.add(shape);
        }
        let classes = self.firsts.iter().map(|place| place.class);
        let submitted = self.firsts.iter().map(|place| place.submitted_at);
        self.best = classes.min().zip(submitted.min()).unwrap_or_default();
    }

    /// The shapes of jobs that may start, in the user's own order of the first job of each.
    pub(crate) fn shapes_in_order(&self) -> &[ShapeId] {
        &self.order
    }

    /// The user's first job of the shapes that `is_sought` says.
    pub(crate) fn first(&self, is_sought: impl Fn(ShapeId) -> bool) -> Option<(Place, ShapeId)> {
        let mut order = self.order.iter();
        let at = order.position(|shape| is_sought(*shape))?;
        Some((*self.firsts.get(at)?, *self.order.get(at)?))
    }
}

/// What a user has had, as [`crate::sched::User`] says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Had {
    pub(crate) weight: f64,
    pub(crate) usage: f64,
    pub(crate) usage_at: Timestamp,
    pub(crate) recency: f64,
    pub(crate) recency_at: u64,
}

impl Default for Had {
    fn default() -> Self {
        Self {
            weight: 1.0,
            usage: 0.0,
            usage_at: Timestamp::default(),
            recency: 0.0,
            recency_at: 0,
        }
    }
}
