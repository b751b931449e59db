//! Consuming: a task for each consumer that finds its way back to its queue after whatever happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lapin::Acker;
use lapin::Channel;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
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
        loop {
            tokio::select! {
                () = self.sender.closed() => break,
                received = consumer.next() => match received {
                    Some(Ok(message)) => {
                        let claim = Claim {
                            acker: Some(message.acker),
                            _channel: channel.clone(),
                        };
                        let body = Bytes::from(message.data);
                        let settle = Settle::Amqp(claim);
                        let delivery = Delivery::new(body, message.redelivered, settle);
                        // Nobody takes it: dropping it gives it back.
                        drop(self.sender.send(delivery).await);
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
        // The channel lives on until what was handed over is settled, so what was not must be given back.
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        drop(tokio::time::timeout(SETTLE_WITHIN, cancel).await);
        while let Some(Some(Ok(message))) = consumer.next().now_or_never() {
            give_back(&message.acker).await;
        }
        End::Dropped
    }
}

/// The right to settle one delivery. Dropping it gives the message back.
#[derive(Debug)]
pub(in crate::broker) struct Claim {
    acker: Option<Acker>,
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
        let Some(acker) = self.acker.take() else {
            return;
        };
        // Without a runtime the process is ending, and the message comes again when its connection does.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let channel = self._channel.clone();
            runtime.spawn(async move {
                give_back(&acker).await;
                drop(channel);
            });
        }
    }
}

async fn give_back(acker: &Acker) {
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
