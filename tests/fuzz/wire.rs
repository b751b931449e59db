//! What peers send: orders, reports, frames of logs; and stored records.

use dopq_common::agent;
use dopq_common::id::WorkerId;
use dopq_common::record;
use dopq_common::time::Timestamp;
use dopq_common::wire::{ClusterKey, ReportEnvelope, Sealed, ToWorker, log, read_envelope};

use crate::dice::Dice;
use crate::run::Target;

const ORDER: &str = include_str!("../../common/src/wire/golden/order-batch.json");
const UPCOMING: &str = include_str!("../../common/src/wire/golden/upcoming.json");
const REPORT: &str = include_str!("../../common/src/wire/golden/report-batch.json");
const JOB: &str = include_str!("../../common/src/record/golden/job-array.json");

#[test]
fn messages_frames_and_records() {
    let mut frames = Vec::new();
    let at = Timestamp::from_millis(7);
    log::append(&mut frames, log::Source::Stdout, at, b"a line\n");
    log::append(&mut frames, log::Source::Stderr, at, &[b'x'; 3000]);
    Target {
        name: "wire",
        test: "wire::messages_frames_and_records",
        corpus: vec![
            ORDER.into(),
            UPCOMING.into(),
            REPORT.into(),
            JOB.into(),
            frames,
            b"[".repeat(100_000),
            br#"{"version":2,"epoch":18446744073709551615,"orders":[]}"#.to_vec(),
        ],
        generate,
        check,
        max_bytes: 1 << 20,
    }
    .run();
}

fn generate(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(2) {
        let mut stream = Vec::new();
        for _ in 0..dice.length(200) {
            let payload = vec![b'x'; dice.length(70_000)];
            let source = if dice.one_in(2) {
                log::Source::Stdout
            } else {
                log::Source::Stderr
            };
            log::append(
                &mut stream,
                source,
                Timestamp::from_millis(dice.roll()),
                &payload,
            );
        }
        return stream;
    }
    let text = dice.pick(&[ORDER, UPCOMING, REPORT, JOB]);
    // One number of the document becomes another.
    let digits: Vec<usize> = text
        .match_indices(|c: char| c.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    let at = digits[dice.below(digits.len())];
    let number = dice.number();
    [
        &text.as_bytes()[..at],
        number.as_bytes(),
        &text.as_bytes()[at + 1..],
    ]
    .concat()
}

fn check(bytes: &[u8]) {
    let key = ClusterKey::from_secret("a secret of at least thirty-two characters");
    let worker: WorkerId = "w".parse().expect("a name");
    let own = key.worker(&worker);
    let unsealed = agent::read(&own, &worker, bytes);
    assert!(unsealed.is_err(), "nothing is obeyed that nobody sealed");
    let sealed = own.seal_to(ToWorker::Orders, &worker, bytes);
    if let Ok(read) = agent::read(&own, &worker, &sealed) {
        for order in read.orders {
            drop(order);
        }
    }
    let sealed = own.seal_to(ToWorker::Upcoming, &worker, bytes);
    if let Ok(list) = agent::read_upcoming(&own, &worker, &sealed) {
        let mut prefetch = agent::Prefetch::default();
        let told = prefetch.told(Timestamp::default(), list);
        assert!(told.is_ok(), "it is the first");
        drop(prefetch.next().cloned());
    }
    drop(read_envelope::<ReportEnvelope>(bytes));
    let opened = Sealed::open::<ReportEnvelope>(&key, bytes);
    assert!(opened.is_err(), "nothing is opened that nobody sealed");
    frames(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Ok(job) = record::read::<record::StoredJob>(&text) {
        drop(job.into_job(&mut record::Specs::default()));
    }
}

/// Every frame is written again as it was read, and reading ends.
fn frames(mut bytes: &[u8]) {
    while let Ok(Some((frame, used))) = log::next(bytes) {
        let mut again = Vec::new();
        log::append(&mut again, frame.source, frame.at, frame.payload);
        if !frame.payload.is_empty() {
            assert_eq!(again, bytes[..used]);
        }
        assert!(used > 0);
        bytes = &bytes[used..];
    }
}
