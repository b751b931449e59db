//! From layers to a configuration: understands each setting, then judges which go together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dopq_common::broker::amqp;
use dopq_common::bundle::Limits;
use dopq_common::bundle::config::{duration, size};
use dopq_common::sched;
use dopq_common::settings::{Layers, Mistakes};

use super::values::{self, text};
use super::{Args, Config, DEFAULT_FILE, KEYS, LocalWorker, Location, Mode, Secret, TlsFiles};
use crate::ingest;
use crate::store::RedisOptions;

/// Workers beat every 5 s; what is shorter than this would call a healthy one silent.
const SUSPECT_MIN: Duration = Duration::from_secs(6);
const LEASE_MIN: Duration = Duration::from_secs(1);

/// The configuration, and its settings as `--print-config` shows them.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn read(
    args: &Args,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, String), Mistakes> {
    let mut layers = Layers::new(KEYS);
    add_file(&mut layers, args.config.as_deref());
    // The file's own name and the log's are flags with variables of their own, and the command line's
    // settings are set on the same machine as often as not.
    let others = [
        "DOPQ_CONFIG",
        "DOPQ_LOG_FORMAT",
        "DOPQ_URL",
        "DOPQ_TOKEN",
        "DOPQ_TOKEN_FILE",
        "DOPQ_CA_FILE",
        "DOPQ_CLIENT_CONFIG",
    ];
    layers.environment(
        environment
            .into_iter()
            .filter(|(name, _)| !others.contains(&name.as_str())),
    );
    add_flags(&mut layers, args);
    let config = understand(&mut layers);
    layers.check()?;
    // Without a mistake every setting was understood, so there is always a configuration here.
    config
        .map(|config| (config, layers.print()))
        .ok_or_else(|| Mistakes(Vec::new()))
}

fn add_file(layers: &mut Layers, named: Option<&Path>) {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(content) => layers.file(&path.display().to_string(), &content),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => layers.mistake(
            path.display().to_string(),
            format!("cannot be read: {error}"),
        ),
    }
}

fn add_flags(layers: &mut Layers, args: &Args) {
    if args.standalone {
        layers.flag("--standalone", "standalone", "true");
    }
    if let Some(dir) = &args.data_dir {
        layers.flag("--data-dir", "data_dir", &dir.display().to_string());
    }
    if let Some(listen) = &args.listen {
        layers.flag("--listen", "listen", listen);
    }
    if let Some(count) = &args.simulated_gpus {
        layers.flag("--simulated-gpus", "worker.simulated_gpus", count);
    }
    for set in &args.set {
        match set.split_once('=') {
            Some(("secret", _)) => layers.mistake(
                "--set".to_owned(),
                "arguments can be read by every user of this machine; give the secret as \
                 DOPQ_SECRET or in a file named by secret_file"
                    .to_owned(),
            ),
            Some((name, value)) => layers.flag("--set", name.trim(), value.trim()),
            None => layers.mistake(
                "--set".to_owned(),
                format!("{set:?} is not written NAME=VALUE"),
            ),
        }
    }
}

fn understand(layers: &mut Layers) -> Option<Config> {
    let mut warnings = layers.hints().to_vec();
    let cluster = layers.get("cluster", values::cluster);
    let standalone = layers.get("standalone", values::flag);
    let data_dir = layers.get("data_dir", text).map(PathBuf::from);
    let listen = layers.get("listen", values::address);
    let advertise_url = layers.get("advertise_url", values::base_url);
    let insecure_http = layers.get("insecure_http", values::flag);
    let open_metrics_on_loopback = layers.get("open_metrics_on_loopback", values::flag);
    let secret = secret(layers);
    let tls = tls(layers);
    let mode = match (standalone, &cluster) {
        (Some(true), _) => standalone_mode(layers),
        (Some(false), Some(cluster)) => cluster_mode(layers, cluster, &mut warnings),
        (Some(false) | None, _) => None,
    };
    if standalone == Some(false) {
        if !layers.is_set("secret") && !layers.is_set("secret_file") {
            layers.refuse(
                "secret",
                "every master of a cluster needs the same one; make one with: openssl rand -hex 32",
            );
        }
        for name in KEYS.iter().map(|key| key.name) {
            if name.starts_with("worker.") && layers.is_set(name) {
                layers.refuse(
                    name,
                    "it is for --standalone; a cluster's workers have settings of their own",
                );
            }
        }
    }
    let ingest = ingest(layers);
    let bundle_limits = bundle_limits(layers);
    let results_max_bytes = layers.get("limits.results_size", bytes);
    let min_free_bytes = layers.get("limits.min_free", bytes);
    let signed_url_ttl = layers.get("bundles.signed_url_ttl", duration);
    let scheduler = scheduler(layers);
    let lease_ttl = layers.get("leader.lease", at_least(LEASE_MIN));
    let standby_poll = layers.get("leader.poll", at_least(Duration::from_millis(100)));
    if let (Some(listen), Some(insecure)) = (listen, insecure_http)
        && !listen.ip().is_loopback()
        && !layers.is_set("tls.cert")
    {
        match insecure {
            true => warnings.push(format!(
                "insecure_http is set: {listen} is served without TLS, so tokens and bundles can be \
                 read on the network"
            )),
            false => layers.refuse(
                "listen",
                format!(
                    "{listen} can be reached from other machines, and without TLS everybody on the \
                     way reads the tokens; set tls.cert and tls.key, or insecure_http = true behind \
                     a proxy that has TLS"
                ),
            ),
        }
    }
    if let Some(Some(_)) = &tls
        && advertise_url.is_none()
    {
        layers.refuse(
            "advertise_url",
            "with TLS it must be set, because the certificate is for a name: https://…",
        );
    }
    if let Some(listen) = listen
        && listen.ip().is_unspecified()
        && advertise_url.is_none()
        && standalone == Some(false)
    {
        layers.refuse(
            "advertise_url",
            format!(
                "workers cannot fetch from {listen}; set the address that they reach this master by"
            ),
        );
    }
    Some(Config {
        cluster: cluster?,
        data_dir: data_dir?,
        listen: listen?,
        advertise_url,
        tls: tls?,
        insecure_http: insecure_http?,
        open_metrics_on_loopback: open_metrics_on_loopback?,
        secret,
        mode: mode?,
        ingest,
        bundle_limits: bundle_limits?,
        results_max_bytes: results_max_bytes?,
        min_free_bytes: min_free_bytes?,
        signed_url_ttl: signed_url_ttl?,
        scheduler: scheduler?,
        lease_ttl: lease_ttl?,
        standby_poll: standby_poll?,
        warnings,
    })
}

fn secret(layers: &mut Layers) -> Option<Secret> {
    if layers.is_set("secret") && layers.is_set("secret_file") {
        layers.refuse("secret_file", "set it or `secret`, not both");
    }
    let from_file = layers.get("secret_file", |path| {
        let content = std::fs::read_to_string(path);
        let content = content.map_err(|error| format!("{path} cannot be read: {error}"))?;
        Secret::new(&content)
    });
    layers.get("secret", Secret::new).or(from_file)
}

fn tls(layers: &mut Layers) -> Option<Option<TlsFiles>> {
    let cert = layers.get("tls.cert", text);
    let key = layers.get("tls.key", text);
    match (cert, key) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => Some(Some(TlsFiles {
            cert: cert.into(),
            key: key.into(),
        })),
        (Some(_), None) => {
            layers.refuse("tls.key", "it is needed with tls.cert");
            None
        }
        (None, Some(_)) => {
            layers.refuse("tls.cert", "it is needed with tls.key");
            None
        }
    }
}

fn standalone_mode(layers: &mut Layers) -> Option<Mode> {
    for name in ["store.url", "broker.url", "bundles.url"] {
        if layers.is_set(name) {
            layers.refuse(
                name,
                "a standalone master has its own; unset it, or run without --standalone",
            );
        }
    }
    let simulated_gpus = layers.get("worker.simulated_gpus", |n| values::number(n, 0));
    let slots_per_gpu = layers.get("worker.slots_per_gpu", |n| values::number(n, 1));
    Some(Mode::Standalone(Box::new(LocalWorker {
        simulated_gpus,
        slots_per_gpu: slots_per_gpu?,
        docker_host: layers.get("worker.docker_host", text),
        imgdir: layers.get("worker.imgdir", text).map(PathBuf::from),
        outdir: layers.get("worker.outdir", text).map(PathBuf::from),
    })))
}

fn cluster_mode(layers: &mut Layers, cluster: &str, warnings: &mut Vec<String>) -> Option<Mode> {
    for (name, example) in [
        ("store.url", "redis://:password@redis:6379/0"),
        ("broker.url", "amqp://user:password@rabbitmq:5672/%2f"),
        ("bundles.url", "s3://bucket/prefix or /mnt/share/bundles"),
    ] {
        if !layers.is_set(name) {
            layers.refuse(
                name,
                format!("a cluster needs it, such as {example}; for one machine run --standalone"),
            );
        }
    }
    let store = redis(layers, cluster, warnings);
    let broker = rabbitmq(layers, cluster, warnings);
    let bundles = location(layers, "bundles.url", "bundles.options");
    Some(Mode::Cluster {
        store: store?,
        broker: Box::new(broker?),
        bundles: bundles?,
    })
}

fn location(layers: &mut Layers, url: &str, options: &str) -> Option<Location> {
    let options = layers.map(options);
    let url = layers.get(url, text)?;
    Some(Location { url, options })
}

fn redis(layers: &mut Layers, cluster: &str, warnings: &mut Vec<String>) -> Option<RedisOptions> {
    let url = layers.get("store.url", |text| {
        values::secret_url(text, &["redis", "rediss"])
    });
    let timeout = layers.get("store.timeout", at_least(Duration::from_millis(100)));
    let require_durability = layers.get("store.require_durability", values::flag);
    let url = url?;
    if !values::is_loopback(&url) {
        if url.password().is_none_or(str::is_empty) {
            layers.refuse(
                "store.url",
                "it has no password, and Redis is on another machine: whoever reaches it owns the queue",
            );
        }
        if url.scheme() == "redis" {
            warnings.push(
                "store.url is insecure: Redis on another machine is spoken to without TLS"
                    .to_owned(),
            );
        }
    }
    let mut options = RedisOptions::new(url.as_str(), cluster);
    options.timeout = timeout?;
    options.require_durability = require_durability?;
    Some(options)
}

fn rabbitmq(
    layers: &mut Layers,
    cluster: &str,
    warnings: &mut Vec<String>,
) -> Option<amqp::Options> {
    let url = layers.get("broker.url", |text| {
        values::secret_url(text, &["amqp", "amqps"])
    });
    let prefix = layers.get("broker.prefix", text);
    let delivery_limit = layers.get("broker.delivery_limit", |n| values::number(n, 1));
    let prefetch = layers.get("broker.prefetch", |n| values::number(n, 1));
    let confirm_within = layers.get("broker.confirm_timeout", at_least(Duration::from_secs(1)));
    let ca_pem = layers.get("broker.ca", |path| {
        std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))
    });
    let url = url?;
    if !values::is_loopback(&url) {
        let guest = matches!(url.username(), "" | "guest")
            && matches!(url.password(), None | Some("" | "guest"));
        if guest {
            layers.refuse(
                "broker.url",
                "guest/guest is every RabbitMQ's first account; make one of your own",
            );
        }
        if url.scheme() == "amqp" {
            warnings.push(
                "broker.url is insecure: RabbitMQ on another machine is spoken to without TLS"
                    .to_owned(),
            );
        }
    }
    let mut options = amqp::Options::new(url, cluster, format!("dopq-master.{cluster}"));
    options.ca_pem = ca_pem;
    options.prefix = prefix?;
    options.delivery_limit = delivery_limit?;
    options.prefetch = prefetch?;
    options.confirm_within = confirm_within?;
    options.publish_within = confirm_within? * 3;
    Some(options)
}

fn ingest(layers: &mut Layers) -> Option<ingest::Options> {
    let trust_executor_name = layers.get("ingest.trust_executor_name", values::flag);
    let min_space = layers.get("ingest.min_space", values::ratio);
    let interval = layers.get("ingest.poll", at_least(Duration::from_millis(100)));
    let keep_accepted = layers.get("ingest.keep_accepted", values::flag);
    let Location { url, options } = location(layers, "ingest.url", "ingest.options")?;
    Some(ingest::Options {
        url,
        options,
        trust_executor_name: trust_executor_name?,
        min_space: min_space?,
        interval: interval?,
        keep_accepted: keep_accepted?,
    })
}

fn bundle_limits(layers: &mut Layers) -> Option<Limits> {
    let compressed_bytes = layers.get("limits.bundle_size", bytes);
    let expanded_bytes = layers.get("limits.expanded_size", bytes);
    let entries = layers.get("limits.entries", |n| values::number(n, 1));
    let ratio = layers.get("limits.ratio", |n| values::number(n, 1));
    Some(Limits {
        compressed_bytes: compressed_bytes?,
        expanded_bytes: expanded_bytes?,
        entries: entries?,
        ratio: ratio?,
        ..Limits::default()
    })
}

fn scheduler(layers: &mut Layers) -> Option<sched::Settings> {
    let suspect_after = layers.get("scheduler.suspect_after", at_least(SUSPECT_MIN));
    let lost_after = layers.get("scheduler.lost_after", at_least(SUSPECT_MIN));
    if let (Some(suspect), Some(lost)) = (suspect_after, lost_after)
        && lost <= suspect
    {
        layers.refuse(
            "scheduler.lost_after",
            "it must be longer than scheduler.suspect_after",
        );
    }
    let infrastructure_retries =
        layers.get("scheduler.infrastructure_retries", |n| values::number(n, 0));
    let retry_backoff = layers.get("scheduler.retry_backoff", duration);
    let history_max_jobs = layers.get("scheduler.history_jobs", |n| values::number(n, 1));
    let starts_per_worker = layers.get("scheduler.starts_per_worker", |n| values::number(n, 1));
    let preempt_after = layers.get("scheduler.preempt_after", duration);
    let policy = layers.get("scheduler.penalty", policy);
    let usage = usage(layers);
    let order = layers.get("scheduler.order", order);
    let backfill = layers.get("scheduler.backfill", backfill);
    let backfill_window = layers.get("scheduler.backfill_window", |n| values::number(n, 1));
    let assumed_runtime = layers.get("scheduler.assumed_runtime", duration);
    Some(sched::Settings {
        suspect_after: suspect_after?,
        lost_after: lost_after?,
        infrastructure_retries: infrastructure_retries?,
        retry_backoff: retry_backoff?,
        history_max_jobs: history_max_jobs?,
        starts_per_worker: starts_per_worker?,
        policy: policy?,
        usage: usage?,
        placement: sched::Placement::Default,
        order: order?,
        backfill: backfill?,
        backfill_window: backfill_window?,
        assumed_runtime: assumed_runtime?,
        preempt_after: preempt_after?,
    })
}

fn order(text: &str) -> Result<sched::JobOrder, String> {
    match text {
        "slowdown" => Ok(sched::JobOrder::Slowdown),
        "submission" => Ok(sched::JobOrder::Submission),
        _ => Err(format!("{text:?} is neither slowdown nor submission")),
    }
}

fn backfill(text: &str) -> Result<sched::Backfill, String> {
    match text {
        "easy" => Ok(sched::Backfill::Easy),
        "best_effort" => Ok(sched::Backfill::BestEffort),
        "strict" => Ok(sched::Backfill::Strict),
        _ => Err(format!("{text:?} is neither easy, best_effort nor strict")),
    }
}

fn policy(text: &str) -> Result<sched::Policy, String> {
    match text {
        "usage" => Ok(sched::Policy::Usage),
        "recency" => Ok(sched::Policy::Recency),
        "fifo" => Ok(sched::Policy::Fifo),
        _ => Err(format!("{text:?} is neither usage, recency nor fifo")),
    }
}

fn usage(layers: &mut Layers) -> Option<sched::UsageSettings> {
    let half_life = layers.get("scheduler.half_life", at_least(Duration::from_secs(1)));
    let min_charge = layers.get("scheduler.min_charge", duration);
    let gpu_weights = layers.get("scheduler.gpu_weights", values::weights);
    let cpu_weight = layers.get("scheduler.cpu_weight", values::weight);
    let ask_weight = layers.get("scheduler.ask_weight", values::weight);
    let aging = layers.get("scheduler.aging", values::weight);
    let aging_after = layers.get("scheduler.aging_after", at_least(Duration::from_secs(1)));
    Some(sched::UsageSettings {
        half_life: half_life?,
        min_charge: min_charge?,
        gpu_weights: gpu_weights?,
        cpu_weight: cpu_weight?,
        ask_weight: ask_weight?,
        aging: aging?,
        aging_after: aging_after?,
    })
}

fn bytes(text: &str) -> Result<u64, String> {
    size(text, 1).map(|size| size.0)
}

fn at_least(least: Duration) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| match duration(text)? {
        long if long >= least => Ok(long),
        _ => Err(format!(
            "{text} is too short; {} s is the least",
            least.as_secs_f64()
        )),
    }
}
