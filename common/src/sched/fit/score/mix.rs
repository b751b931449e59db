//! The typical mix of requests, learned from the jobs that are remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resources::{Capacity, Request};
use crate::sched::fit::fits::fitness;
use crate::sched::model::shape::NodeClassId;
use crate::sched::state::index::Index;

use super::frag::Typical;

/// The most requests that are taken as typical; the rarer ones change too little to pay for their time.
const TYPICAL_MAX: usize = 64;

/// The mix, and what it comes to on each kind of machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mix {
    requests: Vec<(f64, Arc<Request>)>,
    classes: BTreeMap<NodeClassId, Arc<[Typical]>>,
    /// How many jobs were known when it was learned.
    learned_from: usize,
}

impl Mix {
    /// Whether so much has come since it was learned that it is to be learned anew: an eighth, so that
    /// this stays cheap by job.
    pub(crate) fn is_outdated(&self, index: &Index) -> bool {
        let (now, then) = (index.jobs_known(), self.learned_from);
        now > then + then / 8 + 8 || now < then / 2
    }

    pub(crate) fn learn(&mut self, index: &Index) {
        let mut counted: Vec<(usize, Arc<Request>)> = index
            .requests()
            .map(|(request, known)| (known, Arc::clone(request)))
            .collect();
        // The commonest first; among equals by the request, so that the choice is no accident.
        counted.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.cmp(y)));
        counted.truncate(TYPICAL_MAX);
        let total: usize = counted.iter().map(|(known, _)| known).sum();
        self.requests = counted
            .into_iter()
            .map(|(known, request)| (ratio(known, total), request))
            .collect();
        self.classes.clear();
        self.learned_from = index.jobs_known();
    }

    /// What the mix comes to on machines of this class, of which `capacity` is one.
    pub(crate) fn on(&mut self, class: NodeClassId, capacity: &Capacity) -> Arc<[Typical]> {
        let requests = &self.requests;
        let typicals = self.classes.entry(class).or_insert_with(|| {
            let typicals = requests.iter().map(|(part, request)| Typical {
                part: *part,
                fitness: fitness(capacity, request)
                    .ok()
                    .filter(|fitness| fitness.needs.gpus > 0),
            });
            typicals.collect()
        });
        Arc::clone(typicals)
    }
}

fn ratio(part: usize, of: usize) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of jobs in memory are far below 2^53"
    )]
    let ratio = part as f64 / of as f64;
    ratio
}
