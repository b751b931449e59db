//! What the masters expect to run here, between those who hear of it and those who act on it.

use dopq_common::agent::{Outdated, Prefetch};
use dopq_common::time::Timestamp;
use dopq_common::wire;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// What the masters expect.
#[derive(Debug, Default)]
pub(crate) struct Upcoming {
    core: Mutex<Prefetch>,
    changed: watch::Sender<()>,
}

impl Upcoming {
    /// The list and what became of its images. Hold it for a moment only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Prefetch> {
        self.core.lock()
    }

    /// Takes a list of the masters; `seen` is called with it before anybody acts on it.
    pub(crate) fn told(
        &self,
        now: Timestamp,
        list: wire::Upcoming,
        seen: impl FnOnce(&Prefetch),
    ) -> Result<(), Outdated> {
        {
            let mut core = self.core.lock();
            core.told(now, list)?;
            seen(&core);
        }
        self.changed.send_replace(());
        Ok(())
    }

    /// Tells of every further list.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
