//! Whole bundles.

use std::io::{Cursor, Write};

use dopq_common::bundle::Limits;
use dopq_common::bundle::archive::{self, Files, FilesError};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::dice::Dice;
use crate::run::Target;

const CONFIG: &str = r#"{"name": "train", "executor_name": "anna"}"#;

#[test]
fn archives() {
    let sound = [
        ("container_config.json", CONFIG),
        ("Dockerfile", "FROM scratch\n"),
        ("a/b.txt", "x"),
    ];
    let owned = |entries: &[(&str, &str)]| {
        let entries = entries
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).into()));
        zip(entries, CompressionMethod::Deflated)
    };
    let slashes = (0..100).map(|at| (format!("{at}{}", "/a".repeat(30_000)), Vec::new()));
    let many = (0..20_000).map(|at| (format!("d{}/f{at}", at % 100), Vec::new()));
    let folders = (0..500).map(|at| ("a/".repeat(at % 60) + &at.to_string(), Vec::new()));
    Target {
        name: "archive",
        test: "archive::archives",
        corpus: vec![
            owned(&sound),
            owned(&[
                ("container_config.json", CONFIG),
                ("bomb", &"0".repeat(20 << 20)),
            ]),
            zip(slashes, CompressionMethod::Stored),
            zip(many, CompressionMethod::Stored),
            zip(folders, CompressionMethod::Stored),
            b"PK\x05\x06".repeat(20_000),
        ],
        generate,
        check,
        max_bytes: 8 << 20,
    }
    .run();
}

fn zip(entries: impl IntoIterator<Item = (String, Vec<u8>)>, method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in entries {
        // The writer refuses a few hostile names itself; bending the bytes makes those.
        if writer.start_file(name, options).is_ok() {
            writer.write_all(&content).expect("into memory");
        }
    }
    writer.finish().expect("into memory").into_inner()
}

const PARTS: [&str; 20] = [
    "a",
    "A",
    "b.txt",
    "Dockerfile",
    "dockerfile",
    "container_config.json",
    "image.tar",
    "..",
    ".",
    "",
    "aux.py",
    "con",
    "caf\u{e9}",
    "cafe\u{301}",
    "x ",
    "y.",
    "C:",
    "\u{202e}",
    "a\\b",
    ".dockerignore",
];

fn generate(dice: &mut Dice) -> Vec<u8> {
    let mut entries = vec![("container_config.json".to_owned(), CONFIG.into())];
    for _ in 0..dice.length(400) {
        let depth = 1 + dice.length(80);
        let parts: Vec<&str> = (0..depth).map(|_| dice.pick(&PARTS)).collect();
        let content = match dice.below(4) {
            0 => vec![b'0'; dice.length(4 << 20)],
            1 => dice.roll().to_le_bytes().repeat(dice.length(1000)),
            2 => CONFIG.into(),
            _ => Vec::new(),
        };
        entries.push((parts.join("/"), content));
    }
    if dice.one_in(2) {
        entries.push(("Dockerfile".to_owned(), b"FROM scratch\n".to_vec()));
    }
    let methods = [CompressionMethod::Stored, CompressionMethod::Deflated];
    zip(entries, methods[dice.below(2)])
}

/// Small enough for a debug build to expand within the time of a case.
fn limits() -> Limits {
    Limits {
        compressed_bytes: 8 << 20,
        expanded_bytes: 16 << 20,
        ..Limits::default()
    }
}

fn check(bytes: &[u8]) {
    let size = bytes.len() as u64;
    let inspected = archive::inspect(Cursor::new(bytes), size, &limits());
    let inspected = match inspected {
        Ok(inspected) => inspected,
        Err(faults) => {
            assert!((1..=101).contains(&faults.len()));
            return drop(Files::list(Cursor::new(bytes), &limits()));
        }
    };
    let mut seen = Vec::new();
    let total = walk(bytes, &mut seen).expect("what is accepted is read");
    assert!(inspected.expanded_bytes >= total);
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "every name once");
}

/// Reads all files as a build does, and returns their bytes.
fn walk(bytes: &[u8], seen: &mut Vec<String>) -> Result<u64, FilesError> {
    let files = Files::list(Cursor::new(bytes), &limits())?;
    let mut total = 0;
    for (index, entry) in files.entries().enumerate() {
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\\', '\0']);
        assert!(!entry.path.split('/').any(odd), "{entry:?}");
        assert!(matches!(entry.mode, 0o644 | 0o755), "{entry:?}");
        let read = files.read(Cursor::new(bytes), index, |content| {
            std::io::copy(content, &mut std::io::sink()).map_err(FilesError::Read)
        })?;
        assert_eq!(read, entry.size_bytes, "{entry:?}");
        total += read;
        seen.push(entry.path.clone());
    }
    Ok(total)
}
