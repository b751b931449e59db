//! What the workers' heartbeats tell: that they are alive, and the use of machines, GPUs and containers.
//!
//! Transient by nature: never committed. Every master listens, so that a standby can answer as well.
//! Whether a silent worker is suspect or lost is the scheduler's business; it learns who was [`Heard`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::Broker;
use dopq_common::id::WorkerId;
use dopq_common::wire::{Heartbeat, Live, OpenError, Sealed, WorkerKeys, topic};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::keys::NodeKeys;
use crate::metrics::Metrics;
use crate::view::View;

/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// Who gave a sign of life since somebody last asked. Kept rather than queued, so that however long the
/// owner of the state is busy, none is missed and none waits.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<BTreeMap<WorkerId, Arc<str>>>>);

impl Heard {
    /// Notes a sign of life of `worker` in its `session`.
    pub fn note(&self, worker: WorkerId, session: &str) {
        self.0.lock().insert(worker, Arc::from(session));
    }

    /// Who was heard, and forgets it.
    #[must_use]
    pub fn take(&self) -> BTreeMap<WorkerId, Arc<str>> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Listens until `shutdown`.
pub async fn run(
    broker: Broker,
    keys: NodeKeys,
    view: View,
    heard: Heard,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let listening = async {
        loop {
            match broker.subscribe_live(&[topic::HEARTBEATS]).await {
                Ok(mut stream) => {
                    while let Some(message) = stream.next().await {
                        match read(&keys, &message.body) {
                            Ok(Some((worker, beat))) => {
                                heard.note(worker.clone(), &beat.session);
                                view.beat(worker, clock::now(), beat);
                            }
                            Ok(None) => {}
                            Err(error) => {
                                metrics.fenced("heartbeat");
                                tracing::debug!(%error, "a heartbeat is not believed");
                            }
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot listen to heartbeats"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = listening => {}
    }
}

/// Who beats, proven by the seal; `None` for another kind of message.
fn read(keys: &dyn WorkerKeys, body: &[u8]) -> Result<Option<(WorkerId, Heartbeat)>, OpenError> {
    let (worker, live) = Sealed::open::<Live>(keys, body)?;
    match live {
        Live::Heartbeat(beat) if beat.worker == worker => Ok(Some((worker, *beat))),
        Live::Heartbeat(_) => Err(OpenError::Forged(worker)),
        Live::LogTail { .. } | Live::Follow { .. } | Live::Upcoming { .. } | Live::Unknown => {
            Ok(None)
        }
    }
}
