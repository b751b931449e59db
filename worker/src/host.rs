//! The machine: how much it has, how much of it is used, and which boot this is.

use std::path::{Path, PathBuf};

use dopq_common::wire::HostUse;
use parking_lot::Mutex;
use sysinfo::{Disks, System};

/// Reads the machine.
#[derive(Debug)]
pub(crate) struct Host {
    system: Mutex<Option<System>>,
    data_dir: PathBuf,
}

impl Host {
    /// `data_dir` tells which disk counts.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let data_dir = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let system = System::new()
            .inspect_err(|error| tracing::warn!(?error, "cannot read the machine's resources"));
        Self {
            system: Mutex::new(system.ok()),
            data_dir,
        }
    }

    /// What is used now; CPU since the last call. Blocks for a moment.
    pub(crate) fn look(&self) -> HostUse {
        let mut system = self.system.lock();
        let Some(system) = system.as_mut() else {
            return HostUse::default();
        };
        system.refresh_cpu_usage();
        system.refresh_memory();
        let ratio = f64::from(system.global_cpu_usage()) / 100.0;
        HostUse {
            cpu_ratio: ratio.clamp(0.0, 1.0),
            memory_used_bytes: system.used_memory(),
            memory_total_bytes: system.total_memory(),
            disk_free_bytes: self.disk_free().unwrap_or_default(),
        }
    }

    /// Free bytes where the data folder lies; `None` where nobody knows. Blocks for a moment.
    pub(crate) fn disk_free(&self) -> Option<u64> {
        let disks = Disks::new_with_refreshed_list().ok()?;
        let holding = disks
            .iter()
            .filter(|disk| self.data_dir.starts_with(disk.mount_point()));
        holding
            .max_by_key(|disk| disk.mount_point().as_os_str().len())
            .map(sysinfo::Disk::available_space)
    }
}

/// Differs after every boot of the machine.
pub(crate) fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the machine's boot id");
            "unknown".to_owned()
        }
    }
}

/// The machine's host name.
pub(crate) fn host_name() -> String {
    System::host_name().unwrap_or_else(|_| "unknown".to_owned())
}
