//! The copy of an `image.tar`.

use std::io::{self, Write as _};

use dopq_worker::docker::without_names;
use tar::{Builder, EntryType, Header};

use crate::dice::Dice;
use crate::run::Target;

const MANIFEST: &str =
    r#"[{"Config": "c.json", "RepoTags": ["python:3.12"], "Layers": ["l/layer.tar"]}]"#;

#[test]
fn image_archives() {
    let sound = [
        (EntryType::Regular, "manifest.json", MANIFEST),
        (EntryType::Regular, "c.json", "{}"),
        (EntryType::Regular, "l/layer.tar", "x"),
        (EntryType::Symlink, "m/layer.tar", "../l/layer.tar"),
    ];
    let named = [
        (EntryType::Regular, "manifest.json", MANIFEST),
        (EntryType::Regular, "repositories", "{}"),
    ];
    Target {
        name: "image_tar",
        test: "image_tar::image_archives",
        corpus: vec![
            archive(&sound),
            gzip(&archive(&sound)),
            archive(&named),
            archive(&sound.repeat(500)),
            gzip(&vec![0; 16 << 20]),
            archive(&[(EntryType::GNULongName, "x", &"a/".repeat(50_000))]),
            archive(&[(
                EntryType::XHeader,
                "x",
                &"18 path=/etc/passwd\n".repeat(5_000),
            )]),
        ],
        generate,
        check,
        max_bytes: 1 << 20,
    }
    .run();
}

fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        // By hand, because the library refuses hostile names.
        let field = header.as_old_mut().name.iter_mut();
        field.zip(name.bytes()).for_each(|(to, byte)| *to = byte);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let content = match is_link {
            true => {
                let field = header.as_old_mut().linkname.iter_mut();
                field.zip(content.bytes()).for_each(|(to, byte)| *to = byte);
                ""
            }
            false => content,
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        let appended = builder.append(&header, content.as_bytes());
        appended.expect("into memory");
    }
    builder.into_inner().expect("into memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

const NAMES: [&str; 16] = [
    "manifest.json",
    "./manifest.json",
    "a/manifest.json",
    "repositories",
    "index.json",
    "oci-layout",
    "c.json",
    "l/layer.tar",
    "m/layer.tar",
    "layer.tar",
    "../x",
    "/etc/passwd",
    "",
    ".",
    "a/./b",
    "caf\u{e9}",
];

const CONTENTS: [&str; 8] = [
    MANIFEST,
    "[]",
    "{}",
    "x",
    "",
    "../l/layer.tar",
    "../../etc/passwd",
    "[{\"Config\": \"\", \"Layers\": []}]",
];

fn generate(dice: &mut Dice) -> Vec<u8> {
    const KINDS: [EntryType; 9] = [
        EntryType::Regular,
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::Char,
    ];
    let entries = 0..dice.length(200);
    let entries: Vec<_> = entries
        .map(|_| {
            let kind = KINDS[dice.below(KINDS.len())];
            (kind, dice.pick(&NAMES), dice.pick(&CONTENTS))
        })
        .collect();
    let archive = archive(&entries);
    match dice.one_in(4) {
        true => gzip(&archive),
        false => archive,
    }
}

/// What is let through has no names for the image, leads nowhere, and stays as it is when it is copied again.
fn check(bytes: &[u8]) {
    let mut copy = Vec::new();
    if without_names(&mut &bytes[..], &mut copy).is_err() {
        return;
    }
    let mut manifests = 0;
    for entry in tar::Archive::new(&copy[..]).entries().expect("an archive") {
        let entry = entry.expect("sound");
        let path = entry.path().expect("a path").into_owned();
        let name = path.display().to_string();
        assert!(
            path.is_relative() && !name.split('/').any(|part| part == ".."),
            "{name}"
        );
        assert!(
            !["repositories", "index.json", "oci-layout"].contains(&&*name),
            "{name}"
        );
        let kind = entry.header().entry_type();
        assert!(
            matches!(
                kind,
                EntryType::Regular | EntryType::Directory | EntryType::Symlink
            ),
            "{kind:?}"
        );
        if name == "manifest.json" {
            manifests += 1;
            let text = io::read_to_string(entry).expect("text");
            assert!(!text.contains("RepoTags"), "{text}");
        }
    }
    assert_eq!(manifests, 1);
    let mut again = Vec::new();
    without_names(&mut &copy[..], &mut again).expect("sound");
    assert!(again == copy, "a second copy differs");
}
