//! Sessions of users in running containers, which a master asks for and drives over the live exchange.
//!
//! [`run`] hands each message to its session. [`session`] drives one: it proves, counts and grants
//! ([`dopq_common::session`]), and knows when it is over. What is done in the container is
//! [`exec`]'s and [`forward`]'s.

mod exec;
mod forward;
mod session;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::Broker;
use dopq_common::chain::chain;
use dopq_common::id::AttemptId;
use dopq_common::session::named;
use dopq_common::wire::{OpenSession, SessionId, ToWorker, read_envelope, topic};
use tokio::sync::{mpsc, watch};

use self::session::{Said, Session};
use crate::driver::{Context, Running};

const RETRY: Duration = Duration::from_secs(5);

/// Messages that may wait for one session: a window of data, and as many that cost no credit.
const WAITING: usize = 32;

/// Openings beyond that get no answer.
const OPENINGS: usize = 128;

/// A session as the reader of messages sees it.
struct Entry {
    attempt: AttemptId,
    said: mpsc::Sender<Said>,
}

/// Hands the masters' messages to the sessions, until the worker ends.
pub(crate) async fn run(context: Arc<Context>, broker: Broker, running: watch::Receiver<Running>) {
    let topic = topic::into_sessions(&context.options.name);
    let mut sessions = BTreeMap::new();
    loop {
        match broker.subscribe_live(&[&topic]).await {
            Ok(mut messages) => {
                while let Some(message) = messages.next().await {
                    take(&context, &broker, &running, &mut sessions, &message.body);
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "cannot listen for sessions"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn take(
    context: &Arc<Context>,
    broker: &Broker,
    running: &watch::Receiver<Running>,
    sessions: &mut BTreeMap<SessionId, Entry>,
    message: &Bytes,
) {
    // What a master seals is text; a session's name is 16 bytes of any kind.
    if let Some((id, _)) = named(message)
        && let Some(entry) = sessions.get(&id)
    {
        // A session that does not take its messages sees by their numbers that one is missing.
        if let Err(error) = entry.said.try_send(Said::Message(message.clone())) {
            tracing::debug!(session = %id, %error, "dropped a message to a session");
        }
        return;
    }
    let open = match read(context, message) {
        Ok(open) => open,
        Err(error) => {
            tracing::debug!(error, "dropped a message to a session");
            return;
        }
    };
    sessions.retain(|_, entry| !entry.said.is_closed());
    if let Some(entry) = sessions.get(&open.id) {
        // It is full if it answers nobody.
        drop(entry.said.try_send(Said::Again));
        return;
    }
    if sessions.len() >= OPENINGS {
        tracing::warn!(session = %open.id, "dropped the opening of a session: too many wait");
        return;
    }
    let limits = context.options.settings.exec;
    let of_job = sessions.values().filter(|e| e.attempt == open.attempt);
    let is_full = sessions.len() >= limits.sessions || of_job.count() >= limits.per_job;
    let (said, hears) = mpsc::channel(WAITING);
    let (id, attempt) = (open.id, open.attempt);
    let session = Session::new(context, broker, running.clone(), open, hears);
    match session {
        // One that is full also answers, but is not counted.
        Ok(session) if is_full => {
            sessions.insert(id, Entry { attempt, said });
            context.spawn(session.refuse_as_busy());
        }
        Ok(session) => {
            sessions.insert(id, Entry { attempt, said });
            context.tasks.spawn(session.run());
        }
        Err(error) => tracing::error!(%error, "failed to begin a session"),
    }
}

/// Reads an opening, if a master with this worker's key made it.
fn read(context: &Context, message: &[u8]) -> Result<OpenSession, String> {
    let options = &context.options;
    let opened = options
        .key
        .open_to(ToWorker::Session, &options.name, message);
    let body = opened.map_err(|error| chain(&error))?;
    read_envelope(body).map_err(|error| chain(&error))
}
