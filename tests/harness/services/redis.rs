//! A private Redis with an append-only file.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Program, free_port};
use crate::wait_for;

const PASSWORD: &str = "dopq-test";

/// A started Redis.
#[derive(Debug)]
pub struct Redis {
    program: Program,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Redis {
    /// Starts one that keeps what it is given: `appendonly yes`, `appendfsync always`, `noeviction`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with_settings(&[])
    }

    /// Starts one with further settings, which win, as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with_settings(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let program = run(&folder, port, &settings);
        let redis = Self {
            program,
            folder,
            port,
            settings,
        };
        redis.wait_until_ready();
        redis
    }

    /// Its URL with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// Runs one command and gives its answer back.
    ///
    /// # Panics
    /// When it fails.
    pub fn command(&self, command: &[&str]) -> redis::Value {
        let (name, arguments) = command.split_first().expect("a command");
        let mut call = redis::cmd(name);
        call.arg(arguments);
        let client = redis::Client::open(self.url()).expect("a valid URL");
        let mut connection = client.get_connection().expect("Redis answers");
        call.query(&mut connection).expect("the command succeeds")
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again on the same data and port.
    pub fn start_again(&mut self) {
        self.program = run(&self.folder, self.port, &self.settings);
        self.wait_until_ready();
    }

    /// Freezes it, or lets it go on: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    fn wait_until_ready(&self) {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        wait_for("Redis to answer", Duration::from_secs(20), || {
            let mut connection = client.get_connection().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
    }
}

fn run(folder: &TempDir, port: u16, settings: &[String]) -> Program {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--requirepass", PASSWORD, "--daemonize", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--save", "", "--maxmemory-policy", "noeviction"])
        .args(settings);
    Program::start(command, &folder.path().join("log"))
}
