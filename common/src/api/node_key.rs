//! Keys of nodes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// That a node has a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKey {
    /// The node's name.
    pub name: String,
    /// When the key was made.
    pub added_at: DateTime<Utc>,
    /// Who made it.
    pub added_by: String,
}

/// `GET /v1/node-keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeyList {
    /// [`super::API_VERSION`].
    pub version: u32,
    /// By name.
    pub keys: Vec<NodeKey>,
}

/// `POST /v1/node-keys`: 201 with a [`NodeKeyCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNodeKey {
    /// The node's name.
    pub name: String,
    /// Whether a key that it has is replaced.
    #[serde(default)]
    pub replace: bool,
}

/// The only time a key is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeyCreated {
    /// What lists show of it.
    pub info: NodeKey,
    /// The key, 64 hexadecimal digits.
    pub key: Secret,
    /// The cluster's name, which the worker's settings need.
    pub cluster: String,
    /// The rights of the worker's account at RabbitMQ; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerRights>,
}

/// `DELETE /v1/nodes/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRemoved {
    /// The node's name.
    pub name: String,
    /// The worker's account at RabbitMQ that is to be removed there; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_user: Option<String>,
    /// What the master could not remove, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// The rights of a worker's account, as `rabbitmqctl set_permissions` and `set_topic_permissions` take them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRights {
    /// A name for the account.
    pub user: String,
    /// A password for it.
    pub password: Secret,
    /// `amqp` or `amqps`.
    pub scheme: String,
    /// Where masters reach the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
    /// What it may declare.
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
    /// Whether the master has made the account.
    #[serde(default)]
    pub made: bool,
    /// Why it could not, if it tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
