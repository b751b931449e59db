//! Builds a container's environment: first secrets and the user's variables, then the task's sweep, then DoPQ's, each
//! name once.
//!
//! NVIDIA's container hooks read the container's environment on the host (CVE-2025-23266). This module therefore
//! overrides variables that control them or the host's dynamic linker.

use dopq_common::id::GpuId;
use dopq_common::secret::Secret;

use super::mounts::{WORKSPACE, WORKSPACE_ASIDE};
use super::plan_input::PlanInput;

/// Where containers see their job's checkpoint.
pub(super) const CHECKPOINT_DIR: &str = "/checkpoint";

/// Switches of NVIDIA's runtime that give access to more than the assigned GPUs.
const NVIDIA_SWITCHES: [&str; 8] = [
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
    "NVIDIA_GDS",
    "NVIDIA_MOFED",
    "NVIDIA_NVSWITCH",
    "NVIDIA_GDRCOPY",
    "NVIDIA_CDI_HOOK_PATH",
];

/// Variables that load code into a starting process.
const LOADERS: [&str; 3] = ["LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES"];

/// Search paths of the dynamic linker. Kept, except parts that lead into the container's files when the host's linker
/// reads them.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The environment of the container, in order.
pub(super) fn merge(input: &PlanInput<'_>, gpus: &[GpuId]) -> Vec<(String, Secret)> {
    let mut env = Environment::default();
    let secrets = input.secrets.iter();
    let secrets = secrets.map(|(name, value)| (name, value.reveal()));
    let wishes = input.spec.container.env.iter();
    let wishes = wishes.map(|(name, value)| (name, value.as_str()));
    for (name, value) in secrets.chain(wishes).filter(|(name, _)| is_name(name)) {
        env.set(name, value);
    }
    if let (Some(sweep), Some(index)) = (&input.spec.sweep, input.array_index) {
        for (name, value) in sweep.values(index) {
            env.set(name, &value);
        }
    }
    env.neutralise(input.image_env);
    let gpus: Vec<&str> = gpus.iter().map(GpuId::as_str).collect();
    let visible = if gpus.is_empty() {
        "void".to_owned()
    } else {
        gpus.join(",")
    };
    env.set("NVIDIA_VISIBLE_DEVICES", &visible);
    env.set("DOPQ_JOB_ID", &input.attempt.job.to_string());
    env.set("DOPQ_ATTEMPT", &input.attempt.number.to_string());
    let mut targets = input.volumes.iter().map(|mount| &*mount.target);
    if let Some(workspace) = targets.find(|at| [WORKSPACE, WORKSPACE_ASIDE].contains(at)) {
        env.set("DOPQ_WORKSPACE", workspace);
    }
    if let Some(index) = input.array_index {
        env.set("DOPQ_ARRAY_INDEX", &index.to_string());
    }
    if let Some(array) = input.array_job {
        env.set("DOPQ_ARRAY_JOB_ID", &array.to_string());
    }
    if let Some(checkpoint) = &input.checkpoint {
        env.set("DOPQ_CHECKPOINT_DIR", CHECKPOINT_DIR);
        if checkpoint.resumed {
            env.set("DOPQ_RESUMED", "1");
        }
    }
    env.0
}

/// A name that contains = would become another name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Names with values, each name once.
#[derive(Default)]
struct Environment(Vec<(String, Secret)>);

impl Environment {
    /// Sets a name, which moves to the end.
    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.into()));
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(other, _)| other == name);
        named.next().map(|(_, value)| value.reveal())
    }

    /// Overrides variables of the user or the image that reach beyond the container. Adds none that are not set.
    fn neutralise(&mut self, image_env: &[String]) {
        let in_image = |name: &str| {
            let mut named = image_env.iter().filter_map(|line| line.split_once('='));
            named
                .find(|(other, _)| *other == name)
                .map(|(_, value)| value.to_owned())
        };
        for name in LOADERS.iter().chain(&NVIDIA_SWITCHES) {
            if self.get(name).is_some() || in_image(name).is_some() {
                self.set(name, "");
            }
        }
        let path = self.get(LIBRARY_PATH).map(str::to_owned);
        if let Some(path) = path.or_else(|| in_image(LIBRARY_PATH)) {
            let safe = safe_library_path(&path);
            if safe != path || self.get(LIBRARY_PATH).is_some() {
                self.set(LIBRARY_PATH, &safe);
            }
        }
    }
}

/// Keeps the absolute parts outside /proc; `/proc/self/cwd` would lead into the container.
fn safe_library_path(path: &str) -> String {
    let safe = |part: &&str| {
        part.starts_with('/')
            && !part.contains('$')
            && part.split('/').all(|name| name != ".." && name != ".")
            && !["/proc", "/dev", "/sys"].iter().any(|root| {
                let squeezed = part.trim_start_matches('/');
                squeezed == root.trim_start_matches('/')
                    || squeezed.starts_with(&format!("{}/", root.trim_start_matches('/')))
            })
    };
    let parts: Vec<&str> = path.split([':', ';']).filter(safe).collect();
    parts.join(":")
}
