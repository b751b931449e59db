//! Masters and pretending workers over one Redis and one RabbitMQ.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dopq_common::broker::{Broker, Delivery, amqp};
use dopq_common::bundle::config;
use dopq_common::id::{JobId, JobKey, WorkerId};
use dopq_common::job::{Cause, Outcome};
use dopq_common::resources::{ByteSize, Capacity, GpuDevice, MilliCpu};
use dopq_common::sched::{Settings, Submission};
use dopq_common::wire::{
    AttemptOrder, AttemptPhase, ClusterKey, Heartbeat, Hello, HostUse, Live, NumberedReport, Order,
    OrderEnvelope, Packer, Report, ReportEnvelope, ToWorker, WIRE_VERSION, read_envelope, topic,
};
use dopq_master::bundles::Bundles;
use dopq_master::driver::{self, ActError, Handle, Parts};
use dopq_master::keys::NodeKeys;
use dopq_master::leader::{self, Standing};
use dopq_master::metrics::{Board, Metrics};
use dopq_master::store::{LeaderInfo, Options, RedisOptions, Store};
use dopq_master::telemetry::{self, Heard};
use dopq_master::view::View;
use dopq_tests::services::{RabbitMq, Redis};
use serde_json::value::{RawValue, to_raw_value};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Far more than anything here needs.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "a secret for tests";

/// Messages of orders that one pretending worker has taken and not answered.
const UNANSWERED_MAX: usize = 256;

/// The services, and what masters and workers share.
pub(crate) struct Plane {
    pub(crate) redis: Redis,
    pub(crate) rabbitmq: RabbitMq,
    pub(crate) turns: Arc<Turns>,
    key: ClusterKey,
    pub(crate) folder: TempDir,
}

/// How long workers with one GPU waited for their next order, from the report that it is free.
#[derive(Default)]
pub(crate) struct Turns(pub(crate) Mutex<(Option<Instant>, Vec<f64>)>);

/// A master in this process.
pub(crate) struct Master {
    pub(crate) handle: Handle,
    pub(crate) stands: watch::Receiver<Standing>,
    pub(crate) board: Board,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Plane {
    pub(crate) fn start() -> Self {
        Self {
            redis: Redis::start(),
            rabbitmq: RabbitMq::start(),
            turns: Arc::default(),
            key: ClusterKey::from_secret(SECRET),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn broker(&self, client: &str) -> Broker {
        let mut options = amqp::Options::new(self.rabbitmq.url(), "test", client);
        options.prefetch = 256;
        Broker::Amqp(amqp::Broker::open(options).expect("acceptable"))
    }

    pub(crate) async fn master(&self, id: &str) -> Master {
        let options = Options::Redis(RedisOptions::new(self.redis.url(), "test"));
        let folder = self.folder.path().display().to_string();
        let view = View::new(Settings::default());
        let keys = NodeKeys::new(self.key.clone(), view.clone(), true);
        let (handle, inputs) = driver::channel(view);
        let parts = Parts {
            store: Store::open(options).await.expect("opens"),
            broker: self.broker(id),
            bundles: Bundles::open(&folder, &BTreeMap::new()).expect("opens"),
            keys: keys.clone(),
            cluster: "test".to_owned(),
            data_urls: vec![format!("http://{id}")],
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
            handle: handle.clone(),
            heard: Heard::default(),
            metrics: Metrics::default(),
            board: Board::default(),
        };
        let lead = leader::Options {
            me: LeaderInfo {
                // Each run has an id of its own.
                id: format!("{id} {:?}", Instant::now()),
                url: format!("http://{id}"),
            },
            ttl: Duration::from_secs(3),
            poll: Duration::from_millis(200),
        };
        let stop = CancellationToken::new();
        tokio::spawn(telemetry::run(
            parts.broker.clone(),
            keys,
            handle.view().clone(),
            parts.heard.clone(),
            parts.metrics.clone(),
            stop.clone(),
        ));
        let (standing, stands) = watch::channel(Standing::Unknown);
        let board = parts.board.clone();
        let task = tokio::spawn(leader::run(lead, parts, inputs, standing, stop.clone()));
        Master {
            handle,
            stands,
            board,
            stop,
            task,
        }
    }

    /// A worker that at once reports success for whatever it is ordered to run, until `stop`.
    pub(crate) fn worker(&self, id: &str, gpus: u32, stop: &CancellationToken) -> JoinHandle<()> {
        let worker = Arc::new(Worker {
            id: id.parse().expect("a name"),
            key: self.key.clone(),
            broker: self.broker(id),
            turns: Arc::clone(&self.turns),
        });
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = worker.run(gpus) => {}
            }
        })
    }
}

impl Master {
    pub(crate) async fn leads(&mut self) {
        let leads = self
            .stands
            .wait_for(|standing| *standing == Standing::Leads);
        soon("leading", leads).await.expect("it runs");
    }

    pub(crate) async fn knows(&self, workers: usize) {
        self.sees("the workers", |view| {
            view.read(|model| model.state.workers().count() == workers)
        })
        .await;
    }

    pub(crate) async fn sees(&self, what: &str, seen: impl Fn(&View) -> bool) {
        let view = self.handle.view();
        soon(what, async {
            while !seen(view) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Submits under `key` until it is answered, as a client does.
    pub(crate) async fn submit(&self, key: &str) -> JobId {
        let submission = submission(key);
        soon("the answer to a submission", async {
            loop {
                match self.handle.submit(submission.clone()).await {
                    Ok(accepted) => return accepted.job,
                    Err(ActError::Rejected(rejected)) => panic!("{rejected}"),
                    Err(ActError::NotLeader { .. } | ActError::Unavailable(_)) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn succeeded(&self, jobs: &[JobId]) -> usize {
        self.handle.view().read(|model| {
            let ended =
                |job: &&JobId| match model.state.job(**job).and_then(|job| job.state.finished()) {
                    Some(end) => {
                        assert_eq!(end.outcome.cause, Cause::Succeeded, "{:?}", end.outcome);
                        true
                    }
                    None => false,
                };
            jobs.iter().filter(ended).count()
        })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        soon("the end", self.task).await.expect("no panic");
    }

    pub(crate) async fn crash(self) {
        self.task.abort();
        self.stop.cancel();
        drop(self.task.await);
    }
}

fn submission(key: &str) -> Submission {
    let text = r#"{"name": "train", "executor_name": "anna", "required_memory": "1g"}"#;
    Submission {
        user: "anna".parse().expect("a name"),
        spec: Arc::new(config::parse(text).expect("a configuration")),
        config: Arc::from(text),
        bundle: None,
        key: Some(Arc::from(key)),
        job_key: JobKey([7; 16]),
    }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

struct Worker {
    id: WorkerId,
    key: ClusterKey,
    broker: Broker,
    turns: Arc<Turns>,
}

impl Turns {
    fn freed(&self) {
        self.0.lock().expect("no panic").0 = Some(Instant::now());
    }

    fn ordered(&self) {
        let (freed, turns) = &mut *self.0.lock().expect("no panic");
        turns.extend(freed.take().map(|freed| freed.elapsed().as_secs_f64()));
    }
}

impl Worker {
    async fn run(self: Arc<Self>, gpus: u32) {
        let beats = async {
            loop {
                self.beat().await;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        let (answered, answers) = mpsc::channel(UNANSWERED_MAX);
        let work = async {
            // Until there is a link; a real worker keeps reports in its outbox.
            while self.broker.declare_worker(&self.id).await.is_err() {}
            let mut orders = self.broker.consume_orders(&self.id).await.expect("orders");
            let hello = (vec![self.hello(gpus)], None);
            answered.send(hello).await.expect("it reports");
            while let Some(delivery) = orders.next().await {
                let reports = self.answers_to(&delivery.body);
                if !reports.is_empty() {
                    self.turns.ordered();
                }
                let answer = (reports, Some(delivery));
                answered.send(answer).await.expect("it reports");
            }
        };
        tokio::join!(beats, work, self.report(answers));
    }

    /// Sends whatever is there, in as few messages as it takes. Only then the orders are acknowledged.
    async fn report(&self, mut answers: mpsc::Receiver<(Vec<Report>, Option<Delivery>)>) {
        let mut taken = Vec::new();
        while answers.recv_many(&mut taken, UNANSWERED_MAX).await > 0 {
            let (reports, deliveries): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
            if !reports.iter().all(Vec::is_empty) {
                self.turns.freed();
            }
            let reports = reports.into_iter().flatten().map(|report| {
                let report = NumberedReport {
                    seq: 0,
                    at_ms: 0,
                    report,
                };
                to_raw_value(&report).expect("JSON")
            });
            let (mut packer, mut packed) = (Packer::default(), Vec::new());
            for report in reports {
                let bytes = Packer::sealed(report.get());
                if !packer.take(bytes) {
                    self.publish(std::mem::take(&mut packed)).await;
                    packer = Packer::default();
                    packer.take(bytes);
                }
                packed.push(report);
            }
            if !packed.is_empty() {
                self.publish(packed).await;
            }
            // Those that are too late come again, and are answered again.
            Delivery::ack_all(deliveries.into_iter().flatten()).await;
        }
    }

    async fn publish(&self, reports: Vec<Box<RawValue>>) {
        let envelope = ReportEnvelope {
            version: WIRE_VERSION,
            worker: self.id.clone(),
            reports,
        };
        let sealed = self
            .key
            .worker(&self.id)
            .seal(&self.id, &envelope)
            .expect("sealed");
        let sealed = bytes::Bytes::from(sealed);
        while self.broker.publish_report(sealed.clone()).await.is_err() {}
    }

    fn answers_to(&self, sealed: &[u8]) -> Vec<Report> {
        let key = self.key.worker(&self.id);
        let body = key.open_to(ToWorker::Orders, &self.id, sealed);
        let envelope: OrderEnvelope = read_envelope(body.expect("sealed")).expect("orders");
        let orders = envelope.orders.iter();
        let orders = orders.map(|order| serde_json::from_str(order.get()).expect("an order"));
        orders.flat_map(|order| answers(&order)).collect()
    }

    async fn beat(&self) {
        let beat = Live::Heartbeat(Box::new(Heartbeat {
            worker: self.id.clone(),
            session: "s".to_owned(),
            at_ms: 0,
            host: HostUse::default(),
            gpus: Vec::new(),
            attempts: Vec::new(),
            kept: None,
        }));
        let sealed = self
            .key
            .worker(&self.id)
            .seal(&self.id, &beat)
            .expect("sealed");
        drop(
            self.broker
                .publish_live(&topic::heartbeat(&self.id), sealed.into())
                .await,
        );
    }

    fn hello(&self, gpus: u32) -> Report {
        let gpus = (0..gpus).map(|index| GpuDevice {
            id: format!("GPU-{}-{index}", self.id).parse().expect("a name"),
            model: "Pretended".to_owned(),
            memory: ByteSize(1 << 34),
            healthy: true,
        });
        Report::Hello(Box::new(Hello {
            session: "s".to_owned(),
            agent: "0".to_owned(),
            engine: "none".to_owned(),
            gpu_mode: "simulated".to_owned(),
            capacity: Capacity {
                cpu: MilliCpu(1_000_000),
                memory: ByteSize(1 << 40),
                gpus: gpus.collect(),
                slots_per_gpu: 1,
                labels: BTreeMap::new(),
                volumes: BTreeMap::new(),
            },
            images: std::collections::BTreeSet::new(),
            closed: None,
            taken: std::collections::BTreeMap::new(),
            egress: String::new(),
            build_egress: String::new(),
            instance: String::new(),
            host: String::new(),
            attempts: Vec::new(),
        }))
    }
}

/// What a worker reports that is done with everything at once. Repeated orders are answered again.
fn answers(order: &AttemptOrder) -> Vec<Report> {
    let attempt = || order.attempt;
    let finished = |outcome: Outcome| Report::Finished {
        attempt: attempt(),
        outcome,
        ran_ms: 1,
        log_bytes: 0,
        results: None,
    };
    match &order.order {
        Order::Run(_) => vec![
            Report::Accepted { attempt: attempt() },
            Report::Entered {
                attempt: attempt(),
                phase: AttemptPhase::Running,
                note: String::new(),
            },
            finished(Outcome::new(Cause::Succeeded, "")),
        ],
        Order::Stop { outcome, .. } => vec![finished(outcome.clone())],
        Order::Pause | Order::Unpause | Order::Forget | Order::Unknown => Vec::new(),
    }
}
