//! The store of a single master: a redb file, one durable write transaction for each commit.
//!
//! The open file is locked, so only one master can use it. The lease is in memory. The epoch is in the file, so
//! orders of an earlier run are fenced.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dopq_common::id::{Epoch, JobId};
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, WriteTransaction,
};
use tokio::time::Instant;

use super::codec::{self, Decoder, Encoded, Line, Loading};
use super::types::{AuditEntry, Batch, Delta, LeaderInfo, Loaded};
use super::{AUDIT_MAX_LINES, Error, KEYS_KEPT};

/// `seq`, `epoch`, and `batch_epoch`: the epoch of the last batch.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// The last batch's digest, under the empty key.
const DIGEST: TableDefinition<&str, &str> = TableDefinition::new("digest");
/// Records by name, each with the number of the batch that wrote it.
const RECORDS: TableDefinition<&str, (u64, &str)> = TableDefinition::new("records");
/// Marks of ingested files, with their jobs.
const MARKS: TableDefinition<&str, u64> = TableDefinition::new("marks");
/// When marks and idempotency keys were last written, in milliseconds since 1970.
const WRITTEN: TableDefinition<&str, u64> = TableDefinition::new("written");
/// The same, in the order of time.
const AGES: TableDefinition<(u64, &str), ()> = TableDefinition::new("ages");
/// Lines of the audit log, numbered.
const AUDIT: TableDefinition<u64, &str> = TableDefinition::new("audit");
/// Those of users.
const USERS_AUDIT: TableDefinition<u64, &str> = TableDefinition::new("audit:users");

/// When tokens were last used, by their ids, in milliseconds since 1970.
const TOKEN_USES: TableDefinition<&str, u64> = TableDefinition::new("token_uses");

/// The master keeps what it needs in memory, so pages are cached for commits only. The library's own default is 1 GiB.
const CACHE_BYTES: usize = 64 << 20;

/// The prefix of a mark's name in [`AGES`]; that of idempotency keys is `key:`.
const MARK: &str = "mark:";

/// An open store file. Clones share it.
#[derive(Debug, Clone)]
pub struct Embedded {
    db: Arc<Database>,
    lease: Arc<Mutex<Option<Lease>>>,
}

#[derive(Debug)]
struct Lease {
    leader: LeaderInfo,
    epoch: Epoch,
    until: Instant,
}

impl Embedded {
    /// Opens the store in `dir`. Creates a missing folder.
    pub(super) async fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("store.redb");
        let db = blocking(move || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(unavailable)?;
            }
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            let db = builder.create(&path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => {
                    Error::Unsuitable(format!("another master uses {}", path.display()))
                }
                error => unavailable(error),
            })?;
            restrict(&path)?;
            let txn = db.begin_write().map_err(unavailable)?;
            // Create all tables now, so that readers find each of them.
            txn.open_table(NUMBERS).map_err(unavailable)?;
            txn.open_table(DIGEST).map_err(unavailable)?;
            txn.open_table(RECORDS).map_err(unavailable)?;
            txn.open_table(MARKS).map_err(unavailable)?;
            txn.open_table(WRITTEN).map_err(unavailable)?;
            txn.open_table(AGES).map_err(unavailable)?;
            txn.open_table(AUDIT).map_err(unavailable)?;
            txn.open_table(USERS_AUDIT).map_err(unavailable)?;
            txn.open_table(TOKEN_USES).map_err(unavailable)?;
            txn.commit().map_err(unavailable)?;
            Ok(db)
        })
        .await?;
        Ok(Self {
            db: Arc::new(db),
            lease: Arc::default(),
        })
    }

    pub(super) async fn take_lead(
        &self,
        me: &LeaderInfo,
        ttl: Duration,
    ) -> Result<Option<Epoch>, Error> {
        if self.leader().is_some_and(|leader| leader.id != me.id) {
            return Ok(None);
        }
        let db = Arc::clone(&self.db);
        let epoch = blocking(move || {
            let txn = db.begin_write().map_err(unavailable)?;
            let epoch = {
                let mut numbers = txn.open_table(NUMBERS).map_err(unavailable)?;
                let epoch = number(&numbers, "epoch")? + 1;
                numbers.insert("epoch", epoch).map_err(unavailable)?;
                epoch
            };
            txn.commit().map_err(unavailable)?;
            Ok(Epoch(epoch))
        })
        .await?;
        *self.lease.lock() = Some(Lease {
            leader: me.clone(),
            epoch,
            until: Instant::now() + ttl,
        });
        Ok(Some(epoch))
    }

    pub(super) fn renew_lead(&self, me: &LeaderInfo, epoch: Epoch, ttl: Duration) -> bool {
        let mut lease = self.lease.lock();
        let mine = lease
            .as_mut()
            .filter(|lease| lease.leader.id == me.id && lease.epoch == epoch);
        mine.map(|lease| lease.until = Instant::now() + ttl)
            .is_some()
    }

    pub(super) fn release_lead(&self, me: &LeaderInfo, epoch: Epoch) {
        let mut lease = self.lease.lock();
        if lease
            .as_ref()
            .is_some_and(|lease| lease.leader.id == me.id && lease.epoch == epoch)
        {
            *lease = None;
        }
    }

    pub(super) fn leader(&self) -> Option<LeaderInfo> {
        let lease = self.lease.lock();
        let current = lease.as_ref().filter(|lease| lease.until > Instant::now());
        current.map(|lease| lease.leader.clone())
    }

    pub(super) async fn seq(&self) -> Result<u64, Error> {
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            number(&txn.open_table(NUMBERS).map_err(unavailable)?, "seq")
        })
        .await
    }

    pub(super) async fn load(&self) -> Result<Loaded, Error> {
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            let numbers = txn.open_table(NUMBERS).map_err(unavailable)?;
            let records = txn.open_table(RECORDS).map_err(unavailable)?;
            let (seq, epoch) = (number(&numbers, "seq")?, number(&numbers, "epoch")?);
            let mut decoder = Decoder::default();
            let mut loading = Loading::default();
            for record in records.iter().map_err(unavailable)? {
                let (name, value) = record.map_err(unavailable)?;
                let (name, value) = (name.value(), value.value().1);
                loading.add(name, decoder.decode(name, Some(value))?);
            }
            Ok(loading.finish(seq, Epoch(epoch)))
        })
        .await
    }

    /// Nobody else writes to the file, so there is nothing new, or everything must be loaded.
    pub(super) async fn load_since(&self, seq: u64) -> Result<Option<Delta>, Error> {
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            let numbers = txn.open_table(NUMBERS).map_err(unavailable)?;
            let epoch = Epoch(number(&numbers, "epoch")?);
            let now = number(&numbers, "seq")?;
            Ok((now == seq).then(|| Delta {
                seq,
                epoch,
                changes: Vec::new(),
                accounts: Vec::new(),
            }))
        })
        .await
    }

    pub(super) async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let (epoch, seq) = (batch.epoch, batch.seq);
        let encoded = codec::encode(batch)?;
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_write().map_err(unavailable)?;
            if write(&txn, epoch, seq, &encoded)? {
                txn.commit().map_err(unavailable)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn ingested(&self, key: &str) -> Result<Option<JobId>, Error> {
        let (db, key) = (Arc::clone(&self.db), key.to_owned());
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            let marks = txn.open_table(MARKS).map_err(unavailable)?;
            let job = marks.get(key.as_str()).map_err(unavailable)?;
            Ok(job.map(|job| JobId(job.value())))
        })
        .await
    }

    pub(super) async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            let newest = |table: TableDefinition<'_, u64, &'static str>| {
                let audit = txn.open_table(table).map_err(unavailable)?;
                let lines = audit.iter().map_err(unavailable)?.rev().take(limit);
                let text = lines.map(|line| {
                    let (_, text) = line.map_err(unavailable)?;
                    Ok(text.value().to_owned())
                });
                text.collect::<Result<Vec<String>, Error>>()
            };
            codec::merged([newest(AUDIT)?, newest(USERS_AUDIT)?], limit)
        })
        .await
    }

    pub(super) async fn note_token_uses(&self, uses: &[(String, Timestamp)]) -> Result<(), Error> {
        let (db, uses) = (Arc::clone(&self.db), uses.to_owned());
        blocking(move || {
            let txn = db.begin_write().map_err(unavailable)?;
            {
                let mut table = txn.open_table(TOKEN_USES).map_err(unavailable)?;
                for (token, at) in &uses {
                    table
                        .insert(token.as_str(), at.as_millis())
                        .map_err(unavailable)?;
                }
            }
            txn.commit().map_err(unavailable)
        })
        .await
    }

    pub(super) async fn token_uses(
        &self,
        tokens: &[String],
    ) -> Result<Vec<Option<Timestamp>>, Error> {
        let (db, tokens) = (Arc::clone(&self.db), tokens.to_owned());
        blocking(move || {
            let txn = db.begin_read().map_err(unavailable)?;
            let table = txn.open_table(TOKEN_USES).map_err(unavailable)?;
            let uses = tokens.iter().map(|token| {
                let at = table.get(token.as_str()).map_err(unavailable)?;
                Ok(at.map(|at| Timestamp::from_millis(at.value())))
            });
            uses.collect()
        })
        .await
    }

    pub(super) async fn forget_token_uses(&self, tokens: &[String]) -> Result<(), Error> {
        let (db, tokens) = (Arc::clone(&self.db), tokens.to_owned());
        blocking(move || {
            let txn = db.begin_write().map_err(unavailable)?;
            {
                let mut table = txn.open_table(TOKEN_USES).map_err(unavailable)?;
                for token in &tokens {
                    drop(table.remove(token.as_str()).map_err(unavailable)?);
                }
            }
            txn.commit().map_err(unavailable)
        })
        .await
    }

    pub(super) async fn record(&self, entries: &[AuditEntry]) -> Result<(), Error> {
        let lines = codec::lines(entries)?;
        let db = Arc::clone(&self.db);
        blocking(move || {
            let txn = db.begin_write().map_err(unavailable)?;
            append(&txn, &lines)?;
            txn.commit().map_err(unavailable)
        })
        .await
    }
}

/// Writes the batch in the transaction; false if it was written before.
fn write(txn: &WriteTransaction, epoch: Epoch, seq: u64, batch: &Encoded) -> Result<bool, Error> {
    let mut numbers = txn.open_table(NUMBERS).map_err(unavailable)?;
    let theirs = Epoch(number(&numbers, "epoch")?);
    if theirs != epoch {
        return Err(Error::Fenced {
            ours: epoch,
            theirs,
        });
    }
    let at = number(&numbers, "seq")?;
    let mut digest = txn.open_table(DIGEST).map_err(unavailable)?;
    if at == seq && number(&numbers, "batch_epoch")? == epoch.0 {
        let last = digest.get("").map_err(unavailable)?;
        if last.is_some_and(|last| last.value() == batch.digest) {
            return Ok(false);
        }
    }
    if at.checked_add(1) != Some(seq) {
        return Err(Error::OutOfSequence { got: seq, at });
    }
    numbers.insert("seq", seq).map_err(unavailable)?;
    numbers
        .insert("batch_epoch", epoch.0)
        .map_err(unavailable)?;
    digest
        .insert("", batch.digest.as_str())
        .map_err(unavailable)?;

    let mut records = txn.open_table(RECORDS).map_err(unavailable)?;
    let mut marks = txn.open_table(MARKS).map_err(unavailable)?;
    let mut ages = Ages {
        now: now_ms(),
        written: txn.open_table(WRITTEN).map_err(unavailable)?,
        ages: txn.open_table(AGES).map_err(unavailable)?,
    };
    for entry in &batch.entries {
        let name = entry.name.as_str();
        match &entry.value {
            Some(value) => {
                if name.starts_with("key:") {
                    ages.stamp(name)?;
                }
                let value = (seq, value.as_str());
                records.insert(name, value).map_err(unavailable)?;
            }
            None => drop(records.remove(name).map_err(unavailable)?),
        }
    }
    for (key, job) in &batch.marks {
        ages.stamp(&format!("{MARK}{key}"))?;
        marks.insert(key.as_str(), job).map_err(unavailable)?;
    }
    while let Some(name) = ages.pop_expired()? {
        match name.strip_prefix(MARK) {
            Some(key) => drop(marks.remove(key).map_err(unavailable)?),
            None => drop(records.remove(name.as_str()).map_err(unavailable)?),
        }
    }
    append(txn, &batch.audit)?;
    Ok(true)
}

/// Appends lines to the audit log and drops the oldest.
fn append(txn: &WriteTransaction, lines: &[Line]) -> Result<(), Error> {
    for (table, by_user) in [(AUDIT, false), (USERS_AUDIT, true)] {
        let mut audit = txn.open_table(table).map_err(unavailable)?;
        for line in lines.iter().filter(|line| line.by_user == by_user) {
            let last = audit.last().map_err(unavailable)?;
            let next = last.map_or(0, |(number, _)| number.value() + 1);
            audit
                .insert(next, line.text.as_str())
                .map_err(unavailable)?;
        }
        while audit.len().map_err(unavailable)? > AUDIT_MAX_LINES {
            drop(audit.pop_first().map_err(unavailable)?);
        }
    }
    Ok(())
}

/// The names that are forgotten after [`KEYS_KEPT`].
struct Ages<'txn> {
    now: u64,
    written: Table<'txn, &'static str, u64>,
    ages: Table<'txn, (u64, &'static str), ()>,
}

impl Ages<'_> {
    /// Records that `name` was written now.
    fn stamp(&mut self, name: &str) -> Result<(), Error> {
        let before = self.written.insert(name, self.now).map_err(unavailable)?;
        if let Some(before) = before.map(|at| at.value()) {
            self.ages.remove((before, name)).map_err(unavailable)?;
        }
        self.ages
            .insert((self.now, name), ())
            .map_err(unavailable)?;
        Ok(())
    }

    /// Removes the oldest name if it has expired.
    fn pop_expired(&mut self) -> Result<Option<String>, Error> {
        let kept_ms = u64::try_from(KEYS_KEPT.as_millis()).unwrap_or(u64::MAX);
        let oldest = self.ages.first().map_err(unavailable)?.map(|(age, _)| {
            let (at, name) = age.value();
            (at, name.to_owned())
        });
        let Some((at, name)) = oldest.filter(|(at, _)| at.saturating_add(kept_ms) < self.now)
        else {
            return Ok(None);
        };
        self.ages.remove((at, name.as_str())).map_err(unavailable)?;
        self.written.remove(name.as_str()).map_err(unavailable)?;
        Ok(Some(name))
    }
}

fn number(table: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Error> {
    let value = table.get(name).map_err(unavailable)?;
    Ok(value.map_or(0, |value| value.value()))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Only the owner may read the file; it contains hashes of tokens.
#[cfg(unix)]
fn restrict(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(unavailable)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}

/// redb's calls wait for the disk, so they run on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(unavailable(error)))
}
