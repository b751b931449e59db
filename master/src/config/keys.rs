//! Every setting of a master, with its default and what it is for.

use dopq_common::settings::{Key, Shape};

/// The settings, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    Key::new(
        "cluster",
        Some("default"),
        "The cluster's name; stands in keys, labels and container names",
    ),
    Key::new(
        "standalone",
        Some("false"),
        "Run everything in this process: embedded store, in-process broker, one worker",
    ),
    Key::new(
        "data_dir",
        Some("/var/lib/dopq"),
        "Private folder for the embedded store, uploads in progress and the admin's first token",
    ),
    Key::new(
        "listen",
        Some("127.0.0.1:7070"),
        "Address and port of the API; port 0 takes a free one",
    ),
    Key::new(
        "advertise_url",
        None,
        "Where workers, clients and other masters reach this API; by default where it listens",
    ),
    Key::new(
        "insecure_http",
        Some("false"),
        "Allow the API to be reached from other machines without TLS",
    ),
    Key::new(
        "open_metrics_on_loopback",
        Some("true"),
        "Answer /metrics without a token on the loopback address",
    ),
    Key::new(
        "secret",
        None,
        "The cluster's secret, the same on every master; 16 characters or more",
    )
    .secret(),
    Key::new(
        "secret_file",
        None,
        "A file that holds the secret, instead of `secret`",
    ),
    Key::new("tls.cert", None, "The API's certificate chain, a PEM file"),
    Key::new("tls.key", None, "The certificate's private key, a PEM file"),
    Key::new(
        "store.url",
        None,
        "Redis: redis[s]://user:password@host:port/db",
    ),
    Key::new(
        "store.timeout",
        Some("5s"),
        "The longest that one call to the store may take",
    ),
    Key::new(
        "store.require_durability",
        Some("true"),
        "Refuse a Redis that evicts keys or keeps no append-only file, instead of warning",
    ),
    Key::new(
        "broker.url",
        None,
        "RabbitMQ: amqp[s]://user:password@host:port/vhost",
    ),
    Key::new(
        "broker.prefix",
        Some("dopq"),
        "What every exchange's and queue's name begins with",
    ),
    Key::new(
        "broker.delivery_limit",
        Some("20"),
        "How often a message may come back before it becomes a dead letter",
    ),
    Key::new(
        "broker.confirm_timeout",
        Some("5s"),
        "How long a message may wait for the broker's confirmation before it is sent again",
    ),
    Key::new(
        "broker.prefetch",
        Some("256"),
        "How many reports are taken from the broker before they are committed",
    ),
    Key::new(
        "broker.ca",
        None,
        "Certificates that amqps trusts beside the system's, a PEM file",
    ),
    Key::new(
        "bundles.url",
        None,
        "Where bundles, logs and results lie: a folder, file://, s3://, gs:// or az://",
    ),
    Key::new(
        "bundles.options",
        None,
        "The bucket's access keys, region and endpoint, as object_store names them",
    )
    .shaped(Shape::Map)
    .secret(),
    Key::new(
        "bundles.signed_url_ttl",
        Some("15m"),
        "How long an address that a worker fetches a bundle from is good for",
    ),
    Key::new(
        "ingest.url",
        None,
        "A folder or bucket that is watched for bundles under incoming/<user>/",
    ),
    Key::new(
        "ingest.options",
        None,
        "As bundles.options, for the watched bucket",
    )
    .shaped(Shape::Map)
    .secret(),
    Key::new(
        "ingest.trust_executor_name",
        Some("false"),
        "Take files that lie in no user's folder for the user whom they name themselves",
    ),
    Key::new(
        "ingest.min_space",
        Some("5%"),
        "Take nothing while less than this share of the disk is free",
    ),
    Key::new(
        "ingest.keep_accepted",
        Some("true"),
        "Move accepted files to accepted/ instead of removing them once the bundle store has them",
    ),
    Key::new("ingest.poll", Some("2s"), "Between two looks"),
    Key::new(
        "limits.bundle_size",
        Some("10g"),
        "The largest bundle, compressed",
    ),
    Key::new(
        "limits.expanded_size",
        Some("50g"),
        "The largest bundle, expanded",
    ),
    Key::new(
        "limits.entries",
        Some("200000"),
        "The most files and folders of a bundle",
    ),
    Key::new(
        "limits.ratio",
        Some("200"),
        "The most bytes that one byte of a bundle may expand to",
    ),
    Key::new(
        "limits.results_size",
        Some("50g"),
        "The largest results of one attempt",
    ),
    Key::new(
        "limits.min_free",
        Some("1g"),
        "Uploads must leave this much of the data folder's disk free",
    ),
    Key::new(
        "scheduler.suspect_after",
        Some("15s"),
        "Silence after which nothing is placed on a worker",
    ),
    Key::new(
        "scheduler.lost_after",
        Some("10m"),
        "Silence after which a worker's jobs are given to others",
    ),
    Key::new(
        "scheduler.infrastructure_retries",
        Some("3"),
        "How often a job is tried again after a fault that is not its own",
    ),
    Key::new(
        "scheduler.retry_backoff",
        Some("5s"),
        "Wait before the first such retry; doubled for each further one",
    ),
    Key::new(
        "scheduler.history_jobs",
        Some("10000"),
        "How many finished jobs are remembered",
    ),
    Key::new(
        "scheduler.starts_per_worker",
        Some("64"),
        "The most jobs that one worker is given before their containers run",
    ),
    Key::new(
        "scheduler.penalty",
        Some("usage"),
        "Whose turn it is: usage (GPU time with a half-life), recency (DoPQ 1.0's, by finished jobs) or fifo",
    ),
    Key::new(
        "scheduler.half_life",
        Some("24h"),
        "After so long half of a user's usage is forgotten",
    ),
    Key::new(
        "scheduler.min_charge",
        Some("60s"),
        "Each attempt is charged at least for so long",
    ),
    Key::new(
        "scheduler.gpu_weights",
        Some(""),
        "What a second on a GPU counts, by a part of its model's name, such as h100=4,a100=2; 1 for others",
    ),
    Key::new(
        "scheduler.cpu_weight",
        Some("0.1"),
        "What a whole machine's CPU or memory counts for a job without GPU",
    ),
    Key::new(
        "scheduler.ask_weight",
        Some("0.001"),
        "How much the share of all GPUs that the next job asks for counts against its user",
    ),
    Key::new(
        "scheduler.aging",
        Some("0.001"),
        "The most that waiting counts for a user",
    ),
    Key::new(
        "scheduler.aging_after",
        Some("24h"),
        "How long a job waits until it counts that much",
    ),
    Key::new(
        "scheduler.order",
        Some("slowdown"),
        "Order of one user's jobs and of candidates for backfill: slowdown (largest slowdown first, shortest first in backfill) or submission",
    ),
    Key::new(
        "scheduler.backfill",
        Some("easy"),
        "Behind a job that cannot start: easy (a place is kept for it), best_effort (what fits runs) or strict (all wait)",
    ),
    Key::new(
        "scheduler.backfill_window",
        Some("256"),
        "How many jobs are looked at behind one that a place is kept for",
    ),
    Key::new(
        "scheduler.assumed_runtime",
        Some("24h"),
        "How long a job is planned to run, for keeping places, that has no time_request, no time_limit and no earlier runs like it",
    ),
    Key::new(
        "scheduler.preempt_after",
        Some("10m"),
        "A preemptible job runs at least for so long before an urgent one, or one within a floor, may take its place",
    ),
    Key::new(
        "leader.lease",
        Some("5s"),
        "How long the lead lasts without being confirmed; another master takes over after it",
    ),
    Key::new(
        "leader.poll",
        Some("1s"),
        "How often a standby looks for a free lead and for what was committed",
    ),
    Key::new(
        "worker.simulated_gpus",
        None,
        "Standalone: pretend to have so many GPUs instead of using the machine's own",
    ),
    Key::new(
        "worker.slots_per_gpu",
        Some("1"),
        "Standalone: slots on each GPU, which num_slots counts",
    ),
    Key::new(
        "worker.docker_host",
        None,
        "Standalone: the container engine; that in DOCKER_HOST, or unix:///var/run/docker.sock, when absent",
    ),
    Key::new(
        "worker.imgdir",
        None,
        "Standalone: a folder that every container sees read-only as /imgdir",
    ),
    Key::new(
        "worker.outdir",
        None,
        "Standalone: the folder below which every attempt gets its /outdir",
    ),
];
