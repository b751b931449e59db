//! Whose the processes on a GPU are, and whether an ended job gave its memory back.
//!
//! A process is ours if its cgroup is that of a container of one of our attempts. Every other process makes the GPU
//! `foreign`. Memory that stays in use without a job and without a process makes it `dirty`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::GpuId;
use dopq_common::resources::{ByteSize, GpuTaken, TakenBy};
use tokio::time::Instant;

use super::look::{Measured, Processes};

const PROC: &str = "/proc";
/// The inode of the machine's own process namespace, which the kernel never changes.
const MACHINE: &str = "pid:[4026531836]";
/// So many samples in a row must show a foreign process: one may end just then.
const FOREIGN_SAMPLES: u32 = 2;
/// A driver takes some time to give memory back.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// More memory than an unused GPU had.
const SLACK: u64 = 512 * ByteSize::MIB;
/// The processes of a container that ended are still known as ours for so long.
const REMEMBER: Duration = Duration::from_secs(60);
/// NVIDIA's daemon that computes for several processes; whose, is not known.
const SHARED: &str = "nvidia-cuda-mps";

/// What is remembered between samples.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Our containers, and when each was last running.
    ours: BTreeMap<Arc<str>, Instant>,
    gpus: BTreeMap<GpuId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Samples in a row that showed a foreign process.
    foreign: u32,
    /// The least memory that was in use while nobody used it.
    unused_bytes: Option<u64>,
    /// Since when it is neither held nor has a process.
    idle: Option<Instant>,
    was_held: bool,
}

/// Whether this process sees the machine's processes, and so can tell whose they are.
pub(crate) fn sees_processes() -> bool {
    let own = std::fs::read_link(Path::new(PROC).join("self/ns/pid"));
    own.is_ok_and(|own| own.as_os_str() == MACHINE)
}

impl Owners {
    /// Takes over which containers of ours run now.
    pub(crate) fn follow(&mut self, running: impl Iterator<Item = Arc<str>>, now: Instant) {
        self.ours.extend(running.map(|container| (container, now)));
        self.ours
            .retain(|_, last| now.duration_since(*last) < REMEMBER);
    }

    /// The GPUs that jobs must not be given now; `held` are those that a job has. Blocks for a moment.
    pub(crate) fn taken(
        &mut self,
        measured: &[Measured],
        held: &BTreeSet<GpuId>,
        now: Instant,
    ) -> BTreeMap<GpuId, GpuTaken> {
        let mut taken = BTreeMap::new();
        for gpu in measured {
            let (foreign, is_empty) = match &gpu.processes {
                Processes::Unknown => continue,
                Processes::Pids(pids) => {
                    let foreign = pids
                        .iter()
                        .find_map(|pid| self.foreign(Path::new(PROC), *pid));
                    (foreign, pids.is_empty())
                }
                Processes::Simulated(foreign) => (foreign.clone(), foreign.is_none()),
            };
            let known = self.gpus.entry(gpu.usage.id.clone()).or_default();
            let is_held = held.contains(&gpu.usage.id);
            let used = gpu.usage.memory_used_bytes;
            let found = known
                .foreign(foreign)
                .or_else(|| known.dirty(used, !is_held && is_empty, is_held, now));
            if let Some(found) = found {
                taken.insert(gpu.usage.id.clone(), found);
            }
        }
        taken
    }

    /// What a process is that is not ours; `None` for one of ours, and for one that has ended.
    fn foreign(&self, proc: &Path, pid: u32) -> Option<String> {
        let folder = proc.join(pid.to_string());
        let cgroup = std::fs::read_to_string(folder.join("cgroup")).ok()?;
        if self.ours.keys().any(|id| cgroup.contains(&**id)) {
            return None;
        }
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let name = name.trim();
        if name.starts_with(SHARED) {
            return None;
        }
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let mut lines = status.lines();
        let uid = lines.find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
        let of = uid.map_or_else(String::new, |uid| format!(" of {}", user(uid)));
        Some(format!("pid {pid} ({name}{of})"))
    }
}

/// The name of a user of the machine, or the number where it has none.
fn user(uid: &str) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("user {uid}"))
}

impl Known {
    fn foreign(&mut self, process: Option<String>) -> Option<GpuTaken> {
        let Some(detail) = process else {
            self.foreign = 0;
            return None;
        };
        self.foreign = self.foreign.saturating_add(1);
        (self.foreign >= FOREIGN_SAMPLES).then_some(GpuTaken {
            by: TakenBy::Foreign,
            detail,
        })
    }

    fn dirty(&mut self, used: u64, is_idle: bool, is_held: bool, now: Instant) -> Option<GpuTaken> {
        self.was_held |= is_held;
        if !is_idle {
            self.idle = None;
            return None;
        }
        let since = *self.idle.get_or_insert(now);
        let is_settled = now.duration_since(since) >= GIVE_BACK;
        let unused = match self.unused_bytes {
            Some(unused) => unused,
            // A worker that started during a job has never seen the GPU unused, and has nothing to compare with.
            None if self.was_held && !is_settled => return None,
            None => used,
        };
        if used <= unused.saturating_add(SLACK) {
            self.unused_bytes = Some(unused.min(used));
            return None;
        }
        is_settled.then(|| GpuTaken {
            by: TakenBy::Dirty,
            detail: format!("{} are in use without a process", ByteSize(used)),
        })
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::wire::GpuUse;

    use super::*;

    const GPU: &str = "GPU-1";

    fn id() -> GpuId {
        GPU.parse().expect("a name")
    }

    fn measured(used: u64, processes: Processes) -> [Measured; 1] {
        [Measured {
            usage: GpuUse {
                memory_used_bytes: used,
                ..GpuUse::unknown(id())
            },
            counts_energy: false,
            processes,
        }]
    }

    #[test]
    fn a_process_is_ours_by_its_container() {
        let dir = tempfile::tempdir().expect("a folder");
        let process = |pid: &str, cgroup: &str, name: &str| {
            let folder = dir.path().join(pid);
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join("cgroup"), cgroup).expect("written");
            std::fs::write(folder.join("comm"), format!("{name}\n")).expect("written");
            std::fs::write(folder.join("status"), "Name:\tx\nUid:\t0\t0\t0\t0\n").expect("written");
        };
        process("7", "0::/system.slice/docker-3f2a9c.scope\n", "python3");
        process("8", "0::/user.slice/user-1000.slice\n", "python3");
        process("9", "0::/system.slice/docker-ffff.scope\n", "train");
        process("10", "0::/\n", "nvidia-cuda-mps");
        let now = Instant::now();
        let mut owners = Owners::default();
        owners.follow([Arc::from("3f2a9c")].into_iter(), now);
        let told = |owners: &Owners, pid| owners.foreign(dir.path(), pid);
        assert_eq!(told(&owners, 7), None);
        assert_eq!(told(&owners, 8).as_deref(), Some("pid 8 (python3 of root)"));
        assert_eq!(told(&owners, 9).as_deref(), Some("pid 9 (train of root)"));
        assert_eq!(told(&owners, 10), None);
        assert_eq!(told(&owners, 11), None, "it has ended");
        // Its processes may outlive a container for a moment.
        owners.follow(std::iter::empty(), now + REMEMBER / 2);
        assert_eq!(told(&owners, 7), None);
        owners.follow(std::iter::empty(), now + REMEMBER);
        assert!(told(&owners, 7).is_some());
    }

    #[test]
    fn a_foreign_process_takes_the_gpu_until_it_is_gone() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        let held = BTreeSet::from([id()]);
        let mut look = |foreign: Option<&str>, held: &BTreeSet<GpuId>| {
            let seen = Processes::Simulated(foreign.map(str::to_owned));
            let taken = owners.taken(&measured(0, seen), held, now);
            taken
                .get(&id())
                .map(|taken| (taken.by, taken.detail.clone()))
        };
        let expected = Some((TakenBy::Foreign, "pid 8".to_owned()));
        let none = BTreeSet::new();
        assert_eq!(look(Some("pid 8"), &none), None, "it may just end");
        assert_eq!(look(Some("pid 8"), &none), expected);
        assert_eq!(look(Some("pid 8"), &held), expected, "beside a job too");
        assert_eq!(look(None, &none), None);
        assert_eq!(look(Some("pid 8"), &none), None);
    }

    #[test]
    fn memory_that_is_not_given_back_takes_the_gpu_until_it_is() {
        let (mut owners, start) = (Owners::default(), Instant::now());
        let held = BTreeSet::from([id()]);
        let none = BTreeSet::new();
        let mut look = |seconds, used, held: &BTreeSet<GpuId>| {
            let now = start + Duration::from_secs(seconds);
            let idle = Processes::Pids(Vec::new());
            let taken = owners.taken(&measured(used, idle), held, now);
            taken.get(&id()).map(|taken| taken.by)
        };
        let gib = ByteSize::GIB;
        assert_eq!(look(0, gib, &none), None, "what the driver itself takes");
        assert_eq!(look(2, 20 * gib, &held), None, "the job's");
        assert_eq!(look(4, 20 * gib, &none), None, "it is being given back");
        assert_eq!(look(13, 20 * gib, &none), None);
        assert_eq!(look(14, 20 * gib, &none), Some(TakenBy::Dirty));
        assert_eq!(look(16, gib + SLACK, &none), None);
        assert_eq!(look(18, gib + SLACK + 1, &none), Some(TakenBy::Dirty));
    }

    #[test]
    fn a_worker_that_starts_during_a_job_learns_what_an_unused_gpu_takes() {
        let (mut owners, start) = (Owners::default(), Instant::now());
        let held = BTreeSet::from([id()]);
        let mut look = |seconds, used, held: &BTreeSet<GpuId>| {
            let now = start + Duration::from_secs(seconds);
            let idle = Processes::Pids(Vec::new());
            owners.taken(&measured(used, idle), held, now).len()
        };
        assert_eq!(look(0, 1 << 34, &held), 0);
        assert_eq!(look(2, 1 << 34, &BTreeSet::new()), 0);
        assert_eq!(look(12, 1 << 30, &BTreeSet::new()), 0);
        assert_eq!(look(14, 1 << 34, &BTreeSet::new()), 1);
        let unknown = measured(1 << 40, Processes::Unknown);
        let later = start + Duration::from_secs(60);
        assert_eq!(owners.taken(&unknown, &BTreeSet::new(), later).len(), 0);
    }
}
