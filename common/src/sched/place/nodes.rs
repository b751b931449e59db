//! What is known of the nodes: which shapes fit, where best, and from when on.

use crate::id::WorkerId;
use crate::job::Job;
use crate::resources::Allocation;
use crate::sched::fit::fit_cache::FitCache;
use crate::sched::fit::fits::Fitness;
use crate::sched::fit::reserve::EarliestStarts;
use crate::sched::fit::score::Rankings;
use crate::sched::model::reservation::Reservation;
use crate::sched::model::shape::ShapeId;
use crate::sched::state::core::State;
use crate::sched::state::node_load::NodeLoad;
use crate::time::Timestamp;

/// What was found about the nodes of one state, kept up to date by the state's log of changed nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    fits: FitCache,
    rankings: Rankings,
    earliest_starts: EarliestStarts,
}

impl Nodes {
    /// Forgets shapes that no job has any more.
    pub(crate) fn prune(&mut self, state: &State) {
        self.fits.prune(state.index());
    }

    /// Whether any node has room for the shape now.
    pub(crate) fn fits_somewhere(&mut self, state: &State, shape: ShapeId) -> bool {
        let (index, settings) = (state.index(), state.settings());
        self.fits.fits_somewhere(index, settings, shape)
    }

    /// What the shape comes to on this node if it has room for it now.
    pub(crate) fn fits_on(
        &mut self,
        state: &State,
        shape: ShapeId,
        node: &NodeLoad,
    ) -> Option<&Fitness> {
        let (index, settings) = (state.index(), state.settings());
        self.fits.fits_on(index, settings, shape, node)
    }

    /// The best node for a job now, and what the job would hold there.
    pub(crate) fn choose(
        &mut self,
        state: &State,
        job: &Job,
        shape: ShapeId,
        except: [Option<&WorkerId>; 2],
    ) -> Option<(WorkerId, Allocation)> {
        let (index, settings) = (state.index(), state.settings());
        self.rankings.best(index, settings, shape, job, except)
    }

    /// What a job would hold of one node now.
    pub(crate) fn choose_on(
        &mut self,
        state: &State,
        job: &Job,
        shape: ShapeId,
        worker: &WorkerId,
    ) -> Option<Allocation> {
        let (index, settings) = (state.index(), state.settings());
        self.rankings.best_on(index, settings, shape, job, worker)
    }

    /// The earliest reservation for a job.
    pub(crate) fn reserve(
        &mut self,
        state: &State,
        now: Timestamp,
        job: &Job,
        before: Option<&Reservation>,
    ) -> Option<Reservation> {
        self.earliest_starts.reserve(state, now, job, before)
    }
}
