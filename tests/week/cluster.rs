//! A master and a worker in this process, on one disk, with the pretended engine.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dopq_common::api::{Bundle, Job, SubmitRequest};
use dopq_common::broker::{Broker, inproc};
use dopq_common::bundle::Limits;
use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_common::sched;
use dopq_common::settings::{ClusterName, Share};
use dopq_common::time::Timestamp;
use dopq_common::wire::ClusterKey;
use dopq_master::audit::AuditLog;
use dopq_master::bundles::{Bundles, Intake};
use dopq_master::config::{self, Privacy, Retention};
use dopq_master::disk::Space;
use dopq_master::driver::{self, Parts};
use dopq_master::keys::NodeKeys;
use dopq_master::leader::{self, Standing};
use dopq_master::metrics::{Board, Metrics};
use dopq_master::quota::Quota;
use dopq_master::reload::Reloader;
use dopq_master::store::{AccountChange, AuditEntry, LeaderInfo, Options, Store};
use dopq_master::telemetry::{self, Heard};
use dopq_master::view::View;
use dopq_master::{accounts, http, retention};
use dopq_worker::docker::Engine;
use dopq_worker::docker::fake::{Fake, Program};
use reqwest::{Client, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const IMAGE_BYTES: u64 = 16 << 20;
pub(crate) const RESULTS_BYTES: u64 = 256 << 10;
pub(crate) const LOG_BYTES: u64 = 32 << 10;
const BUNDLE_BYTES: usize = 128 << 10;

/// Far more than anything here needs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections of one address.
const CONNECTIONS: usize = 1000;
/// As many as a user may have.
const UPLOADS: usize = 4;
/// Between two looks at a job that runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const GPUS: u32 = 16;
const ROOT: &str = "root";

pub(crate) struct Cluster {
    fake: Fake,
    url: String,
    client: Client,
    token: String,
    uploads: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Cluster {
    /// Starts both, with all that they keep below `disk`.
    pub(crate) async fn start(disk: &Path) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let broker = Broker::Inproc(inproc::Broker::default());
        let key = ClusterKey::from_secret("a secret for tests");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let folder = |name: &str| disk.join(name);
        let bundles = folder("bundles").display().to_string();
        let bundles = Bundles::open(&bundles, &BTreeMap::new()).expect("a store");

        let view = View::new(sched::Settings::default());
        let keys = NodeKeys::new(key.clone(), view.clone(), true);
        let (handle, inputs) = driver::channel(view);
        let dir = folder("store");
        let store = Store::open(Options::Embedded { dir }).await;
        let parts = Parts {
            store: store.expect("a store"),
            broker: broker.clone(),
            bundles: bundles.clone(),
            keys: keys.clone(),
            cluster: ClusterName::default().to_string(),
            data_urls: vec![url.clone()],
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
            handle: handle.clone(),
            heard: Heard::default(),
            metrics: Metrics::default(),
            board: Board::default(),
        };
        tasks.spawn(telemetry::run(
            broker.clone(),
            keys.clone(),
            handle.view().clone(),
            parts.heard.clone(),
            parts.metrics.clone(),
            stop.clone(),
        ));
        let lead = leader::Options {
            me: LeaderInfo {
                id: "week".to_owned(),
                url: url.clone(),
            },
            ttl: Duration::from_secs(60),
            poll: Duration::from_millis(50),
        };
        let (standing, mut stands) = watch::channel(Standing::Unknown);
        tasks.spawn(leader::run(
            lead,
            parts.clone(),
            inputs,
            standing,
            stop.clone(),
        ));
        let leads = stands.wait_for(|standing| *standing == Standing::Leads);
        leads.await.expect("the lead");

        let (secret, root) =
            accounts::first_admin(ROOT.parse().expect("a name"), Timestamp::from_millis(0))
                .expect("random numbers");
        let audit = AuditEntry {
            at: Timestamp::from_millis(0),
            by: ROOT.to_owned(),
            action: "user.add".to_owned(),
            target: ROOT.to_owned(),
            ..AuditEntry::default()
        };
        let added = handle.change_account(AccountChange::Set(root), audit).await;
        added.expect("an account");

        let (pruner, prunings) = retention::channel();
        let keep = retention::Parts {
            bundles: bundles.clone(),
            view: handle.view().clone(),
            settings: Retention {
                store_size: Some(ByteSize(150 << 20)),
                min_age: Duration::from_secs(1),
                every: Duration::from_secs(4),
                ..Retention::default()
            },
            space: Space::of,
            grace: Duration::from_millis(100),
            quota: Quota::default(),
            metrics: parts.metrics.clone(),
            board: parts.board.clone(),
        };
        tasks.spawn(retention::run(keep, prunings, stands, stop.clone()));
        let intake = Intake::new(bundles.clone(), &folder("spool"), Limits::default());
        let (audit, writer) = AuditLog::of(parts.store.clone());
        tasks.spawn(writer.run(stop.clone()));
        let arguments = config::Args {
            standalone: true,
            config: Some("/dev/null".into()),
            ..config::Args::default()
        };
        let (defaults, _) = config::read(&arguments, []).expect("the defaults are right");
        let source = config::Source::new(arguments, &defaults);
        let router = http::router(http::App {
            reloader: Reloader::new(source, handle.clone()),
            handle,
            bundles,
            intake: intake.expect("a spool"),
            pruner,
            audit,
            management: None,
            uses: accounts::Uses::of(parts.store.clone()),
            broker: broker.clone(),
            keys,
            settings: http::Settings {
                cluster: ClusterName::default().to_string(),
                bundle_max_bytes: 1 << 30,
                results_max_bytes: 1 << 30,
                checkpoint_max_bytes: 1 << 31,
                min_free_bytes: 64 << 20,
                signed_url_ttl: Duration::from_secs(60),
                privacy: Privacy::Open,
                open_metrics_on_loopback: false,
            },
            metrics: parts.metrics.clone(),
            board: parts.board.clone(),
            shutdown: stop.clone(),
        });
        tasks.spawn(http::serve(
            listener,
            None,
            router,
            CONNECTIONS,
            stop.clone(),
        ));

        let fake = Fake::new();
        std::fs::create_dir_all(folder("engine")).expect("a folder");
        fake.keep_images_in(&folder("engine"), IMAGE_BYTES);
        fake.script("work", program());
        let (engine, options) = (Engine::Fake(fake.clone()), worker(&key, &folder("worker")));
        let stopped = stop.clone();
        tasks.spawn(async move {
            let ran = dopq_worker::run_on(engine, options, broker, stopped).await;
            ran.expect("the worker");
        });
        Self {
            fake,
            url,
            client: Client::new(),
            token: secret.reveal().to_owned(),
            uploads: Semaphore::new(UPLOADS),
            tasks,
            stop,
        }
    }

    /// Submits a bundle as the command line does, and waits until its job has succeeded.
    pub(crate) async fn run(&self, bundle: &Bytes) -> u64 {
        let digest = blake3::hash(bundle).to_hex().to_string();
        let job = loop {
            if self.get(&format!("bundles/{digest}")).await.status() == StatusCode::NOT_FOUND {
                let _permit = self.uploads.acquire().await.expect("open");
                let put = self.client.put(format!("{}/v1/bundles/{digest}", self.url));
                let put = put.bearer_auth(&self.token).body(bundle.clone());
                let stored: Bundle = json(put.send().await.expect("an answer")).await;
                assert_eq!(stored.digest, digest);
            }
            let request = SubmitRequest {
                bundle: digest.clone(),
                overrides: serde_json::Map::new(),
            };
            let post = self.client.post(format!("{}/v1/jobs", self.url));
            let post = post.bearer_auth(&self.token).json(&request);
            let submitted = post.send().await.expect("an answer");
            // It was removed since it was found.
            if submitted.status() != StatusCode::NOT_FOUND {
                break json::<Job>(submitted).await.id;
            }
        };
        let ended = async {
            loop {
                let shown: Job = json(self.get(&format!("jobs/{job}")).await).await;
                match shown.outcome {
                    Some(outcome) => return outcome,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, ended).await;
        let outcome = outcome.expect("an end in time");
        assert_eq!(outcome.cause, "succeeded", "job {job}: {outcome:?}");
        job
    }

    /// The size of a job's results.
    pub(crate) async fn results(&self, job: u64) -> u64 {
        size(self.get(&format!("jobs/{job}/results")).await).await
    }

    /// The size of a job's log.
    pub(crate) async fn log(&self, job: u64) -> u64 {
        size(self.get(&format!("jobs/{job}/logs")).await).await
    }

    /// How many images were built.
    pub(crate) fn builds(&self) -> u64 {
        let calls = self.fake.calls();
        let builds = calls.iter().filter(|call| call.starts_with("build "));
        u64::try_from(builds.count()).expect("a number")
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(PATIENCE, self.tasks.wait()).await;
        ended.expect("an end in time");
    }

    async fn get(&self, path: &str) -> Response {
        let get = self.client.get(format!("{}/v1/{path}", self.url));
        let answer = get.bearer_auth(&self.token).send().await;
        answer.expect("an answer")
    }
}

fn worker(key: &ClusterKey, folder: &Path) -> dopq_worker::Options {
    let name = "gpu-1".parse().expect("a name");
    dopq_worker::Options {
        master_ca_pem: None,
        key: key.worker(&name),
        name,
        settings: dopq_worker::Settings {
            data_dir: folder.to_owned(),
            cpus: Some(MilliCpu(64_000)),
            memory: Some(ByteSize(64 * ByteSize::GIB)),
            gpu: dopq_worker::GpuOptions {
                simulated: Some(GPUS),
                ..dopq_worker::GpuOptions::default()
            },
            limits: dopq_worker::Limits {
                bundles: ByteSize(16 << 20),
                min_free_disk: ByteSize(64 << 20),
                ..dopq_worker::Limits::default()
            },
            retention: dopq_worker::Retention {
                images_high: Share(0.7),
                images_low: Share(0.6),
                ..dopq_worker::Retention::default()
            },
            ..dopq_worker::Settings::default()
        },
    }
}

/// Prints a log and leaves results.
fn program() -> Program {
    let line = vec![b'x'; 1023];
    let line = [line.as_slice(), b"\n"].concat();
    let lines = usize::try_from(LOG_BYTES / 1024).expect("a number");
    let results = vec![1; usize::try_from(RESULTS_BYTES).expect("a number")];
    Program::new()
        .prints(line.repeat(lines))
        .leaves("results", results)
}

/// A bundle that no other equals.
pub(crate) fn bundle(number: u64) -> Bytes {
    let config = serde_json::json!({
        "name": format!("job-{number}"),
        "executor_name": ROOT,
        "required_memory": "64m",
        "num_gpus": 1,
        "command": ["work"],
    });
    let mut random = vec![0; BUNDLE_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.finalize_xof().fill(&mut random);
    let files = [
        ("container_config.json", config.to_string().into_bytes()),
        ("Dockerfile", b"FROM scratch\n".to_vec()),
        ("data", random),
    ];
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default();
        let options = options.compression_method(zip::CompressionMethod::Stored);
        out.start_file(name, options).expect("an entry");
        out.write_all(&content).expect("an entry");
    }
    out.finish().expect("a zip").into_inner().into()
}

async fn json<T: serde::de::DeserializeOwned>(answer: Response) -> T {
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("its form")
}

async fn size(answer: Response) -> u64 {
    assert!(answer.status().is_success(), "{}", answer.status());
    let body = answer.bytes().await.expect("a body");
    u64::try_from(body.len()).expect("a size")
}
