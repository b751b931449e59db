//! Packing: the same content gives the same zip; nothing is carried away by accident.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

fn put(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn packed(root: &Path) -> Packed {
    pack(root, &ProgressBar::hidden()).unwrap()
}

fn read(packed: &Packed) -> BTreeMap<String, (String, u32)> {
    let mut archive = zip::ZipArchive::new(packed.content.reader()).unwrap();
    let mut found = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let mode = entry.unix_mode().unwrap() & 0o7777;
        found.insert(entry.name().unwrap().into_owned(), (content, mode));
    }
    found
}

#[test]
fn the_same_content_gives_the_same_digest() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a/deep/c.txt", "Dockerfile"] {
        put(one.path(), name, name);
    }
    for name in ["Dockerfile", "a/deep/c.txt", "b.txt"] {
        put(two.path(), name, name);
    }
    put(two.path(), ".git/HEAD", "ref");
    put(two.path(), "a/__pycache__/x.pyc", "bytes");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(two.path().join("b.txt"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let (one, two) = (packed(one.path()), packed(two.path()));
    assert_eq!(one.digest, two.digest);
    assert_eq!(two.left_out, [".git", "a/__pycache__"]);
    let names: Vec<String> = read(&two).into_keys().collect();
    assert_eq!(names, ["Dockerfile", "a/deep/c.txt", "b.txt"]);
    let mut bytes = Vec::new();
    two.content.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(two.size_bytes, bytes.len() as u64);
    assert_eq!(
        two.digest.to_string(),
        blake3::hash(&bytes).to_hex().as_str()
    );
}

#[cfg(unix)]
#[test]
fn modes_are_one_of_two_and_links_stay_inside() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "run.sh", "#!/bin/sh");
    put(root.path(), "data.txt", "data");
    let set = |name: &str, mode| {
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("run.sh", 0o4700);
    set("data.txt", 0o600);
    symlink("data.txt", root.path().join("link.txt")).unwrap();
    let found = read(&packed(root.path()));
    assert_eq!(found["run.sh"].1, 0o755);
    assert_eq!(found["data.txt"].1, 0o644);
    assert_eq!(found["link.txt"].0, "data");

    symlink("/etc/hostname", root.path().join("away")).unwrap();
    symlink("nowhere", root.path().join("broken")).unwrap();
    symlink(".", root.path().join("round")).unwrap();
    let Err(Error::Entries(faults)) = pack(root.path(), &ProgressBar::hidden()) else {
        panic!("links that lead out are refused");
    };
    assert_eq!(faults.len(), 3, "all at once: {faults:?}");
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_followed_but_not_for_ever() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "runs/2024/model.pt", "weights");
    put(root.path(), "runs/2024/tmp/x", "x");
    put(root.path(), "sub/a", "a");
    put(root.path(), ".dockerignore", "runs/latest/tmp\n");
    symlink("2024", root.path().join("runs/latest")).unwrap();
    symlink("../runs/latest", root.path().join("sub/best")).unwrap();
    symlink("latest/model.pt", root.path().join("runs/model.pt")).unwrap();
    let found = read(&packed(root.path()));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected = [
        ".dockerignore",
        "runs/2024/model.pt",
        "runs/2024/tmp/x",
        "runs/latest/model.pt",
        "runs/model.pt",
        "sub/a",
        "sub/best/model.pt",
        "sub/best/tmp/x",
    ];
    assert_eq!(names, expected);
    assert_eq!(found["sub/best/model.pt"].0, "weights");

    // Folders that contain each other by links.
    symlink("../runs", root.path().join("sub/runs")).unwrap();
    symlink("../sub", root.path().join("runs/sub")).unwrap();
    // One link more than are followed.
    for n in 0..6 {
        put(root.path(), &format!("deep/{n}/file"), "");
        symlink(
            format!("../{}", n + 1),
            root.path().join(format!("deep/{n}/next")),
        )
        .unwrap();
    }
    put(root.path(), "deep/6/file", "");
    let Err(Error::Entries(faults)) = pack(root.path(), &ProgressBar::hidden()) else {
        panic!("links that go round are refused");
    };
    let expected = [
        "deep/0/next/next/next/next/next is a link to a folder, below 4 others",
        "deep/1/next/next/next/next/next is a link to a folder, below 4 others",
        "runs/sub/runs is a link to a folder above it; remove the link",
        "sub/runs/sub is a link to a folder above it; remove the link",
    ];
    assert_eq!(faults, expected);
}

#[cfg(unix)]
#[test]
fn what_dockerignore_names_is_neither_walked_nor_judged_nor_sent() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    for name in [
        "Dockerfile",
        "container_config.json",
        "train.py",
        "venv/lib/x.py",
        "wandb/run-1/log",
        "data/a.bin",
        "data/keep/b.bin",
        "notes.tmp",
        "sub/venv/x",
    ] {
        put(root.path(), name, name);
    }
    // Where they are not ignored, these are refused or packed.
    symlink("/usr/lib", root.path().join("venv/lib64")).unwrap();
    symlink("run-1", root.path().join("wandb/latest-run")).unwrap();
    symlink("nowhere", root.path().join("broken.tmp")).unwrap();
    put(
        root.path(),
        ".dockerignore",
        "venv\nwandb\n*.tmp\nDockerfile\ncontainer_config.json\ndata\n!data/keep\n",
    );
    let names: Vec<String> = read(&packed(root.path())).into_keys().collect();
    let expected = [
        ".dockerignore",
        "Dockerfile",
        "container_config.json",
        "data/keep/b.bin",
        "sub/venv/x",
        "train.py",
    ];
    assert_eq!(names, expected);

    put(root.path(), ".dockerignore", "a\n[");
    let Err(Error::Entries(faults)) = pack(root.path(), &ProgressBar::hidden()) else {
        panic!("a pattern that Docker refuses is refused");
    };
    assert!(
        faults.iter().any(|fault| fault.contains("line 2")),
        "{faults:?}"
    );
}

#[test]
fn empty_folders_are_kept() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "Dockerfile", "FROM scratch");
    put(root.path(), "only/__pycache__/x.pyc", "bytes");
    put(root.path(), "logs/old.log", "text");
    put(root.path(), "cache/x", "text");
    put(root.path(), ".dockerignore", "logs/*\ncache\n");
    fs::create_dir_all(root.path().join("checkpoints/best")).unwrap();
    let packed = packed(root.path());
    let names: Vec<String> = read(&packed).into_keys().collect();
    assert_eq!(
        names,
        [
            ".dockerignore",
            "Dockerfile",
            "checkpoints/best/",
            "logs/",
            "only/"
        ]
    );
    let limits = dopq_common::bundle::Limits::default();
    let judged =
        dopq_common::bundle::archive::inspect(packed.content.reader(), packed.size_bytes, &limits);
    let rules: Vec<_> = judged.unwrap_err().iter().map(|fault| fault.rule).collect();
    assert_eq!(rules, ["config_missing"]);
}

#[test]
fn the_largest_folders_are_known() {
    let root = tempfile::tempdir().unwrap();
    for (name, length) in [
        ("venv/a", 300),
        ("venv/b", 300),
        ("data/x/y", 500),
        ("train.py", 20),
        ("one", 1),
    ] {
        put(root.path(), name, &"x".repeat(length));
    }
    let packed = packed(root.path());
    assert_eq!(packed.unpacked_bytes, 1121);
    let largest = [("venv", 600), ("data", 500), ("train.py", 20)];
    assert_eq!(
        packed.largest,
        largest.map(|(name, size)| (name.to_owned(), size))
    );
}

#[test]
fn a_zip_is_taken_as_it_is_and_other_files_are_not() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "bundle.ZIP", "not looked into here");
    put(root.path(), "notes.txt", "text");
    let zip = packed(&root.path().join("bundle.ZIP"));
    assert_eq!(zip.size_bytes, 20);
    assert!(matches!(
        pack(&root.path().join("notes.txt"), &ProgressBar::hidden()),
        Err(Error::Kind { .. })
    ));
    assert!(matches!(
        pack(&root.path().join("absent"), &ProgressBar::hidden()),
        Err(Error::Read { .. })
    ));
}

/// Bytes that no method makes smaller, always the same ones.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn dense_files_are_stored_and_the_rest_is_deflated() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("photo.jpg"), noise(300_000)).unwrap();
    put(root.path(), "train.py", &"import torch\n".repeat(1000));
    put(root.path(), "empty", "");
    let zip = packed(root.path());
    let mut archive = zip::ZipArchive::new(zip.content.reader()).unwrap();
    let mut method = |name: &str| archive.by_name(name).unwrap().compression();
    assert_eq!(method("photo.jpg"), CompressionMethod::Stored);
    assert_eq!(method("train.py"), CompressionMethod::Deflated);
    assert_eq!(method("empty"), CompressionMethod::Deflated);
    let mut photo = Vec::new();
    let mut entry = archive.by_name("photo.jpg").unwrap();
    entry.read_to_end(&mut photo).unwrap();
    assert_eq!(photo, noise(300_000));
    assert!(zip.size_bytes < 302_000, "{}", zip.size_bytes);
}

#[test]
fn the_bar_reaches_the_end_of_each_step() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("data"), noise(700_000)).unwrap();
    let bar = ProgressBar::hidden();
    let zip = pack(root.path(), &bar).unwrap();
    assert_eq!(bar.message(), "hashing");
    assert_eq!(
        (bar.position(), bar.length()),
        (zip.size_bytes, Some(zip.size_bytes))
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_grows_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "grows", "1234567");
    let entry = Entry {
        name: "grows".to_owned(),
        path: root.path().join("grows"),
        executable: false,
        size_bytes: 3,
    };
    let mut file = tempfile::tempfile().unwrap();
    let result = write(&mut file, &[entry], &ProgressBar::hidden());
    assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
}
