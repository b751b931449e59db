//! Whole bundles: honest ones by other writers, roots, images, walks, failing disks and noise. One hostile
//! archive for each rule stands in `refusals`.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;

use super::raw_zip::{RawEntry, RawZip};
use super::*;
use crate::bundle::Limits;
use crate::job::ImageSource;

mod refusals;

const CONFIG: &str = r#"{"name": "train", "executor_name": "anna"}"#;

fn judge(bytes: &[u8]) -> Result<Inspected, Vec<Fault>> {
    judge_within(bytes, &Limits::default())
}

fn judge_within(bytes: &[u8], limits: &Limits) -> Result<Inspected, Vec<Fault>> {
    inspect(Cursor::new(bytes), bytes.len() as u64, limits)
}

/// Passes all entries to `each`, in the archive's order.
fn walk(
    bytes: &[u8],
    mut each: impl FnMut(&EntryInfo, &mut dyn std::io::Read) -> Result<(), FilesError>,
) -> Result<(), FilesError> {
    let files = Files::list(Cursor::new(bytes), &Limits::default())?;
    for (index, entry) in files.entries().enumerate() {
        files.read(Cursor::new(bytes), index, |content| each(entry, content))?;
    }
    Ok(())
}

/// A valid bundle with `more` beside it.
fn bundle(more: impl IntoIterator<Item = RawEntry>) -> RawZip {
    let base = [
        RawEntry::stored("container_config.json", CONFIG),
        RawEntry::deflated("Dockerfile", "FROM scratch\n"),
    ];
    RawZip::new(base.into_iter().chain(more))
}

/// The rules that `zip` breaks, each once, in order of their names.
fn rules(zip: &RawZip) -> Vec<&'static str> {
    rules_of(&zip.bytes())
}

fn rules_of(bytes: &[u8]) -> Vec<&'static str> {
    let mut rules: Vec<_> = match judge(bytes) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| fault.rule).collect(),
    };
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn a_plain_bundle_is_accepted() {
    let zip = bundle([
        RawEntry::folder("src/"),
        RawEntry::deflated("src/a.py", "x".repeat(5000)),
    ]);
    let found = judge(&zip.bytes()).expect("valid");
    assert_eq!(found.root, "");
    assert_eq!(found.config, CONFIG);
    assert_eq!(found.spec.image, ImageSource::Build);
    assert!(found.has_dockerfile && !found.has_image_tar);
    assert_eq!(found.entries, 4);
    assert_eq!(found.expanded_bytes, (CONFIG.len() + 13 + 5000) as u64);
}

#[test]
fn archives_of_another_writer_are_accepted() {
    for (large, deflate, comment) in [
        (false, true, ""),
        (true, true, ""),
        (true, false, "a comment"),
        (false, false, "x"),
    ] {
        let method = if deflate {
            zip::CompressionMethod::Deflated
        } else {
            zip::CompressionMethod::Stored
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .large_file(large)
            .unix_permissions(0o755);
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_directory("job", options).expect("written");
        for (name, content) in [
            ("job/container_config.json", CONFIG),
            ("job/Dockerfile", "FROM a"),
            ("job/naïve.txt", "x"),
        ] {
            writer.start_file(name, options).expect("written");
            writer.write_all(content.as_bytes()).expect("written");
        }
        writer.set_comment(comment).expect("short");
        let bytes = writer.finish().expect("written").into_inner();
        assert_eq!(
            judge(&bytes).expect("valid").root,
            "job/",
            "{large} {deflate}"
        );
    }
}

#[test]
fn a_streaming_writers_descriptors_are_accepted() {
    let options = SimpleFileOptions::default();
    let mut writer = zip::ZipWriter::new_stream(Vec::new());
    for (name, content) in [("container_config.json", CONFIG), ("Dockerfile", "FROM a")] {
        writer.start_file(name, options).expect("written");
        writer.write_all(content.as_bytes()).expect("written");
    }
    let bytes = writer.finish().expect("written").into_inner();
    judge(&bytes).expect("valid");
}

#[test]
fn nested_archives_are_opaque() {
    let inner = bundle([RawEntry::stored("../x", "y")]).bytes();
    judge(&bundle([RawEntry::deflated("inner.zip", inner)]).bytes()).expect("valid");
}

#[test]
fn the_root_is_the_top_or_the_one_folder_with_a_configuration() {
    let config = |at: &str| RawEntry::stored(format!("{at}container_config.json"), CONFIG);
    let dockerfile = |at: &str| RawEntry::stored(format!("{at}Dockerfile"), "FROM a");
    for (entries, root) in [
        (vec![config("job/"), dockerfile("job/")], Ok("job/")),
        (vec![config("a/b/"), dockerfile("a/b/")], Ok("a/b/")),
        (vec![config(""), dockerfile(""), config("example/")], Ok("")),
        (
            vec![
                config("a/"),
                dockerfile("a/"),
                RawEntry::stored("b/other.txt", "x"),
            ],
            Ok("a/"),
        ),
        (
            vec![
                config("a/"),
                dockerfile("a/"),
                RawEntry::stored("__MACOSX/a/._container_config.json", "x"),
            ],
            Ok("a/"),
        ),
        (
            vec![config("a/"), config("b/"), dockerfile("a/")],
            Err("config_ambiguous"),
        ),
        (vec![dockerfile("")], Err("config_missing")),
        (vec![], Err("config_missing")),
        (
            vec![
                RawEntry::stored("Container_Config.json", CONFIG),
                dockerfile(""),
            ],
            Err("config_missing"),
        ),
        (
            vec![RawEntry::stored("my_container_config.json", CONFIG)],
            Err("config_missing"),
        ),
        (
            vec![RawEntry::folder("container_config.json/")],
            Err("config_is_folder"),
        ),
        (
            vec![config("a/"), dockerfile("")],
            Err("dockerfile_elsewhere"),
        ),
        (
            vec![config(""), dockerfile("a/")],
            Err("dockerfile_elsewhere"),
        ),
        (
            vec![config(""), RawEntry::stored("dockerfile", "FROM a")],
            Err("dockerfile_elsewhere"),
        ),
        (vec![config("")], Err("dockerfile_missing")),
        (
            vec![config(""), RawEntry::folder("Dockerfile/")],
            Err("dockerfile_is_folder"),
        ),
        (
            vec![config(""), RawEntry::stored("Dockerfile/x", "y")],
            Err("dockerfile_is_folder"),
        ),
    ] {
        let zip = RawZip::new(entries);
        match root {
            Ok(root) => assert_eq!(judge(&zip.bytes()).expect(root).root, root),
            Err(rule) => assert_eq!(rules(&zip), [rule]),
        }
    }
}

#[test]
fn an_image_is_built_loaded_or_named() {
    let bundle = |fields: &str, entry: Option<RawEntry>| {
        let text = format!(r#"{{"name": "train", "executor_name": "anna"{fields}}}"#);
        RawZip::new(
            [RawEntry::stored("container_config.json", text)]
                .into_iter()
                .chain(entry),
        )
    };
    let tar = RawEntry::stored("image.tar", "x");
    let load = r#", "build_flag": false"#;
    let found = judge(&bundle(load, Some(tar.clone())).bytes()).expect("valid");
    assert!(found.has_image_tar && found.spec.image == ImageSource::Load);
    assert_eq!(rules(&bundle(load, None)), ["image_missing"]);
    assert_eq!(
        rules(&bundle(load, Some(RawEntry::folder("image.tar/")))),
        ["image_is_folder"]
    );
    assert_eq!(rules(&bundle(r#", "image": "busybox""#, None)), [""; 0]);
    assert_eq!(rules(&bundle("", Some(tar))), ["dockerfile_missing"]);
}

#[test]
fn all_faults_of_a_bundle_are_told_at_once() {
    let zip = RawZip::new([
        RawEntry::stored("container_config.json", r#"{"name": "x", "num_gpu": 2}"#),
        RawEntry::stored("../up", "x"),
        RawEntry::stored("link", "/etc").with(|e| e.attributes = 0o120_777 << 16),
        RawEntry::deflated("bad", "x").with(|e| (e.crc, e.local_sums[0]) = (1, 1)),
    ]);
    assert_eq!(
        rules(&zip),
        [
            "checksum",
            "config_required",
            "config_unknown_field",
            "config_value",
            "dockerfile_missing",
            "link",
            "name_parent"
        ]
    );
    let faults = judge(&zip.bytes()).expect_err("invalid");
    let place = faults
        .iter()
        .find(|f| f.rule == "config_unknown_field")
        .map(|f| f.place.as_str());
    assert_eq!(place, Some("container_config.json: num_gpu"));
}

#[test]
fn texts_must_be_utf8_and_dockerfiles_keep_the_rules() {
    let zip = RawZip::new([
        RawEntry::stored("container_config.json", b"{\"name\": \"caf\xe9\"}"),
        RawEntry::stored("Dockerfile", "# syntax=x\nFROM a"),
    ]);
    assert_eq!(rules(&zip), ["dockerfile_syntax", "text_not_utf8"]);
}

#[test]
fn a_walk_gives_the_root_folder_with_safe_modes() {
    let zip = RawZip::new([
        RawEntry::folder("job/"),
        RawEntry::stored("job/container_config.json", CONFIG),
        RawEntry::stored("job/run.sh", "x").with(|e| e.attributes = 0o104_755 << 16),
        RawEntry::deflated("job/sub/data", "0123456789").with(|e| e.attributes = 0o100_666 << 16),
        RawEntry::folder("job/sub/"),
        RawEntry::stored("job/dos.bat", "x").with(|e| (e.made_by, e.attributes) = (20, 0x20)),
        RawEntry::stored("other", "x"),
    ]);
    let mut seen = Vec::new();
    let walked = walk(&zip.bytes(), |entry, content| {
        let mut text = String::new();
        content
            .read_to_string(&mut text)
            .map_err(FilesError::Read)?;
        assert_eq!(text.len() as u64, entry.size_bytes);
        seen.push((entry.path.clone(), entry.folder, entry.mode, text));
        Ok(())
    });
    walked.expect("valid");
    let file = |path: &str, mode, text: &str| (path.to_owned(), false, mode, text.to_owned());
    assert_eq!(
        seen,
        [
            file("container_config.json", 0o644, CONFIG),
            file("run.sh", 0o755, "x"),
            file("sub/data", 0o644, "0123456789"),
            ("sub".to_owned(), true, 0o755, String::new()),
            file("dos.bat", 0o755, "x"),
        ]
    );
}

#[test]
fn a_walk_refuses_what_the_judge_refuses_even_unread() {
    let zip = bundle([RawEntry::stored("x", "y").with(|e| (e.crc, e.local_sums[0]) = (1, 1))]);
    let unread = walk(&zip.bytes(), |_, _| Ok(()));
    assert!(matches!(unread, Err(FilesError::Invalid(faults)) if faults[0].rule == "checksum"));
    let zip = bundle([RawEntry::stored("../x", "y")]);
    let named = walk(&zip.bytes(), |_, _| panic!("nothing is read"));
    assert!(matches!(named, Err(FilesError::Invalid(faults)) if faults[0].rule == "name_parent"));
}

#[test]
fn files_are_read_in_any_order() {
    let zip = bundle([
        RawEntry::deflated("z", "last"),
        RawEntry::stored("a", "first"),
    ]);
    let bytes = zip.bytes();
    let files = Files::list(Cursor::new(&bytes), &Limits::default()).expect("valid");
    for (name, text) in [("a", "first"), ("z", "last"), ("a", "first")] {
        let index = files.entries().position(|entry| entry.path == name);
        let read = files.read(Cursor::new(&bytes), index.expect("there"), |content| {
            std::io::read_to_string(content).map_err(FilesError::Read)
        });
        assert_eq!(read.expect("readable"), text);
    }
}

/// A reader whose disk fails.
struct Failing(Cursor<Vec<u8>>);

impl std::io::Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.position() < 40 {
            return Err(std::io::Error::other("disk"));
        }
        self.0.read(buffer)
    }
}

impl std::io::Seek for Failing {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_failing_disk_is_not_the_bundles_fault() {
    let bytes = bundle([]).bytes();
    let size = bytes.len() as u64;
    let faults = inspect(Failing(Cursor::new(bytes)), size, &Limits::default()).expect_err("fails");
    assert_eq!((faults.len(), faults[0].rule), (1, UNREADABLE));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        assert!(judge(&bytes).is_err());
    }

    #[test]
    fn no_damage_makes_it_panic_or_accept_other_content(at in 0_usize..400, value in proptest::prelude::any::<u8>()) {
        let mut bytes = bundle([RawEntry::deflated("src/a", "content"), RawEntry::folder("d/")]).bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(found) = judge(&bytes) {
            assert_eq!(found.config, CONFIG);
        }
        drop(walk(&bytes, |_, _| Ok(())));
    }
}
