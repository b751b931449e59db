//! The settings of the program beside those of the worker, and which go together.

use std::path::{Path, PathBuf};

use dopq_common::broker::amqp::{self, worker_client};
use dopq_common::id::WorkerId;
use dopq_common::settings::{Field as _, Layers, Mistakes, Named, Scalar as _, ServiceUrl};
use dopq_common::wire::{ClusterKey, WorkerKey};
use reqwest::Certificate;
use secrecy::{ExposeSecret as _, SecretString};

use super::args::Args;
use crate::egress::Egress;
use crate::options::{self, Options};

/// Where RabbitMQ is on a machine of one's own.
const DEFAULT_BROKER: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

/// All that the program needs.
pub(crate) struct Config {
    pub(crate) options: Options,
    pub(crate) broker: amqp::Options,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    /// The result for `--print-config`.
    pub(crate) printed: String,
    /// Things that look like slips.
    pub(crate) hints: Vec<String>,
}

dopq_common::settings! {
    /// The settings of the program.
    pub(super) struct Program {
        /// This worker's name; by default the machine's host name
        name: Option<WorkerId> = None;
        /// The settings of the worker
        worker as "": options::Settings = options::Settings::default();
        /// The cluster's secret, where all of the cluster is on this machine
        secret: Option<SecretString> = None;
        /// File that contains the cluster's secret
        secret_file: Option<PathBuf> = None;
        /// This worker's own key, from `dopq node add`
        key: Option<SecretString> = None;
        /// File that contains this worker's own key
        key_file: Option<PathBuf> = None;
        /// RabbitMQ
        broker: amqp::Settings = amqp::Settings {
            url: ServiceUrl::read(DEFAULT_BROKER).ok(),
            ..amqp::Settings::default()
        };
        /// text or json
        log_format as "log.format": LogFormat = LogFormat::Text;
        /// error, warn, info, debug, or filters by target
        log_level as "log.level": String = "info".to_owned(), is_log_filter;
    }
}

/// How the program writes its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Named for LogFormat {
    const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

fn is_log_filter(text: &impl AsRef<str>) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(text);
    filter.map(drop).map_err(|error| error.to_string())
}

/// Reads the layers: file, environment, flags.
///
/// # Errors
/// [`Mistakes`], all of them.
pub(crate) fn read(
    args: &Args,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Mistakes> {
    let mut layers = Layers::new(Program::keys(), |path| std::fs::read_to_string(path));
    layers.file(args.config.as_deref(), None);
    layers.environment(environment);
    args.add_to(&mut layers);
    let settings = Program::from_layers(&mut layers);
    let name = worker_name(&mut layers, settings.name.clone());
    let key = worker_key(&mut layers, &settings, name.as_ref());
    let client = worker_client(name.as_ref().map_or("", WorkerId::as_str));
    settings.worker.volumes.check(&mut layers, "volumes.");
    layers.require(
        !settings.worker.allow_host_network || settings.worker.network.egress == Egress::Open,
        "network.egress",
        "with allow_host_network it must be open: nothing limits the machine's own network",
    );
    let cluster = &settings.worker.cluster;
    let broker = settings
        .broker
        .options(&mut layers, "broker", cluster, client);
    let master_ca_pem = master_ca(&mut layers, settings.worker.master.ca.as_deref());
    layers.check()?;
    let mut hints = layers.hints().to_vec();
    let is_shared = settings.secret.is_some() || settings.secret_file.is_some();
    let is_local = settings
        .broker
        .url
        .as_ref()
        .is_none_or(ServiceUrl::is_loopback);
    if is_shared && !is_local {
        hints.push(
            "this worker has the cluster's secret, which masters accept from other machines only with \
             insecure_shared_secret; make a key for it with: dopq node add NAME"
                .to_owned(),
        );
    }
    // Without a mistake all of them are there.
    let (Some(name), Some(key), Some(broker)) = (name, key, broker) else {
        return Err(Mistakes(Vec::new()));
    };
    Ok(Config {
        options: Options {
            name,
            key,
            master_ca_pem,
            settings: settings.worker,
        },
        broker,
        log_format: settings.log_format,
        log_level: settings.log_level,
        printed: layers.print(),
        hints,
    })
}

fn worker_name(layers: &mut Layers, name: Option<WorkerId>) -> Option<WorkerId> {
    if layers.is_set("name") {
        return name;
    }
    let refused = |error| {
        let message = format!("the machine's host name will not do, set one: {error}");
        layers.refuse("name", message);
    };
    crate::host::host_name().parse().map_err(refused).ok()
}

fn master_ca(layers: &mut Layers, path: Option<&Path>) -> Option<String> {
    let pem = layers.content("master.ca", path?)?;
    let has_certificate = Certificate::from_pem_bundle(pem.as_bytes())
        .is_ok_and(|certificates| !certificates.is_empty());
    layers.require(
        has_certificate,
        "master.ca",
        "the file must have CA certificates in PEM form",
    );
    Some(pem)
}

fn worker_key(
    layers: &mut Layers,
    settings: &Program,
    worker: Option<&WorkerId>,
) -> Option<WorkerKey> {
    const NAMES: [&str; 4] = ["secret", "secret_file", "key", "key_file"];
    let set: Vec<&str> = NAMES
        .into_iter()
        .filter(|name| layers.is_set(name))
        .collect();
    let name = match set[..] {
        [name] => name,
        [] => {
            layers.refuse("secret", "set one of secret, secret_file, key and key_file");
            return None;
        }
        [_, second, ..] => {
            let message = format!("only one of {} may be set", set.join(" and "));
            layers.refuse(second, message);
            return None;
        }
    };
    let text = match (settings.secret_file.as_ref(), settings.key_file.as_ref()) {
        (Some(path), _) | (_, Some(path)) => layers.content(name, path)?,
        (None, None) => {
            let text = settings.secret.as_ref().or(settings.key.as_ref())?;
            text.expose_secret().to_owned()
        }
    };
    let key = match text.trim() {
        "" => Err("it is empty"),
        secret if name.starts_with("secret") => {
            return Some(ClusterKey::from_secret(secret).worker(worker?));
        }
        key => key
            .parse()
            .map_err(|_| "a key is 64 lower-case hexadecimal digits"),
    };
    key.map_err(|message| layers.refuse(name, message)).ok()
}
