//! Waits for jobs to finish: the stream of changes tells at once, and looking again now and then makes
//! up for whatever a broken stream did not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dopq_common::api::Job;
use tokio::time::Instant;

use super::events::Events;
use super::{Client, Error};

/// So many streams in a row may break before they bring anything.
pub(super) const BARREN_MAX: u32 = 20;

/// How often to look even if nothing was told.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Waits for a set of jobs.
#[derive(Debug)]
pub(crate) struct JobWatcher {
    client: Client,
    pending: BTreeSet<u64>,
    finished: BTreeMap<u64, Job>,
}

impl JobWatcher {
    /// Nothing is asked yet.
    pub(crate) fn new(client: Client, jobs: impl IntoIterator<Item = u64>) -> Self {
        Self {
            client,
            pending: jobs.into_iter().collect(),
            finished: BTreeMap::new(),
        }
    }

    /// Those that have finished.
    pub(crate) const fn finished(&self) -> &BTreeMap<u64, Job> {
        &self.finished
    }

    /// Those that have not.
    pub(crate) const fn pending(&self) -> &BTreeSet<u64> {
        &self.pending
    }

    /// Returns when all have finished. Dropping the future keeps what is known by then.
    ///
    /// # Errors
    ///
    /// Those that trying again for minutes did not cure.
    pub(crate) async fn wait(&mut self) -> Result<(), Error> {
        let mut barren = 0;
        while !self.pending.is_empty() {
            // First the stream, then the look, so that no change falls between them.
            let mut events = self.client.open_events().await?;
            self.look().await?;
            let told = self.listen(&mut events).await?;
            barren = if told { 0 } else { barren + 1 };
            if barren > BARREN_MAX {
                return Err(Error::Strange {
                    url: self.client.url(),
                    detail: "its stream of changes keeps breaking".to_owned(),
                    temporary: false,
                });
            }
            if !self.pending.is_empty() && !told {
                tokio::time::sleep(Duration::from_millis(200 << barren.min(5))).await;
            }
        }
        Ok(())
    }

    /// Takes changes until all have finished or the stream breaks; whether it brought anything.
    async fn listen(&mut self, events: &mut Events) -> Result<bool, Error> {
        let mut told = false;
        let mut look_at = Instant::now() + LOOK_EVERY;
        while !self.pending.is_empty() {
            match tokio::time::timeout_at(look_at, events.next()).await {
                Err(_) => {
                    self.look().await?;
                    look_at = Instant::now() + LOOK_EVERY;
                    told = true;
                }
                Ok(Err(_)) => return Ok(told),
                Ok(Ok(event)) => {
                    told = true;
                    match event.name.as_str() {
                        "job" => {
                            if let Ok(job) = serde_json::from_str::<Job>(&event.data) {
                                self.take(job);
                            }
                        }
                        // More changed than the master could tell one by one.
                        "reset" => self.look().await?,
                        // Events of later versions.
                        _ => {}
                    }
                }
            }
        }
        Ok(told)
    }

    async fn look(&mut self) -> Result<(), Error> {
        for id in self.pending.clone() {
            let job = self.client.job_patiently(id).await?;
            self.take(job);
        }
        Ok(())
    }

    fn take(&mut self, job: Job) {
        if job.state == "finished" && self.pending.remove(&job.id) {
            self.finished.insert(job.id, job);
        }
    }
}
