//! How to reach Redis, and checks before connecting.

use std::net::IpAddr;
use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};

use super::super::Error;

/// How to reach Redis and what to require of it.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis[s]://[user:]password@host:port/db`. Contains a password.
    pub url: SecretString,
    /// Certificates in PEM form that `rediss` trusts instead of the system's.
    pub ca_pem: Option<String>,
    /// The cluster's name; every key starts with `dopq:{cluster}:`.
    pub cluster: String,
    /// Time-out of one call.
    pub timeout: Duration,
    /// Whether to refuse a Redis that would lose data (eviction, no append-only file), or only to warn.
    pub require_durability: bool,
}

impl RedisOptions {
    /// The defaults: calls of at most 5 s, durability required.
    #[must_use]
    pub fn new(url: impl Into<SecretString>, cluster: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
            cluster: cluster.into(),
            timeout: Duration::from_secs(5),
            require_durability: true,
        }
    }

    /// A client, not yet connected.
    pub(super) fn client(&self) -> Result<Client, Error> {
        // The message must not contain the URL, because of the password.
        let url = self.url.expose_secret();
        let info = url.into_connection_info().map_err(|error| {
            Error::Unsuitable(format!(
                "the URL must be redis[s]://[user:]password@host:port/db: {}",
                error.category()
            ))
        })?;
        let secret = info.redis_settings().password().unwrap_or_default();
        let host = match info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
            // A socket file is on this machine.
            _ => None,
        };
        if let Some(host) = host.filter(|host| secret.is_empty() && !is_loopback(host)) {
            return Err(Error::Unsuitable(format!(
                "a Redis on another machine ({host}) needs a password"
            )));
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(Error::Unsuitable(
                "#insecure would accept any certificate".to_owned(),
            ));
        }
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = match &self.ca_pem {
            Some(ca_pem) if is_tls => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca_pem.clone().into_bytes()),
                };
                Client::build_with_tls(info, certificates)
            }
            Some(_) | None => Client::open(info),
        };
        client.map_err(|error| Error::Unsuitable(error.to_string()))
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
    fn a_redis_without_password_must_be_on_this_machine() {
        for (url, accepted) in [
            ("redis://127.0.0.1:6379", true),
            ("redis://localhost", true),
            ("redis://[::1]:6379/2", true),
            ("redis://10.0.0.7:6379", false),
            ("redis://redis.lab/0", false),
            ("rediss://redis.lab/0", false),
            ("redis://:secret@redis.lab/0", true),
            ("rediss://dopq:secret@redis.lab", true),
            ("rediss://dopq:secret@redis.lab/#insecure", false),
            ("http://dopq:secret@redis.lab", false),
        ] {
            let opened = RedisOptions::new(url, "default").client();
            assert_eq!(opened.is_ok(), accepted, "{url}");
            if let Err(error) = opened {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        let options = RedisOptions::new("redis://:secret@redis.lab", "default");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
