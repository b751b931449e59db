//! Consuming: a task for each consumer that finds its way back to its queue after whatever happens.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::Acker;
use lapin::Channel;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::broker::Shared;
use super::lane::Session;
use super::topology::{Declarer, Post};
use crate::broker::port::Settle;
use crate::broker::{Delivery, Error};

/// For a channel with its queue and consumer.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// For what the broker only has to take note of.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// How often a consumer that gets nothing asks whether there is anything.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// After a consumer that failed while its connection goes on.
const PAUSE: Duration = Duration::from_millis(200);

/// One consumer of one queue.
#[derive(Debug)]
pub(in crate::broker) struct Consumer {
    shared: Arc<Shared>,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Consumer {
    pub(super) fn start(shared: Arc<Shared>, post: Post) -> Self {
        // One at a time: how many are out is bounded by the prefetch count already.
        let (sender, deliveries) = mpsc::channel(1);
        let task = Task {
            shared: Arc::clone(&shared),
            post,
            sender,
        };
        tokio::spawn(task.run());
        Self { shared, deliveries }
    }

    pub(in crate::broker) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            // Closing wins, so that nothing is handed out after it.
            biased;
            () = self.shared.closed() => None,
            delivery = self.deliveries.recv() => delivery,
        }
    }
}

struct Task {
    shared: Arc<Shared>,
    post: Post,
    sender: mpsc::Sender<Delivery>,
}

/// Why a consumer on one channel ended.
enum End {
    /// Nobody wants its deliveries any more.
    Dropped,
    /// Its channel failed, or the broker cancelled it.
    Failed,
}

impl Task {
    async fn run(self) {
        let work = async {
            loop {
                let session = self.shared.consuming.session().await;
                let opened = tokio::time::timeout(OPEN_WITHIN, self.open(&session));
                match opened.await {
                    Ok(Ok((channel, consumer))) => {
                        let end = tokio::select! {
                            end = self.pump(channel, consumer) => end,
                            () = self.shared.consuming.lost(&session) => End::Failed,
                        };
                        match end {
                            End::Dropped => return,
                            End::Failed => {}
                        }
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(post = ?self.post, %error, "cannot consume; trying again");
                    }
                    Err(_) => session.give_up(),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shared.closed() => {}
        }
    }

    async fn open(&self, session: &Session) -> Result<(Channel, lapin::Consumer), lapin::Error> {
        let shared = &self.shared;
        let mut declarer = Declarer::new(&session.connection, &shared.names, &shared.options);
        declarer.post(&self.post).await?;
        let channel = session.connection.create_channel().await?;
        let prefetch = shared.options.prefetch;
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await?;
        let consumer = channel
            .basic_consume(
                shared.names.queue(&self.post),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok((channel, consumer))
    }

    /// Hands deliveries over until something ends.
    async fn pump(&self, channel: Channel, mut consumer: lapin::Consumer) -> End {
        // As many as can be out, so that giving back never waits.
        let (give_back, mut given_back) = mpsc::channel(self.shared.options.prefetch.into());
        let mut waiting = None;
        let out = Arc::new(());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks_in_vain = 0;
        loop {
            tokio::select! {
                () = self.sender.closed() => break,
                _ = look.tick() => {
                    // Deleted and declared again at once, a queue may keep a consumer that it never
                    // serves: messages are there, and none comes to a consumer that could take more.
                    let is_full = Arc::strong_count(&out) > self.shared.options.prefetch.into();
                    let forgotten = waiting.is_none() && !is_full && self.is_left_over(&channel).await;
                    looks_in_vain = if forgotten { looks_in_vain + 1 } else { 0 };
                    if looks_in_vain > 1 {
                        tracing::warn!(post = ?self.post, "the broker has forgotten the consumer");
                        return End::Failed;
                    }
                }
                Some(acker) = given_back.recv() => nack(&acker).await,
                permit = self.sender.reserve(), if waiting.is_some() => {
                    if let (Ok(permit), Some(delivery)) = (permit, waiting.take()) {
                        permit.send(delivery);
                    }
                }
                received = consumer.next(), if waiting.is_none() => match received {
                    Some(Ok(message)) => {
                        looks_in_vain = 0;
                        let claim = Claim {
                            acker: Some(message.acker),
                            give_back: give_back.clone(),
                            _out: Arc::clone(&out),
                            _channel: channel.clone(),
                        };
                        let (body, settle) = (message.data.into(), Settle::Amqp(claim));
                        waiting = Some(Delivery::new(body, message.redelivered, settle));
                    }
                    Some(Err(error)) => {
                        tracing::warn!(post = ?self.post, %error, "the consumer's channel failed");
                        return End::Failed;
                    }
                    None => {
                        tracing::warn!(post = ?self.post, "the broker cancelled the consumer");
                        return End::Failed;
                    }
                },
            }
        }
        // What is out can still be settled. With the last of it the channel closes, and what was not
        // settled comes again all at once, which keeps its order.
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        drop(tokio::time::timeout(SETTLE_WITHIN, cancel).await);
        End::Dropped
    }

    /// Whether messages wait in the queue, or nobody is said to consume it.
    async fn is_left_over(&self, channel: &Channel) -> bool {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self.shared.names.queue(&self.post);
        let declared = channel.queue_declare(queue, passive, FieldTable::default());
        // A failure closes the channel, which is seen where its deliveries are.
        match tokio::time::timeout(SETTLE_WITHIN, declared).await {
            Ok(Ok(queue)) => queue.message_count() > 0 || queue.consumer_count() == 0,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// The right to settle one delivery. Dropping it gives the message back.
#[derive(Debug)]
pub(in crate::broker) struct Claim {
    acker: Option<Acker>,
    /// Those who give back one after the other do so in that order. Gone with the consumer.
    give_back: mpsc::Sender<Acker>,
    /// Counts those that are out.
    _out: Arc<()>,
    /// A channel closes with its last handle, and what is unsettled then comes again.
    _channel: Channel,
}

impl Claim {
    pub(in crate::broker) async fn ack(mut self) -> Result<(), Error> {
        let Some(acker) = self.acker.take() else {
            return Err(Error::Lost);
        };
        let acked = acker.ack(BasicAckOptions::default());
        settled(tokio::time::timeout(SETTLE_WITHIN, acked).await)
    }

    pub(in crate::broker) async fn nack(mut self, requeue: bool) -> Result<(), Error> {
        let Some(acker) = self.acker.take() else {
            return Err(Error::Lost);
        };
        let options = BasicNackOptions {
            multiple: false,
            requeue,
        };
        settled(tokio::time::timeout(SETTLE_WITHIN, acker.nack(options)).await)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            // It fails when the consumer is gone; the message then comes again when the channel closes.
            drop(self.give_back.try_send(acker));
        }
    }
}

async fn nack(acker: &Acker) {
    let options = BasicNackOptions {
        multiple: false,
        requeue: true,
    };
    // When it fails the channel is gone, which gives the message back as well.
    drop(tokio::time::timeout(SETTLE_WITHIN, acker.nack(options)).await);
}

fn settled(
    result: Result<Result<bool, lapin::Error>, tokio::time::error::Elapsed>,
) -> Result<(), Error> {
    match result {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(_) => Err(Error::Lost),
    }
}
