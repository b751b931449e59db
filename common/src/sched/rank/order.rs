//! Whose turn it is: the one order that placing, listing and explaining share.
//!
//! Class decides first, then the rank of the user or group ([`crate::sched::rank::ranks`]), then, between equal ranks, who
//! submitted first. Within one user priority decides, then submission, then the id, so that the order is total.
//!
//! Whose turn it is can be told without looking at every user's jobs: their line in the [`crate::sched::place::ledger`] says how
//! soon their turn could be at best, and only those for whom that comes up are looked up.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use crate::id::{GroupName, JobId};
use crate::job::{Class, Job};
use crate::time::Timestamp;

use crate::sched::rank::ranks::{Rank, Ranks, Standing, Value};
use crate::sched::state::user_queue::Desk;

/// A job's place among the jobs of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) class: Class,
    priority: Reverse<i32>,
    pub(crate) submitted_at: Timestamp,
    next: JobId,
    pub(crate) job: JobId,
}

impl Place {
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            class: job.spec.class,
            priority: Reverse(job.priority),
            submitted_at: job.submitted_at,
            next: job.next_id(),
            job: job.id,
        }
    }
}

/// The next job of a user, in the order in which the members of a group take turns, or the users and groups at
/// the top. With it goes something that the caller wants back.
#[derive(Debug)]
pub(crate) struct Head<T> {
    rank: Rank,
    pub(crate) place: Place,
    pub(crate) with: T,
    added: Value,
    group: Option<GroupName>,
}

impl<T> Head<T> {
    fn order(&self) -> (Class, Rank, Timestamp, JobId) {
        let place = &self.place;
        (place.class, self.rank, place.submitted_at, place.job)
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

impl<T: PartialEq> Head<T> {
    pub(crate) fn new(standing: Standing, place: Place, desk: &Desk, with: T) -> Self {
        Self {
            rank: standing.rank,
            place,
            with,
            added: standing.added,
            group: desk.group.clone(),
        }
    }

    /// Whether the same user, put up anew, would have the same turn.
    pub(crate) fn is_still(&self, anew: &Self) -> bool {
        (self.place, self.rank.is_past_floor) == (anew.place, anew.rank.is_past_floor)
            && self.with == anew.with
    }
}

/// How soon the turn of a user whose jobs have not been looked at could be at best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AtBest {
    pub(crate) class: Class,
    pub(crate) rank: Rank,
    pub(crate) submitted_at: Timestamp,
    /// The user's line in the ledger.
    pub(crate) line: usize,
}

/// Merges the queues of many users into one: those of a group's members into the group's, and those of groups
/// and of users without a group into the one.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    pub(crate) ranks: Ranks,
    /// Users without a group whose next jobs have not been looked at.
    unseen: BinaryHeap<Reverse<AtBest>>,
    /// Of each other user without a group and each group the next job.
    top: BinaryHeap<Reverse<Head<T>>>,
    /// Of each member the next job, but for the one that stands for its group at the top.
    teams: BTreeMap<GroupName, BinaryHeap<Reverse<Head<T>>>>,
    /// The group whose job was taken last, for which none stands at the top yet.
    out: Option<GroupName>,
}

impl<T> Merge<T> {
    pub(crate) const fn new(ranks: Ranks) -> Self {
        Self {
            ranks,
            unseen: BinaryHeap::new(),
            top: BinaryHeap::new(),
            teams: BTreeMap::new(),
            out: None,
        }
    }

    /// Puts up the next jobs of all users, at first.
    pub(crate) fn fill(&mut self, heads: Vec<Head<T>>) {
        let (grouped, single): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| head.group.is_some());
        // Made from a whole list, because to push them one by one costs more.
        self.top = single.into_iter().map(Reverse).collect::<Vec<_>>().into();
        grouped.into_iter().for_each(|head| self.push(head));
        let groups: Vec<GroupName> = self.teams.keys().cloned().collect();
        for group in groups {
            self.represent(&group);
        }
    }

    /// Puts up, at first, users whose next jobs are looked at only when their turn may have come.
    pub(crate) fn expect(&mut self, users: Vec<AtBest>) {
        self.unseen = users.into_iter().map(Reverse).collect::<Vec<_>>().into();
    }

    /// Makes sure that the job whose turn it is has been looked at; `look` gives the next job of the user whose line
    /// in the ledger this is.
    pub(crate) fn look(&mut self, look: impl Fn(&Ranks, usize) -> Option<Head<T>>) {
        if let Some(group) = self.out.take() {
            self.represent(&group);
        }
        while let Some(Reverse(user)) = self.unseen.peek() {
            let at_best = (user.class, user.rank, user.submitted_at);
            let first = self.top.peek().map(|Reverse(head)| head.order());
            if first.is_some_and(|(class, rank, at, _)| (class, rank, at) < at_best) {
                break;
            }
            let head = look(&self.ranks, user.line);
            self.unseen.pop();
            self.top.extend(head.map(Reverse));
        }
    }

    /// Puts up the next job of the user whose job was taken last.
    pub(crate) fn push(&mut self, head: Head<T>) {
        match &head.group {
            None => self.top.push(Reverse(head)),
            Some(group) => {
                let team = self.teams.entry(group.clone()).or_default();
                team.push(Reverse(head));
            }
        }
    }

    /// Takes the job whose turn it is. Its user is out until their next job is put up.
    pub(crate) fn pop(&mut self) -> Option<Head<T>> {
        if let Some(group) = self.out.take() {
            self.represent(&group);
        }
        let Reverse(head) = self.top.pop()?;
        self.out.clone_from(&head.group);
        Some(head)
    }

    /// Lets the first of a group's next jobs stand for it at the top.
    fn represent(&mut self, group: &GroupName) {
        let first = self.teams.get_mut(group).and_then(BinaryHeap::pop);
        if let Some(Reverse(mut head)) = first {
            head.rank = self.ranks.at_the_top(group, head.rank, head.added);
            self.top.push(Reverse(head));
        }
    }
}
