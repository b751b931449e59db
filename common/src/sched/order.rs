//! Whose turn it is: the one order that placing, listing and explaining share.
//!
//! Class decides first, then the rank of the user, then, between users of equal rank, who submitted
//! first. Within one user priority decides, then submission, then the id, so that the order is total.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::id::JobId;
use crate::job::{Class, Job};
use crate::time::Timestamp;

/// A job's place among the jobs of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) class: Class,
    priority: Reverse<i32>,
    pub(super) submitted_at: Timestamp,
    next: JobId,
    pub(super) job: JobId,
}

impl Place {
    pub(super) fn of(job: &Job) -> Self {
        Self {
            class: job.spec.class,
            priority: Reverse(job.priority),
            submitted_at: job.submitted_at,
            next: job.next_id(),
            job: job.id,
        }
    }
}

/// A user's rank value; the lower, the sooner. Ordered totally, so that no value can upset the order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rank(pub(super) f64);

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Merges the queues of many users into one. With each job goes something that the caller wants back; it
/// breaks no tie, because ids differ.
#[derive(Debug)]
pub(super) struct Merge<T: Ord> {
    heads: BinaryHeap<Reverse<Head<T>>>,
}

/// The first job of a user, in the order in which the users take turns.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head<T> {
    class: Class,
    rank: Rank,
    submitted_at: Timestamp,
    job: JobId,
    place: Place,
    with: T,
}

impl<T> Head<T> {
    pub(super) const fn new(rank: Rank, place: Place, with: T) -> Self {
        Self {
            class: place.class,
            rank,
            submitted_at: place.submitted_at,
            job: place.job,
            place,
            with,
        }
    }
}

impl<T: Ord> Merge<T> {
    /// Of these users' first jobs.
    pub(super) fn of(heads: impl Iterator<Item = Head<T>>) -> Self {
        // Made from a whole list, because to push them one by one costs more.
        let heads: Vec<_> = heads.map(Reverse).collect();
        Self {
            heads: heads.into(),
        }
    }

    /// Puts up the next job of a user; one at a time.
    pub(super) fn push(&mut self, head: Head<T>) {
        self.heads.push(Reverse(head));
    }

    /// Takes the job whose turn it is. Its user is out until their next job is put up.
    pub(super) fn pop(&mut self) -> Option<(Place, T)> {
        let Reverse(head) = self.heads.pop()?;
        Some((head.place, head.with))
    }
}
