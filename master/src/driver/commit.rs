//! Commits a batch. Repeats the commit while the store does not answer and the leadership lasts.

use dopq_common::chain::chain;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ended::Ended;
use crate::clock;
use crate::metrics::{Board, Metrics, Part, PartState};
use crate::retry;
use crate::store::{Batch, Error, Store};
use crate::view::View;

/// The committer and its observers.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    pub(super) store: Store,
    pub(super) view: View,
    pub(super) metrics: Metrics,
    pub(super) board: Board,
}

impl Committer {
    /// Commits `batch`. Returns when it is written, or when this master can no longer write. In the latter case
    /// it is unknown whether it was written; the next load shows it.
    ///
    /// # Errors
    /// [`Ended`] when the leadership is over.
    pub(super) async fn commit(
        &self,
        batch: &Batch,
        lease_lost: &CancellationToken,
    ) -> Result<(), Ended> {
        let began = Instant::now();
        let committing = retry::until(retry::COMMIT, || async {
            let error = match self.store.commit(batch).await {
                Ok(()) => return Some(Ok(())),
                Err(error) => error,
            };
            match error {
                Error::Fenced { .. } => Some(Err(Ended::Fenced(error.to_string()))),
                Error::OutOfSequence { .. } => Some(Err(Ended::OutOfSequence(error.to_string()))),
                // After each of these the store has either all of the batch or nothing, so repeating
                // the batch is correct.
                Error::Unavailable(_)
                | Error::Refused { .. }
                | Error::Unsuitable(_)
                | Error::Corrupt { .. } => {
                    self.failed(&error);
                    None
                }
            }
        });
        tokio::select! {
            () = lease_lost.cancelled() => return Err(Ended::LeaseLost),
            committed = committing => committed?,
        }
        self.recovered(began);
        self.metrics.committed(began.elapsed());
        Ok(())
    }

    fn failed(&self, error: &Error) {
        let fault = chain(error);
        let told_before = self.view.set_store_fault(Some(fault.clone())).is_some();
        if !told_before {
            tracing::warn!(
                error = fault,
                "the store rejects the commit; trying again until it succeeds"
            );
        }
        self.board
            .set(clock::now(), Part::Store, PartState::Down, fault);
    }

    fn recovered(&self, since: Instant) {
        if self.view.set_store_fault(None).is_some() {
            let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(waited_ms, "the store accepts commits again");
            self.board
                .set(clock::now(), Part::Store, PartState::Up, self.store.name());
        }
    }
}
