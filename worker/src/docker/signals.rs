//! Asks a container's program to end.
//!
//! The engine signals only the container's first process, which is often a shell, or an init above a shell. A shell
//! dies of the signal or ignores it, and the program never hears of it. So a script in the container finds the program.

use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecOptions};

use super::client::Client;
use super::error::Error;
use super::types::Signal;

const CALL: &str = "signal";

/// Finds the program in the container and signals it; see its head.
const SCRIPT: &str = include_str!("ask_to_end.sh");

/// How long the container's shell may take. It is the user's, so it may do anything.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Client {
    /// Signals the container's program; where it has no shell to find it with, the container's first process.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; and any other.
    pub async fn ask_to_end(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        if let Some(number) = signal.number() {
            let told = tokio::time::timeout(SCRIPT_DEADLINE, self.tell_program(id, number));
            match told.await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Err(error @ (Error::Conflict { .. } | Error::NotFound { .. }))) => {
                    return Err(error);
                }
                Ok(Ok(false) | Err(_)) | Err(_) => {
                    tracing::debug!(container.id = id, "signalling its first process alone");
                }
            }
        }
        self.kill(id, signal).await
    }

    /// Whether the script ran and found somebody to signal.
    async fn tell_program(&self, id: &str, number: u32) -> Result<bool, Error> {
        let docker = self.docker(CALL).await?;
        let number = number.to_string();
        let options = CreateExecOptions {
            cmd: Some(vec!["/bin/sh", "-c", SCRIPT, "sh", &number]),
            ..CreateExecOptions::default()
        };
        let exec = self.call(CALL, docker.create_exec(id, options)).await?.id;
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        self.call(CALL, docker.start_exec(&exec, Some(detached)))
            .await?;
        loop {
            let seen = self.call(CALL, docker.inspect_exec(&exec)).await?;
            if seen.running != Some(true) {
                return Ok(seen.exit_code == Some(0));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
