//! The handle, and what its tasks share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::uri::AMQPUri;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::consumer::Consumer;
use super::lane::{Lane, Purpose};
use super::options::Options;
use super::publisher::Sent;
use super::rights::Rights;
use super::topology::{Names, Post};
use crate::broker::{DeadLetter, Error, Link, LiveStream, OptionsError};
use crate::id::WorkerId;

/// For both connections to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// RabbitMQ. Clones share its connections; when the last clone goes, they are closed.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

/// What the handle, the supervisors and the consumers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) uri: AMQPUri,
    pub(super) names: Names,
    pub(super) publishing: Lane,
    pub(super) consuming: Lane,
    workers: Mutex<BTreeSet<WorkerId>>,
    link: watch::Sender<Link>,
    closed: watch::Sender<bool>,
}

/// The two supervisors; they hold [`Shared`] but not this, so that dropping it can end them.
#[derive(Debug)]
struct Tasks {
    shared: Arc<Shared>,
    supervisors: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

impl Broker {
    /// The rights of `worker`'s account.
    #[must_use]
    pub fn rights(&self, worker: &WorkerId) -> Rights {
        Rights::of(&self.shared.names, &self.shared.uri, worker)
    }

    /// Begins to connect, in the background; [`super::super::Broker::link`] tells when it is up. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the options are not acceptable. A broker that is down is no error.
    pub fn open(options: Options) -> Result<Self, OptionsError> {
        let shared = Arc::new(Shared {
            uri: options.uri()?,
            names: Names::new(&options),
            options,
            publishing: Lane::new(Purpose::Publish),
            consuming: Lane::new(Purpose::Consume),
            workers: Mutex::default(),
            link: watch::Sender::new(Link::Down {
                since: tokio::time::Instant::now(),
                why: "not connected yet".to_owned(),
            }),
            closed: watch::Sender::new(false),
        });
        let publishing = Arc::clone(&shared);
        let consuming = Arc::clone(&shared);
        let supervisors = vec![
            tokio::spawn(async move { publishing.publishing.keep(&publishing).await }),
            tokio::spawn(async move { consuming.consuming.keep(&consuming).await }),
        ];
        Ok(Self {
            tasks: Arc::new(Tasks {
                shared: Arc::clone(&shared),
                supervisors: Mutex::new(supervisors),
            }),
            shared,
        })
    }

    pub(in crate::broker) async fn declare_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.shared.workers.lock().insert(worker.clone());
        self.shared.declare(&Post::Orders(worker.clone())).await
    }

    pub(in crate::broker) async fn remove_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        self.shared.workers.lock().remove(worker);
        self.shared.remove(&Post::Orders(worker.clone())).await
    }

    pub(in crate::broker) async fn publish_order(
        &self,
        worker: &WorkerId,
        body: Bytes,
    ) -> Result<(), Error> {
        let post = Post::Orders(worker.clone());
        self.shared.publish(&post, &body).await
    }

    pub(in crate::broker) async fn publish_report(&self, body: Bytes) -> Result<(), Error> {
        self.shared.publish(&Post::Reports, &body).await
    }

    pub(in crate::broker) async fn send_report(&self, body: Bytes) -> Result<Sent, Error> {
        self.shared.send(&Post::Reports, &body).await
    }

    pub(in crate::broker) fn consume_orders(&self, worker: &WorkerId) -> Result<Consumer, Error> {
        self.shared.open()?;
        let post = Post::Orders(worker.clone());
        Ok(Consumer::start(Arc::clone(&self.shared), post))
    }

    pub(in crate::broker) fn consume_reports(&self) -> Result<Consumer, Error> {
        self.shared.open()?;
        Ok(Consumer::start(Arc::clone(&self.shared), Post::Reports))
    }

    pub(in crate::broker) async fn publish_live(
        &self,
        topic: &str,
        body: Bytes,
    ) -> Result<(), Error> {
        self.shared.open()?;
        self.shared.publish_live(topic, &body).await;
        Ok(())
    }

    pub(in crate::broker) async fn subscribe_live(
        &self,
        topics: &[&str],
    ) -> Result<LiveStream, Error> {
        self.shared.open()?;
        Ok(super::live::subscribe(Arc::clone(&self.shared), topics).await)
    }

    pub(in crate::broker) fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    pub(in crate::broker) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.shared.dead_letters().await
    }

    pub(in crate::broker) async fn close(&self) {
        self.shared.closed.send_replace(true);
        let supervisors = std::mem::take(&mut *self.tasks.supervisors.lock());
        let ended = futures::future::join_all(supervisors);
        // Their connections end with the process in any case.
        drop(tokio::time::timeout(CLOSE_WITHIN, ended).await);
    }
}

impl Shared {
    /// Fails once the broker is closed.
    pub(super) fn open(&self) -> Result<(), Error> {
        match *self.closed.borrow() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Waits until the broker is closed.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`, so that waiting cannot fail.
        drop(closed.wait_for(|closed| *closed).await);
    }

    /// The workers whose queues this process has declared.
    pub(super) fn workers(&self) -> Vec<WorkerId> {
        self.workers.lock().iter().cloned().collect()
    }

    /// Shows how the link stands: as the worse of its two connections.
    pub(super) fn show_link(&self) {
        let link = match (self.consuming.link(), self.publishing.link()) {
            (down @ Link::Down { .. }, _) | (_, down @ Link::Down { .. }) => down,
            (_, Link::Blocked) => Link::Blocked,
            (Link::Up | Link::Blocked, Link::Up) => Link::Up,
        };
        self.link.send_if_modified(|shown| {
            let changed = *shown != link;
            *shown = link;
            changed
        });
    }
}
