//! The GPUs' device files, held open.
//!
//! Without persistence mode, the driver shuts a GPU down when nobody has its device file open, and the next job waits
//! seconds for it. The worker holds the files open instead.

use std::fs::{File, OpenOptions};
use std::path::Path;

/// The driver's own file, beside those of the GPUs.
const CONTROL: &str = "nvidiactl";
/// Begins the name of a GPU's file; its number follows.
const GPU: &str = "nvidia";

/// Opens the files of all GPUs in `folder` and the driver's own. Leaves out those that cannot be opened.
pub(super) fn open_devices(folder: &Path) -> Vec<File> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::info!(%error, folder = %folder.display(), "cannot look for device files");
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_device) {
            continue;
        }
        match OpenOptions::new().read(true).write(true).open(entry.path()) {
            Ok(file) => files.push(file),
            Err(error) => {
                tracing::info!(%error, device = %entry.path().display(), "cannot hold a device open");
            }
        }
    }
    files
}

/// Whether it is `nvidiactl`, or `nvidia` and a number.
fn is_device(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name == CONTROL || name.strip_prefix(GPU).is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpus_files_and_no_others_are_held_open() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "nvidia0",
            "nvidia12",
            "nvidiactl",
            "nvidia-uvm",
            "nvidia-modeset",
            "nvidia",
            "nvidia1a",
            "null",
        ] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        std::fs::create_dir(folder.path().join("nvidia7")).expect("made");
        let held = open_devices(folder.path());
        let mut names: Vec<_> = held.iter().map(name).collect();
        names.sort();
        assert_eq!(names, ["nvidia0", "nvidia12", "nvidiactl"]);
        assert!(open_devices(&folder.path().join("absent")).is_empty());
    }

    /// The name of an open file, as the kernel tells it.
    fn name(file: &File) -> String {
        use std::os::fd::AsRawFd as _;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let path = path.expect("open");
        path.file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned()
    }
}
