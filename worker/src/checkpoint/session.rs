//! Stores checkpoints of one attempt at the masters.
//!
//! The manifest is offered first. The masters answer which chunks they lack; those are sent. The manifest is stored when
//! no chunk of it is missing, so a worker that dies in the middle leaves the previous checkpoint as it was.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dopq_common::checkpoint::{Answer, Entry, FORMAT, Manifest};
use dopq_common::id::Digest;
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::snapshot::{Index, Place, chunk, places, take};
use crate::data::{self, Access, DataPlane};
use crate::retry;

/// Chunks on their way at once; 8 of 4 MiB bound the memory.
const AT_ONCE: usize = 8;
/// How often a checkpoint is taken anew because a file changed before it was sent.
const TRIES: u32 = 4;
/// How often missing chunks are sent for one manifest.
const ROUNDS: u32 = 4;

/// The checkpoints of one attempt.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    access: Access,
    max: ByteSize,
    index: Arc<Mutex<Index>>,
    /// What is stored now, as far as this process knows.
    stored: Option<Vec<Entry>>,
}

/// A checkpoint that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Its size.
    pub(crate) bytes: u64,
    /// How much of it was sent.
    pub(crate) sent_bytes: u64,
}

impl Session {
    /// For the attempt that `access` opens and that writes to `folder`; `max` is the most that the masters take.
    pub(crate) fn new(folder: PathBuf, access: Access, max: ByteSize) -> Self {
        Self {
            folder,
            access,
            max,
            index: Arc::default(),
            stored: None,
        }
    }

    /// Stores what the folder contains; `None` if that is stored already, or if there is nothing. Tries for as long as
    /// the masters are away. Cancelling the call is safe at any point.
    pub(crate) async fn store(
        &mut self,
        data: &DataPlane,
        now: Timestamp,
        stop: &CancellationToken,
    ) -> Result<Option<Done>, Error> {
        for _ in 0..TRIES {
            let entries = take(&self.folder, &self.index, self.max, stop).await?;
            let was_empty = self.stored.is_none() && self.access.attempt.number == 1;
            if self.stored.as_ref() == Some(&entries) || entries.is_empty() && was_empty {
                return Ok(None);
            }
            let manifest = Manifest {
                format: FORMAT,
                attempt: self.access.attempt.number,
                taken_at: now,
                entries,
            };
            if let Some(sent_bytes) = self.send(data, &manifest).await? {
                let bytes = manifest.bytes();
                self.stored = Some(manifest.entries);
                return Ok(Some(Done { bytes, sent_bytes }));
            }
        }
        Err(Error::Changing("/checkpoint".to_owned()))
    }

    /// How many bytes were sent until it was stored; `None` if a file changed before it was sent.
    async fn send(&self, data: &DataPlane, manifest: &Manifest) -> Result<Option<u64>, Error> {
        let invalid = |error: serde_json::Error| Error::reading(error.into());
        let body = Bytes::from(serde_json::to_vec(manifest).map_err(invalid)?);
        let places = places(&manifest.entries);
        let mut sent_bytes = 0_u64;
        for _ in 0..ROUNDS {
            let answer = self
                .until(|| data.put_checkpoint(&self.access, body.clone()))
                .await?;
            let answer: Answer = serde_json::from_slice(&answer).map_err(invalid)?;
            if answer.missing.is_empty() {
                return Ok(Some(sent_bytes));
            }
            let asked = answer.missing.into_iter();
            let wanted: Option<Vec<(Digest, Place)>> = asked
                .map(|digest| Some((digest, places.get(&digest)?.clone())))
                .collect();
            let wanted = wanted.ok_or(Error::Refused(StatusCode::BAD_REQUEST))?;
            let sending = wanted
                .into_iter()
                .map(|(digest, place)| self.send_chunk(data, digest, place));
            let sent = stream::iter(sending).buffer_unordered(AT_ONCE);
            let sent: Vec<Option<u32>> = sent.try_collect().await?;
            let Some(sent) = sent.into_iter().collect::<Option<Vec<u32>>>() else {
                return Ok(None);
            };
            sent_bytes += sent.into_iter().map(u64::from).sum::<u64>();
        }
        Err(Error::Refused(StatusCode::CONFLICT))
    }

    /// The length of the chunk; `None` if its file changed.
    async fn send_chunk(
        &self,
        data: &DataPlane,
        digest: Digest,
        place: Place,
    ) -> Result<Option<u32>, Error> {
        let len = place.len;
        let Some(bytes) = chunk(self.folder.clone(), place, digest).await? else {
            return Ok(None);
        };
        let bytes = Bytes::from(bytes);
        self.until(|| data.put_chunk(&self.access, digest, bytes.clone()))
            .await?;
        Ok(Some(len))
    }

    /// Asks until a master does it or refuses it.
    async fn until<T, Fut>(&self, ask: impl Fn() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, data::Error>>,
    {
        retry::until(retry::DATA, || async {
            match ask().await {
                Ok(done) => Some(Ok(done)),
                Err(data::Error::Denied { status }) => Some(Err(Error::Refused(status))),
                Err(error) => {
                    tracing::warn!(attempt = %self.access.attempt, %error, "storing the checkpoint again");
                    None
                }
            }
        })
        .await
    }
}
