//! The machine's GPUs through NVIDIA's library, on its own thread.
//!
//! A call hangs if a GPU falls off the bus. Callers wait with a time-out. After it, the GPU being read is quarantined,
//! the thread is abandoned, and another one reads the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use dopq_common::id::GpuId;
use dopq_common::resources::{ByteSize, GpuDevice};
use dopq_common::wire::GpuUse;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::devices::open_devices;
use super::look::{Look, Measured, Processes};
use super::xid::{Watch, Xids};

/// Where the GPUs' device files are.
const DEVICES: &str = "/dev";
/// Time-out of one look at all GPUs.
const PATIENCE: Duration = Duration::from_secs(10);
const NOBODY: u32 = u32::MAX;

type Reply = oneshot::Sender<Result<BTreeMap<u32, Seen>, String>>;

/// One GPU at one look.
type Seen = Result<(GpuDevice, Measured), String>;

/// Calls the library.
#[derive(Debug)]
pub(crate) struct Nvml {
    thread: Mutex<Option<SyncSender<Reply>>>,
    shared: Arc<Shared>,
    known: Mutex<BTreeMap<u32, GpuDevice>>,
}

#[derive(Debug)]
struct Shared {
    /// The index of the GPU being read.
    reading: AtomicU32,
    quarantined: Mutex<BTreeSet<u32>>,
    /// The errors that the driver reported, over the lives of the threads.
    xids: Mutex<Xids>,
}

impl Nvml {
    /// Loads the library and counts the GPUs. The error says why there are none.
    pub(super) async fn open() -> Result<Self, String> {
        let nvml = Self {
            thread: Mutex::new(None),
            shared: Arc::new(Shared {
                reading: AtomicU32::new(NOBODY),
                quarantined: Mutex::new(BTreeSet::new()),
                xids: Mutex::default(),
            }),
            known: Mutex::new(BTreeMap::new()),
        };
        let seen = nvml.ask().await?;
        nvml.learn(&seen);
        if nvml.known.lock().is_empty() {
            return Err("the library finds no GPU".to_owned());
        }
        Ok(nvml)
    }

    /// Reads every GPU.
    pub(super) async fn look(&self) -> Look {
        let seen = match self.ask().await {
            Ok(seen) => seen,
            Err(why) => {
                tracing::warn!(why, "cannot read the GPUs");
                BTreeMap::new()
            }
        };
        self.learn(&seen);
        let quarantined = self.shared.quarantined.lock().clone();
        let known = self.known.lock().clone();
        let devices = known.into_iter().map(|(index, device)| GpuDevice {
            healthy: !quarantined.contains(&index),
            ..device
        });
        let devices = devices.collect();
        let measured = seen.into_values().filter_map(|seen| Some(seen.ok()?.1));
        Look {
            devices,
            measured: measured.collect(),
        }
    }

    fn learn(&self, seen: &BTreeMap<u32, Seen>) {
        let mut known = self.known.lock();
        for (index, seen) in seen {
            match seen {
                Ok((device, _)) => {
                    known.insert(*index, device.clone());
                }
                Err(why) => {
                    if self.shared.quarantined.lock().insert(*index) {
                        tracing::error!(gpu.index = index, why, "GPU failed and is quarantined");
                    }
                }
            }
        }
    }

    async fn ask(&self) -> Result<BTreeMap<u32, Seen>, String> {
        let (reply, answer) = oneshot::channel();
        let thread = self.thread()?;
        if thread.try_send(reply).is_err() {
            self.thread.lock().take();
            return Err("the GPU reader thread is gone".to_owned());
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(seen)) => {
                if seen.is_err() {
                    self.thread.lock().take();
                }
                seen
            }
            Ok(Err(_)) => {
                self.thread.lock().take();
                Err("the GPU reader thread ended".to_owned())
            }
            Err(_) => {
                // The thread hangs in the library and cannot be stopped; abandon it.
                self.thread.lock().take();
                let index = self.shared.reading.load(Ordering::SeqCst);
                if index != NOBODY && self.shared.quarantined.lock().insert(index) {
                    tracing::error!(gpu.index = index, "GPU does not answer and is quarantined");
                }
                Err(format!("no answer within {} s", PATIENCE.as_secs()))
            }
        }
    }

    fn thread(&self) -> Result<SyncSender<Reply>, String> {
        let mut thread = self.thread.lock();
        if let Some(sender) = &*thread {
            return Ok(sender.clone());
        }
        // One request at a time: the next look follows this one.
        let (sender, questions) = sync_channel::<Reply>(1);
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || {
                let library = nvml_wrapper::Nvml::init();
                let mut open = Vec::new();
                let watch = library.as_ref().ok().and_then(Watch::begin);
                for reply in questions {
                    if let Some(watch) = &watch {
                        watch.drain(&mut shared.xids.lock());
                    }
                    let seen = match &library {
                        Ok(library) => read_all(library, &shared),
                        Err(error) => Err(error.to_string()),
                    };
                    let found = seen.as_ref().is_ok_and(|seen| !seen.is_empty());
                    // The caller may have timed out.
                    reply.send(seen).unwrap_or_default();
                    // Opening may take seconds or hang, like any call to a GPU. Nobody waits for it here.
                    if found && open.is_empty() {
                        open = open_devices(Path::new(DEVICES));
                    }
                }
            })
            .map_err(|error| error.to_string())?;
        *thread = Some(sender.clone());
        Ok(sender)
    }
}

fn read_all(library: &nvml_wrapper::Nvml, shared: &Shared) -> Result<BTreeMap<u32, Seen>, String> {
    let count = library.device_count().map_err(|error| error.to_string())?;
    let mut all = BTreeMap::new();
    for index in 0..count {
        if shared.quarantined.lock().contains(&index) {
            continue;
        }
        shared.reading.store(index, Ordering::SeqCst);
        let mut seen = read(library, index).map_err(|error| error.to_string());
        if let Ok((_, measured)) = &mut seen {
            shared.xids.lock().tell(&mut measured.usage);
        }
        all.insert(index, seen);
    }
    shared.reading.store(NOBODY, Ordering::SeqCst);
    Ok(all)
}

fn read(library: &nvml_wrapper::Nvml, index: u32) -> Result<(GpuDevice, Measured), NvmlError> {
    let device = library.device_by_index(index)?;
    let uuid = device.uuid()?;
    let memory = device.memory_info()?;
    let id: GpuId = uuid.parse().map_err(|_| NvmlError::InvalidArg)?;
    let described = GpuDevice {
        id: id.clone(),
        model: device.name()?,
        memory: ByteSize(memory.total),
        healthy: true,
    };
    // Not all models report these, which is fine; a lost GPU returns an error above.
    let utilization = optional(device.utilization_rates())?;
    let temperature = optional(device.temperature(TemperatureSensor::Gpu))?;
    let power = optional(device.power_usage())?;
    let millijoules = optional(device.total_energy_consumption())?;
    let ecc = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    let processes = optional(device.running_compute_processes())?;
    let pids = processes.map(|all| all.iter().map(|one| one.pid).collect::<Vec<_>>());
    let count = pids.as_ref().map(Vec::len);
    let usage = GpuUse {
        utilization_ratio: utilization.map_or(0.0, |rates| f64::from(rates.gpu) / 100.0),
        memory_used_bytes: memory.used,
        temperature_celsius: temperature.map_or(0.0, f64::from),
        power_watts: power.map_or(0.0, |milliwatts| f64::from(milliwatts) / 1000.0),
        energy_joules: millijoules.map_or(0.0, joules),
        clock_mhz: optional(device.clock_info(Clock::SM))?,
        memory_clock_mhz: optional(device.clock_info(Clock::Memory))?,
        ecc_errors: optional(ecc)?,
        processes: count.and_then(|count| u32::try_from(count).ok()),
        ..GpuUse::unknown(id)
    };
    let measured = Measured {
        usage,
        counts_energy: millijoules.is_some(),
        processes: pids.map_or(Processes::Unknown, Processes::Pids),
    };
    Ok((described, measured))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no GPU has used 2^53 mJ, which take centuries"
)]
fn joules(millijoules: u64) -> f64 {
    millijoules as f64 / 1000.0
}

/// `None` for values that the model does not report; an error for a lost or unknown GPU.
fn optional<T>(read: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ (NvmlError::GpuLost | NvmlError::Unknown | NvmlError::Uninitialized)) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}
