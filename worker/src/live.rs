//! Live traffic: signs of life with what is used, and the masters' requests.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::Broker;
use dopq_common::id::AttemptId;
use dopq_common::wire::{Heartbeat, JobUse, Live, topic};
use futures::{StreamExt, stream};
use tokio::sync::watch;

use crate::driver::{Context, Running, prefetch};
use crate::gpu::Gpus;
use crate::host::Host;

const EVERY: Duration = Duration::from_secs(5);
/// An engine takes a second or two for each container's figures; those that are late are left out.
const STATS_PATIENCE: Duration = Duration::from_secs(4);
const STATS_AT_ONCE: usize = 8;
/// Containers whose figures are read for one sign of life, so that it fits into a message.
const STATS_MOST: usize = 256;
const RETRY: Duration = Duration::from_secs(5);

/// Gives signs of life until the worker ends.
pub(crate) async fn heartbeats(
    context: Arc<Context>,
    host: Arc<Host>,
    gpus: Arc<Gpus>,
    session: String,
    running: watch::Receiver<Running>,
) {
    let topic = topic::heartbeat(&context.options.name);
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let looked = tokio::task::spawn_blocking({
            let host = Arc::clone(&host);
            move || host.look()
        });
        let containers = Arc::clone(&running.borrow());
        let (host_use, gpu_look, attempts) =
            tokio::join!(looked, gpus.look(), uses(&context, &containers));
        let heartbeat = Heartbeat {
            worker: context.options.name.clone(),
            session: session.clone(),
            at_ms: context.clock.now().as_millis(),
            host: host_use.unwrap_or_default(),
            gpus: gpu_look.uses,
            attempts,
            kept: context.retention.kept(context.images.made_ahead()),
        };
        let message = Live::Heartbeat(Box::new(heartbeat));
        context.live.publish(&topic, &message).await;
    }
}

async fn uses(context: &Arc<Context>, running: &Running) -> Vec<JobUse> {
    let containers: Vec<_> = running.iter().take(STATS_MOST).cloned().collect();
    let each = containers
        .into_iter()
        .map(|(attempt, container)| use_of(Arc::clone(context), attempt, container));
    let mut read = Vec::new();
    let mut all = stream::iter(each).buffer_unordered(STATS_AT_ONCE);
    let until = tokio::time::Instant::now() + STATS_PATIENCE;
    // What was read in time is told; the rest is told with a later sign of life.
    while let Ok(Some(used)) = tokio::time::timeout_at(until, all.next()).await {
        read.push(used);
    }
    read
}

async fn use_of(context: Arc<Context>, attempt: AttemptId, container: Arc<str>) -> JobUse {
    let mut used = JobUse {
        attempt,
        cpu_cores: 0.0,
        memory_bytes: 0,
    };
    if let Ok(usage) = context.engine.stats(&container).await {
        used.cpu_cores = usage.cpu_cores;
        used.memory_bytes = usage.memory_bytes;
    }
    used
}

/// Answers the masters' requests until the worker ends.
pub(crate) async fn requests(context: Arc<Context>, broker: Broker) {
    let topic = topic::requests(&context.options.name);
    loop {
        match broker.subscribe_live(&[&topic]).await {
            Ok(mut requests) => {
                while let Some(message) = requests.next().await {
                    take(&context, &message.body);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot listen for the masters' requests"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn take(context: &Context, body: &[u8]) {
    match serde_json::from_slice(body) {
        Ok(Live::Follow { attempt, for_ms }) => {
            let log = context.logs.lock().get(&attempt).cloned();
            if let Some(log) = log {
                log.follow(Duration::from_millis(for_ms));
            }
        }
        Ok(Live::Upcoming { sealed }) => prefetch::take(context, &sealed),
        Ok(Live::Heartbeat(_) | Live::LogTail { .. } | Live::Unknown) | Err(_) => {
            tracing::debug!("cannot parse a request");
        }
    }
}
