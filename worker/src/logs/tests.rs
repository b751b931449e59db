//! Tests of the spool and of taking output into it.

use bytes::Bytes;
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use dopq_common::wire::log::{self, HEADER_BYTES, PAYLOAD_MAX_BYTES, Source};
use futures::FutureExt as _;

use super::capture::keep;
use super::spool::{Piece, Spool};
use crate::docker::LogPiece;

const AT: Timestamp = Timestamp::from_millis(7);
const PLENTY: ByteSize = ByteSize(1 << 30);

fn piece(source: Source, bytes: &[u8]) -> Piece {
    Piece {
        source,
        at: AT,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

async fn frames(spool: &Spool) -> Vec<(Source, Vec<u8>)> {
    let bytes = spool.read(0, usize::MAX).await.expect("read");
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((frame, used)) = log::next(rest).expect("sound") {
        frames.push((frame.source, frame.payload.to_vec()));
        rest = &rest[used..];
    }
    frames
}

#[tokio::test]
async fn a_spool_is_its_own_cursor() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("log");
    let spool = Spool::open(&path, PLENTY).expect("open");
    let pieces = [
        piece(Source::Build, b"Step 1\n"),
        piece(Source::Stdout, b"a\xff"),
        piece(Source::Stderr, b"oh"),
        piece(Source::Stdout, b"bc"),
    ];
    spool.append(&pieces).await.expect("append");
    spool.note(AT, "by the way").await.expect("note");
    assert_eq!(spool.taken().await, (4, 2));
    let length = *spool.length().borrow();
    drop(spool);

    // A frame that was only half written before a crash is as good as never written.
    let mut bytes = std::fs::read(&path).expect("file");
    bytes.extend_from_slice(&[2, 0, 0, 0]);
    std::fs::write(&path, &bytes).expect("file");
    let spool = Spool::open(&path, PLENTY).expect("open");
    assert_eq!(*spool.length().borrow(), length);
    assert_eq!(spool.taken().await, (4, 2));
    let more = [piece(Source::Stdout, b"d")];
    spool.append(&more).await.expect("append");
    let frames = frames(&spool).await;
    assert_eq!(frames.len(), 6);
    assert_eq!(frames[5], (Source::Stdout, b"d".to_vec()));
    assert_eq!(frames[4].1, b"[dopq] by the way\n");
}

#[tokio::test]
async fn zeros_at_the_end_of_a_file_are_no_output() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("log");
    let spool = Spool::open(&path, PLENTY).expect("open");
    let first = [piece(Source::Stdout, b"a")];
    spool.append(&first).await.expect("append");
    let length = *spool.length().borrow();
    drop(spool);
    let file = std::fs::File::options().write(true).open(&path);
    let longer = file.expect("open").set_len(length + (3 << 20));
    longer.expect("longer");
    let spool = Spool::open(&path, PLENTY).expect("open");
    assert_eq!(*spool.length().borrow(), length);
    spool.append(&first).await.expect("append");
    assert_eq!(frames(&spool).await.len(), 2);
}

#[tokio::test]
async fn the_quota_cuts_once_and_for_good() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("log");
    let spool = Spool::open(&path, ByteSize(40)).expect("open");
    for _ in 0..3 {
        let line = [piece(Source::Stdout, b"0123456789")];
        spool.append(&line).await.expect("append");
    }
    assert!(spool.is_cut().await);
    let kept = frames(&spool).await;
    let kept: Vec<_> = kept.iter().map(|(source, _)| *source).collect();
    assert_eq!(kept, [Source::Stdout, Source::Stdout, Source::Dopq]);
    drop(spool);
    let spool = Spool::open(&path, ByteSize(40)).expect("open");
    assert!(spool.is_cut().await);
    // What DoPQ itself has to say is never cut.
    spool.note(AT, "ended").await.expect("note");
    assert_eq!(frames(&spool).await.len(), 4);
}

#[tokio::test]
async fn long_output_becomes_several_frames() {
    let dir = tempfile::tempdir().expect("folder");
    let spool = Spool::open(&dir.path().join("log"), PLENTY).expect("open");
    let long = vec![b'x'; 100_000];
    let pieces = [piece(Source::Stdout, &long)];
    spool.append(&pieces).await.expect("append");
    let frames = frames(&spool).await;
    assert!(frames.len() > 1);
    assert_eq!(
        frames.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
        100_000
    );
    assert_eq!(spool.taken().await, (100_000, 0));
}

#[tokio::test]
async fn pieces_of_one_source_and_time_become_one_frame() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("log");
    let spool = Spool::open(&path, PLENTY).expect("open");
    let later = Piece {
        at: Timestamp::from_millis(8),
        ..piece(Source::Stdout, b"d\n")
    };
    let full = vec![b'x'; PAYLOAD_MAX_BYTES - 1];
    let pieces = [
        piece(Source::Stdout, b"a\n"),
        piece(Source::Stdout, b"b\n"),
        piece(Source::Stderr, b"c\n"),
        piece(Source::Stderr, b""),
        piece(Source::Stdout, b"d\n"),
        later,
        piece(Source::Stderr, &full),
        piece(Source::Stderr, b"y"),
        piece(Source::Stderr, b"z"),
    ];
    spool.append(&pieces).await.expect("append");
    // What is written apart stays apart.
    let more = [piece(Source::Stderr, b"z")];
    spool.append(&more).await.expect("append");
    let filled = [&full[..], b"y"].concat();
    let expected: [(Source, &[u8]); 7] = [
        (Source::Stdout, b"a\nb\n"),
        (Source::Stderr, b"c\n"),
        (Source::Stdout, b"d\n"),
        (Source::Stdout, b"d\n"),
        (Source::Stderr, &filled),
        (Source::Stderr, b"z"),
        (Source::Stderr, b"z"),
    ];
    let got = frames(&spool).await;
    let got: Vec<_> = got.iter().map(|(of, bytes)| (*of, &bytes[..])).collect();
    assert_eq!(got, expected);
    let taken = spool.taken().await;
    drop(spool);
    let spool = Spool::open(&path, PLENTY).expect("open");
    assert_eq!(spool.taken().await, taken, "frames are counted as written");
}

#[tokio::test]
async fn the_quota_is_charged_for_each_line_however_they_are_framed() {
    const LINES: usize = 10;
    let quota = ByteSize(u64::try_from(LINES * (2 + HEADER_BYTES)).expect("small"));
    let line = || piece(Source::Stdout, b"x\n");
    let many = |count| (0..count).map(|_| line()).collect::<Vec<_>>();
    // In one write, and over a restart in the middle, where the charge follows from the file.
    for parts in [&[3 * LINES][..], &[LINES / 2, 3 * LINES]] {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("log");
        for part in parts {
            let spool = Spool::open(&path, quota).expect("open");
            spool.append(&many(*part)).await.expect("append");
        }
        let spool = Spool::open(&path, quota).expect("open");
        assert!(spool.is_cut().await, "{parts:?}");
        let kept = u64::try_from(2 * LINES).expect("small");
        assert_eq!(spool.taken().await, (kept, 0), "{parts:?}");
        let framed = frames(&spool).await.len();
        assert_eq!(framed, parts.len() + 1, "one for each write, and the mark");
    }
}

#[tokio::test]
async fn an_append_that_is_cancelled_does_not_meet_the_next() {
    let dir = tempfile::tempdir().expect("folder");
    let spool = Spool::open(&dir.path().join("log"), PLENTY).expect("open");
    // Long enough to be under way when the next one begins.
    let long = vec![b'x'; 8 << 20];
    let (mut kept, mut cancelled) = (Vec::new(), 0);
    for _ in 0..4 {
        let pieces = [piece(Source::Stdout, &long)];
        let done = Box::pin(spool.append(&pieces)).now_or_never();
        cancelled += usize::from(done.is_none());
        let next = [piece(Source::Stderr, b"next")];
        spool.append(&next).await.expect("append");
        kept.extend(long.chunks(PAYLOAD_MAX_BYTES).map(|_| Source::Stdout));
        kept.push(Source::Stderr);
    }
    // A machine with much to do may finish one of them first.
    assert!(cancelled > 0, "none was cancelled in the middle");
    let got = frames(&spool).await;
    let got: Vec<_> = got.into_iter().map(|(source, _)| source).collect();
    assert_eq!(got, kept);
    let length = u64::try_from(4 * long.len()).expect("length");
    assert_eq!(spool.taken().await, (length, 16));
}

#[tokio::test]
async fn the_last_words_are_there_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("log");
    let spool = Spool::open(&path, PLENTY).expect("open");
    let short = [piece(Source::Build, b"built"), piece(Source::Stdout, b"a")];
    spool.append(&short).await.expect("append");
    assert_eq!(
        spool.last_words().await.expect("read"),
        [b"a".to_vec(), vec![]],
        "a short log is looked at from its beginning"
    );
    for n in 0..10 {
        let lines = [
            piece(Source::Stdout, &vec![b'x'; 20_000]),
            piece(Source::Stderr, format!("error {n}\n").as_bytes()),
        ];
        spool.append(&lines).await.expect("append");
    }
    let before = spool.last_words().await.expect("read");
    assert!((64 * 1024..=2 * (64 * 1024 + 20_000)).contains(&before[0].len()));
    assert!(before[1].ends_with(b"error 8\nerror 9\n"));
    drop(spool);
    let spool = Spool::open(&path, PLENTY).expect("open");
    assert_eq!(spool.last_words().await.expect("read"), before);
}

#[tokio::test]
async fn output_that_ends_while_a_batch_is_filled_is_kept() {
    let dir = tempfile::tempdir().expect("folder");
    let spool = Spool::open(&dir.path().join("log"), PLENTY).expect("open");
    // All of it, and its end, are ready at once; this kind of stream must not be polled after its end.
    let lines = [&b"one\n"[..], b"two\n", b"three\n"];
    let output = futures::stream::unfold(0, async |at: usize| {
        let piece = LogPiece {
            stderr: at == 1,
            at: AT,
            bytes: Bytes::copy_from_slice(lines.get(at)?),
        };
        Some((Ok(piece), at + 1))
    });
    keep(Box::pin(output), &spool).await.expect("kept");
    let kept: Vec<u8> = frames(&spool)
        .await
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(kept, b"one\ntwo\nthree\n");
    assert_eq!(spool.taken().await, (10, 4));
}
