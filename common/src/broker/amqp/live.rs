//! Live subscriptions: an exclusive queue for each, unacknowledged, gone with its connection.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::oneshot;

use super::broker::Shared;
use super::lane::Session;
use crate::broker::live::{LIVE_MAX_MESSAGES, Ring};
use crate::broker::{LiveMessage, LiveStream};

/// How long a new subscription waits to be in force before it goes on trying in the background.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// For a channel with its queue and bindings.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// After a subscription that failed while its connection goes on.
const PAUSE: Duration = Duration::from_millis(200);

/// Subscribes; returns once it is in force, or soon when the broker is not reached.
pub(super) async fn subscribe(shared: Arc<Shared>, topics: &[&str]) -> LiveStream {
    let ring = Arc::new(Ring::default());
    let (unsubscribe, mut unsubscribed) = oneshot::channel::<()>();
    let (in_force, first) = oneshot::channel();
    let task = Task {
        shared,
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        ring: Arc::clone(&ring),
    };
    tokio::spawn(async move {
        tokio::select! {
            // It ends with an error when the stream is dropped, which is what it is for.
            _ = &mut unsubscribed => {}
            () = task.shared.closed() => {}
            () = task.run(in_force) => {}
        }
        task.ring.close();
    });
    // When it takes longer, or the task has ended, the stream says so itself.
    drop(tokio::time::timeout(FIRST_WITHIN, first).await);
    LiveStream::new(ring, Some(unsubscribe))
}

struct Task {
    shared: Arc<Shared>,
    topics: Vec<String>,
    ring: Arc<Ring>,
}

impl Task {
    async fn run(&self, in_force: oneshot::Sender<()>) {
        let mut in_force = Some(in_force);
        loop {
            let session = self.shared.consuming.session().await;
            match tokio::time::timeout(OPEN_WITHIN, self.open(&session)).await {
                Ok(Ok((_channel, consumer))) => {
                    if let Some(in_force) = in_force.take() {
                        // It fails when the subscriber has gone on without waiting, which is its right.
                        in_force.send(()).unwrap_or_default();
                    }
                    tokio::select! {
                        () = self.pump(consumer) => {}
                        () = self.shared.consuming.lost(&session) => {}
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(topics = ?self.topics, %error, "cannot listen; trying again");
                }
                Err(_) => session.give_up(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn open(&self, session: &Session) -> Result<(Channel, lapin::Consumer), lapin::Error> {
        let channel = session.connection.create_channel().await?;
        let name = self.queue_name();
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        let max = i32::try_from(LIVE_MAX_MESSAGES).unwrap_or(i32::MAX);
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(max));
        channel
            .queue_declare(name.as_str().into(), options, arguments)
            .await?;
        for topic in &self.topics {
            channel
                .queue_bind(
                    name.as_str().into(),
                    self.shared.names.live(),
                    topic.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumer = channel
            .basic_consume(name.into(), "".into(), options, FieldTable::default())
            .await?;
        Ok((channel, consumer))
    }

    /// Below the client's name, so that an account can be given its own live queues and no others; and
    /// random, because a half-open connection holds the queue of its time until the broker notices.
    fn queue_name(&self) -> String {
        let random = RandomState::new().build_hasher().finish();
        let live = self.shared.names.live();
        format!("{live}.{}.{random:016x}", self.shared.options.client)
    }

    async fn pump(&self, mut consumer: lapin::Consumer) {
        while let Some(Ok(message)) = consumer.next().await {
            self.ring.push(LiveMessage {
                topic: message.routing_key.to_string(),
                body: message.data.into(),
            });
        }
    }
}
