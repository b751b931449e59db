//! What containers use: from the kernel's files where this process can read them, otherwise from the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::AttemptId;
use dopq_common::wire::JobUse;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::docker::{Cgroup, Usage};
use crate::driver::{Context, Running};

/// Between two times that the engine is asked. It takes a second or two for each container's figures.
const ENGINE_EVERY: Duration = Duration::from_secs(10);
const ENGINE_AT_ONCE: usize = 8;
/// Containers that are newly looked for in one round: each costs a call of the engine.
const NEW_AT_ONCE: usize = 16;

/// The containers that are watched.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: BTreeMap<AttemptId, Watched>,
    by_engine: ByEngine,
}

#[derive(Debug, Clone)]
struct Watched {
    container: Arc<str>,
    source: Source,
    /// CPU time at the last reading.
    cpu: Option<(Instant, u64)>,
}

/// Where a container's figures come from.
#[derive(Debug, Clone)]
enum Source {
    /// Not found out yet.
    Unknown,
    /// The kernel's files.
    Kernel(Cgroup),
    /// The engine.
    Engine,
}

impl Containers {
    /// What the running ones use now, by attempt. One whose figures are not known yet is left out.
    pub(super) async fn read(&mut self, context: &Arc<Context>, running: &Running) -> Vec<JobUse> {
        self.follow(running);
        self.find(context).await;
        let mut told = self.read_kernel().await;
        let asked = self.known.iter();
        let asked = asked.filter(|(_, watched)| matches!(watched.source, Source::Engine));
        let asked: Vec<_> = asked
            .map(|(id, watched)| (*id, Arc::clone(&watched.container)))
            .collect();
        told.extend(self.by_engine.read(context, asked));
        told.sort_by_key(|used| used.attempt);
        told
    }

    /// Takes over which containers there are.
    fn follow(&mut self, running: &Running) {
        let mut before = std::mem::take(&mut self.known);
        for attempt in running.iter() {
            let known = before.remove(&attempt.id);
            let known = known.filter(|known| known.container == attempt.container);
            let watched = known.unwrap_or_else(|| Watched {
                container: Arc::clone(&attempt.container),
                source: Source::Unknown,
                cpu: None,
            });
            self.known.insert(attempt.id, watched);
        }
    }

    /// Finds out where the figures of new containers are.
    async fn find(&mut self, context: &Context) {
        let new = self.known.values_mut();
        let new = new.filter(|watched| matches!(watched.source, Source::Unknown));
        for watched in new.take(NEW_AT_ONCE) {
            match context.engine.cgroup(&watched.container).await {
                Ok(Some(cgroup)) => watched.source = Source::Kernel(cgroup),
                Ok(None) => watched.source = Source::Engine,
                // It does not run yet, or the engine is away.
                Err(error) => tracing::debug!(%error, "cannot look for a container's figures"),
            }
        }
    }

    async fn read_kernel(&mut self) -> Vec<JobUse> {
        let cgroups = self
            .known
            .iter()
            .filter_map(|(id, watched)| match &watched.source {
                Source::Kernel(cgroup) => Some((*id, cgroup.clone())),
                Source::Unknown | Source::Engine => None,
            });
        let cgroups: Vec<_> = cgroups.collect();
        if cgroups.is_empty() {
            return Vec::new();
        }
        let reading = tokio::task::spawn_blocking(move || {
            let read = cgroups.into_iter();
            read.filter_map(|(id, cgroup)| Some((id, Instant::now(), cgroup.read()?)))
                .collect::<Vec<_>>()
        });
        let mut told = Vec::new();
        for (attempt, at, figures) in reading.await.unwrap_or_default() {
            let Some(watched) = self.known.get_mut(&attempt) else {
                continue;
            };
            let before = watched.cpu.replace((at, figures.cpu_ns));
            told.push(JobUse {
                attempt,
                cpu_cores: before.map_or(0.0, |before| cores(before, (at, figures.cpu_ns))),
                memory_bytes: figures.memory_bytes,
                pids: figures.pids,
                io: figures.io,
            });
        }
        told
    }
}

/// Cores in use between two readings, to the thousandth.
fn cores((then, before): (Instant, u64), (now, after): (Instant, u64)) -> f64 {
    let elapsed = now.duration_since(then);
    let used = Duration::from_nanos(after.saturating_sub(before));
    if elapsed.is_zero() {
        return 0.0;
    }
    (used.as_secs_f64() / elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The figures that the engine gave last. It is asked beside the samples, which do not wait for it.
#[derive(Debug, Default)]
struct ByEngine {
    given: Arc<Mutex<BTreeMap<AttemptId, Usage>>>,
    asking: Option<tokio::task::JoinHandle<()>>,
    asked: Option<Instant>,
}

impl ByEngine {
    fn read(&mut self, context: &Arc<Context>, asked: Vec<(AttemptId, Arc<str>)>) -> Vec<JobUse> {
        let mut given = self.given.lock();
        given.retain(|id, _| asked.iter().any(|(asked, _)| asked == id));
        let told = given.iter().map(|(attempt, usage)| JobUse {
            attempt: *attempt,
            cpu_cores: usage.cpu_cores,
            memory_bytes: usage.memory_bytes,
            pids: usage.pids,
            io: usage.io,
        });
        let told = told.collect();
        let is_asking = self.asking.as_ref().is_some_and(|task| !task.is_finished());
        let is_new = asked.iter().any(|(id, _)| !given.contains_key(id));
        let is_due = self.asked.is_none_or(|at| at.elapsed() >= ENGINE_EVERY);
        drop(given);
        if !asked.is_empty() && !is_asking && (is_new || is_due) {
            self.asked = Some(Instant::now());
            let (context, given) = (Arc::clone(context), Arc::clone(&self.given));
            self.asking = Some(tokio::spawn(ask(context, asked, given)));
        }
        told
    }
}

impl Drop for ByEngine {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

async fn ask(
    context: Arc<Context>,
    asked: Vec<(AttemptId, Arc<str>)>,
    given: Arc<Mutex<BTreeMap<AttemptId, Usage>>>,
) {
    let asking = stream::iter(asked).for_each_concurrent(ENGINE_AT_ONCE, |(id, container)| {
        let (context, given) = (Arc::clone(&context), Arc::clone(&given));
        async move {
            if let Ok(usage) = context.engine.stats(&container).await {
                given.lock().insert(id, usage);
            }
        }
    });
    asking.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_cpu_time_over_time() {
        let then = Instant::now();
        let now = then + Duration::from_secs(2);
        for (before, after, expected) in [
            ((then, 1_000_000_000), (now, 4_000_000_000), 1.5),
            // A counter that began anew.
            ((then, 5), (now, 4), 0.0),
            ((now, 1), (now, 2), 0.0),
        ] {
            assert!((cores(before, after) - expected).abs() < 1e-9);
        }
    }
}
