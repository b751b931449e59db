//! One supervised connection: built, watched, given up and built again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::tcp::OwnedTLSConfig;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::broker::Shared;
use super::topology::{Declarer, Post, soft};
use crate::broker::{Error, Link};

/// For a connection with all its declarations; a broker that takes longer is as good as down.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// For a polite end.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How often a connection is looked at, should its events fail to tell of its end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to connect: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Orders, reports and live messages go out on it.
    Publish,
    /// Deliveries come in on it.
    Consume,
}

/// One supervised connection.
#[derive(Debug)]
pub(super) struct Lane {
    purpose: Purpose,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    Up(Arc<Session>),
    Down { since: Instant, why: String },
}

/// One connection from its first declaration to its end.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    /// The channel of confirmed publications, made at the first.
    pub(super) confirmed: tokio::sync::Mutex<Option<Channel>>,
    /// The channel of live publications, made at the first.
    pub(super) unconfirmed: tokio::sync::Mutex<Option<Channel>>,
    blocked: watch::Sender<bool>,
    broken: Notify,
}

impl Session {
    /// Whether the broker takes no publications.
    pub(super) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Gives the connection up: it does not answer.
    pub(super) fn give_up(&self) {
        self.broken.notify_one();
    }
}

impl Lane {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            state: watch::Sender::new(State::Down {
                since: Instant::now(),
                why: "not connected yet".to_owned(),
            }),
        }
    }

    /// Waits for a connection.
    pub(super) async fn session(&self) -> Arc<Session> {
        let mut state = self.state.subscribe();
        loop {
            if let State::Up(session) = &*state.borrow_and_update() {
                return Arc::clone(session);
            }
            // The sender lives as long as `self`, so that waiting cannot fail.
            drop(state.changed().await);
        }
    }

    /// The connection, if there is one.
    pub(super) fn current(&self) -> Option<Arc<Session>> {
        match &*self.state.borrow() {
            State::Up(session) => Some(Arc::clone(session)),
            State::Down { .. } => None,
        }
    }

    /// Waits for a connection on which the broker takes publications.
    pub(super) async fn unblocked(&self) -> Arc<Session> {
        loop {
            let session = self.session().await;
            let mut blocked = session.blocked.subscribe();
            let mut state = self.state.subscribe();
            let is_this = |state: &State| matches!(state, State::Up(s) if Arc::ptr_eq(s, &session));
            tokio::select! {
                biased;
                _ = state.wait_for(|state| !is_this(state)) => {}
                _ = blocked.wait_for(|blocked| !blocked) => return session,
            }
        }
    }

    /// Waits until `session` is no longer the connection.
    pub(super) async fn lost(&self, session: &Arc<Session>) {
        let mut state = self.state.subscribe();
        let is_this = |state: &State| matches!(state, State::Up(s) if Arc::ptr_eq(s, session));
        drop(state.wait_for(|state| !is_this(state)).await);
    }

    /// How this lane stands, as [`Link`].
    pub(super) fn link(&self) -> Link {
        match &*self.state.borrow() {
            State::Up(session) if *session.blocked.borrow() => Link::Blocked,
            State::Up(_) => Link::Up,
            State::Down { since, why } => Link::Down {
                since: *since,
                why: why.clone(),
            },
        }
    }

    /// The error that tells why there is no connection.
    pub(super) fn error(&self) -> Error {
        let why = match self.link() {
            Link::Up => "the connection is unstable".to_owned(),
            Link::Blocked => "it accepts no messages: its memory or disk alarm is on".to_owned(),
            Link::Down { why, .. } => why,
        };
        Error::Down { why }
    }

    /// Keeps a connection until the broker is closed.
    pub(super) async fn keep(&self, shared: &Shared) {
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = tokio::select! {
                () = shared.closed() => return self.set_down(shared, "it was closed".to_owned()),
                opened = tokio::time::timeout(CONNECT_WITHIN, self.open(shared)) => opened,
            };
            match opened {
                Ok(Ok(session)) => {
                    pause = FIRST_PAUSE;
                    let session = Arc::new(session);
                    self.state.send_replace(State::Up(Arc::clone(&session)));
                    shared.show_link();
                    let end = tokio::select! {
                        () = shared.closed() => None,
                        why = self.watch(&session, shared) => Some(why),
                    };
                    let Some(why) = end else {
                        self.set_down(shared, "it was closed".to_owned());
                        let close = session.connection.close(200, "closed".into());
                        drop(tokio::time::timeout(CLOSE_WITHIN, close).await);
                        return;
                    };
                    tracing::warn!(purpose = ?self.purpose, why, "lost the connection to the broker");
                    self.set_down(shared, why);
                }
                Ok(Err(error)) => self.set_down(shared, error.to_string()),
                Err(_) => self.set_down(shared, "it does not answer".to_owned()),
            }
            tokio::select! {
                () = shared.closed() => {}
                () = tokio::time::sleep(pause) => pause = LAST_PAUSE.min(pause * 2),
            }
        }
    }

    async fn open(&self, shared: &Shared) -> Result<Session, lapin::Error> {
        let name = match self.purpose {
            Purpose::Publish => format!("dopq {} publishing", shared.options.client),
            Purpose::Consume => format!("dopq {} consuming", shared.options.client),
        };
        let connection = Connection::connect_uri_with_config(
            shared.uri.clone(),
            ConnectionProperties::default().with_connection_name(name.into()),
            OwnedTLSConfig {
                identity: None,
                cert_chain: shared.options.ca_pem.clone(),
            },
            lapin::runtime::default_runtime()?,
        )
        .await?;
        let mut declarer = Declarer::new(&connection, &shared.names, &shared.options);
        declarer.cluster().await?;
        if self.purpose == Purpose::Publish {
            for worker in shared.workers() {
                declarer.post(&Post::Orders(worker)).await?;
            }
        }
        drop(declarer);
        Ok(Session {
            connection,
            confirmed: tokio::sync::Mutex::default(),
            unconfirmed: tokio::sync::Mutex::default(),
            blocked: watch::Sender::new(false),
            broken: Notify::new(),
        })
    }

    /// Watches the connection until its end; returns why it ended.
    async fn watch(&self, session: &Session, shared: &Shared) -> String {
        let mut events = Box::pin(session.connection.events_listener());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(why)) => {
                        tracing::warn!(why, "the broker accepts no messages");
                        session.blocked.send_replace(true);
                        shared.show_link();
                    }
                    Some(Event::ConnectionUnblocked) => {
                        session.blocked.send_replace(false);
                        shared.show_link();
                    }
                    // Errors of channels are told here as well; whoever uses the channel sees to them.
                    Some(Event::Error(error)) if soft(&error).is_none() => {
                        return error.to_string();
                    }
                    Some(_) => {}
                    None => return "its connection ended".to_owned(),
                },
                () = session.broken.notified() => {
                    return "it does not answer".to_owned();
                }
                _ = look.tick() => if !session.connection.status().connected() {
                    return "its connection ended".to_owned();
                },
            }
        }
    }

    fn set_down(&self, shared: &Shared, why: String) {
        self.state.send_modify(|state| {
            // Since when is told from the first failure on, why by the last.
            let since = match state {
                State::Up(_) => Instant::now(),
                State::Down { since, .. } => *since,
            };
            *state = State::Down { since, why };
        });
        shared.show_link();
    }
}
