//! Tests of the way out: order, few messages, repeats.

use std::time::Duration;

use dopq_common::broker::{Deliveries, inproc};
use dopq_common::resources::Capacity;
use dopq_common::wire::{self, ClusterKey, Hello, Sealed};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn report(seq: u64, report: wire::Report) -> Report {
    Report::new(&NumberedReport {
        seq,
        at_ms: 0,
        report,
    })
    .expect("JSON")
}

fn accepted(seq: u64) -> Report {
    let attempt = format!("{seq}.1-{}", "07".repeat(16))
        .parse()
        .expect("attempt");
    report(seq, wire::Report::Accepted { attempt })
}

fn hello(seq: u64) -> Report {
    let hello = Hello {
        session: "s".to_owned(),
        agent: "1".to_owned(),
        engine: "e".to_owned(),
        gpu_mode: "none".to_owned(),
        capacity: Capacity {
            slots_per_gpu: 1,
            ..Capacity::default()
        },
        images: std::collections::BTreeSet::new(),
        closed: None,
        taken: std::collections::BTreeMap::new(),
        egress: String::new(),
        build_egress: String::new(),
        instance: String::new(),
        host: String::new(),
        attempts: Vec::new(),
    };
    report(seq, wire::Report::Hello(Box::new(hello)))
}

fn key() -> ClusterKey {
    ClusterKey::from_secret("s")
}

fn sender(broker: &Broker) -> (Sender, mpsc::Receiver<Input>) {
    let worker: WorkerId = "w".parse().expect("a name");
    let (inputs, received) = mpsc::channel(1024);
    let sender = Sender {
        broker: broker.clone(),
        key: key().worker(&worker),
        worker,
        inputs,
    };
    (sender, received)
}

/// The numbers in the next message.
async fn message(reports: &mut Deliveries) -> Vec<u64> {
    let delivery = tokio::time::timeout(PATIENCE, reports.next()).await;
    let delivery = delivery.expect("in time").expect("open");
    let (_, envelope) = Sealed::open::<ReportEnvelope>(&key(), &delivery.body).expect("sealed");
    delivery.ack().await.expect("acknowledged");
    let reports = envelope.reports.iter();
    let read = reports.map(|r| serde_json::from_str::<NumberedReport>(r.get()).expect("read"));
    read.map(|report| report.seq).collect()
}

async fn confirmed(inputs: &mut mpsc::Receiver<Input>, count: usize) -> Vec<u64> {
    let mut confirmed = Vec::new();
    while confirmed.len() < count {
        let input = tokio::time::timeout(PATIENCE, inputs.recv()).await;
        match input.expect("in time").expect("open") {
            Input::Confirmed(seqs) => confirmed.extend(seqs),
            other => panic!("{other:?}"),
        }
    }
    confirmed
}

#[tokio::test]
async fn all_that_waits_goes_in_order_and_in_full_messages() {
    let broker = Broker::Inproc(inproc::Broker::default());
    let mut reports = broker.consume_reports().await.expect("open");
    let outbox = Outbox::default();
    outbox.push((1..=5000).map(accepted));
    let (sender, mut inputs) = sender(&broker);
    let running = tokio::spawn(outbox.clone().run(sender, CancellationToken::new()));
    let (mut seqs, mut messages) = (Vec::new(), 0);
    while seqs.len() < 5000 {
        seqs.extend(message(&mut reports).await);
        messages += 1;
    }
    assert_eq!(seqs, (1..=5000).collect::<Vec<_>>());
    assert!(messages < 12, "{messages} messages");
    assert_eq!(confirmed(&mut inputs, 5000).await, seqs);
    outbox.drained(PATIENCE).await;
    // What comes later goes at once.
    outbox.push([accepted(5001)]);
    assert_eq!(message(&mut reports).await, [5001]);
    running.abort();
}

#[tokio::test]
async fn nothing_follows_a_hello_in_its_message() {
    let broker = Broker::Inproc(inproc::Broker::default());
    let mut reports = broker.consume_reports().await.expect("open");
    let outbox = Outbox::default();
    outbox.push([accepted(1), hello(2), accepted(3), accepted(4)]);
    let (sender, _inputs) = sender(&broker);
    let running = tokio::spawn(outbox.run(sender, CancellationToken::new()));
    assert_eq!(message(&mut reports).await, [1, 2]);
    assert_eq!(message(&mut reports).await, [3, 4]);
    running.abort();
}

#[tokio::test]
async fn what_is_refused_is_sent_again_and_nothing_overtakes_it() {
    let broker = Broker::Inproc(inproc::Broker::new(inproc::Options {
        queue_max_messages: 1,
        publish_within: Duration::from_millis(20),
        ..inproc::Options::default()
    }));
    // Somebody else's message fills the queue.
    broker
        .publish_report(Bytes::from_static(b"x"))
        .await
        .expect("queued");
    let outbox = Outbox::default();
    outbox.push([accepted(1)]);
    let (sender, mut inputs) = sender(&broker);
    let running = tokio::spawn(outbox.clone().run(sender, CancellationToken::new()));
    tokio::time::sleep(Duration::from_millis(60)).await;
    outbox.push([accepted(2)]);
    assert!(inputs.try_recv().is_err(), "confirmed without being queued");
    let mut reports = broker.consume_reports().await.expect("open");
    let first = reports.next().await.expect("open");
    first.ack().await.expect("acknowledged");
    assert_eq!(message(&mut reports).await, [1]);
    assert_eq!(message(&mut reports).await, [2]);
    assert_eq!(confirmed(&mut inputs, 2).await, [1, 2]);
    running.abort();
}

#[test]
fn after_a_failure_it_and_all_after_it_are_sent_again() {
    let message = |seq, ends_message| Message {
        seqs: vec![seq],
        body: Bytes::new(),
        ends_message,
    };
    let mut window = Window::default();
    for seq in 1..=4 {
        assert!(window.has_room() && window.again().is_none());
        window.messages.push_back(message(seq, seq == 4));
        window.sent += 1;
    }
    assert!(!window.has_room(), "nothing follows a hello");
    assert_eq!(window.confirmed(), [1]);
    // The second one failed; the third may have been taken.
    window.failed();
    for seq in 2..=4 {
        assert!(window.has_room());
        assert_eq!(window.again().expect("again").seqs, [seq]);
        window.sent += 1;
    }
    assert!(!window.has_room() && window.again().is_none());
    for seq in 2..=4 {
        assert_eq!(window.confirmed(), [seq]);
    }
    assert!(window.has_room());
    assert_eq!(window.confirmed(), [] as [u64; 0]);
}

#[test]
fn the_window_is_bounded() {
    let mut window = Window::default();
    while window.has_room() {
        window.messages.push_back(Message {
            seqs: vec![1],
            body: Bytes::new(),
            ends_message: false,
        });
        window.sent += 1;
    }
    assert_eq!(window.sent, IN_FLIGHT_MAX);
}
