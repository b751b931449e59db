//! `dopq node …`: keys of nodes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use dopq_common::api::{BrokerRights, NewNodeKey, NodeKeyCreated, NodeKeyList};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::age;
use crate::output::{Column, Format, Table};

/// Commands on keys of nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Make a node's key and print it; it is shown only once
    Add(AddArguments),
    /// List the nodes that have a key
    List,
    /// Take nodes' keys away; their jobs run elsewhere
    Remove(RemoveArguments),
}

/// Arguments of `dopq node add`.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The node's name
    name: String,
    /// Replace the key that the node has
    #[arg(long)]
    replace: bool,
    /// Write the worker's settings with the key to this new file instead of printing the key
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Arguments of `dopq node remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// Nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, command: NodeCommand) -> Result<u8, Failure> {
    match command {
        NodeCommand::Add(arguments) => add(context, arguments).await,
        NodeCommand::List => list(context).await,
        NodeCommand::Remove(arguments) => remove(context, &arguments).await,
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
        context
            .output
            .note("give its account at RabbitMQ these rights, where RabbitMQ runs:");
        for line in account(rights) {
            context.output.note(&format!("  {line}"));
        }
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
        (None, Format::Table | Format::Quiet) => {
            context.output.note(&format!(
                "the key of {}; it is shown only now",
                made.info.name
            ));
            context.output.line(made.key.reveal())?;
        }
    }
    Ok(exit::DONE)
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
        client
            .remove_node_key(node)
            .await
            .map_err(Failure::call(format!("remove node {node}")))?;
        context.output.note(&format!(
            "{node} has no key any more; its jobs run elsewhere. Stop its worker, and remove its account at RabbitMQ"
        ));
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
