//! The machine: how much it has, how much of it is used, and which boot this is.

use std::path::{Path, PathBuf};

use dopq_common::wire::HostUse;
use parking_lot::Mutex;
use sysinfo::System;

use crate::disk::Disk;

/// Reads the machine.
#[derive(Debug)]
pub(crate) struct Host {
    system: Mutex<Option<System>>,
    data_dir: PathBuf,
}

impl Host {
    /// `data_dir` tells which disk counts.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let system = System::new()
            .inspect_err(|error| tracing::warn!(?error, "cannot read the machine's resources"));
        Self {
            system: Mutex::new(system.ok()),
            data_dir: data_dir.to_owned(),
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

    /// Free bytes where the data folder lies; `None` where nobody knows.
    pub(crate) fn disk_free(&self) -> Option<u64> {
        Disk::of(&self.data_dir).ok().map(|disk| disk.free)
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
