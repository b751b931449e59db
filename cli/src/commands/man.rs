//! `dopq man`: manual pages.

use std::path::PathBuf;

use clap::{Args, Command};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::clean;

/// Arguments of `dopq man`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder for the pages of all commands, such as ~/.local/share/man/man1 [default: print the page of dopq]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Writes the pages.
pub(crate) fn run(
    context: &Context,
    arguments: &Arguments,
    command: Command,
) -> Result<u8, Failure> {
    let Some(folder) = &arguments.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        context.output.data(&page)?;
        return Ok(exit::DONE);
    };
    let failed = |source| Failure::File {
        doing: "write",
        path: folder.clone(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)?;
    let place = clean(&folder.display().to_string());
    context.output.note(&format!(
        "wrote the manual pages into {place}; to read one: man {place}/dopq-submit.1"
    ));
    Ok(exit::DONE)
}
