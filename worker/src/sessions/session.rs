//! One session: from the master's opening to the end of what it is for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::Broker;
use dopq_common::chain::chain;
use dopq_common::id::AttemptId;
use dopq_common::session::{Endpoint, Frame};
use dopq_common::wire::{EndCause, OpenSession, SessionEnd, SessionRequest, topic};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::work::{Input, Output, Work};
use super::{exec, forward};
use crate::driver::{Context, Running};

/// How long the master may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// Between two signs of life.
const EVERY: Duration = Duration::from_secs(15);
/// A master that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// The code of a command that was killed, as all in a container are when it ends.
const KILLED: i32 = 137;
const AFTER_KILL: Duration = Duration::from_millis(500);

/// One session.
pub(super) struct Session {
    context: Arc<Context>,
    broker: Broker,
    running: watch::Receiver<Running>,
    open: OpenSession,
    said: mpsc::Receiver<Said>,
    endpoint: Endpoint,
    topic: String,
    /// When the master was last heard.
    heard: Instant,
    /// The first message, which is sent again if the master asks again.
    challenge: Bytes,
}

/// What a master said to a session.
#[derive(Debug)]
pub(super) enum Said {
    /// A message, not proven yet.
    Message(Bytes),
    /// The opening, again.
    Again,
}

/// How a session went on.
enum Step {
    On,
    Over(SessionEnd),
    /// The master is not there to be told.
    Gone(&'static str),
}

impl Session {
    /// A session that `open` asks for.
    pub(super) fn new(
        context: &Arc<Context>,
        broker: &Broker,
        running: watch::Receiver<Running>,
        open: OpenSession,
        said: mpsc::Receiver<Said>,
    ) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let options = &context.options;
        let keys = options.key.session(open.id, nonce);
        let mut endpoint = Endpoint::new(open.id, keys.to_master, keys.to_worker);
        let challenge = endpoint.seal(&Frame::Challenge(nonce)).unwrap_or_default();
        Ok(Self {
            context: Arc::clone(context),
            broker: broker.clone(),
            running,
            topic: topic::out_of_session(&options.name, open.id),
            open,
            said,
            endpoint,
            heard: Instant::now(),
            challenge: challenge.into(),
        })
    }

    /// Tells a master that there are too many sessions.
    pub(super) async fn refuse_as_busy(mut self) {
        if self.begin().await {
            let why = "too many sessions at once (settings exec.sessions and exec.per_job)";
            self.end(SessionEnd::new(EndCause::Busy, why)).await;
        }
    }

    /// Runs until it is over.
    pub(super) async fn run(mut self) {
        let shutdown = self.context.shutdown.clone();
        if shutdown.run_until_cancelled(self.begin()).await != Some(true) {
            return;
        }
        let (by, attempt) = (self.open.by.clone(), self.open.attempt);
        tracing::info!(%by, %attempt, session = %self.open.id, "session begins");
        let end = self.serve().await;
        tracing::info!(%by, %attempt, session = %self.open.id, ?end, "session ended");
        if let Some(end) = end {
            self.end(end).await;
        }
    }

    /// Waits for a master that knows this worker's key. Until then nothing is done.
    async fn begin(&mut self) -> bool {
        let until = Instant::now() + BEGIN_WITHIN;
        self.publish(self.challenge.clone()).await;
        loop {
            let Ok(Some(said)) = tokio::time::timeout_at(until, self.said.recv()).await else {
                return false;
            };
            match said {
                Said::Again => self.publish(self.challenge.clone()).await,
                Said::Message(message) => match self.endpoint.open(&message) {
                    Ok(Some(Frame::Begin(_))) => {
                        self.heard = Instant::now();
                        let credit = Frame::Credit(self.endpoint.grant());
                        self.send(&credit).await;
                        return true;
                    }
                    Ok(_) => {}
                    Err(_) => return false,
                },
            }
        }
    }

    /// Does what the session is for. `None` if there is no master to be told how it ended.
    async fn serve(&mut self) -> Option<SessionEnd> {
        let Some(container) = self.container() else {
            let why = "its container does not run on this worker";
            return Some(SessionEnd::new(EndCause::ContainerEnded, why));
        };
        let started = match &self.open.request {
            SessionRequest::Exec(request) => {
                Box::pin(exec::start(&self.context, &container, request)).await
            }
            SessionRequest::Forward { port } => {
                let connecting = forward::start(&self.context, &container, *port);
                Box::pin(connecting).await.map(Some)
            }
            SessionRequest::Unknown => Err(SessionEnd::new(
                EndCause::Refused,
                "this worker is older than the master and does not know this kind of session",
            )),
        };
        let mut work = match started {
            Ok(Some(work)) => work,
            Ok(None) => {
                self.send(&Frame::Started).await;
                return Some(SessionEnd::new(EndCause::Done, ""));
            }
            Err(end) => return Some(end),
        };
        self.send(&Frame::Started).await;
        let ended = self.relay(&mut work).await;
        match ended {
            Step::Over(end) if end.exit_code.is_some() => Some(self.checked(&container, end).await),
            Step::Over(end) => {
                work.stop.await;
                Some(end)
            }
            Step::Gone(why) => {
                tracing::info!(session = %self.open.id, why, "a session has no master any more");
                work.stop.await;
                None
            }
            Step::On => None,
        }
    }

    /// A command that ended with its container did not end by itself.
    async fn checked(&self, container: &str, end: SessionEnd) -> SessionEnd {
        if end.exit_code == Some(KILLED) {
            // The engine may note the end of what ran in a container before that of the container.
            tokio::time::sleep(AFTER_KILL).await;
        }
        match self.context.engine.inspect(container).await {
            Ok(Some(seen)) if seen.status.is_alive() => end,
            Ok(_) => SessionEnd::new(EndCause::ContainerEnded, "its container ended"),
            Err(_) => end,
        }
    }

    /// Passes on in both directions until it is over.
    async fn relay(&mut self, work: &mut Work) -> Step {
        let shutdown = self.context.shutdown.clone();
        let mut every = tokio::time::interval(EVERY);
        let mut has_output = true;
        loop {
            let step = tokio::select! {
                said = self.said.recv() => match said {
                    Some(Said::Message(message)) => self.take(&work.input, &message),
                    Some(Said::Again) => Step::On,
                    None => Step::Gone("the worker listens no more"),
                },
                Some(()) = work.taken.recv() => {
                    if let Some(credit) = self.endpoint.taken() {
                        self.send(&Frame::Credit(credit)).await;
                    }
                    Step::On
                }
                output = work.output.recv(), if has_output && self.endpoint.may_send() => {
                    match output {
                        Some(Output::Data(channel, bytes)) => {
                            self.send(&Frame::Data(channel, bytes)).await;
                        }
                        None => has_output = false,
                    }
                    Step::On
                }
                end = &mut work.end, if !has_output => Step::Over(end),
                _ = every.tick() => self.look().await,
                () = shutdown.cancelled() => {
                    let why = "the worker is being stopped";
                    Step::Over(SessionEnd::new(EndCause::Failed, why))
                }
                () = gone(&mut self.running, self.open.attempt), if has_output => {
                    let why = "its container ended";
                    Step::Over(SessionEnd::new(EndCause::ContainerEnded, why))
                }
            };
            if !matches!(step, Step::On) {
                return step;
            }
        }
    }

    /// Takes a message.
    fn take(&mut self, to: &mpsc::Sender<Input>, message: &[u8]) -> Step {
        let frame = match self.endpoint.open(message) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Step::On,
            Err(broken) => {
                return Step::Over(SessionEnd::new(EndCause::Failed, broken.to_string()));
            }
        };
        self.heard = Instant::now();
        let input = match frame {
            Frame::Data(_, bytes) => Input::Data(bytes),
            Frame::Close => Input::Close,
            Frame::Resize(rows, columns) => Input::Resize(rows, columns),
            Frame::End(_) => return Step::Gone("the master ended it"),
            Frame::Challenge(_) | Frame::Begin(_) | Frame::Started | Frame::Credit(_) => {
                return Step::On;
            }
        };
        // The channel has room for a window. Whoever takes input is gone only when the output ends too.
        if to.try_send(input).is_err() {
            tracing::debug!(session = %self.open.id, "dropped input of a session");
        }
        Step::On
    }

    /// Gives a sign of life, and looks for the master's.
    async fn look(&mut self) -> Step {
        if self.heard.elapsed() > SILENCE {
            return Step::Gone("the master is silent");
        }
        let credit = Frame::Credit(self.endpoint.grant());
        self.send(&credit).await;
        Step::On
    }

    fn container(&self) -> Option<Arc<str>> {
        let running = self.running.borrow();
        let mut running = running.iter();
        let found = running.find(|running| running.id == self.open.attempt);
        found.map(|running| Arc::clone(&running.container))
    }

    async fn end(&mut self, end: SessionEnd) {
        self.send(&Frame::End(end)).await;
    }

    async fn send(&mut self, frame: &Frame) {
        if let Some(message) = self.endpoint.seal(frame) {
            self.publish(message.into()).await;
        }
    }

    async fn publish(&self, message: Bytes) {
        if let Err(error) = self.broker.publish_live(&self.topic, message).await {
            tracing::debug!(
                error = chain(&error),
                "failed to send a message of a session"
            );
        }
    }
}

/// Waits until the attempt's container may not run any more.
async fn gone(running: &mut watch::Receiver<Running>, attempt: AttemptId) {
    let is_gone = |running: &Running| !running.iter().any(|running| running.id == attempt);
    if running.wait_for(is_gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}
