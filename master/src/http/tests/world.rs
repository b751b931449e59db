//! A master in one process: a real driver over an embedded store, an in-process broker, a local bundle store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dopq_common::api::Role;
use dopq_common::broker::{Broker, LiveStream, inproc};
use dopq_common::bundle::{Limits, config as documents};
use dopq_common::id::{AttemptId, Epoch, JobId, JobKey, UserName, WorkerId};
use dopq_common::job::{BundleRef, Cause, Outcome};
use dopq_common::resources::{ByteSize, Capacity, GpuDevice, MilliCpu};
use dopq_common::sched::{self, Event, Progress, Submission};
use dopq_common::secret::Secret;
use dopq_common::time::Timestamp;
use dopq_common::wire::{AttemptPhase, ClusterKey, Live, topic};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ask::{Ask, Reply};
use crate::accounts::{Uses, mint};
use crate::audit::AuditLog;
use crate::bundles::{Bundles, Intake};
use crate::clock;
use crate::config;
use crate::driver::{self, Handle, Parts};
use crate::http::app::{App, Context, Ctx, Settings};
use crate::http::router::assemble;
use crate::http::table::{Route, table};
use crate::keys::NodeKeys;
use crate::leader::{self, Standing};
use crate::metrics::{Board, Metrics, Part, PartState};
use crate::quota::Quota;
use crate::reload::Reloader;
use crate::retention;
use crate::store::{self, Account, AccountChange, AuditEntry, LeaderInfo, Loaded, Store};
use crate::telemetry::Heard;
use crate::view::View;

/// The accounts of every world.
const PEOPLE: [(&str, Role); 4] = [
    ("root", Role::Admin),
    ("olga", Role::Operator),
    ("anna", Role::User),
    ("bert", Role::User),
];

/// Removes all that is not needed, however young, unless there is a quota.
fn retention_parts(app: &App, bundles: &Bundles) -> retention::Parts {
    let keep = match app.intake.quota().limit() {
        Some(_) => config::Retention::default().logs,
        None => Duration::ZERO,
    };
    retention::Parts {
        bundles: bundles.clone(),
        view: app.handle.view().clone(),
        settings: config::Retention {
            bundles: keep,
            logs: keep,
            results: keep,
            checkpoints: keep,
            min_age: Duration::ZERO,
            ..config::Retention::default()
        },
        space: |_| Err(std::io::ErrorKind::Unsupported.into()),
        grace: Duration::ZERO,
        quota: app.intake.quota().clone(),
        metrics: app.metrics.clone(),
        board: app.board.clone(),
    }
}

/// The key of the jobs that a world submits by itself.
const KEY: JobKey = JobKey([7; 16]);

pub(super) struct World {
    context: Ctx,
    router: Router,
    pub(super) handle: Handle,
    pub(super) bundles: Bundles,
    broker: Broker,
    key: ClusterKey,
    tokens: BTreeMap<&'static str, Secret>,
    store: Store,
    prunings: Option<retention::Requests>,
    _stop: DropGuard,
    _dir: TempDir,
}

impl World {
    /// A world whose master leads.
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other settings.
    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::leading(change, Quota::default()).await
    }

    /// A world where each user may keep so many bytes, and sweeps remove nothing young.
    pub(super) async fn with_quota(bytes: u64) -> Self {
        Self::leading(|_| {}, Quota::new(Some(ByteSize(bytes)))).await
    }

    async fn leading(change: impl FnOnce(&mut Settings), quota: Quota) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let view = View::new(scheduler());
        let (handle, inputs) = driver::channel(view);
        let mut world = Self::around(dir, handle, change, quota).await;
        let store = world.store.clone();
        let app = &world.context.app;
        let parts = Parts {
            store,
            broker: world.broker.clone(),
            bundles: world.bundles.clone(),
            keys: app.keys.clone(),
            cluster: "default".to_owned(),
            data_urls: Vec::new(),
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
            handle: world.handle.clone(),
            heard: Heard::default(),
            metrics: app.metrics.clone(),
            board: app.board.clone(),
        };
        let options = leader::Options {
            me: LeaderInfo {
                id: "me".to_owned(),
                url: "http://127.0.0.1:1".to_owned(),
            },
            ttl: Duration::from_secs(60),
            poll: Duration::from_millis(50),
        };
        let (standing, mut stands) = watch::channel(Standing::Unknown);
        let stop = app.shutdown.clone();
        tokio::spawn(leader::run(options, parts, inputs, standing, stop));
        let leads = stands.wait_for(|standing| *standing == Standing::Leads);
        leads.await.expect("the lead");
        if let Some(prunings) = world.prunings.take() {
            let parts = retention_parts(app, &world.bundles);
            tokio::spawn(retention::run(
                parts,
                prunings,
                stands,
                app.shutdown.clone(),
            ));
        }
        let now = clock::now();
        for part in [Part::Scheduler, Part::Store, Part::Broker] {
            app.board.set(now, part, PartState::Up, "");
        }
        for account in world.accounts() {
            let change = AccountChange::Set(account);
            let changed = world.handle.change_account(change, audit()).await;
            changed.expect("account");
        }
        world
    }

    /// A world whose master follows another.
    pub(super) async fn standby(leader_url: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let view = View::new(scheduler());
        let (handle, _) = driver::channel(view.clone());
        let mut world = Self::around(dir, handle, |_| {}, Quota::default()).await;
        let accounts = world.accounts();
        let loaded = Loaded {
            seq: 1,
            epoch: Epoch(1),
            changes: Vec::new(),
            accounts,
            nodes: Vec::new(),
        };
        view.reload(loaded);
        view.stand_by(leader_url.map(str::to_owned));
        world.router = assemble(Arc::clone(&world.context), table());
        world
    }

    async fn around(
        dir: TempDir,
        handle: Handle,
        change: impl FnOnce(&mut Settings),
        quota: Quota,
    ) -> Self {
        let store = Store::open(store::Options::Embedded {
            dir: dir.path().join("store"),
        });
        let store = store.await.expect("store");
        let (audit, writer) = AuditLog::of(store.clone());
        let path = dir.path().join("bundles");
        let url = path.to_str().expect("path");
        let (pruner, prunings) = retention::channel();
        let bundles = Bundles::open(url, &BTreeMap::new()).expect("bundles");
        let spool = dir.path().join("spool");
        let intake = Intake::new(bundles.clone(), &spool, Limits::default()).expect("spool");
        let intake = intake.with_quota(quota);
        let broker = Broker::Inproc(inproc::Broker::new(inproc::Options::default()));
        let key = ClusterKey::from_secret("secret");
        let mut settings = Settings {
            cluster: "default".to_owned(),
            bundle_max_bytes: 1 << 30,
            results_max_bytes: 1 << 30,
            checkpoint_max_bytes: 1 << 31,
            min_free_bytes: 0,
            signed_url_ttl: Duration::from_secs(60),
            privacy: config::Privacy::Open,
            open_metrics_on_loopback: false,
        };
        change(&mut settings);
        let shutdown = CancellationToken::new();
        tokio::spawn(writer.run(shutdown.clone()));
        let context = Context::new(App {
            handle: handle.clone(),
            bundles: bundles.clone(),
            pruner,
            audit,
            management: None,
            uses: Uses::of(store.clone()),
            intake,
            broker: broker.clone(),
            keys: NodeKeys::new(key.clone(), handle.view().clone(), true),
            settings,
            reloader: Reloader::of_defaults(handle.clone()),
            metrics: Metrics::default(),
            board: Board::default(),
            shutdown: shutdown.clone(),
        });
        Self {
            router: assemble(Arc::clone(&context), table()),
            context,
            handle,
            bundles,
            broker,
            key,
            tokens: BTreeMap::new(),
            store,
            prunings: Some(prunings),
            _stop: shutdown.drop_guard(),
            _dir: dir,
        }
        .with_tokens()
    }

    fn with_tokens(mut self) -> Self {
        for (name, _) in PEOPLE {
            let (secret, _) = mint(clock::now(), "", None).expect("random");
            self.tokens.insert(name, secret);
        }
        self
    }

    /// Everybody's account, with a record of the token that they hold here.
    fn accounts(&self) -> Vec<Account> {
        let account = |(who, role): (&'static str, Role)| {
            let (_, mut record) = mint(clock::now(), "", None).expect("random");
            record.hash = blake3::hash(self.token(who).as_bytes())
                .to_hex()
                .to_string();
            Account {
                tokens: vec![record],
                ..Account::new(name(who), role)
            }
        };
        PEOPLE.into_iter().map(account).collect()
    }

    /// The same world behind other routes.
    pub(super) fn with_routes(mut self, routes: Vec<Route>) -> Self {
        self.router = assemble(Arc::clone(&self.context), routes);
        self
    }

    pub(super) fn token(&self, who: &str) -> String {
        self.tokens.get(who).expect(who).reveal().to_owned()
    }

    /// An attempt's id; that of a job which is not there has the key of those that this world submits.
    pub(super) fn attempt(&self, job: u64, number: u32) -> AttemptId {
        let job = JobId(job);
        let view = self.handle.view();
        let key = view.read(|model| model.state.job(job).map(|job| job.key));
        let key = key.unwrap_or(KEY);
        AttemptId { job, number, key }
    }

    pub(super) fn attempt_token(&self, attempt: &str, worker: &str) -> String {
        let worker = machine(worker);
        let token = self.key.token(attempt.parse().expect("id"), &worker);
        let proof = self.key.worker(&worker).proof(token.reveal());
        proof.reveal().to_owned()
    }

    /// What a worker sends that asks how it stands, with the key that anybody makes who knows the secret.
    pub(super) fn standing_proof(&self, nonce: &str, worker: &str) -> String {
        let key = self.key.worker(&machine(worker));
        let proof = key.proof(&dopq_common::wire::Standing::question(nonce));
        proof.reveal().to_owned()
    }

    /// What each user keeps.
    pub(super) fn board(&self) -> &Board {
        &self.context.app.board
    }

    pub(super) fn quota(&self) -> &Quota {
        self.context.app.intake.quota()
    }

    /// What the store's audit log says who did to what, the newest first.
    pub(super) async fn audited(&self, limit: usize) -> Vec<(String, String, String)> {
        let lines = self.store.audit(limit).await.expect("lines").into_iter();
        let told = lines.map(|line| (line.by, line.action, line.target));
        told.collect()
    }

    /// Every line of the audit log, newest first.
    pub(super) async fn audit_log(&self) -> Vec<AuditEntry> {
        self.store.audit(10_000).await.expect("lines")
    }

    /// Appends a line to the audit log.
    pub(super) async fn audit(&self, line: AuditEntry) {
        self.context.app.audit.record(line).await.expect("recorded");
    }

    pub(super) fn request(&self, verb: &str, path: &str) -> Ask {
        Ask::new(self.router.clone(), verb, path)
    }

    pub(super) async fn upload(&self, who: &str, bytes: &[u8]) -> Reply {
        let digest = blake3::hash(bytes).to_hex();
        let request = self.request("PUT", &format!("/v1/bundles/{digest}"));
        request
            .token(&self.token(who))
            .body(bytes.to_vec())
            .send()
            .await
    }

    /// Is cancelled when the master is to end.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.context.app.shutdown
    }

    /// A machine with so many GPUs joins.
    pub(super) async fn worker(&self, id: &str, gpus: u32) {
        let gpu = |number| GpuDevice {
            id: format!("GPU-{id}-{number}").parse().expect("id"),
            model: "test".to_owned(),
            memory: ByteSize(ByteSize::GIB),
            healthy: true,
        };
        self.happens(Event::WorkerJoined {
            worker: machine(id),
            session: Arc::from("1"),
            capacity: Capacity {
                cpu: MilliCpu(64_000),
                memory: ByteSize(256 * ByteSize::GIB),
                gpus: (0..gpus).map(gpu).collect(),
                slots_per_gpu: 1,
                labels: BTreeMap::new(),
                volumes: BTreeMap::new(),
            },
            images: BTreeSet::new(),
            machine: Arc::new(sched::Machine {
                instance: format!("data-of-{id}"),
                host: format!("{id}.lab (10.0.0.1)"),
                agent: "9.9.9".to_owned(),
                engine: "29.1.2".to_owned(),
                ..sched::Machine::default()
            }),
            known: Vec::new(),
        })
        .await;
    }

    async fn happens(&self, event: Event) {
        self.handle.act(event, audit()).await.expect("event");
    }

    /// A job of a user, without a bundle in the store; its id.
    pub(super) async fn submit(&self, who: &str) -> u64 {
        self.submitted(who, None).await
    }

    async fn submitted(&self, who: &str, bundle: Option<BundleRef>) -> u64 {
        self.accepted(who, config(who), bundle).await
    }

    /// The bundle store forgets everything.
    pub(super) fn lose_bundles(&self) {
        let folder = self._dir.path().join("bundles/bundles");
        std::fs::remove_dir_all(folder).expect("bundles");
    }

    /// A job for one GPU with these fields; its id.
    pub(super) async fn submit_with(&self, who: &str, fields: &serde_json::Value) -> u64 {
        let overrides = fields.as_object().expect("an object");
        let config = documents::merge(&config(who), overrides).expect("configuration");
        self.accepted(who, config, None).await
    }

    async fn accepted(&self, who: &str, config: String, bundle: Option<BundleRef>) -> u64 {
        let submission = Submission {
            user: name(who),
            spec: Arc::new(documents::parse(&config).expect("configuration")),
            config: config.into(),
            bundle,
            key: None,
            job_key: KEY,
        };
        let accepted = self.handle.submit(submission).await;
        accepted.expect("accepted").job.0
    }

    /// A job whose first attempt runs on a machine of its own.
    pub(super) async fn running_job(&self, who: &str, worker: &str) -> u64 {
        self.worker(worker, 2).await;
        let job = self.submit(who).await;
        self.runs_again(job, 1, worker).await;
        job
    }

    /// A job with a bundle that is in the store. Without machines it waits.
    pub(super) async fn submit_bundle(&self, who: &str, bytes: &[u8]) -> u64 {
        let reply = self.upload(who, bytes).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
        let digest = dopq_common::id::Digest(*blake3::hash(bytes).as_bytes());
        let size_bytes = bytes.len() as u64;
        self.submitted(who, Some(BundleRef { digest, size_bytes }))
            .await
    }

    /// The same on a machine.
    pub(super) async fn running_bundle(&self, who: &str, worker: &str, bytes: &[u8]) -> u64 {
        self.worker(worker, 2).await;
        let job = self.submit_bundle(who, bytes).await;
        self.runs_again(job, 1, worker).await;
        job
    }

    /// Waits until the attempt has a machine, and has it run there.
    pub(super) async fn runs_again(&self, job: u64, number: u32, worker: &str) {
        let view = self.handle.view();
        let mut changes = view.watch();
        let placed = || {
            view.read(|model| {
                let job = model.state.job(JobId(job)).expect("job");
                job.attempt()
                    .is_some_and(|attempt| attempt.number == number)
            })
        };
        while !placed() {
            changes.recv().await.expect("changes");
        }
        let progress = Progress::Entered {
            phase: AttemptPhase::Running,
            note: String::new(),
        };
        self.reported(job, number, worker, progress).await;
    }

    /// The machine will not take the job's current attempt.
    pub(super) async fn refused(&self, job: u64, worker: &str) {
        let outcome = Outcome::new(Cause::EngineError, "on purpose");
        self.ended(job, worker, outcome, 0).await;
    }

    /// The job's current attempt has succeeded.
    pub(super) async fn finished(&self, job: u64, worker: &str, log_bytes: u64) {
        let mut outcome = Outcome::new(Cause::Succeeded, "");
        outcome.exit_code = Some(0);
        self.ended(job, worker, outcome, log_bytes).await;
    }

    /// The job's current attempt has failed by its own code.
    pub(super) async fn failed(&self, job: u64, worker: &str) {
        let mut outcome = Outcome::new(Cause::UserError, "the container exited with 3");
        outcome.exit_code = Some(3);
        self.ended(job, worker, outcome, 0).await;
    }

    async fn ended(&self, job: u64, worker: &str, outcome: Outcome, log_bytes: u64) {
        let last = |model: &crate::view::Model| {
            let job = model.state.job(JobId(job));
            job.map(|job| job.last_attempt)
        };
        let number = self.handle.view().read(last).expect("job");
        let progress = Progress::Finished {
            outcome,
            ran: Duration::from_secs(1),
            log_bytes,
            results: None,
        };
        self.reported(job, number, worker, progress).await;
    }

    pub(super) async fn reported(&self, job: u64, number: u32, worker: &str, progress: Progress) {
        self.happens(Event::Reported {
            worker: machine(worker),
            attempt: self.attempt(job, number),
            progress,
        })
        .await;
    }

    pub(super) async fn store_log(&self, job: u64, number: u32, offset: u64, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let stored = self
            .bundles
            .put_log(self.attempt(job, number), offset, bytes);
        stored.await.expect("stored");
    }

    /// What masters ask of a machine from now on.
    pub(super) async fn requests_to(&self, worker: &str) -> LiveStream {
        let topic = topic::requests(&machine(worker));
        let stream = self.broker.subscribe_live(&[topic.as_str()]).await;
        stream.expect("subscribed")
    }

    /// A machine sends a piece of the log live.
    pub(super) async fn tail(
        &self,
        job: u64,
        number: u32,
        worker: &str,
        offset: u64,
        bytes: &[u8],
    ) {
        let (attempt, worker) = (self.attempt(job, number), machine(worker));
        let live = Live::LogTail {
            attempt,
            offset,
            data: STANDARD.encode(bytes),
        };
        let sealed = self
            .key
            .worker(&worker)
            .seal(&worker, &live)
            .expect("sealed");
        let topic = topic::log(attempt);
        let sent = self.broker.publish_live(&topic, sealed.into()).await;
        sent.expect("sent");
    }
}

/// Retries at once, so that nothing waits.
fn scheduler() -> sched::Settings {
    sched::Settings {
        retry_backoff: Duration::ZERO,
        ..sched::Settings::default()
    }
}

fn name(text: &str) -> UserName {
    text.parse().expect("name")
}

fn machine(text: &str) -> WorkerId {
    text.parse().expect("name")
}

fn audit() -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(0),
        by: "test".to_owned(),
        action: "test".to_owned(),
        ..AuditEntry::default()
    }
}

/// A configuration of a user, for one GPU.
pub(super) fn config(who: &str) -> String {
    format!(r#"{{"name":"trial","executor_name":"{who}","required_memory":"1g","num_gpus":1}}"#)
}

/// A bundle with that configuration.
pub(super) fn zip(config: &str) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("container_config.json", config),
        ("Dockerfile", "FROM scratch\n"),
    ] {
        out.start_file(name, options).expect("entry");
        out.write_all(text.as_bytes()).expect("entry");
    }
    out.finish().expect("zip").into_inner()
}
