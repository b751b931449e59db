//! Publishing: a message is handed over, then confirmed; [`Shared::publish`] repeats both until time is up.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPSoftError;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::time::Instant;

use super::broker::Shared;
use super::lane::Session;
use super::topology::{Declarer, MANDATORY, Names, Post, soft};
use crate::broker::Error;

/// AMQP's number for a message that is written to disk.
const PERSISTENT: u8 = 2;

/// Between two tries of one publication.
const PAUSE: Duration = Duration::from_millis(100);

/// Before a queue that was gone is declared again.
const PAUSE_BEFORE_DECLARING: Duration = Duration::from_millis(500);

/// A live message that cannot go at once is not worth waiting for.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// A message that was handed over to a connection and is not confirmed yet.
#[derive(Debug)]
pub(in crate::broker) struct Sent {
    shared: Arc<Shared>,
    session: Arc<Session>,
    channel: Channel,
    post: Post,
    confirm: PublisherConfirm,
}

impl Shared {
    /// Publishes until the broker has confirmed that `post` holds the message.
    pub(super) async fn publish(self: &Arc<Self>, post: &Post, body: &[u8]) -> Result<(), Error> {
        let deadline = Instant::now() + self.options.publish_within;
        let mut last = None;
        loop {
            let tried = tokio::select! {
                biased;
                () = self.closed() => return Err(Error::Closed),
                tried = tokio::time::timeout_at(deadline, async {
                    let session = self.publishing.unblocked().await;
                    let sent = self.hand_over(session, post, body).await?;
                    sent.confirmed().await
                }) => tried,
            };
            match tried {
                Ok(Ok(())) => return Ok(()),
                // No patience gives an account more rights.
                Ok(Err(error)) if is_forbidden(&error) => return Err(error),
                Ok(Err(error)) => last = Some(error),
                Err(_) => return Err(last.unwrap_or_else(|| self.publishing.error())),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hands a message over, as soon as there is a connection for it.
    pub(super) async fn send(self: &Arc<Self>, post: &Post, body: &[u8]) -> Result<Sent, Error> {
        tokio::select! {
            biased;
            () = self.closed() => Err(Error::Closed),
            sent = tokio::time::timeout(self.options.publish_within, async {
                let session = self.publishing.unblocked().await;
                self.hand_over(session, post, body).await
            }) => sent.unwrap_or_else(|_| Err(self.publishing.error())),
        }
    }

    /// Hands a message over to `session`. Messages go out in the order of these calls.
    async fn hand_over(
        self: &Arc<Self>,
        session: Arc<Session>,
        post: &Post,
        body: &[u8],
    ) -> Result<Sent, Error> {
        let within = self.options.confirm_within;
        let Ok(channel) = tokio::time::timeout(within, confirmed(&session)).await else {
            // It does not even open a channel: it may be half open, which nothing but silence tells.
            session.give_up();
            return Err(Error::Unconfirmed(within));
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(error) => return Err(self.refused(&session, post, error).await),
        };
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let (exchange, key) = (self.names.exchange(post), Names::key(post));
        let published = channel.basic_publish(exchange, key, MANDATORY, body, properties);
        match tokio::time::timeout(within, published).await {
            Ok(Ok(confirm)) => Ok(Sent {
                shared: Arc::clone(self),
                session,
                channel,
                post: post.clone(),
                confirm,
            }),
            Ok(Err(error)) => Err(self.refused(&session, post, error).await),
            Err(_) => Err(unconfirmed_on(&session, &channel, within).await),
        }
    }

    /// The error of a publication that failed with its channel.
    async fn refused(&self, session: &Session, post: &Post, source: lapin::Error) -> Error {
        // An absent exchange closes the channel: have it declared for the next try.
        if soft(&source) == Some(AMQPSoftError::NOTFOUND)
            && let Err(error) = self.declare_cluster_on(session).await
        {
            return error;
        }
        let doing = format!("publish to {}", self.names.queue(post));
        Error::Refused { doing, source }
    }

    /// Declares the queue of `post` as soon as there is a connection.
    pub(super) async fn declare(&self, post: &Post) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = self.closed() => Err(Error::Closed),
            declared = tokio::time::timeout(self.options.publish_within, async {
                let session = self.publishing.session().await;
                self.declare_on(&session, post).await
            }) => declared.unwrap_or_else(|_| Err(self.publishing.error())),
        }
    }

    /// Removes the queue of `post` as soon as there is a connection.
    pub(super) async fn remove(&self, post: &Post) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = self.closed() => Err(Error::Closed),
            removed = tokio::time::timeout(self.options.publish_within, async {
                let session = self.publishing.session().await;
                self.remove_on(&session, post).await
            }) => removed.unwrap_or_else(|_| Err(self.publishing.error())),
        }
    }

    async fn remove_on(&self, session: &Session, post: &Post) -> Result<(), Error> {
        let mut declarer = Declarer::new(&session.connection, &self.names, &self.options);
        let removed =
            tokio::time::timeout(self.options.confirm_within, declarer.remove(post)).await;
        let doing = || format!("remove {}", self.names.queue(post));
        self.declared(session, removed, doing)
    }

    async fn declare_on(&self, session: &Session, post: &Post) -> Result<(), Error> {
        let mut declarer = Declarer::new(&session.connection, &self.names, &self.options);
        let declared = tokio::time::timeout(self.options.confirm_within, declarer.post(post)).await;
        let doing = || format!("declare {}", self.names.queue(post));
        self.declared(session, declared, doing)
    }

    async fn declare_cluster_on(&self, session: &Session) -> Result<(), Error> {
        let mut declarer = Declarer::new(&session.connection, &self.names, &self.options);
        let declared = tokio::time::timeout(self.options.confirm_within, declarer.cluster()).await;
        self.declared(session, declared, || "declare the exchanges".to_owned())
    }

    fn declared(
        &self,
        session: &Session,
        declared: Result<Result<(), lapin::Error>, tokio::time::error::Elapsed>,
        doing: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match declared {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Refused {
                doing: doing(),
                source,
            }),
            Err(_) => {
                session.give_up();
                Err(Error::Unconfirmed(self.options.confirm_within))
            }
        }
    }

    /// Publishes to whoever listens now, if the link lets it.
    pub(super) async fn publish_live(&self, topic: &str, body: &[u8]) {
        let Some(session) = self.publishing.current() else {
            return;
        };
        if session.is_blocked() {
            return;
        }
        let published = tokio::time::timeout(LIVE_WITHIN, async {
            let channel = unconfirmed(&session).await?;
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            let confirm = channel
                .basic_publish(self.names.live(), topic.into(), options, body, properties)
                .await?;
            confirm.await
        });
        match published.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(topic, %error, "lost a live message"),
            Err(_) => tracing::debug!(topic, "lost a live message: the broker does not accept it"),
        }
    }
}

impl Sent {
    /// Waits until the broker has confirmed that the queue holds the message.
    pub(in crate::broker) async fn confirmed(self) -> Result<(), Error> {
        let Self {
            shared,
            session,
            channel,
            post,
            confirm,
        } = self;
        let within = shared.options.confirm_within;
        let queue = || shared.names.queue(&post).to_string();
        let confirmed = tokio::select! {
            biased;
            () = shared.closed() => return Err(Error::Closed),
            confirmed = tokio::time::timeout(within, confirm) => confirmed,
        };
        match confirmed {
            // Only this means that the message is in the queue.
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(_)))) => {
                tracing::debug!(queue = queue(), "the queue is missing; declaring it");
                // The broker is given time to cancel the consumers of a queue that was deleted: it would
                // move those that are left to the new one, and drop what that delivers to them.
                tokio::time::sleep(PAUSE_BEFORE_DECLARING).await;
                shared.declare_on(&session, &post).await?;
                Err(Error::NoQueue { queue: queue() })
            }
            Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => {
                Err(Error::Full { queue: queue() })
            }
            Ok(Err(error)) => Err(shared.refused(&session, &post, error).await),
            Err(_) => Err(unconfirmed_on(&session, &channel, within).await),
        }
    }
}

/// The error of a confirmation that did not come in time.
async fn unconfirmed_on(session: &Session, channel: &Channel, within: Duration) -> Error {
    // The broker may only be slow, so the connection stays; the channel's count of what is to be
    // confirmed is worth no more.
    let mut slot = session.confirmed.lock().await;
    if slot.as_ref() == Some(channel) {
        *slot = None;
    }
    Error::Unconfirmed(within)
}

fn is_forbidden(error: &Error) -> bool {
    match error {
        Error::Refused { source, .. } => soft(source) == Some(AMQPSoftError::ACCESSREFUSED),
        Error::Closed
        | Error::Down { .. }
        | Error::Unconfirmed(_)
        | Error::Full { .. }
        | Error::NoQueue { .. }
        | Error::TooLong { .. }
        | Error::Lost => false,
    }
}

/// The channel of confirmed publications, made anew when the broker has closed it.
async fn confirmed(session: &Session) -> Result<Channel, lapin::Error> {
    let mut slot = session.confirmed.lock().await;
    match &*slot {
        Some(channel) if channel.status().connected() => Ok(channel.clone()),
        _ => {
            let channel = session.connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok(slot.insert(channel).clone())
        }
    }
}

/// The channel of live publications, made anew when the broker has closed it.
async fn unconfirmed(session: &Session) -> Result<Channel, lapin::Error> {
    let mut slot = session.unconfirmed.lock().await;
    match &*slot {
        Some(channel) if channel.status().connected() => Ok(channel.clone()),
        _ => {
            let channel = session.connection.create_channel().await?;
            Ok(slot.insert(channel).clone())
        }
    }
}
