//! Output of the sizes and shapes that break readers, through the real engine.

use bytes::Bytes;
use dopq_common::resources::ByteSize;
use futures::StreamExt;
use serde_json::json;

use crate::bench::{Bench, joined};

/// Runs a program whose output is exactly `data`; gives the bench and the container's id.
async fn printing(data: &[u8], shell: &str, tty: bool) -> (Bench, String) {
    let mut bench = Bench::docker().await;
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let dockerfile = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY data /data\n";
    let bundle = bench.zip(&[
        ("Dockerfile", dockerfile),
        ("busybox", &busybox),
        ("data", data),
    ]);
    bench.image = bench.build(&bench.request(&bundle)).await.expect("built");
    let id = bench
        .run(&bench.plan_with(1, shell, json!({"tty": tty})))
        .await;
    (bench, id)
}

/// Compares without printing megabytes.
fn assert_same(got: &[u8], want: &[u8]) {
    let at = got.iter().zip(want).position(|(a, b)| a != b);
    let at = at.unwrap_or_else(|| got.len().min(want.len()));
    let near = |bytes: &[u8]| {
        let from = at.saturating_sub(20);
        let part: Vec<u8> = bytes.iter().skip(from).take(60).copied().collect();
        part.escape_ascii().to_string()
    };
    assert!(
        got == want,
        "{} and {} bytes differ at {at}: {} instead of {}",
        got.len(),
        want.len(),
        near(got),
        near(want)
    );
}

/// Every byte value, lines of many lengths, and no newline at the end.
fn all_bytes(lines: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for line in 0..lines {
        data.extend_from_slice(format!("{line} ").as_bytes());
        let bytes = (0..line % 300).map(|at| u8::try_from((line + at) % 256).expect("a byte"));
        data.extend(bytes.filter(|byte| *byte != b'\n'));
        data.push(b'\n');
    }
    data.extend_from_slice(b"\xff\x00 no newline at the end");
    data
}

#[tokio::test]
async fn every_byte_of_100_000_lines_comes_once_and_in_order() {
    let data = all_bytes(100_000);
    let (bench, id) = printing(&data, "exec /bin/busybox cat /data", false).await;
    // The follower is there while it is printed.
    let followed = bench.output(&id, true).await;
    assert_eq!(bench.code(&id).await, 0);
    assert_same(&joined(&followed, None), &data);
    let again = bench.output(&id, false).await;
    assert!(
        again == followed,
        "what is read again is the same, pieces and times included"
    );
}

#[tokio::test]
async fn a_line_of_a_mebibyte_comes_in_pieces_and_whole() {
    // As long as a multiple of the engine's own pieces, where their joins are easily lost, and not.
    for length in [1 << 20, 1_000_000] {
        let long = vec![b'x'; length];
        // The newline of a long line at the very end is the one that an engine may forget for good.
        for (data, whole) in [
            (long.clone(), long.clone()),
            ([&long[..], b"\n"].concat(), long.clone()),
            (
                [&long[..], b"\nafter\n"].concat(),
                [&long[..], b"\nafter\n"].concat(),
            ),
        ] {
            let (bench, id) = printing(&data, "exec /bin/busybox cat /data", false).await;
            let followed = bench.output(&id, true).await;
            let mut joined = joined(&followed, None);
            if data.ends_with(b"x\n") && joined.last() == Some(&b'\n') {
                joined.pop();
            }
            assert_same(&joined, &whole);
            assert!(followed.iter().all(|piece| piece.bytes.len() <= 32 * 1024));
            assert!(bench.output(&id, false).await == followed);
        }
    }
}

#[tokio::test]
async fn both_streams_keep_their_own_order() {
    const SHELL: &str =
        "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let bench = Bench::docker().await;
    let id = bench.run(&bench.plan(1, SHELL)).await;
    let pieces = bench.output(&id, true).await;
    for (stderr, word) in [(false, "out"), (true, "err")] {
        let expected: String = (0..2000).map(|i| format!("{word} {i}\n")).collect();
        assert_eq!(
            String::from_utf8_lossy(&joined(&pieces, Some(stderr))),
            expected
        );
    }
    assert_eq!(bench.output(&id, false).await, pieces);
}

#[tokio::test]
async fn a_terminal_without_newline_is_not_held_in_memory() {
    let data = vec![b'\x01'; 4 << 20];
    let (bench, id) = printing(&data, "exec /bin/busybox cat /data", true).await;
    bench.code(&id).await;
    let mut pieces = bench.engine.logs(&id, true, false);
    let (mut length, mut longest) = (0, 0);
    while let Some(piece) = pieces.next().await {
        let bytes: Bytes = piece.expect("readable").bytes;
        assert!(bytes.iter().all(|byte| *byte == 1));
        length += bytes.len();
        longest = longest.max(bytes.len());
    }
    assert_eq!(length, data.len());
    assert!(longest < 1 << 20, "a piece of {longest} bytes");
}

#[tokio::test]
async fn a_quick_end_loses_nothing_to_a_follower() {
    let bench = Bench::docker().await;
    for job in 1..=20 {
        let id = bench
            .run(&bench.plan(job, "echo begin; /bin/busybox seq 1 500; echo end"))
            .await;
        let followed = joined(&bench.output(&id, true).await, None);
        assert_eq!(followed, joined(&bench.output(&id, false).await, None));
        assert!(
            followed.ends_with(b"\n500\nend\n"),
            "{}",
            String::from_utf8_lossy(&followed)
        );
    }
}

#[tokio::test]
async fn the_engine_keeps_the_beginning_for_as_long_as_the_quota_lasts() {
    let bench = Bench::docker().await;
    let mut plan = bench.plan(1, "/bin/busybox seq 1 400000");
    let printed: usize = (1..=400_000_u32).map(|n| n.to_string().len() + 1).sum();
    // As `log_quota` of a little more than what is printed would have it.
    plan.log_bytes = ByteSize(printed as u64 * 4);
    let id = bench.run(&plan).await;
    assert_eq!(bench.code(&id).await, 0);
    let read = joined(&bench.output(&id, false).await, None);
    assert!(read.starts_with(b"1\n2\n3\n"));
    assert_eq!(read.len(), printed);
}
