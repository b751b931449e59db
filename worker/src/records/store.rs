//! The records in one redb file: a batch is written whole and durably, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use dopq_common::agent::{Attempt, Meta, Stage};
use dopq_common::id::AttemptId;
use dopq_common::time::Timestamp;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::outbox::Report;

const ATTEMPTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attempts");
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// When each image was last used, by its id; in milliseconds since 1970.
const IMAGES: TableDefinition<'_, &str, u64> = TableDefinition::new("images");
/// Names and ids of images without DoPQ's labels that DoPQ brought to the engine.
const UNLABELLED: TableDefinition<'_, &str, ()> = TableDefinition::new("unlabelled_images");
const COUNTERS: &str = "counters";
const INSTANCE: &str = "instance";

/// Why records could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another worker has the file, or it is no such file.
    #[error("open the records")]
    Open(#[source] redb::DatabaseError),
    /// The file could not be read or written.
    #[error("read or write the records")]
    Storage(#[source] redb::Error),
    /// A record is not understood.
    #[error("read the record {key}")]
    Decode {
        /// Which.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A record could not be put into words.
    #[error("write a record")]
    Encode(#[source] serde_json::Error),
    /// The task that writes was ended.
    #[error("finish writing the records")]
    Ended(#[source] tokio::task::JoinError),
}

impl Error {
    /// Whether it may be over when the file is opened anew.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Storage(_) | Self::Ended(_) => true,
            Self::Open(_) | Self::Decode { .. } | Self::Encode(_) => false,
        }
    }
}

/// The records. Clones share the file.
#[derive(Debug, Clone)]
pub(crate) struct Records(Arc<Database>);

/// What is written at once.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// Attempts as they now are, or `None` for those that are to be dropped.
    pub(crate) attempts: Vec<(AttemptId, Option<Attempt>)>,
    /// The counters, where they changed.
    pub(crate) meta: Option<Meta>,
    /// Reports to keep until they are confirmed.
    pub(crate) reports: Vec<(u64, Vec<u8>)>,
    /// Reports that are confirmed.
    pub(crate) confirmed: Vec<u64>,
}

impl Commit {
    /// Whether there is nothing to write.
    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
            && self.meta.is_none()
            && self.reports.is_empty()
            && self.confirmed.is_empty()
    }

    /// Whether losing it in a crash does no harm: confirmed reports are only sent again, and a bundle that
    /// lies on the disk is only looked for again. Such a commit costs no sync.
    pub(super) fn may_be_lost(&self) -> bool {
        let begins_building =
            |attempt: &Attempt| matches!(attempt.stage, Stage::Building) && attempt.stop.is_none();
        self.meta.is_none()
            && self.reports.is_empty()
            && self
                .attempts
                .iter()
                .all(|(_, attempt)| attempt.as_ref().is_some_and(begins_building))
    }
}

/// What was found at start.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The counters.
    pub(crate) meta: Meta,
    /// Every attempt.
    pub(crate) attempts: Vec<Attempt>,
    /// Reports that nobody confirmed, in their order.
    pub(crate) outbox: Vec<Report>,
    /// When each image was last used, by its id.
    pub(crate) images: BTreeMap<String, Timestamp>,
    /// Names and ids of images without DoPQ's labels that DoPQ brought to the engine.
    pub(crate) unlabelled: BTreeSet<String>,
    /// Names this folder of records for ever; its containers bear it.
    pub(crate) instance: String,
}

fn storage(error: impl Into<redb::Error>) -> Error {
    Error::Storage(error.into())
}

impl Records {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::create(path).map_err(Error::Open)?;
        Ok(Self(Arc::new(database)))
    }

    /// Reads everything; `fresh` names the instance where the file is new.
    pub(crate) fn load(&self, fresh: &str) -> Result<Loaded, Error> {
        let write = self.0.begin_write().map_err(storage)?;
        {
            write.open_table(ATTEMPTS).map_err(storage)?;
            write.open_table(OUTBOX).map_err(storage)?;
            write.open_table(IMAGES).map_err(storage)?;
            write.open_table(UNLABELLED).map_err(storage)?;
            let mut meta = write.open_table(META).map_err(storage)?;
            if meta.get(INSTANCE).map_err(storage)?.is_none() {
                meta.insert(INSTANCE, fresh.as_bytes()).map_err(storage)?;
            }
        }
        write.commit().map_err(storage)?;
        self.read()
    }

    fn read(&self) -> Result<Loaded, Error> {
        let read = self.0.begin_read().map_err(storage)?;
        let table = read.open_table(META).map_err(storage)?;
        let meta = match table.get(COUNTERS).map_err(storage)? {
            None => Meta::default(),
            Some(bytes) => {
                serde_json::from_slice(bytes.value()).map_err(|source| Error::Decode {
                    key: COUNTERS.to_owned(),
                    source,
                })?
            }
        };
        let instance = table.get(INSTANCE).map_err(storage)?;
        let instance = instance.map(|text| String::from_utf8_lossy(text.value()).into_owned());
        let mut attempts = Vec::new();
        let table = read.open_table(ATTEMPTS).map_err(storage)?;
        for entry in table.iter().map_err(storage)? {
            let (key, bytes) = entry.map_err(storage)?;
            let attempt = serde_json::from_slice::<Attempt>(bytes.value());
            let attempt = attempt.map_err(|source| Error::Decode {
                key: key.value().to_owned(),
                source,
            })?;
            if attempt.run.is_none() && !attempt.stage.is_over() {
                tracing::warn!(attempt = %attempt.id, "cannot read the recorded order");
            }
            attempts.push(attempt);
        }
        let mut outbox = Vec::new();
        let table = read.open_table(OUTBOX).map_err(storage)?;
        for entry in table.iter().map_err(storage)? {
            let (seq, bytes) = entry.map_err(storage)?;
            let report = Report::stored(seq.value(), bytes.value());
            outbox.push(report.map_err(|source| Error::Decode {
                key: format!("report {}", seq.value()),
                source,
            })?);
        }
        let mut images = BTreeMap::new();
        let table = read.open_table(IMAGES).map_err(storage)?;
        for entry in table.iter().map_err(storage)? {
            let (id, at) = entry.map_err(storage)?;
            images.insert(id.value().to_owned(), Timestamp::from_millis(at.value()));
        }
        let mut unlabelled = BTreeSet::new();
        let table = read.open_table(UNLABELLED).map_err(storage)?;
        for entry in table.iter().map_err(storage)? {
            let (name, _) = entry.map_err(storage)?;
            unlabelled.insert(name.value().to_owned());
        }
        Ok(Loaded {
            images,
            unlabelled,
            meta,
            attempts,
            outbox,
            instance: instance.unwrap_or_default(),
        })
    }

    /// Writes a batch. When this returns it survives the end of the process, and of the machine.
    pub(crate) async fn commit(self, commit: Commit) -> Result<(), Error> {
        if commit.is_empty() {
            return Ok(());
        }
        tokio::task::spawn_blocking(move || self.write(&commit))
            .await
            .map_err(Error::Ended)?
    }

    /// Replaces what is recorded of the last use of images.
    pub(crate) async fn note_images(self, uses: BTreeMap<String, Timestamp>) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || self.write_images(&uses))
            .await
            .map_err(Error::Ended)?
    }

    fn write_images(&self, uses: &BTreeMap<String, Timestamp>) -> Result<(), Error> {
        let write = self.0.begin_write().map_err(storage)?;
        {
            let mut table = write.open_table(IMAGES).map_err(storage)?;
            table
                .retain(|id, _| uses.contains_key(id))
                .map_err(storage)?;
            for (id, at) in uses {
                table.insert(id.as_str(), at.as_millis()).map_err(storage)?;
            }
        }
        write.commit().map_err(storage)
    }

    /// Notes names and ids of images without DoPQ's labels, and forgets others.
    pub(crate) async fn note_unlabelled(
        self,
        added: Vec<String>,
        gone: Vec<String>,
    ) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || self.write_unlabelled(&added, &gone))
            .await
            .map_err(Error::Ended)?
    }

    fn write_unlabelled(&self, added: &[String], gone: &[String]) -> Result<(), Error> {
        let write = self.0.begin_write().map_err(storage)?;
        {
            let mut table = write.open_table(UNLABELLED).map_err(storage)?;
            for name in added {
                table.insert(name.as_str(), ()).map_err(storage)?;
            }
            for name in gone {
                table.remove(name.as_str()).map_err(storage)?;
            }
        }
        write.commit().map_err(storage)
    }

    fn write(&self, commit: &Commit) -> Result<(), Error> {
        let mut write = self.0.begin_write().map_err(storage)?;
        if commit.may_be_lost() {
            write.set_durability(Durability::None).map_err(storage)?;
        }
        {
            let mut table = write.open_table(ATTEMPTS).map_err(storage)?;
            for (id, attempt) in &commit.attempts {
                let key = id.to_string();
                match attempt {
                    Some(attempt) => {
                        let bytes = serde_json::to_vec(attempt).map_err(Error::Encode)?;
                        table
                            .insert(key.as_str(), bytes.as_slice())
                            .map_err(storage)?;
                    }
                    None => {
                        table.remove(key.as_str()).map_err(storage)?;
                    }
                }
            }
            let mut table = write.open_table(OUTBOX).map_err(storage)?;
            for (seq, bytes) in &commit.reports {
                table.insert(seq, bytes.as_slice()).map_err(storage)?;
            }
            for seq in &commit.confirmed {
                table.remove(seq).map_err(storage)?;
            }
            if let Some(meta) = &commit.meta {
                let bytes = serde_json::to_vec(meta).map_err(Error::Encode)?;
                let mut table = write.open_table(META).map_err(storage)?;
                table.insert(COUNTERS, bytes.as_slice()).map_err(storage)?;
            }
        }
        write.commit().map_err(storage)
    }
}
