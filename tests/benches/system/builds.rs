//! A build after one file changed, beside `docker build` of the same folder, by turns.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dopq_common::id::Digest;
use dopq_tests::bundle::Bundle;
use dopq_tests::engine::sweep;
use dopq_tests::programs::unique;
use dopq_worker::docker::{
    BuildLimits, BuildRequest, Client, Engine, LABEL_CLUSTER, NameKey, SecretFiles,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Scale;
use crate::row::{Row, Spread, Unit};

const SOCKET: &str = "unix:///var/run/docker.sock";
const DOCKERFILE: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY requirements.txt /\n\
    RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo installed > /installed\"]\nCOPY . /code/\n";
const FILES: u32 = 500;
const DATA_BYTES: usize = 20 * 1024 * 1024;

/// What a build may take longer than `docker build`, in seconds.
const MORE: f64 = 0.05;

struct Bench {
    cluster: String,
    engine: Engine,
    bundle: Bundle,
}

impl Drop for Bench {
    fn drop(&mut self) {
        sweep(&self.cluster);
    }
}

impl Bench {
    fn new() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| SOCKET.to_owned());
        let bundle = Bundle::script("admin", "bench", "true");
        bundle.file("Dockerfile", DOCKERFILE.as_bytes());
        bundle.file("requirements.txt", b"torch\n");
        for n in 0..FILES {
            let text = format!("# module {n}\n").repeat(300);
            bundle.file(&format!("module{n}.py"), text.as_bytes());
        }
        bundle.file("data", &vec![b'x'; DATA_BYTES]);
        Self {
            cluster: unique("alone"),
            engine: Engine::Docker(Client::new(&host)),
            bundle,
        }
    }

    fn change(&self, text: &str) {
        self.bundle.file("main.py", text.as_bytes());
    }

    /// As the worker builds it; the bundle is on the machine already.
    async fn ours(&self, round: u32) -> f64 {
        self.change(&format!("ours {round}"));
        let zip = self.bundle.path().with_extension("zip");
        self.bundle.zip_to(&zip);
        let names = NameKey::new([7; 32]);
        let user = "admin".parse().expect("a name");
        let digest = Digest(*blake3::hash(&round.to_le_bytes()).as_bytes());
        let request = BuildRequest {
            tag: names.image(&user, digest, &BTreeMap::new()),
            space: names.space(&user, "bench"),
            labels: BTreeMap::from([(LABEL_CLUSTER.to_owned(), self.cluster.clone())]),
            bundle: zip.clone(),
            args: BTreeMap::new(),
            secrets: SecretFiles::default(),
            limits: BuildLimits::default(),
        };
        let (output, mut lines) = mpsc::channel(16);
        let start = Instant::now();
        let building = self
            .engine
            .build(&request, output, CancellationToken::new());
        let (built, ()) = tokio::join!(building, async { while lines.recv().await.is_some() {} });
        let took = start.elapsed().as_secs_f64();
        built.expect("built");
        std::fs::remove_file(&zip).expect("removed");
        took
    }

    fn theirs(&self, docker: &Path, round: u32) -> Option<f64> {
        self.change(&format!("theirs {round}"));
        let start = Instant::now();
        let output = Command::new(docker)
            .env("DOCKER_BUILDKIT", "1")
            .args(["build", "--tag", &format!("{}:{round}", self.cluster)])
            .args(["--label", &format!("{LABEL_CLUSTER}={}", self.cluster)])
            .arg(self.bundle.path())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| start.elapsed().as_secs_f64())
    }
}

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let bench = Bench::new();
    bench.ours(0).await;
    // Not every command line can ask for BuildKit by itself.
    let known = ["docker", "/usr/bin/docker"].map(Path::new);
    let docker = known
        .into_iter()
        .find(|docker| bench.theirs(docker, 0).is_some());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=scale.pick(20, 5) {
        ours.push(bench.ours(round).await);
        theirs.extend(docker.and_then(|docker| bench.theirs(docker, round)));
    }
    let row = Row::new("build after one file changed", Unit::Seconds, &ours);
    if theirs.is_empty() {
        return vec![row];
    }
    let reach = Spread::of(&theirs).median + MORE;
    vec![row.reach(reach).beside("docker build", &theirs)]
}
