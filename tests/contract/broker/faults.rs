//! What only a server can suffer: cut links, deleted queues, alarms, death, frost, loss of everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dopq_common::broker::{Broker, Error, Link, amqp};
use dopq_tests::services::{Certificates, RabbitMq};
use tokio::runtime::Runtime;

use super::accounts::{a_workers_account_is_enough, the_account_of_the_compose_file_is_enough};
use super::{
    Bench, body, connect, gpu, link_is, next, number, open, options, order, orders, reports, take,
};
use crate::soon;

/// Every fault, the gentlest first.
pub(crate) fn run(runtime: &Runtime, server: &mut RabbitMq) {
    for (name, fault) in FAULTS {
        eprintln!("broker over RabbitMQ: {name}");
        fault(runtime, server);
    }
}

type Fault = fn(&Runtime, &mut RabbitMq);

const FAULTS: &[(&str, Fault)] = &[
    ("a worker's account is enough", a_workers_account_is_enough),
    (
        "the account of the compose file is enough",
        the_account_of_the_compose_file_is_enough,
    ),
    ("cut links heal", cut_links_heal),
    ("a deleted queue is made anew", a_deleted_queue_is_made_anew),
    (
        "a full queue makes its publishers wait",
        a_full_queue_makes_its_publishers_wait,
    ),
    (
        "reports in flight are confirmed each by itself",
        reports_in_flight_are_confirmed_each_by_itself,
    ),
    (
        "reports in flight outlive cut links in their order",
        reports_in_flight_outlive_cut_links_in_their_order,
    ),
    (
        "clusters in one vhost see nothing of each other",
        clusters_in_one_vhost_see_nothing_of_each_other,
    ),
    (
        "an alarm stops publications only",
        an_alarm_stops_publications_only,
    ),
    (
        "a killed server has lost nothing",
        a_killed_server_has_lost_nothing,
    ),
    ("a frozen server is noticed", a_frozen_server_is_noticed),
    (
        "a wiped server is furnished again",
        a_wiped_server_is_furnished_again,
    ),
];

pub(crate) fn only_a_known_certificate_is_trusted(
    runtime: &Runtime,
    server: &RabbitMq,
    port: u16,
    certificates: &Certificates,
) {
    runtime.block_on(async {
        let options = |host: &str, ca_pem: Option<String>| {
            let plain = format!("@127.0.0.1:{}/", server.port());
            let mut options = options(server, "tls", "gpu-01");
            let url = server.url().replace("amqp://", "amqps://");
            let url = url.replace(&plain, &format!("@{host}:{port}/"));
            options.url = url.into();
            options.ca_pem = ca_pem;
            options
        };
        let ca_pem = certificates.ca_pem();
        let broker = open(options("127.0.0.1", Some(ca_pem.clone()))).await;
        order(&broker, &gpu(1), 1).await;
        for (what, refused) in [
            ("an unknown authority", options("127.0.0.1", None)),
            ("another's name", options("localhost", Some(ca_pem))),
        ] {
            let broker = Broker::Amqp(amqp::Broker::open(refused).expect("acceptable"));
            let told = |link: &Link| match link {
                Link::Down { why, .. } => why.to_lowercase().contains("certificate"),
                Link::Up | Link::Blocked => false,
            };
            link_is(&broker, &format!("refused for {what}"), told).await;
            assert_ne!(*broker.link().borrow(), Link::Up);
        }
    });
}

fn cut_links_heal(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let bench = connect(server).await;
        let worker = gpu(1);
        let mut taken = orders(&bench.worker, &worker).await;
        order(&bench.master, &worker, 1).await;
        order(&bench.master, &worker, 2).await;
        let one = next(&mut taken).await;
        let mut live = bench.worker.subscribe_live(&["a"]).await.expect("open");

        let mut link = bench.worker.link();
        link.mark_unchanged();
        server.ctl(&["close_all_connections", "--global", "a test cuts the links"]);
        soon("the cut to be noticed", link.changed())
            .await
            .expect("open");
        link_is(&bench.worker, "up again", |link| *link == Link::Up).await;
        let late = one.ack().await;
        assert!(matches!(late, Err(Error::Lost)), "{late:?}");
        order(&bench.master, &worker, 3).await;
        // What was out or on its way comes again, before what came later.
        let mut numbers = Vec::new();
        while numbers.last() != Some(&3) {
            let delivery = next(&mut taken).await;
            numbers.push(number(&delivery));
            // A delivery from before the cut may still have been waiting to be taken.
            drop(delivery.ack().await);
        }
        numbers.dedup();
        assert!(
            numbers == [1, 2, 3] || numbers == [2, 1, 2, 3],
            "{numbers:?}"
        );
        soon("a live message after the cut", async {
            loop {
                bench.master.publish_live("a", body(4)).await.expect("open");
                let heard = tokio::time::timeout(Duration::from_millis(200), live.next());
                if let Ok(message) = heard.await {
                    return message.expect("open");
                }
            }
        })
        .await;
    });
}

fn a_deleted_queue_is_made_anew(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let prefix = "deleted";
        let master = open(options(server, prefix, "master")).await;
        let agent = open(options(server, prefix, "gpu-01")).await;
        let worker = gpu(1);
        // With nobody consuming, only the publisher can notice.
        master.declare_worker(&worker).await.expect("declared");
        server.ctl(&["delete_queue", "-p", "dopq", "deleted.lab.orders.gpu-01"]);
        order(&master, &worker, 1).await;
        let mut taken = orders(&agent, &worker).await;
        assert_eq!(take(&mut taken, 1).await, [1]);
        // With somebody consuming, the consumer is told and comes back.
        server.ctl(&["delete_queue", "-p", "dopq", "deleted.lab.orders.gpu-01"]);
        order(&master, &worker, 2).await;
        assert_eq!(take(&mut taken, 1).await, [2]);
    });
}

fn a_full_queue_makes_its_publishers_wait(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let prefix = "full";
        let mut hurried = options(server, prefix, "master");
        hurried.publish_within = Duration::from_secs(1);
        let hurried = open(hurried).await;
        let patient = open(options(server, prefix, "patient")).await;
        let worker = gpu(1);
        hurried.declare_worker(&worker).await.expect("declared");
        server.ctl(&[
            "set_policy",
            "-p",
            "dopq",
            "short",
            r"^full\.lab\.orders\..*$",
            r#"{"max-length": 3}"#,
            "--apply-to",
            "queues",
        ]);
        let mut queued = 0;
        let refused = soon("the queue to be full", async {
            loop {
                match hurried.publish_order(&worker, body(queued)).await {
                    Ok(()) => queued += 1,
                    Err(error) => return error,
                }
            }
        })
        .await;
        assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
        let drain = async {
            let mut taken = orders(&patient, &worker).await;
            take(&mut taken, queued as usize + 1).await
        };
        let waiting = order(&patient, &worker, 1000);
        let (numbers, ()) = futures::future::join(drain, waiting).await;
        let mut expected: Vec<u32> = (0..queued).collect();
        expected.push(1000);
        assert_eq!(numbers, expected);
    });
}

fn reports_in_flight_are_confirmed_each_by_itself(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let prefix = "inflight";
        let worker = open(options(server, prefix, "gpu-01")).await;
        server.ctl(&[
            "set_policy",
            "-p",
            "dopq",
            "inflight",
            r"^inflight\.lab\.reports$",
            r#"{"max-length": 5}"#,
            "--apply-to",
            "queues",
        ]);
        // A policy takes a moment to be in force. Then some are refused while others in flight are taken.
        let (mut queued, mut refused, mut next) = (Vec::new(), 0, 0);
        let filling = async {
            while refused == 0 {
                let mut sent = Vec::new();
                for number in next..next + 200 {
                    let confirmation = worker.send_report(body(number)).await;
                    sent.push((number, confirmation.expect("handed over")));
                }
                next += 200;
                // They are asked for from the last.
                let mut taken = Vec::new();
                for (number, confirmation) in sent.into_iter().rev() {
                    match confirmation.wait().await {
                        Ok(()) => taken.push(number),
                        Err(Error::Full { .. }) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                queued.extend(taken.into_iter().rev());
            }
        };
        soon("the queue to be full", filling).await;
        assert!(refused > 0 && !queued.is_empty(), "{queued:?}");
        let mut reported = reports(&worker).await;
        assert_eq!(take(&mut reported, queued.len()).await, queued);
    });
}

fn reports_in_flight_outlive_cut_links_in_their_order(runtime: &Runtime, server: &mut RabbitMq) {
    let Bench { master, worker } = runtime.block_on(connect(server));
    let cutting = AtomicBool::new(true);
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                server.ctl(&["close_all_connections", "--global", "a test cuts the links"]);
            }
            cutting.store(false, Ordering::Relaxed);
        });
        runtime.block_on(send_in_windows(&worker, || cutting.load(Ordering::Relaxed)))
    });
    runtime.block_on(async {
        let mut reported = reports(&master).await;
        let mut numbers = Vec::new();
        while numbers.last() != Some(&(sent - 1)) {
            let delivery = next(&mut reported).await;
            numbers.push(number(&delivery));
            delivery.ack().await.expect("it is acknowledged");
        }
        assert!(!numbers.is_sorted(), "nothing was in flight at any cut");
        // Each comes for the last time before the next one does.
        let last = |wanted: u32| numbers.iter().rposition(|number| *number == wanted);
        assert!(
            (0..sent)
                .map(last)
                .is_sorted_by(|a, b| a.is_some() && a < b)
        );
    });
}

/// Sends reports as an outbox does: up to 64 are in flight, and what is not confirmed is sent again with
/// all that was sent after it. Returns how many were confirmed by the time that `goes_on` is false.
async fn send_in_windows(worker: &Broker, goes_on: impl Fn() -> bool) -> u32 {
    let mut first = 0;
    while goes_on() {
        let mut sent = Vec::new();
        for number in first..first + 64 {
            match worker.send_report(body(number)).await {
                Ok(confirmation) => sent.push(confirmation),
                Err(_) => break,
            }
        }
        for confirmation in sent {
            match soon("a confirmation", confirmation.wait()).await {
                Ok(()) => first += 1,
                Err(_) => break,
            }
        }
    }
    first
}

fn clusters_in_one_vhost_see_nothing_of_each_other(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let of = |cluster: &str, client: &str| amqp::Options {
            cluster: cluster.to_owned(),
            ..options(server, "shared", client)
        };
        let (lab, ward) = (open(of("lab", "a")).await, open(of("ward", "b")).await);
        let worker = gpu(1);
        let mut lab_live = lab.subscribe_live(&["#"]).await.expect("open");
        let mut ward_live = ward.subscribe_live(&["#"]).await.expect("open");
        for (cluster, number) in [(&lab, 1), (&ward, 2)] {
            order(cluster, &worker, number).await;
            let reported = cluster.publish_report(body(number)).await;
            reported.expect("it is confirmed");
            let told = cluster.publish_live("heartbeat.gpu-01", body(number)).await;
            told.expect("open");
        }
        for (cluster, live, expected) in [(&lab, &mut lab_live, 1), (&ward, &mut ward_live, 2)] {
            let mut ordered = orders(cluster, &worker).await;
            let mut reported = reports(cluster).await;
            assert_eq!(take(&mut ordered, 1).await, [expected]);
            assert_eq!(take(&mut reported, 1).await, [expected]);
            let heard = soon("a live message", live.next()).await.expect("open");
            assert_eq!(heard.body, body(expected));
            let more = tokio::time::timeout(Duration::from_millis(200), async {
                tokio::select! {
                    order = ordered.next() => format!("{order:?}"),
                    report = reported.next() => format!("{report:?}"),
                    live = live.next() => format!("{live:?}"),
                }
            });
            assert!(more.await.is_err(), "another cluster's message came");
        }
    });
}

fn an_alarm_stops_publications_only(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let bench = connect(server).await;
        let worker = gpu(1);
        order(&bench.master, &worker, 1).await;
        server.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
        let mut impatient = options(server, "alarm", "impatient");
        impatient.publish_within = Duration::from_secs(1);
        let impatient = Broker::Amqp(amqp::Broker::open(impatient).expect("acceptable"));

        // RabbitMQ tells a connection of the alarm when it publishes.
        let waiting = order(&bench.master, &worker, 2);
        let meanwhile = async {
            link_is(&bench.master, "blocked", |link| *link == Link::Blocked).await;
            let mut taken = orders(&bench.worker, &worker).await;
            assert_eq!(take(&mut taken, 1).await, [1], "deliveries go on");
            let refused = impatient.publish_order(&worker, body(9)).await;
            assert!(refused.is_err(), "an alarm let a publication pass");
            server.ctl(&["set_vm_memory_high_watermark", "0.4"]);
            link_is(&bench.master, "up", |link| *link == Link::Up).await;
            taken
        };
        let ((), mut taken) = futures::future::join(waiting, meanwhile).await;
        let delivery = next(&mut taken).await;
        assert_eq!(number(&delivery), 2);
        delivery.ack().await.expect("it is acknowledged");
    });
}

fn a_killed_server_has_lost_nothing(runtime: &Runtime, server: &mut RabbitMq) {
    let worker = gpu(1);
    let (bench, mut taken) = runtime.block_on(async {
        let bench = connect(server).await;
        for number in 0..50 {
            order(&bench.master, &worker, number).await;
        }
        let mut taken = orders(&bench.worker, &worker).await;
        assert_eq!(take(&mut taken, 10).await, (0..10).collect::<Vec<_>>());
        (bench, taken)
    });
    server.kill();
    runtime.block_on(async {
        let is_down = |link: &Link| matches!(link, Link::Down { .. });
        link_is(&bench.master, "down", is_down).await;
        link_is(&bench.worker, "down", is_down).await;
    });
    server.start_again();
    runtime.block_on(async {
        order(&bench.master, &worker, 50).await;
        let mut numbers = Vec::new();
        // Acknowledgements on their way may be lost, so that some come again.
        while numbers.last() != Some(&50) {
            let delivery = next(&mut taken).await;
            numbers.push(number(&delivery));
            drop(delivery.ack().await);
        }
        for expected in 10..=50 {
            assert!(
                numbers.contains(&expected),
                "{expected} is missing: {numbers:?}"
            );
        }
    });
}

fn a_frozen_server_is_noticed(runtime: &Runtime, server: &mut RabbitMq) {
    runtime.block_on(async {
        let bench = connect(server).await;
        let worker = gpu(1);
        order(&bench.master, &worker, 1).await;
        let mut taken = orders(&bench.worker, &worker).await;
        assert_eq!(take(&mut taken, 1).await, [1]);
        let mut hurried = options(server, "frozen", "hurried");
        hurried.publish_within = Duration::from_secs(8);
        let hurried = open(hurried).await;
        server.signal("STOP");
        let refused = hurried.publish_order(&worker, body(2)).await;
        let unconfirmed = matches!(refused, Err(Error::Unconfirmed(_)));
        assert!(unconfirmed, "{refused:?}");
        // The publisher notices by its confirmation, the other by missing heartbeats.
        let is_down = |link: &Link| matches!(link, Link::Down { .. });
        link_is(&bench.worker, "down", is_down).await;
        server.signal("CONT");
        order(&bench.master, &worker, 3).await;
        // The one that was never confirmed may have been queued.
        let mut numbers = vec![];
        while numbers.last() != Some(&3) {
            let delivery = next(&mut taken).await;
            numbers.push(number(&delivery));
            drop(delivery.ack().await);
        }
        assert!(
            numbers.iter().all(|number| [2, 3].contains(number)),
            "{numbers:?}"
        );
    });
}

fn a_wiped_server_is_furnished_again(runtime: &Runtime, server: &mut RabbitMq) {
    let worker = gpu(1);
    let (bench, mut taken) = runtime.block_on(async {
        let bench = connect(server).await;
        order(&bench.master, &worker, 1).await;
        let mut taken = orders(&bench.worker, &worker).await;
        assert_eq!(take(&mut taken, 1).await, [1]);
        (bench, taken)
    });
    server.kill();
    server.wipe();
    server.start_again();
    runtime.block_on(async {
        order(&bench.master, &worker, 2).await;
        assert_eq!(take(&mut taken, 1).await, [2]);
        bench
            .worker
            .publish_report(body(3))
            .await
            .expect("it is confirmed");
        let mut reported = reports(&bench.master).await;
        assert_eq!(take(&mut reported, 1).await, [3]);
    });
}
