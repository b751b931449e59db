//! The settings that a worker knows.

use dopq_common::settings::{Key, Shape};

/// Every setting, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    Key::new("cluster", Some("default"), "The cluster's name."),
    Key::new(
        "name",
        None,
        "This worker's name; the machine's host name when not set.",
    ),
    Key::new(
        "data_dir",
        Some("/var/lib/dopq-worker"),
        "Folder for records, logs and bundles.",
    ),
    Key::new(
        "secret",
        None,
        "The cluster's secret, which gives this worker its key.",
    )
    .secret(),
    Key::new("secret_file", None, "File with the cluster's secret."),
    Key::new(
        "key",
        None,
        "This worker's own key instead of the cluster's secret.",
    )
    .secret(),
    Key::new("key_file", None, "File with this worker's own key."),
    Key::new(
        "master_urls",
        None,
        "Masters to try after those that an order names.",
    )
    .shaped(Shape::List),
    Key::new("slots_per_gpu", Some("1"), "Slots on each GPU."),
    Key::new("cpus", None, "Cores for jobs; all when not set."),
    Key::new(
        "memory",
        None,
        "Memory for jobs; 95 % of the machine's when not set.",
    ),
    Key::new("labels", None, "Labels that jobs may require.").shaped(Shape::Map),
    Key::new(
        "imgdir",
        None,
        "Folder that jobs see, read-only, as /imgdir.",
    ),
    Key::new(
        "outdir",
        None,
        "Folder below which each attempt has its /outdir; data_dir/out when not set.",
    ),
    Key::new(
        "secrets_dir",
        None,
        "Folder with a folder for each user, and in it a file for each secret that jobs may name.",
    ),
    Key::new(
        "allow_host_network",
        Some("false"),
        "Whether jobs may use the machine's own network.",
    ),
    Key::new(
        "builds.network",
        None,
        "Network of image builds: none, or a network's name; the jobs' own bridge when not set.",
    ),
    Key::new(
        "broker.url",
        Some("amqp://guest:guest@127.0.0.1:5672/%2f"),
        "RabbitMQ: amqp[s]://user:password@host:port/vhost.",
    ),
    Key::new(
        "broker.prefix",
        Some("dopq"),
        "What the names of queues and exchanges begin with; as the masters have it.",
    ),
    Key::new(
        "broker.delivery_limit",
        Some("20"),
        "How often an order may come back; as the masters have it.",
    ),
    Key::new(
        "broker.ca",
        None,
        "File with certificates that amqps trusts beside the system's.",
    ),
    Key::new(
        "docker.host",
        None,
        "The container engine's address; that in DOCKER_HOST, or unix:///var/run/docker.sock, when absent.",
    ),
    Key::new(
        "gpu.mode",
        Some("auto"),
        "How containers get GPUs: auto, cdi, nvidia-runtime, device-requests or none.",
    ),
    Key::new(
        "gpu.simulated",
        None,
        "Offer this many pretended GPUs instead of the machine's own.",
    ),
    Key::new("limits.builds", Some("2"), "Image builds at once."),
    Key::new(
        "limits.starts",
        None,
        "Container starts at once; two a core when not set.",
    ),
    Key::new("limits.log", Some("1g"), "The longest log of one attempt."),
    Key::new(
        "limits.bundles",
        Some("20g"),
        "Bundles that are kept for the next job.",
    ),
    Key::new(
        "limits.min_free_disk",
        Some("1g"),
        "No new jobs are taken while less than this is free.",
    ),
    Key::new("limits.build_time", Some("1h"), "The longest image build."),
    Key::new(
        "limits.build_memory",
        Some("8g"),
        "Memory of an image build.",
    ),
    Key::new(
        "limits.lease",
        Some("8m"),
        "How long a cut-off worker lets a strict_once job run; less than the masters' scheduler.lost_after.",
    ),
    Key::new("log.format", Some("text"), "text or json."),
    Key::new(
        "log.level",
        Some("info"),
        "What is logged: error, warn, info, debug, or filters by target.",
    ),
];
