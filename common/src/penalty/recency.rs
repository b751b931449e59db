//! DoPQ 1.0's penalty: `P(u) = Σ e^-i` over those finished jobs that are `u`'s, where `i` numbers the finished jobs of
//! all users and the newest has `i = 0`.

/// A penalty after `finished` more jobs of other users.
///
/// The history decays by `1/e` with every finished job, so a stored value and the count at that time are enough.
#[must_use]
pub fn decayed(penalty: f64, finished: u64) -> f64 {
    // Beyond 2^53 finished jobs the count is rounded, long after e^-count has become 0.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let count = finished as f64;
    penalty * (-count).exp()
}

/// A current penalty after one more finished job of the user.
#[must_use]
pub fn after_own(penalty: f64) -> f64 {
    decayed(penalty, 1) + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn defined(history: &str, user: char) -> f64 {
        let newest_first = history.chars().rev().enumerate();
        newest_first
            .filter(|(_, of)| *of == user)
            .map(|(i, _)| (-(i as f64)).exp())
            .sum()
    }

    #[test]
    fn equals_the_sum_over_the_history() {
        for history in ["", "a", "b", "ab", "ba", "aabbbabba", &"ab".repeat(200)] {
            let (mut penalty, mut at) = (0.0, 0);
            for (count, user) in (1..).zip(history.chars()) {
                if user == 'a' {
                    penalty = after_own(decayed(penalty, count - 1 - at));
                    at = count;
                }
            }
            let now = decayed(penalty, history.len() as u64 - at);
            assert!((now - defined(history, 'a')).abs() < 1e-12, "{history}");
        }
    }
}
