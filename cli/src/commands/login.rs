//! `dopq login`, `dopq whoami`: which master, and who one is there.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use dopq_common::api::Role;

use super::context::Context;
use crate::client::Client;
use crate::config::{Flags, Settings, Token, UserFile, origin_of, resolve};
use crate::exit;
use crate::failure::Failure;
use crate::output::{Column, Table};

/// Arguments of `dopq login`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The master's URL; the configured one when absent
    #[arg(value_name = "MASTER")]
    master: Option<String>,
}

/// Asks for the token on the terminal, or reads it from stdin or `--token-file`; tries it, and keeps
/// it in the user's own file.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let flags = Flags {
        url: arguments.master.or_else(|| context.flags().url.clone()),
        token_file: None,
    };
    let mut settings = resolve(&flags, &context.environment).map_err(Failure::Configuration)?;
    let path = context.environment.user_file().ok_or_else(|| {
        Failure::Usage("there is no place for the token; set HOME or DOPQ_CLIENT_CONFIG".to_owned())
    })?;
    let token = match &context.flags().token_file {
        Some(file) => Token::read(file).map_err(Failure::Usage)?,
        None => ask(&settings)?,
    };
    settings.token = Some(token.clone());
    let client =
        Client::new(&settings, context.output).map_err(Failure::call("set up the connection"))?;
    let me = client
        .whoami()
        .await
        .map_err(Failure::call(format!("log in at {}", client.url())))?;
    save(&path, &settings, &token)?;
    context.output.note(&format!(
        "you are {} at {}; the token is kept in {}",
        me.name,
        client.url(),
        path.display()
    ));
    Ok(exit::DONE)
}

fn save(path: &Path, settings: &Settings, token: &Token) -> Result<(), Failure> {
    UserFile::save_login(path, &settings.url, token).map_err(|source| Failure::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

/// Reads the token, without showing it where a person types it. The person is told where it will go, since
/// a project's file may have named the master.
fn ask(settings: &Settings) -> Result<Token, Failure> {
    let text = if io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str(&format!(
            "Token for {} (named by {}; not shown while you type): ",
            origin_of(&settings.url),
            settings.source
        ))?;
        terminal.read_secure_line()?
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        line
    };
    Token::parse(&text).map_err(|fault| Failure::Usage(format!("what you entered {fault}")))
}

/// Tells who the master takes one for.
pub(crate) async fn whoami(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let me = client
        .whoami()
        .await
        .map_err(Failure::call("ask who you are"))?;
    let master = client.url();
    context.output.show(
        &me,
        |me| {
            let mut table = Table::new(&[
                Column::new("USER"),
                Column::new("ROLE"),
                Column::new("MASTER"),
            ]);
            let role = match me.role {
                Role::User => "user",
                Role::Operator => "operator",
                Role::Admin => "admin",
            };
            table.row([(&me.name).into(), role.into(), (&master).into()]);
            table
        },
        |me| vec![me.name.clone()],
    )?;
    Ok(exit::DONE)
}
