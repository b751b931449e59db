//! A request's body that a thread writes.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::context::ContextError;

/// Size of the pieces sent to the engine.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces in flight between the thread and the connection: half a mebibyte at most.
const PIECES: usize = 4;

/// The thread that reads the bundle and writes the request's body.
pub(super) struct Sending {
    task: tokio::task::JoinHandle<Result<(), ContextError>>,
}

impl Sending {
    /// Starts the thread and returns the body. If the thread fails, the body and the request fail.
    pub(super) fn start(
        send: impl FnOnce(&mut Pieces) -> Result<(), ContextError> + Send + 'static,
    ) -> (Self, ReceiverStream<io::Result<Bytes>>) {
        let (pieces, body) = mpsc::channel(PIECES);
        let task = tokio::task::spawn_blocking(move || {
            let mut writer = Pieces {
                gathered: Vec::with_capacity(PIECE_BYTES),
                pieces: pieces.clone(),
            };
            let sent = send(&mut writer).and_then(|()| Ok(writer.hand_on()?));
            if sent.is_err() {
                // The engine must not accept a truncated archive. A missing receiver already knows.
                drop(pieces.blocking_send(Err(io::ErrorKind::InvalidData.into())));
            }
            sent
        });
        (Self { task }, ReceiverStream::new(body))
    }

    /// Whether the thread has ended.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Its result.
    pub(super) async fn result(self) -> Result<(), ContextError> {
        match self.task.await {
            Ok(sent) => sent,
            Err(error) => Err(ContextError::Io(Box::new(error))),
        }
    }
}

/// A writer that sends its bytes through a channel in pieces.
pub(super) struct Pieces {
    gathered: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    fn hand_on(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES);
        let piece = Bytes::from(std::mem::replace(&mut self.gathered, next));
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.gathered.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(taken.len())
    }

    /// Does nothing, because small pieces are inefficient; the last one is sent at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
