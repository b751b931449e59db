//! Kernel limits, parameters and signals by name, each from an allow-list.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::shape::{self, Read, wrong};
use super::keys::{either, only};
use crate::bundle::fault::quote;
use crate::job::Ulimit;

/// Resource limits that a job may raise. Not `nice`, `rtprio` and `rttime`: with them a job could take CPU time from
/// its neighbours.
const LIMITS: [&str; 12] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nofile",
    "nproc",
    "rss",
    "sigpending",
    "stack",
];

/// The maximum of open files, the default of the kernel's `fs.nr_open`.
const FILES_MAX: i64 = 1 << 20;

/// Kernel parameters of the container's own namespaces that affect nobody else.
const PARAMETERS: [&str; 24] = [
    "fs.mqueue.msg_default",
    "fs.mqueue.msg_max",
    "fs.mqueue.msgsize_default",
    "fs.mqueue.msgsize_max",
    "fs.mqueue.queues_max",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_reuse",
];

/// Signals that ask a process to end and that it can catch.
const SIGNALS: [&str; 15] = [
    "HUP", "INT", "QUIT", "TRAP", "ABRT", "USR1", "USR2", "ALRM", "TERM", "CONT", "XCPU", "WINCH",
    "IO", "PWR", "VTALRM",
];

/// One resource limit; a bound that is absent is 0, as docker-py has it.
pub(super) fn ulimit(map: &Map<String, Value>) -> Read<Ulimit> {
    only(map, &["name", "soft", "hard"])?;
    let Some(name) = either(map, "name") else {
        return wrong("it needs `name`");
    };
    let name = shape::text(name)?;
    if !LIMITS.contains(&name) {
        return wrong(format!(
            "the limit `{}` is not allowed; allowed are {}",
            quote(name),
            LIMITS.join(", ")
        ));
    }
    let bound = |key| match either(map, key) {
        None => Ok(0),
        Some(value) => shape::whole(value, -1, i64::MAX),
    };
    let (soft, hard) = (bound("soft")?, bound("hard")?);
    let height = |bound| if bound == -1 { i64::MAX } else { bound };
    if height(soft) > height(hard) {
        return wrong("`soft` is above `hard`");
    }
    if name == "nofile" && height(hard) > FILES_MAX {
        return wrong(format!("`nofile` may be at most {FILES_MAX}"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// An object, or a list of `name=value`.
pub(super) fn sysctls(value: &Value) -> Read<BTreeMap<String, String>> {
    let pairs = shape::each(shape::pairs(value, '=')?.into_iter().map(|(name, value)| {
        let at = format!(".{}", quote(&name));
        let digits = !value.is_empty()
            && value.len() <= 64
            && value
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b' ' || b == b'\t' || b == b'-');
        let read = if !PARAMETERS.contains(&name.as_str()) {
            wrong(format!(
                "this kernel parameter is not allowed; allowed are {}",
                PARAMETERS.join(", ")
            ))
        } else if !digits {
            wrong("its value must be one or more whole numbers")
        } else {
            Ok((name, value))
        };
        (at, read)
    }))?;
    Ok(pairs.into_iter().collect())
}

/// `SIGINT`, `INT`, `int` or `2`, in the form that Docker takes.
pub(super) fn signal(value: &Value) -> Read<String> {
    let text = shape::scalar(value)?;
    if let Ok(number) = text.parse::<u8>()
        && (1..=64).contains(&number)
        && !matches!(number, 9 | 19)
    {
        return Ok(number.to_string());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if SIGNALS.contains(&name) {
        Ok(format!("SIG{name}"))
    } else {
        wrong(format!(
            "`{}` is not a signal that a process can handle, such as SIGTERM or SIGINT",
            quote(&text)
        ))
    }
}
