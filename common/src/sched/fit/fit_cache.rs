//! Which shapes fit on some node now. A shape that fitted nowhere is only tried again on nodes that changed since,
//! so that a full cluster with many kinds of queued jobs costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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
    /// Nodes that had room when they were last looked at.
    fitting: BTreeSet<WorkerId>,
    /// Nodes after this one have not been looked at in this era.
    scanned: Scanned,
    /// The part of the log of changed nodes that this takes into account.
    read: (u64, usize),
    fitness: BTreeMap<NodeClassId, Option<Fitness>>,
}

/// How far the nodes have been looked at, in their order.
#[derive(Debug, Clone, Default)]
enum Scanned {
    #[default]
    Nothing,
    To(WorkerId),
    All,
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
        known.fits_somewhere(index, settings, request)
    }

    /// What the shape comes to on a node if that has room for it now.
    pub(crate) fn fits_on(
        &mut self,
        index: &Index,
        settings: &Settings,
        shape: ShapeId,
        node: &NodeLoad,
    ) -> Option<&Fitness> {
        let request = index.request(shape)?;
        let known = self.0.entry(shape).or_default();
        known.on(settings, request, node)
    }
}

impl Known {
    fn fits_somewhere(&mut self, index: &Index, settings: &Settings, request: &Request) -> bool {
        let (era, changed) = index.changed_nodes();
        if self.read.0 != era {
            self.fitting.clear();
            self.scanned = Scanned::Nothing;
            self.read = (era, changed.len());
        }
        while let Some(first) = self.fitting.first().cloned() {
            let node = index.node(&first);
            if node.is_some_and(|node| self.fits(settings, request, node)) {
                return true;
            }
            self.fitting.remove(&first);
        }
        let changed_since = changed.get(self.read.1..).unwrap_or_default();
        let changed_since: BTreeSet<&WorkerId> = changed_since.iter().collect();
        self.read.1 = changed.len();
        for id in changed_since {
            let node = index.node(id);
            if node.is_some_and(|node| self.fits(settings, request, node)) {
                self.fitting.insert(id.clone());
            }
        }
        !self.fitting.is_empty() || self.scan(index, settings, request)
    }

    /// Looks for room on the nodes that have not been looked at.
    fn scan(&mut self, index: &Index, settings: &Settings, request: &Request) -> bool {
        let from = match &self.scanned {
            Scanned::Nothing => Bound::Unbounded,
            Scanned::To(last) => Bound::Excluded(last.clone()),
            Scanned::All => return false,
        };
        let mut nodes = index.nodes().range((from, Bound::Unbounded));
        let found = nodes.find(|(_, node)| self.fits(settings, request, node));
        self.scanned = found.map_or(Scanned::All, |(id, _)| Scanned::To(id.clone()));
        self.fitting.extend(found.map(|(id, _)| id.clone()));
        found.is_some()
    }

    fn fits(&mut self, settings: &Settings, request: &Request, node: &NodeLoad) -> bool {
        self.on(settings, request, node).is_some()
    }

    fn on(&mut self, settings: &Settings, request: &Request, node: &NodeLoad) -> Option<&Fitness> {
        let worker = node.worker.as_ref()?;
        is_open(settings, node, None).ok()?;
        let fitness = self.fitness.entry(node.class);
        let fitness = fitness.or_insert_with(|| fitness_on(&worker.capacity, request));
        let fitness = fitness.as_ref()?;
        has_room(node, fitness).ok()?;
        Some(fitness)
    }
}

fn fitness_on(capacity: &crate::resources::Capacity, request: &Request) -> Option<Fitness> {
    fitness(capacity, request).ok()
}
