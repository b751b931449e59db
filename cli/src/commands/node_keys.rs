//! `dopq node …`: keys of nodes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use dopq_common::api::{BrokerRights, NewNodeKey, NodeKeyCreated, NodeKeyList};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, clean};
use crate::output::{Column, Format, Table};

/// Commands on keys of nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Make a node's key and broker account, and print the line that starts its worker
    Add(AddArguments),
    /// List the nodes that have a key
    List,
    /// Remove nodes from the cluster: key, queue and record
    #[command(visible_alias = "remove")]
    Rm(RemoveArguments),
}

/// Arguments of `dopq node add`.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The node's name
    name: String,
    /// Replace the key that the node has
    #[arg(long)]
    replace: bool,
    /// Write the worker's settings with the key to this new file instead of printing the line
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Arguments of `dopq node rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// Nodes, which must be empty: see dopq drain
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Also nodes that hold jobs, which then run elsewhere
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, command: NodeCommand) -> Result<u8, Failure> {
    match command {
        NodeCommand::Add(arguments) => add(context, arguments).await,
        NodeCommand::List => list(context).await,
        NodeCommand::Rm(arguments) => remove(context, &arguments).await,
    }
}

async fn add(context: &Context, arguments: AddArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let key = NewNodeKey {
        name: arguments.name,
        replace: arguments.replace,
    };
    // Opened first: a key that cannot be written would be lost.
    let file = arguments.settings.as_deref().map(create).transpose()?;
    let made = client
        .add_node_key(&key)
        .await
        .map_err(Failure::call(format!("add node {}", key.name)));
    let made = match (made, &arguments.settings) {
        (Err(failure), Some(path)) => {
            std::fs::remove_file(path).ok();
            return Err(failure);
        }
        (made, _) => made?,
    };
    if let Some(rights) = &made.broker {
        note_account(context, rights);
    }
    match (file, context.output.format) {
        (Some(mut file), _) => {
            let path = arguments.settings.unwrap_or_default();
            file.write_all(settings(&made, &client.url()).as_bytes())
                .map_err(|error| failed(&path, error))?;
            context.output.note(&format!(
                "start the worker with: dopq-worker --config {}",
                path.display()
            ));
        }
        (None, Format::Json) => context.output.json(&made)?,
        (None, Format::Quiet) => context.output.line(made.key.reveal())?,
        (None, Format::Table) => {
            context.output.note(&format!(
                "run this line on {}; it holds the node's key and is shown only now:",
                made.info.name
            ));
            context.output.line(&join_line(&made, &client.url()))?;
        }
    }
    Ok(exit::DONE)
}

/// Tells what became of the worker's account at RabbitMQ, and how to make one that the master cannot make.
fn note_account(context: &Context, rights: &BrokerRights) {
    let user = clean(&rights.user);
    if rights.made {
        let line = format!("its account {user} at RabbitMQ is made");
        return context.output.note(&line);
    }
    if let Some(fault) = &rights.fault {
        let line = format!("the master could not make the account: {}", clean(fault));
        context.output.note(&line);
    }
    context
        .output
        .note("give its account at RabbitMQ these rights, where RabbitMQ runs:");
    for line in account(rights) {
        context.output.note(&format!("  {line}"));
    }
}

/// One line of shell that writes the worker's settings and starts it. The settings are no program's argument there, so that
/// no list of processes shows the key.
fn join_line(made: &NodeKeyCreated, master: &str) -> String {
    let settings = BASE64.encode(settings(made, master));
    format!(
        "(umask 077; echo {settings} | base64 -d > dopq-worker.toml) && dopq-worker --config dopq-worker.toml"
    )
}

fn create(path: &Path) -> Result<std::fs::File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        doing: "write",
        path: path.to_owned(),
        source,
    }
}

/// The commands that make the worker's account.
fn account(rights: &BrokerRights) -> [String; 3] {
    let BrokerRights {
        user,
        password,
        vhost,
        configure,
        write,
        read,
        exchange,
        topic_write,
        topic_read,
        ..
    } = rights;
    let password = password.reveal();
    [
        format!(
            "rabbitmqctl add_user {user} {password} || rabbitmqctl change_password {user} {password}"
        ),
        format!("rabbitmqctl set_permissions -p {vhost} {user} '{configure}' '{write}' '{read}'"),
        format!(
            "rabbitmqctl set_topic_permissions -p {vhost} {user} {exchange} '{topic_write}' '{topic_read}'"
        ),
    ]
}

/// The worker's settings, as a TOML file.
fn settings(made: &NodeKeyCreated, master: &str) -> String {
    let mut lines = vec![
        format!("cluster = {:?}", made.cluster),
        format!("name = {:?}", made.info.name),
        format!("key = {:?}", made.key.reveal()),
        format!("master_urls = [{master:?}]"),
    ];
    if let Some(rights) = &made.broker {
        let vhost = rights.vhost.replace('%', "%25").replace('/', "%2f");
        let url = format!(
            "{}://{}:{}@{}:{}/{vhost}",
            rights.scheme,
            rights.user,
            rights.password.reveal(),
            rights.host,
            rights.port
        );
        lines.push(String::new());
        lines.push("[broker]".to_owned());
        lines.push(
            "# As the master reaches it; change the host if this machine uses another name."
                .to_owned(),
        );
        lines.push(format!("url = {url:?}"));
        if let Some((prefix, _)) = rights
            .exchange
            .strip_suffix(".live")
            .and_then(|names| names.rsplit_once('.'))
        {
            lines.push(format!("prefix = {prefix:?}"));
        }
    }
    lines.join("\n") + "\n"
}

async fn list(context: &Context) -> Result<u8, Failure> {
    let keys = context
        .client()?
        .node_keys()
        .await
        .map_err(Failure::call("list the keys of nodes"))?;
    let now = context.now();
    context.output.show(
        &keys,
        |keys| table(keys, now),
        |keys| keys.keys.iter().map(|key| key.name.clone()).collect(),
    )?;
    if keys.keys.is_empty() {
        context
            .output
            .note("no node has a key; make one with: dopq node add NAME");
    }
    Ok(exit::DONE)
}

async fn remove(context: &Context, arguments: &RemoveArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    for node in &arguments.nodes {
        let removed = client
            .remove_node(node, arguments.force)
            .await
            .map_err(Failure::call(format!("remove node {node}")))?;
        if context.output.format == Format::Json {
            context.output.json_line(&removed)?;
            continue;
        }
        let note = |text: &str| context.output.note(text);
        note(&format!(
            "{node} is removed, and its jobs run elsewhere; stop its worker and its containers"
        ));
        for left in &removed.left {
            note(&format!("  could not remove {}", clean(left)));
        }
        if let Some(user) = &removed.broker_user {
            note(&format!(
                "  where RabbitMQ runs: rabbitmqctl delete_user {}",
                clean(user)
            ));
        }
    }
    Ok(exit::DONE)
}

fn table(list: &NodeKeyList, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::text("NODE").at_least(10),
        Column::number("ADDED"),
        Column::text("BY").at_least(10),
    ]);
    for key in &list.keys {
        table.row([
            (&key.name).into(),
            age(key.added_at, now).into(),
            (&key.added_by).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> NodeKeyCreated {
        serde_json::from_value(serde_json::json!({
            "info": {"name": "gpu-3", "added_at": "2026-11-24T07:00:00Z", "added_by": "root"},
            "key": "ab".repeat(32),
            "cluster": "lab",
            "broker": {
                "user": "dopq-worker.gpu-3", "password": "cd", "scheme": "amqp", "host": "rabbit", "port": 5672,
                "vhost": "/", "configure": "^c$", "write": "^w$", "read": "^r$", "exchange": "dopq.lab.live",
                "topic_write": "^tw$", "topic_read": "^tr$"
            }
        }))
        .unwrap()
    }

    #[test]
    fn the_settings_are_complete() {
        let text = settings(&made(), "https://queue:7070");
        let read: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(read["name"].as_str(), Some("gpu-3"));
        assert_eq!(read["cluster"].as_str(), Some("lab"));
        assert_eq!(read["key"].as_str(), Some("ab".repeat(32).as_str()));
        assert_eq!(read["master_urls"][0].as_str(), Some("https://queue:7070"));
        let broker = &read["broker"];
        assert_eq!(
            broker["url"].as_str(),
            Some("amqp://dopq-worker.gpu-3:cd@rabbit:5672/%2f")
        );
        assert_eq!(broker["prefix"].as_str(), Some("dopq"));
    }

    #[test]
    fn the_account_gets_its_rights_and_no_others() {
        let lines = account(made().broker.as_ref().unwrap());
        assert_eq!(
            lines,
            [
                "rabbitmqctl add_user dopq-worker.gpu-3 cd || rabbitmqctl change_password dopq-worker.gpu-3 cd",
                "rabbitmqctl set_permissions -p / dopq-worker.gpu-3 '^c$' '^w$' '^r$'",
                "rabbitmqctl set_topic_permissions -p / dopq-worker.gpu-3 dopq.lab.live '^tw$' '^tr$'",
            ]
        );
    }

    #[test]
    fn the_join_line_writes_the_settings() {
        let line = join_line(&made(), "https://queue:7070");
        assert!(!line.contains('\n') && !line.contains(made().key.reveal()));
        let dir = tempfile::tempdir().unwrap();
        let written = line.split(" && ").next().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", written])
            .current_dir(dir.path())
            .status();
        assert!(status.unwrap().success());
        let text = std::fs::read_to_string(dir.path().join("dopq-worker.toml")).unwrap();
        assert_eq!(text, settings(&made(), "https://queue:7070"));
    }

    #[test]
    fn keys_fit_80_columns() {
        let list = NodeKeyList {
            version: 1,
            keys: vec![made().info],
        };
        let text = table(&list, "2026-11-24T08:00:00Z".parse().unwrap()).render_at_80();
        for part in ["gpu-3", "1h", "root"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
