//! A small disk in memory, and how full it gets.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

/// A tmpfs of its own.
pub(crate) struct Disk(TempDir);

/// Watches how full a disk gets.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Disk {
    /// Mounts one, for which it must be root.
    pub(crate) fn mount(bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "week"]);
        let mounted = mount.arg(folder.path()).status().expect("mount runs");
        assert!(mounted.success(), "a tmpfs must be mounted, as root");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Looks every few milliseconds.
    pub(crate) fn watch(&self) -> Watch {
        let (stop, folder) = (Arc::<AtomicBool>::default(), self.path().to_owned());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut fullest = 0.0;
            while !stopped.load(Ordering::Relaxed) {
                fullest = f64::max(fullest, used(&folder));
                std::thread::sleep(Duration::from_millis(5));
            }
            fullest
        });
        Watch { stop, thread }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

impl Watch {
    /// The largest share of the disk that was used, from 0 to 1.
    pub(crate) fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no single byte")]
fn used(folder: &Path) -> f64 {
    let stat = rustix::fs::statvfs(folder).expect("a disk");
    1.0 - stat.f_bavail as f64 / stat.f_blocks as f64
}
