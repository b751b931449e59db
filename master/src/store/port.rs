//! The port: the operations of a store.

use std::path::PathBuf;
use std::time::Duration;

use dopq_common::id::{Epoch, JobId};
use dopq_common::time::Timestamp;

use super::types::{AuditEntry, Batch, Delta, LeaderInfo, Loaded};
use super::{Embedded, Error, Redis, RedisOptions};

/// Selects a store and says how to reach it.
#[derive(Debug, Clone)]
pub enum Options {
    /// A file in this folder, for a single master. Created if missing.
    Embedded {
        /// The folder.
        dir: PathBuf,
    },
    /// Redis.
    Redis(RedisOptions),
}

/// A store. Clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file of this master's own.
    Embedded(Embedded),
    /// Redis.
    Redis(Redis),
}

impl Store {
    /// Opens the store and checks that it is durable.
    ///
    /// # Errors
    /// If it cannot be reached or opened, or its settings would lose data.
    pub async fn open(options: Options) -> Result<Self, Error> {
        match options {
            Options::Embedded { dir } => Embedded::open(&dir).await.map(Self::Embedded),
            Options::Redis(options) => Redis::open(options).await.map(Self::Redis),
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Redis(_) => "redis",
        }
    }

    /// Why this store may lose what was committed, where a setting allows such a one.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        match self {
            Self::Embedded(_) => &[],
            Self::Redis(redis) => redis.faults(),
        }
    }

    /// Acquires the leadership if nobody holds it. The epoch grows by one; older epochs are fenced from then on.
    /// The lease ends `ttl` from now unless renewed. `None` if another master holds it. A master that holds it gets
    /// a new epoch. The epoch is higher than every epoch this process has seen, even if the store lost data.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn take_lead(&self, me: &LeaderInfo, ttl: Duration) -> Result<Option<Epoch>, Error> {
        match self {
            Self::Embedded(store) => store.take_lead(me, ttl).await,
            Self::Redis(store) => store.take_lead(me, ttl).await,
        }
    }

    /// Renews the lease for `ttl` from now. False if the leadership was lost and must be acquired again.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn renew_lead(
        &self,
        me: &LeaderInfo,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, Error> {
        match self {
            Self::Embedded(store) => Ok(store.renew_lead(me, epoch, ttl)),
            Self::Redis(store) => store.renew_lead(me, epoch, ttl).await,
        }
    }

    /// Releases the leadership, so that another master can acquire it at once. Harmless if it was lost.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn release_lead(&self, me: &LeaderInfo, epoch: Epoch) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => {
                store.release_lead(me, epoch);
                Ok(())
            }
            Self::Redis(store) => store.release_lead(me, epoch).await,
        }
    }

    /// The present leader.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn leader(&self) -> Result<Option<LeaderInfo>, Error> {
        match self {
            Self::Embedded(store) => Ok(store.leader()),
            Self::Redis(store) => store.leader().await,
        }
    }

    /// Everything, as of one batch.
    ///
    /// # Errors
    /// When the store cannot be reached or a record cannot be read.
    pub async fn load(&self) -> Result<Loaded, Error> {
        match self {
            Self::Embedded(store) => store.load().await,
            Self::Redis(store) => store.load().await,
        }
    }

    /// The changes since batch `seq`, as of one later batch. `None` if that is too long ago or the store was reset:
    /// then [`Self::load`].
    ///
    /// # Errors
    /// When the store cannot be reached or a record cannot be read.
    pub async fn load_since(&self, seq: u64) -> Result<Option<Delta>, Error> {
        match self {
            Self::Embedded(store) => store.load_since(seq).await,
            Self::Redis(store) => store.load_since(seq).await,
        }
    }

    /// The number of the last committed batch.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn seq(&self) -> Result<u64, Error> {
        match self {
            Self::Embedded(store) => store.seq().await,
            Self::Redis(store) => store.seq().await,
        }
    }

    /// Writes the batch durably, all of it or nothing. Repeating the last committed batch is harmless.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another master leads, [`Error::OutOfSequence`] if it is not the next batch,
    /// [`Error::Unavailable`] if it may or may not have been written.
    pub async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.commit(batch).await,
            Self::Redis(store) => store.commit(batch).await,
        }
    }

    /// The job of an ingested file. Marks are kept for 30 days.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn ingested(&self, key: &str) -> Result<Option<JobId>, Error> {
        match self {
            Self::Embedded(store) => store.ingested(key).await,
            Self::Redis(store) => store.ingested(key).await,
        }
    }

    /// Appends lines to the audit log, durably. Every master may, whether it leads or not.
    ///
    /// # Errors
    /// When the store cannot be reached; they may or may not have been appended.
    pub async fn record(&self, lines: &[AuditEntry]) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.record(lines).await,
            Self::Redis(store) => store.record(lines).await,
        }
    }

    /// Stores when tokens were last used. Every master may, whether it leads or not.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn note_token_uses(&self, uses: &[(String, Timestamp)]) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.note_token_uses(uses).await,
            Self::Redis(store) => store.note_token_uses(uses).await,
        }
    }

    /// When each of these tokens was last used, by their ids.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn token_uses(&self, tokens: &[String]) -> Result<Vec<Option<Timestamp>>, Error> {
        match self {
            Self::Embedded(store) => store.token_uses(tokens).await,
            Self::Redis(store) => store.token_uses(tokens).await,
        }
    }

    /// Forgets when these tokens were used.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn forget_token_uses(&self, tokens: &[String]) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.forget_token_uses(tokens).await,
            Self::Redis(store) => store.forget_token_uses(tokens).await,
        }
    }

    /// The newest `limit` lines of the audit log, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached or a line cannot be read.
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        match self {
            Self::Embedded(store) => store.audit(limit).await,
            Self::Redis(store) => store.audit(limit).await,
        }
    }
}
