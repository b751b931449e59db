//! A container's figures from the kernel's own files: cgroups of version 1 and 2, and the network's counters.
//!
//! Reading them costs some microseconds. The engine needs a second for each container, and works for it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use dopq_common::telemetry::Io;

const PROC: &str = "/proc";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Where the figures of one container are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    files: Files,
    /// Its network's counters, unless it has the network of this process.
    network: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Files {
    /// A folder for each controller.
    Old {
        cpu: PathBuf,
        memory: PathBuf,
        disk: PathBuf,
        pids: PathBuf,
    },
    /// One folder.
    Unified(PathBuf),
}

/// What a container has used and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// CPU time since its start, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Memory in use without inactive page cache, in bytes.
    pub(crate) memory_bytes: u64,
    /// Processes and threads.
    pub(crate) pids: u64,
    /// Read and written since its start.
    pub(crate) io: Io,
}

impl Cgroup {
    /// Of the container `id`, whose first process is `pid`. `None` where this process sees another machine's or another
    /// namespace's files.
    pub(super) fn find(pid: u32, id: &str) -> Option<Self> {
        Self::find_in(Path::new(PROC), Path::new(CGROUPS), pid, id)
    }

    fn find_in(proc: &Path, root: &Path, pid: u32, id: &str) -> Option<Self> {
        let process = proc.join(pid.to_string());
        let text = read_to_string(process.join("cgroup")).ok()?;
        // The number may be that of another process in this namespace; the container's id is nobody else's.
        let lines = text.lines().filter(|line| line.contains(id));
        let mut old: [Option<PathBuf>; 4] = Default::default();
        let mut unified = None;
        for line in lines {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            if controllers.is_empty() {
                unified = Some(root.join(path));
            }
            for controller in controllers.split(',') {
                let names = ["cpuacct", "memory", "blkio", "pids"];
                for (name, folder) in names.iter().zip(&mut old) {
                    if *name == controller {
                        *folder = Some(root.join(name).join(path));
                    }
                }
            }
        }
        let files = match (unified, old) {
            (Some(folder), _) if folder.join("memory.current").exists() => Files::Unified(folder),
            (_, [Some(cpu), Some(memory), Some(disk), Some(pids)]) => Files::Old {
                cpu,
                memory,
                disk,
                pids,
            },
            (None | Some(_), _) => return None,
        };
        let network = |of: &Path| std::fs::read_link(of.join("ns/net")).ok();
        let own = network(&process)?;
        let is_shared = network(&proc.join("self")) == Some(own);
        let found = Self {
            files,
            network: (!is_shared).then(|| process.join("net/dev")),
        };
        found.read().map(|_| found)
    }

    /// The figures now; `None` once the container has ended.
    pub(crate) fn read(&self) -> Option<Figures> {
        let mut figures = match &self.files {
            Files::Old {
                cpu,
                memory,
                disk,
                pids,
            } => Figures {
                cpu_ns: number(&cpu.join("cpuacct.usage"))?,
                memory_bytes: in_use(
                    number(&memory.join("memory.usage_in_bytes"))?,
                    &memory.join("memory.stat"),
                    "total_inactive_file",
                ),
                pids: number(&pids.join("pids.current")).unwrap_or_default(),
                io: old_disk(&disk.join("blkio.throttle.io_service_bytes_recursive"))
                    .or_else(|| old_disk(&disk.join("blkio.throttle.io_service_bytes")))
                    .unwrap_or_default(),
            },
            Files::Unified(folder) => Figures {
                cpu_ns: entry(&read_to_string(folder.join("cpu.stat")).ok()?, "usage_usec")?
                    .saturating_mul(1000),
                memory_bytes: in_use(
                    number(&folder.join("memory.current"))?,
                    &folder.join("memory.stat"),
                    "inactive_file",
                ),
                pids: number(&folder.join("pids.current")).unwrap_or_default(),
                io: unified_disk(&folder.join("io.stat")).unwrap_or_default(),
            },
        };
        let network = self.network.as_ref();
        if let Some(text) = network.and_then(|file| read_to_string(file).ok()) {
            (figures.io.received_bytes, figures.io.sent_bytes) = traffic(&text);
        }
        Some(figures)
    }
}

fn number(file: &Path) -> Option<u64> {
    read_to_string(file).ok()?.trim().parse().ok()
}

/// The number after `name` in lines such as `usage_usec 42`.
fn entry(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// Does not count inactive page cache, which the kernel can reclaim, like the engine's own figure.
fn in_use(used: u64, stat: &Path, idle: &str) -> u64 {
    let stat = read_to_string(stat).unwrap_or_default();
    used.saturating_sub(entry(&stat, idle).unwrap_or_default())
}

/// Lines such as `8:0 Read 4096`.
fn old_disk(file: &Path) -> Option<Io> {
    let text = read_to_string(file).ok()?;
    let mut io = Io::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(what), Some(bytes)) = (words.next(), words.next()) else {
            continue;
        };
        add_disk(&mut io, what, bytes.parse().unwrap_or_default());
    }
    Some(io)
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 …`.
fn unified_disk(file: &Path) -> Option<Io> {
    let text = read_to_string(file).ok()?;
    let mut io = Io::default();
    for (name, bytes) in text
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
    {
        add_disk(&mut io, name, bytes.parse().unwrap_or_default());
    }
    Some(io)
}

/// Adds what the kernel or the engine calls `what`.
pub(super) fn add_disk(io: &mut Io, what: &str, bytes: u64) {
    let total = match what {
        "Read" | "read" | "rbytes" => &mut io.disk_read_bytes,
        "Write" | "write" | "wbytes" => &mut io.disk_written_bytes,
        _ => return,
    };
    *total = total.saturating_add(bytes);
}

/// Received and sent over all interfaces but loopback, from `/proc/PID/net/dev`.
fn traffic(text: &str) -> (u64, u64) {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    let others = interfaces.filter(|(name, _)| name.trim() != "lo");
    others.fold((0, 0), |(received, sent), (_, counters)| {
        let mut counters = counters.split_ascii_whitespace();
        let mut at = |place| -> u64 {
            counters
                .nth(place)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        // The first of eight counters each.
        let (more_received, more_sent) = (at(0), at(7));
        (received + more_received, sent + more_sent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c";
    const NET: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999999       1    0    0    0     0          0         0   999999       1    0    0    0     0       0          0
  eth0:   1000       9    0    0    0     0          0         0      250       2    0    0    0     0       0          0
  eth1:      1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0
";

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
    }

    /// A process in that network namespace.
    fn process(proc: &Path, pid: &str, network: &str, cgroup: &str) {
        write(
            proc,
            &[
                (&format!("{pid}/cgroup"), cgroup),
                (&format!("{pid}/net/dev"), NET),
            ],
        );
        std::fs::create_dir_all(proc.join(pid).join("ns")).expect("made");
        std::os::unix::fs::symlink(network, proc.join(pid).join("ns/net")).expect("linked");
    }

    #[test]
    fn both_versions_tell_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        let (proc, root) = (dir.path().join("proc"), dir.path().join("cgroup"));
        process(&proc, "self", "net:[1]", "");
        process(
            &proc,
            "7",
            "net:[2]",
            "9:name=systemd:/docker/3f2a9c\n8:pids:/docker/3f2a9c\n7:blkio:/docker/3f2a9c\n4:memory:/docker/3f2a9c\n2:cpu,cpuacct:/docker/3f2a9c\n0::/\n",
        );
        process(
            &proc,
            "8",
            "net:[1]",
            "0::/system.slice/docker-3f2a9c.scope\n",
        );
        write(
            &root,
            &[
                ("cpuacct/docker/3f2a9c/cpuacct.usage", "1500000000\n"),
                ("memory/docker/3f2a9c/memory.usage_in_bytes", "5000\n"),
                (
                    "memory/docker/3f2a9c/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 2000\n",
                ),
                ("pids/docker/3f2a9c/pids.current", "4\n"),
                (
                    "blkio/docker/3f2a9c/blkio.throttle.io_service_bytes_recursive",
                    "8:0 Read 30\n8:0 Write 7\n8:0 Total 37\n8:16 Read 3\nTotal 40\n",
                ),
                (
                    "system.slice/docker-3f2a9c.scope/cpu.stat",
                    "usage_usec 1500000\nuser_usec 1\n",
                ),
                ("system.slice/docker-3f2a9c.scope/memory.current", "5000\n"),
                (
                    "system.slice/docker-3f2a9c.scope/memory.stat",
                    "anon 3000\ninactive_file 2000\n",
                ),
                ("system.slice/docker-3f2a9c.scope/pids.current", "4\n"),
                (
                    "system.slice/docker-3f2a9c.scope/io.stat",
                    "8:0 rbytes=30 wbytes=7 rios=1 wios=1 dbytes=9 dios=0\n8:16 rbytes=3 wbytes=0\n",
                ),
            ],
        );
        let mut expected = Figures {
            cpu_ns: 1_500_000_000,
            memory_bytes: 3000,
            pids: 4,
            io: Io {
                disk_read_bytes: 33,
                disk_written_bytes: 7,
                received_bytes: 1001,
                sent_bytes: 252,
            },
        };
        let old = Cgroup::find_in(&proc, &root, 7, ID).expect("version 1");
        assert_eq!(old.read(), Some(expected));
        // The machine's own network tells nothing about a job.
        (expected.io.received_bytes, expected.io.sent_bytes) = (0, 0);
        let unified = Cgroup::find_in(&proc, &root, 8, ID).expect("version 2");
        assert_eq!(unified.read(), Some(expected));

        assert_eq!(Cgroup::find_in(&proc, &root, 7, "another"), None);
        assert_eq!(Cgroup::find_in(&proc, &root, 9, ID), None);
        std::fs::remove_dir_all(root.join("system.slice")).expect("removed");
        assert_eq!(unified.read(), None, "it has ended");
    }
}
