//! Which namespaces are ready, in use, or to be removed, and what is to be done next. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dopq_common::id::AttemptId;
use tokio::time::Instant;

use super::holder::{Holder, Kind};

/// Something to do; one at a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Look again whether it is as new.
    Look(Holder),
    /// Make one, if it is still missed by then.
    Make(Kind),
    /// Remove a container.
    Remove(String),
}

/// All of a worker's namespaces.
#[derive(Debug)]
pub(super) struct Pool {
    /// The most that are ready of each kind.
    most: usize,
    /// The ready ones, of each kind that was ever asked for.
    ready: BTreeMap<Kind, VecDeque<Holder>>,
    /// Those of attempts whose containers are being created.
    joining: BTreeMap<AttemptId, Holder>,
    /// Those of containers that may run, by the containers' ids.
    busy: BTreeMap<String, Busy>,
    /// Those that were not as new after their job.
    doubtful: VecDeque<Holder>,
    /// Containers to remove, by name.
    going: BTreeSet<String>,
    /// The container of the task under way.
    under_way: Option<String>,
    rest_until: Option<Instant>,
}

#[derive(Debug)]
enum Busy {
    Own(Holder),
    /// Found at the start: how it looked when it was new is not known.
    Adopted(String),
}

impl Pool {
    /// One on the bridge is made at once, others once they are missed.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            ready: BTreeMap::from([(Kind::Bridge, VecDeque::new())]),
            joining: BTreeMap::new(),
            busy: BTreeMap::new(),
            doubtful: VecDeque::new(),
            going: BTreeSet::new(),
            under_way: None,
            rest_until: None,
        }
    }

    /// A ready one for the attempt's container.
    pub(super) fn take(&mut self, kind: Kind, attempt: AttemptId, now: Instant) -> Option<Holder> {
        let ready = self.ready.entry(kind).or_default();
        let rests = self.rest_until.is_some_and(|until| now < until);
        if rests || self.joining.contains_key(&attempt) {
            return None;
        }
        let holder = ready.pop_front()?;
        self.joining.insert(attempt, holder.clone());
        Some(holder)
    }

    /// The attempt's container was created with the one that was taken.
    pub(super) fn joined(&mut self, attempt: AttemptId, container: &str) {
        if let Some(holder) = self.joining.remove(&attempt) {
            self.busy.insert(container.to_owned(), Busy::Own(holder));
        }
    }

    /// The attempt has no container that joins the one that was taken.
    pub(super) fn put_back(&mut self, attempt: AttemptId) -> Option<Holder> {
        self.joining.remove(&attempt)
    }

    /// A container uses one that was found.
    pub(super) fn adopt(&mut self, container: String, name: String) {
        self.busy.insert(container, Busy::Adopted(name));
    }

    /// The container does not run any more, and never will. Whether the namespace can be used again is to be looked at.
    pub(super) fn leave(&mut self, container: &str) -> Option<Holder> {
        match self.busy.remove(container)? {
            Busy::Own(holder) => Some(holder),
            Busy::Adopted(name) => {
                self.going.insert(name);
                None
            }
        }
    }

    /// It is as new.
    pub(super) fn keep(&mut self, holder: Holder) {
        self.under_way.take_if(|name| *name == holder.name);
        let ready = self.ready.entry(holder.kind).or_default();
        if ready.len() < self.most {
            ready.push_back(holder);
        } else {
            self.going.insert(holder.name);
        }
    }

    /// It is not as new, but may become so.
    pub(super) fn doubt(&mut self, holder: Holder) {
        self.doubtful.push_back(holder);
    }

    /// It is of no use.
    pub(super) fn discard(&mut self, name: String) {
        self.under_way.take_if(|under_way| *under_way == name);
        self.going.insert(name);
    }

    /// Those of the ready ones that are not `good` any more are of no use.
    pub(super) fn discard_unless(&mut self, good: impl Fn(&Holder) -> bool) {
        for ready in self.ready.values_mut() {
            let (kept, bad): (Vec<_>, Vec<_>) = ready.drain(..).partition(&good);
            ready.extend(kept);
            self.going.extend(bad.into_iter().map(|holder| holder.name));
        }
    }

    /// Nobody joins one, and none is made, until then.
    pub(super) fn rest_until(&mut self, until: Instant) {
        self.rest_until = Some(until);
    }

    /// What to do next. Ready ones matter more than those that are in nobody's way.
    pub(super) fn next(&mut self, now: Instant) -> Option<Task> {
        if let Some(holder) = self.doubtful.pop_front() {
            self.under_way = Some(holder.name.clone());
            return Some(Task::Look(holder));
        }
        if self.rest_until.is_none_or(|until| until <= now) {
            let mut kinds = self.ready.keys().copied();
            if let Some(kind) = kinds.find(|kind| self.is_missed(*kind)) {
                return Some(Task::Make(kind));
            }
        }
        let name = self.going.pop_first()?;
        self.under_way = Some(name.clone());
        Some(Task::Remove(name))
    }

    /// The names of the ready ones.
    #[cfg(test)]
    pub(super) fn ready(&self, kind: Kind) -> Vec<String> {
        let ready = self.ready.get(&kind).into_iter().flatten();
        ready.map(|holder| holder.name.clone()).collect()
    }

    fn is_missed(&self, kind: Kind) -> bool {
        self.most > 0 && self.ready.get(&kind).is_none_or(VecDeque::is_empty)
    }

    /// Whether one is to be made now, under this name.
    pub(super) fn begin(&mut self, kind: Kind, name: &str) -> bool {
        let begins = self.is_missed(kind);
        if begins {
            self.under_way = Some(name.to_owned());
        }
        begins
    }

    /// It was removed.
    pub(super) fn removed(&mut self) {
        self.under_way = None;
    }

    /// Ends it: gives the containers that no job uses.
    pub(super) fn close(&mut self) -> Vec<String> {
        self.most = 0;
        let ready = self.ready.values_mut().flat_map(std::mem::take);
        let unused = ready.chain(std::mem::take(&mut self.doubtful));
        let unused = unused.map(|holder| holder.name);
        let named = std::mem::take(&mut self.going).into_iter();
        let names = unused.chain(named).chain(self.under_way.take());
        names.collect()
    }
}
