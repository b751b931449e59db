//! When to try again: the pauses of loops that repeat something until it succeeds. They double from the first to the
//! longest and never end.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Commits to the store.
pub(crate) const COMMIT: ExponentialBuilder = doubling(50, 2_000);
/// Orders that the broker did not confirm.
pub(crate) const ORDERS: ExponentialBuilder = doubling(100, 5_000);

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

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
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
        tokio::time::sleep(pauses.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pauses = Pauses::new(COMMIT);
        let first: Vec<u128> = (0..8).map(|_| pauses.pause().as_millis()).collect();
        assert_eq!(first, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        for _ in 0..1_000 {
            assert_eq!(pauses.pause().as_millis(), 2_000);
        }
    }
}
