//! A measurement, not a test: jobs that the control plane accepts, dispatches and finishes in a second.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plane::Plane;

const JOBS: usize = 10_000;
const WORKERS: usize = 8;
const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for make bench"]
async fn jobs_per_second() {
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
