//! Whose turn it is: the one order that placing, listing and explaining share.
//!
//! Class goes first, then the rank of the user or group ([`super::ranks`]). Between equal ranks the order of one
//! user's jobs ([`super::next`]) decides, without their priorities, and last the id, so that the order is total.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use crate::id::{GroupName, JobId};
use crate::job::Class;
use crate::sched::model::queue_key::QueueKey;
use crate::sched::state::user_queue::UserQueue;
use crate::time::Timestamp;

use super::next::Next;
use super::ranks::{Rank, Ranked, Ranks};
use super::value::Value;

/// The next job of a user, as the members of a group are compared, or the users and groups at the top. Or a bound:
/// no job of the user goes before it.
#[derive(Debug)]
pub(crate) struct Head<T> {
    rank: Rank,
    /// `None` in a bound, which so goes before equal ranks.
    urgency: Option<Value>,
    pub(crate) key: QueueKey,
    /// What the caller gave with the job.
    pub(crate) with: T,
    job_terms: Value,
    group: Option<GroupName>,
}

impl<T> Head<T> {
    pub(crate) fn new(ranked: Ranked, next: Next<T>, user_queue: &UserQueue) -> Self {
        Self {
            rank: ranked.rank,
            urgency: Some(next.urgency()),
            key: next.entry.key,
            with: next.with,
            job_terms: ranked.job_terms,
            group: user_queue.group.clone(),
        }
    }

    /// A bound: the jobs of the user have no better class than this one, rank no better than so, and are no older.
    /// `job_terms` bounds those of the jobs of all members of groups.
    pub(crate) fn bound(
        rank: Rank,
        job_terms: Value,
        oldest: QueueKey,
        with: T,
        user_queue: &UserQueue,
    ) -> Self {
        Self {
            rank,
            urgency: None,
            key: oldest,
            with,
            job_terms,
            group: user_queue.group.clone(),
        }
    }

    fn order(&self) -> (Class, Rank, Option<Value>, Timestamp, JobId) {
        let key = &self.key;
        (
            key.class,
            self.rank,
            self.urgency,
            key.submitted_at,
            key.job,
        )
    }

    /// Whether `again`, the same user's next job now, is this one and on the same side of a floor.
    pub(crate) fn is_still(&self, again: &Self) -> bool {
        (self.key, self.rank.is_past_floor) == (again.key, again.rank.is_past_floor)
    }
}

impl<T> PartialEq for Head<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Head<T> {}

impl<T> PartialOrd for Head<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Head<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Merges the queues of many users into one: those of a group's members into the group's, and those of groups
/// and of users without a group into one.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    pub(crate) ranks: Ranks,
    /// The next job of each user without a group and of each group.
    top: BinaryHeap<Reverse<Head<T>>>,
    /// The next job of each member, except of the one that stands for its group at the top.
    members: BTreeMap<GroupName, BinaryHeap<Reverse<Head<T>>>>,
    /// The group whose job was taken last and that nobody stands for yet.
    open: Option<GroupName>,
}

impl<T> Merge<T> {
    /// Starts with the next job of each user.
    pub(crate) fn new(ranks: Ranks, heads: Vec<Head<T>>) -> Self {
        let (grouped, single): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| head.group.is_some());
        let mut merge = Self {
            ranks,
            // A heap made of a whole list costs less than one push for each.
            top: single.into_iter().map(Reverse).collect::<Vec<_>>().into(),
            members: BTreeMap::new(),
            open: None,
        };
        grouped.into_iter().for_each(|head| merge.push(head));
        let groups: Vec<GroupName> = merge.members.keys().cloned().collect();
        for group in groups {
            merge.represent(&group);
        }
        merge
    }

    /// Adds the next job of the user whose job was taken last.
    pub(crate) fn push(&mut self, head: Head<T>) {
        match &head.group {
            None => self.top.push(Reverse(head)),
            Some(group) => {
                let members = self.members.entry(group.clone()).or_default();
                members.push(Reverse(head));
            }
        }
    }

    /// Takes the job whose turn it is. Its user is left out until their next job is pushed.
    pub(crate) fn pop(&mut self) -> Option<Head<T>> {
        if let Some(group) = self.open.take() {
            self.represent(&group);
        }
        let Reverse(head) = self.top.pop()?;
        self.open.clone_from(&head.group);
        Some(head)
    }

    /// Lets the first of a group's jobs stand for the group at the top.
    fn represent(&mut self, group: &GroupName) {
        let first = self.members.get_mut(group).and_then(BinaryHeap::pop);
        if let Some(Reverse(mut head)) = first {
            head.rank = self.ranks.at_the_top(group, head.rank, head.job_terms);
            self.top.push(Reverse(head));
        }
    }
}
