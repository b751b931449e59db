//! A request's body that a thread writes.

use std::io::{self, Write as _};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::context::ContextError;
use crate::pieces::Pieces;

/// Pieces between the thread and the connection: half a mebibyte at most.
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
            let mut writer = Pieces::new(pieces.clone());
            let sent = send(&mut writer).and_then(|()| Ok(writer.flush()?));
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
