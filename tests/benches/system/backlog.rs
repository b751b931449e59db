//! What users and a restart wait for while a long queue stands: 1,000 users, one worker whose GPUs are
//! all taken.

use std::sync::Arc;
use std::time::Duration;

use dopq_tests::programs::Master;
use dopq_tests::wait_for;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, process, timed};
use crate::plane::Plane;
use crate::rig::{bundle, resident_mib, start_worker};
use crate::row::{Row, Unit};
use crate::standin::{IMAGE, StandIn};
use crate::{Scale, compat};

const USERS: usize = 1_000;
const CLIENTS: usize = 256;
const GPUS: u32 = 8;

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let jobs = scale.pick(100_000, 10_000);
    let plane = Plane::start();
    fill(&plane, jobs).await;
    let environment = compat::environment(&plane);
    let mut master = Master::start(&environment);
    let engine = StandIn::start(true);
    let _worker = start_worker(&master, &environment, &engine, GPUS);
    let client = Client::of(master.url(), &master.admin());
    wait_for("the first jobs to run", Duration::from_secs(60), || {
        let running = master.admin().json(&["ps", "--state", "running"]);
        (running["jobs"].as_array().map(Vec::len) == Some(GPUS as usize)).then_some(())
    });
    let digest = client.put(&bundle()).await;
    let mut rows = reads(&master, &client, &digest, (jobs, scale)).await;
    rows.push(submissions(&client, &digest, jobs, scale).await);
    rows.push(Row::new(
        format!("memory of the master, {jobs} jobs queued"),
        Unit::Mebibytes,
        &[resident_mib(master.program.pid())],
    ));
    rows.push(restart(&mut master, jobs, scale).await);
    rows
}

/// Puts jobs into the store by a master in this process, which is quicker than over HTTP.
async fn fill(plane: &Plane, jobs: usize) {
    let mut master = plane.master("fill").await;
    master.leads().await;
    let master = Arc::new(master);
    stream::iter(0..jobs)
        .for_each_concurrent(CLIENTS, |number| {
            let master = Arc::clone(&master);
            async move {
                let user = format!("user{}", number % USERS);
                let config = json!({
                    "name": "train", "executor_name": user, "required_memory": "8m", "num_gpus": 1,
                    "image": IMAGE,
                });
                compat::submit(&master, &user, config.to_string(), format!("key-{number}")).await;
            }
        })
        .await;
    let master = Arc::into_inner(master).expect("no client is left");
    master.stop().await;
}

/// Each after a submission, so that nothing is answered from memory.
async fn reads(
    master: &Master,
    client: &Client,
    digest: &str,
    (jobs, scale): (usize, Scale),
) -> Vec<Row> {
    let admin = master.admin();
    let queue: Value = client.json("/v1/queue").await;
    let last = queue["entries"]
        .as_array()
        .and_then(|entries| entries.last());
    let last = last.expect("a waiting job")["id"].to_string();
    let commands: [&[&str]; 3] = [&["queue"], &["ps"], &["explain", &last]];
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..scale.pick(7, 3) {
        let mut took = Vec::new();
        for command in commands {
            client.submit(digest, json!({})).await;
            took.push(process(admin.command(command)).0);
        }
        let submitted = client.submit(digest, json!({}));
        let (_, submit) = timed(submitted).await;
        let (_, metrics) = timed(client.get("/metrics")).await;
        took.extend([metrics, submit]);
        for (times, took) in times.iter_mut().zip(took) {
            times.push(took);
        }
    }
    let names = [
        "`dopq queue`",
        "`dopq ps`",
        "`dopq explain`",
        "GET /metrics",
        "POST of a job",
    ];
    let rows = names.iter().zip(&times);
    rows.map(|(name, times)| Row::new(format!("{name}, {jobs} jobs queued"), Unit::Seconds, times))
        .collect()
}

/// From many clients at once.
async fn submissions(client: &Client, digest: &str, jobs: usize, scale: Scale) -> Row {
    let posts = scale.pick(2_000, 500);
    let mut rates = Vec::new();
    for _ in 0..scale.pick(3, 1) {
        let posting = stream::iter(0..posts).for_each_concurrent(64, |_| async {
            client.submit(digest, json!({})).await;
        });
        rates.push(posts as f64 / timed(posting).await.1);
    }
    let what = format!("jobs accepted over HTTP, 64 clients, {jobs} jobs queued");
    Row::new(what, Unit::PerSecond, &rates)
}

/// From the start of the process until it leads.
async fn restart(master: &mut Master, jobs: usize, scale: Scale) -> Row {
    let mut times = Vec::new();
    for _ in 0..scale.pick(3, 1) {
        master.program.stop();
        let began = Instant::now();
        master.restart();
        let client = Client::of(master.url(), &master.admin());
        while client.json("/v1/status").await["role"] != "leader" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times.push(began.elapsed().as_secs_f64());
    }
    Row::new(
        format!("restart of the master, {jobs} jobs queued"),
        Unit::Seconds,
        &times,
    )
}
