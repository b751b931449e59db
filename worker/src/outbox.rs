//! Sends reports in their order, many in one message, each again until the broker has confirmed it.
//!
//! The reports lie in the records; what is here is only the way out. A message takes all that waits, which is
//! what one commit made, or more while [`IN_FLIGHT_MAX`] messages are on their way. After a failure everything
//! from the failed message on is sent again, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Error};
use dopq_common::id::WorkerId;
use dopq_common::wire::{NumberedReport, Packer, ReportEnvelope, WIRE_VERSION, WorkerKey};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use crate::retry::{self, Pauses};

/// Messages that are on their way at a time.
const IN_FLIGHT_MAX: usize = 8;

/// A report as it is stored and sent.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) seq: u64,
    json: Box<RawValue>,
    /// Whether nothing may be sent after it until it is confirmed.
    ends_message: bool,
}

impl Report {
    /// Writes a report.
    pub(crate) fn new(report: &NumberedReport) -> Result<Self, serde_json::Error> {
        Ok(Self {
            seq: report.seq,
            json: to_raw_value(report)?,
            ends_message: report.report.is_about_the_worker(),
        })
    }

    /// Reads one that was stored.
    pub(crate) fn stored(seq: u64, json: &[u8]) -> Result<Self, serde_json::Error> {
        let report: NumberedReport = serde_json::from_slice(json)?;
        Ok(Self {
            seq,
            json: serde_json::from_slice(json)?,
            ends_message: report.report.is_about_the_worker(),
        })
    }

    /// As it is stored.
    pub(crate) fn json(&self) -> &str {
        self.json.get()
    }

    fn bytes(&self) -> usize {
        Packer::sealed(self.json())
    }
}

/// Reports on their way. The queue has no bound of its own: what is in it is durable already, and only
/// orders make reports, which do not come while the broker takes none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    came: Notify,
    left: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Report>,
    /// Reports that are waiting or not confirmed.
    open: usize,
}

impl Queue {
    /// The reports of the next message.
    fn take(&mut self) -> Vec<Report> {
        let (mut packer, mut taken) = (Packer::default(), Vec::new());
        while let Some(report) = self.waiting.pop_front() {
            if !packer.take(report.bytes()) {
                self.waiting.push_front(report);
                break;
            }
            let ends_message = report.ends_message;
            taken.push(report);
            if ends_message {
                break;
            }
        }
        taken
    }
}

/// Messages that are not confirmed, in their order. The first `sent` are on their way.
#[derive(Debug, Default)]
struct Window {
    messages: VecDeque<Message>,
    sent: usize,
}

#[derive(Debug)]
struct Message {
    seqs: Vec<u64>,
    body: Bytes,
    ends_message: bool,
}

impl Window {
    /// Whether another message may be on its way.
    fn has_room(&self) -> bool {
        let last = self.sent.checked_sub(1).and_then(|i| self.messages.get(i));
        self.sent < IN_FLIGHT_MAX && last.is_none_or(|last| !last.ends_message)
    }

    /// The next message that must be sent again.
    fn again(&self) -> Option<&Message> {
        self.messages.get(self.sent)
    }

    /// The first one is confirmed; returns the numbers of its reports.
    fn confirmed(&mut self) -> Vec<u64> {
        self.sent = self.sent.saturating_sub(1);
        let first = self.messages.pop_front();
        first.map(|message| message.seqs).unwrap_or_default()
    }

    /// The first one is not confirmed: it and all after it are to be sent again.
    const fn failed(&mut self) {
        self.sent = 0;
    }
}

/// Who sends, and whom it tells.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) broker: Broker,
    pub(crate) worker: WorkerId,
    pub(crate) key: WorkerKey,
    pub(crate) inputs: mpsc::Sender<Input>,
}

/// The driver is gone.
struct Gone;

impl Outbox {
    /// Queues committed reports.
    pub(crate) fn push(&self, reports: impl IntoIterator<Item = Report>) {
        let mut queue = self.0.queue.lock();
        for report in reports {
            queue.open += 1;
            queue.waiting.push_back(report);
        }
        drop(queue);
        self.0.came.notify_one();
    }

    /// Sends until `shutdown`, telling the driver what was confirmed.
    pub(crate) async fn run(self, sender: Sender, shutdown: CancellationToken) {
        shutdown
            .run_until_cancelled(self.send_all(sender))
            .await
            .unwrap_or_default();
    }

    async fn send_all(&self, sender: Sender) {
        let mut window = Window::default();
        let mut pauses = Pauses::new(retry::FINISH);
        loop {
            match self.send(&sender, &mut window, &mut pauses).await {
                Ok(Gone) => return,
                Err(error) => {
                    window.failed();
                    let first = window.messages.front();
                    let seq = first.and_then(|message| message.seqs.first().copied());
                    tracing::warn!(report.seq = seq, error = %error, "the broker did not accept reports; sending them again");
                }
            }
            pauses.wait().await;
        }
    }

    /// Sends until a message fails.
    async fn send(
        &self,
        sender: &Sender,
        window: &mut Window,
        pauses: &mut Pauses,
    ) -> Result<Gone, Error> {
        // They are confirmed in any order, and come out of here in the order of sending.
        let mut confirmations = FuturesOrdered::new();
        loop {
            while window.has_room() {
                if window.again().is_none() {
                    let reports = self.0.queue.lock().take();
                    let Some(message) = sender.message(reports) else {
                        break;
                    };
                    window.messages.push_back(message);
                }
                if let Some(message) = window.again() {
                    let handed_over = sender.broker.send_report(message.body.clone());
                    confirmations.push_back(handed_over.await?.wait());
                    window.sent += 1;
                }
            }
            tokio::select! {
                Some(confirmed) = confirmations.next() => {
                    confirmed?;
                    *pauses = Pauses::new(retry::FINISH);
                    let seqs = window.confirmed();
                    self.0.queue.lock().open -= seqs.len();
                    self.0.left.notify_waiters();
                    if sender.inputs.send(Input::Confirmed(seqs)).await.is_err() {
                        return Ok(Gone);
                    }
                }
                () = self.0.came.notified() => {}
            }
        }
    }

    /// Waits until everything queued so far has gone out, for `longest` at most.
    pub(crate) async fn drained(&self, longest: Duration) {
        let empty = async {
            loop {
                let left = self.0.left.notified();
                if self.0.queue.lock().open == 0 {
                    return;
                }
                left.await;
            }
        };
        // Whatever stays is sent after the next start.
        tokio::time::timeout(longest, empty)
            .await
            .unwrap_or_default();
    }
}

impl Sender {
    /// Seals `reports` as one message; `None` when there are none.
    fn message(&self, reports: Vec<Report>) -> Option<Message> {
        let ends_message = reports.last()?.ends_message;
        let (seqs, reports) = reports.into_iter().map(|r| (r.seq, r.json)).unzip();
        let envelope = ReportEnvelope {
            version: WIRE_VERSION,
            worker: self.worker.clone(),
            reports,
        };
        match self.key.seal(&self.worker, &envelope) {
            Ok(sealed) => Some(Message {
                seqs,
                body: sealed.into(),
                ends_message,
            }),
            Err(error) => {
                tracing::error!(%error, "failed to encode reports");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
