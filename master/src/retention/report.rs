//! What a sweep found and removed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::resources::ByteSize;

use crate::bundles;

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bundles.
    Bundles,
    /// Logs.
    Logs,
    /// Results.
    Results,
    /// Checkpoints.
    Checkpoints,
    /// The archive's records.
    Archive,
    /// What is left of writes that were cut off.
    Unfinished,
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 6] = [
        Self::Bundles,
        Self::Logs,
        Self::Results,
        Self::Checkpoints,
        Self::Archive,
        Self::Unfinished,
    ];

    /// The word that the API and the metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Logs => "logs",
            Self::Results => "results",
            Self::Checkpoints => "checkpoints",
            Self::Archive => "archive",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Objects and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub objects: u64,
    /// Their size in all.
    pub bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn minus(self, other: Self) -> Self {
        Self {
            objects: self.objects.saturating_sub(other.objects),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects + other.objects,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What one sweep found and removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// How long it took.
    pub took: Duration,
    /// All that was there.
    pub found: BTreeMap<Kind, Count>,
    /// What of it was removed.
    pub removed: BTreeMap<Kind, Count>,
    /// How many objects could not be removed.
    pub failed: u64,
    /// Why the first of them could not.
    pub error: Option<String>,
}

impl Report {
    pub(super) fn found(&mut self, kind: Kind, bytes: u64) {
        self.found.entry(kind).or_default().add(bytes);
    }

    pub(super) fn removed(&mut self, kind: Kind, bytes: u64) {
        self.removed.entry(kind).or_default().add(bytes);
    }

    pub(super) fn failed(&mut self, objects: u64, error: &bundles::Error) {
        self.failed = self.failed.saturating_add(objects);
        self.error.get_or_insert_with(|| chain(error));
    }

    /// What stays of one kind.
    #[must_use]
    pub fn kept(&self, kind: Kind) -> Count {
        let of = |counts: &BTreeMap<Kind, Count>| counts.get(&kind).copied().unwrap_or_default();
        of(&self.found).minus(of(&self.removed))
    }

    /// All that was removed.
    #[must_use]
    pub fn removed_in_all(&self) -> Count {
        total(&self.removed)
    }

    /// All that stays.
    #[must_use]
    pub fn kept_in_all(&self) -> Count {
        total(&self.found).minus(total(&self.removed))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (removed, kept) = (self.removed_in_all(), self.kept_in_all());
        write!(
            f,
            "the last sweep removed {} objects of {}; {} of {} stay",
            removed.objects,
            ByteSize(removed.bytes),
            kept.objects,
            ByteSize(kept.bytes),
        )?;
        match &self.error {
            Some(error) => write!(f, "; {} cannot be removed: {error}", self.failed),
            None => Ok(()),
        }
    }
}

fn total(counts: &BTreeMap<Kind, Count>) -> Count {
    counts.values().copied().fold(Count::default(), Count::plus)
}
