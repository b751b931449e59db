//! What a session is connected to: whatever takes input, gives output, and ends.

use dopq_common::session::{Channel, PIECE_MAX_BYTES};
use dopq_common::wire::SessionEnd;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

/// Pieces of output that are read ahead of the master.
pub(super) const OUTPUT_AHEAD: usize = 2;

/// What is done in the container.
pub(super) struct Work {
    /// Takes what the master sends. Its capacity is a window.
    pub(super) input: mpsc::Sender<Input>,
    /// One for each input that was taken.
    pub(super) taken: mpsc::Receiver<()>,
    /// What comes out; ends when no more does.
    pub(super) output: mpsc::Receiver<Output>,
    /// How it ended, once nothing more comes out.
    pub(super) end: BoxFuture<'static, SessionEnd>,
    /// Ends it, because the session is over before it is.
    pub(super) stop: BoxFuture<'static, ()>,
}

/// What goes in.
#[derive(Debug)]
pub(super) enum Input {
    /// Bytes.
    Data(Vec<u8>),
    /// There are no more.
    Close,
    /// The terminal's size: rows and columns.
    Resize(u16, u16),
}

/// What comes out.
#[derive(Debug)]
pub(super) enum Output {
    /// Bytes, at most a piece.
    Data(Channel, Vec<u8>),
}

/// Passes on what comes, as it comes.
pub(super) async fn pass_on(mut reader: impl AsyncRead + Unpin, out: mpsc::Sender<Output>) {
    let mut bytes = vec![0; PIECE_MAX_BYTES];
    loop {
        let arrived = match reader.read(&mut bytes).await {
            Ok(0) => return,
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%error, "the output of a session broke off");
                return;
            }
        };
        let piece = Output::Data(Channel::Output, arrived.to_vec());
        if out.send(piece).await.is_err() {
            return;
        }
    }
}
