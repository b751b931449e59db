//! The broker's contract.

mod accounts;
mod faults;
mod live;
mod queues;

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Deliveries, Delivery, Link, amqp, inproc};
use dopq_common::id::WorkerId;
use dopq_tests::process::free_port;
use dopq_tests::services::{Certificates, RabbitMq};

use crate::{runtime, soon};

/// How often a message may come back in these tests.
const DELIVERY_LIMIT: u32 = 2;

/// How many deliveries may be out unsettled in these tests.
const PREFETCH: u16 = 8;

/// An empty broker, as two programs see it.
pub(crate) struct Bench {
    pub(crate) master: Broker,
    pub(crate) worker: Broker,
}

type Case = fn(Bench) -> Pin<Box<dyn Future<Output = ()>>>;

/// Names and bodies of the cases.
macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        &[$((stringify!($case), |bench| Box::pin($module::$case(bench)))),*]
    };
}

const SUITE: &[(&str, Case)] = cases![
    queues::orders_arrive_in_order,
    queues::orders_wait_for_their_worker_and_no_other,
    queues::reports_of_all_workers_arrive,
    queues::reports_handed_over_arrive_in_order,
    queues::several_are_acknowledged_at_once_and_no_other,
    queues::deliveries_of_several_consumers_are_acknowledged_at_once,
    queues::what_was_not_acknowledged_comes_again,
    queues::a_delivery_outlives_its_consumer,
    queues::a_rejected_delivery_comes_again_or_is_a_dead_letter,
    queues::what_comes_back_too_often_is_a_dead_letter,
    queues::deliveries_out_are_bounded,
    queues::consumers_share_a_queue_without_loss,
    queues::publishers_at_once_lose_nothing,
    queues::the_longest_message_passes_and_a_longer_one_does_not,
    queues::a_removed_worker_leaves_no_orders,
    queues::closing_ends_everything,
    live::topics_are_chosen_by_pattern,
    live::a_dropped_subscription_gets_nothing,
    live::a_slow_subscriber_loses_the_oldest,
];

#[test]
fn in_process() {
    runtime().block_on(async {
        for (name, case) in SUITE {
            eprintln!("broker in process: {name}");
            let broker = Broker::Inproc(inproc::Broker::new(inproc::Options {
                delivery_limit: DELIVERY_LIMIT,
                prefetch: PREFETCH.into(),
                publish_within: Duration::from_secs(10),
                ..inproc::Options::default()
            }));
            case(Bench {
                master: broker.clone(),
                worker: broker,
            })
            .await;
        }
        eprintln!("broker in process: a full queue makes its publishers wait");
        queues::a_full_queue_makes_its_publishers_wait().await;
    });
}

#[test]
fn rabbitmq() {
    let certificates = Certificates::make();
    let (tls_port, management_port) = (free_port(), free_port());
    let mut server = RabbitMq::with_settings(&format!(
        "management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management_port}\n\
         listeners.ssl.1 = 127.0.0.1:{tls_port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n",
        certificates.ca().display(),
        certificates.server().display(),
        certificates.key().display(),
    ));
    let runtime = runtime();
    runtime.block_on(async {
        for (name, case) in SUITE {
            eprintln!("broker over RabbitMQ: {name}");
            case(connect(&server).await).await;
        }
    });
    eprintln!("broker over RabbitMQ: only a known certificate is trusted");
    faults::only_a_known_certificate_is_trusted(&runtime, &server, tls_port, &certificates);
    eprintln!("broker over RabbitMQ: a master makes and removes accounts");
    accounts::a_master_makes_and_removes_accounts(&runtime, &server, management_port);
    faults::run(&runtime, &mut server);
}

/// Two programs on names of their own, so that no case sees another's messages.
pub(crate) async fn connect(server: &RabbitMq) -> Bench {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Bench {
        master: open(options(server, &prefix, "master")).await,
        worker: open(options(server, &prefix, "gpu-01")).await,
    }
}

pub(crate) fn options(server: &RabbitMq, prefix: &str, client: &str) -> amqp::Options {
    amqp::Options {
        prefix: prefix.to_owned(),
        delivery_limit: DELIVERY_LIMIT,
        prefetch: PREFETCH,
        publish_within: Duration::from_secs(50),
        ..amqp::Options::new(server.url(), "lab", client)
    }
}

/// Opens a broker and waits for its link.
pub(crate) async fn open(options: amqp::Options) -> Broker {
    let broker = Broker::Amqp(amqp::Broker::open(options).expect("acceptable options"));
    link_is(&broker, "up", |link| *link == Link::Up).await;
    broker
}

pub(crate) async fn link_is(broker: &Broker, what: &str, is: impl FnMut(&Link) -> bool) {
    let mut link = broker.link();
    let reached = soon(&format!("the link to be {what}"), link.wait_for(is)).await;
    drop(reached.expect("the broker is open"));
}

pub(crate) fn gpu(number: u32) -> WorkerId {
    format!("gpu-{number:02}").parse().expect("a name")
}

pub(crate) fn body(number: u32) -> Bytes {
    Bytes::from(number.to_string())
}

pub(crate) fn number(delivery: &Delivery) -> u32 {
    let text = std::str::from_utf8(&delivery.body).expect("a number");
    text.parse().expect("a number")
}

pub(crate) async fn next(deliveries: &mut Deliveries) -> Delivery {
    let delivery = soon("a delivery", deliveries.next()).await;
    delivery.expect("the broker is open")
}

/// Takes and acknowledges `count` deliveries; returns their numbers.
pub(crate) async fn take(deliveries: &mut Deliveries, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let delivery = next(deliveries).await;
        numbers.push(number(&delivery));
        delivery.ack().await.expect("it is acknowledged");
    }
    numbers
}

pub(crate) async fn order(broker: &Broker, worker: &WorkerId, number: u32) {
    let published = broker.publish_order(worker, body(number)).await;
    published.expect("it is confirmed");
}

pub(crate) async fn orders(broker: &Broker, worker: &WorkerId) -> Deliveries {
    broker.consume_orders(worker).await.expect("it is open")
}

pub(crate) async fn reports(broker: &Broker) -> Deliveries {
    broker.consume_reports().await.expect("it is open")
}
