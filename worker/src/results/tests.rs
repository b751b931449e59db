//! What is packed of a folder that may hold anything, and what is told of the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use futures::StreamExt as _;
use serde_json::Value;
use tar::EntryType;

use super::*;

/// What an archive holds of one entry.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    kind: EntryType,
    mode: u32,
    content: Vec<u8>,
    link: Option<String>,
}

/// The entries by name, the manifest, and the archive's length.
fn packed(folder: &Path, max_bytes: u64) -> (BTreeMap<String, Stored>, Value, Results, usize) {
    let mut found = walk(folder, MOST, &CancellationToken::new()).expect("walked");
    found.choose(max_bytes, Measure::OnDisk);
    let mut bytes = Vec::new();
    let results = pack(folder, &found, attempt(), &mut bytes).expect("packed");
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut entries = BTreeMap::new();
    let mut last = String::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        last = entry.path().expect("path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        let stored = Stored {
            kind: entry.header().entry_type(),
            mode: entry.header().mode().expect("mode"),
            content,
            link: entry
                .link_name()
                .expect("link")
                .map(|link| link.display().to_string()),
        };
        entries.insert(last.clone(), stored);
    }
    assert_eq!(last, manifest::NAME, "the manifest is the last entry");
    let document = entries.remove(manifest::NAME).expect("there");
    let document = serde_json::from_slice(&document.content).expect("JSON");
    (entries, document, results, bytes.len())
}

fn attempt() -> dopq_common::id::AttemptId {
    "7.2-07070707070707070707070707070707".parse().expect("id")
}

fn names(entries: &BTreeMap<String, Stored>) -> Vec<&str> {
    entries.keys().map(String::as_str).collect()
}

/// The paths that were left out, with the reasons.
fn left_out(manifest: &Value) -> BTreeMap<&str, &str> {
    let all = manifest["left_out"].as_array().expect("a list").iter();
    all.map(|line| {
        (
            line["path"].as_str().expect("a path"),
            line["reason"].as_str().expect("a reason"),
        )
    })
    .collect()
}

const PLENTY: u64 = u64::MAX;

#[test]
fn files_folders_and_links_inside_are_kept() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    fs::create_dir_all(path.join("run/empty")).expect("made");
    fs::write(path.join("run/epoch=5.ckpt"), b"weights").expect("written");
    fs::write(path.join("run/go.sh"), b"#!").expect("written");
    let setuid = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(path.join("run/go.sh"), setuid).expect("set");
    symlink("epoch=5.ckpt", path.join("run/last.ckpt")).expect("linked");
    symlink("/outdir/run", path.join("latest")).expect("linked");
    let (entries, manifest, results, _) = packed(path, PLENTY);
    assert_eq!(
        names(&entries),
        [
            "latest",
            "run",
            "run/empty",
            "run/epoch=5.ckpt",
            "run/go.sh",
            "run/last.ckpt"
        ]
    );
    assert_eq!(
        entries["run/last.ckpt"].link.as_deref(),
        Some("epoch=5.ckpt")
    );
    assert_eq!(entries["latest"].link.as_deref(), Some("run"));
    assert_eq!(
        entries["run/go.sh"].mode, 0o755,
        "neither setuid nor setgid"
    );
    assert_eq!(entries["run/epoch=5.ckpt"].content, b"weights");
    assert_eq!((results.files, results.bytes), (4, 9));
    assert!(results.is_complete());
    assert_eq!(manifest["complete"], true);
    assert_eq!(
        (&manifest["job"], &manifest["attempt"]),
        (&7.into(), &2.into())
    );
    let digest = blake3::hash(b"weights").to_hex().to_string();
    let files = manifest["files"].as_array().expect("a list");
    let weights = files.iter().find(|file| file["path"] == "run/epoch=5.ckpt");
    let weights = weights.expect("told");
    assert_eq!(
        (&weights["bytes"], &weights["blake3"]),
        (&7.into(), &digest.into())
    );
}

#[test]
fn what_leads_out_and_what_is_no_file_is_told() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    fs::create_dir(path.join("sub")).expect("made");
    symlink("/etc/passwd", path.join("absolute")).expect("linked");
    symlink("../../etc/passwd", path.join("sub/relative")).expect("linked");
    symlink("/etc", path.join("folder")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).expect("bound");
    fs::write(path.join(manifest::NAME), b"mine").expect("written");
    let (entries, manifest, results, _) = packed(path, PLENTY);
    assert_eq!(names(&entries), ["sub"]);
    let told = left_out(&manifest);
    let paths: Vec<&str> = told.keys().copied().collect();
    assert_eq!(
        paths,
        [
            "absolute",
            manifest::NAME,
            "folder",
            "pipe",
            "socket",
            "sub/relative"
        ]
    );
    assert!(told["absolute"].contains("may lead out"), "{told:?}");
    assert!(told["pipe"].contains("pipe"), "{told:?}");
    assert_eq!(results.left_out, 6);
    assert_eq!(manifest["complete"], false);
}

#[test]
fn the_small_report_is_kept_beside_the_model_that_is_too_large() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    fs::write(path.join("a-model.bin"), vec![1; 300_000]).expect("written");
    fs::write(path.join("report.txt"), b"98 %").expect("written");
    let (entries, manifest, results, length) = packed(path, 100_000);
    assert_eq!(names(&entries), ["report.txt"]);
    assert!(length <= 100_000, "{length}");
    let told = left_out(&manifest);
    assert!(
        told["a-model.bin"].contains("limits.results_size"),
        "{told:?}"
    );
    assert_eq!(manifest["left_out"][0]["bytes"], 300_000);
    assert_eq!((results.files, results.left_out), (1, 1));
    assert_eq!(results.named[0].path, "a-model.bin");
}

#[test]
fn an_archive_never_exceeds_what_was_promised() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    for at in 0..200 {
        let folder = path.join(format!("{at}/{}", "long-".repeat(40)));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("\u{1}\u{2}\"\\"), vec![7; at * 10]).expect("written");
    }
    for max in [700_000, 1_000_000, 1_500_000] {
        let (_, _, results, length) = packed(path, max);
        let length = u64::try_from(length).expect("a length");
        assert!(length <= max, "{length} of {max}");
        assert!(results.left_out == 0 || results.files < 200);
    }
}

#[test]
fn holes_stay_holes() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    let file = fs::File::create(path.join("sparse")).expect("made");
    file.set_len(3 << 30).expect("a hole");
    file.write_all_at(b"end", (3 << 30) - 3).expect("written");
    let mut found = walk(path, MOST, &CancellationToken::new()).expect("walked");
    found.choose(1 << 20, Measure::OnDisk);
    let mut bytes = Vec::new();
    let results = pack(path, &found, attempt(), &mut bytes).expect("packed");
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    assert_eq!((results.files, results.bytes), (1, 3 << 30));
    let mut archive = tar::Archive::new(&bytes[..]);
    let entry = archive.entries().expect("entries").next().expect("one");
    assert_eq!(entry.expect("entry").size(), 3 << 30);
}

#[test]
fn nests_and_names_beyond_measure_are_told_within_seconds() {
    let home = tempfile::tempdir().expect("folder");
    let begun = tokio::time::Instant::now();
    let mut handle = crate::handles::root(home.path()).expect("opened");
    for _ in 0..2_200 {
        rustix::fs::mkdirat(&handle, "deep-folder", rustix::fs::Mode::RWXU).expect("made");
        handle = crate::handles::folder(&handle, "deep-folder").expect("opened");
    }
    fs::write(home.path().join("report.txt"), b"here").expect("written");
    let (entries, manifest, results, _) = packed(home.path(), PLENTY);
    assert!(entries.contains_key("report.txt"));
    assert_eq!(results.left_out, 1);
    let told = left_out(&manifest);
    let reason = told.values().next().expect("one");
    assert!(reason.contains("nested too deep"), "{told:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    crate::remove::remove(home.path()).expect("removed");
}

#[test]
fn a_walk_ends_where_memory_would() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    for folder in ["a", "b", "c", "d"] {
        fs::create_dir(path.join(folder)).expect("made");
        for name in ["1", "2", "3"] {
            symlink("x".repeat(100), path.join(folder).join(name)).expect("linked");
        }
    }
    let told = |entries, text_bytes| {
        let most = walk::Most {
            entries,
            text_bytes,
        };
        let found = walk(path, most, &CancellationToken::new()).expect("walked");
        let path = |parent, name: &std::ffi::OsStr| found.path(parent, name).display().to_string();
        let kept = found.entries.iter().map(|e| path(e.parent, &e.name));
        let gone = found.left_out.iter().map(|e| path(e.parent, &e.name));
        let (kept, gone): (Vec<_>, Vec<_>) = (kept.collect(), gone.collect());
        (kept.join(" "), gone.join(" "))
    };
    let (kept, gone) = told(2, usize::MAX);
    let counted = (kept.split(' ').count(), gone.split(' ').count());
    assert_eq!(counted, (2, 3), "{kept}, {gone}");
    assert!(gone.starts_with('.'), "{gone}");
    fs::create_dir(path.join("empty")).expect("made");
    let (kept, gone) = told(7, usize::MAX);
    assert_eq!(kept.split(' ').count(), 7, "{kept}");
    assert_eq!(gone, "a b c d");
    // Nine bytes of folders, three of links, and two targets.
    let (_, gone) = told(usize::MAX, 212);
    assert_eq!(gone, "a/3 b c d");
}

#[test]
fn what_cannot_be_opened_is_told() {
    let home = tempfile::tempdir().expect("folder");
    let path = home.path();
    fs::write(path.join("secret"), b"x").expect("written");
    fs::write(path.join("open"), b"x").expect("written");
    let mut found = walk(path, MOST, &CancellationToken::new()).expect("walked");
    found.choose(PLENTY, Measure::OnDisk);
    // As a file that the worker may not read; root may read any.
    fs::remove_file(path.join("secret")).expect("removed");
    let results = pack(path, &found, attempt(), io::sink()).expect("packed");
    assert_eq!((results.files, results.left_out), (1, 1));
    assert_eq!(results.named[0].path, "secret");
    assert!(results.named[0].reason.starts_with("cannot be read"));
}

#[test]
fn a_name_that_no_archive_can_have_is_told() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = tempfile::tempdir().expect("folder");
    let odd = std::ffi::OsStr::from_bytes(&[0xff; 150]);
    fs::write(home.path().join(odd), b"x").expect("written");
    let short = std::ffi::OsStr::from_bytes(&[0xff; 5]);
    fs::write(home.path().join(short), b"x").expect("written");
    let (_, _, results, _) = packed(home.path(), PLENTY);
    assert_eq!((results.files, results.left_out), (1, 1));
}

#[tokio::test]
async fn a_panic_while_packing_breaks_the_stream() {
    let broken = |mut writer: Pieces| {
        writer.write_all(b"half a tar")?;
        writer.flush()?;
        panic!("this panic is meant");
    };
    let all: Vec<_> = pieces(broken, SharedTries::default()).collect().await;
    let [Ok(half), Err(_)] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(&half[..], b"half a tar");
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            drop(heard);
        }
    });
    let worker = "gpu-1".parse().expect("a name");
    let key = dopq_common::wire::ClusterKey::from_secret("s").worker(&worker);
    let urls = vec![url.parse().expect("a URL")];
    let data = DataPlane::new(worker, key, Vec::new(), None).expect("a client");
    let access = Access::of(attempt(), urls);
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    let unreadable = move |_: Pieces| {
        *counted.lock() += 1;
        Err(io::Error::other("the disk is broken"))
    };
    let error = send(&data, &access, unreadable)
        .await
        .expect_err("unreadable");
    assert_eq!(error.to_string(), "the disk is broken");
    assert_eq!(*tries.lock(), READS_MAX);
}
