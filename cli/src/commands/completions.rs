//! `dopq completions`: scripts that make a shell complete `dopq`. What they call is in [`crate::complete`].

use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::context::Context;
use crate::exit;
use crate::failure::Failure;

/// A script sets it to the shell's name when it calls the program.
pub(crate) const VARIABLE: &str = "DOPQ_COMPLETE";

/// Arguments of `dopq completions`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let shells = Shells::builtins();
    let name = arguments.shell.to_string();
    let completer = shells
        .completer(&name)
        .ok_or_else(|| Failure::Usage(format!("{name} cannot be completed")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "dopq", "dopq", "dopq", &mut script)?;
    context.output.data(&script)?;
    Ok(exit::DONE)
}
