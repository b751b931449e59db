//! Runs every measurement as a process of its own and gathers what they print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use dopq_tests::engine::sweep;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::row::Row;
use crate::table::Report;
use crate::{Scale, backlog, builds, containers, control, logs, restart, scheduler, worker};

/// The argument that makes this process measure one thing.
pub(crate) const MEASURE: &str = "--measure";

/// Where a measurement's folders and services' data lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Disk,
    Tmpfs,
}

struct Measurement {
    name: &'static str,
    place: Place,
    needs_docker: bool,
    /// It is given up after this.
    limit: Duration,
}

const fn measurement(name: &'static str, place: Place, minutes: u64) -> Measurement {
    Measurement {
        name,
        place,
        needs_docker: false,
        limit: Duration::from_secs(60 * minutes),
    }
}

const fn docker(name: &'static str, minutes: u64) -> Measurement {
    Measurement {
        needs_docker: true,
        ..measurement(name, Place::Disk, minutes)
    }
}

const MEASUREMENTS: [Measurement; 10] = [
    measurement("control-disk", Place::Disk, 4),
    measurement("control-tmpfs", Place::Tmpfs, 4),
    measurement("freed", Place::Disk, 2),
    measurement("worker", Place::Disk, 4),
    docker("containers", 5),
    docker("logs", 4),
    docker("builds", 4),
    measurement("backlog", Place::Tmpfs, 8),
    measurement("restart", Place::Disk, 15),
    measurement("scheduler", Place::Disk, 5),
];

/// Measures one thing; the rows go to standard output, a line each.
#[expect(clippy::print_stdout, reason = "the run reads the rows from there")]
pub(crate) async fn measure(name: &str, scale: Scale) -> ExitCode {
    let rows = match name {
        "control-disk" => control::throughput(scale, "disk", disk_reach()).await,
        "control-tmpfs" => control::throughput(scale, "tmpfs", 5_000.0).await,
        "freed" => control::freed(scale).await,
        "worker" => worker::measure(scale).await,
        "containers" => containers::measure(scale).await,
        "logs" => logs::measure(scale).await,
        "builds" => builds::measure(scale).await,
        "backlog" => backlog::measure(scale).await,
        "restart" => restart::measure(scale).await,
        "scheduler" => {
            scheduler::main();
            Vec::new()
        }
        other => panic!("there is no measurement {other}"),
    };
    for row in rows {
        println!("{}", serde_json::to_string(&row).expect("a row"));
    }
    ExitCode::SUCCESS
}

/// A journal costs every sync a second write.
fn disk_reach() -> f64 {
    let kind = file_system(&std::env::temp_dir());
    let journals = ["ext", "xfs", "btrfs"].iter().any(|fs| kind.contains(fs));
    if journals { 2_000.0 } else { 4_000.0 }
}

/// Measures everything, or what ONLY names; prints the table and writes the JSON.
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
pub(crate) async fn all(scale: Scale) -> ExitCode {
    let chosen = std::env::var("ONLY").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split(',').filter(|name| !name.is_empty()).collect();
    let before = std::env::var("BASE").ok().filter(|base| !base.is_empty());
    let before = before.map(|path| read(Path::new(&path)));
    let tmpfs = Tmpfs::mount();
    let disk = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let mut report = Report {
        commit: first_line("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        machine: machine(disk.path(), scale),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    let mut failed = false;
    for measurement in &MEASUREMENTS {
        let name = measurement.name;
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        let root = match measurement.place {
            Place::Disk => Some(disk.path()),
            Place::Tmpfs => tmpfs.as_ref().map(Tmpfs::path),
        };
        let Some(root) = root else {
            report.notes.push(format!("{name}: left out, no tmpfs"));
            continue;
        };
        if measurement.needs_docker && !docker_answers() {
            report
                .notes
                .push(format!("{name}: left out, no Docker answers"));
            continue;
        }
        eprintln!("measuring {name}");
        match run(measurement, root).await {
            Ended::With(rows) => report.rows.extend(rows),
            Ended::Failed(why) => {
                failed = true;
                report.notes.push(format!("{name}: failed: {why}"));
            }
            Ended::Interrupted => return ExitCode::FAILURE,
        }
    }
    let part = if chosen.is_empty() { "" } else { "-part" };
    let path = write(
        &report,
        &format!("{}{part}{}", report.commit, scale.pick("", "-fast")),
    );
    println!("{}", report.markdown(before.as_ref()));
    println!("For comparisons: make bench BASE={}", path.display());
    if failed {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

enum Ended {
    With(Vec<Row>),
    Failed(String),
    Interrupted,
}

async fn run(measurement: &Measurement, root: &Path) -> Ended {
    let folder = tempfile::tempdir_in(root).expect("a folder");
    let log = folder.path().join("stderr");
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("its own path"))
        .args([MEASURE, measurement.name])
        .env("TMPDIR", folder.path())
        .env("DOPQ_BENCH_ROWS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).expect("a log"))
        .process_group(0)
        .spawn()
        .expect("it starts");
    let group = child.id().expect("just started");
    let mut output = child.stdout.take().expect("piped");
    let mut text = String::new();
    let whole = async {
        let read = output.read_to_string(&mut text).await;
        (read, child.wait().await)
    };
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("signals"));
    let ended = tokio::select! {
        ended = tokio::time::timeout(measurement.limit, whole) => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let why = match ended {
        None => None,
        Some(Err(_)) => Some(format!("not done after {:?}", measurement.limit)),
        Some(Ok((Ok(_), Ok(status)))) if status.success() => return Ended::With(rows(&text)),
        Some(Ok((read, status))) => Some(match (read, status) {
            (Ok(_), Ok(status)) => status.to_string(),
            (read, status) => format!("{read:?}, {status:?}"),
        }),
    };
    let printed = fs::read_to_string(&log).unwrap_or_default();
    // Its services have no other parent left that stops them.
    clean(Command::new("kill").args(["-KILL", "--", &format!("-{group}")]));
    if measurement.needs_docker {
        containers::clusters(group)
            .iter()
            .for_each(|cluster| sweep(cluster));
    }
    match why {
        None => Ended::Interrupted,
        Some(why) => {
            eprintln!("{printed}");
            let mut lines = printed.lines();
            let panicked = lines.find(|line| line.contains("panicked at"));
            let message = panicked.and_then(|_| lines.next()).unwrap_or_default();
            Ended::Failed(format!("{why}; {message}"))
        }
    }
}

/// The rows among whatever else was printed.
fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn read(path: &Path) -> Report {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes `target/bench/NAME.json`.
fn write(report: &Report, name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("its own path");
    let target = program.ancestors().nth(3).expect("a target folder");
    let folder = target.join("bench");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_vec_pretty(report).expect("JSON");
    fs::write(&path, text).expect("the report is written");
    path
}

fn machine(disk: &Path, scale: Scale) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let kind = file_system(disk);
    let length = scale.pick("", ", FAST");
    format!("{cores} cores, load {load} at the start, disk {kind}{length}")
}

fn file_system(path: &Path) -> String {
    first_line("stat", &["-f", "-c", "%T", &path.display().to_string()])
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn docker_answers() -> bool {
    let version = Command::new("docker").arg("version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A folder in memory: a mount of its own for root, a folder below `/dev/shm` for others.
struct Tmpfs {
    folder: TempDir,
    mounted: bool,
}

impl Tmpfs {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir_in("/var/tmp").ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8g", "dopq-bench"]);
        if clean(mount.arg(folder.path())) {
            let mounted = true;
            return Some(Self { folder, mounted });
        }
        let folder = tempfile::tempdir_in("/dev/shm").ok()?;
        (file_system(folder.path()) == "tmpfs").then_some(Self {
            folder,
            mounted: false,
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if self.mounted {
            clean(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

/// Runs a command without its output; whether it succeeded.
fn clean(command: &mut Command) -> bool {
    let output = command.output();
    output.is_ok_and(|output| output.status.success())
}
