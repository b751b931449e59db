//! Between batches and what is stored of them: named JSON records, the same in every adapter.
//!
//! A record's name is `job:1423`, `user:anna`, `group:vision`, `worker:gpu-01`, `account:anna`,
//! `node:gpu-01` (a worker's key), `key:<idempotency key>` or `meta`. A record without a value is one that was removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::id::{Epoch, JobId};
use dopq_common::job::{Class, Job, JobState};
use dopq_common::record::{self, Specs, StoredJob};
use dopq_common::sched::{Change, User};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::types::{AccountChange, AuditEntry, Batch, Loaded};

/// A batch as it is written.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Records, in the order of the batch.
    pub(super) entries: Vec<Entry>,
    /// Marks of the watched folder, with their jobs.
    pub(super) marks: Vec<(String, u64)>,
    /// Lines of the audit log.
    pub(super) audit: Vec<Line>,
    /// Tells whether a batch of the same number is the same batch.
    pub(super) digest: String,
}

/// A line of the audit log.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Which of the two logs it belongs to.
    pub(super) by_user: bool,
    /// The line.
    pub(super) text: String,
}

/// One record to write or to remove.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// Its value, or `None` to remove it.
    pub(super) value: Option<String>,
    /// Where lists for people show it.
    pub(super) place: Place,
}

/// Where the lists that people read show a record.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// Nowhere.
    None,
    /// In its user's queue, the lower score the sooner.
    Queue { user: String, score: f64 },
    /// Among the jobs that have a machine, by when they got it.
    Running { user: String, score: f64 },
    /// Among the finished, by their end.
    History { user: String, score: f64 },
    /// Among the users, the lower rank the sooner.
    Users { rank: f64 },
}

/// Writes a batch as records.
pub(super) fn encode(batch: &Batch) -> Result<Encoded, Error> {
    let mut entries = Vec::with_capacity(batch.changes.len() + batch.accounts.len());
    for change in &batch.changes {
        entries.push(entry(change)?);
    }
    for change in &batch.accounts {
        entries.push(match change {
            AccountChange::Set(account) => Entry {
                name: format!("account:{}", account.name),
                value: Some(write("account", account)?),
                place: Place::None,
            },
            AccountChange::Removed(name) => removed(format!("account:{name}")),
            AccountChange::NodeSet(node) => Entry {
                name: format!("node:{}", node.worker),
                value: Some(write("node", node)?),
                place: Place::None,
            },
            AccountChange::NodeRemoved(worker) => removed(format!("node:{worker}")),
        });
    }
    let marks = batch.ingested.iter();
    let marks: Vec<_> = marks.map(|(mark, job)| (mark.key.clone(), job.0)).collect();
    let audit = lines(&batch.audit)?;
    let digest = digest(&entries, &marks, &audit);
    Ok(Encoded {
        entries,
        marks,
        audit,
        digest,
    })
}

fn entry(change: &Change) -> Result<Entry, Error> {
    Ok(match change {
        Change::Job(job) => Entry {
            name: format!("job:{}", job.id),
            value: Some(record("job", job.as_ref())?),
            place: place(job),
        },
        Change::JobDropped(id) => removed(format!("job:{id}")),
        Change::User(user) => Entry {
            name: format!("user:{}", user.name),
            value: Some(record("user", user.as_ref())?),
            place: Place::Users { rank: rank(user) },
        },
        Change::Group(group) => Entry {
            name: format!("group:{}", group.name),
            value: Some(record("group", group.as_ref())?),
            place: Place::None,
        },
        Change::GroupDropped(name) => removed(format!("group:{name}")),
        Change::Worker(worker) => Entry {
            name: format!("worker:{}", worker.id),
            value: Some(record("worker", worker.as_ref())?),
            place: Place::None,
        },
        Change::WorkerDropped(id) => removed(format!("worker:{id}")),
        Change::Key(key, job) => Entry {
            name: format!("key:{key}"),
            value: Some(job.to_string()),
            place: Place::None,
        },
        Change::Meta(meta) => Entry {
            name: "meta".to_owned(),
            value: Some(record("meta", meta.as_ref())?),
            place: Place::None,
        },
    })
}

const fn removed(name: String) -> Entry {
    Entry {
        name,
        value: None,
        place: Place::None,
    }
}

fn record<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    record::write(value).map_err(|source| Error::Corrupt {
        what: what.to_owned(),
        source: Box::new(source),
    })
}

fn write<T: Serialize>(what: &str, record: &T) -> Result<String, Error> {
    serde_json::to_string(record).map_err(|source| Error::Corrupt {
        what: what.to_owned(),
        source: Box::new(source),
    })
}

/// Names and values with their lengths, so that no two batches give the same bytes.
fn digest(entries: &[Entry], marks: &[(String, u64)], audit: &[Line]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |tag: u8, text: &str| {
        hasher.update(&[tag]);
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for entry in entries {
        part(0, &entry.name);
        match &entry.value {
            Some(value) => part(1, value),
            None => part(2, ""),
        }
    }
    for (key, job) in marks {
        part(3, key);
        part(4, &job.to_string());
    }
    for line in audit {
        part(5, &line.text);
    }
    hasher.finalize().to_hex().to_string()
}

fn place(job: &Job) -> Place {
    let user = job.user.to_string();
    let by_time = |at: dopq_common::time::Timestamp| at.as_secs_f64() * 1000.0;
    match &job.state {
        // All its tasks have been begun.
        JobState::Array(array) if array.waiting.is_empty() => Place::Running {
            user,
            score: by_time(array.since),
        },
        JobState::Queued(_) | JobState::Array(_) => Place::Queue {
            user,
            score: queue_score(job),
        },
        JobState::Active(active, _) => Place::Running {
            user,
            score: by_time(active.assigned_at),
        },
        JobState::Finished(finished) => Place::History {
            user,
            score: by_time(finished.at),
        },
    }
}

/// One number that orders a user's jobs as the scheduler does, and that a person can read: the digit of
/// the class, three of the priority turned round, and the id. Ids are given in the order of submission.
fn queue_score(job: &Job) -> f64 {
    let class = match job.spec.class {
        Class::Urgent => 0.0,
        Class::Normal => 1.0,
        Class::Nice => 2.0,
    };
    let priority = f64::from(500 - job.priority.clamp(-499, 499));
    // Twelve digits, which a double still holds exactly below the sixteenth.
    let id = job.next_id().0;
    let id = u32::try_from(id % 1_000_000).map_or(0.0, f64::from)
        + u32::try_from(id / 1_000_000 % 1_000_000).map_or(0.0, f64::from) * 1e6;
    class * 1e15 + priority * 1e12 + id
}

/// The logarithm of the user's penalty, less what the cluster's finished jobs have taken from it since:
/// they take the same from everybody, so that users compare by what does not change between their own jobs.
fn rank(user: &User) -> f64 {
    let at = u32::try_from(user.recency_at).map_or_else(|_| f64::from(u32::MAX), f64::from);
    user.recency.ln() + at
}

/// What is wrong with a record.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Reads records back.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    specs: Specs,
}

/// What a record stands for.
#[derive(Debug)]
pub(super) enum Item {
    /// Of the scheduler.
    Change(Change),
    /// An account.
    Account(AccountChange),
    /// A record of a kind that a later version added, or the absence of one that never changes.
    Ignored,
}

impl Decoder {
    /// What the record `name` stands for; without `value` it was removed.
    pub(super) fn decode(&mut self, name: &str, value: Option<&str>) -> Result<Item, Error> {
        let (kind, id) = name.split_once(':').unwrap_or((name, ""));
        let item = match value {
            Some(value) => self.stored(kind, id, value),
            None => removal(kind, id),
        };
        item.map_err(|source| Error::Corrupt {
            what: name.to_owned(),
            source,
        })
    }

    fn stored(&mut self, kind: &str, id: &str, value: &str) -> Result<Item, Cause> {
        Ok(Item::Change(match kind {
            "job" => {
                let job: StoredJob = record::read(value)?;
                Change::Job(Arc::new(job.into_job(&mut self.specs)?))
            }
            "user" => Change::User(Box::new(record::read(value)?)),
            "group" => Change::Group(Box::new(record::read(value)?)),
            "worker" => Change::Worker(Arc::new(record::read(value)?)),
            "key" => Change::Key(Arc::from(id), value.parse()?),
            "meta" => Change::Meta(Box::new(record::read(value)?)),
            "account" => return Ok(Item::Account(AccountChange::Set(read(value)?))),
            "node" => return Ok(Item::Account(AccountChange::NodeSet(read(value)?))),
            _ => return Ok(Item::Ignored),
        }))
    }
}

fn removal(kind: &str, id: &str) -> Result<Item, Cause> {
    Ok(match kind {
        "job" => Item::Change(Change::JobDropped(id.parse()?)),
        "group" => Item::Change(Change::GroupDropped(id.parse()?)),
        "worker" => Item::Change(Change::WorkerDropped(id.parse()?)),
        "account" => Item::Account(AccountChange::Removed(id.parse()?)),
        "node" => Item::Account(AccountChange::NodeRemoved(id.parse()?)),
        _ => Item::Ignored,
    })
}

/// Gathers what a whole store holds, without a second copy of it. A record that is read more than once, because it
/// changed meanwhile, counts as it was last.
#[derive(Debug, Default)]
pub(super) struct Loading {
    jobs: BTreeMap<JobId, Arc<Job>>,
    keys: BTreeMap<Arc<str>, JobId>,
    /// By name. Few, beside jobs and keys.
    others: BTreeMap<String, Item>,
}

impl Loading {
    /// Takes the record `name`.
    pub(super) fn add(&mut self, name: &str, item: Item) {
        match item {
            Item::Change(Change::Job(job)) => drop(self.jobs.insert(job.id, job)),
            Item::Change(Change::JobDropped(id)) => drop(self.jobs.remove(&id)),
            Item::Change(Change::Key(key, job)) => drop(self.keys.insert(key, job)),
            // Nothing that was removed is in an empty state.
            Item::Change(Change::GroupDropped(_) | Change::WorkerDropped(_))
            | Item::Account(AccountChange::Removed(_) | AccountChange::NodeRemoved(_)) => {
                drop(self.others.remove(name));
            }
            Item::Ignored => {
                if let Some(key) = name.strip_prefix("key:") {
                    self.keys.remove(key);
                }
            }
            item @ (Item::Account(AccountChange::Set(_) | AccountChange::NodeSet(_))
            | Item::Change(
                Change::User(_) | Change::Group(_) | Change::Worker(_) | Change::Meta(_),
            )) => drop(self.others.insert(name.to_owned(), item)),
        }
    }

    /// What the store holds as of the batch `seq`.
    pub(super) fn finish(self, seq: u64, epoch: Epoch) -> Loaded {
        let Self { jobs, keys, others } = self;
        // A key outlives its job in the store, but not in the scheduler's memory.
        let keys: Vec<Change> = keys
            .into_iter()
            .filter(|(_, job)| jobs.contains_key(job))
            .map(|(key, job)| Change::Key(key, job))
            .collect();
        let mut changes = Vec::with_capacity(jobs.len() + keys.len() + others.len());
        changes.extend(jobs.into_values().map(Change::Job));
        changes.extend(keys);
        let (mut accounts, mut nodes) = (Vec::new(), Vec::new());
        for item in others.into_values() {
            match item {
                Item::Change(change) => changes.push(change),
                Item::Account(AccountChange::Set(account)) => accounts.push(account),
                Item::Account(AccountChange::NodeSet(node)) => nodes.push(node),
                Item::Account(AccountChange::Removed(_) | AccountChange::NodeRemoved(_))
                | Item::Ignored => {}
            }
        }
        Loaded {
            seq,
            epoch,
            changes,
            accounts,
            nodes,
        }
    }
}

/// Reads one line of the audit log.
pub(super) fn lines(entries: &[AuditEntry]) -> Result<Vec<Line>, Error> {
    let lines = entries.iter().map(|entry| {
        Ok(Line {
            by_user: entry.by_user,
            text: write("audit line", entry)?,
        })
    });
    lines.collect()
}

/// The newest `limit` of two logs, each read from its end. Masters append beside each other, so a log's order is only
/// about that of time.
pub(super) fn merged(logs: [Vec<String>; 2], limit: usize) -> Result<Vec<AuditEntry>, Error> {
    let lines = logs.iter().flatten().map(|line| audit_line(line));
    let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
    lines.sort_by_key(|line| std::cmp::Reverse(line.at));
    lines.truncate(limit);
    Ok(lines)
}

fn audit_line(line: &str) -> Result<AuditEntry, Error> {
    read(line).map_err(|source| Error::Corrupt {
        what: "audit line".to_owned(),
        source,
    })
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Cause> {
    serde_json::from_str(text).map_err(Into::into)
}
