//! What every command is given: the output, and the way to the master, set up when first needed.

use chrono::{DateTime, Utc};

use crate::args::Global;
use crate::client::Client;
use crate::config::{self, Environment, Flags};
use crate::failure::Failure;
use crate::output::Output;

/// What every command is given.
#[derive(Debug)]
pub(super) struct Context {
    /// Where to write.
    pub(super) output: Output,
    /// The process's surroundings.
    pub(super) environment: Environment,
    flags: Flags,
}

impl Context {
    /// Of this process.
    pub(super) fn new(global: &Global) -> Self {
        Self {
            output: Output::of_process(global.output),
            environment: Environment::of_process(),
            flags: global.flags(),
        }
    }

    /// The way to the configured master.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let settings =
            config::resolve(&self.flags, &self.environment).map_err(Failure::Configuration)?;
        for warning in &settings.warnings {
            self.output.warn(warning);
        }
        Client::new(&settings, self.output).map_err(Failure::call("set up the connection"))
    }

    /// The flags that were given.
    pub(super) const fn flags(&self) -> &Flags {
        &self.flags
    }

    /// The moment, to which ages are related.
    pub(super) fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
