//! Live traffic: signs of life with what is used, and the masters' requests.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::Broker;
use dopq_common::wire::{Heartbeat, JobUse, Live, MESSAGE_MAX_BYTES, topic};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::{Context, prefetch};
use crate::sample::{self, Sample};

/// Attempts are told of until they take so many bytes, so that a sign of life fits into a message.
const ATTEMPTS_BYTES: usize = MESSAGE_MAX_BYTES * 3 / 4;
const RETRY: Duration = Duration::from_secs(5);

/// Gives signs of life until the worker ends. None waits for figures to be read.
pub(crate) async fn heartbeats(
    context: Arc<Context>,
    session: String,
    newest: watch::Receiver<Sample>,
) {
    let topic = topic::heartbeat(&context.options.name);
    let mut every = tokio::time::interval(sample::EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let (host, gpus, attempts) = newest.borrow().fresh(Instant::now());
        let heartbeat = Heartbeat {
            worker: context.options.name.clone(),
            session: session.clone(),
            at_ms: context.clock.now().as_millis(),
            host,
            gpus,
            attempts: bounded(attempts, ATTEMPTS_BYTES),
            kept: context.retention.kept(context.images.made_ahead()),
        };
        let message = Live::Heartbeat(Box::new(heartbeat));
        context.live.publish(&topic, &message).await;
    }
}

/// As many as fit into so many bytes; every attempt's figures are kept on this machine all the same.
fn bounded(mut attempts: Vec<JobUse>, most: usize) -> Vec<JobUse> {
    let mut bytes = 0;
    let fit = attempts.iter().take_while(|used| {
        bytes += serde_json::to_vec(used).map_or(most, |text| text.len() + 1);
        bytes <= most
    });
    let fit = fit.count();
    attempts.truncate(fit);
    attempts
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
            context.follow(attempt, Duration::from_millis(for_ms));
        }
        Ok(Live::Upcoming { sealed }) => prefetch::take(context, &sealed),
        Ok(Live::Heartbeat(_) | Live::LogTail { .. } | Live::Unknown) | Err(_) => {
            tracing::debug!("cannot parse a request");
        }
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::telemetry::Io;

    use super::*;

    #[test]
    fn a_sign_of_life_fits_into_a_message() {
        let used = |job: u64| JobUse {
            attempt: format!("{job}.1-{}", "ab".repeat(16))
                .parse()
                .expect("an attempt"),
            cpu_cores: 255.999,
            memory_bytes: 1 << 40,
            pids: 4096,
            io: Io {
                disk_read_bytes: 1 << 50,
                disk_written_bytes: 1 << 50,
                received_bytes: 1 << 50,
                sent_bytes: 1 << 50,
            },
        };
        let all: Vec<_> = (0..1000).map(|job| used(1_000_000 + job)).collect();
        assert_eq!(bounded(all[..50].to_vec(), ATTEMPTS_BYTES).len(), 50);
        let fit = bounded(all, ATTEMPTS_BYTES);
        let text = serde_json::to_vec(&fit).expect("JSON");
        assert!((100..1000).contains(&fit.len()), "{}", fit.len());
        assert!(text.len() <= ATTEMPTS_BYTES + 2, "{}", text.len());
    }
}
