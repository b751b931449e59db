//! One worker with everything around it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Deliveries, inproc};
use dopq_common::id::{Digest, Epoch, WorkerId};
use dopq_common::job::{BundleRef, Outcome, Results};
use dopq_common::resources::{Allocation, ByteSize, GpuShare, MilliCpu, MilliGpu};
use dopq_common::wire::log::Source;
use dopq_common::wire::{
    AttemptOrder, ClusterKey, Live, NumberedReport, Order, OrderEnvelope, Report, ReportEnvelope,
    RunOrder, Sealed, ToWorker, Upcoming, UpcomingRun, WIRE_VERSION, WorkerKey, topic,
};
use serde_json::value::to_raw_value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plane::{Plane, id};
use crate::docker::Engine;
use crate::docker::fake::Fake;
use crate::records::Records;
use crate::{Error, GpuOptions, Options, Settings, app};

/// The longest that anything here may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "token";
pub(super) const BUNDLE: &[u8] = b"not read by the pretended engine";

/// How an attempt ended, as its report says.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) log_bytes: u64,
    pub(super) results: Option<Results>,
    /// What was reported of it before, in order.
    pub(super) before: Vec<String>,
}

pub(super) struct Rig {
    pub(super) fake: Fake,
    pub(super) plane: Plane,
    pub(super) broker: Broker,
    pub(super) worker: WorkerId,
    pub(super) dir: TempDir,
    pub(super) limits: crate::Limits,
    pub(super) retention: crate::Retention,
    /// Networks that are kept ready.
    pub(super) network: crate::NetworkOptions,
    pub(super) prefetch: bool,
    pub(super) volumes: crate::VolumeOptions,
    pub(super) results_max_bytes: Option<u64>,
    pub(super) checkpoint_max_bytes: Option<u64>,
    key: ClusterKey,
    url: String,
    /// Lists of upcoming attempts that were sent.
    lists: u64,
    reports: Deliveries,
    /// Received and not looked at yet.
    reported: VecDeque<NumberedReport>,
    last_seq: Option<u64>,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
    boot: String,
}

/// Orders of the leadership `epoch`, not sealed.
pub(super) fn message(epoch: u64, orders: impl Iterator<Item = AttemptOrder>) -> Vec<u8> {
    let envelope = OrderEnvelope {
        version: WIRE_VERSION,
        epoch: Epoch(epoch),
        orders: orders
            .map(|order| to_raw_value(&order).expect("order"))
            .collect(),
    };
    serde_json::to_vec(&envelope).expect("orders")
}

impl Rig {
    pub(super) async fn new() -> Self {
        let broker = Broker::Inproc(inproc::Broker::default());
        let plane = Plane::default();
        let (key, worker) = (
            ClusterKey::from_secret("s"),
            "w1".parse::<WorkerId>().expect("name"),
        );
        plane.offer(BUNDLE, key.worker(&worker).proof(TOKEN).reveal());
        let url = plane.serve().await;
        let limits = crate::Limits {
            min_free_disk: dopq_common::resources::ByteSize(0),
            ..crate::Limits::default()
        };
        Self {
            fake: Fake::new(),
            plane,
            reports: broker.consume_reports().await.expect("reports"),
            broker,
            worker,
            dir: tempfile::tempdir().expect("folder"),
            limits,
            retention: crate::Retention::default(),
            network: crate::NetworkOptions {
                pool: 0,
                ..crate::NetworkOptions::default()
            },
            prefetch: true,
            lists: 0,
            volumes: crate::VolumeOptions::default(),
            results_max_bytes: None,
            checkpoint_max_bytes: Some(1 << 30),
            key,
            url,
            reported: VecDeque::new(),
            last_seq: None,
            running: None,
            boot: "boot".to_owned(),
        }
    }

    /// A rig whose worker runs.
    pub(super) async fn started() -> Self {
        let mut rig = Self::new().await;
        rig.start().await;
        rig
    }

    fn options(&self) -> Options {
        Options {
            name: self.worker.clone(),
            key: self.key.worker(&self.worker),
            master_ca_pem: None,
            settings: Settings {
                data_dir: self.dir.path().join("data"),
                gpu: GpuOptions {
                    simulated: Some(2),
                    ..GpuOptions::default()
                },
                prefetch: self.prefetch,
                limits: self.limits,
                retention: self.retention,
                network: self.network.clone(),
                volumes: self.volumes.clone(),
                ..Settings::default()
            },
        }
    }

    pub(super) async fn start(&mut self) {
        let data = self.dir.path().join("data");
        std::fs::create_dir_all(&data).expect("folder");
        // A worker that was just killed may not have let go of its records yet.
        let free = async {
            while Records::open(&data.join("records.redb")).is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, free).await.expect("let go");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(app::run_with(
            self.options(),
            self.broker.clone(),
            Engine::Fake(self.fake.clone()),
            self.boot.clone(),
            shutdown.clone(),
        ));
        self.running = Some((task, shutdown));
    }

    /// Ends the worker at whatever point it is, as SIGKILL would.
    pub(super) async fn kill(&mut self) {
        let (task, _) = self.running.take().expect("running");
        task.abort();
        assert!(task.await.expect_err("killed").is_cancelled());
    }

    pub(super) async fn end(&mut self) {
        let (task, shutdown) = self.running.take().expect("running");
        shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("in time");
        ended.expect("joined").expect("ended well");
    }

    /// Waits until it ends by itself, which it must not do for no reason.
    pub(super) async fn failed(&mut self) -> Error {
        let (task, _) = self.running.take().expect("running");
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("in time");
        ended.expect("joined").expect_err("a reason")
    }

    pub(super) fn reboot(&mut self) {
        self.boot.push('x');
    }

    pub(super) async fn order(&self, attempt: &str, order: Order) {
        self.orders([(attempt, order)]).await;
    }

    /// Gives several orders in one message.
    pub(super) async fn orders(&self, orders: impl IntoIterator<Item = (&str, Order)>) {
        let orders = orders.into_iter().map(|(attempt, order)| AttemptOrder {
            attempt: id(attempt).parse().expect("attempt"),
            order,
        });
        let body = message(1, orders);
        let key = self.key.worker(&self.worker);
        self.send(key.seal_to(ToWorker::Orders, &self.worker, &body))
            .await;
    }

    /// Puts a message into the worker's queue, whoever sealed it.
    pub(super) async fn send(&self, body: Vec<u8>) {
        self.broker
            .publish_order(&self.worker, Bytes::from(body))
            .await
            .expect("published");
    }

    /// Orders a job that is built from the bundle. `more` are further fields of its configuration.
    pub(super) async fn run(&self, attempt: &str, more: &str) {
        self.order(attempt, Order::Run(Box::new(self.job(more))))
            .await;
    }

    /// Tells the worker what it will probably run, with the worker's own key.
    pub(super) async fn expect(&mut self, runs: &[(&str, RunOrder)]) {
        let key = self.key.worker(&self.worker);
        self.expect_by(&key, runs).await;
    }

    /// The same with any key.
    pub(super) async fn expect_by(&mut self, key: &WorkerKey, runs: &[(&str, RunOrder)]) {
        self.lists += 1;
        let runs = runs.iter().map(|(attempt, run)| UpcomingRun {
            attempt: id(attempt).parse().expect("attempt"),
            run: run.clone(),
        });
        let list = Upcoming {
            version: WIRE_VERSION,
            epoch: Epoch(1),
            number: self.lists,
            runs: runs.collect(),
        };
        let list = serde_json::to_vec(&list).expect("a list");
        let sealed = key.seal_to(ToWorker::Upcoming, &self.worker, &list);
        let sealed = String::from_utf8(sealed).expect("UTF-8");
        let live = serde_json::to_vec(&Live::Upcoming { sealed }).expect("a message");
        let topic = topic::requests(&self.worker);
        let sent = self.broker.publish_live(&topic, live.into()).await;
        sent.expect("sent");
    }

    pub(super) fn job(&self, more: &str) -> RunOrder {
        RunOrder {
            cluster: "default".to_owned(),
            user: "anna".parse().expect("a name"),
            group: None,
            config: format!(
                r#"{{"name":"train","executor_name":"anna","required_memory":"1g","num_gpus":1{more}}}"#
            ),
            bundle: Some(BundleRef {
                digest: Digest(*blake3::hash(BUNDLE).as_bytes()),
                size_bytes: u64::try_from(BUNDLE.len()).expect("size"),
            }),
            allocation: Allocation {
                gpus: vec![GpuShare {
                    id: "GPU-sim-w1-0".parse().expect("a name"),
                    milli: MilliGpu::WHOLE,
                }],
                cpu: MilliCpu(1000),
                memory: ByteSize(ByteSize::GIB),
            },
            array_index: None,
            array_job: None,
            token: TOKEN.into(),
            data_urls: vec![self.url.clone()],
            results_max_bytes: self.results_max_bytes,
            checkpoint_max_bytes: self.checkpoint_max_bytes,
        }
    }

    /// What the data plane expects of this worker.
    pub(super) fn proof(&self) -> String {
        let key = self.key.worker(&self.worker);
        key.proof(TOKEN).reveal().to_owned()
    }

    pub(super) async fn stop(&self, attempt: &str, grace_ms: u64) {
        let outcome = Outcome::cancelled(&"anna".parse().expect("a name"), "cancelled by anna");
        let grace = Duration::from_millis(grace_ms);
        let stop = Order::Stop {
            outcome,
            grace,
            insists: false,
        };
        self.order(attempt, stop).await;
    }

    /// The next report; its number is the next one, unless it comes again.
    pub(super) async fn report(&mut self) -> Report {
        while self.reported.is_empty() {
            let next = self.reports.next();
            let delivery = tokio::time::timeout(PATIENCE, next)
                .await
                .expect("a report in time")
                .expect("open");
            let (worker, envelope) =
                Sealed::open::<ReportEnvelope>(&self.key, &delivery.body).expect("sealed");
            assert_eq!(worker, self.worker);
            delivery.ack().await.expect("acknowledged");
            let reports = envelope.reports.iter();
            self.reported
                .extend(reports.map(|report| serde_json::from_str(report.get()).expect("report")));
        }
        let NumberedReport { seq, report, .. } = self.reported.pop_front().expect("one is there");
        let last = self.last_seq.unwrap_or(seq);
        assert!(
            seq <= last + 1,
            "a report between {last} and {seq} is missing"
        );
        self.last_seq = Some(last.max(seq));
        report
    }

    /// Waits until any attempt is reported to be `wanted`.
    pub(super) async fn until(&mut self, wanted: &str) {
        while short(&self.report().await).is_none_or(|(_, shown)| shown != wanted) {}
    }

    pub(super) async fn finished(&mut self, attempt: &str) -> End {
        let attempt = id(attempt);
        let mut before = Vec::new();
        loop {
            let report = self.report().await;
            if let Report::Finished {
                attempt: of,
                outcome,
                log_bytes,
                results,
                ..
            } = &report
                && of.to_string() == attempt
            {
                return End {
                    outcome: outcome.clone(),
                    log_bytes: *log_bytes,
                    results: results.clone(),
                    before,
                };
            }
            if let Some((of, shown)) = short(&report)
                && of == attempt
            {
                before.push(shown);
            }
        }
    }

    /// Waits for the ends of several attempts, in whatever order.
    pub(super) async fn all_finished(&mut self, attempts: &[&str]) -> Vec<String> {
        let mut open: BTreeSet<String> = attempts.iter().map(|attempt| id(attempt)).collect();
        let mut causes = Vec::new();
        while !open.is_empty() {
            if let Report::Finished {
                attempt, outcome, ..
            } = self.report().await
            {
                open.remove(&attempt.to_string());
                causes.push(outcome.cause.as_str().to_owned());
            }
        }
        causes
    }

    pub(super) fn stdout(&self, attempt: &str) -> String {
        let printed = self.plane.printed(attempt, Source::Stdout);
        String::from_utf8_lossy(&printed).into_owned()
    }
}

/// A report of an attempt as two words.
fn short(report: &Report) -> Option<(String, String)> {
    match report {
        Report::Accepted { attempt } => Some((attempt.to_string(), "accepted".to_owned())),
        Report::Refused { attempt, reason } => {
            Some((attempt.to_string(), format!("refused: {reason}")))
        }
        Report::Entered { attempt, phase, .. } => {
            Some((attempt.to_string(), format!("{phase:?}").to_lowercase()))
        }
        Report::Hello(_)
        | Report::Goodbye
        | Report::Finished { .. }
        | Report::Measured { .. }
        | Report::Unknown => None,
    }
}
