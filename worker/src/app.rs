//! The worker's life from start to shutdown.

use dopq_common::chain::chain;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Event, Seen, Settings, State};
use dopq_common::broker::Broker;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::data::DataPlane;
use crate::docker::{self, Builder, Client, Engine, EngineInfo, RunSettings};
use crate::driver::{Context, Driver, Health, prefetch, quotas, seen};
use crate::egress::{Egress, Rules};
use crate::error::Error;
use crate::fetch::Bundles;
use crate::gpu::{Gpus, Offer, offer, sees_processes};
use crate::host::{Host, boot_id, place};
use crate::images::Images;
use crate::input::Input;
use crate::inventory::Inventory;
use crate::logs::{EarlyFollowers, LivePublisher};
use crate::meters::Meters;
use crate::networks::{Identity, Networks, kept_ready};
use crate::outbox::{self, Outbox};
use crate::prepare::{Prepared, prepare, random};
use crate::retention::{self, Retention};
use crate::sample::{Sample, Sampler};
use crate::upcoming::Upcoming;
use crate::volumes::Volumes;
use crate::{Options, leftovers, link, live, retry, sessions, standing};

/// Inputs that may wait for the driver; more only wait at their senders instead.
const INPUTS: usize = 1024;
/// Processes and threads in one container.
const PIDS: i64 = 4096;
const RETRY: Duration = Duration::from_secs(2);
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";
/// How long tasks may take to end once the worker does.
const ENDING: Duration = Duration::from_secs(5);

/// Runs a worker until `shutdown`. Its containers run on after that, and are adopted at the next start.
///
/// # Errors
/// [`Error`] when it cannot start.
pub async fn run(
    options: Options,
    broker: Broker,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let host = options.settings.docker.host.clone();
    let host = host.or_else(|| {
        std::env::var("DOCKER_HOST")
            .ok()
            .filter(|host| !host.is_empty())
    });
    let engine = Engine::Docker(Client::with_config(
        host.as_deref().unwrap_or(DOCKER_SOCKET),
        options.settings.docker.config.clone(),
        options.settings.docker.files.clone(),
    ));
    let mut went_on = false;
    loop {
        let options = options.clone();
        let (broker, engine) = (broker.clone(), engine.clone());
        let ran = Box::pin(run_with(
            options,
            broker,
            engine,
            boot_id(),
            shutdown.clone(),
        ))
        .await;
        match ran {
            // A disk that is full or failed may have room again: what runs is adopted then. Nothing is
            // done meanwhile, since nothing can be recorded.
            Err(error) if error.is_passing(went_on) => {
                let error = chain(&error);
                tracing::error!(error, "the worker ended; starting it again");
                went_on = true;
            }
            ended => return ended,
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// [`run`] once, with an engine of the caller's choice.
///
/// # Errors
/// As [`run`], or when the worker cannot go on.
#[cfg(feature = "fake-engine")]
pub async fn run_on(
    engine: Engine,
    options: Options,
    broker: Broker,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    Box::pin(run_with(options, broker, engine, boot_id(), shutdown)).await
}

/// [`run`] with an engine and a boot of the caller's choice.
pub(crate) async fn run_with(
    options: Options,
    broker: Broker,
    engine: Engine,
    boot: String,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let prepared = prepare(&options)?;
    let probing = probe_engine(&engine, &options);
    let Some(probed) = shutdown.run_until_cancelled(probing).await else {
        return Ok(());
    };
    let egress = Rules::set(engine.clone(), options.egress()).await;
    let egress = egress.map_err(Error::Egress)?;
    let host = Arc::new(Host::new(&options.settings.data_dir));
    let session = random()?;
    // Every task of this worker hears of the end through this one.
    let life = CancellationToken::new();
    let _ends_with_this_call = life.clone().drop_guard();
    let (inputs, received) = mpsc::channel(INPUTS);
    let (records, loaded) = (prepared.records.clone(), prepared.loaded());
    let clock = Clock::start();
    let settings = Settings {
        lease: options.settings.limits.lease,
        ..Settings::default()
    };
    let state = State::new(settings, loaded.meta, loaded.attempts, clock.now());
    let retention = retention::Parts {
        engine: engine.clone(),
        cluster: options.settings.cluster.to_string(),
        instance: loaded.instance.clone(),
        settings: options.settings.retention,
        records: records.clone(),
        clock,
    };
    let known = (loaded.images, loaded.unlabelled);
    let retention = Retention::resume(retention, known, &state).await;
    let checkpoints = Checkpoints::new(prepared.checkpoints.clone(), &options.settings, &state);
    let urls = options.settings.master_urls.iter();
    let place = place(urls.filter_map(|url| Url::parse(url).ok()).next()).await;
    let context = context(
        (options, place),
        &broker,
        engine,
        prepared,
        (&probed, egress),
        (clock, retention, checkpoints),
        (inputs, life.clone()),
    )?;
    let context = Arc::new(context);
    let waiting = standing::wait_for_name(&context);
    if shutdown.run_until_cancelled(waiting).await.is_none() {
        return Ok(());
    }
    leftovers::remove_folders(&context.options.settings.data_dir, &state);
    leftovers::remove_outdirs(&context, &state);
    quotas::resume(&context, &state);
    let Some(containers) = shutdown.run_until_cancelled(look(&context)).await else {
        return Ok(());
    };
    let outbox = Outbox::default();
    outbox.push(loaded.outbox);
    let mut driver = Driver::new(
        Arc::clone(&context),
        state,
        records,
        outbox.clone(),
        received,
    );
    let resumed = Event::Resumed {
        boot: Arc::from(boot),
        containers,
    };
    driver.take(resumed).await.map_err(Error::Records)?;

    let sender = outbox::Sender {
        broker: broker.clone(),
        worker: context.options.name.clone(),
        key: context.options.key.clone(),
        inputs: context.inputs.clone(),
    };
    let (taken, gpus_taken) = watch::channel(BTreeMap::new());
    let inventory = Inventory {
        taken: gpus_taken,
        context: Arc::clone(&context),
        host: Arc::clone(&host),
        gpus: Arc::clone(&probed.gpus),
        offer: probed.offer,
        engine: probed.info,
        session: session.clone(),
        link: broker.link(),
    };
    let mut parts = JoinSet::new();
    parts.spawn(outbox.run(sender, life.clone()));
    parts.spawn(orders(Arc::clone(&context), broker.clone()));
    parts.spawn(live::requests(Arc::clone(&context), broker.clone()));
    parts.spawn(sessions::run(
        Arc::clone(&context),
        broker.clone(),
        driver.running(),
    ));
    parts.spawn(prefetch::run(Arc::clone(&context)));
    let displaced = standing::watch(Arc::clone(&context));
    let (newest, samples) = watch::channel(Sample::default());
    let sampler = Sampler {
        context: Arc::clone(&context),
        host,
        gpus: probed.gpus,
        running: driver.running(),
        newest,
        taken,
    };
    parts.spawn(sampler.run());
    parts.spawn(live::heartbeats(Arc::clone(&context), session, samples));
    parts.spawn(inventory.run());
    parts.spawn(quotas::watch(Arc::clone(&context)));
    parts.spawn({
        let context = Arc::clone(&context);
        async move { context.retention.run().await }
    });
    parts.spawn({
        let context = Arc::clone(&context);
        async move { context.networks.run().await }
    });
    parts.spawn({
        let context = Arc::clone(&context);
        async move { context.checkpoints.run().await }
    });
    parts.spawn({
        let context = Arc::clone(&context);
        async move { context.egress.keep(|| context.introduce.notify_one()).await }
    });
    parts.spawn(link::tell(context.options.name.clone(), broker.link()));

    let driven = tokio::select! {
        driven = driver.run(shutdown) => driven.map_err(Error::Records),
        panicked = first_panic(&mut parts) => Err(Error::Panicked(panicked)),
        displaced = displaced => Err(displaced),
    };
    life.cancel();
    parts.shutdown().await;
    context.retention.save().await;
    context.networks.close().await;
    context.tasks.close();
    if tokio::time::timeout(ENDING, context.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some tasks did not end in time");
    }
    context.egress.close().await;
    driven
}

/// Waits until one of the worker's parts panics. Without it the worker would only seem to work.
async fn first_panic(parts: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            return error;
        }
    }
    std::future::pending().await
}

/// What is known of the engine and the GPUs.
struct EngineProbe {
    info: EngineInfo,
    offer: Offer,
    gpus: Arc<Gpus>,
}

/// Waits until the engine answers and the jobs' network is there.
async fn probe_engine(engine: &Engine, options: &Options) -> EngineProbe {
    let info = retry::until(retry::START, || async {
        let greeted = greet(engine, options).await;
        greeted
            .inspect_err(|error| {
                tracing::warn!(
                    error = chain(error),
                    "the container engine is not ready; trying again"
                );
            })
            .ok()
    })
    .await;
    let settings = &options.settings;
    let gpus = Gpus::open(settings.gpu, &options.name, &settings.data_dir).await;
    let devices = gpus.look().await.devices;
    let offer = offer(settings.gpu, !devices.is_empty(), &info);
    let engine = &info.version;
    match info.builder {
        Builder::Current => tracing::info!(engine, "building images with BuildKit"),
        Builder::Old => tracing::info!(
            engine,
            "building images with BuildKit; this engine's knows no here-documents in COPY and no --exclude"
        ),
        Builder::Absent => tracing::warn!(
            engine,
            "this engine has no BuildKit: only jobs that name an image run"
        ),
    }
    if matches!(gpus, Gpus::Nvml(_)) && !sees_processes() {
        tracing::warn!(
            "the worker does not see the machine's processes, so it cannot tell which GPUs other programs use: in a container it needs pid: host"
        );
    }
    tracing::info!(
        gpus = devices.len(),
        model = devices.first().map(|device| device.model.as_str()),
        by = offer.as_str(),
        "offering GPUs"
    );
    EngineProbe {
        offer,
        info,
        gpus: Arc::new(gpus),
    }
}

async fn greet(engine: &Engine, options: &Options) -> Result<EngineInfo, docker::Error> {
    let info = engine.probe().await?;
    engine
        .ensure_network(&options.bridge(), &options.settings.cluster)
        .await?;
    Ok(info)
}

fn context(
    (options, place): (Options, String),
    broker: &Broker,
    engine: Engine,
    prepared: Prepared,
    (probed, egress): (&EngineProbe, Rules),
    (clock, retention, checkpoints): (Clock, Retention, Checkpoints),
    (inputs, life): (mpsc::Sender<Input>, CancellationToken),
) -> Result<Context, Error> {
    let urls = options.settings.master_urls.iter();
    let urls = urls.filter_map(|url| Url::parse(url).ok()).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let starts = options.settings.limits.starts.unwrap_or(2 * cores);
    let instance = prepared.loaded.instance;
    let identity = Identity {
        cluster: options.settings.cluster.to_string(),
        worker: options.name.clone(),
        instance: instance.clone(),
    };
    let ready = kept_ready(options.settings.network.pool, &probed.info);
    Ok(Context {
        networks: Networks::new(engine.clone(), identity, options.bridge(), ready),
        instance: instance.clone(),
        place,
        meters: Meters::default(),
        clock,
        health: Health::default(),
        data: DataPlane::new(
            options.name.clone(),
            options.key.clone(),
            urls,
            options.master_ca_pem.as_deref(),
        )
        .map_err(Error::Http)?,
        bundles: Bundles::new(
            options.settings.data_dir.join("bundles"),
            options.settings.limits.bundles,
            options.settings.limits.fetch_time,
            retention.needs(),
        ),
        images: Images::new(
            engine.clone(),
            (prepared.names, instance),
            &options.settings,
            retention.unlabelled(),
        ),
        retention,
        upcoming: Upcoming::default(),
        checkpoints,
        run_settings: RunSettings {
            worker: options.name.clone(),
            bridge: (egress.jobs() != Egress::None).then(|| options.bridge()),
            publish: options.settings.network.publish,
            allow_host_network: options.settings.allow_host_network,
            pids: PIDS,
            gpu_access: probed.offer.access(),
            log_quota: options.settings.limits.log,
            imgdir: prepared.imgdir,
        },
        egress,
        outdir: prepared.outdir,
        volumes: Arc::new(Volumes::new(&options.settings.volumes, life.clone())),
        live: LivePublisher {
            broker: broker.clone(),
            worker: options.name.clone(),
            key: options.key.clone(),
        },
        starts: Semaphore::new(starts),
        logs: Mutex::new(BTreeMap::new()),
        early_followers: Mutex::new(EarlyFollowers::default()),
        introduce: Notify::new(),
        asking: tokio::sync::Mutex::new(()),
        inputs,
        tasks: TaskTracker::new(),
        shutdown: life,
        engine,
        options,
    })
}

/// What the engine shows, once it answers.
async fn look(context: &Context) -> Vec<Seen> {
    retry::until(retry::START, || async {
        let containers = match context.networks.adopt().await {
            Ok(()) => seen(context).await,
            Err(error) => Err(error),
        };
        containers
            .inspect_err(|error| {
                tracing::warn!(error = chain(error), "failed to list the containers");
            })
            .ok()
    })
    .await
}

/// Hands the orders over, for as long as the worker lives.
async fn orders(context: Arc<Context>, broker: Broker) {
    let worker = &context.options.name;
    loop {
        let consuming = async {
            broker.declare_worker(worker).await?;
            broker.consume_orders(worker).await
        };
        match consuming.await {
            Ok(mut deliveries) => {
                while let Some(delivery) = deliveries.next().await {
                    if context.inputs.send(Input::Orders(delivery)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "cannot receive orders yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
