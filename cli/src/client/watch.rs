//! Waits for jobs to finish. The event stream reports changes at once; polling now and then covers what a broken stream
//! missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dopq_common::api::Job;
use dopq_common::id::{JobId, JobName};
use tokio::time::Instant;

use super::call::Client;
use super::error::Error;
use super::events::Events;
use super::retry::stream_pauses;

/// How often to poll without events.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The most arrays that one stream reports; tasks of others are polled.
const ARRAYS_MAX: usize = 200;

/// The most jobs that a stream is limited to.
const JOBS_MAX: usize = 200;

/// Waits for a set of jobs.
#[derive(Debug)]
pub(crate) struct JobWatcher {
    client: Client,
    pending: BTreeSet<JobName>,
    finished: BTreeMap<JobName, Job>,
    /// Arrays of which a task is waited for.
    arrays: BTreeSet<u64>,
}

impl JobWatcher {
    /// A watcher of these jobs; it sends nothing yet.
    pub(crate) fn new(client: Client, jobs: impl IntoIterator<Item = JobName>) -> Self {
        let pending: BTreeSet<JobName> = jobs.into_iter().collect();
        let arrays = pending.iter().filter_map(|name| match name {
            JobName::Task { array, .. } => Some(array.0),
            JobName::Job(_) => None,
        });
        Self {
            client,
            arrays: arrays.collect(),
            pending,
            finished: BTreeMap::new(),
        }
    }

    /// The finished jobs.
    pub(crate) const fn finished(&self) -> &BTreeMap<JobName, Job> {
        &self.finished
    }

    /// The jobs that have not finished.
    pub(crate) const fn pending(&self) -> &BTreeSet<JobName> {
        &self.pending
    }

    /// Returns when all have finished. Every state that is received goes to `see`. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Those that persist for minutes.
    pub(crate) async fn wait(&mut self, mut see: impl FnMut(&Job)) -> Result<(), Error> {
        let mut pauses = stream_pauses();
        while !self.pending.is_empty() {
            // The stream opens before the poll, so that no change is missed between them.
            let arrays: BTreeSet<u64> = self.arrays.iter().copied().take(ARRAYS_MAX).collect();
            let mut events = self.client.open_events(&self.jobs(), &arrays).await?;
            let known = self.arrays.len();
            self.poll(&mut see).await?;
            if self.arrays.len() > known && arrays.len() < ARRAYS_MAX {
                // A task was named by its id, and its array is not in the stream.
                continue;
            }
            if self.listen(&mut events, &mut see).await? {
                pauses = stream_pauses();
                continue;
            }
            let pause = pauses.next().ok_or_else(|| Error::Strange {
                url: self.client.url(),
                detail: "its event stream keeps breaking".to_owned(),
                temporary: false,
            })?;
            if !self.pending.is_empty() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// The jobs that the stream is to report; none for all, where there are too many to name.
    fn jobs(&self) -> BTreeSet<u64> {
        if self.pending.len() > JOBS_MAX {
            return BTreeSet::new();
        }
        let jobs = self.pending.iter().map(|name| match name {
            JobName::Job(id) | JobName::Task { array: id, .. } => id.0,
        });
        jobs.collect()
    }

    /// Takes events until all jobs finish or the stream breaks; returns whether any came.
    async fn listen(
        &mut self,
        events: &mut Events,
        see: &mut impl FnMut(&Job),
    ) -> Result<bool, Error> {
        let mut received = false;
        let mut poll_at = Instant::now() + POLL_INTERVAL;
        while !self.pending.is_empty() {
            match tokio::time::timeout_at(poll_at, events.next()).await {
                Err(_) => {
                    self.poll(see).await?;
                    poll_at = Instant::now() + POLL_INTERVAL;
                    received = true;
                }
                Ok(Err(_)) => return Ok(received),
                Ok(Ok(event)) => {
                    received = true;
                    match event.name.as_str() {
                        "job" => {
                            if let Ok(job) = serde_json::from_str::<Job>(&event.data) {
                                self.take(job, see);
                            }
                        }
                        // More changed than the stream can report.
                        "reset" => self.poll(see).await?,
                        // Events of later versions.
                        _ => {}
                    }
                }
            }
        }
        Ok(received)
    }

    async fn poll(&mut self, see: &mut impl FnMut(&Job)) -> Result<(), Error> {
        for name in self.pending.clone() {
            let job = self.client.job_patiently(name).await?;
            self.arrays.extend(job.task.map(|task| task.array));
            self.take(job, see);
        }
        Ok(())
    }

    /// A task may be waited for by its id or by its array and index.
    fn take(&mut self, job: Job, see: &mut impl FnMut(&Job)) {
        let task = job.task.map(|task| JobName::Task {
            array: JobId(task.array),
            index: task.index,
        });
        let names: Vec<JobName> = std::iter::once(JobName::Job(JobId(job.id)))
            .chain(task)
            .filter(|name| self.pending.contains(name))
            .collect();
        if !names.is_empty() {
            see(&job);
        }
        if job.state == "finished" {
            for name in names {
                self.pending.remove(&name);
                self.finished.insert(name, job.clone());
            }
        }
    }
}
