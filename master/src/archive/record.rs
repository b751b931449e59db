//! The format of a line.

use std::sync::Arc;

use dopq_common::id::{JobId, JobKey, UserName};
use dopq_common::job::{Job, JobState};
use dopq_common::record::{self, Specs, StoredJob};
use dopq_common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The version that this build writes. Readers take every version up to the one after it.
const VERSION: u32 = 1;
/// How much of the digest a line holds, in hexadecimal digits.
const SUM_DIGITS: usize = 16;

const BEFORE_SUM: &[u8] = b"{\"sum\":\"";
const BEFORE_RECORD: &[u8] = b"\",\"record\":";
const AFTER_RECORD: &[u8] = b"}";

/// Which of a job's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The job as it was accepted.
    Accepted,
    /// The job as it ended.
    Finished,
}

/// One record of the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which of the job's records.
    pub kind: Kind,
    /// When it was committed.
    pub at: Timestamp,
    /// The job.
    pub job: Job,
}

/// Why a line cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it is not a line of the archive")]
    Form,
    #[error("its checksum does not match")]
    Sum,
    #[error("it is of version {0}, which this build does not read")]
    TooNew(u32),
    #[error("its record is malformed")]
    Json(#[from] serde_json::Error),
    #[error("its job is malformed")]
    Job(#[from] record::Error),
}

#[derive(Serialize, Deserialize)]
struct Record<J> {
    version: u32,
    kind: Kind,
    #[serde(rename = "at_ms")]
    at: Timestamp,
    job: J,
}

/// What tells where the archive ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) job: JobId,
    pub(super) job_key: JobKey,
}

/// A job due to be archived.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) kind: Kind,
    pub(super) job: Arc<Job>,
}

impl Due {
    pub(super) fn key(&self) -> Key {
        let at = match (self.kind, &self.job.state) {
            (Kind::Finished, JobState::Finished(finished)) => finished.at,
            (Kind::Accepted | Kind::Finished, _) => self.job.submitted_at,
        };
        Key {
            at,
            kind: self.kind,
            job: self.job.id,
            job_key: self.job.key,
        }
    }

    /// Appends the line, with its end.
    pub(super) fn write_to(&self, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let record = serde_json::to_vec(&Record {
            version: VERSION,
            kind: self.kind,
            at: self.key().at,
            job: self.job.as_ref(),
        })?;
        for part in [
            BEFORE_SUM,
            &sum(&record),
            BEFORE_RECORD,
            &record,
            AFTER_RECORD,
            b"\n",
        ] {
            lines.extend_from_slice(part);
        }
        Ok(())
    }
}

/// Reads a line without its end.
pub(super) fn entry(line: &[u8], specs: &mut Specs) -> Result<Entry, Error> {
    let record: Record<StoredJob> = serde_json::from_slice(checked(line)?)?;
    if record.version > VERSION + 1 {
        return Err(Error::TooNew(record.version));
    }
    Ok(Entry {
        kind: record.kind,
        at: record.at,
        job: record.job.into_job(specs)?,
    })
}

/// What a line says at first sight.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) key: Key,
    pub(super) user: UserName,
}

/// Reads only whose the job is and what tells where the archive ends.
pub(super) fn head(line: &[u8]) -> Result<Head, Error> {
    #[derive(Deserialize)]
    struct Named {
        id: JobId,
        key: JobKey,
        user: UserName,
    }
    let position: Record<Named> = serde_json::from_slice(checked(line)?)?;
    let key = Key {
        at: position.at,
        kind: position.kind,
        job: position.job.id,
        job_key: position.job.key,
    };
    let user = position.job.user;
    Ok(Head { key, user })
}

/// Reads only what tells where the archive ends.
pub(super) fn key(line: &[u8]) -> Result<Key, Error> {
    head(line).map(|head| head.key)
}

/// The record of a line whose checksum matches.
fn checked(line: &[u8]) -> Result<&[u8], Error> {
    let rest = line.strip_prefix(BEFORE_SUM).ok_or(Error::Form)?;
    let (expected, rest) = rest.split_at_checked(SUM_DIGITS).ok_or(Error::Form)?;
    let record = rest
        .strip_prefix(BEFORE_RECORD)
        .and_then(|rest| rest.strip_suffix(AFTER_RECORD))
        .ok_or(Error::Form)?;
    if expected != sum(record) {
        return Err(Error::Sum);
    }
    Ok(record)
}

fn sum(record: &[u8]) -> [u8; SUM_DIGITS] {
    let hex = blake3::hash(record).to_hex();
    let mut digits = [0; SUM_DIGITS];
    digits
        .iter_mut()
        .zip(hex.bytes())
        .for_each(|(digit, byte)| *digit = byte);
    digits
}
