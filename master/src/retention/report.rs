//! What a sweep found and removed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dopq_common::resources::ByteSize;

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
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 5] = [
        Self::Bundles,
        Self::Logs,
        Self::Results,
        Self::Checkpoints,
        Self::Archive,
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
    fn add(&mut self, bytes: u64) {
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
    /// All that was there, without the archive.
    pub found: BTreeMap<Kind, Count>,
    /// What of it was removed.
    pub removed: BTreeMap<Kind, Count>,
}

impl Report {
    pub(super) fn found(&mut self, kind: Kind, bytes: u64) {
        self.found.entry(kind).or_default().add(bytes);
    }

    pub(super) fn removed(&mut self, kind: Kind, bytes: u64) {
        self.removed.entry(kind).or_default().add(bytes);
    }

    /// What stays of one kind.
    #[must_use]
    pub fn kept(&self, kind: Kind) -> Count {
        let of = |counts: &BTreeMap<Kind, Count>| counts.get(&kind).copied().unwrap_or_default();
        of(&self.found).minus(of(&self.removed))
    }

    /// All that stays.
    #[must_use]
    pub fn kept_in_all(&self) -> Count {
        total(&self.found).minus(total(&self.removed))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (removed, kept) = (total(&self.removed), self.kept_in_all());
        write!(
            f,
            "the last sweep removed {} objects of {}; {} of {} stay",
            removed.objects,
            ByteSize(removed.bytes),
            kept.objects,
            ByteSize(kept.bytes),
        )
    }
}

fn total(counts: &BTreeMap<Kind, Count>) -> Count {
    counts.values().copied().fold(Count::default(), Count::plus)
}
