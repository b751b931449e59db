//! One hostile archive for each rule.

use std::io::Cursor;

use super::super::raw_zip::{RawEntry, RawZip, extra};
use super::{bundle, judge, judge_within, rules, rules_of};
use crate::bundle::Limits;
use crate::bundle::archive::inspect;

#[test]
fn names_that_leave_or_confuse_are_refused_each_by_its_rule() {
    let deep = "a/".repeat(64) + "b";
    let long = "x".repeat(256);
    let longer = "abcdefghi/".repeat(110) + "x";
    for (name, rule) in [
        ("../x", "name_parent"),
        ("a/../../x", "name_parent"),
        ("..", "name_parent"),
        ("a/..", "name_parent"),
        ("/etc/passwd", "name_absolute"),
        ("a//b", "name_not_normal"),
        ("./a", "name_not_normal"),
        ("a/.", "name_not_normal"),
        ("a\0.txt", "name_nul"),
        ("a\u{1b}[2J", "name_control"),
        ("a\nb", "name_control"),
        ("a\u{9b}b", "name_control"),
        ("gpj.\u{202e}exe", "name_bidirectional"),
        ("a\u{2028}b", "name_bidirectional"),
        ("ab:c", "name_colon"),
        ("a.", "name_trailing"),
        ("a /b", "name_trailing"),
        ("a./b", "name_trailing"),
        ("", "name_empty"),
        (long.as_str(), "name_too_long"),
        (deep.as_str(), "path_too_deep"),
    ] {
        assert_eq!(
            rules(&bundle([RawEntry::stored(name, "x")])),
            [rule],
            "{name:?}"
        );
    }
    for (name, expected) in [
        ("..\\x", vec!["name_backslash", "name_parent"]),
        ("C:\\x", vec!["name_backslash", "name_drive"]),
        ("c:x", vec!["name_drive"]),
        (
            "\\\\host\\share\\x",
            vec!["name_backslash", "name_not_normal"],
        ),
        ("//host/share", vec!["name_absolute", "name_not_normal"]),
        (longer.as_str(), vec!["name_too_long", "path_too_deep"]),
    ] {
        assert_eq!(
            rules(&bundle([RawEntry::stored(name, "x")])),
            expected,
            "{name:?}"
        );
    }
    assert_eq!(
        rules(&bundle([RawEntry::stored(b"caf\xe9.txt", "x")])),
        ["name_not_utf8"]
    );
    for name in [
        "...a",
        ".gitignore",
        "a..b",
        "comet",
        "auxiliary.py",
        "models/aux.py",
        "con.txt",
        "utils/prn.c",
        "COM1",
        "a b.txt",
        "日本.txt",
    ] {
        assert_eq!(
            rules(&bundle([RawEntry::stored(name, "x")])),
            [""; 0],
            "{name:?}"
        );
    }
}

#[test]
fn the_name_is_told_escaped() {
    let faults =
        judge(&bundle([RawEntry::stored("a\u{1b}]0;x\u{7}", "x")]).bytes()).expect_err("bad");
    assert_eq!(faults[0].place, "a\\u{1b}]0;x\\u{7}");
}

#[test]
fn names_that_some_reader_takes_for_the_same_are_refused() {
    for (one, two, rule) in [
        ("a", "a", "name_duplicate"),
        ("a/", "a/", "name_duplicate"),
        ("readme", "README", "name_twin"),
        ("caf\u{e9}", "cafe\u{301}", "name_twin"),
        ("stra\u{df}e", "STRASSE", "name_twin"),
        ("x/a", "X/A", "name_twin"),
        ("a", "a/b", "file_and_folder"),
    ] {
        let entry = |name: &str| {
            if name.ends_with('/') {
                RawEntry::folder(name)
            } else {
                RawEntry::stored(name, "x")
            }
        };
        assert_eq!(
            rules(&bundle([entry(one), entry(two)])),
            [rule],
            "{one} {two}"
        );
    }
    assert_eq!(
        rules(&bundle([
            RawEntry::stored("a", "x"),
            RawEntry::folder("a/")
        ])),
        ["name_duplicate"]
    );
}

#[test]
fn only_files_and_folders_are_taken() {
    let with_mode = |mode: u32| RawEntry::stored("x", "y").with(|e| e.attributes = mode << 16);
    for (entry, rule) in [
        (with_mode(0o120_777), "link"),
        (with_mode(0o020_666), "special_file"),
        (with_mode(0o060_666), "special_file"),
        (with_mode(0o010_644), "special_file"),
        (with_mode(0o140_755), "special_file"),
        (with_mode(0o040_755), "kind_mismatch"),
        (with_mode(0o120_777).with(|e| e.made_by = 20), "link"),
        (
            RawEntry::folder("d/").with(|e| e.attributes = 0o100_644 << 16),
            "kind_mismatch",
        ),
        (
            RawEntry::stored("d/", "data").with(|e| e.attributes = 0),
            "kind_mismatch",
        ),
        (
            RawEntry::stored("x", "y").with(|e| e.extra = extra(0x000d, b"aaaammmmuuggtarget")),
            "link",
        ),
        (
            RawEntry::stored("x", "y").with(|e| e.extra = extra(0x756e, b"crc_\xff\xa1rest")),
            "link",
        ),
    ] {
        assert_eq!(rules(&bundle([entry.clone()])), [rule], "{entry:?}");
    }
}

#[test]
fn headers_that_another_reader_would_read_otherwise_are_refused() {
    let file = || RawEntry::stored("x", "content");
    let zip64 = |bytes: &[u8]| extra(1, bytes);
    for (entry, rule) in [
        (
            file().with(|e| e.local_name = b"y".to_vec()),
            "header_mismatch",
        ),
        (
            file().with(|e| e.local_name = b"xy".to_vec()),
            "header_mismatch",
        ),
        (file().with(|e| e.local_method = 8), "header_mismatch"),
        (file().with(|e| e.local_flags = 1), "header_mismatch"),
        (file().with(|e| e.local_flags = 8), "header_mismatch"),
        (file().with(|e| e.local_sums[0] ^= 1), "header_mismatch"),
        (file().with(|e| e.local_sums[1] = 6), "header_mismatch"),
        (file().with(|e| e.local_sums[2] = 8), "header_mismatch"),
        (
            file().with(|e| e.extra = extra(0x7075, b"\x01crc_y")),
            "header_mismatch",
        ),
        (
            file().with(|e| e.local_extra = extra(0x7075, b"\x01crc_y")),
            "header_mismatch",
        ),
        (
            file().with(|e| e.local_extra = vec![1, 0, 99, 0]),
            "header_mismatch",
        ),
        (file().with(|e| e.extra = vec![1, 0, 99, 0]), "extra_field"),
        (
            file().with(|e| (e.flags, e.local_flags) = (1, 1)),
            "encrypted",
        ),
        (
            file().with(|e| (e.flags, e.local_flags) = (64, 64)),
            "encrypted",
        ),
        (
            file().with(|e| (e.method, e.local_method) = (99, 99)),
            "encrypted",
        ),
        (
            file().with(|e| e.extra = extra(0x9901, b"xxxxxxx")),
            "encrypted",
        ),
        (
            file().with(|e| (e.method, e.local_method) = (12, 12)),
            "compression_method",
        ),
        (file().with(|e| e.disk = 1), "multi_disk"),
        (
            file().with(|e| e.extra = zip64(&9_u64.to_le_bytes())),
            "zip64_lie",
        ),
        (file().with(|e| e.extra = zip64(&[0; 24])), "zip64_lie"),
        (
            file().with(|e| e.extra = [zip64(&[]), zip64(&[])].concat()),
            "zip64_lie",
        ),
        (
            file().with(|e| e.after = b"hidden".to_vec()),
            "hidden_bytes",
        ),
        (
            file().with(|e| e.after = b"hidden 16 bytes!".to_vec()),
            "hidden_bytes",
        ),
    ] {
        assert_eq!(rules(&bundle([entry.clone()])), [rule], "{entry:?}");
    }
    // Where a size is only in the 64-bit field and that is missing, the entry also reaches beyond its room.
    let missing = file().with(|e| e.compressed = u32::MAX);
    assert_eq!(rules(&bundle([missing])), ["header_mismatch", "zip64_lie"]);
}

#[test]
fn descriptors_must_repeat_the_record() {
    let with = |after: &[u8]| {
        RawEntry::stored("x", "content").with(|e| {
            (e.flags, e.local_flags) = (8, 8);
            e.local_sums = [0; 3];
            e.after = after.to_vec();
        })
    };
    let crc = RawEntry::stored("x", "content").crc.to_le_bytes();
    let (four, eight) = (7_u32.to_le_bytes(), 7_u64.to_le_bytes());
    let signature = *b"PK\x07\x08";
    for good in [
        [&crc[..], &four, &four].concat(),
        [&signature[..], &crc, &four, &four].concat(),
        [&crc[..], &eight, &eight].concat(),
        [&signature[..], &crc, &eight, &eight].concat(),
    ] {
        assert_eq!(rules(&bundle([with(&good)])), [""; 0], "{good:?}");
    }
    let wrong = [&signature[..], &crc, &four, &8_u32.to_le_bytes()].concat();
    assert_eq!(rules(&bundle([with(&wrong)])), ["header_mismatch"]);
    assert_eq!(rules(&bundle([with(&[])])), ["hidden_bytes"]);
}

#[test]
fn archives_that_are_not_what_they_seem_are_refused() {
    let file = || RawEntry::stored("x", "content");
    for (zip, rule) in [
        (
            bundle([]).with(|z| z.prefix = b"#!/bin/sh\n".to_vec()),
            "prefix_bytes",
        ),
        (
            bundle([]).with(|z| z.trailing = b"x".to_vec()),
            "trailing_bytes",
        ),
        (
            bundle([]).with(|z| z.comment = b"a PK\x05\x06 b".to_vec()),
            "not_a_zip",
        ),
        (
            bundle([]).with(|z| z.comment = [b"PK\x05\x06".as_slice(), &[0; 40]].concat()),
            "trailing_bytes",
        ),
        (
            bundle([]).with(|z| z.before_directory = vec![0; 100]),
            "hidden_bytes",
        ),
        (bundle([]).with(|z| z.disk = 1), "multi_disk"),
        (bundle([]).with(|z| z.count = Some(1)), "entry_count"),
        (bundle([]).with(|z| z.count = Some(3)), "entry_count"),
        (bundle([]).with(|z| z.count = Some(60_000)), "entry_count"),
        (
            bundle([]).with(|z| z.directory_offset = Some(0)),
            "prefix_bytes",
        ),
        (
            bundle([]).with(|z| z.directory_offset = Some(1 << 30)),
            "directory_lie",
        ),
        (
            bundle([]).with(|z| z.directory_offset = Some(u32::MAX)),
            "directory_lie",
        ),
        (bundle([]).with(|z| z.count64 = Some(3)), "zip64_lie"),
        (
            bundle([]).with(|z| (z.count, z.count64) = (Some(u16::MAX), Some(u64::MAX))),
            "too_many_entries",
        ),
        (
            bundle([
                file(),
                file().with(|e| (e.name, e.offset) = (b"y".to_vec(), Some(0))),
            ]),
            "overlap",
        ),
    ] {
        let found = rules(&zip);
        assert!(found.contains(&rule), "{rule}: {found:?}");
    }
    assert_eq!(rules(&bundle([]).with(|z| z.count64 = Some(2))), [""; 0]);
    assert_eq!(
        rules(&bundle([]).with(|z| (z.count, z.count64) = (Some(u16::MAX), Some(2)))),
        [""; 0]
    );
    for bytes in [
        &b""[..],
        b"PK\x05\x06",
        b"not a zip at all, but long enough to look for an end",
    ] {
        assert_eq!(rules_of(bytes), ["not_a_zip"]);
    }
    let whole = bundle([]).bytes();
    for length in 0..whole.len() {
        let cut = &whole[..length];
        assert!(judge(cut).is_err(), "cut to {length} bytes");
    }
    let size = whole.len() as u64 + 1;
    let faults = inspect(Cursor::new(&whole), size, &Limits::default()).expect_err("grew");
    assert_eq!(faults[0].rule, "size_changed");
}

#[test]
fn entries_sharing_bytes_are_refused_and_not_expanded() {
    let mut zip = bundle([]);
    let kernel = RawEntry::deflated("k", vec![0; 1 << 20]);
    let at = RawZip::new(zip.entries.clone()).bytes().len();
    zip.entries.push(kernel.clone());
    // Where the entry lies: the archive so far without its directory and end record.
    let directory: usize = zip.entries[..2].iter().map(|e| 46 + e.name.len()).sum();
    let offset = u32::try_from(at - directory - 22).expect("small");
    for i in 0..50 {
        let name = format!("copy{i}").into_bytes();
        zip.entries.push(RawEntry {
            name,
            offset: Some(offset),
            data: Vec::new(),
            local_name: Vec::new(),
            ..kernel.clone()
        });
    }
    let found = rules(&zip);
    assert!(found.contains(&"overlap"), "{found:?}");
}

#[test]
fn what_comes_out_is_counted_and_checked() {
    let lie = |e: RawEntry, expanded: u32| {
        e.with(|e| {
            e.expanded = expanded;
            e.local_sums[2] = expanded;
        })
    };
    let text = "some content".repeat(100);
    for (entry, rule) in [
        (lie(RawEntry::deflated("x", &text), 5), "size_lie"),
        (lie(RawEntry::deflated("x", &text), 5000), "size_lie"),
        (lie(RawEntry::stored("x", &text), 5), "size_lie"),
        (
            RawEntry::stored("x", &text).with(|e| (e.crc, e.local_sums[0]) = (7, 7)),
            "checksum",
        ),
        (
            RawEntry::deflated("x", &text).with(|e| e.data[3] ^= 0xff),
            "damaged",
        ),
        (
            RawEntry::deflated("x", &text).with(|e| {
                e.data.extend(b"smuggled");
                e.compressed += 8;
                e.local_sums[1] += 8;
            }),
            "hidden_bytes",
        ),
    ] {
        let found = rules(&bundle([entry]));
        assert!(
            found == [rule] || (rule == "damaged" && found == ["checksum"]),
            "{rule}: {found:?}"
        );
    }
}

#[test]
fn limits_hold_while_reading() {
    let zeros = || RawEntry::deflated("zeros", vec![0; 8 << 20]);
    assert_eq!(rules(&bundle([zeros()])), ["ratio"]);
    // A bomb that declares little is stopped by what it declared.
    let liar = zeros().with(|e| {
        e.expanded = 10;
        e.local_sums[2] = 10;
    });
    assert_eq!(rules(&bundle([liar])), ["size_lie"]);
    let whole = bundle([RawEntry::stored("x", vec![7; 5000])]).bytes();
    let rule = |limits: Limits| judge_within(&whole, &limits).expect_err("limited")[0].rule;
    let limits = Limits::default;
    assert_eq!(
        rule(Limits {
            compressed_bytes: 100,
            ..limits()
        }),
        "too_large"
    );
    assert_eq!(
        rule(Limits {
            expanded_bytes: 4999,
            ..limits()
        }),
        "expanded_too_large"
    );
    assert_eq!(
        rule(Limits {
            entries: 2,
            ..limits()
        }),
        "too_many_entries"
    );
    assert_eq!(
        rule(Limits {
            directory_bytes: 10,
            ..limits()
        }),
        "directory_too_large"
    );
    assert_eq!(
        rule(Limits {
            name_bytes: 5,
            ..limits()
        }),
        "name_too_long"
    );
    assert_eq!(
        rule(Limits {
            dockerfile_bytes: 3,
            ..limits()
        }),
        "text_too_large"
    );
    judge_within(
        &whole,
        &Limits {
            entries: 3,
            ..limits()
        },
    )
    .expect("at the limit");
}
