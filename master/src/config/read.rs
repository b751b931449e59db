//! Reads the settings and judges which go together.

use std::path::Path;

use dopq_common::settings::{Field as _, Layers, Mistakes, ServiceUrl};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Args, Config, Services, Settings};
use crate::store::RedisOptions;

/// The file that is read when it exists and no other is named.
const USUAL_FILE: &str = "/etc/dopq/master.toml";

/// Shorter secrets can be guessed.
const LEAST_SECRET_CHARS: usize = 16;

/// The configuration, and its settings as `--print-config` shows them.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn read(
    args: &Args,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, String), Mistakes> {
    let mut layers = Layers::new(Settings::keys(), |path| std::fs::read_to_string(path));
    layers.file(args.config.as_deref(), Some(Path::new(USUAL_FILE)));
    layers.environment(environment);
    args.add_to(&mut layers);
    let settings = Settings::from_layers(&mut layers);
    let mut warnings = layers.hints().to_vec();
    let secret = secret(&mut layers, &settings);
    check_reach(&mut layers, &settings, &mut warnings);
    settings
        .worker
        .volumes
        .check(&mut layers, "worker.volumes.");
    let (scheduler, tls) = (&settings.scheduler, &settings.tls);
    layers.require(
        scheduler.lost_after > scheduler.suspect_after,
        "scheduler.lost_after",
        "it must be longer than scheduler.suspect_after",
    );
    layers.require(
        tls.cert.is_none() || tls.key.is_some(),
        "tls.key",
        "it is needed with tls.cert",
    );
    layers.require(
        tls.key.is_none() || tls.cert.is_some(),
        "tls.cert",
        "it is needed with tls.key",
    );
    let services = if settings.standalone {
        for name in ["store.url", "broker.url", "bundles.url"] {
            let message = "a standalone master has its own; unset it, or run without --standalone";
            layers.require(!layers.is_set(name), name, message);
        }
        None
    } else {
        services(&mut layers, &settings, &mut warnings)
    };
    let shared_secret = shared_secret(&settings, &mut warnings);
    layers.check()?;
    let config = Config {
        settings,
        secret,
        shared_secret,
        services,
        values: layers.snapshot(),
        warnings,
    };
    Ok((config, layers.print()))
}

fn secret(layers: &mut Layers, settings: &Settings) -> Option<SecretString> {
    let (name, text) = match (&settings.secret, &settings.secret_file) {
        (Some(_), Some(_)) => {
            layers.refuse("secret_file", "set it or `secret`, not both");
            return None;
        }
        (Some(secret), None) => ("secret", secret.expose_secret().to_owned()),
        (None, Some(path)) => ("secret_file", layers.content("secret_file", path)?),
        (None, None) => {
            layers.require(
                settings.standalone,
                "secret",
                "every master of a cluster needs the same one; make one with: openssl rand -hex 32",
            );
            return None;
        }
    };
    let secret = text.trim();
    let count = secret.chars().count();
    layers.require(
        count >= LEAST_SECRET_CHARS,
        name,
        format!(
            "the secret has {count} characters and needs {LEAST_SECRET_CHARS} or more; make one with: \
             openssl rand -hex 32"
        ),
    );
    Some(secret.into())
}

/// Whether a worker may have the cluster's secret instead of a key of its own: only where all of the cluster is on this
/// machine, because with the secret one worker can speak for every other.
fn shared_secret(settings: &Settings, warnings: &mut Vec<String>) -> bool {
    let url = settings.broker.url.as_ref();
    if settings.standalone || url.is_some_and(ServiceUrl::is_loopback) {
        return true;
    }
    if settings.insecure_shared_secret {
        warnings.push(
            "insecure_shared_secret is set: a worker that has the cluster's secret can speak for every worker without a key \
             of its own; make keys with: dopq node add NAME"
                .to_owned(),
        );
    }
    settings.insecure_shared_secret
}

/// What other machines reach, and whether with TLS.
fn check_reach(layers: &mut Layers, settings: &Settings, warnings: &mut Vec<String>) {
    let listen = settings.listen;
    let (has_tls, has_url) = (
        settings.tls.cert.is_some(),
        settings.advertise_url.is_some(),
    );
    if !listen.ip().is_loopback() && !has_tls {
        layers.require(
            settings.insecure_http,
            "listen",
            format!(
                "{listen} can be reached from other machines, and without TLS everybody on the way reads the \
                 tokens; set tls.cert and tls.key, or insecure_http = true behind a proxy that has TLS"
            ),
        );
        warnings.push(format!(
            "insecure_http is set: {listen} is served without TLS, so tokens and bundles can be read on the \
             network"
        ));
    }
    layers.require(
        has_url || !has_tls,
        "advertise_url",
        "with TLS it must be set, because the certificate is for a name: https://…",
    );
    layers.require(
        has_url || !listen.ip().is_unspecified() || settings.standalone,
        "advertise_url",
        format!(
            "workers cannot fetch from {listen}; set the address that they reach this master by"
        ),
    );
}

/// `None` when something is missing or wrong, which is then a mistake.
fn services(
    layers: &mut Layers,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Option<Services> {
    for (name, example) in [
        ("store.url", "redis://:password@redis:6379/0"),
        ("broker.url", "amqp://user:password@rabbitmq:5672/%2f"),
        ("bundles.url", "s3://bucket/prefix or /mnt/share/bundles"),
    ] {
        let message =
            format!("a cluster needs it, such as {example}; for one machine run --standalone");
        layers.require(layers.is_set(name), name, message);
    }
    for name in layers.set_below("worker.") {
        let message = "it is for --standalone; a cluster's workers have settings of their own";
        layers.refuse(&name, message);
    }
    let cluster: &str = &settings.cluster;
    let client = format!("dopq-master.{cluster}");
    let broker = settings.broker.options(layers, "broker", cluster, client);
    if let Some(url) = &settings.broker.url {
        warnings.extend(without_tls("broker.url", "RabbitMQ", url));
    }
    let url = settings.store.url.as_ref()?;
    warnings.extend(without_tls("store.url", "Redis", url));
    layers.require(
        url.is_loopback() || url.reveal().password().is_some_and(|word| !word.is_empty()),
        "store.url",
        "it has no password, and Redis is on another machine: whoever reaches it owns the queue",
    );
    let mut store = RedisOptions::new(url.reveal().as_str(), cluster);
    store.timeout = settings.store.timeout;
    store.require_durability = settings.store.require_durability;
    let ca = settings.store.ca.as_deref();
    store.ca_pem = ca.and_then(|path| layers.content("store.ca", path));
    Some(Services {
        store,
        broker: broker?,
        bundles: settings.bundles.url.clone()?,
    })
}

fn without_tls(name: &str, service: &str, url: &ServiceUrl) -> Option<String> {
    let is_open = matches!(url.reveal().scheme(), "redis" | "amqp") && !url.is_loopback();
    is_open.then(|| {
        format!("{name} is insecure: {service} on another machine is spoken to without TLS")
    })
}
