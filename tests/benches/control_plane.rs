//! Jobs that the control plane accepts, dispatches and finishes in a second, on real Redis and RabbitMQ,
//! with workers that only pretend to run what they are ordered to.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use plane::Plane;

#[path = "../control/plane.rs"]
#[expect(dead_code, reason = "the tests of the control plane use all of it")]
mod plane;

const JOBS: usize = 10_000;
const WORKERS: usize = 8;
const CLIENTS: usize = 64;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
async fn main() {
    let plane = Plane::start();
    let mut master = plane.master("a").await;
    master.leads().await;
    let stop = CancellationToken::new();
    for number in 0..WORKERS {
        plane.worker(&format!("w{number}"), 64, &stop);
    }
    master.knows(WORKERS).await;
    let began = Instant::now();
    let master = Arc::new(master);
    let clients = (0..CLIENTS).map(|client| {
        let master = Arc::clone(&master);
        tokio::spawn(async move {
            let mut jobs = Vec::new();
            for number in (client..JOBS).step_by(CLIENTS) {
                jobs.push(master.submit(&format!("key-{number}")).await);
            }
            jobs
        })
    });
    let mut jobs = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        jobs.extend(client.await.expect("a client"));
    }
    let accepted = began.elapsed();
    let finished = |view: &dopq_master::view::View| {
        view.read(|model| model.state.meta().finished_jobs) >= JOBS as u64
    };
    master.sees("the end of every job", finished).await;
    let finished = began.elapsed();
    println!(
        "control plane: {JOBS} jobs, {WORKERS} pretending workers: accepted {:.0}/s, finished {:.0}/s",
        JOBS as f64 / accepted.as_secs_f64(),
        JOBS as f64 / finished.as_secs_f64(),
    );
    assert_eq!(jobs.len(), JOBS);
    stop.cancel();
}
