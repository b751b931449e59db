//! An object store opened by URL: a local folder, S3, Google Cloud Storage or Azure.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Error;

/// Time-out of a call. People wait for the answer, so it is shorter than the library's three minutes.
const RETRIES: usize = 4;
const RETRY_FOR: Duration = Duration::from_secs(20);
const CONNECT_FOR: Duration = Duration::from_secs(5);
/// A transfer without a byte for this long has failed. There is no limit on the whole: bundles are large.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// The allowed kinds of URL.
const KINDS: &str = "use a folder, file://, s3://, gs:// or az://";

/// An object store and DoPQ's prefix in it.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    /// The store.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The prefix of all objects of DoPQ.
    pub(crate) prefix: Path,
    /// Signs URLs, if the store can.
    pub(crate) signer: Option<Arc<dyn Signer>>,
    /// The folder of a local store.
    pub(crate) folder: Option<PathBuf>,
    /// The URL without secrets, for messages.
    pub(crate) name: String,
}

/// The folder that `url` names: a bare path or a `file:` URL. Otherwise `None`.
pub(crate) fn local_path(url: &str) -> Result<Option<PathBuf>, Error> {
    if !url.contains("://") && !url.starts_with("file:") {
        return Ok(Some(PathBuf::from(url)));
    }
    let parsed = parse(url)?;
    if parsed.scheme() != "file" {
        return Ok(None);
    }
    let reason = "a file: URL has three slashes and an absolute path, as in file:///srv/dopq";
    parsed
        .to_file_path()
        .map(Some)
        .map_err(|()| settings(url, reason))
}

impl Objects {
    /// Opens the store at `url`. Creates a missing local folder. Does not contact a remote store.
    ///
    /// `options` are object_store's configuration keys, such as `endpoint` or `allow_http`. They override the
    /// environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
    pub(crate) fn open(url: &str, options: &BTreeMap<String, SecretString>) -> Result<Self, Error> {
        if let Some(folder) = local_path(url)? {
            return Self::local(folder, options);
        }
        let parsed = parse(url)?;
        let (scheme, path) = ObjectStoreScheme::parse(&parsed).map_err(|_| settings(url, KINDS))?;
        let prefix = Path::parse(path).map_err(|error| settings(url, error))?;
        let parts = Parts {
            url,
            options,
            prefix,
        };
        match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::from_env()
                    .with_url(url)
                    .with_client_options(client())
                    .with_retry(retry());
                let set = |builder: AmazonS3Builder, key: AmazonS3ConfigKey, value: &str| {
                    builder.with_config(key, value)
                };
                let builder = parts.configure(builder, "AWS_", set)?;
                parts.built(builder.build())
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::from_env()
                    .with_url(url)
                    .with_client_options(client())
                    .with_retry(retry());
                let set =
                    |builder: GoogleCloudStorageBuilder, key: GoogleConfigKey, value: &str| {
                        builder.with_config(key, value)
                    };
                let builder = parts.configure(builder, "GOOGLE_", set)?;
                parts.built(builder.build())
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::from_env()
                    .with_url(url)
                    .with_client_options(client())
                    .with_retry(retry());
                let set = |builder: MicrosoftAzureBuilder, key: AzureConfigKey, value: &str| {
                    builder.with_config(key, value)
                };
                let builder = parts.configure(builder, "AZURE_", set)?;
                parts.built(builder.build())
            }
            _ => Err(settings(url, KINDS)),
        }
    }

    fn local(folder: PathBuf, options: &BTreeMap<String, SecretString>) -> Result<Self, Error> {
        let name = folder.display().to_string();
        if let Some(key) = options.keys().next() {
            return Err(settings(&name, format!("a folder has no option {key:?}")));
        }
        private_folder(&folder)?;
        // Accepted means durable, so a write syncs the file and its folder before it returns.
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| settings(&name, error))?
            .with_fsync(true)
            // What is removed leaves no empty folders.
            .with_automatic_cleanup(true);
        Ok(Self {
            store: Arc::new(store),
            prefix: Path::default(),
            signer: None,
            folder: Some(folder),
            name,
        })
    }
}

/// What the three remote stores have in common.
struct Parts<'a> {
    url: &'a str,
    options: &'a BTreeMap<String, SecretString>,
    prefix: Path,
}

impl Parts<'_> {
    fn configure<B, K: FromStr>(
        &self,
        mut builder: B,
        variables: &str,
        set: impl Fn(B, K, &str) -> B,
    ) -> Result<B, Error> {
        // The builder read the environment, but its client's settings were replaced afterwards.
        for (name, value) in std::env::vars() {
            if name.starts_with(variables)
                && let Ok(key) = name.to_ascii_lowercase().parse()
            {
                builder = set(builder, key, &value);
            }
        }
        for (name, value) in self.options {
            let key = name
                .parse()
                .map_err(|_| settings(self.url, format!("unknown option {name:?}")))?;
            builder = set(builder, key, value.expose_secret());
        }
        Ok(builder)
    }

    fn built<S: ObjectStore + Signer>(
        self,
        built: object_store::Result<S>,
    ) -> Result<Objects, Error> {
        let store = Arc::new(built.map_err(|error| settings(self.url, error))?);
        Ok(Objects {
            signer: Some(Arc::clone(&store) as Arc<dyn Signer>),
            store,
            prefix: self.prefix,
            folder: None,
            name: without_secrets(self.url),
        })
    }
}

fn client() -> ClientOptions {
    ClientOptions::default()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_FOR)
        .with_read_timeout(SILENT_FOR)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|error| settings(url, error))
}

fn settings(url: &str, reason: impl ToString) -> Error {
    Error::Settings {
        url: without_secrets(url),
        reason: reason.to_string(),
    }
}

/// The URL without user, password and query, which may contain keys.
fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            parsed.set_query(None);
            // Fails for schemes without password, which is fine.
            if parsed.set_password(None).is_err() {
                return parsed.scheme().to_owned();
            }
            parsed.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// Creates a folder (and its parents) that only this user can read.
pub(crate) fn private_folder(folder: &FilePath) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Error::Folder {
            path: folder.display().to_string(),
            source,
        })
}
