//! Consuming: a task for each consumer that finds its way back to its queue after whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::Acker;
use lapin::Channel;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::{DeliveryTag, FieldTable};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::broker::Shared;
use super::lane::Session;
use super::topology::{Declarer, Post};
use crate::broker::port::Settle;
use crate::broker::{Delivery, Error};

/// For a channel with its queue and consumer.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// For what the broker only has to take note of.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

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
        // As many as can be out, so that those on their way do not wait for each other.
        let (sender, deliveries) = mpsc::channel(shared.options.prefetch.into());
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
        let out = Arc::new(Out {
            unsettled: Mutex::default(),
            _channel: channel.clone(),
        });
        let mut waiting = None;
        loop {
            tokio::select! {
                () = self.sender.closed() => break,
                Some((tag, acker)) = given_back.recv() => {
                    reject(&acker).await;
                    out.settled(tag);
                }
                permit = self.sender.reserve(), if waiting.is_some() => {
                    if let (Ok(permit), Some(delivery)) = (permit, waiting.take()) {
                        permit.send(delivery);
                    }
                }
                received = consumer.next(), if waiting.is_none() => match received {
                    Some(Ok(message)) => {
                        out.unsettled.lock().insert(message.delivery_tag);
                        let claim = Claim {
                            tag: message.delivery_tag,
                            acker: Some(message.acker),
                            give_back: give_back.clone(),
                            out: Arc::clone(&out),
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
}

/// The deliveries of one channel that are not settled. A delivery leaves the set only after the broker
/// was told, so that whoever acknowledges "all up to this one" sees every delivery that this would take.
#[derive(Debug)]
struct Out {
    unsettled: Mutex<BTreeSet<DeliveryTag>>,
    /// A channel closes with its last handle, and what is unsettled then comes again.
    _channel: Channel,
}

impl Out {
    fn settled(&self, tag: DeliveryTag) {
        self.unsettled.lock().remove(&tag);
    }

    /// The last of the `done` deliveries before which none is out that is not done.
    fn last_of_all_done<T>(&self, done: &BTreeMap<DeliveryTag, T>) -> Option<DeliveryTag> {
        let unsettled = self.unsettled.lock();
        let first_open = unsettled.iter().find(|tag| !done.contains_key(tag));
        match first_open {
            None => done.keys().next_back().copied(),
            Some(open) => done.range(..open).next_back().map(|(tag, _)| *tag),
        }
    }
}

/// The right to settle one delivery. Dropping it gives the message back.
#[derive(Debug)]
pub(in crate::broker) struct Claim {
    tag: DeliveryTag,
    acker: Option<Acker>,
    /// Those who give back one after the other do so in that order. Gone with the consumer.
    give_back: mpsc::Sender<(DeliveryTag, Acker)>,
    out: Arc<Out>,
}

impl Claim {
    pub(in crate::broker) async fn ack(self) -> Result<(), Error> {
        self.settle(async |acker| acker.ack(BasicAckOptions::default()).await)
            .await
    }

    pub(in crate::broker) async fn nack(self, requeue: bool) -> Result<(), Error> {
        self.settle(async |acker| acker.reject(BasicRejectOptions { requeue }).await)
            .await
    }

    async fn settle(
        mut self,
        settle: impl AsyncFnOnce(&Acker) -> Result<bool, lapin::Error>,
    ) -> Result<(), Error> {
        let Some(acker) = self.acker.take() else {
            return Err(Error::Lost);
        };
        let settled = tokio::time::timeout(SETTLE_WITHIN, settle(&acker)).await;
        self.out.settled(self.tag);
        match settled {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(Error::Lost),
        }
    }

    /// Acknowledges all of them, those of one channel that stand together by one message. Returns how
    /// many were too late.
    pub(in crate::broker) async fn ack_all(claims: Vec<Self>) -> usize {
        let mut channels: Vec<BTreeMap<DeliveryTag, Self>> = Vec::new();
        for claim in claims {
            let same = |tags: &&mut BTreeMap<DeliveryTag, Self>| {
                tags.values()
                    .next()
                    .is_some_and(|other| Arc::ptr_eq(&other.out, &claim.out))
            };
            match channels.iter_mut().find(same) {
                Some(tags) => drop(tags.insert(claim.tag, claim)),
                None => channels.push(BTreeMap::from([(claim.tag, claim)])),
            }
        }
        let mut late = 0;
        for mut tags in channels {
            let out = tags.values().next().map(|claim| Arc::clone(&claim.out));
            if let Some(last) = out.and_then(|out| out.last_of_all_done(&tags)) {
                let rest = tags.split_off(&(last + 1));
                late += Self::ack_up_to(tags, last).await;
                tags = rest;
            }
            for claim in tags.into_values() {
                late += usize::from(claim.ack().await.is_err());
            }
        }
        late
    }

    /// Acknowledges `claims`, of which `last` is the last, by one message.
    async fn ack_up_to(mut claims: BTreeMap<DeliveryTag, Self>, last: DeliveryTag) -> usize {
        let count = claims.len();
        let Some(claim) = claims.remove(&last) else {
            return 0;
        };
        let options = BasicAckOptions { multiple: true };
        let acked = claim.settle(async |acker| acker.ack(options).await).await;
        for (tag, mut claim) in claims {
            // What could not be acknowledged comes again when its channel closes.
            claim.acker = None;
            claim.out.settled(tag);
        }
        match acked {
            Ok(()) => 0,
            Err(_) => count,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            // It fails when the consumer is gone; the message then comes again when the channel closes.
            drop(self.give_back.try_send((self.tag, acker)));
        }
    }
}

/// Gives a message back. RabbitMQ counts a rejected one towards the delivery limit; from 4.3 on it does not count a
/// `basic.nack`.
async fn reject(acker: &Acker) {
    let options = BasicRejectOptions { requeue: true };
    // When it fails the channel is gone, which gives the message back as well.
    drop(tokio::time::timeout(SETTLE_WITHIN, acker.reject(options)).await);
}
