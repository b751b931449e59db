//! A number that ranks.

use std::cmp::Ordering;

/// A number that ranks. Totally ordered, so that none can upset an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value(pub(crate) f64);

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
