//! Reads what users wrote off the async threads: few texts at once, of a user one large one, each within a deadline.
//!
//! The parsers take time linear in their input. This is the second wall: a defect in one of them costs a thread for a
//! while, and neither the requests nor the timers of others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::UserName;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The most texts that are read at once.
const AT_ONCE: usize = 4;
/// The longest wait for a free place.
const WAIT: Duration = Duration::from_secs(10);

/// Places for readers; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Judging {
    places: Arc<Semaphore>,
    /// The one place of each owner who has or waits for it.
    owners: Arc<Mutex<BTreeMap<Option<UserName>, Arc<Semaphore>>>>,
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
            owners: Arc::default(),
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

    /// The same, of each owner one at a time. All whose owner is unknown count as one.
    ///
    /// # Errors
    /// [`Overrun`].
    pub(crate) async fn run_for<T: Send + 'static>(
        &self,
        owner: Option<&UserName>,
        deadline: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overrun> {
        let place = timeout(WAIT, self.place_of(owner.cloned())).await;
        let Ok(Some(place)) = place else {
            return Err(Overrun::Busy);
        };
        let read = move || {
            let result = read();
            drop(place);
            result
        };
        self.run(deadline, read).await
    }

    async fn place_of(&self, owner: Option<UserName>) -> Option<OwnedSemaphorePermit> {
        let own = {
            let mut owners = self.owners.lock();
            owners.retain(|_, own| Arc::strong_count(own) > 1);
            let own = owners.entry(owner);
            Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        own.acquire_owned().await.ok()
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
    async fn one_user_has_one_place() {
        let judging = Judging::default();
        let user = |name: &str| name.parse::<UserName>().expect("a name");
        let (anna, bert) = (user("anna"), user("bert"));
        let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let short = Duration::from_millis(20);
        let slow = judging.run_for(Some(&anna), short, move || wait.recv().is_ok());
        assert_eq!(slow.await, Err(Overrun::Slow(short)));
        // Her reader runs on. Hers wait for it, and others' do not.
        let second = judging.run_for(Some(&anna), WAIT, || 1);
        let second = tokio::time::timeout(short, second);
        assert!(second.await.is_err(), "she has her place");
        assert_eq!(judging.places.available_permits(), AT_ONCE - 1);
        for other in [Some(&bert), None] {
            assert_eq!(judging.run_for(other, WAIT, || 2).await, Ok(2));
        }
        let send = tokio::task::spawn_blocking(move || release.send(()));
        send.await.expect("joined").expect("the reader waits");
        assert_eq!(judging.run_for(Some(&anna), WAIT, || 3).await, Ok(3));
        assert_eq!(
            judging.owners.lock().len(),
            1,
            "only who has a place is known"
        );
    }

    #[tokio::test]
    async fn a_panic_of_a_reader_is_an_error() {
        let judging = Judging::default();
        let failed = judging.run(WAIT, || panic!("a defect")).await;
        assert_eq!(failed, Err::<(), _>(Overrun::Failed));
        assert_eq!(judging.places.available_permits(), AT_ONCE);
    }
}
