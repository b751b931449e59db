//! Network namespaces that are ready before a job needs one, because making one takes longer than all else of a start.
//!
//! A namespace is held by a container of the worker's whose only program waits ([`holder`]). A job's container joins it
//! instead of getting one of its own from the engine. One job at a time uses a namespace. The next one gets it only if it
//! is as new: no socket is open, and no packet was ever sent. Otherwise it goes, and another is made, beside the starts.
//! A job that sets what belongs to a namespace (host name, name servers, hosts, `net.*`) gets its own from the engine.
//! So does one that finds no namespace ready, or a broken one.
//!
//! Which namespaces are ready, in use or to be removed is in the [`pool`]. This module carries it out.

mod holder;
mod pool;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::id::AttemptId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::docker::{
    self, Container, Engine, EngineInfo, HostFolder, JoinedNetwork, LABEL_CLUSTER, LABEL_WORKER,
    NETWORK_FILES, NetworkFiles, Plan, PlanNetwork, Status,
};
use holder::{Holder, Kind, Made};
use pool::{Pool, Task};

pub(crate) use holder::Identity;

/// How long things take.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two looks at the ready ones.
    look_every: Duration,
    /// One is made this long after it is missed: the job that took the last one starts meanwhile, and may be over.
    make_after: Duration,
    /// How long one that is not as new may take to become so, when its last job's sockets are still being closed.
    settle: Duration,
    /// After a failure, nothing is made and nobody joins for so long.
    rest: Duration,
    /// Between two tries to remove a container.
    remove_again: Duration,
}

const PACE: Pace = Pace {
    look_every: Duration::from_secs(10),
    make_after: Duration::from_millis(500),
    settle: Duration::from_millis(50),
    rest: Duration::from_secs(60),
    remove_again: Duration::from_secs(5),
};

/// How long removing the ready ones may take when the worker ends.
const CLOSING: Duration = Duration::from_secs(3);

/// The worker's namespaces.
#[derive(Debug)]
pub(crate) struct Networks {
    engine: Engine,
    identity: Identity,
    bridge: String,
    pace: Pace,
    pool: Mutex<Pool>,
    /// There is something to do.
    due: Notify,
}

impl Networks {
    /// Keeps at most `most` ready of each kind.
    pub(crate) fn new(engine: Engine, identity: Identity, bridge: String, most: usize) -> Self {
        Self {
            engine,
            identity,
            bridge,
            pace: PACE,
            pool: Mutex::new(Pool::new(most)),
            due: Notify::new(),
        }
    }

    /// Lets the attempt's container join a ready namespace, if one is there that suits it. Its files go to `folder`.
    pub(crate) async fn join(&self, attempt: AttemptId, plan: &mut Plan, folder: PathBuf) {
        let Some(kind) = kind_of(plan) else {
            return;
        };
        loop {
            let taken = self.pool.lock().take(kind, attempt, Instant::now());
            self.due.notify_one();
            let Some(holder) = taken else {
                return;
            };
            if !self.is_as_new(&holder) {
                self.put_back(attempt);
                continue;
            }
            let (files, own) = (holder.files.clone(), folder);
            let written = tokio::task::spawn_blocking(move || write(&files, &own)).await;
            match written.map_err(std::io::Error::other).flatten() {
                Ok(files) => {
                    plan.network = PlanNetwork::Joined(JoinedNetwork {
                        holder: holder.id,
                        files,
                    });
                }
                Err(error) => {
                    tracing::warn!(%attempt, %error, "cannot write the container's network files");
                    self.put_back(attempt);
                }
            }
            return;
        }
    }

    /// The attempt's container was created as planned.
    pub(crate) fn joined(&self, attempt: AttemptId, container: &str) {
        self.pool.lock().joined(attempt, container);
    }

    /// The attempt has no container, or one that does not join what was taken for it.
    pub(crate) fn put_back(&self, attempt: AttemptId) {
        let holder = self.pool.lock().put_back(attempt);
        self.left(holder);
    }

    /// The container does not run any more, and never will.
    pub(crate) fn leave(&self, container: &str) {
        let holder = self.pool.lock().leave(container);
        self.left(holder);
    }

    fn left(&self, holder: Option<Holder>) {
        match holder {
            Some(holder) if self.is_as_new(&holder) => self.pool.lock().keep(holder),
            Some(holder) => self.pool.lock().doubt(holder),
            None => {}
        }
        self.due.notify_one();
    }

    /// Lets nobody join for a while, since joining failed for no fault of a job.
    pub(crate) fn rest(&self) {
        self.pool.lock().rest_until(Instant::now() + self.pace.rest);
    }

    /// Finds what this worker's last process left: namespaces that jobs use, and others, which go.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn adopt(&self) -> Result<(), docker::Error> {
        let found = self.engine.list(&self.identity.labels()).await?;
        // An image can have any label, but no job's container has such a name.
        let holders: Vec<_> = found
            .into_iter()
            .filter(|found| holder::is_name(&found.name))
            .collect();
        if holders.is_empty() {
            return Ok(());
        }
        let (cluster, worker) = (&self.identity.cluster, self.identity.worker.as_str());
        let labels = [(LABEL_CLUSTER, cluster.as_str()), (LABEL_WORKER, worker)];
        let containers = self.engine.list(&labels).await?;
        let mut pool = self.pool.lock();
        for holder in holders {
            let user = containers.iter().find(|job| may_use(job, &holder));
            match user {
                Some(job) => pool.adopt(job.id.clone(), holder.name),
                None => pool.discard(holder.name),
            }
        }
        Ok(())
    }

    /// Makes and removes namespaces until the worker ends.
    pub(crate) async fn run(&self) {
        loop {
            let task = self.pool.lock().next(Instant::now());
            match task {
                Some(task) => self.perform(task).await,
                None => {
                    // Either way there may be something to do.
                    let _elapsed =
                        tokio::time::timeout(self.pace.look_every, self.due.notified()).await;
                    let mut pool = self.pool.lock();
                    pool.discard_unless(|holder| self.is_as_new(holder));
                }
            }
        }
    }

    async fn perform(&self, task: Task) {
        match task {
            Task::Look(holder) => {
                tokio::time::sleep(self.pace.settle).await;
                let as_new = self.is_as_new(&holder);
                let mut pool = self.pool.lock();
                if as_new {
                    pool.keep(holder);
                } else {
                    pool.discard(holder.name);
                }
            }
            Task::Make(kind) => {
                tokio::time::sleep(self.pace.make_after).await;
                self.make(kind).await;
            }
            Task::Remove(name) => match self.engine.remove(&name, true).await {
                Ok(()) => self.pool.lock().removed(),
                Err(error) => {
                    tracing::warn!(
                        container = name,
                        error = chain(&error),
                        "failed to remove a network's container; trying again"
                    );
                    self.pool.lock().discard(name);
                    tokio::time::sleep(self.pace.remove_again).await;
                }
            },
        }
    }

    async fn make(&self, kind: Kind) {
        let name = match holder::new_name() {
            Ok(name) if self.pool.lock().begin(kind, &name) => name,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot name a network's container");
                return self.rest();
            }
        };
        let what = (kind, self.bridge.as_str());
        match holder::make(&self.engine, &self.identity, &name, what).await {
            Ok(Made::Ready(holder)) => self.pool.lock().keep(holder),
            Ok(Made::Hidden) => {
                tracing::warn!(
                    "cannot see what containers do in their networks, so each gets one of its own from the engine; \
                     the worker needs the machine's process ids (pid: host in a container)"
                );
                let mut pool = self.pool.lock();
                for unused in pool.close() {
                    pool.discard(unused);
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "failed to make a network ahead of its job; trying again in a minute"
                );
                self.pool.lock().discard(name);
                self.rest();
            }
        }
    }

    /// Removes those that no job uses. A running job's stays, and is found by the next start.
    pub(crate) async fn close(&self) {
        let names = self.pool.lock().close();
        let removing = names.iter().map(|name| self.engine.remove(name, true));
        let removed = futures::future::join_all(removing);
        match tokio::time::timeout(CLOSING, removed).await {
            Ok(removed) => {
                for error in removed.into_iter().filter_map(Result::err) {
                    tracing::warn!(
                        error = chain(&error),
                        "failed to remove a network's container"
                    );
                }
            }
            Err(_) => tracing::warn!("some networks' containers were not removed in time"),
        }
    }

    fn is_as_new(&self, holder: &Holder) -> bool {
        self.engine.traces(holder.pid, &holder.name) == Some(holder.traces)
    }
}

/// How many of each kind are kept ready on this engine, where `most` are wanted.
pub(crate) fn kept_ready(most: usize, engine: &EngineInfo) -> usize {
    if most > 0 && !engine.shares_networks {
        tracing::info!(
            "this engine is not Docker or has user namespaces: it makes each network when its job starts"
        );
        return 0;
    }
    most
}

/// What the job's container can join. `None` if it needs a namespace of its own.
fn kind_of(plan: &Plan) -> Option<Kind> {
    let user = &plan.user;
    let is_own = user.hostname.is_some()
        || user.domainname.is_some()
        || !user.dns.is_empty()
        || !user.extra_hosts.is_empty()
        || plan.publish.is_some()
        || user.sysctls.keys().any(|name| name.starts_with("net."));
    match plan.network {
        PlanNetwork::None if !is_own => Some(Kind::None),
        PlanNetwork::Bridge(_) if !is_own => Some(Kind::Bridge),
        PlanNetwork::None | PlanNetwork::Bridge(_) | PlanNetwork::Host | PlanNetwork::Joined(_) => {
            None
        }
    }
}

/// Whether the job's container uses it, or may yet.
fn may_use(job: &Container, holder: &Container) -> bool {
    let uses = job.status.is_alive() || job.status == Status::Created;
    uses && job.joins.as_ref() == Some(&holder.id)
}

/// Writes a job's own files.
fn write(files: &NetworkFiles, folder: &Path) -> std::io::Result<HostFolder> {
    std::fs::create_dir_all(folder)?;
    for (name, content) in NETWORK_FILES.iter().zip(files) {
        std::fs::write(folder.join(name), content)?;
    }
    HostFolder::resolve(&folder.canonicalize()?).map_err(std::io::Error::other)
}
