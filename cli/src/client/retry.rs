//! When to try again: the pauses of every loop that repeats something.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How long to go on when the master does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Once more, soon: a person waits for the prompt.
    Brief,
    /// For about 15 seconds: a master may be restarting, and the work so far would be lost.
    Restart,
    /// For minutes: somebody follows a stream.
    Long,
}

impl Patience {
    /// The pauses between the tries of one call.
    pub(super) fn policy(self) -> ExponentialBuilder {
        let (first_ms, tries) = match self {
            Self::Brief => (200, 1),
            Self::Restart => (250, 7),
            Self::Long => (250, 40),
        };
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(first_ms))
            .with_max_delay(Duration::from_secs(4))
            .with_max_times(tries)
    }
}

/// The pauses between streams that end before they bring anything. Begin again with a new one after a stream that
/// brought something.
pub(super) fn stream_pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(400))
        .with_max_delay(Duration::from_millis(6400))
        .with_max_times(20)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_bounded() {
        let total = |patience: Patience| patience.policy().build().sum::<Duration>();
        assert_eq!(total(Patience::Brief), Duration::from_millis(200));
        assert_eq!(total(Patience::Restart), Duration::from_millis(15_750));
        assert!((140..170).contains(&total(Patience::Long).as_secs()));
        assert_eq!(stream_pauses().count(), 20);
    }
}
