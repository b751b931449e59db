//! The audit log: who did what, with which token, from where, and whether it was done.
//!
//! The store holds it. A line of a change is committed with the change ([`crate::driver::Handle::act`]). Other lines come
//! from here: [`AuditLog::record`] returns when the line is durable, [`AuditLog::note`] at once. Both work on every
//! master. Which requests leave a line is left to [`crate::http`].

use std::time::Duration;

use dopq_common::chain::chain;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::{AuditEntry, Error, Store};

/// Lines that can wait to be written. Beyond that they go to this master's own log only.
const WAITING_MAX: usize = 8192;
/// Lines of one write.
const AT_ONCE: usize = 512;
/// Between two writes, so that many lines cost few writes.
const PAUSE: Duration = Duration::from_millis(200);
/// After a write failed.
const RETRY: Duration = Duration::from_secs(2);

/// Writes and reads the audit log; cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    store: Store,
    waiting: mpsc::Sender<AuditEntry>,
}

/// The task behind [`AuditLog::note`].
#[derive(Debug)]
pub struct Writer {
    store: Store,
    waiting: mpsc::Receiver<AuditEntry>,
}

impl AuditLog {
    /// The log of `store`. The writer must be run.
    #[must_use]
    pub fn of(store: Store) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            store: store.clone(),
            waiting: receiver,
        };
        let log = Self {
            store,
            waiting: sender,
        };
        (log, writer)
    }

    /// Appends a line, durably.
    ///
    /// # Errors
    /// When the store cannot be reached. Then what the line tells of must not be done.
    pub async fn record(&self, line: AuditEntry) -> Result<(), Error> {
        self.store.record(&[line]).await
    }

    /// Appends a line soon.
    pub fn note(&self, line: AuditEntry) {
        if let Err(error) = self.waiting.try_send(line) {
            let (mpsc::error::TrySendError::Full(line) | mpsc::error::TrySendError::Closed(line)) =
                error;
            tracing::warn!(?line, "the audit log does not take this line now");
        }
    }

    /// The newest `limit` lines, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached or a line cannot be read.
    pub async fn newest(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        self.store.audit(limit).await
    }
}

impl Writer {
    /// Writes what is noted until `stop`, and then what still waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut lines = Vec::new();
        loop {
            let came = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                came = self.waiting.recv_many(&mut lines, AT_ONCE) => came,
            };
            if came == 0 {
                return;
            }
            self.write(&mut lines, &stop).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        while let Ok(line) = self.waiting.try_recv() {
            lines.push(line);
        }
        if !lines.is_empty()
            && let Err(error) = self.store.record(&lines).await
        {
            tracing::warn!(
                error = chain(&error),
                ?lines,
                "failed to write the audit log"
            );
        }
    }

    async fn write(&self, lines: &mut Vec<AuditEntry>, stop: &CancellationToken) {
        let mut told = false;
        while let Err(error) = self.store.record(lines).await {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    error = chain(&error),
                    "the audit log cannot be written; trying again until it can"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        lines.clear();
    }
}
