//! Runs the command line as a user would.

use std::process::{Command, Output};

use serde_json::Value;

use crate::process::binary;

/// The command line, logged in at one master as one user.
#[derive(Debug, Clone)]
pub struct Cli {
    url: String,
    token: String,
}

/// What a command gave.
#[derive(Debug)]
pub struct Answer {
    /// Exit code.
    pub code: i32,
    /// Standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.text(), self.stderr))
    }

    /// This answer, which must be a success.
    ///
    /// # Panics
    /// When the exit code is not 0.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.text(), self.stderr);
        self
    }
}

impl Cli {
    /// Logged in at `url` with `token`.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The command with `arguments`, not started yet, apart from the caller's own settings.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("dopq"));
        command
            .args(arguments)
            .env_remove("DOPQ_TOKEN_FILE")
            .env("HOME", std::env::temp_dir())
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("DOPQ_URL", &self.url)
            .env("DOPQ_TOKEN", &self.token);
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().expect("dopq runs");
        Answer {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Runs it and reads its JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        self.run(&arguments).ok().json()
    }

    /// Submits a folder or a zip; returns the job's id.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn submit(&self, path: &std::path::Path) -> u64 {
        let path = path.to_str().expect("a UTF-8 path");
        let job = self.json(&["submit", path]);
        job["id"].as_u64().expect("a job id")
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: u64) -> Value {
        self.json(&["show", &id.to_string()])
    }

    /// Waits for a job's end; returns the job.
    #[must_use]
    pub fn finished(&self, id: u64) -> Value {
        let answer = self.run(&["wait", &id.to_string(), "--timeout", "120s"]);
        assert_ne!(
            answer.code,
            124,
            "job {id} does not end: {:#}",
            self.job(id)
        );
        self.job(id)
    }

    /// A user with a token of its own.
    ///
    /// # Panics
    /// When the answers are not understood.
    #[must_use]
    pub fn add_user(&self, name: &str) -> Self {
        drop(self.run(&["user", "add", name]));
        let made = self.json(&["user", "token", "add", name]);
        Self::new(&self.url, made["token"].as_str().expect("a token"))
    }
}
