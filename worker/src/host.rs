//! The machine: how much it has, how much of it is used, and which boot this is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::wire::HostUse;
use parking_lot::Mutex;
use sysinfo::System;
use tokio::net::UdpSocket;
use url::Url;

use crate::disk::Disk;

/// For finding the machine's own address, which may need a name to be resolved.
const PLACE_WITHIN: Duration = Duration::from_secs(3);

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

/// The machine's name, and the address by which it reaches `url`, for people.
pub(crate) async fn place(url: Option<Url>) -> String {
    let name = host_name();
    match tokio::time::timeout(PLACE_WITHIN, address(url)).await {
        Ok(Some(address)) => format!("{name} ({address})"),
        Ok(None) | Err(_) => name,
    }
}

/// Connecting a UDP socket sends nothing; it only chooses the address to send from.
async fn address(url: Option<Url>) -> Option<IpAddr> {
    let url = url?;
    let port = url.port_or_known_default()?;
    let targets = tokio::net::lookup_host((url.host_str()?, port)).await;
    let target = targets.ok()?.next()?;
    let from: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from, 0)).await.ok()?;
    socket.connect(target).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_has_a_name_and_the_address_towards_a_master() {
        let url = Url::parse("http://127.0.0.1:7070").expect("a URL");
        let place = super::place(Some(url)).await;
        assert_eq!(place, format!("{} (127.0.0.1)", host_name()));
        assert_eq!(super::place(None).await, host_name());
    }
}
