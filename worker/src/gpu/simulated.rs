//! Simulated GPUs, the same after every start.

use dopq_common::id::WorkerId;
use dopq_common::resources::{ByteSize, GpuDevice};

/// `count` GPUs of 24 GiB, named after the worker.
pub(super) fn devices(worker: &WorkerId, count: u32) -> Vec<GpuDevice> {
    let devices = (0..count).filter_map(|index| {
        // The longest worker name leaves no space for the rest; keep its end, which differs.
        let name = format!("GPU-sim-{worker}-{index}");
        let id = name.parse().or_else(|_| {
            let digest = blake3::hash(name.as_bytes()).to_hex();
            format!("GPU-sim-{digest}").parse()
        });
        Some(GpuDevice {
            id: id.ok()?,
            model: "Simulated GPU".to_owned(),
            memory: ByteSize(24 * ByteSize::GIB),
            healthy: true,
        })
    });
    devices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_each_time_and_differ_from_each_other() {
        for name in ["w1", &"x".repeat(128)] {
            let worker: WorkerId = name.parse().expect("name");
            let first = devices(&worker, 3);
            assert_eq!(first, devices(&worker, 3));
            assert_eq!(first.len(), 3);
            assert_ne!(first[0].id, first[1].id);
        }
        let worker: WorkerId = "w1".parse().expect("name");
        assert_eq!(devices(&worker, 1)[0].id.as_str(), "GPU-sim-w1-0");
    }
}
