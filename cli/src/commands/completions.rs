//! `dopq completions`: shell completion scripts.

use clap::{Args, Command};
use clap_complete::Shell;

use super::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Arguments of `dopq completions`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(
    context: &Context,
    arguments: &Arguments,
    mut command: Command,
) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "dopq", &mut script);
    context.output.data(&script)?;
    Ok(exit::DONE)
}
