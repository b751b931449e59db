//! The administrator's Docker configuration (`config.json`): logins for registries, and proxies.
//!
//! It is read at each use, so that a new login counts at once. Helper programs for credentials are not asked.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Docker Hub's key in the file.
const HUB: &str = "https://index.docker.io/v1/";

/// Docker Hub's names elsewhere.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The file. Other fields are not needed.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Registries {
    auths: BTreeMap<String, Entry>,
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
    no_proxy: String,
}

/// A login for one registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Login {
    /// Empty with an identity token.
    pub(super) username: String,
    /// The password.
    pub(super) password: String,
    /// A token instead of both; empty if there is none.
    pub(super) identity_token: String,
}

impl Registries {
    /// Reads the file. A file that is missing or wrong is told in the log and taken for an empty one.
    pub(super) async fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else {
            return Self::default();
        };
        let text = tokio::fs::read(path).await;
        let read = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "cannot read the Docker configuration");
            Self::default()
        })
    }

    /// The login for a registry's host.
    pub(super) fn login(&self, host: &str) -> Option<Login> {
        let bare = |key: &str| {
            let key = key
                .strip_prefix("https://")
                .or_else(|| key.strip_prefix("http://"))
                .unwrap_or(key);
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let entry = if HUB_HOSTS.contains(&host) {
            self.auths.get(HUB)
        } else {
            let same = |(key, _): &(&String, &Entry)| bare(key) == host;
            self.auths.iter().find(same).map(|(_, entry)| entry)
        };
        let entry = entry?;
        let pair = STANDARD.decode(&entry.auth).ok();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let (username, password) = pair
            .as_deref()
            .and_then(|pair| pair.trim_end_matches('\0').split_once(':'))
            .unwrap_or((&entry.username, &entry.password));
        let login = Login {
            username: username.to_owned(),
            password: password.to_owned(),
            identity_token: entry.identitytoken.clone(),
        };
        (login != Login::default()).then_some(login)
    }

    /// The variables for proxies, in both spellings. As build arguments they are predefined.
    pub(super) fn proxy_args(&self) -> BTreeMap<String, String> {
        let Some(proxies) = self.proxies.get("default") else {
            return BTreeMap::new();
        };
        let all = [
            ("http_proxy", &proxies.http_proxy),
            ("https_proxy", &proxies.https_proxy),
            ("ftp_proxy", &proxies.ftp_proxy),
            ("all_proxy", &proxies.all_proxy),
            ("no_proxy", &proxies.no_proxy),
        ];
        let set = all.into_iter().filter(|(_, value)| !value.is_empty());
        set.flat_map(|(name, value)| {
            [name.to_owned(), name.to_ascii_uppercase()].map(|name| (name, value.clone()))
        })
        .collect()
    }

    /// The addresses of the proxies.
    pub(super) fn proxies(&self) -> Vec<String> {
        let set = self.proxies.get("default").into_iter();
        let urls = set.flat_map(|proxies| {
            let Proxies {
                http_proxy,
                https_proxy,
                ftp_proxy,
                all_proxy,
                no_proxy: _,
            } = proxies;
            [http_proxy, https_proxy, ftp_proxy, all_proxy]
        });
        urls.filter(|url| !url.is_empty()).cloned().collect()
    }
}

/// The registry's host in an image's name.
pub(super) fn host(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        Some(_) | None => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "YW5uYTpzOmM="},
            "ghcr.io": {"username": "bob", "password": "p"},
            "https://reg:5000/v2/": {"identitytoken": "t"},
            "empty": {}
        },
        "credsStore": "desktop",
        "proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "lan"}}
    }"#;

    #[tokio::test]
    async fn logins_and_proxies_are_those_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        std::fs::write(&path, FILE).expect("written");
        let file = Registries::read(Some(&path)).await;
        let seen = |image: &str| {
            let login = file.login(host(image));
            login.map(|login| [login.username, login.password, login.identity_token].join("|"))
        };
        for image in ["python", "a/b:1", "docker.io/a/b", "registry-1.docker.io/x"] {
            assert_eq!(seen(image).as_deref(), Some("anna|s:c|"), "{image}");
        }
        assert_eq!(seen("ghcr.io/a/b").as_deref(), Some("bob|p|"));
        assert_eq!(seen("reg:5000/x").as_deref(), Some("||t"));
        assert_eq!(seen("quay.io/x"), None);
        assert!(file.login("empty").is_none());
        let args = file.proxy_args();
        let args: Vec<_> = args
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            args,
            [
                "HTTP_PROXY=http://p:1",
                "NO_PROXY=lan",
                "http_proxy=http://p:1",
                "no_proxy=lan"
            ]
        );
        assert_eq!(file.proxies(), ["http://p:1"]);
        std::fs::write(&path, "[").expect("written");
        for path in [Some(&*path), None] {
            let file = Registries::read(path).await;
            assert!(file.proxy_args().is_empty() && file.login("ghcr.io").is_none());
        }
    }
}
