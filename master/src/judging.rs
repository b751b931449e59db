//! Reads what users wrote off the async threads: few texts at once, each within a deadline.
//!
//! The parsers take time linear in their input. This is the second wall: a defect in one of them costs a thread for a
//! while, and neither the requests nor the timers of others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The most texts that are read at once.
const AT_ONCE: usize = 4;
/// The longest wait for a free place.
const WAIT: Duration = Duration::from_secs(10);

/// Places for readers; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Judging {
    places: Arc<Semaphore>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overrun {
    /// All places are taken.
    #[error("too many bundles are being checked at the moment")]
    Busy,
    /// The reader did not end in time. It keeps its place until it ends.
    #[error("it takes more than {} s to read", .0.as_secs())]
    Slow(Duration),
    /// The reader panicked.
    #[error("its reader failed")]
    Failed,
}

impl Default for Judging {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Judging {
    /// Runs `read` on a thread of its own and returns its result.
    ///
    /// # Errors
    /// [`Overrun`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overrun> {
        let place = timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(Overrun::Busy);
        };
        let reading = tokio::task::spawn_blocking(move || {
            let result = read();
            drop(place);
            result
        });
        match timeout(deadline, reading).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Overrun::Failed),
            Err(_) => Err(Overrun::Slow(deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_readers_hold_their_places_and_nobody_elses_thread() {
        let judging = Judging::default();
        let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let short = Duration::from_millis(20);
        for _ in 0..AT_ONCE {
            let wait = Arc::clone(&wait);
            let read = move || wait.lock().is_ok_and(|wait| wait.recv().is_ok());
            let late = judging.run(short, read).await;
            assert_eq!(late, Err(Overrun::Slow(short)));
        }
        assert_eq!(judging.places.available_permits(), 0);
        let send = tokio::task::spawn_blocking(move || {
            for _ in 0..AT_ONCE {
                release.send(()).expect("a reader waits");
            }
        });
        send.await.expect("sent");
        assert_eq!(judging.run(WAIT, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_of_a_reader_is_an_error() {
        let judging = Judging::default();
        let failed = judging.run(WAIT, || panic!("a defect")).await;
        assert_eq!(failed, Err::<(), _>(Overrun::Failed));
        assert_eq!(judging.places.available_permits(), AT_ONCE);
    }
}
