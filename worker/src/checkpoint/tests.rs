//! Reading a folder that may change, and what is read again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dopq_common::checkpoint::{CHUNK_MAX_BYTES, Entry, FORMAT, Kind, Manifest};
use dopq_common::id::Digest;
use dopq_common::time::Timestamp;
use rustix::fs::{FileType, Mode};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::snapshot::{Index, places, take};
use super::*;

const PLENTY: ByteSize = ByteSize(1 << 40);

struct Folder {
    dir: TempDir,
    index: Arc<Mutex<Index>>,
}

impl Folder {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            index: Arc::default(),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path().join(name), content).expect("written");
    }

    async fn take(&self) -> Result<Vec<Entry>, Error> {
        self.take_of(PLENTY).await
    }

    async fn take_of(&self, max: ByteSize) -> Result<Vec<Entry>, Error> {
        take(self.path(), &self.index, max, &CancellationToken::new()).await
    }
}

fn digests(entries: &[Entry]) -> BTreeSet<Digest> {
    let chunks = entries.iter().flat_map(Entry::chunks);
    chunks.map(|chunk| chunk.digest).collect()
}

/// Bytes without a pattern.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let mut reader = blake3::Hasher::new().finalize_xof();
    reader.fill(&mut noise);
    noise
}

#[tokio::test]
async fn what_is_taken_is_a_sound_manifest() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("a/b")).expect("made");
    folder.write("a/b/model", &[1; 10]);
    folder.write("a-b", b"");
    std::os::unix::fs::symlink("/etc", folder.path().join("link")).expect("linked");
    let root = paths::root(folder.path()).expect("opened");
    let pipe = rustix::fs::mknodat(&root, "pipe", FileType::Fifo, Mode::RWXU, 0);
    pipe.expect("a pipe");
    let entries = folder.take().await.expect("taken");
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["a", "a-b", "a/b", "a/b/model", "link"]);
    assert_eq!(entries[4].kind, Kind::Link("/etc".to_owned()));
    let manifest = Manifest {
        format: FORMAT,
        attempt: 1,
        taken_at: Timestamp::default(),
        entries,
    };
    manifest.check().expect("sound");
    assert_eq!((manifest.files(), manifest.bytes()), (2, 10));
}

#[tokio::test]
async fn bytes_that_move_inside_a_file_are_the_same_chunks() {
    let folder = Folder::new();
    let content = noise(12 << 20);
    folder.write("model", &content);
    let before = folder.take().await.expect("taken");
    let moved = [b"a longer header".as_slice(), &content].concat();
    folder.write("model", &moved);
    let after = folder.take().await.expect("taken");
    let (before, chunks) = (digests(&before), digests(&after));
    let new: u64 = places(&after)
        .iter()
        .filter(|(digest, _)| !before.contains(digest))
        .map(|(_, place)| u64::from(place.len))
        .sum();
    assert!(chunks.len() > 3);
    assert!(new <= u64::from(CHUNK_MAX_BYTES), "{new} bytes are new");
}

#[tokio::test]
async fn a_change_is_seen_although_size_and_time_are_the_same() {
    let folder = Folder::new();
    folder.write("model", b"1");
    let written = std::fs::metadata(folder.path().join("model")).expect("there");
    let before = folder.take().await.expect("taken");
    assert_eq!(folder.take().await.expect("taken"), before);
    folder.write("model", b"2");
    let path = folder.path().join("model");
    let file = std::fs::File::options().write(true).open(path);
    let file = file.expect("opened");
    file.set_modified(written.modified().expect("a time"))
        .expect("set");
    let after = folder.take().await.expect("taken");
    assert_eq!(after[0].mtime_ns, before[0].mtime_ns);
    assert_ne!(digests(&after), digests(&before));
}

#[tokio::test]
async fn a_file_that_is_written_meanwhile_is_whole_or_refused() {
    const BYTES: usize = 2 << 20;
    let folder = Folder::new();
    folder.write("model", &vec![0; BYTES]);
    let (path, stop) = (
        folder.path().join("model"),
        Arc::new(AtomicBool::new(false)),
    );
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::File::options().write(true).open(path);
            let file = file.expect("opened");
            for byte in (0..4_u8).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                for offset in (0..BYTES).step_by(64 << 10) {
                    let offset = u64::try_from(offset).expect("an offset");
                    file.write_all_at(&[byte; 64 << 10], offset)
                        .expect("written");
                }
                // Sometimes it rests for long enough to be read.
                if byte == 3 {
                    std::thread::sleep(Duration::from_millis(70));
                }
            }
        }
    });
    let uniform: Vec<Digest> = (0..4)
        .map(|byte| Digest(*blake3::hash(&vec![byte; BYTES]).as_bytes()))
        .collect();
    for _ in 0..3 {
        match folder.take().await {
            Ok(entries) => {
                let found = digests(&entries);
                let is_whole = found.iter().all(|digest| uniform.contains(digest));
                assert!(is_whole && found.len() == 1, "the file is torn");
            }
            Err(Error::Changing(path)) => assert_eq!(path, "model"),
            Err(error) => panic!("{error:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("ended");
}

#[tokio::test]
async fn what_is_gone_is_forgotten_also_after_a_failure() {
    use std::os::unix::fs::FileExt as _;
    let folder = Folder::new();
    for name in ["kept", "log"] {
        folder.write(name, b"1");
    }
    folder.take().await.expect("taken");
    let (log, stop) = (folder.path().join("log"), CancellationToken::new());
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let file = std::fs::File::options().write(true).open(log);
            let file = file.expect("opened");
            while !stop.is_cancelled() {
                file.write_all_at(b"2", 0).expect("written");
            }
        }
    });
    // A writer that the machine holds up may let the file be read.
    let mut refused = Ok(Vec::new());
    for _ in 0..20 {
        let known = folder.index.lock()["kept"].clone();
        folder.index.lock().insert("gone".to_owned(), known);
        refused = folder.take().await;
        if refused.is_err() {
            break;
        }
    }
    stop.cancel();
    writer.join().expect("ended");
    assert!(matches!(refused, Err(Error::Changing(_))), "{refused:?}");
    let index = folder.index.lock();
    assert!(index.contains_key("kept") && !index.contains_key("gone"));
}

/// Writes to a file's memory twice, each time when it is told to.
const MAPPED: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
memory = mmap.mmap(file.fileno(), 0)
for line in sys.stdin:
    memory[0:4] = line.strip().encode()
    print(flush=True)
";

#[tokio::test]
async fn a_write_to_a_files_memory_is_seen() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = Folder::new();
    folder.write("model", &[0; 1 << 16]);
    let begun = std::process::Command::new("python3")
        .args(["-c", MAPPED])
        .arg(folder.path().join("model"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut writer = match begun {
        Ok(writer) => writer,
        // Without Python nothing here writes so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    let mut told = writer.stdin.take().expect("open");
    let mut done = BufReader::new(writer.stdout.take().expect("open"));
    let mut write = |word: &str| {
        writeln!(told, "{word}").expect("told");
        done.read_line(&mut String::new()).expect("done");
    };
    write("aaaa");
    let before = folder.take().await.expect("taken");
    write("bbbb");
    let after = folder.take().await.expect("taken");
    assert_ne!(digests(&after), digests(&before));
    drop(told);
    assert!(writer.wait().expect("ended").success());
}

#[tokio::test]
async fn what_cannot_be_stored_is_told() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    folder.write("model", &[1; 100]);
    let refused = folder.take_of(ByteSize(99)).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert!(folder.take_of(ByteSize(100)).await.is_ok());
    let name = std::ffi::OsStr::from_bytes(b"a\xffb");
    std::fs::write(folder.path().join(name), "").expect("written");
    let refused = folder.take().await;
    assert!(matches!(refused, Err(Error::Name(_))), "{refused:?}");
    let (nowhere, stop) = (Path::new("/no such folder"), CancellationToken::new());
    let gone = take(nowhere, &folder.index, PLENTY, &stop);
    assert!(matches!(gone.await, Err(Error::Disk { .. })));
}

#[test]
fn the_latest_folder_is_taken_over_and_none_that_is_busy() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().canonicalize().expect("resolved");
    let root = HostFolder::resolve(&root).expect("real");
    let user = "anna".parse().expect("a name");
    let attempt: AttemptId = format!("7.5-{}", "07".repeat(16)).parse().expect("an id");
    let job = JobFolder::open(&root, &user, attempt).expect("made");
    let none = BTreeSet::new();
    let of = |name: &str| root.as_path().join("anna/7-070707070707").join(name);
    assert_eq!(job.find(&none).expect("looked"), Found::Nothing);
    for name in ["2", "4", "9", "3.new", "4.old", "x", "04"] {
        std::fs::create_dir(of(name)).expect("made");
    }
    assert_eq!(job.find(&none).expect("looked"), Found::Earlier(4));
    let busy = BTreeSet::from([4]);
    assert_eq!(job.find(&busy).expect("looked"), Found::Earlier(2));
    job.take_over(2).expect("taken");
    assert_eq!(job.find(&none).expect("looked"), Found::Own);
    job.remove_earlier(&busy).expect("removed");
    assert!(of("4").exists(), "its container may run");
    job.remove_earlier(&none).expect("removed");
    assert!(!of("4").exists() && !of("4.old").exists());
    assert!(of("5").exists() && of("9").exists());
}

#[test]
fn the_end_of_an_attempt_without_content_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().canonicalize().expect("resolved");
    let root = HostFolder::resolve(&root).expect("real");
    let user = "anna".parse().expect("a name");
    let of = |number: u32| -> AttemptId {
        let text = format!("7.{number}-{}", "07".repeat(16));
        text.parse().expect("an id")
    };
    let first = JobFolder::open(&root, &user, of(1)).expect("made");
    let filled = first.begin().expect("begun");
    first.complete(&filled).expect("completed");
    let second = JobFolder::open(&root, &user, of(2)).expect("made");
    folders::set_aside(root.as_path(), of(1)).expect("set aside");
    let found = second.find(&BTreeSet::new()).expect("looked");
    assert_eq!(found, Found::Nothing);
    let filled = second.begin().expect("begun");
    second.complete(&filled).expect("completed");
    assert!(root.as_path().join("anna/7-070707070707/2").is_dir());
}
