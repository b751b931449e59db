//! The errors that NVIDIA's driver reports of GPUs, by their number ("Xid").

use std::collections::BTreeMap;

use dopq_common::id::GpuId;
use dopq_common::wire::GpuUse;
use nvml_wrapper::EventSet;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;

/// NVIDIA's number for an error without one.
const UNKNOWN: u64 = 999;
/// The longest that one look waits for an event.
const WAIT_MS: u32 = 1;
/// A GPU that reports without end does not keep the others from being read.
const MOST: usize = 1000;

/// How many were seen of each GPU, and the last one's number.
#[derive(Debug, Default)]
pub(super) struct Xids(BTreeMap<GpuId, (u64, u64)>);

impl Xids {
    fn note(&mut self, gpu: GpuId, number: u64) {
        tracing::error!(gpu.id = %gpu, xid = number, "the driver reports an error of a GPU");
        let (count, last) = self.0.entry(gpu).or_default();
        *count += 1;
        *last = number;
    }

    /// Writes a GPU's errors into its figures.
    pub(super) fn tell(&self, usage: &mut GpuUse) {
        if let Some((count, last)) = self.0.get(&usage.id) {
            usage.xid_errors = *count;
            usage.last_xid = Some(*last);
        }
    }
}

/// Receives them from now on.
pub(super) struct Watch<'library>(EventSet<'library>);

impl<'library> Watch<'library> {
    /// Watches every GPU that reports them; `None` when none does.
    pub(super) fn begin(library: &'library nvml_wrapper::Nvml) -> Option<Self> {
        let mut set = library.create_event_set().ok()?;
        let mut watched = false;
        for index in 0..library.device_count().ok()? {
            let Ok(device) = library.device_by_index(index) else {
                continue;
            };
            let reports = device
                .supported_event_types()
                .is_ok_and(|types| types.contains(EventTypes::CRITICAL_XID_ERROR));
            if reports {
                set = device
                    .register_events(EventTypes::CRITICAL_XID_ERROR, set)
                    .inspect_err(|error| tracing::info!(%error, "cannot watch for errors of GPUs"))
                    .ok()?;
                watched = true;
            }
        }
        watched.then_some(Self(set))
    }

    /// Notes those that came since the last time.
    pub(super) fn drain(&self, xids: &mut Xids) {
        for _ in 0..MOST {
            let event = match self.0.wait(WAIT_MS) {
                Ok(event) => event,
                Err(NvmlError::Timeout) => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot read the events of GPUs");
                    return;
                }
            };
            let id = event.device.uuid().ok().and_then(|uuid| uuid.parse().ok());
            let number = match event.event_data {
                Some(XidError::Value(number)) => number,
                Some(XidError::Unknown) | None => UNKNOWN,
            };
            if let Some(id) = id {
                xids.note(id, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gpu_has_its_own_errors() {
        let id = |name: &str| -> GpuId { name.parse().expect("a name") };
        let mut xids = Xids::default();
        xids.note(id("GPU-1"), 79);
        xids.note(id("GPU-1"), 48);
        let told = |name: &str| {
            let mut usage = GpuUse::unknown(id(name));
            xids.tell(&mut usage);
            (usage.xid_errors, usage.last_xid)
        };
        assert_eq!(told("GPU-1"), (2, Some(48)));
        assert_eq!(told("GPU-2"), (0, None));
    }
}
