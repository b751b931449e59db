//! How full a disk is.

use std::io;
use std::path::Path;

/// A disk as `df` shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Bytes in use.
    pub(crate) used: u64,
    /// Bytes that this process may still write.
    pub(crate) free: u64,
}

impl Disk {
    /// The disk that holds `folder`.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Self {
            used: used.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Whether more than this share of it is used, from 0 to 1. What is reserved for root counts as neither.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no single byte")]
    pub(crate) fn is_above(&self, share: f64) -> bool {
        self.used as f64 > share * (self.used.saturating_add(self.free)) as f64
    }
}

/// Whether the disk, or somebody's part of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_what_can_be_used() {
        let disk = Disk { used: 70, free: 30 };
        assert!(disk.is_above(0.69) && !disk.is_above(0.7));
        assert!(!Disk::default().is_above(0.0));
    }

    #[test]
    fn a_folder_lies_on_a_disk() {
        let disk = Disk::of(Path::new("/")).expect("a disk");
        assert!(disk.used > 0);
        Disk::of(Path::new("/no such folder")).expect_err("missing");
    }
}
