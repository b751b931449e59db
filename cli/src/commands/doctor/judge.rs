//! Judges what was found: is it well, and what to do if it is not. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use dopq_common::api::{Component, Doctor, Node, NodeHealth, Status};
use serde::Serialize;

use crate::output::text::{bytes, count};

/// Clocks that differ by more confuse times in logs and the expiry of tokens.
const CLOCK_SECONDS: f64 = 5.0;

/// A certificate that ends sooner should have been renewed by now.
const EXPIRY_WARN: TimeDelta = TimeDelta::days(21);
const EXPIRY_FAIL: TimeDelta = TimeDelta::days(3);

/// With less space jobs cannot be built or their results not be kept.
const DISK_WARN_BYTES: u64 = 20 << 30;
const DISK_FAIL_BYTES: u64 = 2 << 30;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked, such as `broker` or `node gpu-1`.
    pub(super) check: String,
    pub(super) level: Level,
    /// What was found.
    pub(super) detail: String,
    /// What to do; empty if nothing.
    pub(super) advice: String,
}

fn ok(check: impl Into<String>, detail: impl Into<String>) -> Finding {
    Finding {
        check: check.into(),
        level: Level::Ok,
        detail: detail.into(),
        advice: String::new(),
    }
}

fn bad(
    level: Level,
    check: impl Into<String>,
    detail: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding {
        check: check.into(),
        level,
        detail: detail.into(),
        advice: advice.into(),
    }
}

/// All that could be learned.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The version of this program.
    pub(super) version: String,
    /// Warnings about the settings.
    pub(super) settings: Vec<String>,
    /// The master's URL, and who named it.
    pub(super) master: String,
    /// What the master says of itself, or why it did not answer and what to do.
    pub(super) status: Option<Result<Status, (String, String)>>,
    /// This machine's clock and the master's, to the second.
    pub(super) clocks: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// When the master's certificate ends.
    pub(super) certificate: Option<DateTime<Utc>>,
    /// Who the token's owner is, or why it is not accepted.
    pub(super) user: Option<Result<String, (String, String)>>,
    pub(super) nodes: Option<Vec<Node>>,
    /// What only newer masters tell.
    pub(super) doctor: Option<Doctor>,
}

/// Judges the facts, from here to the GPUs.
pub(super) fn judge(facts: &Facts, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for warning in &facts.settings {
        findings.push(bad(Level::Warn, "settings", warning, ""));
    }
    match &facts.status {
        Some(Ok(status)) => {
            findings.push(ok(
                "master",
                format!("{}, cluster {}", facts.master, status.cluster),
            ));
            findings.push(version(
                "version",
                ("this program", &facts.version),
                ("the master", &status.build),
            ));
        }
        Some(Err((why, advice))) => findings.push(bad(Level::Fail, "master", why, advice)),
        None => {}
    }
    findings.extend(facts.clocks.map(|(here, there)| own_clock(here, there)));
    findings.extend(facts.certificate.map(|end| certificate(end, now)));
    match &facts.user {
        Some(Ok(user)) => findings.push(ok("token", user)),
        Some(Err((why, advice))) => findings.push(bad(Level::Fail, "token", why, advice)),
        None => {}
    }
    if let Some(Ok(status)) = &facts.status {
        findings.extend(status.components.iter().map(component));
    }
    if let Some(doctor) = &facts.doctor {
        findings.extend(store(doctor));
        findings.extend(dead_letters(doctor));
    }
    if let Some(nodes) = &facts.nodes {
        findings.extend(machines(nodes, facts));
    }
    findings
}

/// Versions agree in all but the last number; others are read, but not for ever.
fn version(check: &str, (one, its): (&str, &str), (other, theirs): (&str, &str)) -> Finding {
    let series = |version: &str| {
        let mut numbers = version.split('.').map(str::to_owned);
        (numbers.next(), numbers.next())
    };
    if series(its) == series(theirs) {
        return ok(check, format!("{one} is {its}, {other} {theirs}"));
    }
    bad(
        Level::Warn,
        check,
        format!("{one} is {its}, {other} is {theirs}"),
        "install the same version on all machines; one version of difference works",
    )
}

fn own_clock(here: DateTime<Utc>, there: DateTime<Utc>) -> Finding {
    let seconds = (here - there).as_seconds_f64();
    // The master tells whole seconds.
    if seconds.abs() <= CLOCK_SECONDS + 1.0 {
        return ok("clock", "agrees with the master's");
    }
    bad(
        Level::Warn,
        "clock",
        format!("this machine's is {} the master's", ahead(seconds)),
        "run an NTP service, such as chrony, on both machines",
    )
}

fn ahead(seconds: f64) -> String {
    let direction = if seconds < 0.0 { "behind" } else { "ahead of" };
    format!("{:.0} s {direction}", seconds.abs())
}

fn certificate(end: DateTime<Utc>, now: DateTime<Utc>) -> Finding {
    let left = end - now;
    let detail = format!("the master's ends on {}", end.format("%Y-%m-%d"));
    let level = if left < EXPIRY_FAIL {
        Level::Fail
    } else if left < EXPIRY_WARN {
        Level::Warn
    } else {
        return ok("certificate", detail);
    };
    bad(
        level,
        "certificate",
        detail,
        "renew it; the master reads a new file by itself",
    )
}

fn component(part: &Component) -> Finding {
    let detail = if part.detail.is_empty() {
        part.state.clone()
    } else {
        format!("{}: {}", part.state, part.detail)
    };
    let level = match part.state.as_str() {
        "up" | "off" => return ok(&part.name, detail),
        "degraded" => Level::Warn,
        _ => Level::Fail,
    };
    let advice = match part.name.as_str() {
        "store" => {
            "check that Redis runs and that store.url reaches it; nothing is accepted until then"
        }
        "broker" => {
            "check that RabbitMQ runs, its memory and disk alarms, and broker.url; running jobs continue"
        }
        "bundles" => "check that bundles.url can be written and has space",
        "ingest" => "check that ingest.url can be read and written",
        "retention" => {
            "check the free space of the bundle store, and retention.* in the master's settings"
        }
        "leader" => "check that a master runs and reaches the store",
        "scheduler" => "if the queue is locked: dopq unlock; else see the master's log",
        _ => "see the master's log",
    };
    bad(level, &part.name, detail, advice)
}

fn store(doctor: &Doctor) -> Vec<Finding> {
    let faults = doctor.store_faults.iter();
    faults
        .map(|fault| {
            bad(
                Level::Warn,
                "durability",
                fault,
                "correct redis.conf; store.require_durability refuses such a Redis",
            )
        })
        .collect()
}

fn dead_letters(doctor: &Doctor) -> Vec<Finding> {
    let Some(letters) = &doctor.dead_letters else {
        return Vec::new();
    };
    if letters.is_empty() {
        return vec![ok("dead letters", "none")];
    }
    let found = letters.iter().map(|group| {
        bad(
            Level::Warn,
            "dead letters",
            format!(
                "{} of {}: {}",
                count(group.count, "message", "messages"),
                group.queue,
                group.reason
            ),
            "the master's and the worker's log say why; then empty the queue with: rabbitmqctl purge_queue dopq.CLUSTER.dead",
        )
    });
    found.collect()
}

fn machines(nodes: &[Node], facts: &Facts) -> Vec<Finding> {
    if nodes.is_empty() {
        return vec![bad(
            Level::Fail,
            "nodes",
            "no worker has joined",
            "start one; docs/OPERATIONS.md says how",
        )];
    }
    let health: BTreeMap<&str, &NodeHealth> = facts
        .doctor
        .iter()
        .flat_map(|doctor| &doctor.nodes)
        .map(|node| (node.name.as_str(), node))
        .collect();
    let build = match &facts.status {
        Some(Ok(status)) => status.build.as_str(),
        Some(Err(_)) | None => "",
    };
    let mut findings = Vec::new();
    for node in nodes {
        let mut faults = machine(node, build);
        if let Some(health) = health.get(node.name.as_str()) {
            faults.extend(resources(node, health));
        }
        if faults.is_empty() {
            let gpus = count(node.gpus.len() as u64, "GPU", "GPUs");
            let detail = format!("{gpus} ({}), engine {}", node.gpu_mode, node.engine);
            faults.push(ok(format!("node {}", node.name), detail));
        }
        findings.extend(faults);
    }
    findings
}

/// What is wrong with a machine itself.
fn machine(node: &Node, build: &str) -> Vec<Finding> {
    let check = format!("node {}", node.name);
    let mut faults = Vec::new();
    match node.state.as_str() {
        "up" => {}
        "suspect" => faults.push(bad(
            Level::Warn,
            &check,
            "suspect: not heard from for a while",
            "check its network; if it stays so, see the worker's log",
        )),
        state => faults.push(bad(
            Level::Fail,
            &check,
            format!("{state}: its jobs were given to others"),
            "check that the machine and dopq-worker run and reach the broker",
        )),
    }
    if let Some(reason) = &node.cordon {
        faults.push(bad(
            Level::Warn,
            &check,
            format!("takes no jobs: {reason}"),
            format!("if that is over: dopq uncordon {}", node.name),
        ));
    }
    if node.state != "up" {
        return faults;
    }
    if node.engine.is_empty() {
        faults.push(bad(
            Level::Warn,
            &check,
            "has not said which engine it has",
            "see the worker's log",
        ));
    }
    if !build.is_empty() && !node.agent.is_empty() {
        let found = version(&check, ("its worker", &node.agent), ("the master", build));
        faults.extend(Some(found).filter(|found| found.level != Level::Ok));
    }
    let broken = node.gpus.iter().filter(|gpu| !gpu.healthy).count() as u64;
    if broken > 0 {
        faults.push(bad(
            Level::Fail,
            &check,
            format!("{} in quarantine", count(broken, "GPU", "GPUs")),
            "look at nvidia-smi and dmesg there; the worker's log says what failed",
        ));
    }
    if node.gpus.is_empty() && !matches!(node.gpu_mode.as_str(), "" | "none") {
        faults.push(bad(
            Level::Warn,
            &check,
            format!("shows no GPU, although the engine has {}", node.gpu_mode),
            "check the driver with nvidia-smi, and gpus.* in the worker's settings",
        ));
    }
    faults
}

/// Clock and disks, as its heartbeat tells them.
fn resources(node: &Node, health: &NodeHealth) -> Vec<Finding> {
    let check = format!("node {}", node.name);
    let mut faults = Vec::new();
    if let Some(seconds) = health.clock_ahead_seconds
        && seconds.abs() > CLOCK_SECONDS
        && node.state == "up"
    {
        faults.push(bad(
            Level::Warn,
            &check,
            format!("its clock is {} the master's", ahead(seconds)),
            "run an NTP service, such as chrony, on both machines",
        ));
    }
    for (what, free, advice) in [
        (
            "spool",
            health.spool_free_bytes,
            "free the disk of the worker's data_dir",
        ),
        (
            "engine",
            health.engine_free_bytes,
            "free the engine's disk: docker system df, then docker system prune",
        ),
    ] {
        let Some(free) = free.filter(|free| *free < DISK_WARN_BYTES) else {
            continue;
        };
        let level = if free < DISK_FAIL_BYTES {
            Level::Fail
        } else {
            Level::Warn
        };
        let detail = format!("{} free on the disk of the {what}", bytes(free));
        faults.push(bad(level, &check, detail, advice));
    }
    faults
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
