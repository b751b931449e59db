//! What a user is charged for one attempt, kept with the job so that a receipt can be written.

use serde::{Deserialize, Serialize};

use crate::job::{Cause, Outcome, RetryRule};
use crate::penalty::usage::Rate;
use crate::time::Timestamp;

/// The most charges that a job keeps; the oldest go first.
const CHARGES_MAX: usize = 8;

/// The account of one attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The attempt's number.
    pub attempt: u32,
    /// What its user was charged while it held its machine.
    #[serde(rename = "rate_micro")]
    pub rate: Rate,
    /// When it was placed.
    #[serde(rename = "from_ms")]
    pub from: Timestamp,
    /// When it ended.
    #[serde(rename = "to_ms")]
    pub to: Timestamp,
    /// How the account was closed.
    pub end: ChargeEnd,
}

/// How the account of an attempt is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeEnd {
    /// The user pays for the time, or for the minimum if that is more.
    AtLeastMinimum,
    /// The user pays for the time.
    AsHeld,
    /// The user pays nothing.
    Refunded,
}

impl ChargeEnd {
    /// How the account of an attempt that ended so is closed.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        if matches!(outcome.cause, Cause::Evicted) {
            return Self::Refunded;
        }
        match outcome.cause.retry_rule() {
            RetryRule::Never | RetryRule::UserBudget => Self::AtLeastMinimum,
            RetryRule::Requeue => Self::AsHeld,
            RetryRule::Infrastructure => Self::Refunded,
        }
    }

    /// Every way, for whoever reads words back.
    pub const ALL: [Self; 3] = [Self::AtLeastMinimum, Self::AsHeld, Self::Refunded];

    /// The word that the records and the API use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastMinimum => "at_least_minimum",
            Self::AsHeld => "as_held",
            Self::Refunded => "refunded",
        }
    }
}

/// Writes a charge down. What cost nothing from the start, such as a job of the class `nice`, is left out.
pub(crate) fn write_down(charges: &mut Vec<Charge>, charge: Charge) {
    if charge.rate == Rate(0) {
        return;
    }
    if charges.len() >= CHARGES_MAX {
        charges.remove(0);
    }
    charges.push(charge);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_what_is_free_is_not() {
        let charge = |attempt, rate| Charge {
            attempt,
            rate: Rate(rate),
            from: Timestamp::default(),
            to: Timestamp::default(),
            end: ChargeEnd::Refunded,
        };
        let mut charges = Vec::new();
        for attempt in 1..=10 {
            write_down(&mut charges, charge(attempt, u64::from(attempt % 2)));
        }
        let kept: Vec<u32> = charges.iter().map(|charge| charge.attempt).collect();
        assert_eq!(kept, [1, 3, 5, 7, 9]);
        for attempt in 11..=20 {
            write_down(&mut charges, charge(attempt, 1));
        }
        let kept: Vec<u32> = charges.iter().map(|charge| charge.attempt).collect();
        assert_eq!(kept, [13, 14, 15, 16, 17, 18, 19, 20]);
    }
}
