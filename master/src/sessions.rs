//! A master's end of sessions in running containers, over the live exchange.
//!
//! What a user may ask for and how the data reaches the user is [`crate::http`]'s.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{self, Broker, LiveStream};
use dopq_common::id::WorkerId;
use dopq_common::session::{Broken, Endpoint, Frame, nonce};
use dopq_common::wire::{OPEN_MAX_BYTES, OpenSession, ToWorker, WorkerKey, topic};
use tokio::time::{Instant, timeout_at};

/// How long a worker may take to answer at all. Live messages can be lost, so the opening is repeated meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_secs(2);
/// Between two signs of life.
const EVERY: Duration = Duration::from_secs(15);
/// A worker that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a session cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is too long.
    #[error("the command with its environment is longer than {OPEN_MAX_BYTES} bytes")]
    TooLong,
    /// The worker says nothing.
    #[error("worker {0} does not answer")]
    Silent(WorkerId),
    /// Messages were lost or cannot be read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The broker cannot be used.
    #[error("failed to use the broker")]
    Broker(#[from] broker::Error),
    /// The master is being stopped.
    #[error("the master is being stopped")]
    Stopping,
}

/// A session that has begun.
#[derive(Debug)]
pub struct Session {
    broker: Broker,
    worker: WorkerId,
    stream: LiveStream,
    endpoint: Endpoint,
    heard: Instant,
    told: Instant,
}

impl Session {
    /// Opens a session at `worker`, whose key is `key`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(
        broker: Broker,
        worker: WorkerId,
        key: &WorkerKey,
        open: &OpenSession,
    ) -> Result<Self, Error> {
        // The type always has a JSON form.
        let body = serde_json::to_vec(open).unwrap_or_default();
        if body.len() > OPEN_MAX_BYTES {
            return Err(Error::TooLong);
        }
        let opening = Bytes::from(key.seal_to(ToWorker::Session, &worker, &body));
        let topic = topic::out_of_session(&worker, open.id);
        let mut stream = broker.subscribe_live(&[&topic]).await?;
        let until = Instant::now() + ANSWER_WITHIN;
        let mut endpoint = loop {
            let answer = asked(&broker, &worker, &mut stream, &opening, until).await?;
            let Some(nonce) = nonce(&answer) else {
                continue;
            };
            let keys = key.session(open.id, nonce);
            let mut endpoint = Endpoint::new(open.id, keys.to_worker, keys.to_master);
            if let Ok(Some(Frame::Challenge(_))) = endpoint.open(&answer) {
                break endpoint;
            }
        };
        let begin = Frame::Begin(endpoint.grant());
        let begin = Bytes::from(endpoint.seal(&begin).unwrap_or_default());
        loop {
            let answer = asked(&broker, &worker, &mut stream, &begin, until).await?;
            if let Some(Frame::Credit(_)) = endpoint.open(&answer)? {
                break;
            }
        }
        Ok(Self {
            broker,
            worker,
            stream,
            endpoint,
            heard: Instant::now(),
            told: Instant::now(),
        })
    }

    /// Whether a piece may be sent.
    #[must_use]
    pub const fn may_send(&self) -> bool {
        self.endpoint.may_send()
    }

    /// What the worker says next. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// [`Error`]: the session is over.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            let Some(message) = self.stream.next().await else {
                return Err(Error::Stopping);
            };
            if let Some(frame) = self.endpoint.open(&message.body)? {
                self.heard = Instant::now();
                return Ok(frame);
            }
        }
    }

    /// Sends a frame; one that costs credit only while [`Self::may_send`]. Do not cancel the call.
    ///
    /// # Errors
    /// [`Error`]: the session is over.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        if let Some(message) = self.endpoint.seal(frame) {
            tell(&self.broker, &self.worker, message.into()).await?;
        }
        Ok(())
    }

    /// Notes that a piece of the worker was passed on.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn taken(&mut self) -> Result<(), Error> {
        match self.endpoint.taken() {
            Some(credit) => self.send(&Frame::Credit(credit)).await,
            None => Ok(()),
        }
    }

    /// Gives a sign of life when it is time for one. To be called every few seconds.
    ///
    /// # Errors
    /// [`Error::Silent`] if the worker gave none; and as [`Self::send`].
    pub async fn look(&mut self) -> Result<(), Error> {
        if self.heard.elapsed() > SILENCE {
            return Err(Error::Silent(self.worker.clone()));
        }
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let credit = Frame::Credit(self.endpoint.grant());
            self.send(&credit).await?;
        }
        Ok(())
    }
}

/// The next message of a worker that is told `message` until it says something.
async fn asked(
    broker: &Broker,
    worker: &WorkerId,
    stream: &mut LiveStream,
    message: &Bytes,
    until: Instant,
) -> Result<Bytes, Error> {
    while Instant::now() < until {
        tell(broker, worker, message.clone()).await?;
        let wait = until.min(Instant::now() + REPEAT);
        match timeout_at(wait, stream.next()).await {
            Ok(Some(answer)) => return Ok(answer.body),
            Ok(None) => return Err(Error::Stopping),
            Err(_) => {}
        }
    }
    Err(Error::Silent(worker.clone()))
}

async fn tell(broker: &Broker, worker: &WorkerId, message: Bytes) -> Result<(), Error> {
    let topic = topic::into_sessions(worker);
    Ok(broker.publish_live(&topic, message).await?)
}
