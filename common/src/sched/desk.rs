//! One user's jobs, kept up to date by [`super::index`] as jobs come and go. Never stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::GroupName;
use crate::penalty::usage::Rate;
use crate::resources::MilliGpu;
use crate::time::Timestamp;

use super::index::ShapeId;
use super::order::Place;
use super::tally::Tally;

/// One user's jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Desk {
    /// Those that may start, by shape.
    pub(super) ready: BTreeMap<ShapeId, BTreeSet<Place>>,
    /// Those that wait for something else than a machine.
    pub(super) parked: BTreeSet<Place>,
    /// How many they are, and what they hold.
    pub(super) tally: Tally,
    /// What is charged for those that have a machine.
    pub(super) rate: Rate,
    /// A copy of the user's.
    pub(super) group: Option<GroupName>,
    /// A copy of the user's.
    pub(super) floor: Option<MilliGpu>,
    /// A copy of what the user has had, so that ranking all users looks none of them up.
    pub(super) had: Had,
}

/// What a user has had, as [`super::User`] says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Had {
    pub(super) weight: f64,
    pub(super) usage: f64,
    pub(super) usage_at: Timestamp,
    pub(super) recency: f64,
    pub(super) recency_at: u64,
}

impl Default for Had {
    fn default() -> Self {
        Self {
            weight: 1.0,
            usage: 0.0,
            usage_at: Timestamp::default(),
            recency: 0.0,
            recency_at: 0,
        }
    }
}
