//! Looks around every few seconds: containers, GPUs, disk, and the link to the broker; introduces the
//! worker whenever something of that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::Event;
use dopq_common::broker::Link;
use dopq_common::id::{Digest, GpuId, VolumeName};
use dopq_common::resources::{ByteSize, Capacity, GpuDevice, GpuTaken, MilliCpu, Volume};
use dopq_common::settings::Scalar as _;
use dopq_common::wire::Hello;
use tokio::sync::watch;

use crate::docker::EngineInfo;
use crate::driver::{Context, seen};
use crate::gpu::{Gpus, Offer};
use crate::host::Host;
use dopq_common::chain::chain;

const EVERY: Duration = Duration::from_secs(10);
/// More images than this do not fit into a message; the masters only prefer workers that have them.
const IMAGES_TOLD: usize = 256;

/// Looks around.
pub(crate) struct Inventory {
    pub(crate) context: Arc<Context>,
    pub(crate) host: Arc<Host>,
    pub(crate) gpus: Arc<Gpus>,
    pub(crate) offer: Offer,
    pub(crate) engine: EngineInfo,
    pub(crate) session: String,
    pub(crate) link: watch::Receiver<Link>,
    /// The GPUs that must not be given to jobs for now.
    pub(crate) taken: watch::Receiver<BTreeMap<GpuId, GpuTaken>>,
}

impl Inventory {
    /// Looks around until the worker ends, beginning with an introduction.
    pub(crate) async fn run(mut self) {
        let mut devices = self.devices().await;
        self.gpus_found(&devices).await;
        let mut images = BTreeSet::new();
        let mut volumes = self.volumes().await;
        let mut up = false;
        let mut low = None;
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.disk(&mut low).await;
        loop {
            let now_up = matches!(*self.link.borrow_and_update(), Link::Up);
            if now_up != up {
                up = now_up;
                self.context.tell(Event::LinkChanged { up }).await;
                if up {
                    images = self.images().await;
                    self.hello(&devices, &images, &low).await;
                }
            }
            tokio::select! {
                _ = every.tick() => {}
                Ok(()) = self.taken.changed() => {
                    self.gpus_found(&devices).await;
                    self.hello(&devices, &images, &low).await;
                    continue;
                }
                () = self.context.introduce.notified() => {
                    self.hello(&devices, &images, &low).await;
                    continue;
                }
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            let turned = self.disk(&mut low).await;
            let found = (self.devices().await, self.images().await);
            if found.0 != devices {
                self.gpus_found(&found.0).await;
            }
            let offered = self.volumes().await;
            if turned || (&found.0, &found.1, &offered) != (&devices, &images, &volumes) {
                (devices, images) = found;
                volumes = offered;
                self.hello(&devices, &images, &low).await;
            }
            match seen(&self.context).await {
                Ok(containers) => self.context.tell(Event::Listed { containers }).await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "failed to list the containers");
                }
            }
        }
    }

    async fn devices(&self) -> Vec<GpuDevice> {
        match self.offer {
            Offer::None => Vec::new(),
            Offer::Simulated | Offer::Real(_) => self.gpus.look().await.devices,
        }
    }

    async fn volumes(&self) -> BTreeMap<VolumeName, Volume> {
        self.context.volumes.look().await;
        self.context.volumes.offered()
    }

    async fn gpus_found(&self, devices: &[GpuDevice]) {
        let usable: BTreeSet<_> = {
            let taken = self.taken.borrow();
            let usable = devices.iter();
            let usable = usable.filter(|gpu| gpu.healthy && !taken.contains_key(&gpu.id));
            usable.map(|gpu| gpu.id.clone()).collect()
        };
        self.context.tell(Event::GpusFound(usable)).await;
    }

    /// Looks whether a disk is too full; true if that changed.
    async fn disk(&self, low: &mut Option<String>) -> bool {
        let (host, engine) = (Arc::clone(&self.host), self.context.engine.clone());
        let look = tokio::task::spawn_blocking(move || {
            let own = host.disk_free().map(|free| ("worker", free));
            let engines = engine.disks().into_iter();
            own.into_iter()
                .chain(engines.map(|disk| ("engine", disk.free)))
                .min_by_key(|(_, free)| *free)
        });
        let least = self.context.options.settings.limits.min_free_disk;
        let found = match look.await {
            Ok(Some((whose, free))) if free < least.0 => {
                let free = ByteSize(free);
                Some(format!(
                    "the {whose}'s disk has {free} free, the minimum is {least}"
                ))
            }
            Ok(Some(_) | None) | Err(_) => None,
        };
        let turned = found.is_some() != low.is_some();
        if turned {
            if let Some(why) = &found {
                tracing::warn!(why, "accepting no new jobs");
            }
            let low = found.clone();
            self.context.tell(Event::DiskFound { low }).await;
        }
        *low = found;
        turned
    }

    async fn images(&self) -> BTreeSet<Digest> {
        match self.context.images.digests().await {
            Ok(images) => images.into_iter().take(IMAGES_TOLD).collect(),
            Err(error) => {
                tracing::warn!(error = chain(&error), "failed to list the images");
                BTreeSet::new()
            }
        }
    }

    async fn hello(&self, devices: &[GpuDevice], images: &BTreeSet<Digest>, low: &Option<String>) {
        let egress = &self.context.egress;
        let hello = Hello {
            session: self.session.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.engine.version.clone(),
            gpu_mode: self.offer.as_str().to_owned(),
            capacity: self.capacity(devices),
            images: images.clone(),
            attempts: Vec::new(),
            closed: low.clone().or_else(|| egress.problem()),
            taken: self.taken.borrow().clone(),
            egress: egress.jobs().show(),
            build_egress: egress.builds().show(),
            instance: self.context.instance.clone(),
            host: self.context.place.clone(),
        };
        self.context.tell(Event::HelloDue(Box::new(hello))).await;
    }

    fn capacity(&self, devices: &[GpuDevice]) -> Capacity {
        let options = &self.context.options;
        let all_cpu = MilliCpu(u64::from(self.engine.cpus) * 1000);
        // The machine's own programs and the page cache need some of it.
        let most_memory = ByteSize(self.engine.memory_bytes / 20 * 19);
        Capacity {
            cpu: options.settings.cpus.unwrap_or(all_cpu),
            memory: options.settings.memory.unwrap_or(most_memory),
            gpus: devices.to_vec(),
            slots_per_gpu: options.settings.slots_per_gpu.max(1),
            labels: options.settings.labels.clone(),
            volumes: self.context.volumes.offered(),
        }
    }
}
