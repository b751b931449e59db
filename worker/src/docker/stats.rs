//! A container's present resource usage.

use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use dopq_common::telemetry::Io;
use futures::StreamExt;

use super::cgroup::add_disk;
use super::client::Client;
use super::error::Error;
use super::types::Usage;

impl Client {
    /// Two samples, one second apart, as the engine takes them.
    ///
    /// # Errors
    /// Any.
    pub async fn stats(&self, id: &str) -> Result<Usage, Error> {
        const CALL: &str = "stats";
        let docker = self.docker(CALL).await?;
        let options = StatsOptions {
            stream: false,
            one_shot: false,
        };
        let mut samples = docker.stats(id, Some(options));
        let sample = async { samples.next().await.transpose() };
        match self.call(CALL, sample).await? {
            Some(sample) => Ok(usage(&sample)),
            None => Err(Error::NotFound {
                message: format!("no statistics of container {id}"),
            }),
        }
    }
}

fn usage(sample: &ContainerStatsResponse) -> Usage {
    let cpu_cores = match (&sample.precpu_stats, &sample.cpu_stats) {
        (Some(before), Some(after)) => cores(before, after),
        (None | Some(_), None | Some(_)) => 0.0,
    };
    let memory = sample.memory_stats.clone().unwrap_or_default();
    let pids = sample.pids_stats.as_ref().and_then(|pids| pids.current);
    Usage {
        cpu_cores,
        memory_bytes: in_use(&memory),
        memory_peak_bytes: memory.max_usage,
        pids: pids.unwrap_or_default(),
        io: io(sample),
    }
}

/// What went over its disks and networks.
fn io(sample: &ContainerStatsResponse) -> Io {
    let mut io = Io::default();
    let disks = sample.blkio_stats.as_ref();
    let disks = disks.and_then(|disks| disks.io_service_bytes_recursive.as_deref());
    for entry in disks.into_iter().flatten() {
        let what = entry.op.as_deref().unwrap_or_default();
        add_disk(&mut io, what, entry.value.unwrap_or_default());
    }
    for network in sample
        .networks
        .iter()
        .flat_map(|networks| networks.values())
    {
        io.received_bytes += network.rx_bytes.unwrap_or_default();
        io.sent_bytes += network.tx_bytes.unwrap_or_default();
    }
    io
}

/// The container's fraction of the machine's CPU time between the samples, times the number of CPUs.
fn cores(before: &ContainerCpuStats, after: &ContainerCpuStats) -> f64 {
    let total = |stats: &ContainerCpuStats| {
        let usage = stats.cpu_usage.as_ref().and_then(|usage| usage.total_usage);
        usage.unwrap_or_default()
    };
    let system = |stats: &ContainerCpuStats| stats.system_cpu_usage.unwrap_or_default();
    let own = total(after).saturating_sub(total(before));
    let machine = system(after).saturating_sub(system(before));
    if machine == 0 {
        return 0.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of nanoseconds within one second"
    )]
    let ratio = own as f64 / machine as f64;
    ratio * f64::from(after.online_cpus.unwrap_or(1))
}

/// Does not count inactive page cache, which the kernel can reclaim.
fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let used = memory.usage.unwrap_or_default();
    let idle = memory.stats.as_ref().and_then(|stats| {
        // cgroup v1 names it with its subtree, v2 without.
        stats
            .get("total_inactive_file")
            .or_else(|| stats.get("inactive_file"))
            .copied()
    });
    used.saturating_sub(idle.unwrap_or_default())
}
