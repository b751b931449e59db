//! Receives bundles into the intake's spool, within the free disk space and each user's limit.
//!
//! An upload reserves disk space step by step as its bytes arrive, so that one that stays unsent reserves little.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dopq_common::api::ErrorCode;
use dopq_common::id::UserName;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::{Error, Result};
use crate::bundles::{Intake, IntakeError, Spooled};
use crate::disk::Space;

/// Uploads of one user that are received or checked at once.
const UPLOADS_PER_USER: usize = 4;
/// Time-out of an upload without data.
const STALL: Duration = Duration::from_secs(60);
/// The slowest that an upload may be after its first minute.
const MIN_BYTES_PER_SECOND: u64 = 8 << 10;
/// How far ahead of its data an upload reserves disk space.
const STEP_BYTES: u64 = 16 << 20;
/// How much of a refused body is read, so that its sender can read the answer.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_FOR: Duration = Duration::from_secs(2);

/// The uploads in progress.
pub(super) struct Uploads {
    folder: PathBuf,
    min_free_bytes: u64,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    /// Bytes that the uploads in progress have reserved and not yet written.
    promised: u64,
    by_user: BTreeMap<UserName, usize>,
}

/// An upload's place and the disk space that it has reserved; released on drop.
pub(super) struct Promise<'a> {
    uploads: &'a Uploads,
    user: UserName,
    /// Reserved and not yet written.
    bytes: u64,
    /// Not yet reserved.
    rest: u64,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut under_way = self.uploads.under_way.lock();
        under_way.promised = under_way.promised.saturating_sub(self.bytes);
        if let Some(count) = under_way.by_user.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.by_user.remove(&self.user);
            }
        }
    }
}

impl Uploads {
    /// Spools uploads in `folder` and leaves `min_free_bytes` of its disk free.
    pub(super) fn new(folder: PathBuf, min_free_bytes: u64) -> Self {
        Self {
            folder,
            min_free_bytes,
            under_way: Mutex::default(),
        }
    }

    /// Receives `body`, whose announced length is `length` bytes. The upload keeps its place while the promise lives.
    pub(super) async fn receive(
        &self,
        intake: &Intake,
        user: &UserName,
        length: u64,
        mut body: Body,
    ) -> Result<(Spooled, Promise<'_>)> {
        match self.promise(user, length) {
            Ok(mut promise) => {
                let spooled = write(intake, length, &mut body, &mut promise).await?;
                Ok((spooled, promise))
            }
            Err(error) => {
                drain(body).await;
                Err(error)
            }
        }
    }

    /// A place for an upload of `length` bytes, if the disk has room for all of it now.
    fn promise(&self, user: &UserName, length: u64) -> Result<Promise<'_>> {
        let mut under_way = self.under_way.lock();
        self.room(&under_way, length)?;
        let count = under_way.by_user.entry(user.clone()).or_default();
        if *count >= UPLOADS_PER_USER {
            let message = format!("you have {UPLOADS_PER_USER} uploads in progress, the maximum");
            return Err(Error::new(ErrorCode::TooManyRequests, message).hint("wait until one ends"));
        }
        *count += 1;
        Ok(Promise {
            uploads: self,
            user: user.clone(),
            bytes: 0,
            rest: length,
        })
    }

    /// Refuses `bytes` more than the disk has room for beside what is reserved.
    fn room(&self, under_way: &UnderWay, bytes: u64) -> Result<()> {
        let Space { free, .. } = Space::of(&self.folder)
            .map_err(|e| Error::internal("cannot read the free space of the spool's disk", &e))?;
        let needed = bytes
            .saturating_add(under_way.promised)
            .saturating_add(self.min_free_bytes);
        if free < needed {
            let message = format!("the master's disk has no room for another {bytes} bytes");
            return Err(no_room(message));
        }
        Ok(())
    }
}

impl Promise<'_> {
    /// Reserves space for `written` bytes, and the next step if they use up what was reserved.
    fn write(&mut self, written: u64) -> Result<()> {
        let mut under_way = self.uploads.under_way.lock();
        if self.bytes < written {
            let step = (written - self.bytes).max(STEP_BYTES).min(self.rest);
            self.uploads.room(&under_way, step)?;
            self.rest -= step;
            self.bytes += step;
            under_way.promised = under_way.promised.saturating_add(step);
        }
        let used = written.min(self.bytes);
        self.bytes -= used;
        under_way.promised = under_way.promised.saturating_sub(used);
        Ok(())
    }
}

async fn write(
    intake: &Intake,
    length: u64,
    body: &mut Body,
    promise: &mut Promise<'_>,
) -> Result<Spooled> {
    let mut spooled = intake.spool().await.map_err(refusal)?;
    let mut pace = PaceLimit::default();
    while let Some(data) = pace.next(body).await? {
        if spooled.size_bytes() + data.len() as u64 > length {
            let message = format!("the body is longer than its Content-Length of {length} bytes");
            return Err(Error::new(ErrorCode::BadRequest, message));
        }
        promise.write(data.len() as u64)?;
        spooled.write(&data).await.map_err(refusal)?;
    }
    let size_bytes = spooled.size_bytes();
    if size_bytes < length {
        let message = format!("the upload ended after {size_bytes} of {length} bytes");
        return Err(Error::new(ErrorCode::BadRequest, message).hint("send it again"));
    }
    Ok(spooled)
}

/// The sender's error for a bundle that the intake refused.
pub(super) fn refusal(error: IntakeError) -> Error {
    if error.is_full() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "no disk space for a bundle"
        );
        return no_room("the master's disk is full".to_owned());
    }
    match error {
        IntakeError::Invalid(faults) => Error::faults("the bundle is not valid", faults)
            .hint("run dopq check DIR to see the same errors locally"),
        IntakeError::Digest { .. } => Error::new(ErrorCode::BadRequest, error.to_string())
            .hint("the file changed during the upload or was damaged; send it again"),
        IntakeError::Full | IntakeError::Spool(_) => {
            Error::internal("cannot write the bundle to the spool", &error)
        }
        IntakeError::Store(_) => Error::unavailable("cannot store the bundle", &error),
        IntakeError::Busy => Error::unavailable("cannot check the bundle now", &error),
    }
}

fn no_room(message: String) -> Error {
    Error::new(ErrorCode::InsufficientStorage, message).hint("tell an admin; try again later")
}

/// Reads a body that must neither stall nor crawl.
#[derive(Debug)]
pub(super) struct PaceLimit {
    started: Instant,
    received: u64,
}

impl Default for PaceLimit {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            received: 0,
        }
    }
}

impl PaceLimit {
    /// The next data of the body; `None` at its end.
    pub(super) async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>> {
        loop {
            let allowed = STALL + Duration::from_secs(self.received / MIN_BYTES_PER_SECOND);
            let until = (Instant::now() + STALL).min(self.started + allowed);
            match tokio::time::timeout_at(until, body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received = self.received.saturating_add(data.len() as u64);
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "an upload was interrupted");
                    let error = Error::new(ErrorCode::BadRequest, "the upload was interrupted");
                    return Err(error.hint("send it again"));
                }
                Err(_) => {
                    let message = format!(
                        "the upload stalled, or was slower than {MIN_BYTES_PER_SECOND} bytes a second"
                    );
                    return Err(Error::new(ErrorCode::BadRequest, message).hint("send it again"));
                }
            }
        }
    }
}

/// Reads on for a moment: closing a connection with unread data resets it, and the sender may lose the answer.
pub(super) async fn drain(mut body: Body) {
    let reading = async {
        let mut read = 0;
        while read < DRAIN_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    if tokio::time::timeout(DRAIN_FOR, reading).await.is_err() {
        tracing::debug!("stopped reading a refused upload");
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::bundle::Limits;

    use super::*;
    use crate::bundles::Bundles;

    fn user(name: &str) -> UserName {
        name.parse().expect("a name")
    }

    #[test]
    fn what_is_announced_and_not_sent_takes_no_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let Space { free, .. } = Space::of(folder.path()).expect("read");
        let uploads = Uploads::new(folder.path().to_owned(), 0);
        let most = free / 4 * 3;
        let mut first = uploads.promise(&user("anna"), most).expect("room");
        let second = uploads.promise(&user("bert"), most).expect("room");
        first.write(8).expect("room");
        assert_eq!(uploads.under_way.lock().promised, STEP_BYTES - 8);
        first.write(STEP_BYTES).expect("room");
        assert_eq!(uploads.under_way.lock().promised, STEP_BYTES - 8);
        drop((first, second));
        assert_eq!(uploads.under_way.lock().promised, 0);
        let refused = uploads.promise(&user("anna"), free * 2);
        assert!(refused.is_err(), "more than the disk has");
    }

    #[test]
    fn a_user_has_few_uploads_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::new(folder.path().to_owned(), 0);
        let anna = user("anna");
        let held: Vec<_> = (0..UPLOADS_PER_USER)
            .map(|_| uploads.promise(&anna, 1).expect("room"))
            .collect();
        assert!(uploads.promise(&anna, 1).is_err());
        assert!(uploads.promise(&user("bert"), 1).is_ok());
        drop(held);
        assert!(uploads.promise(&anna, 1).is_ok());
    }

    #[tokio::test]
    async fn a_received_upload_keeps_its_place_until_it_is_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name| folder.path().join(name);
        let store = path("store").display().to_string();
        let bundles = Bundles::open(&store, &BTreeMap::new()).expect("a store");
        let intake = Intake::new(bundles, &path("spool"), Limits::default()).expect("an intake");
        let uploads = Uploads::new(folder.path().to_owned(), 0);
        let anna = user("anna");
        let mut judged = Vec::new();
        for _ in 0..UPLOADS_PER_USER {
            let received = uploads.receive(&intake, &anna, 1, Body::from("x")).await;
            judged.push(received.expect("received"));
        }
        assert_eq!(uploads.under_way.lock().promised, 0);
        let refused = uploads.receive(&intake, &anna, 1, Body::from("x")).await;
        let refused = refused.err().expect("all places are taken");
        let status = axum::response::IntoResponse::into_response(refused).status();
        assert_eq!(status, axum::http::StatusCode::TOO_MANY_REQUESTS);
        assert!(judged.pop().is_some());
        let received = uploads.receive(&intake, &anna, 1, Body::from("x")).await;
        assert!(received.is_ok());
    }

    #[tokio::test]
    async fn an_upload_that_crawls_is_ended() {
        let silent = || Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>());
        let after = |received| PaceLimit {
            started: Instant::now() - 2 * STALL,
            received,
        };
        let crawls = after(8).next(&mut silent()).await;
        assert!(crawls.is_err(), "8 bytes in two minutes");
        let mut fast = after(MIN_BYTES_PER_SECOND * 3600);
        let mut body = silent();
        let waiting = tokio::time::timeout(Duration::from_millis(50), fast.next(&mut body)).await;
        assert!(waiting.is_err(), "it may pause for a moment");
    }
}
