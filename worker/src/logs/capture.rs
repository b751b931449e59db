//! Takes a container's output from the engine into its spool.

use std::io;

use dopq_common::wire::log::Source;
use futures::StreamExt;

use super::spool::{Piece, Spool};
use crate::docker::{self, Engine};

/// Pieces that are written at once when they are ready at once; together about a megabyte at most.
const BATCH: usize = 64;

/// Output that could not be taken; what was taken is in the spool, and asking again goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// The engine stopped telling.
    #[error("read the container's output")]
    Engine(#[source] docker::Error),
    /// The spool cannot be written.
    #[error("write the log")]
    Spool(#[source] io::Error),
}

/// Reads the output from its beginning and appends what the spool does not have. With `follow` it returns
/// when the container has ended.
pub(crate) async fn capture(
    engine: &Engine,
    container: &str,
    tty: bool,
    follow: bool,
    spool: &Spool,
) -> Result<(), CaptureError> {
    if spool.is_cut().await {
        return Ok(());
    }
    let (mut skip_stdout, mut skip_stderr) = spool.taken().await;
    let mut output = engine.logs(container, tty, follow).ready_chunks(BATCH);
    while let Some(batch) = output.next().await {
        let mut pieces = Vec::with_capacity(batch.len());
        let mut failed = None;
        for piece in batch {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let (source, skip) = if piece.stderr {
                (Source::Stderr, &mut skip_stderr)
            } else {
                (Source::Stdout, &mut skip_stdout)
            };
            let mut bytes = piece.bytes;
            let known = usize::try_from(*skip)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            *skip -= u64::try_from(known).unwrap_or(*skip);
            let bytes = bytes.split_off(known);
            if !bytes.is_empty() {
                pieces.push(Piece {
                    source,
                    at: piece.at,
                    bytes,
                });
            }
        }
        spool.append(&pieces).await.map_err(CaptureError::Spool)?;
        if let Some(error) = failed {
            return Err(CaptureError::Engine(error));
        }
        if spool.is_cut().await {
            return Ok(());
        }
    }
    Ok(())
}
