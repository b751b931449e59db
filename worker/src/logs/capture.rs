//! Takes a container's output from the engine into its spool.

use std::io;

use dopq_common::wire::log::Source;
use futures::{FutureExt, Stream, StreamExt};

use super::spool::{Piece, Spool};
use crate::docker::{self, Engine, LogPiece};

/// Pieces are written together up to this length, as far as they are ready.
const BATCH_BYTES: usize = 256 * 1024;

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
    keep(engine.logs(container, tty, follow), spool).await
}

/// Appends what the spool does not have of a container's output from its beginning.
pub(super) async fn keep(
    output: impl Stream<Item = Result<LogPiece, docker::Error>> + Unpin,
    spool: &Spool,
) -> Result<(), CaptureError> {
    let (mut skip_stdout, mut skip_stderr) = spool.taken().await;
    // The end may come while a batch is filled, and is asked for once more by the loop.
    let mut output = output.fuse();
    while let Some(first) = output.next().await {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(piece) = next {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    batch.failed = Some(error);
                    break;
                }
            };
            let (source, skip) = if piece.stderr {
                (Source::Stderr, &mut skip_stderr)
            } else {
                (Source::Stdout, &mut skip_stdout)
            };
            batch.push(source, piece, skip);
            if batch.bytes >= BATCH_BYTES {
                break;
            }
            next = output.next().now_or_never().flatten();
        }
        spool
            .append(&batch.pieces)
            .await
            .map_err(CaptureError::Spool)?;
        if let Some(error) = batch.failed {
            return Err(CaptureError::Engine(error));
        }
        if spool.is_cut().await {
            return Ok(());
        }
    }
    Ok(())
}

/// What is written at once.
#[derive(Default)]
struct Batch {
    pieces: Vec<Piece>,
    /// Bytes read, those that the spool has included.
    bytes: usize,
    /// Why reading ended.
    failed: Option<docker::Error>,
}

impl Batch {
    /// Adds what of `piece` follows the next `skip` bytes.
    fn push(&mut self, source: Source, piece: LogPiece, skip: &mut u64) {
        let LogPiece { at, mut bytes, .. } = piece;
        self.bytes += bytes.len();
        let known = usize::try_from(*skip)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        *skip -= u64::try_from(known).unwrap_or(*skip);
        let bytes = bytes.split_off(known);
        if !bytes.is_empty() {
            self.pieces.push(Piece { source, at, bytes });
        }
    }
}
