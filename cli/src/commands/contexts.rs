//! `dopq context`: names for masters in the user's own file.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use crate::config::{
    self, Master, add_context, context_name, origin_of, parse_url, remove_context, use_context,
};
use crate::exit;
use crate::failure::Failure;
use crate::output::{Column, Table};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List your contexts
    List,
    /// Make a context the default
    Use(Name),
    /// Add a context
    Add(AddArguments),
    /// Remove a context and its token
    Rm(Name),
}

/// Which context.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Context
    #[arg(value_name = "CONTEXT", value_parser = context_name)]
    name: String,
}

/// Arguments of `dopq context add`.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// Name, such as lab
    #[arg(value_name = "NAME", value_parser = context_name)]
    name: String,
    /// The master's URL
    #[arg(value_name = "MASTER")]
    master: String,
    /// CA certificates to trust for this master, a PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    url: String,
    current: bool,
    logged_in: bool,
}

/// Runs one of them.
pub(crate) fn run(context: &Context, command: ContextCommand) -> Result<u8, Failure> {
    match command {
        ContextCommand::List => list(context),
        ContextCommand::Use(Name { name }) => select(context, &name),
        ContextCommand::Add(arguments) => add(context, &arguments),
        ContextCommand::Rm(Name { name }) => remove(context, &name),
    }
}

fn list(context: &Context) -> Result<u8, Failure> {
    let file = context.user_file()?;
    // A wrong choice elsewhere does not hide the list.
    let settings = config::resolve(context.flags(), &context.environment).ok();
    let current = settings.as_ref().and_then(|found| found.context.as_deref());
    let rows: Vec<Row> = file
        .contexts()
        .iter()
        .map(|(name, master)| Row {
            name: name.clone(),
            url: origin_of(&master.url),
            current: current == Some(name),
            logged_in: file.has_token(&master.url),
        })
        .collect();
    context
        .output
        .show(&rows, |rows| table(rows), |rows| names(rows))?;
    if rows.is_empty() {
        context
            .output
            .note("no contexts; to add one: dopq context add NAME MASTER");
    }
    if let Some(settings) = settings.filter(|settings| settings.context.is_none()) {
        context.output.note(&format!(
            "the master is {}, from {}",
            origin_of(&settings.url),
            settings.named_by()
        ));
    }
    Ok(exit::DONE)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        Column::new(""),
        Column::new("CONTEXT"),
        Column::text("MASTER"),
        Column::new("TOKEN"),
    ]);
    for row in rows {
        table.row([
            if row.current { "*" } else { "" }.into(),
            (&row.name).into(),
            (&row.url).into(),
            if row.logged_in { "saved" } else { "none" }.into(),
        ]);
    }
    table
}

fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.name.clone()).collect()
}

fn select(context: &Context, name: &str) -> Result<u8, Failure> {
    let master = known(context, name)?;
    let path = place(context)?;
    use_context(&path, name).map_err(|source| unwritten(&path, source))?;
    let url = origin_of(&master.url);
    context
        .output
        .note(&format!("context {name}, {url}, is the default"));
    // Something nearer may hide it; say so now rather than surprise later.
    if let Ok(settings) = config::resolve(context.flags(), &context.environment)
        && settings.context.as_deref() != Some(name)
    {
        context.output.warn(&format!(
            "here the master is {}, from {}, which goes before the default",
            origin_of(&settings.url),
            settings.named_by()
        ));
    }
    Ok(exit::DONE)
}

fn add(context: &Context, arguments: &AddArguments) -> Result<u8, Failure> {
    let url = parse_url(&arguments.master).map_err(Failure::Usage)?;
    let name = &arguments.name;
    if let Some(master) = context.user_file()?.contexts().get(name) {
        return Err(Failure::Conflict(format!(
            "context {name} exists, for {}; to remove it: dopq context rm {name}",
            origin_of(&master.url)
        )));
    }
    let ca_file = match &arguments.ca_file {
        None => None,
        Some(file) => Some(file.canonicalize().map_err(|source| Failure::File {
            doing: "read",
            path: file.clone(),
            source,
        })?),
    };
    let path = place(context)?;
    add_context(&path, name, &url, ca_file.as_deref())
        .map_err(|source| unwritten(&path, source))?;
    context.output.note(&format!(
        "added context {name}; to log in there and make it the default: dopq login --context {name}"
    ));
    Ok(exit::DONE)
}

fn remove(context: &Context, name: &str) -> Result<u8, Failure> {
    let master = known(context, name)?;
    let path = place(context)?;
    let forgot =
        remove_context(&path, name, &master.url).map_err(|source| unwritten(&path, source))?;
    let token = if forgot {
        " and its token; the token still works until it is revoked"
    } else {
        ""
    };
    context
        .output
        .note(&format!("removed context {name}{token}"));
    Ok(exit::DONE)
}

fn known(context: &Context, name: &str) -> Result<Master, Failure> {
    let file = context.user_file()?;
    file.contexts().get(name).cloned().ok_or_else(|| {
        Failure::Nothing(format!(
            "no context {name}; to see yours: dopq context list"
        ))
    })
}

fn place(context: &Context) -> Result<PathBuf, Failure> {
    context.environment.user_file().ok_or_else(|| {
        Failure::Usage("no place for contexts; set HOME or DOPQ_CLIENT_CONFIG".to_owned())
    })
}

fn unwritten(path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        doing: "write",
        path: path.to_owned(),
        source,
    }
}
