//! An engine with an image to run, and plans for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::bundle::config;
use dopq_common::id::{AttemptId, Digest, JobId, JobKey, UserName};
use dopq_common::resources::{Allocation, ByteSize, MilliCpu};
use dopq_common::time::Timestamp;
use dopq_tests::engine;
use dopq_tests::programs::unique;
use dopq_worker::docker::fake::{Fake, Program};
use dopq_worker::docker::{
    BuildError, BuildLimits, BuildNetwork, BuildRequest, Client, Engine, GpuAccess, ImageInfo,
    LABEL_CLUSTER, LABEL_USER, LogPiece, NameKey, Plan, PlanInput, PlanNetwork, RunSettings,
    SecretFiles, plan,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where the engine under test listens.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// The machine's own engine, as the environment names it.
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| SOCKET.to_owned())
}

/// The time, as the engine on this machine has it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_datetime(chrono::Utc::now())
}

/// Long enough for anything that ends, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The image that jobs run on.
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n";

/// An engine, and what it takes to run something on it.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) cluster: String,
    /// The image's id.
    pub(crate) image: String,
    /// Its name, for `FROM`.
    pub(crate) base: String,
    pub(crate) fake: Option<Fake>,
    folder: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.fake.is_none() {
            engine::sweep(&self.cluster);
        }
    }
}

impl Bench {
    /// The real engine, with an image that holds busybox.
    pub(crate) async fn docker() -> Self {
        Self::on(Engine::Docker(Client::new(&host()))).await
    }

    /// Any real engine.
    pub(crate) async fn on(engine: Engine) -> Self {
        let mut bench = Self::with(engine, None);
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let bundle = bench.zip(&[("Dockerfile", DOCKERFILE.as_bytes()), ("busybox", &busybox)]);
        let request = bench.request(&bundle);
        bench.image = bench.build(&request).await.expect("built");
        bench.base = request.tag;
        bench
    }

    /// The engine in memory, with an image.
    pub(crate) fn fake() -> Self {
        let fake = Fake::new();
        let image = fake.add_image("busybox");
        let mut bench = Self::with(Engine::Fake(fake.clone()), Some(fake));
        bench.image = image;
        bench
    }

    fn with(engine: Engine, fake: Option<Fake>) -> Self {
        Self {
            engine,
            cluster: unique("engine"),
            image: String::new(),
            base: String::new(),
            fake,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Says what the fake does where the real engine runs `shell`.
    pub(crate) fn script(&self, shell: &str, program: Program) -> &Self {
        if let Some(fake) = &self.fake {
            fake.script(shell, program);
        }
        self
    }

    /// A plan for the job's first attempt, which runs `shell`.
    pub(crate) fn plan(&self, job: u64, shell: &str) -> Plan {
        self.plan_with(job, shell, json!({}))
    }

    /// The same with `run_params`.
    pub(crate) fn plan_with(&self, job: u64, shell: &str, run_params: Value) -> Plan {
        let document = json!({
            "name": "test", "executor_name": "anna", "required_memory": "64m", "num_gpus": 0,
            "command": ["/bin/busybox", "sh", "-c", shell],
            "run_params": run_params,
        });
        let image = ImageInfo {
            id: self.image.clone(),
            ..ImageInfo::default()
        };
        self.plan_of(job, &document, &image)
    }

    /// A plan for the first job that runs the image's own command.
    pub(crate) fn plan_in(&self, image: &ImageInfo) -> Plan {
        let document = json!({
            "name": "test", "executor_name": "anna", "required_memory": "64m", "num_gpus": 0,
        });
        self.plan_of(1, &document, image)
    }

    fn plan_of(&self, job: u64, document: &Value, image: &ImageInfo) -> Plan {
        let document = document.to_string();
        let spec = config::parse(&document).expect("a sound document");
        let attempt = AttemptId {
            job: JobId(job),
            number: 1,
            key: JobKey([7; 16]),
        };
        let allocation = Allocation {
            gpus: Vec::new(),
            cpu: MilliCpu(500),
            memory: ByteSize(64 * ByteSize::MIB),
        };
        let input = PlanInput {
            spec: &spec,
            config: &document,
            cluster: &self.cluster,
            attempt,
            user: &anna(),
            digest: None,
            array_index: None,
            array_job: None,
            allocation: &allocation,
            image: &image.id,
            image_env: &image.env,
            secrets: &[],
            outdir: None,
            checkpoint: None,
            volumes: &[],
        };
        let mut plan = plan(&input, &settings()).expect("allowed");
        // Most cases need no network, and containers are made faster without.
        plan.network = PlanNetwork::None;
        plan
    }

    /// Creates and starts; gives the id.
    pub(crate) async fn run(&self, plan: &Plan) -> String {
        let created = self.engine.create(plan).await.expect("created");
        assert!(!created.existed);
        self.engine.start(&created.id).await.expect("started");
        created.id
    }

    /// The whole output, with what follows until the container ends.
    pub(crate) async fn output(&self, id: &str, follow: bool) -> Vec<LogPiece> {
        let pieces = self.engine.logs(id, false, follow);
        let pieces = pieces.map(|piece| piece.expect("readable")).collect();
        tokio::time::timeout(PATIENCE, pieces).await.expect("ends")
    }

    /// Waits until the output holds `word`, which the container prints when it is ready.
    pub(crate) async fn printed(&self, id: &str, word: &str) {
        let mut pieces = self.engine.logs(id, false, true);
        let mut all = Vec::new();
        let hears = async {
            while let Some(piece) = pieces.next().await {
                all.extend_from_slice(&piece.expect("readable").bytes);
                if String::from_utf8_lossy(&all).contains(word) {
                    return;
                }
            }
            panic!("it ended without {word}: {}", String::from_utf8_lossy(&all));
        };
        tokio::time::timeout(PATIENCE, hears).await.expect("prints");
    }

    /// Waits for the end; gives the exit code.
    pub(crate) async fn code(&self, id: &str) -> i32 {
        let exit = tokio::time::timeout(PATIENCE, self.engine.wait(id)).await;
        exit.expect("ends").expect("waited").code
    }

    /// A zip of these files; programs stay programs.
    pub(crate) fn zip(&self, files: &[(&str, &[u8])]) -> PathBuf {
        let path = self.folder.path().join(format!("{}.zip", unique("bundle")));
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("made"));
        let config = json!({"name": "test", "executor_name": "anna"}).to_string();
        let own = ("container_config.json", config.as_bytes());
        for (name, content) in files.iter().chain([&own]) {
            let program = content.starts_with(b"\x7fELF") || content.starts_with(b"#!");
            let options = zip::write::SimpleFileOptions::default().unix_permissions(if program {
                0o755
            } else {
                0o644
            });
            zip.start_file(*name, options).expect("started");
            zip.write_all(content).expect("written");
        }
        zip.finish().expect("finished");
        path
    }

    /// A request to build that bundle.
    pub(crate) fn request(&self, bundle: &Path) -> BuildRequest {
        // A user of this bench alone: another bench's clean-up must not take layers away.
        let user = format!("user-{}", self.cluster);
        self.request_of(&user.parse().expect("a name"), bundle)
    }

    /// The same for any user.
    pub(crate) fn request_of(&self, user: &UserName, bundle: &Path) -> BuildRequest {
        let hash = blake3::hash(format!("{}{}", self.cluster, bundle.display()).as_bytes());
        let labels = [
            (LABEL_CLUSTER, self.cluster.clone()),
            (LABEL_USER, user.to_string()),
        ];
        let names = NameKey::new(*blake3::hash(self.cluster.as_bytes()).as_bytes());
        BuildRequest {
            tag: names.image(user, Digest(*hash.as_bytes()), &BTreeMap::new()),
            space: names.space(user, "test"),
            args: BTreeMap::new(),
            secrets: SecretFiles::default(),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            bundle: bundle.to_owned(),
            limits: BuildLimits {
                network: BuildNetwork::None,
                total: PATIENCE,
                silent: PATIENCE,
                ..BuildLimits::default()
            },
        }
    }

    /// Builds; the output goes nowhere.
    pub(crate) async fn build(&self, request: &BuildRequest) -> Result<String, BuildError> {
        let (output, _) = mpsc::channel(1);
        self.engine
            .build(request, output, CancellationToken::new())
            .await
    }

    /// Builds; gives the output as well.
    pub(crate) async fn build_and_listen(
        &self,
        request: &BuildRequest,
    ) -> (Result<String, BuildError>, String) {
        let (output, mut lines) = mpsc::channel::<Bytes>(1);
        let building = self.engine.build(request, output, CancellationToken::new());
        let listening = async {
            let mut text = String::new();
            while let Some(line) = lines.recv().await {
                assert!(line.ends_with(b"\n"), "{line:?} is a whole line");
                text.push_str(&String::from_utf8_lossy(&line));
            }
            text
        };
        tokio::join!(building, listening)
    }
}

/// The user whose jobs run here.
pub(crate) fn anna() -> UserName {
    "anna".parse().expect("a name")
}

/// A worker's settings: no GPU, the engine's own bridge.
pub(crate) fn settings() -> RunSettings {
    RunSettings {
        worker: "bench".parse().expect("a name"),
        bridge: Some("bridge".to_owned()),
        publish: None,
        allow_host_network: false,
        pids: 256,
        gpu_access: GpuAccess::EnvironmentOnly,
        log_quota: ByteSize(64 * ByteSize::MIB),
        imgdir: None,
    }
}

/// All bytes of one stream, or of both.
pub(crate) fn joined(pieces: &[LogPiece], stderr: Option<bool>) -> Vec<u8> {
    let wanted = pieces
        .iter()
        .filter(|piece| stderr.is_none_or(|of| piece.stderr == of));
    wanted.flat_map(|piece| piece.bytes.clone()).collect()
}
