//! Receives bundles into the intake's spool, within the free disk space and each user's limit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dopq_common::api::ErrorCode;
use dopq_common::id::UserName;
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::error::{Error, Result};
use super::space::free_bytes;
use crate::bundles::{Intake, IntakeError, Spooled};

/// Concurrent uploads of one user.
const UPLOADS_PER_USER: usize = 4;
/// Time-out of an upload without data.
const STALL: Duration = Duration::from_secs(60);
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
    /// Bytes that the uploads in progress may still write.
    promised: u64,
    by_user: BTreeMap<UserName, usize>,
}

/// Disk space reserved for an upload; released on drop.
struct Promise<'a> {
    uploads: &'a Uploads,
    user: UserName,
    bytes: u64,
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

    /// Receives `body`, whose announced length is `length` bytes.
    pub(super) async fn receive(
        &self,
        intake: &Intake,
        user: &UserName,
        length: u64,
        mut body: Body,
    ) -> Result<Spooled> {
        match self.promise(user, length) {
            Ok(promise) => {
                let spooled = write(intake, length, &mut body).await;
                drop(promise);
                spooled
            }
            Err(error) => {
                drain(body).await;
                Err(error)
            }
        }
    }

    fn promise(&self, user: &UserName, bytes: u64) -> Result<Promise<'_>> {
        let mut under_way = self.under_way.lock();
        let free = free_bytes(&self.folder)
            .map_err(|e| Error::internal("cannot read the free space of the spool's disk", &e))?;
        let needed = bytes
            .saturating_add(under_way.promised)
            .saturating_add(self.min_free_bytes);
        if free < needed {
            let message = format!("the master's disk has no room for another {bytes} bytes");
            return Err(no_room(message));
        }
        let count = under_way.by_user.entry(user.clone()).or_default();
        if *count >= UPLOADS_PER_USER {
            let message = format!("you have {UPLOADS_PER_USER} uploads in progress, the maximum");
            return Err(Error::new(ErrorCode::TooManyRequests, message).hint("wait until one ends"));
        }
        *count += 1;
        under_way.promised = under_way.promised.saturating_add(bytes);
        Ok(Promise {
            uploads: self,
            user: user.clone(),
            bytes,
        })
    }
}

async fn write(intake: &Intake, length: u64, body: &mut Body) -> Result<Spooled> {
    let mut spooled = intake.spool().await.map_err(refusal)?;
    while let Some(data) = next(body).await? {
        spooled.write(&data).await.map_err(refusal)?;
        if spooled.size_bytes() > length {
            let message = format!("the body is longer than its Content-Length of {length} bytes");
            return Err(Error::new(ErrorCode::BadRequest, message));
        }
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
    }
}

fn no_room(message: String) -> Error {
    Error::new(ErrorCode::InsufficientStorage, message).hint("tell an admin; try again later")
}

/// The next data of a body; `None` at its end.
pub(super) async fn next(body: &mut Body) -> Result<Option<Bytes>> {
    loop {
        match tokio::time::timeout(STALL, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "an upload was interrupted");
                let error = Error::new(ErrorCode::BadRequest, "the upload was interrupted");
                return Err(error.hint("send it again"));
            }
            Err(_) => {
                let message = format!("received no data for {} s", STALL.as_secs());
                return Err(Error::new(ErrorCode::BadRequest, message).hint("send it again"));
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
