//! Reads the fields of a configuration document into a [`JobSpec`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::run_params::RunParams;
use super::shape::{self, Fields, Read, wrong};
use super::{document, rules, run_params, tasks, volumes};
use crate::bundle::Fault;
use crate::bundle::fault::{Faults, quote};
use crate::id::{JobId, UserName, VolumeName};
use crate::job::{
    Artifacts, Class, Dependency, DependencyKind, ImageSource, JobSpec, Network, OnWorkerLoss,
    Outdir,
};
use crate::resources::{ByteSize, GpuAmount, MilliCpu, MilliGpu, Request};

/// The minimum length of a name in characters, as in DoPQ 1.0.
const NAME_MIN_CHARS: usize = 3;
/// The maximum length of a name in characters; tables show it.
const NAME_MAX_CHARS: usize = 128;
/// The maximum of GPUs of one job.
const GPUS_MAX: i64 = 1024;
/// The maximum of jobs in `after`.
const AFTER_MAX: usize = 1000;
/// The maximum of build arguments.
const BUILD_ARGS_MAX: usize = 100;
/// The maximum of their names and values together.
const BUILD_ARGS_MAX_BYTES: usize = 16 * 1024;
/// The default time between SIGTERM and SIGKILL, as in Docker.
const GRACE: Duration = Duration::from_secs(10);
/// The maximum of that time; draining a machine waits for it.
const GRACE_MAX: Duration = Duration::from_secs(3600);

/// Reads a `container_config.json` with the fields of DoPQ 1.0 and the newer ones.
///
/// # Errors
/// All faults, with the path of the field, or line and column of a syntax error.
pub fn parse(text: &str) -> Result<JobSpec, Vec<Fault>> {
    let map = document::read(text)?;
    let mut faults = Faults::default();
    match spec(&map, &mut faults) {
        Some(spec) if faults.is_empty() => Ok(spec),
        Some(_) | None => Err(faults.into_list()),
    }
}

/// Reads a configuration for a new job: like [`parse`], with the rules that came later. A stored configuration stays
/// valid without them.
///
/// # Errors
/// Like [`parse`].
pub fn accept(text: &str) -> Result<JobSpec, Vec<Fault>> {
    let spec = parse(text)?;
    match rules::check(&spec) {
        faults if faults.is_empty() => Ok(spec),
        faults => Err(faults.into_list()),
    }
}

/// What a valid configuration asks for that has no effect, one sentence each.
#[must_use]
pub fn notes(text: &str) -> Vec<String> {
    let document = serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    match document.get("run_params") {
        Some(Value::Object(map)) => run_params::ignored(map),
        Some(_) | None => Vec::new(),
    }
}

/// `None` only with a fault.
fn spec(map: &Map<String, Value>, faults: &mut Faults) -> Option<JobSpec> {
    let mut fields = Fields::new("", map, faults);
    let name = fields.need("name", name);
    let executor = fields.need("executor_name", executor);
    let image = image(&mut fields);
    let RunParams {
        mut container,
        memory,
        retries: restarts,
    } = run_params::take(&mut fields);
    let mut request = request(&mut fields);
    request.memory = request.memory.or(memory);
    if request.cpu.is_none() {
        // A container with a CPU limit cannot use more, so it needs no more.
        request.cpu = container.cpu_limit;
    }
    if let Some(command) = fields.take("command", shape::command) {
        container.command = Some(command);
    }
    if let Some(env) = fields.take("env", run_params::environment) {
        let new: BTreeSet<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        container
            .env
            .retain(|(name, _)| !new.contains(name.as_str()));
        container.env.extend(env);
    }
    if let Some(size) = fields.take("shm_size", |v| shape::size(v, 1)) {
        container.shm_size = size;
    }
    if let Some(network) = fields.take("network", |value| {
        let words = [
            ("bridge", Network::Bridge),
            ("none", Network::None),
            ("host", Network::Host),
        ];
        shape::one_of(value, &words)
    }) {
        container.network = network;
    }
    if !container.ports.is_empty() && container.network != Network::Bridge {
        let message = "a job with ports needs the network bridge";
        fields.fault("config_conflict", "run_params.ports", message);
    }
    let time_limit = fields.take("time_limit", positive_duration);
    let time_request = fields.take("time_request", positive_duration);
    if let (Some(limit), Some(expected)) = (time_limit, time_request)
        && expected > limit
    {
        fields.fault(
            "config_value",
            "time_request",
            "it is longer than `time_limit`",
        );
    }
    let class = fields.take("class", |value| {
        let words = [
            ("urgent", Class::Urgent),
            ("normal", Class::Normal),
            ("nice", Class::Nice),
        ];
        shape::one_of(value, &words)
    });
    let outdir = fields.take("outdir", |value| {
        shape::one_of(value, &[("own", Outdir::Own), ("shared", Outdir::Shared)])
    });
    let artifacts = fields.take("artifacts", |value| {
        let words = [
            ("always", Artifacts::Always),
            ("success", Artifacts::Success),
            ("never", Artifacts::Never),
        ];
        shape::one_of(value, &words)
    });
    let artifacts = if outdir == Some(Outdir::Shared) {
        if artifacts.is_some_and(|when| when != Artifacts::Never) {
            let message =
                "a shared `/outdir` stays where it is and is not published; use \"never\"";
            fields.fault("config_conflict", "artifacts", message);
        }
        request.volumes.insert(VolumeName::workspace());
        Some(Artifacts::Never)
    } else {
        artifacts
    };
    let on_worker_loss = fields.take("on_worker_loss", |value| {
        let words = [
            ("requeue", OnWorkerLoss::Requeue),
            ("fail", OnWorkerLoss::Fail),
        ];
        shape::one_of(value, &words)
    });
    let priority = fields.take("priority", |v| shape::whole_as(v, -1000, 1000));
    let retries = fields.take("retries", |v| shape::whole_as(v, 0, 100));
    let after = fields.take("after", after);
    let tasks = tasks::take(&mut fields);
    let preemptible = fields.take("preemptible", shape::boolean);
    let grace = fields.take("grace", |value| match shape::duration(value)? {
        grace if grace > GRACE_MAX => wrong("the maximum is 1 h"),
        grace => Ok(grace),
    });
    let strict_once = fields.take("strict_once", shape::boolean);
    let secrets = fields.take("secrets", secrets);
    let build_args = fields.take("build_args", build_args);
    let checkpoint = fields.take("checkpoint", shape::boolean);
    let checkpoint_every = fields.take("checkpoint_every", positive_duration);
    fields.refuse_rest(|name, _, known| Some(unknown(name, known)));
    Some(JobSpec {
        name: name?,
        executor: executor?,
        image: image?,
        request,
        labels: container.labels.clone(),
        container,
        class: class.unwrap_or_default(),
        priority: priority.unwrap_or_default(),
        time_limit,
        time_request,
        retries: retries.or(restarts).unwrap_or_default(),
        after: after.unwrap_or_default(),
        array: tasks.array,
        sweep: tasks.sweep,
        max_fails: tasks.max_fails,
        preemptible: preemptible.unwrap_or_default(),
        grace: grace.unwrap_or(GRACE),
        outdir: outdir.unwrap_or_default(),
        artifacts: artifacts.unwrap_or_default(),
        on_worker_loss: on_worker_loss.unwrap_or_default(),
        strict_once: strict_once.unwrap_or_default(),
        secrets: secrets.unwrap_or_default(),
        build_args: build_args.unwrap_or_default(),
        checkpoint: checkpoint.unwrap_or(true),
        checkpoint_every,
    })
}

fn name(value: &Value) -> Read<String> {
    let name = shape::line(value)?;
    match name.chars().count() {
        NAME_MIN_CHARS..=NAME_MAX_CHARS => Ok(name),
        _ => wrong(format!(
            "it must have {NAME_MIN_CHARS} to {NAME_MAX_CHARS} characters"
        )),
    }
}

fn executor(value: &Value) -> Read<UserName> {
    let name = shape::text(value)?;
    if name.chars().count() < NAME_MIN_CHARS {
        return wrong(format!("it must have at least {NAME_MIN_CHARS} characters"));
    }
    name.parse()
        .or_else(|error: crate::id::ParseIdError| wrong(error.rule))
}

/// The image source. `image` alone means that nothing is built.
fn image(fields: &mut Fields<'_>) -> Option<ImageSource> {
    let build = fields.take("build_flag", shape::boolean);
    let image = fields.take("image", image_name);
    if fields.has("image") && build == Some(true) {
        let message = "set `build_flag` to false to use an `image`";
        fields.fault("config_conflict", "image", message);
        return None;
    }
    Some(match (image, build) {
        (Some(image), _) => ImageSource::Named(image),
        (None, Some(false)) => ImageSource::Load,
        (None, Some(true) | None) => ImageSource::Build,
    })
}

fn image_name(value: &Value) -> Read<String> {
    let name = shape::line(value)?;
    let fits = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
    if fits {
        Ok(name)
    } else {
        wrong("it is not an image name such as `python:3.12`")
    }
}

fn request(fields: &mut Fields<'_>) -> Request {
    let gpus = fields.take("num_gpus", |v| shape::whole_as(v, 0, GPUS_MAX));
    let slots = fields.take("num_slots", |v| shape::whole_as(v, 1, 1000));
    let share = fields.take("gpu_share", gpu_share);
    if fields.has("num_slots") && fields.has("gpu_share") {
        let message = "`num_slots` and `gpu_share` exclude each other; keep one";
        fields.fault("config_conflict", "gpu_share", message);
    }
    Request {
        gpus: gpus.unwrap_or(1),
        gpu_amount: share.map_or_else(|| GpuAmount::Slots(slots.unwrap_or(1)), GpuAmount::Milli),
        gpu_models: fields
            .take("gpu_model", shape::one_or_more)
            .unwrap_or_default(),
        gpu_memory: fields.take("gpu_memory", |v| shape::size(v, ByteSize::GIB)),
        cpu: fields.take("cpus", cpus),
        memory: fields.take("required_memory", memory),
        labels: fields.take("labels", labels).unwrap_or_default(),
        volumes: fields.take("volumes", volumes::read).unwrap_or_default(),
    }
}

/// Docker's minimum is 6 MiB.
fn memory(value: &Value) -> Read<ByteSize> {
    match shape::size(value, ByteSize::GIB)? {
        size if size.0 < 6 * ByteSize::MIB => wrong("the minimum is 6m"),
        size => Ok(size),
    }
}

fn gpu_share(value: &Value) -> Read<MilliGpu> {
    let share = shape::number(value)?;
    if !(0.001..=1.0).contains(&share) {
        return wrong("it must be 0.001 to 1");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    let milli = (share * 1000.0).round() as u32;
    Ok(MilliGpu(milli))
}

fn cpus(value: &Value) -> Read<MilliCpu> {
    let cpus = shape::number(value)?;
    if !(0.01..=4096.0).contains(&cpus) {
        return wrong("it must be 0.01 to 4096 cores");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    let milli = (cpus * 1000.0).round() as u64;
    Ok(MilliCpu(milli))
}

fn labels(value: &Value) -> Read<BTreeMap<String, String>> {
    Ok(shape::pairs(value, '=')?.into_iter().collect())
}

fn positive_duration(value: &Value) -> Read<Duration> {
    match shape::duration(value)? {
        Duration::ZERO => wrong("it must be above 0"),
        duration => Ok(duration),
    }
}

/// `12`, `"12"` and `"12:ok"` wait for success, `"12:any"` for any end. A list, or one text with commas.
fn after(value: &Value) -> Read<Vec<Dependency>> {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::String(text) => text.split(',').count(),
        Value::Number(_) => 1,
        Value::Null | Value::Bool(_) | Value::Object(_) => {
            return shape::mismatch("a list of job ids", value);
        }
    };
    if count > AFTER_MAX {
        return wrong(format!("a job can wait for at most {AFTER_MAX} jobs"));
    }
    let dependencies = match value {
        Value::String(text) => shape::each(
            text.split(',')
                .map(|piece| (String::new(), dependency(piece.trim()))),
        )?,
        Value::Array(_) => shape::list(value, |item| match item {
            Value::Number(_) => dependency(&item.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => dependency(shape::text(item)?),
        })?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            vec![dependency(&value.to_string())?]
        }
    };
    let distinct: BTreeSet<JobId> = dependencies.iter().map(|d| d.job).collect();
    if distinct.len() < dependencies.len() {
        return wrong("it contains a job twice");
    }
    Ok(dependencies)
}

fn dependency(text: &str) -> Read<Dependency> {
    let (job, kind) = match text.split_once(':') {
        None => (text, DependencyKind::Ok),
        Some((job, "ok")) => (job, DependencyKind::Ok),
        Some((job, "any")) => (job, DependencyKind::Any),
        Some(_) => return wrong("only `:ok` or `:any` may follow a job id"),
    };
    match job.parse() {
        Ok(job) => Ok(Dependency { job, kind }),
        Err(_) => wrong(format!(
            "`{}` is not a job id; write 1423, 1423:ok or 1423:any",
            quote(text)
        )),
    }
}

fn secrets(value: &Value) -> Read<Vec<String>> {
    shape::list(value, |item| {
        let name = shape::line(item)?;
        let fits = name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && !name.contains("..");
        if fits {
            Ok(name)
        } else {
            wrong("a secret's name must be 1 to 64 letters, digits or . _ -")
        }
    })
}

/// Values of the Dockerfile's `ARG`s. They travel in the address of a request, so there cannot be many.
fn build_args(value: &Value) -> Read<BTreeMap<String, String>> {
    let pairs = shape::pairs(value, '=')?;
    let bytes: usize = pairs.iter().map(|(n, v)| n.len() + v.len()).sum();
    if pairs.len() > BUILD_ARGS_MAX || bytes > BUILD_ARGS_MAX_BYTES {
        return wrong(format!(
            "at most {BUILD_ARGS_MAX} arguments of {BUILD_ARGS_MAX_BYTES} bytes together are allowed"
        ));
    }
    for (name, _) in &pairs {
        let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty();
        if !fits {
            return wrong(format!("`{}` is not a name of an ARG", quote(name)));
        }
        if name.to_ascii_uppercase().starts_with("BUILDKIT_") {
            return wrong(format!("`{}` would set up the builder itself", quote(name)));
        }
    }
    Ok(pairs.into_iter().collect())
}

/// Rule and message for an unknown field.
fn unknown(name: &str, known: &BTreeSet<&'static str>) -> (&'static str, String) {
    let message = if run_params::is_allowed(name) {
        "this is a Docker parameter; move it into `run_params`".to_owned()
    } else {
        format!("unknown field{}", shape::nearest(name, known))
    };
    ("config_unknown_field", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: &Value) -> Result<JobSpec, Vec<Fault>> {
        let mut document = json!({"name": "train", "executor_name": "anna"});
        for (name, value) in more.as_object().into_iter().flatten() {
            document[name] = value.clone();
        }
        parse(&document.to_string())
    }

    #[test]
    fn every_job_has_a_checkpoint_unless_it_wants_none() {
        let spec = read(&json!({})).expect("valid");
        assert_eq!((spec.checkpoint, spec.checkpoint_every), (true, None));
        let spec = read(&json!({"checkpoint": false, "checkpoint_every": "30m"})).expect("valid");
        let half_an_hour = Some(Duration::from_secs(1800));
        assert_eq!(
            (spec.checkpoint, spec.checkpoint_every),
            (false, half_an_hour)
        );
        for wrong in [json!({"checkpoint": "no"}), json!({"checkpoint_every": 0})] {
            let faults = read(&wrong).expect_err("refused");
            assert_eq!(faults.len(), 1, "{wrong}: {faults:?}");
        }
    }
}
