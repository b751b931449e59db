//! When to try again: the pauses of every loop that repeats something.
//!
//! Each policy doubles its pauses from the first to the longest and never gives up: a job is not failed because the
//! engine, the masters or the broker are away.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Calls of the container engine that hold up a job.
pub(crate) const ENGINE: ExponentialBuilder = doubling(200, 5_000);
/// The last steps of an attempt, and reports to the broker.
pub(crate) const FINISH: ExponentialBuilder = doubling(200, 10_000);
/// Bundles and logs, from and to the masters.
pub(crate) const DATA: ExponentialBuilder = doubling(200, 15_000);
/// Results: a try may send many gigabytes.
pub(crate) const RESULTS: ExponentialBuilder = doubling(500, 30_000);
/// What the worker needs at its start.
pub(crate) const START: ExponentialBuilder = doubling(2_000, 2_000);

const fn doubling(first_ms: u64, longest_ms: u64) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(first_ms))
        .with_max_delay(Duration::from_millis(longest_ms))
        .without_max_times()
}

/// The pauses of one loop. Begin again with new ones after a success.
#[derive(Debug)]
pub(crate) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(crate) fn new(policy: ExponentialBuilder) -> Self {
        Self(policy.build())
    }

    /// Waits for the next pause.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.pause()).await;
    }

    fn pause(&mut self) -> Duration {
        self.0.next().unwrap_or_default()
    }
}

/// Repeats `attempt` until it gives something.
pub(crate) async fn until<T, F, Fut>(policy: ExponentialBuilder, mut attempt: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let mut pauses = Pauses::new(policy);
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        pauses.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_end() {
        let mut pauses = Pauses::new(ENGINE);
        let first: Vec<u128> = (0..7).map(|_| pauses.pause().as_millis()).collect();
        assert_eq!(first, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        for policy in [ENGINE, FINISH, DATA, RESULTS, START] {
            let mut pauses = Pauses::new(policy);
            assert!((0..1_000).all(|_| pauses.pause() >= Duration::from_millis(200)));
        }
    }

    #[tokio::test]
    async fn it_tries_until_there_is_something() {
        let tries = Cell::new(0);
        let third = until(doubling(1, 1), || async {
            tries.set(tries.get() + 1);
            (tries.get() == 3).then_some("third")
        });
        assert_eq!(third.await, "third");
        assert_eq!(tries.get(), 3);
    }
}
