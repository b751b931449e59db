//! A writer whose bytes go through a channel, as the body of a request that a thread writes.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Length of a piece.
const PIECE_BYTES: usize = 128 * 1024;

/// Sends what is written in pieces, and waits for their taker. Flush it at the end.
pub(crate) struct Pieces {
    gathered: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    /// A writer into this channel.
    pub(crate) fn new(pieces: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            gathered: Vec::with_capacity(PIECE_BYTES),
            pieces,
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.gathered.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    /// Fails with [`io::ErrorKind::BrokenPipe`] when the taker is gone.
    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES);
        let piece = Bytes::from(std::mem::replace(&mut self.gathered, next));
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
