//! A restart with a long queue, each job with a record and an idempotency key, on Redis and on the embedded file: time until the master leads, and its
//! memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dopq_master::store::{Options, RedisOptions, Store};
use dopq_tests::cli::Cli;
use dopq_tests::programs::{Master, Standalone};
use tokio::time::Instant;

use crate::client::Client;
use crate::plane::Plane;
use crate::rig::status_mib;
use crate::row::{Row, Unit};
use crate::standin::StandIn;
use crate::{Scale, compat};

const USERS: usize = 1_000;
/// Different configurations of one user.
const CONFIGURATIONS: usize = 10;
const BATCH_JOBS: usize = 2_000;

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let jobs = scale.pick(1_000_000, 100_000);
    let mut rows = redis(jobs, scale).await;
    rows.extend(embedded(jobs, scale).await);
    rows
}

async fn redis(jobs: usize, scale: Scale) -> Vec<Row> {
    let plane = Plane::start();
    let mut master = Master::start(&compat::environment(&plane));
    let (url, admin) = (master.url(), master.admin());
    master.program.stop();
    fill(
        Options::Redis(RedisOptions::new(plane.redis.url(), "test")),
        jobs,
    )
    .await;
    master.restart();
    archived(plane.folder.path()).await;
    let figures = Figures::of(&url, &admin, scale, || {
        master.program.stop();
        let began = Instant::now();
        master.restart();
        (began, master.program.pid())
    });
    figures.await.rows("Redis", jobs)
}

async fn embedded(jobs: usize, scale: Scale) -> Vec<Row> {
    let engine = StandIn::start(true);
    let mut master = Standalone::start_with(8, &[("DOPQ_DOCKER_HOST", &engine.host())]);
    let (url, admin) = (master.url(), master.admin());
    master.program.stop();
    let dir = master.data_dir().join("store");
    fill(Options::Embedded { dir }, jobs).await;
    master.restart();
    archived(&master.data_dir().join("bundles")).await;
    let figures = Figures::of(&url, &admin, scale, || {
        master.program.stop();
        let began = Instant::now();
        master.restart();
        (began, master.program.pid())
    });
    figures.await.rows("embedded store", jobs)
}

#[derive(Default)]
struct Figures {
    seconds: Vec<f64>,
    peak: Vec<f64>,
    idle: Vec<f64>,
}

impl Figures {
    /// Those of some restarts; `restart` returns when it began and the new process.
    async fn of(
        url: &str,
        admin: &Cli,
        scale: Scale,
        mut restart: impl FnMut() -> (Instant, u32),
    ) -> Self {
        let mut figures = Self::default();
        for _ in 0..scale.pick(3, 1) {
            let (began, pid) = restart();
            figures.add(url, admin, pid, began).await;
        }
        figures
    }

    /// Waits until the master leads, and until it is idle.
    async fn add(&mut self, url: &str, admin: &Cli, pid: u32, began: Instant) {
        let client = Client::of(url.to_owned(), admin);
        while client.json("/v1/status").await["role"] != "leader" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.seconds.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.peak.push(status_mib(pid, "VmHWM"));
        self.idle.push(status_mib(pid, "VmRSS"));
    }

    fn rows(&self, store: &str, jobs: usize) -> Vec<Row> {
        let of = format!("{jobs} jobs queued, {store}");
        let mebibytes = |what: &str, values| Row::new(what, Unit::Mebibytes, values);
        vec![
            Row::new(
                format!("restart of the master, {of}"),
                Unit::Seconds,
                &self.seconds,
            ),
            mebibytes(&format!("peak memory of the restart, {of}"), &self.peak),
            mebibytes(&format!("memory after the restart, {of}"), &self.idle),
        ]
    }
}

/// Commits queued jobs to a store that no master uses.
async fn fill(options: Options, jobs: usize) {
    let store = Store::open(options).await.expect("it opens");
    let mut filler = compat::Filler::lead(&store).await;
    for first in (0..jobs).step_by(BATCH_JOBS) {
        let batch = (first..jobs.min(first + BATCH_JOBS)).map(|number| {
            let user = format!("user{}", number % USERS);
            let name = format!("train-{}", number / USERS % CONFIGURATIONS);
            (user, name, format!("key-{number}"))
        });
        filler.submit(&store, batch).await;
    }
    filler.release(&store).await;
}

/// Waits until the first start has archived what was put into the store behind its back.
async fn archived(bundles: &Path) {
    let mut before = None;
    loop {
        let size = Some(size(&bundles.join("archive"))).filter(|size| *size > 0);
        if size.is_some() && size == before {
            return;
        }
        before = size;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => size(&entry.path()),
        Ok(of) => of.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
