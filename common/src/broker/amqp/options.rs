//! How to reach RabbitMQ, and what is refused before the first byte is sent.

use std::net::IpAddr;
use std::time::Duration;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

use crate::broker::OptionsError;

/// Between heartbeats; a link is given up when two are missing.
const HEARTBEAT_SECONDS: u16 = 10;

/// How to reach RabbitMQ and what to ask of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// `amqp[s]://user:password@host:port/vhost`. Holds a password.
    pub url: SecretString,
    /// Certificates in PEM form that `amqps` trusts beside the system's.
    pub ca_pem: Option<String>,
    /// What every queue's and exchange's name begins with.
    pub prefix: String,
    /// The cluster's name, which follows the prefix: clusters may share a vhost.
    pub cluster: String,
    /// The name that RabbitMQ shows for our connections; live queues bear it as well.
    pub client: String,
    /// How often an order may come back before it becomes a dead letter; for reports fifty times as often.
    pub delivery_limit: u32,
    /// Deliveries of one consumer that are out unsettled at a time.
    pub prefetch: u16,
    /// How long a publication may wait for a link and for its confirmation, all tries together.
    pub publish_within: Duration,
    /// How long one try waits for its confirmation.
    pub confirm_within: Duration,
}

impl Options {
    /// The defaults for `cluster` at `url`: prefix `dopq`, 20 returns, 64 deliveries out, confirmations within 5 s, 15 s
    /// for a publication in all.
    #[must_use]
    pub fn new(
        url: impl Into<SecretString>,
        cluster: impl Into<String>,
        client: impl Into<String>,
    ) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
            prefix: "dopq".to_owned(),
            cluster: cluster.into(),
            client: client.into(),
            delivery_limit: 20,
            prefetch: 64,
            publish_within: Duration::from_secs(15),
            confirm_within: Duration::from_secs(5),
        }
    }

    /// Whether a broker can be opened with them.
    ///
    /// # Errors
    /// [`OptionsError`], the first fault.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.uri().map(drop)
    }

    /// The parsed URL, with our heartbeat.
    pub(super) fn uri(&self) -> Result<AMQPUri, OptionsError> {
        let url = self.url.expose_secret();
        let mut uri: AMQPUri = url.parse().map_err(|_| OptionsError::Url)?;
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        let (user, host) = (&uri.authority.userinfo, &uri.authority.host);
        let installed = user.username == "guest" && user.password == "guest";
        if installed && !is_loopback(host) {
            return Err(OptionsError::Guest { host: host.clone() });
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(plain) {
            return Err(OptionsError::Prefix(self.prefix.clone()));
        }
        // Without a dot, so that no two pairs of prefix and cluster give the same name.
        let plain = |c: char| plain(c) && c != '.';
        if self.cluster.is_empty() || self.cluster.len() > 64 || !self.cluster.chars().all(plain) {
            return Err(OptionsError::Cluster(self.cluster.clone()));
        }
        Ok(uri)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_account_is_for_this_machine_only() {
        for (url, accepted) in [
            ("amqp://guest:guest@127.0.0.1:5672/%2f", true),
            ("amqp://guest:guest@localhost", true),
            ("amqp://guest:guest@[::1]:5672/x", true),
            ("amqp://guest:guest@rabbit.lab", false),
            ("amqps://guest:guest@rabbit.lab/dopq", false),
            // No account means the installed one.
            ("amqp://rabbit.lab", false),
            ("amqp://dopq:secret@rabbit.lab/dopq", true),
            ("http://dopq:secret@rabbit.lab", false),
        ] {
            let uri = Options::new(url, "lab", "test").uri();
            assert_eq!(uri.is_ok(), accepted, "{url}: {uri:?}");
        }
    }

    #[test]
    fn prefixes_and_clusters_begin_names() {
        for (prefix, cluster, accepted) in [
            ("dopq", "lab", true),
            ("a.b-c_1", "lab_2-b", true),
            ("", "lab", false),
            ("a b", "lab", false),
            ("dopq", "", false),
            ("dopq", "a.b", false),
            ("dopq", "a b", false),
        ] {
            let mut options = Options::new("amqp://localhost", cluster, "test");
            options.prefix = prefix.to_owned();
            let uri = options.uri();
            assert_eq!(uri.is_ok(), accepted, "{prefix:?} {cluster:?}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        let options = Options::new("amqp://dopq:secret@rabbit.lab", "lab", "test");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
