//! A private RabbitMQ, with its own name server, user and virtual host.
//!
//! The server's script is called directly: Debian's wrapper insists on the user `rabbitmq`.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Program, free_port};
use crate::wait_for;

const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const USER: &str = "dopq";
const PASSWORD: &str = "dopq-test";

/// A started RabbitMQ.
#[derive(Debug)]
pub struct RabbitMq {
    server: Program,
    // Erlang's name server; the server would start one that outlives it.
    _names: Program,
    folder: TempDir,
    port: u16,
    dist_port: u16,
    names_port: u16,
}

impl RabbitMq {
    /// Starts one, which takes some seconds.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with_settings("")
    }

    /// One that everybody who holds it at the same time shares; it takes some seconds to start.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RabbitMq>> = Mutex::new(Weak::new());
        // A test that failed to start it does not keep the others from trying.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Starts one with further lines of `rabbitmq.conf`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with_settings(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, dist_port, names_port) = (free_port(), free_port(), free_port());
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\n\
             default_user = {USER}\n\
             default_pass = {PASSWORD}\n\
             default_vhost = {USER}\n\
             default_user_tags.administrator = true\n\
             log.console = true\n\
             log.file = false\n\
             {settings}\n"
        );
        std::fs::write(folder.path().join("rabbitmq.conf"), config).expect("its configuration");
        if settings.contains("management.") {
            let plugins = folder.path().join("plugins");
            std::fs::write(plugins, "[rabbitmq_management].").expect("its plugins");
        }
        let mut names = Command::new("epmd");
        names.args(["-address", "127.0.0.1", "-port", &names_port.to_string()]);
        let names = Program::start(names, &folder.path().join("names.log"));
        wait_for("Erlang's name server", Duration::from_secs(20), || {
            TcpStream::connect(local(names_port)).ok()
        });
        let command = command(folder.path(), "rabbitmq-server", dist_port, names_port);
        let server = Program::start(command, &folder.path().join("server.log"));
        let rabbitmq = Self {
            server,
            _names: names,
            folder,
            port,
            dist_port,
            names_port,
        };
        rabbitmq.wait_until_ready();
        rabbitmq
    }

    /// Its URL with account and virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as(USER, PASSWORD)
    }

    /// Its URL with another account.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/{USER}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs `rabbitmqctl` and gives back what it printed. Commands about queues and the like want
    /// `-p dopq`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let (folder, dist, names) = (self.folder.path(), self.dist_port, self.names_port);
        let output = command(folder, "rabbitmqctl", dist, names)
            .arg("--quiet")
            .args(arguments)
            .output()
            .expect("rabbitmqctl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{error}");
        text
    }

    /// Runs a script of bash that calls `rabbitmqctl --node NODE …`, with these variables.
    ///
    /// # Panics
    /// When it fails.
    pub fn script(&self, script: &str, variables: &[(&str, &str)]) {
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        let ctl = bin.join("rabbitmqctl");
        let text = format!("#!/bin/sh\nshift 2\nexec {SCRIPTS}/rabbitmqctl \"$@\"\n");
        std::fs::write(&ctl, text).expect("written");
        std::fs::set_permissions(&ctl, Permissions::from_mode(0o755)).expect("executable");
        let of_server = command(
            self.folder.path(),
            "rabbitmqctl",
            self.dist_port,
            self.names_port,
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-euc", script]);
        let environment = of_server.get_envs();
        command.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        command.envs(variables.iter().copied());
        command.env("PATH", format!("{}:{path}", bin.display()));
        let output = command.output().expect("bash runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    }

    /// Ends it with SIGKILL, once its list of quorum queues is on disk. By itself RabbitMQ 3.10 writes that
    /// list every three minutes, and never again serves a queue that was younger than that when it died.
    pub fn kill(&mut self) {
        self.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]);
        self.server.kill();
    }

    /// Starts it again on the same data and port.
    pub fn start_again(&mut self) {
        let (folder, dist, names) = (self.folder.path(), self.dist_port, self.names_port);
        let command = command(folder, "rabbitmq-server", dist, names);
        self.server = Program::start(command, &folder.join("server.log"));
        self.wait_until_ready();
    }

    /// Removes everything that it holds; only while it is not running.
    ///
    /// # Panics
    /// When its data cannot be removed.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("data")).expect("its data is removed");
    }

    /// Freezes it, or lets it go on: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        self.server.signal(name);
    }

    /// Its listener is the last thing that it opens.
    fn wait_until_ready(&self) {
        wait_for("RabbitMQ to listen", Duration::from_secs(120), || {
            TcpStream::connect(local(self.port)).ok()
        });
    }
}

fn command(folder: &Path, script: &str, dist_port: u16, names_port: u16) -> Command {
    let mut command = Command::new(Path::new(SCRIPTS).join(script));
    command
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", format!("dopq{dist_port}@localhost"))
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", names_port.to_string())
        // The script then becomes the server, so that signals reach it.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        // One scheduler that does not spin is enough and leaves the machine to the tests.
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none");
    command
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
