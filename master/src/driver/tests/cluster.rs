//! A small cluster for tests, the driver's and others': one store, one broker, masters and scripted workers.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, Deliveries, inproc};
use dopq_common::bundle::config;
use dopq_common::id::{AttemptId, JobId, JobKey, WorkerId};
use dopq_common::job::{Cause, Job, Outcome, Phase};
use dopq_common::resources::{ByteSize, Capacity, GpuDevice, MilliCpu};
use dopq_common::sched::{Settings, Submission};
use dopq_common::wire::{
    AttemptOrder, AttemptPhase, ClusterKey, Hello, NumberedReport, Order, OrderEnvelope, Report,
    ReportEnvelope, ToWorker, WIRE_VERSION, WorkerKey, read_envelope,
};
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::archive::{self, Entry, Kind};
use crate::bundles::Bundles;
use crate::driver::{Handle, Parts, channel};
use crate::keys::NodeKeys;
use crate::leader::{self, Standing};
use crate::metrics::{Board, Metrics};
use crate::store::{LeaderInfo, Options, Store};
use crate::telemetry::Heard;
use crate::view::View;

/// Nothing here takes long; what takes this long hangs.
const HANGS: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANGS, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

pub(crate) fn name<T: FromStr<Err = dopq_common::id::ParseIdError>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// The key of every job here.
const KEY: JobKey = JobKey([7; 16]);

/// The id of an attempt that a test names without its job's key, such as `1.1`.
pub(crate) fn id(attempt: &str) -> String {
    format!("{attempt}-{KEY}")
}

pub(crate) fn attempt_id(attempt: &str) -> AttemptId {
    id(attempt).parse().expect("an attempt")
}

pub(crate) fn submission(gpus: u32, key: Option<&str>) -> Submission {
    let text = format!(
        r#"{{"name": "train", "executor_name": "anna", "required_memory": "1g", "num_gpus": {gpus}}}"#
    );
    Submission {
        user: name("anna"),
        spec: Arc::new(config::parse(&text).expect("a configuration")),
        config: Arc::from(text),
        bundle: None,
        key: key.map(Arc::from),
        job_key: KEY,
    }
}

pub(crate) fn outcome(cause: Cause) -> Outcome {
    Outcome::new(cause, "")
}

pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) key: ClusterKey,
    pub(crate) settings: Settings,
    bundles: Bundles,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Options::Embedded {
            dir: dir.path().join("store"),
        };
        let bundles = dir.path().join("bundles").display().to_string();
        Self {
            store: Store::open(store).await.expect("opens"),
            broker: Broker::Inproc(inproc::Broker::default()),
            key: ClusterKey::from_secret("a secret for tests"),
            settings: Settings::default(),
            bundles: Bundles::open(&bundles, &std::collections::BTreeMap::new()).expect("opens"),
            dir,
        }
    }

    /// Goes on with an empty store.
    pub(crate) async fn lose_store(&mut self) {
        let dir = self.dir.path().join("another store");
        let store = Store::open(Options::Embedded { dir }).await;
        self.store = store.expect("opens");
    }

    /// A master that leads.
    pub(crate) async fn master(&self, id: &str) -> Master {
        let mut master = self.start(id);
        master.leads().await;
        master
    }

    /// A master that leads when it can.
    pub(crate) fn start(&self, id: &str) -> Master {
        let view = View::new(self.settings.clone());
        let keys = NodeKeys::new(self.key.clone(), view.clone(), true);
        let (handle, inputs) = channel(view);
        let heard = Heard::default();
        let parts = Parts {
            store: self.store.clone(),
            broker: self.broker.clone(),
            bundles: self.bundles.clone(),
            keys,
            cluster: "test".to_owned(),
            data_urls: vec![format!("http://{id}")],
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
            handle: handle.clone(),
            heard: heard.clone(),
            metrics: Metrics::default(),
            board: Board::default(),
        };
        let options = leader::Options {
            me: LeaderInfo {
                id: id.to_owned(),
                url: format!("http://{id}"),
            },
            ttl: Duration::from_secs(1),
            poll: Duration::from_millis(50),
        };
        let (standing, stands) = watch::channel(Standing::Unknown);
        let stop = CancellationToken::new();
        let task = tokio::spawn(leader::run(options, parts, inputs, standing, stop.clone()));
        Master {
            handle,
            heard,
            stands,
            stop,
            task,
        }
    }

    pub(crate) async fn worker(&self, id: &str) -> FakeWorker {
        let id: WorkerId = name(id);
        self.broker.declare_worker(&id).await.expect("declared");
        FakeWorker {
            key: self.key.worker(&id),
            orders: self.broker.consume_orders(&id).await.expect("consumes"),
            broker: self.broker.clone(),
            id,
            ordered: VecDeque::new(),
            said: Vec::new(),
            seq: 0,
        }
    }

    /// Waits until the archive holds the record.
    pub(crate) async fn archived(&self, job: JobId, kind: Kind) {
        let there = async {
            while !self.archive().await.contains(&(job, kind)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the archive", there).await;
    }

    /// The archive's records in their order; none of them is damaged.
    pub(crate) async fn archive(&self) -> Vec<(JobId, Kind)> {
        let mut records = Vec::new();
        let add = |entry: Entry| records.push((entry.job.id, entry.kind));
        let damages = archive::read(&self.bundles, add).await.expect("read");
        assert_eq!(damages, []);
        records
    }

    /// Every report was acknowledged: none comes to a consumer any more.
    pub(crate) async fn no_reports_left(&self) {
        let mut reports = self.broker.consume_reports().await.expect("consumes");
        // A marker of our own comes first when there is no other.
        self.broker
            .publish_report(Bytes::from_static(b"last"))
            .await
            .expect("queued");
        let report = within("the marker", reports.next())
            .await
            .expect("a report");
        assert_eq!(report.body, Bytes::from_static(b"last"));
    }
}

pub(crate) struct Master {
    pub(crate) handle: Handle,
    pub(crate) heard: Heard,
    pub(crate) stands: watch::Receiver<Standing>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Master {
    pub(crate) async fn leads(&mut self) {
        let leads = self
            .stands
            .wait_for(|standing| *standing == Standing::Leads);
        within("leading", leads).await.expect("runs");
    }

    pub(crate) fn job<R>(&self, id: JobId, read: impl FnOnce(&Job) -> R) -> R {
        self.handle
            .view()
            .read(|model| read(model.state.job(id).expect("the job")))
    }

    pub(crate) async fn reaches(&self, id: JobId, phase: Phase) {
        let mut changes = self.handle.view().watch();
        let reached = async {
            while self.job(id, |job| job.state.phase()) != phase {
                // However far behind we are, the model is read again.
                drop(changes.recv().await);
            }
        };
        within(phase.as_str(), reached).await;
    }

    pub(crate) async fn knows(&self, worker: &WorkerId) {
        let view = self.handle.view();
        let known = async {
            while view.read(|model| model.state.worker(worker).is_none()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the worker's joining", known).await;
    }

    /// Waits until what was sent before has been taken: something of our own went through the owner.
    pub(crate) async fn settled(&self) {
        let ticks = async {
            let seen = || self.heard.take().is_empty();
            for _ in 0..2 {
                self.heard.note(name("nobody"), "s");
                while !seen() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        within("a tick", ticks).await;
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within("stopping", self.task).await.expect("no panic");
    }

    /// Ends it at whatever point it is, as a crash does.
    pub(crate) async fn crash(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

pub(crate) struct FakeWorker {
    pub(crate) id: WorkerId,
    pub(crate) key: WorkerKey,
    broker: Broker,
    orders: Deliveries,
    /// Received and not looked at yet.
    ordered: VecDeque<Ordered>,
    /// All messages it sent, in order.
    said: Vec<Bytes>,
    /// The number of its last report.
    seq: u64,
}

/// An order as a worker gets it.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) epoch: u64,
    pub(crate) attempt: String,
    pub(crate) order: Order,
}

impl FakeWorker {
    pub(crate) async fn report(&mut self, report: Report) {
        self.report_all([report]).await;
    }

    /// Sends several reports in one message.
    pub(crate) async fn report_all(&mut self, reports: impl IntoIterator<Item = Report>) {
        let mut raw = Vec::new();
        for report in reports {
            self.seq += 1;
            let report = NumberedReport {
                seq: self.seq,
                at_ms: 0,
                report,
            };
            raw.push(to_raw_value(&report).expect("JSON"));
        }
        let envelope = ReportEnvelope {
            version: WIRE_VERSION,
            worker: self.id.clone(),
            reports: raw,
        };
        let sealed = self.key.seal(&self.id, &envelope).expect("sealed");
        self.said.push(sealed.into());
        self.repeat(self.said.len() - 1).await;
    }

    /// Sends an earlier report once more.
    pub(crate) async fn repeat(&self, number: usize) {
        let sealed = self.said[number].clone();
        self.broker.publish_report(sealed).await.expect("queued");
    }

    /// Says hello, and waits until the master knows it.
    pub(crate) async fn join(&mut self, master: &Master, gpus: u32) {
        self.hello(gpus).await;
        master.knows(&self.id).await;
    }

    pub(crate) async fn hello(&mut self, gpus: u32) {
        let gpus = (0..gpus).map(|index| GpuDevice {
            id: format!("GPU-{}-{index}", self.id).parse().expect("a name"),
            model: "Simulated".to_owned(),
            memory: ByteSize(16 * ByteSize::GIB),
            healthy: true,
        });
        let hello = Hello {
            session: "s".to_owned(),
            agent: "0".to_owned(),
            engine: "e".to_owned(),
            gpu_mode: "simulated".to_owned(),
            capacity: Capacity {
                cpu: MilliCpu(64_000),
                memory: ByteSize(64 * ByteSize::GIB),
                gpus: gpus.collect(),
                slots_per_gpu: 1,
                labels: std::collections::BTreeMap::new(),
                volumes: std::collections::BTreeMap::new(),
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
        self.report(Report::Hello(Box::new(hello))).await;
    }

    pub(crate) async fn enter(&mut self, attempt: &str, phase: AttemptPhase) {
        let entered = Report::Entered {
            attempt: attempt_id(attempt),
            phase,
            note: String::new(),
        };
        self.report(entered).await;
    }

    pub(crate) async fn run(&mut self, attempt: &str) {
        let accepted = Report::Accepted {
            attempt: attempt_id(attempt),
        };
        self.report(accepted).await;
        self.enter(attempt, AttemptPhase::Running).await;
    }

    pub(crate) async fn finish(&mut self, attempt: &str, outcome: &Outcome) {
        let finished = Report::Finished {
            attempt: attempt_id(attempt),
            outcome: outcome.clone(),
            ran_ms: 1000,
            log_bytes: 10,
            results: None,
        };
        self.report(finished).await;
    }

    /// The next order, acknowledged.
    pub(crate) async fn next_order(&mut self) -> Ordered {
        while self.ordered.is_empty() {
            let delivery = within("an order", self.orders.next()).await.expect("open");
            let opened = self.key.open_to(ToWorker::Orders, &self.id, &delivery.body);
            let envelope: OrderEnvelope = read_envelope(opened.expect("sealed")).expect("orders");
            for order in &envelope.orders {
                let order: AttemptOrder = serde_json::from_str(order.get()).expect("an order");
                self.ordered.push_back(Ordered {
                    epoch: envelope.epoch.0,
                    attempt: order.attempt.to_string(),
                    order: order.order,
                });
            }
            delivery.ack().await.expect("acknowledged");
        }
        self.ordered.pop_front().expect("one is there")
    }
}
