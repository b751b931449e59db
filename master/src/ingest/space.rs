//! Whether the disks have space for a file. DoPQ 1.0 left a twentieth of the disk free.

use std::path::Path;

use crate::disk::Space;

/// Why a file of `size_bytes` does not fit: the folder whose disk would have less than `min_space` of its size
/// free. `None` if there is space or it is unknown.
pub(super) fn shortage(folders: &[&Path], size_bytes: u64, min_space: f64) -> Option<String> {
    folders.iter().find_map(|folder| {
        let Space { free, whole } = Space::of(folder).ok()?;
        judge(free, whole, size_bytes, min_space)
            .map(|text| format!("{}: {text}", folder.display()))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of a disk need not be exact"
)]
fn judge(free: u64, whole: u64, size_bytes: u64, min_space: f64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let left = free.saturating_sub(size_bytes) as f64 / whole as f64;
    let enough = free >= size_bytes && left >= min_space;
    (!enough).then(|| {
        let now = free as f64 / whole as f64;
        format!(
            "{:.1} % of the disk is free, the minimum is {:.1} %",
            now * 100.0,
            min_space * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_stay_free_stays_free() {
        assert_eq!(judge(10, 100, 0, 0.05), None);
        assert_eq!(judge(10, 100, 5, 0.05), None);
        assert!(judge(10, 100, 6, 0.05).is_some());
        assert!(judge(10, 100, 11, 0.0).is_some());
        assert_eq!(judge(0, 0, 5, 0.05), None);
        let here = [Path::new("/")];
        assert!(shortage(&here, u64::MAX, 0.0).is_some_and(|text| text.starts_with("/: ")));
        assert_eq!(shortage(&here, 0, 0.0), None);
    }
}
