//! What every command gets: the output, the environment, and a client for the master.

use chrono::{DateTime, Utc};

use crate::client::Client;
use crate::config::{self, Environment, File, Flags};
use crate::failure::Failure;
use crate::output::Output;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where to write.
    pub(crate) output: Output,
    /// The process environment.
    pub(super) environment: Environment,
    flags: Flags,
}

impl Context {
    /// The context of this process.
    pub(crate) fn new(output: Output, flags: Flags) -> Self {
        Self {
            output,
            environment: Environment::of_process(),
            flags,
        }
    }

    /// A client for the configured master.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let settings =
            config::resolve(&self.flags, &self.environment).map_err(Failure::Configuration)?;
        for warning in &settings.warnings {
            self.output.warn(warning);
        }
        Client::new(&settings, self.output).map_err(Failure::call("set up the connection"))
    }

    /// The user's own file; empty if there is none.
    pub(super) fn user_file(&self) -> Result<File, Failure> {
        config::user_file(&self.environment).map_err(Failure::Configuration)
    }

    /// The flags that were given.
    pub(super) const fn flags(&self) -> &Flags {
        &self.flags
    }

    /// The time that ages refer to.
    pub(super) fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
