//! Publishes what an attempt wrote to `/outdir`: one tar with a manifest, streamed to the masters.
//!
//! [`mod@walk`] finds what is there, by folder handles. [`mod@pack`] writes it. What cannot be stored is left out and told in the
//! manifest and in the report of the job's end; it never keeps a job from ending.

mod links;
mod manifest;
mod pack;
#[cfg(test)]
mod tests;
mod walk;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dopq_common::job::Results;
use parking_lot::Mutex;
use reqwest::{Body, StatusCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::data::{Access, DataPlane, Error};
use crate::pieces::Pieces;
use crate::retry;
use pack::pack;
use walk::{Found, MOST, Measure, walk};

/// Pieces between the reader of the files and the connection; a mebibyte keeps both busy.
const AHEAD: usize = 8;

/// After so many tries that failed on this machine, the results cannot be read.
const READS_MAX: usize = 3;

/// What became of the tries to pack.
#[derive(Debug, Default)]
struct Tries {
    /// What the last one packed.
    packed: Option<Results>,
    /// Why the folder could not be read, for each that failed.
    unread: Vec<io::Error>,
}

type SharedTries = Arc<Mutex<Tries>>;

/// Sends the folder's content, if there is any, until the masters have it or refuse it. `max_bytes` is the most that
/// they take; what has no room is left out.
///
/// # Errors
/// When the folder cannot be read [`READS_MAX`] times.
pub(crate) async fn publish(
    data: &DataPlane,
    access: &Access,
    folder: PathBuf,
    max_bytes: u64,
    stop: &CancellationToken,
) -> io::Result<Results> {
    let found = find(folder.clone(), stop.clone()).await?;
    if found.is_empty() {
        return Ok(Results::default());
    }
    let mut found = Arc::new(found);
    let mut refused = Results::default();
    // What a file takes on the disk tells too little where the file system compresses.
    for measure in [Measure::OnDisk, Measure::Length] {
        Arc::make_mut(&mut found).choose(max_bytes, measure);
        let (folder, found, attempt) = (folder.clone(), Arc::clone(&found), access.attempt);
        let sent = send(data, access, move |writer| {
            pack(&folder, &found, attempt, writer)
        })
        .await?;
        match sent {
            Ok(results) => return Ok(results),
            Err(status) => {
                tracing::warn!(attempt = %access.attempt, %status, "the masters refuse the results");
                refused = Results::lost(format!("the masters refuse the results: {status}"));
                if status != StatusCode::PAYLOAD_TOO_LARGE {
                    break;
                }
            }
        }
    }
    Ok(refused)
}

/// What is in the folder.
async fn find(folder: PathBuf, stop: CancellationToken) -> io::Result<Found> {
    let mut pauses = retry::Pauses::new(retry::RESULTS);
    let mut tries = 1;
    loop {
        let (folder, stop) = (folder.clone(), stop.clone());
        let walked = tokio::task::spawn_blocking(move || walk(&folder, MOST, &stop)).await;
        match walked.map_err(io::Error::other).flatten() {
            Err(error) if tries < READS_MAX => {
                tracing::warn!(%error, "reading the results again");
            }
            done => return done,
        }
        tries += 1;
        pauses.wait().await;
    }
}

/// Sends what `pack` writes; the masters' answer when they refuse it.
async fn send(
    data: &DataPlane,
    access: &Access,
    pack: impl Fn(Pieces) -> io::Result<Results> + Clone + Send + 'static,
) -> io::Result<Result<Results, StatusCode>> {
    let tries = SharedTries::default();
    let body = || Body::wrap_stream(pieces(pack.clone(), Arc::clone(&tries)));
    retry::until(retry::RESULTS, || async {
        match data.put_results(access, body).await {
            Ok(()) => Some(Ok(Ok(tries.lock().packed.take().unwrap_or_default()))),
            Err(Error::Denied { status }) => Some(Ok(Err(status))),
            Err(error) => {
                tracing::warn!(attempt = %access.attempt, %error, "sending the results again");
                let unread = &mut tries.lock().unread;
                let fault = (unread.len() >= READS_MAX).then(|| unread.pop());
                fault.flatten().map(Err)
            }
        }
    })
    .await
}

/// What `pack` writes, with its error at the end.
fn pieces(
    pack: impl FnOnce(Pieces) -> io::Result<Results> + Send + 'static,
    tries: SharedTries,
) -> ReceiverStream<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = Pieces::new(sender.clone());
    let packing = tokio::task::spawn_blocking(move || pack(writer));
    tokio::spawn(async move {
        let error = match packing.await.map_err(io::Error::other).flatten() {
            Ok(results) => {
                tries.lock().packed = Some(results);
                return;
            }
            Err(error) => error,
        };
        let cut = io::Error::new(error.kind(), error.to_string());
        // A receiver that is gone is no fault of the folder.
        if error.kind() != io::ErrorKind::BrokenPipe {
            tries.lock().unread.push(error);
        }
        // The connection is cut by it, so the masters never take half a tar for a whole one.
        sender.send(Err(cut)).await.unwrap_or_default();
    });
    ReceiverStream::new(receiver)
}
