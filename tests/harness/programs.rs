//! Masters and workers as separate processes, in both ways of running.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::Cli;
use crate::engine;
use crate::process::{Program, binary, free_port};
use crate::wait_for;

/// How long a program may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// Builds are not limited unless a test asks for it: other tests have containers on the same bridge.
const BUILDS_NETWORK: &str = "default";

/// A name that no other cluster of this machine has.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

/// One process with embedded store and broker.
#[derive(Debug)]
pub struct Standalone {
    /// The process.
    pub program: Program,
    /// The cluster's name, for labels at the engine.
    pub cluster: String,
    folder: TempDir,
    port: u16,
    gpus: u32,
    settings: Vec<(String, String)>,
}

impl Standalone {
    /// Starts one with `gpus` simulated GPUs and waits until it answers.
    #[must_use]
    pub fn start(gpus: u32) -> Self {
        Self::start_with(gpus, &[])
    }

    /// Like [`Standalone::start`], with further settings as environment variables.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(gpus: u32, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = unique("alone");
        let port = free_port();
        let settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let program = Self::launch(folder.path(), &cluster, port, gpus, &settings);
        let this = Self {
            program,
            cluster,
            folder,
            port,
            gpus,
            settings,
        };
        this.ready();
        this
    }

    fn launch(
        folder: &Path,
        cluster: &str,
        port: u16,
        gpus: u32,
        settings: &[(String, String)],
    ) -> Program {
        let mut command = Command::new(binary("dopq-master"));
        command
            .arg("--standalone")
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--simulated-gpus")
            .arg(gpus.to_string())
            .env("DOPQ_CLUSTER", cluster)
            .env("DOPQ_WORKER_BUILDS_NETWORK", BUILDS_NETWORK)
            .envs(settings.iter().map(|(key, value)| (key, value)));
        Program::start(command, &folder.join("master.log"))
    }

    fn ready(&self) {
        let admin = self.data_dir().join("admin.token");
        let url = self.url();
        wait_for("the standalone master", READY, || {
            let answers = http_ok(&format!("{url}/readyz"));
            (answers && admin.exists()).then_some(())
        });
    }

    /// Starts it again after its end, over the same data.
    pub fn restart(&mut self) {
        self.program = Self::launch(
            self.folder.path(),
            &self.cluster,
            self.port,
            self.gpus,
            &self.settings,
        );
        self.ready();
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line as its administrator.
    #[must_use]
    pub fn admin(&self) -> Cli {
        admin_of(&self.url(), &self.data_dir())
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        if self.program.runs() {
            self.program.kill();
        }
        engine::sweep(&self.cluster);
    }
}

/// One master of a cluster.
#[derive(Debug)]
pub struct Master {
    /// The process.
    pub program: Program,
    folder: TempDir,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Master {
    /// Starts one with `environment` and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(environment: &[(String, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let program = Self::launch(folder.path(), port, environment);
        let this = Self {
            program,
            folder,
            port,
            environment: environment.to_vec(),
        };
        this.ready();
        this
    }

    fn launch(folder: &Path, port: u16, environment: &[(String, String)]) -> Program {
        let mut command = Command::new(binary("dopq-master"));
        command
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .envs(environment.iter().map(|(key, value)| (key, value)));
        Program::start(command, &folder.join("master.log"))
    }

    fn ready(&self) {
        let url = self.url();
        wait_for("the master", READY, || {
            http_ok(&format!("{url}/readyz")).then_some(())
        });
    }

    /// Starts it again after its end, over the same data.
    pub fn restart(&mut self) {
        self.program = Self::launch(self.folder.path(), self.port, &self.environment);
        self.ready();
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The command line as the cluster's administrator; for the master that was started first.
    #[must_use]
    pub fn admin(&self) -> Cli {
        admin_of(&self.url(), &self.folder.path().join("data"))
    }
}

/// One worker of a cluster.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub program: Program,
    /// Its name.
    pub name: String,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Worker {
    /// Starts one named `name` with `gpus` simulated GPUs.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(name: &str, gpus: u32, environment: &[(String, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut environment = environment.to_vec();
        environment.push(("DOPQ_NAME".to_owned(), name.to_owned()));
        environment.push(("DOPQ_GPU_SIMULATED".to_owned(), gpus.to_string()));
        let program = Self::launch(folder.path(), &environment);
        Self {
            program,
            name: name.to_owned(),
            folder,
            environment,
        }
    }

    fn launch(folder: &Path, environment: &[(String, String)]) -> Program {
        let mut command = Command::new(binary("dopq-worker"));
        command
            .arg("--data-dir")
            .arg(folder.join("data"))
            .env("DOPQ_BUILDS_NETWORK", BUILDS_NETWORK)
            .envs(environment.iter().map(|(key, value)| (key, value)));
        Program::start(command, &folder.join("worker.log"))
    }

    /// Starts it again after its end, over the same data.
    pub fn restart(&mut self) {
        self.program = Self::launch(self.folder.path(), &self.environment);
    }
}

fn admin_of(url: &str, data_dir: &Path) -> Cli {
    let token = fs::read_to_string(data_dir.join("admin.token")).expect("the admin's token");
    Cli::new(url, token.trim())
}

/// Whether a GET is answered with 200.
fn http_ok(url: &str) -> bool {
    use std::io::{Read, Write};
    let Some((host, path)) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let Ok(mut stream) = std::net::TcpStream::connect(host) else {
        return false;
    };
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
