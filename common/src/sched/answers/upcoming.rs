//! Which waiting jobs each node probably runs next, so that their images can be made ready there.
//!
//! No decision rests on it: where a job runs is decided when it starts.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{JobId, WorkerId};
use crate::job::ImageKey;
use crate::time::Timestamp;

use crate::sched::answers::lookahead::next_starts;
use crate::sched::state::core::State;

/// Images for each node. More would wait there for long, and take room on its disk.
const IMAGES_MAX: usize = 4;
/// So many starts are looked ahead. Each costs a pass or two.
const STARTS_MAX: usize = 200;

/// The jobs that each node probably starts next, those that start first first: at most four for each node, of which no
/// two have the same image. An array stands for its tasks. `before` is the node that each job was expected to start on
/// at the last look: it is kept while that node takes jobs, so that an image which is being made there is of use.
///
/// Jobs with secrets are left out: a secret is used only for a job that has been given its machine.
#[must_use]
pub fn upcoming(
    state: State,
    now: Timestamp,
    before: &BTreeMap<JobId, WorkerId>,
) -> BTreeMap<WorkerId, Vec<JobId>> {
    let waiting = state.jobs().filter(|job| job.state.waiting() > 0);
    let waiting = waiting.filter(|job| job.state.hold().is_none());
    let waiting: Vec<JobId> = waiting.map(|job| job.id).collect();
    let open = state.workers().filter(|worker| worker.takes_jobs());
    let open: BTreeSet<WorkerId> = open.map(|worker| worker.id.clone()).collect();
    let mut jobs = BTreeMap::<WorkerId, Vec<JobId>>::new();
    let mut images = BTreeMap::<WorkerId, BTreeSet<ImageKey>>::new();
    let mut seen = BTreeSet::new();
    for (node, job) in next_starts(state, now, &waiting, STARTS_MAX) {
        if !job.spec.secrets.is_empty() {
            continue;
        }
        let waits = |id: &JobId| waiting.binary_search(id).is_ok();
        let (id, node) = if waits(&job.id) {
            if !seen.insert(job.id) {
                continue;
            }
            let kept = before.get(&job.id).filter(|node| open.contains(*node));
            (job.id, kept.cloned().unwrap_or(node))
        } else if let Some(array) = job.task.map(|task| task.array).filter(waits) {
            (array, node)
        } else {
            // It runs now, and begins again after it gave way.
            continue;
        };
        let images = images.entry(node.clone()).or_default();
        let image = ImageKey::of(&job.user, job.bundle, &job.spec);
        if images.len() < IMAGES_MAX && images.insert(image) {
            jobs.entry(node).or_default().push(id);
        }
    }
    jobs
}
