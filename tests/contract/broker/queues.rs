//! Orders and reports: durable, in order, at least once.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Delivery, Error, inproc};
use dopq_common::wire::MESSAGE_MAX_BYTES;

use super::{
    Bench, DELIVERY_LIMIT, PREFETCH, body, gpu, next, number, order, orders, reports, take,
};
use crate::soon;

pub(crate) async fn orders_arrive_in_order(bench: Bench) {
    let worker = gpu(1);
    let mut taken = orders(&bench.worker, &worker).await;
    for number in 0..100 {
        order(&bench.master, &worker, number).await;
    }
    let taken = take(&mut taken, 100).await;
    assert_eq!(taken, (0..100).collect::<Vec<_>>());
}

pub(crate) async fn orders_wait_for_their_worker_and_no_other(bench: Bench) {
    // Nobody has declared the second worker's queue: publishing makes it.
    bench
        .master
        .declare_worker(&gpu(1))
        .await
        .expect("declared");
    bench
        .master
        .declare_worker(&gpu(1))
        .await
        .expect("declared again");
    order(&bench.master, &gpu(1), 1).await;
    order(&bench.master, &gpu(2), 2).await;
    let mut second = orders(&bench.worker, &gpu(2)).await;
    let mut first = orders(&bench.worker, &gpu(1)).await;
    assert_eq!(take(&mut first, 1).await, [1]);
    assert_eq!(take(&mut second, 1).await, [2]);
}

pub(crate) async fn a_removed_worker_leaves_no_orders(bench: Bench) {
    order(&bench.master, &gpu(1), 1).await;
    order(&bench.master, &gpu(2), 2).await;
    for time in ["once", "again"] {
        bench.master.remove_worker(&gpu(1)).await.expect(time);
    }
    // One that joins later under the name begins with nothing, and the other has lost nothing.
    order(&bench.master, &gpu(1), 3).await;
    let mut first = orders(&bench.worker, &gpu(1)).await;
    assert_eq!(take(&mut first, 1).await, [3]);
    let mut second = orders(&bench.worker, &gpu(2)).await;
    assert_eq!(take(&mut second, 1).await, [2]);
}

pub(crate) async fn reports_of_all_workers_arrive(bench: Bench) {
    for number in 0..20 {
        let published = bench.worker.publish_report(body(number)).await;
        published.expect("it is confirmed");
    }
    let mut reported = reports(&bench.master).await;
    assert_eq!(take(&mut reported, 20).await, (0..20).collect::<Vec<_>>());
}

pub(crate) async fn reports_handed_over_arrive_in_order(bench: Bench) {
    let mut sent = Vec::new();
    for number in 0..200 {
        let handed_over = bench.worker.send_report(body(number)).await;
        sent.push(handed_over.expect("handed over"));
    }
    // Nobody need ask in the order of sending, or at all.
    for confirmation in sent.into_iter().rev().step_by(2) {
        let confirmed = soon("a confirmation", confirmation.wait()).await;
        confirmed.expect("it is confirmed");
    }
    let mut reported = reports(&bench.master).await;
    assert_eq!(take(&mut reported, 200).await, (0..200).collect::<Vec<_>>());
}

pub(crate) async fn several_are_acknowledged_at_once_and_no_other(bench: Bench) {
    let worker = gpu(1);
    for number in 0..20 {
        order(&bench.master, &worker, number).await;
    }
    let mut taken = orders(&bench.worker, &worker).await;
    let mut out = Vec::new();
    for _ in 0..PREFETCH {
        out.push(next(&mut taken).await);
    }
    // The first three stand together; of the rest every other one is kept back.
    let (mut kept, mut done) = (Vec::new(), Vec::new());
    for delivery in out {
        match number(&delivery) {
            3 | 5 | 7 => kept.push(delivery),
            _ => done.push(delivery),
        }
    }
    done.reverse();
    assert_eq!(Delivery::ack_all(done).await, 0);
    // There is room for as many as were acknowledged, and for no more.
    for expected in 8..13 {
        let delivery = next(&mut taken).await;
        assert_eq!(number(&delivery), expected);
        kept.push(delivery);
    }
    let further = tokio::time::timeout(Duration::from_millis(300), taken.next()).await;
    assert!(further.is_err(), "{further:?} came beyond the bound");
    drop((kept, taken));

    let mut taken = orders(&bench.worker, &worker).await;
    let mut numbers = take(&mut taken, 15).await;
    numbers.sort_unstable();
    let expected: Vec<u32> = [3, 5, 7].into_iter().chain(8..20).collect();
    assert_eq!(numbers, expected);
    let further = tokio::time::timeout(Duration::from_millis(300), taken.next()).await;
    assert!(further.is_err(), "{further:?} was acknowledged");
}

pub(crate) async fn deliveries_of_several_consumers_are_acknowledged_at_once(bench: Bench) {
    for number in 0..10 {
        order(&bench.master, &gpu(1), number).await;
        let published = bench.worker.publish_report(body(number)).await;
        published.expect("it is confirmed");
    }
    let mut ordered = orders(&bench.worker, &gpu(1)).await;
    let mut reported = reports(&bench.master).await;
    let mut out = Vec::new();
    for _ in 0..4 {
        out.push(next(&mut ordered).await);
        out.push(next(&mut reported).await);
    }
    assert_eq!(Delivery::ack_all(out).await, 0);
    assert_eq!(Delivery::ack_all([]).await, 0);
    assert_eq!(take(&mut ordered, 6).await, (4..10).collect::<Vec<_>>());
    assert_eq!(take(&mut reported, 6).await, (4..10).collect::<Vec<_>>());
}

pub(crate) async fn what_was_not_acknowledged_comes_again(bench: Bench) {
    let worker = gpu(1);
    for number in 0..6 {
        order(&bench.master, &worker, number).await;
    }
    let mut taken = orders(&bench.worker, &worker).await;
    let (zero, one, two) = (
        next(&mut taken).await,
        next(&mut taken).await,
        next(&mut taken).await,
    );
    assert_eq!([number(&zero), number(&one), number(&two)], [0, 1, 2]);
    assert!(!zero.redelivered && !one.redelivered);
    one.ack().await.expect("it is acknowledged");
    // The agent dies.
    drop((zero, two, taken));

    let mut taken = orders(&bench.worker, &worker).await;
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut taken).await;
        let (number, again) = (number(&delivery), delivery.redelivered);
        assert!(again || number > 2, "{number} was handed over before");
        numbers.push(number);
        delivery.ack().await.expect("it is acknowledged");
    }
    // What is given back while its consumer goes away may come after what was waiting behind it: only
    // first deliveries keep their order, so receivers take reordering as normal.
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 2, 3, 4, 5]);
}

pub(crate) async fn a_delivery_outlives_its_consumer(bench: Bench) {
    let worker = gpu(1);
    order(&bench.master, &worker, 1).await;
    order(&bench.master, &worker, 2).await;
    let mut taken = orders(&bench.worker, &worker).await;
    let one = next(&mut taken).await;
    drop(taken);
    one.ack().await.expect("it is acknowledged");
    let mut taken = orders(&bench.worker, &worker).await;
    assert_eq!(take(&mut taken, 1).await, [2]);
}

pub(crate) async fn a_rejected_delivery_comes_again_or_is_a_dead_letter(bench: Bench) {
    let worker = gpu(1);
    order(&bench.master, &worker, 7).await;
    let mut taken = orders(&bench.worker, &worker).await;
    let first = next(&mut taken).await;
    first.nack(true).await.expect("it is given back");
    let second = next(&mut taken).await;
    assert!(second.redelivered);
    assert_eq!(number(&second), 7);
    second.nack(false).await.expect("it is rejected");
    assert_eq!(dead(&bench.master, 1).await, [(7, "rejected".to_owned())]);
    // Looking at it left it where it was.
    assert_eq!(dead(&bench.master, 1).await.len(), 1);
}

pub(crate) async fn what_comes_back_too_often_is_a_dead_letter(bench: Bench) {
    let worker = gpu(1);
    order(&bench.master, &worker, 7).await;
    let mut taken = orders(&bench.worker, &worker).await;
    for _ in 0..=DELIVERY_LIMIT {
        let delivery = next(&mut taken).await;
        delivery.nack(true).await.expect("it is given back");
    }
    let letters = dead(&bench.master, 1).await;
    assert_eq!(letters, [(7, "delivery_limit".to_owned())]);
    // Its queue goes on.
    order(&bench.master, &worker, 8).await;
    assert_eq!(take(&mut taken, 1).await, [8]);
}

pub(crate) async fn deliveries_out_are_bounded(bench: Bench) {
    let worker = gpu(1);
    for number in 0..u32::from(PREFETCH) + 2 {
        order(&bench.master, &worker, number).await;
    }
    let mut taken = orders(&bench.worker, &worker).await;
    let mut out = Vec::new();
    for _ in 0..PREFETCH {
        out.push(next(&mut taken).await);
    }
    let further = tokio::time::timeout(Duration::from_millis(300), taken.next()).await;
    assert!(further.is_err(), "{further:?} came beyond the bound");
    let first = out.remove(0);
    first.ack().await.expect("it is acknowledged");
    assert_eq!(number(&next(&mut taken).await), u32::from(PREFETCH));
}

pub(crate) async fn consumers_share_a_queue_without_loss(bench: Bench) {
    let mut first = reports(&bench.master).await;
    let mut second = reports(&bench.worker).await;
    for number in 0..60 {
        let published = bench.worker.publish_report(body(number)).await;
        published.expect("it is confirmed");
    }
    let mut numbers = Vec::new();
    while numbers.len() < 60 {
        let delivery = soon("a delivery", async {
            tokio::select! {
                delivery = first.next() => delivery,
                delivery = second.next() => delivery,
            }
        });
        let delivery = delivery.await.expect("the broker is open");
        numbers.push(number(&delivery));
        delivery.ack().await.expect("it is acknowledged");
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
}

pub(crate) async fn publishers_at_once_lose_nothing(bench: Bench) {
    let worker = gpu(1);
    let publications = (0..200).map(|number| order(&bench.master, &worker, number));
    let consumed = async {
        let mut taken = orders(&bench.worker, &worker).await;
        let mut numbers = take(&mut taken, 200).await;
        numbers.sort_unstable();
        numbers
    };
    let published = futures::future::join_all(publications);
    let (_, numbers) = futures::future::join(published, consumed).await;
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

pub(crate) async fn the_longest_message_passes_and_a_longer_one_does_not(bench: Bench) {
    let longest = Bytes::from(vec![b'x'; MESSAGE_MAX_BYTES]);
    let longer = Bytes::from(vec![b'x'; MESSAGE_MAX_BYTES + 1]);
    let published = bench.worker.publish_report(longest.clone()).await;
    published.expect("it is confirmed");
    let refused = bench.worker.publish_report(longer).await;
    assert!(matches!(refused, Err(Error::TooLong { bytes }) if bytes == MESSAGE_MAX_BYTES + 1));
    let mut reported = reports(&bench.master).await;
    let delivery = next(&mut reported).await;
    assert_eq!(delivery.body, longest);
    delivery.ack().await.expect("it is acknowledged");
}

pub(crate) async fn closing_ends_everything(bench: Bench) {
    let worker = gpu(1);
    order(&bench.worker, &worker, 1).await;
    let mut taken = orders(&bench.worker, &worker).await;
    let mut live = bench.worker.subscribe_live(&["#"]).await.expect("open");
    bench.worker.close().await;
    assert!(soon("the consumer's end", taken.next()).await.is_none());
    assert!(soon("the subscription's end", live.next()).await.is_none());
    let published = bench.worker.publish_order(&worker, body(2)).await;
    assert!(matches!(published, Err(Error::Closed)), "{published:?}");
    let consumed = bench.worker.consume_orders(&worker).await;
    assert!(matches!(consumed, Err(Error::Closed)), "{consumed:?}");
    let live = bench.worker.publish_live("a", body(3)).await;
    assert!(matches!(live, Err(Error::Closed)), "{live:?}");
}

/// Of the adapter in process only: RabbitMQ's bound is too far away to be reached here.
pub(crate) async fn a_full_queue_makes_its_publishers_wait() {
    let broker = Broker::Inproc(inproc::Broker::new(inproc::Options {
        queue_max_messages: 2,
        publish_within: Duration::from_millis(50),
        ..inproc::Options::default()
    }));
    let worker = gpu(1);
    order(&broker, &worker, 0).await;
    order(&broker, &worker, 1).await;
    let full = broker.publish_order(&worker, body(2)).await;
    assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    let mut taken = orders(&broker, &worker).await;
    assert_eq!(take(&mut taken, 1).await, [0]);
    order(&broker, &worker, 3).await;
    assert_eq!(take(&mut taken, 2).await, [1, 3]);
}

/// The dead letters once there are `count` of them, each with why it died.
async fn dead(broker: &Broker, count: usize) -> Vec<(u32, String)> {
    let letters = soon("a dead letter", async {
        loop {
            let letters = broker.dead_letters().await.expect("they are read");
            if letters.len() >= count {
                return letters;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let letters = letters.await.into_iter().map(|letter| {
        assert!(letter.queue.ends_with("orders.gpu-01"), "{}", letter.queue);
        let text = String::from_utf8(letter.body.to_vec()).expect("a number");
        (text.parse().expect("a number"), letter.reason)
    });
    letters.collect()
}
