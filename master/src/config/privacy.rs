//! What users see of each other's jobs.

use dopq_common::settings::Named;

/// What users see of each other's jobs. Everybody sees every row; owners, operators and admins see all of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privacy {
    /// Also its name, command and labels.
    #[default]
    Open,
    /// The row without them.
    Own,
}

impl Named for Privacy {
    const NAMES: &'static [(&'static str, Self)] = &[("open", Self::Open), ("own", Self::Own)];
}
