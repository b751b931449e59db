//! What the pretended engine remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use dopq_common::time::Timestamp;
use tokio::sync::watch;

use super::lines::Lines;
use super::program::{Build, Program};
use crate::docker::error::Error;
use crate::docker::namespace::Traces;
use crate::docker::plan::Plan;
use crate::docker::types::{Container, ImageInfo, LogPiece, Status};

/// Exit code of a process that SIGKILL ended.
pub(super) const KILLED: i32 = 137;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine's disk is full.
    DiskFull,
    /// The connection breaks before the engine does anything.
    LostBefore,
    /// The engine does it, and the connection breaks before it says so.
    LostAfter,
    /// Somebody removes all images first.
    ImageGone,
    /// The engine says no, in words that mean nothing.
    Refused,
    /// The container whose network is joined does not run.
    NetworkGone,
    /// The caller panics, as if its code had a fault.
    Panic,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) containers: BTreeMap<String, Record>,
    pub(super) images: Vec<ImageInfo>,
    /// What can be pulled.
    pub(super) registry: BTreeSet<String>,
    pub(super) networks: BTreeMap<String, String>,
    /// What containers did in the namespaces of others, by the names of those.
    pub(super) traces: BTreeMap<String, Traces>,
    /// Whether nobody can see those.
    pub(super) hides_traces: bool,
    pub(super) programs: BTreeMap<String, Program>,
    pub(super) builds: BTreeMap<String, Build>,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) calls: Vec<String>,
    pub(super) made: u64,
    /// The size of an image.
    pub(super) image_bytes: u64,
    /// Where images are kept as files.
    pub(super) folder: Option<PathBuf>,
    /// The size of its disk, if it has one.
    pub(super) room: Option<u64>,
}

/// A pretended container.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seen: Container,
    pub(super) plan: Plan,
    pub(super) program: Program,
    pub(super) starts: u32,
    /// Whether the engine's events tell that its memory ran out.
    pub(super) oom_noted: bool,
    pub(super) log: Vec<LogPiece>,
    pub(super) open_lines: [Lines; 2],
    /// Counts changes: of state, and of the log.
    pub(super) changed: watch::Sender<u64>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            containers: BTreeMap::new(),
            images: Vec::new(),
            registry: BTreeSet::new(),
            networks: BTreeMap::new(),
            traces: BTreeMap::new(),
            hides_traces: false,
            programs: BTreeMap::new(),
            builds: BTreeMap::new(),
            faults: Vec::new(),
            calls: Vec::new(),
            made: 0,
            image_bytes: 1 << 20,
            folder: None,
            room: None,
        }
    }

    /// A number that was never given before, as the engine's ids look.
    pub(super) fn fresh_id(&mut self) -> String {
        self.made += 1;
        format!("{:064x}", self.made)
    }

    /// The container with this id, or with this name.
    pub(super) fn find(&mut self, id: &str) -> Result<&mut Record, Error> {
        let mut records = self.containers.values_mut();
        let found = records.find(|record| record.seen.id == id || record.seen.name == id);
        found.ok_or_else(|| Error::NotFound {
            message: format!("No such container: {id}"),
        })
    }

    /// The image with this id or name.
    pub(super) fn find_image(&self, name: &str) -> Option<&ImageInfo> {
        let tagged =
            |image: &&ImageInfo| image.id == name || image.tags.iter().any(|tag| tag == name);
        self.images.iter().find(tagged)
    }

    /// The script of a container: by its name, by the last word of its command, or by its image.
    pub(super) fn program(&self, plan: &Plan) -> Program {
        let word = plan
            .user
            .command
            .as_ref()
            .and_then(|command| command.last());
        let keys = [Some(&plan.name), word, Some(&plan.image)];
        let mut scripts = keys
            .into_iter()
            .flatten()
            .filter_map(|key| self.programs.get(key));
        scripts.next().cloned().unwrap_or_default()
    }

    /// Takes out the fault that was put in the way of a call.
    pub(super) fn fault(&mut self, call: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _)| of == call)?;
        Some(self.faults.remove(at).1)
    }

    /// Writes an image's file.
    pub(super) fn write_image(&self, id: &str) -> Result<(), Error> {
        let Some(file) = self.image_file(id) else {
            return Ok(());
        };
        let bytes = vec![1; usize::try_from(self.image_bytes).unwrap_or_default()];
        std::fs::write(&file, bytes).map_err(|error| {
            drop(std::fs::remove_file(&file));
            Error::DiskFull {
                message: error.to_string(),
            }
        })
    }

    /// Removes the image if it has lost its last name.
    pub(super) fn drop_nameless(&mut self, id: &str) {
        let before = self.images.len();
        self.images
            .retain(|image| image.id != id || !image.tags.is_empty());
        if self.images.len() < before
            && let Some(file) = self.image_file(id)
        {
            drop(std::fs::remove_file(file));
        }
    }

    fn image_file(&self, id: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(id.replace(':', "-")))
    }

    /// Gives an image a name, which it takes from any other.
    pub(super) fn tag(&mut self, id: &str, name: &str) {
        for image in &mut self.images {
            image.tags.retain(|tag| tag != name);
            if image.id == id {
                image.tags.push(name.to_owned());
            }
        }
    }
}

impl Record {
    /// Where its `/outdir` lies.
    pub(super) fn outdir(&self) -> Option<PathBuf> {
        let mut mounts = self.plan.mounts.iter();
        let outdir = mounts.find(|mount| mount.target == "/outdir")?;
        Some(outdir.source.as_path().to_owned())
    }

    /// Wakes whoever waits for this container.
    pub(super) fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Prints, as the engine's log keeps it.
    pub(super) fn print(&mut self, now: Timestamp, stderr: bool, bytes: &Bytes) {
        let pieces = if self.plan.user.tty {
            vec![bytes.clone()]
        } else {
            let [out, err] = &mut self.open_lines;
            (if stderr { err } else { out }).push(bytes)
        };
        self.keep(now, stderr && !self.plan.user.tty, pieces);
    }

    fn keep(&mut self, now: Timestamp, stderr: bool, pieces: impl IntoIterator<Item = Bytes>) {
        let pieces = pieces.into_iter().map(|bytes| LogPiece {
            stderr,
            at: now,
            bytes,
        });
        self.log.extend(pieces);
        self.touch();
    }

    /// Ends the process.
    pub(super) fn end(&mut self, now: Timestamp, code: i32, oom_killed: bool) {
        if !self.seen.status.is_alive() {
            return;
        }
        for stderr in [false, true] {
            let [out, err] = &mut self.open_lines;
            let rest = (if stderr { err } else { out }).finish();
            self.keep(now, stderr, rest);
        }
        self.seen.status = Status::Exited;
        self.seen.exit_code = Some(code);
        self.seen.oom_killed = oom_killed;
        self.seen.finished_at = Some(now);
        self.seen.pid = None;
        self.touch();
    }
}
