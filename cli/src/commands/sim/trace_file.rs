//! Reads trace files.

use std::path::Path;

use dopq_common::sim::TraceError;

use crate::failure::Failure;

/// The text of a trace.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

/// The failure of a trace that cannot be parsed.
pub(super) fn bad_trace(path: &Path) -> impl FnOnce(TraceError) -> Failure {
    move |error| Failure::Usage(format!("{}: {error}", path.display()))
}
