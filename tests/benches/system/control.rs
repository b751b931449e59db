//! The control plane without containers: real Redis and RabbitMQ, and workers that only pretend to run
//! what they are ordered to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plane::{Master, Plane};
use crate::row::{Row, Unit, percentile};
use crate::{Scale, compat};

const WORKERS: usize = 8;
const CLIENTS: usize = 64;

/// Jobs accepted, and accepted, dispatched and finished, in a second.
pub(crate) async fn throughput(scale: Scale, place: &str, reach: f64) -> Vec<Row> {
    let jobs = scale.pick(6_000, 1_500);
    let plane = Plane::start();
    let (master, stop) = start(&plane, WORKERS, 64).await;
    round(&master, "warm-up", jobs / 10).await;
    let mut rates = (Vec::new(), Vec::new());
    for number in 0..scale.pick(3, 1) {
        let (accepted, finished) = round(&master, &number.to_string(), jobs).await;
        rates.0.push(jobs as f64 / accepted.as_secs_f64());
        rates.1.push(jobs as f64 / finished.as_secs_f64());
    }
    stop.cancel();
    let of = format!("{WORKERS} simulated workers, services on {place}");
    vec![
        Row::new(
            format!("jobs accepted while they run; {of}"),
            Unit::PerSecond,
            &rates.0,
        )
        .reach(reach),
        Row::new(
            format!("jobs accepted, dispatched and finished; {of}"),
            Unit::PerSecond,
            &rates.1,
        )
        .reach(reach),
    ]
}

/// From a worker's report that its only GPU is free to its next order.
pub(crate) async fn freed(scale: Scale) -> Vec<Row> {
    let jobs = scale.pick(300, 100);
    let plane = Plane::start();
    let (master, stop) = start(&plane, 1, 1).await;
    let (mut half, mut most) = (Vec::new(), Vec::new());
    for number in 0..3 {
        round(&master, &number.to_string(), jobs).await;
        let turns = compat::turns(&plane);
        half.push(percentile(&turns, 0.5));
        most.push(percentile(&turns, 0.99));
    }
    stop.cancel();
    vec![
        Row::new("freed GPU to the next order, p50", Unit::Seconds, &half),
        Row::new("freed GPU to the next order, p99", Unit::Seconds, &most),
    ]
}

async fn start(plane: &Plane, workers: usize, gpus: u32) -> (Arc<Master>, CancellationToken) {
    let mut master = plane.master("a").await;
    master.leads().await;
    let stop = CancellationToken::new();
    for number in 0..workers {
        drop(plane.worker(&format!("w{number}"), gpus, &stop));
    }
    master.knows(workers).await;
    (Arc::new(master), stop)
}

/// Submits from many clients at once; how long until all jobs were accepted, and until all had ended.
async fn round(master: &Arc<Master>, name: &str, jobs: usize) -> (Duration, Duration) {
    let before = compat::finished(master);
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let (master, name) = (Arc::clone(master), name.to_owned());
        tokio::spawn(async move {
            for number in (client..jobs).step_by(CLIENTS) {
                master.submit(&format!("{name}-{number}")).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    let accepted = began.elapsed();
    while compat::finished(master) < before + jobs as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (accepted, began.elapsed())
}
