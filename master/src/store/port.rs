//! The port: what a master may ask of a store, whichever it is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::id::{Epoch, JobId};

use super::Error;
use super::types::{AuditEntry, Batch, LeaderInfo, Loaded};

/// Which store, and how to reach it.
#[derive(Debug, Clone)]
pub enum Options {
    /// A file in this folder, for a single master. It is made when absent.
    Embedded {
        /// The folder.
        dir: PathBuf,
    },
    /// Redis.
    Redis(RedisOptions),
}

/// How to reach Redis and what to demand of it.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis[s]://[user:]password@host:port/db`. Holds a password, so it is never printed.
    pub url: String,
    /// The cluster's name, which begins every key as `dopq:{cluster}:`.
    pub cluster: String,
    /// The longest that one call may take.
    pub timeout: Duration,
    /// Whether a Redis that would lose data (eviction, no append-only file) is refused or only warned of.
    pub require_durability: bool,
}

impl RedisOptions {
    /// The defaults: calls of at most 5 s, durability required.
    #[must_use]
    pub fn new(url: impl Into<String>, cluster: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            cluster: cluster.into(),
            timeout: Duration::from_secs(5),
            require_durability: true,
        }
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("cluster", &self.cluster)
            .field("timeout", &self.timeout)
            .field("require_durability", &self.require_durability)
            .finish_non_exhaustive()
    }
}

/// A store. Clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// Nothing yet.
    None,
}

impl Store {
    /// Opens the store and checks that it keeps what it is given.
    ///
    /// # Errors
    /// When it cannot be reached or opened, or its settings would lose data.
    pub async fn open(options: Options) -> Result<Self, Error> {
        drop(options);
        Ok(Self::None)
    }

    /// Takes the lead when nobody holds it: the epoch grows by one, and every older one is fenced from
    /// then on. The lease ends `ttl` from now unless renewed; `None` when another holds it. A master
    /// that holds it already gets a new epoch.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn take_lead(&self, me: &LeaderInfo, ttl: Duration) -> Result<Option<Epoch>, Error> {
        let _ = (me, ttl);
        Ok(None)
    }

    /// Holds the lead for `ttl` from now; false when it was lost, and then it must be taken again.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn renew_lead(
        &self,
        me: &LeaderInfo,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let _ = (me, epoch, ttl);
        Ok(false)
    }

    /// Lets the lead go, so that another may take it at once. Harmless when it was lost already.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn release_lead(&self, me: &LeaderInfo, epoch: Epoch) -> Result<(), Error> {
        let _ = (me, epoch);
        Ok(())
    }

    /// Who holds the lead now.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn leader(&self) -> Result<Option<LeaderInfo>, Error> {
        Ok(None)
    }

    /// Everything, as of one batch.
    ///
    /// # Errors
    /// When the store cannot be reached or a record cannot be read.
    pub async fn load(&self) -> Result<Loaded, Error> {
        Err(Error::Unsuitable(String::new()))
    }

    /// What changed since the batch `seq`, as of one later batch; the accounts are those that changed.
    /// `None` when that is too long ago, or an account was removed: then [`Self::load`].
    ///
    /// # Errors
    /// When the store cannot be reached or a record cannot be read.
    pub async fn load_since(&self, seq: u64) -> Result<Option<Loaded>, Error> {
        let _ = seq;
        Ok(None)
    }

    /// The number of the last committed batch.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn seq(&self) -> Result<u64, Error> {
        Ok(0)
    }

    /// Writes the batch, all of it or nothing, durably. Repeating the last committed batch is harmless.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another master leads, [`Error::OutOfSequence`] when it is not the next one;
    /// [`Error::Unavailable`] when it may or may not have been written.
    pub async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let _ = batch;
        Ok(())
    }

    /// The job that a file of the watched folder became. Marks are kept for 30 days.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn ingested(&self, key: &str) -> Result<Option<JobId>, Error> {
        let _ = key;
        Ok(None)
    }

    /// The newest `limit` lines of the audit log, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached or a line cannot be read.
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let _ = limit;
        Ok(Vec::new())
    }
}
