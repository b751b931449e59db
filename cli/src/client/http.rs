//! The HTTP clients of one master, each built when a call first needs it.
//!
//! A client for https reads every certificate that the system trusts, which takes longer than all the rest of a short
//! command. A client for http reads none.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Certificate, redirect};
use url::Url;

use super::error::Error;
use crate::config::{Settings, is_loopback};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest silence before a connection counts as broken. Masters send a comment into idle streams every
/// 15 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a call sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Little: the answer begins soon.
    Small,
    /// A file or a long task: the answer begins when it has arrived or is done, however long that takes.
    Large,
    /// Whatever a session says, on a connection of its own.
    Session,
}

/// The clients.
#[derive(Debug)]
pub(super) struct Clients {
    ca_file: Option<PathBuf>,
    /// Whether the master runs on this machine, where no proxy is used.
    is_local: bool,
    plain: Pair,
    tls: Pair,
}

#[derive(Debug, Default)]
struct Pair {
    small: OnceLock<reqwest::Client>,
    large: OnceLock<reqwest::Client>,
    session: OnceLock<reqwest::Client>,
}

impl Clients {
    /// Clients for the master of these settings; none is built yet.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            ca_file: settings.ca_file.clone(),
            is_local: is_loopback(&settings.url),
            plain: Pair::default(),
            tls: Pair::default(),
        }
    }

    /// The client for calls to this URL.
    ///
    /// # Errors
    ///
    /// [`Error::SetUp`] when the certificates cannot be read.
    pub(super) fn get(&self, url: &Url, size: Size) -> Result<&reqwest::Client, Error> {
        let needs_tls = url.scheme() == "https" || (!self.is_local && has_https_proxy());
        let pair = if needs_tls { &self.tls } else { &self.plain };
        let cell = match size {
            Size::Small => &pair.small,
            Size::Large => &pair.large,
            Size::Session => &pair.session,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let built = self.build(needs_tls, size)?;
        Ok(cell.get_or_init(|| built))
    }

    fn build(&self, needs_tls: bool, size: Size) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dopq/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // Redirects are followed in `call`, which decides whether the token goes along.
            .redirect(redirect::Policy::none());
        if self.is_local {
            builder = builder.no_proxy();
        }
        if size == Size::Small {
            builder = builder.read_timeout(SILENCE_TIMEOUT);
        }
        if size == Size::Session {
            builder = builder.http1_only();
        }
        if !needs_tls {
            builder = builder.tls_certs_only(Vec::<Certificate>::new());
        } else {
            // `dopq doctor` looks at the certificate.
            builder = builder.tls_info(true);
            if let Some(path) = &self.ca_file {
                builder = builder.tls_certs_merge(certificates(path)?);
            }
        }
        builder
            .build()
            .map_err(|error| Error::SetUp(error.to_string()))
    }
}

/// Whether http URLs are called through a proxy that is itself called with TLS.
fn has_https_proxy() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .filter_map(env::var_os)
        .any(|proxy| proxy.to_string_lossy().starts_with("https:"))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let wrong = |detail: String| Error::SetUp(format!("{}: {detail}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("it holds no PEM certificate".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, resolve};

    fn clients(url: &str) -> (Url, Clients) {
        let flags = Flags {
            url: Some(url.to_owned()),
            ..Flags::default()
        };
        let mut settings = resolve(&flags, &Environment::default()).unwrap();
        settings.ca_file = Some(PathBuf::from("/nowhere/ca.pem"));
        (settings.url.clone(), Clients::new(&settings))
    }

    #[test]
    fn certificates_are_read_for_https_only() {
        let (url, plain) = clients("http://127.0.0.1:7070");
        assert!(plain.get(&url, Size::Small).is_ok());
        assert!(plain.get(&url, Size::Large).is_ok());
        let (url, tls) = clients("https://127.0.0.1:7070");
        assert!(matches!(tls.get(&url, Size::Small), Err(Error::SetUp(_))));
        // A redirect to https is checked as well.
        let url = Url::parse("https://leader/").unwrap();
        assert!(matches!(plain.get(&url, Size::Small), Err(Error::SetUp(_))));
    }
}
