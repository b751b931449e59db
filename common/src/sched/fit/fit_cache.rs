//! Which shapes fit on some node now. A shape that fitted nowhere is only tried again on nodes that changed since,
//! so that a full cluster with many kinds of queued jobs costs little.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::WorkerId;
use crate::resources::Request;
use crate::sched::model::settings::Settings;
use crate::sched::model::shape::{NodeClassId, ShapeId};
use crate::sched::state::index::Index;
use crate::sched::state::node_load::NodeLoad;

use super::fits::{Fitness, fitness, has_room, is_open};

/// Shapes that are gone are forgotten once so many are known.
const PRUNE_AT: usize = 1024;

/// What is known of each shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct FitCache(BTreeMap<ShapeId, Known>);

#[derive(Debug, Clone, Default)]
struct Known {
    /// A node where it fitted; `None` when it fitted nowhere.
    on: Option<WorkerId>,
    /// The part of the log of changed nodes that this takes into account; `None` before the first look.
    read: Option<(u64, usize)>,
    fitness: BTreeMap<NodeClassId, Option<Fitness>>,
}

impl FitCache {
    /// Forgets shapes that no job has any more.
    pub(crate) fn prune(&mut self, index: &Index) {
        if self.0.len() > PRUNE_AT {
            self.0.retain(|shape, _| index.request(*shape).is_some());
        }
    }

    /// Whether any node has room for the shape now.
    pub(crate) fn fits_somewhere(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
    ) -> bool {
        let Some(request) = index.request(shape) else {
            return false;
        };
        let known = self.0.entry(shape).or_default();
        let (era, changed) = index.changed_nodes();
        if let Some(on) = &known.on {
            let node = index.node(on);
            if node.is_some_and(|node| known.fits(settings, request, node)) {
                return true;
            }
        }
        let found = match (&known.on, known.read) {
            (None, Some((then, read))) if then == era => {
                let changed: BTreeSet<&WorkerId> =
                    changed.get(read..).unwrap_or_default().iter().collect();
                let mut nodes = changed
                    .into_iter()
                    .filter_map(|id| Some((id, index.node(id)?)));
                nodes.find(|(_, node)| known.fits(settings, request, node))
            }
            _ => {
                let mut nodes = index.nodes().iter();
                nodes.find(|(_, node)| known.fits(settings, request, node))
            }
        };
        known.on = found.map(|(id, _)| id.clone());
        known.read = Some((era, changed.len()));
        known.on.is_some()
    }

    /// Whether a node has room for the shape now.
    pub(crate) fn fits_on(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        worker: &WorkerId,
    ) -> bool {
        let (Some(request), Some(node)) = (index.request(shape), index.node(worker)) else {
            return false;
        };
        let known = self.0.entry(shape).or_default();
        known.fits(settings, request, node)
    }
}

impl Known {
    fn fits(&mut self, settings: &Settings, request: &Request, node: &NodeLoad) -> bool {
        let Some(worker) = &node.worker else {
            return false;
        };
        if is_open(settings, node, None).is_err() {
            return false;
        }
        let fitness = self.fitness.entry(node.class);
        let fitness = fitness.or_insert_with(|| fitness_on(&worker.capacity, request));
        let fitness = fitness.as_ref();
        fitness.is_some_and(|fitness| has_room(node, fitness).is_ok())
    }
}

fn fitness_on(capacity: &crate::resources::Capacity, request: &Request) -> Option<Fitness> {
    fitness(capacity, request).ok()
}
