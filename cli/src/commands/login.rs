//! `dopq login`, `dopq logout`, `dopq whoami`.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use dopq_common::api::{Login, Role};

use super::context::Context;
use crate::client::Client;
use crate::config::{Flags, Settings, Source, Token, forget_login, origin_of, resolve, save_login};
use crate::exit;
use crate::failure::Failure;
use crate::output::{Column, Table};

/// Arguments of `dopq login`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The master's URL [default: the configured one]
    #[arg(value_name = "MASTER")]
    master: Option<String>,
    /// Log in with this user's password instead of a token
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Reads the token from the terminal, stdin or `--token-file`, tries it, and saves it in the user's file.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let given = context.flags();
    let flags = match arguments.master {
        Some(master) => Flags {
            url: Some(master),
            ..Flags::default()
        },
        None => Flags {
            token_file: None,
            ..given.clone()
        },
    };
    let mut settings = resolve(&flags, &context.environment).map_err(Failure::Configuration)?;
    let path = context.environment.user_file().ok_or_else(|| {
        Failure::Usage("no place to save the token; set HOME or DOPQ_CLIENT_CONFIG".to_owned())
    })?;
    if let Source::Project(path) = &settings.source
        && (given.token_file.is_some() || !io::stdin().is_terminal())
    {
        // Nobody would see the prompt that says where the token goes.
        return Err(Failure::Usage(format!(
            "{} chose {}; if your token is for it, run: dopq login {}",
            path.display(),
            origin_of(&settings.url),
            origin_of(&settings.url)
        )));
    }
    let token = match (&given.token_file, &arguments.user) {
        (_, Some(user)) => by_password(context, &settings, user).await?,
        (Some(file), None) => Token::read(file).map_err(Failure::Usage)?,
        (None, None) => ask(&settings)?,
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
        "logged in as {} at {}; token saved in {}",
        me.name,
        client.url(),
        path.display()
    ));
    Ok(exit::DONE)
}

/// Exchanges the password for a token that ends by itself.
async fn by_password(context: &Context, settings: &Settings, user: &str) -> Result<Token, Failure> {
    let place = format!("{user} at {}", origin_of(&settings.url));
    let named_by = settings.named_by();
    let password = secret(&format!(
        "Password of {place} (from {named_by}; input is hidden): "
    ))?;
    let anonymous = Settings {
        token: None,
        ..settings.clone()
    };
    let client =
        Client::new(&anonymous, context.output).map_err(Failure::call("set up the connection"))?;
    let login = Login {
        name: user.to_owned(),
        password: password.into(),
        label: String::new(),
    };
    let created = client
        .login(&login)
        .await
        .map_err(Failure::call(format!("log in as {place}")))?;
    Token::parse(created.token.reveal())
        .map_err(|fault| Failure::Usage(format!("the master's token {fault}")))
}

/// Revokes the token in use, and removes it from the user's file.
pub(crate) async fn logout(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let settings =
        resolve(context.flags(), &context.environment).map_err(Failure::Configuration)?;
    client
        .logout()
        .await
        .map_err(Failure::call(format!("log out at {}", client.url())))?;
    if let Some(path) = context.environment.user_file() {
        forget_login(&path, &settings.url).map_err(|source| Failure::File {
            doing: "write",
            path,
            source,
        })?;
    }
    context.output.note(&format!(
        "logged out at {}; the token is revoked",
        client.url()
    ));
    Ok(exit::DONE)
}

/// Reads a line that is not shown on a terminal.
pub(super) fn secret(prompt: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str(prompt)?;
        return Ok(terminal.read_secure_line()?);
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn save(path: &Path, settings: &Settings, token: &Token) -> Result<(), Failure> {
    save_login(path, &settings.url, token).map_err(|source| Failure::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

/// Reads the token; input on a terminal is hidden. The prompt says where the token goes, since a project's file may
/// have named the master.
fn ask(settings: &Settings) -> Result<Token, Failure> {
    let text = secret(&format!(
        "Token for {} (from {}; input is hidden): ",
        origin_of(&settings.url),
        settings.named_by()
    ))?;
    Token::parse(&text).map_err(|fault| Failure::Usage(format!("the token {fault}")))
}

/// Shows the user's name and role.
pub(crate) async fn whoami(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let me = client
        .whoami()
        .await
        .map_err(Failure::call("read your user name"))?;
    let master = client.url();
    context.output.show(
        &me,
        |me| {
            let mut table = Table::new(&[
                Column::text("USER"),
                Column::new("ROLE"),
                Column::text("MASTER"),
                Column::text("CONTEXT"),
            ]);
            let role = match me.role {
                Role::User => "user",
                Role::Operator => "operator",
                Role::Admin => "admin",
            };
            let context = client.context().unwrap_or("-");
            table.row([
                (&me.name).into(),
                role.into(),
                (&master).into(),
                context.into(),
            ]);
            table
        },
        |me| vec![me.name.clone()],
    )?;
    Ok(exit::DONE)
}
