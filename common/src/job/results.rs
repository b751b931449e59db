//! What became of an attempt's results: what was stored, and what was left out and why.

use serde::{Deserialize, Serialize};

/// The most paths that are named here. The manifest beside the results names all.
pub const NAMED_MAX: usize = 8;

/// What became of the files of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Files and links that are stored.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many files, links and folders were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<LeftOut>,
    /// Why nothing is stored although something was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// One that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path below `/outdir`.
    pub path: String,
    /// Why, as it is told.
    pub reason: String,
}

impl Results {
    /// Results of which nothing could be stored.
    #[must_use]
    pub fn lost(why: impl Into<String>) -> Self {
        Self {
            lost: Some(why.into()),
            ..Self::default()
        }
    }

    /// Whether everything is stored.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.left_out == 0 && self.lost.is_none()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
