//! What a session is connected to: whatever takes input, gives output, and ends.

use dopq_common::session::Channel;
use dopq_common::wire::SessionEnd;
use futures::future::BoxFuture;
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
