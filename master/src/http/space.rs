//! Free disk space of a folder.

use std::io;
use std::path::Path;

/// Bytes that this process may still write to the file system that holds `folder`.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
