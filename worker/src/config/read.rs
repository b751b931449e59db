//! What the settings come to.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use dopq_common::broker::amqp;
use dopq_common::bundle::config::{duration, size};
use dopq_common::id::WorkerId;
use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_common::settings::{Layers, Mistakes};
use dopq_common::wire::{ClusterKey, WorkerKey};
use url::Url;

use super::args::Args;
use super::keys::KEYS;
use crate::options::{GpuMode, GpuOptions, Limits, Options};

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

/// How the program writes its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Reads the layers: file, environment, flags.
///
/// # Errors
/// [`Mistakes`], all of them.
pub(crate) fn read(
    args: &Args,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Mistakes> {
    let mut layers = Layers::new(KEYS);
    let mut unreadable = None;
    if let Some(path) = &args.config {
        match std::fs::read_to_string(path) {
            Ok(text) => layers.file(&path.display().to_string(), &text),
            Err(error) => unreadable = Some((path, error)),
        }
    }
    layers.environment(environment);
    for (flag, name, value) in args.settings() {
        layers.flag(&flag, &name, &value);
    }
    let config = understand(&mut layers);
    let mut mistakes = layers.check().err().map_or_else(Vec::new, |all| all.0);
    if let Some((path, error)) = unreadable {
        let mistake = dopq_common::settings::Mistake {
            place: path.display().to_string(),
            message: error.to_string(),
        };
        mistakes.insert(0, mistake);
    }
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        Some(_) | None => Err(Mistakes(mistakes)),
    }
}

/// `None` when something is missing that has no substitute, which is then a mistake.
fn understand(layers: &mut Layers) -> Option<Config> {
    let cluster = layers.get("cluster", cluster_name);
    let name = worker_name(layers);
    let key = key(layers, name.as_ref());
    let data_dir = layers.get("data_dir", path);
    let master_urls = layers.list("master_urls", master_url);
    let slots_per_gpu = layers.get("slots_per_gpu", |text| number(text, 1, 1000));
    let cpus = layers.get("cpus", cpus);
    let memory = layers.get("memory", bytes);
    let imgdir = layers.get("imgdir", path);
    let outdir = layers.get("outdir", path);
    let secrets_dir = layers.get("secrets_dir", path);
    let allow_host_network = layers.get("allow_host_network", boolean);
    let build_network = layers.get("builds.network", |text| Ok(text.to_owned()));
    let broker = broker(layers, cluster.as_deref(), name.as_ref());
    let docker_host = layers.get("docker.host", |text| Ok(text.to_owned()));
    let mode = layers.get("gpu.mode", gpu_mode);
    let simulated = layers.get("gpu.simulated", |text| number(text, 0, 1000));
    let limits = limits(layers);
    let log_format = layers.get("log.format", log_format);
    let log_level = layers.get("log.level", log_level);
    Some(Config {
        options: Options {
            cluster: cluster?,
            key: key?,
            data_dir: data_dir?,
            master_urls,
            docker_host,
            gpu: GpuOptions {
                mode: mode?,
                simulated,
            },
            slots_per_gpu: slots_per_gpu?,
            cpus,
            memory,
            labels: layers.map("labels"),
            imgdir,
            outdir,
            secrets_dir,
            limits: limits?,
            allow_host_network: allow_host_network?,
            build_network,
            name: name?,
        },
        broker: broker?,
        log_format: log_format?,
        log_level: log_level?,
        printed: layers.print(),
        hints: layers.hints().to_vec(),
    })
}

fn worker_name(layers: &mut Layers) -> Option<WorkerId> {
    let parse = |text: &str| text.parse::<WorkerId>().map_err(|error| error.to_string());
    if layers.is_set("name") {
        return layers.get("name", parse);
    }
    match parse(&crate::host::host_name()) {
        Ok(name) => Some(name),
        Err(message) => {
            let message = format!("the machine's host name will not do, set one: {message}");
            layers.refuse("name", message);
            None
        }
    }
}

fn key(layers: &mut Layers, worker: Option<&WorkerId>) -> Option<WorkerKey> {
    const NAMES: [&str; 4] = ["secret", "secret_file", "key", "key_file"];
    let set: Vec<&str> = NAMES.into_iter().filter(|n| layers.is_set(n)).collect();
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
    let from_file = name.ends_with("_file");
    let text = layers.get(name, |text| {
        let text = if from_file {
            std::fs::read_to_string(text).map_err(|error| format!("{text}: {error}"))?
        } else {
            text.to_owned()
        };
        let text = text.trim().to_owned();
        match text.is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(text),
        }
    })?;
    if name.starts_with("secret") {
        return Some(ClusterKey::from_secret(&text).worker(worker?));
    }
    let key = text.parse().ok();
    if key.is_none() {
        layers.refuse(name, "a key is 64 lower-case hexadecimal digits");
    }
    key
}

fn broker(
    layers: &mut Layers,
    cluster: Option<&str>,
    worker: Option<&WorkerId>,
) -> Option<amqp::Options> {
    let url = layers.get("broker.url", broker_url);
    let prefix = layers.get("broker.prefix", |text| Ok(text.to_owned()));
    let worker = worker.map_or("", WorkerId::as_str);
    let delivery_limit = layers.get("broker.delivery_limit", |text| number(text, 1, 1_000_000));
    let ca_pem = layers.get("broker.ca", |path| {
        std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
    });
    let mut options = amqp::Options::new(url?, cluster?, format!("dopq-worker.{worker}"));
    options.ca_pem = ca_pem;
    options.prefix = prefix?;
    options.delivery_limit = delivery_limit?;
    Some(options)
}

/// The refusals must not repeat the URL, which holds a password.
fn broker_url(text: &str) -> Result<String, String> {
    let shape = "it is not of the form amqp[s]://user:password@host:port/vhost";
    let url = Url::parse(text).map_err(|_| shape.to_owned())?;
    let host = url.host_str().ok_or(shape)?.trim_matches(['[', ']']);
    if !matches!(url.scheme(), "amqp" | "amqps") {
        return Err(shape.to_owned());
    }
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let installed = matches!(
        (url.username(), url.password()),
        ("" | "guest", None | Some("" | "guest"))
    );
    if installed && !loopback {
        return Err(format!(
            "guest/guest is every RabbitMQ's first account and is refused for {host}; make one of your own"
        ));
    }
    Ok(text.to_owned())
}

fn limits(layers: &mut Layers) -> Option<Limits> {
    let builds = layers.get("limits.builds", |text| number(text, 1, 1000));
    let starts = layers.get("limits.starts", |text| number(text, 1, 10_000));
    let log = layers.get("limits.log", bytes);
    let bundles = layers.get("limits.bundles", bytes);
    let min_free_disk = layers.get("limits.min_free_disk", bytes);
    let build_time = layers.get("limits.build_time", duration);
    let build_memory = layers.get("limits.build_memory", bytes);
    let lease = layers.get("limits.lease", duration);
    Some(Limits {
        builds: builds?,
        starts: starts.unwrap_or_else(|| Limits::default().starts),
        log: log?,
        bundles: bundles?,
        min_free_disk: min_free_disk?,
        build_time: build_time?,
        build_memory: build_memory?,
        lease: lease?,
    })
}

fn cluster_name(text: &str) -> Result<String, String> {
    // It stands in the names of containers and networks.
    let sound = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if sound && begins && text.len() <= 40 {
        Ok(text.to_owned())
    } else {
        Err("a cluster's name is up to 40 lower-case letters, digits, - and _, beginning with one of the first two".to_owned())
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match Path::new(text) {
        path if path.as_os_str().is_empty() => Err("it is empty".to_owned()),
        path => Ok(path.to_owned()),
    }
}

fn master_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!("{text:?} is not an http or https URL")),
    }
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.trim().parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a number from {least} to {most}")),
    }
}

fn cpus(text: &str) -> Result<MilliCpu, String> {
    let fault = || format!("{text:?} is not a number of cores, such as 16 or 7.5");
    let cores: f64 = text.trim().parse().map_err(|_| fault())?;
    let milli = (cores * 1000.0).round();
    if !(1.0..=1e9).contains(&milli) {
        return Err(fault());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds that were just checked"
    )]
    Ok(MilliCpu(milli as u64))
}

fn bytes(text: &str) -> Result<ByteSize, String> {
    size(text, ByteSize::GIB)
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _other => Err(format!("{text:?} is neither true nor false")),
    }
}

fn gpu_mode(text: &str) -> Result<GpuMode, String> {
    match text {
        "auto" => Ok(GpuMode::Auto),
        "cdi" => Ok(GpuMode::Cdi),
        "nvidia-runtime" => Ok(GpuMode::NvidiaRuntime),
        "device-requests" => Ok(GpuMode::DeviceRequests),
        "none" => Ok(GpuMode::None),
        _other => Err(format!(
            "{text:?} is not a mode; write auto, cdi, nvidia-runtime, device-requests or none"
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _other => Err(format!("{text:?} is not a format; write text or json")),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
