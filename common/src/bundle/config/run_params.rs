//! `run_params`: an allow-list of the arguments that DoPQ 1.0 passed to docker-py.
//!
//! Names and shapes are docker-py's. Other parameters are refused by name, with the alternative if there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::shape::{self, Fields, Read, wrong};
use crate::bundle::fault::{Faults, quote};
use crate::job::{ContainerSpec, ENV_NAME_RULE, Network, Ulimit, is_env_name};
use crate::resources::{ByteSize, MilliCpu};

mod health;
mod kernel;
mod keys;
mod ports;

/// The size of `/dev/shm` in DoPQ 1.0.
const SHM_SIZE: ByteSize = ByteSize(ByteSize::GIB);

/// Prefix of DoPQ's own labels.
const OUR_LABELS: &str = "dopq.";

/// Prefix of DoPQ's own environment variables.
const OUR_ENV: &str = "DOPQ_";

/// Paths that users may not mount on or work in.
const KERNEL_PATHS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The allowed parameters.
const ALLOWED: [&str; 40] = [
    "auto_remove",
    "cap_drop",
    "command",
    "cpu_shares",
    "cpuset_cpus",
    "detach",
    "dns",
    "domainname",
    "entrypoint",
    "environment",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "init",
    "labels",
    "log_config",
    "mem_limit",
    "mem_swappiness",
    "nano_cpus",
    "network_disabled",
    "network_mode",
    "ports",
    "read_only",
    "remove",
    "restart_policy",
    "shm_size",
    "stderr",
    "stdin_open",
    "stdout",
    "stop_signal",
    "stream",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_config_proxy",
    "user",
    "version",
    "working_dir",
];

/// What is accepted and changes nothing, and why.
const IGNORED: [(&str, &str); 11] = [
    ("auto_remove", REMOVED),
    ("cap_drop", "all capabilities are dropped already"),
    (
        "cpu_shares",
        "DoPQ sets it to the assigned cores; request more with the field `cpus`",
    ),
    ("detach", "every job runs detached"),
    ("log_config", "DoPQ keeps the log; see `dopq logs`"),
    ("remove", REMOVED),
    ("stderr", STREAMS),
    ("stdout", STREAMS),
    ("stream", STREAMS),
    (
        "use_config_proxy",
        "the administrator's proxies are set in every container",
    ),
    ("version", "DoPQ chooses how it speaks to the engine"),
];
const REMOVED: &str = "DoPQ removes containers itself, after it has stored their logs";
const STREAMS: &str = "`dopq logs` shows standard output and standard error";

/// What to use instead of Docker's volumes.
const VOLUMES_INSTEAD: &str = "list the administrator's volumes by name in the field `volumes`, such as [\"imagenet\"]; \
    `dopq status` shows them; `/imgdir` and `/outdir` are always there";

const CPUS_INSTEAD: &str = "use the field `cpus`";
const DISK_RATES: &str = "DoPQ does not manage disk bandwidth";
const NETWORK_INSTEAD: &str = "use `network_mode` with bridge or none";

/// Docker's refused parameters, and why or what to use instead. A value that asks for nothing, such as false or an
/// empty list, is accepted.
const REFUSED: [(&str, &str); 49] = [
    ("blkio_weight", DISK_RATES),
    ("blkio_weight_device", DISK_RATES),
    ("cap_add", "containers run without capabilities"),
    ("cgroup_parent", "DoPQ sets it"),
    ("cgroupns", "containers have their own"),
    ("cpu_count", CPUS_INSTEAD),
    ("cpu_percent", CPUS_INSTEAD),
    ("cpu_period", CPUS_INSTEAD),
    ("cpu_quota", CPUS_INSTEAD),
    ("cpu_rt_period", CPUS_INSTEAD),
    ("cpu_rt_runtime", CPUS_INSTEAD),
    ("cpuset_mems", "the kernel chooses; see `cpuset_cpus`"),
    (
        "device_cgroup_rules",
        "the only devices are the assigned GPUs",
    ),
    ("device_read_bps", DISK_RATES),
    ("device_read_iops", DISK_RATES),
    ("device_requests", "use the field `num_gpus`"),
    ("device_write_bps", DISK_RATES),
    ("device_write_iops", DISK_RATES),
    (
        "devices",
        "the only devices are the assigned GPUs; use the field `num_gpus`",
    ),
    ("dns_opt", "use `dns`"),
    ("dns_search", "write whole names, or use `extra_hosts`"),
    ("image", "use the field `image`"),
    ("init_path", "the engine's own is used; see `init`"),
    (
        "ipc_mode",
        "containers have their own; for large shared memory set `shm_size`",
    ),
    ("isolation", "DoPQ sets it"),
    ("kernel_memory", "use the field `required_memory`"),
    ("links", "containers cannot reach each other"),
    ("mac_address", "the engine sets it"),
    ("mem_reservation", "use the field `required_memory`"),
    (
        "memswap_limit",
        "swap equals the memory limit; use the field `required_memory`",
    ),
    ("mounts", VOLUMES_INSTEAD),
    (
        "name",
        "use the field `name` of the document; DoPQ names containers itself",
    ),
    ("network", NETWORK_INSTEAD),
    ("networking_config", NETWORK_INSTEAD),
    ("oom_kill_disable", "a job that exceeds its memory must end"),
    ("oom_score_adj", "DoPQ sets it"),
    ("pid_mode", "containers have their own process ids"),
    ("pids_limit", "the administrator sets it"),
    ("platform", "images are made for the machine's own"),
    ("privileged", "containers run without privileges"),
    ("publish_all_ports", "list them in `ports`"),
    ("runtime", "DoPQ chooses it by the assigned GPUs"),
    (
        "security_opt",
        "containers run with the default profile and no-new-privileges",
    ),
    ("storage_opt", "the administrator sets it"),
    ("userns_mode", "DoPQ sets it"),
    ("uts_mode", "containers have their own; see `hostname`"),
    ("volume_driver", VOLUMES_INSTEAD),
    ("volumes", VOLUMES_INSTEAD),
    ("volumes_from", VOLUMES_INSTEAD),
];

/// Whether `run_params` allows this parameter.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name)
}

/// The document's `run_params`.
#[derive(Debug)]
pub(super) struct RunParams {
    pub(super) container: ContainerSpec,
    /// `mem_limit`, which the field `required_memory` overrides.
    pub(super) memory: Option<ByteSize>,
    /// The attempts of a `restart_policy`, which the field `retries` overrides.
    pub(super) retries: Option<u32>,
}

/// Reads the document's `run_params`, or the defaults.
pub(super) fn take(document: &mut Fields<'_>) -> RunParams {
    let none = Map::new();
    let map = document.take("run_params", |value| match value {
        Value::Object(map) => Ok(map.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            shape::mismatch("an object", value)
        }
    });
    read(map.as_ref().unwrap_or(&none), document.faults())
}

/// What a valid document asks for that DoPQ ignores, and why.
pub(super) fn ignored(map: &Map<String, Value>) -> Vec<String> {
    let given = IGNORED
        .iter()
        .filter(|(name, _)| map.get(*name).is_some_and(|value| !asks_nothing(value)));
    let without_effect = given.map(|(name, why)| format!("run_params.{name} has no effect: {why}"));
    let chosen = map.get("ports").is_some_and(ports::choose);
    let ports = chosen.then(|| {
        "run_params.ports chooses ports of the machine: the machine chooses others, and `dopq show` tells them"
            .to_owned()
    });
    without_effect.chain(ports).collect()
}

fn read(map: &Map<String, Value>, faults: &mut Faults) -> RunParams {
    let mut fields = Fields::new("run_params", map, faults);
    for name in [
        "auto_remove",
        "detach",
        "remove",
        "stderr",
        "stdout",
        "stream",
        "use_config_proxy",
    ] {
        fields.take(name, shape::boolean);
    }
    for name in ["cap_drop", "log_config", "version"] {
        fields.take(name, |_| Ok(()));
    }
    fields.take("cpu_shares", |v| shape::whole(v, 0, 262_144));
    let mode = fields.take("network_mode", |value| {
        let words = [("bridge", Network::Bridge), ("none", Network::None)];
        shape::one_of(value, &words)
    });
    let network = match fields.take("network_disabled", shape::boolean) {
        Some(true) => Some(Network::None),
        Some(false) | None => mode,
    };
    let container = ContainerSpec {
        command: fields.take("command", shape::command),
        entrypoint: fields.take("entrypoint", shape::command),
        env: fields.take("environment", environment).unwrap_or_default(),
        working_dir: fields.take("working_dir", working_dir),
        user: fields.take("user", user),
        hostname: fields.take("hostname", |v| host_name(v, 63)),
        domainname: fields.take("domainname", |v| host_name(v, 253)),
        labels: fields.take("labels", labels).unwrap_or_default(),
        ulimits: fields.take("ulimits", ulimits).unwrap_or_default(),
        shm_size: fields
            .take("shm_size", |v| shape::size(v, 1))
            .unwrap_or(SHM_SIZE),
        stop_signal: fields.take("stop_signal", kernel::signal),
        init: fields.take("init", shape::boolean).unwrap_or(true),
        tty: fields.take("tty", shape::boolean).unwrap_or_default(),
        stdin_open: fields
            .take("stdin_open", shape::boolean)
            .unwrap_or_default(),
        read_only: fields.take("read_only", shape::boolean).unwrap_or_default(),
        tmpfs: fields.take("tmpfs", tmpfs).unwrap_or_default(),
        network: network.unwrap_or_default(),
        mem_swappiness: fields.take("mem_swappiness", |v| shape::whole(v, 0, 100)),
        cpu_limit: fields.take("nano_cpus", nano_cpus),
        cpuset_cpus: fields.take("cpuset_cpus", cpu_set),
        healthcheck: fields.take("healthcheck", health::read).flatten(),
        group_add: fields.take("group_add", groups).unwrap_or_default(),
        dns: fields.take("dns", name_servers).unwrap_or_default(),
        extra_hosts: fields.take("extra_hosts", extra_hosts).unwrap_or_default(),
        sysctls: fields.take("sysctls", kernel::sysctls).unwrap_or_default(),
        ports: fields.take("ports", ports::read).unwrap_or_default(),
    };
    let memory = fields.take("mem_limit", mem_limit);
    let retries = fields.take("restart_policy", restart_policy).flatten();
    fields.refuse_rest(|name, value, known| {
        let is_listed = REFUSED.iter().any(|(refused, _)| *refused == name);
        (!is_listed || !asks_nothing(value)).then(|| refuse(name, known))
    });
    RunParams {
        container,
        memory,
        retries,
    }
}

/// Whether a parameter has the value that docker-py takes for "not given".
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A text such as `20g`, or a number of bytes, as in docker-py.
fn mem_limit(value: &Value) -> Read<ByteSize> {
    match shape::size(value, 1)? {
        size if size.0 < 6 * ByteSize::MIB => wrong("the minimum is 6m"),
        size => Ok(size),
    }
}

/// `on-failure` with a number of attempts is what the field `retries` does; `no` is nothing.
fn restart_policy(value: &Value) -> Read<Option<u32>> {
    const INSTEAD: &str = "jobs end; to run a failed one again, use the field `retries`";
    let Value::Object(map) = value else {
        return shape::mismatch("an object of Name and MaximumRetryCount", value);
    };
    keys::only(map, &["name", "maximumretrycount"])?;
    let count = map
        .get("MaximumRetryCount")
        .filter(|value| !value.is_null());
    let count = count.map(|v| shape::whole_as(v, 0, 100)).transpose()?;
    match keys::either(map, "name").map(shape::text).transpose()? {
        None | Some("" | "no") => Ok(None),
        Some("on-failure") if count.is_some_and(|count| count > 0) => Ok(count),
        Some(_) => wrong(INSTEAD),
    }
}

fn refuse(name: &str, known: &BTreeSet<&'static str>) -> (&'static str, String) {
    match REFUSED.iter().find(|(refused, _)| *refused == name) {
        Some((_, why)) => ("run_param_refused", format!("not allowed: {why}")),
        None => {
            let near = shape::nearest(name, known);
            let message = format!("unknown parameter{near}");
            ("run_param_unknown", message)
        }
    }
}

/// Environment as an object or a list of `NAME=value`.
pub(super) fn environment(value: &Value) -> Read<Vec<(String, String)>> {
    let pairs = shape::pairs(value, '=')?;
    match pairs
        .iter()
        .find(|(key, _)| !is_env_name(key) || key.starts_with(OUR_ENV))
    {
        Some((key, _)) if !is_env_name(key) => wrong(format!("`{}`: {ENV_NAME_RULE}", quote(key))),
        Some((key, _)) => wrong(format!(
            "`{}`: names that start with {OUR_ENV} are reserved",
            quote(key)
        )),
        None => Ok(pairs),
    }
}

fn labels(value: &Value) -> Read<BTreeMap<String, String>> {
    // docker-py also accepts a list of bare names.
    let pairs = match value {
        Value::Array(_) => shape::list(value, |item| {
            let text = shape::text(item)?;
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            Ok((key.to_owned(), value.to_owned()))
        })?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            shape::pairs(value, '=')?
        }
    };
    let ours = |key: &str| key.to_ascii_lowercase().starts_with(OUR_LABELS);
    match pairs.iter().find(|(key, _)| key.is_empty() || ours(key)) {
        Some((key, _)) => wrong(format!(
            "`{}`: a label needs a name that does not start with {OUR_LABELS}",
            quote(key)
        )),
        None => Ok(pairs.into_iter().collect()),
    }
}

/// Checks that the path is absolute, without `.` and `..`, and outside the kernel's trees.
fn absolute(text: &str) -> Read<()> {
    let odd = text
        .split('/')
        .skip(1)
        .any(|part| part == ".." || part == ".");
    if !text.starts_with('/') || odd || text.contains(|c: char| c.is_control() || c == ':') {
        return wrong("it must be an absolute path without . or ..");
    }
    let flat: String = text
        .split('/')
        .filter(|part| !part.is_empty())
        .fold(String::new(), |flat, part| flat + "/" + part);
    let inside = |tree: &str| {
        flat.strip_prefix(tree)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if KERNEL_PATHS.into_iter().any(inside) {
        return wrong("it must not be in /proc, /sys or /dev");
    }
    Ok(())
}

fn working_dir(value: &Value) -> Read<String> {
    let text = shape::line(value)?;
    absolute(&text)?;
    Ok(text)
}

fn tmpfs(value: &Value) -> Read<BTreeMap<String, String>> {
    let Value::Object(map) = value else {
        return shape::mismatch("an object of path to options", value);
    };
    let mounts = shape::each(map.iter().map(|(path, options)| {
        let read = || {
            absolute(path)?;
            if matches!(path.trim_matches('/'), "" | "imgdir" | "outdir") {
                return wrong("DoPQ uses this path");
            }
            let options = shape::text(options)?;
            match options.split(',').find(|option| !safe_mount_option(option)) {
                Some(option) => wrong(format!("the option `{}` is not allowed", quote(option))),
                None => Ok((path.clone(), options.to_owned())),
            }
        };
        (format!(".{}", quote(path)), read())
    }))?;
    Ok(mounts.into_iter().collect())
}

fn safe_mount_option(option: &str) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match name {
        "" | "rw" | "ro" | "noexec" | "exec" | "nosuid" | "nodev" | "noatime" => value.is_empty(),
        "size" | "mode" | "uid" | "gid" | "nr_inodes" => {
            !value.is_empty()
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'%')
        }
        _ => false,
    }
}

/// A number, or a name, or `user:group`.
fn user(value: &Value) -> Read<String> {
    let text = shape::scalar(value)?;
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 64
            && !part.starts_with('-')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if text.split(':').count() <= 2 && text.split(':').all(part) {
        Ok(text)
    } else {
        wrong("it must be a user, or user:group, by name or number")
    }
}

fn groups(value: &Value) -> Read<Vec<String>> {
    shape::list(value, |item| match user(item)? {
        group if group.contains(':') => wrong("it must be a group, by name or number"),
        group => Ok(group),
    })
}

fn host_name(value: &Value, max: usize) -> Read<String> {
    let text = shape::text(value)?;
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= max && text.split('.').all(part) {
        Ok(text.to_owned())
    } else {
        wrong(format!(
            "it must be a host name of at most {max} characters"
        ))
    }
}

fn nano_cpus(value: &Value) -> Read<MilliCpu> {
    const NANOS_PER_MILLI: i64 = 1_000_000;
    let nanos: i64 = shape::whole(value, 10 * NANOS_PER_MILLI, 4096 * 1000 * NANOS_PER_MILLI)?;
    Ok(MilliCpu(
        nanos.unsigned_abs() / NANOS_PER_MILLI.unsigned_abs(),
    ))
}

/// Such as `0-3,8`.
fn cpu_set(value: &Value) -> Read<String> {
    let text = shape::text(value)?;
    let number = |text: &str| -> Option<u32> {
        let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(a, b)| a <= b),
        None => number(text).is_some(),
    };
    if text.len() <= 256 && text.split(',').all(range) {
        Ok(text.to_owned())
    } else {
        wrong("it must be a list of cores such as 0-3,8")
    }
}

fn address(text: &str) -> Read<String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => wrong(format!("`{}` is not an IP address", quote(text))),
    }
}

fn name_servers(value: &Value) -> Read<Vec<String>> {
    shape::list(value, |item| address(shape::text(item)?))
}

/// Name to address, as an object or a list of `name:address`.
fn extra_hosts(value: &Value) -> Read<BTreeMap<String, String>> {
    let hosts = shape::each(shape::pairs(value, ':')?.into_iter().map(|(name, ip)| {
        let read =
            host_name(&Value::String(name.clone()), 253).and_then(|name| Ok((name, address(&ip)?)));
        (format!(".{}", quote(&name)), read)
    }))?;
    Ok(hosts.into_iter().collect())
}

/// A list of objects; docker-py accepts keys in lower case or with a capital.
fn ulimits(value: &Value) -> Read<Vec<Ulimit>> {
    shape::list(value, |item| {
        let Value::Object(map) = item else {
            return shape::mismatch("an object of name, soft and hard", item);
        };
        kernel::ulimit(map)
    })
}
