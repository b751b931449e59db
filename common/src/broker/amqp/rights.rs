//! What a worker's account may do: read its own orders, write reports and what it says live, and nothing else.

use lapin::uri::{AMQPScheme, AMQPUri};

use super::topology::Names;
use crate::id::WorkerId;
use crate::wire::topic;

/// The rights of one worker's account, as `rabbitmqctl set_permissions` and `set_topic_permissions` take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The account's name.
    pub user: String,
    /// `amqp` or `amqps`.
    pub scheme: &'static str,
    /// Where masters reach the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
    /// What it may declare: its live queues.
    pub configure: String,
    /// What it may write to.
    pub write: String,
    /// What it may read from.
    pub read: String,
    /// The exchange that the topics are of.
    pub exchange: String,
    /// The topics that it may write.
    pub topic_write: String,
    /// The topics that it may listen to.
    pub topic_read: String,
}

/// The name that a worker's connections show, and its live queues bear.
#[must_use]
pub fn worker_client(worker: &str) -> String {
    format!("dopq-worker.{worker}")
}

impl Rights {
    /// Those of `worker`'s account at the broker that `uri` names.
    pub(super) fn of(names: &Names, uri: &AMQPUri, worker: &WorkerId) -> Self {
        let (live, all) = (names.live(), names.all());
        let own = format!("live.{}", worker_client(worker.as_str()));
        // A live queue ends with 16 digits, so that no other worker's queue begins like one's own.
        let (all, own) = (literal(all), format!(r"{}\.[0-9a-f]{{16}}", literal(&own)));
        let queue = literal(&format!("orders.{worker}"));
        Self {
            user: worker_client(worker.as_str()),
            scheme: match uri.scheme {
                AMQPScheme::AMQP => "amqp",
                AMQPScheme::AMQPS => "amqps",
            },
            host: uri.authority.host.clone(),
            port: uri.authority.port,
            vhost: uri.vhost.clone(),
            configure: format!(r"^{all}\.{own}$"),
            write: format!(r"^{all}\.(reports|live|{own})$"),
            read: format!(r"^{all}\.({queue}|live|{own})$"),
            exchange: live.to_string(),
            topic_write: format!(
                r"^({}|log\..*|out\.{}\.[0-9a-f]{{32}})$",
                literal(&topic::heartbeat(worker)),
                literal(worker.as_str())
            ),
            topic_read: format!(
                "^({}|{})$",
                literal(&topic::requests(worker)),
                literal(&topic::into_sessions(worker))
            ),
        }
    }
}

/// A pattern that matches `text` alone. Names have letters, digits, dots, dashes and underscores.
fn literal(text: &str) -> String {
    text.replace('.', r"\.")
}
