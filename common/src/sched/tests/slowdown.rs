//! The order of one user's jobs by slowdown, and the shortest first in backfill.

use super::*;

const HOUR: u64 = 3600;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A cluster with one GPU that a job of `other` holds. Nobody knows for how long, so that no reservation is firm.
fn busy(settings: Settings) -> Cluster {
    let mut c = Cluster::with(settings);
    c.join("w", 1);
    c.submit("other", |_| {});
    c
}

fn by(order: JobOrder) -> Settings {
    Settings {
        order,
        suspect_after: secs(100 * HOUR),
        lost_after: secs(200 * HOUR),
        ..Settings::default()
    }
}

fn submit(c: &mut Cluster, seconds: u64) -> u64 {
    c.submit("anna", |spec| spec.time_request = Some(secs(seconds)))
        .0
}

#[test]
fn a_short_job_soon_goes_before_a_long_one_that_came_earlier() {
    for (order, expected) in [(JobOrder::Slowdown, [3, 2]), (JobOrder::Submission, [2, 3])] {
        let mut c = busy(by(order));
        let long = submit(&mut c, 10 * HOUR);
        c.now = c.now.after(secs(60));
        let short = submit(&mut c, 60);
        assert_eq!((long, short), (2, 3));
        assert_eq!(
            c.queue(),
            [2, 3],
            "nobody has waited longer for his length yet"
        );
        c.now = c.now.after(secs(60));
        assert_eq!(c.queue(), expected, "{order:?}");
        let first = Turns::new(&c.state, c.now)
            .of(&user("anna"))
            .unwrap()
            .job
            .id
            .0;
        assert_eq!(first, expected[0], "{order:?}");
        c.report("w", "1.1", done(Cause::Succeeded)).unwrap();
        assert!(c.worker_of(expected[0]).is_some(), "{order:?}");
    }
}

#[test]
fn a_long_job_is_not_passed_for_ever() {
    let mut c = busy(by(JobOrder::Slowdown));
    let long = submit(&mut c, 10 * HOUR);
    c.now = c.now.after(secs(20 * HOUR));
    // The long one has waited twice its length; each short one comes fresh.
    let short = submit(&mut c, 60);
    assert_eq!(c.queue(), [long, short]);
}

#[test]
fn priority_goes_before_slowdown() {
    let mut c = busy(by(JobOrder::Slowdown));
    let short = submit(&mut c, 60);
    let wanted = c
        .submit("anna", |spec| {
            spec.time_request = Some(secs(10 * HOUR));
            spec.priority = 1;
        })
        .0;
    c.now = c.now.after(secs(HOUR));
    assert_eq!(c.queue(), [wanted, short]);
}

#[test]
fn a_job_of_unknown_length_counts_as_the_assumed_run_time() {
    let mut c = busy(by(JobOrder::Slowdown));
    let unknown = c.submit("anna", |_| {}).0;
    let shorter = submit(&mut c, 23 * HOUR);
    let longer = submit(&mut c, 25 * HOUR);
    c.now = c.now.after(secs(HOUR));
    assert_eq!(c.queue(), [shorter, unknown, longer]);
}

#[test]
fn what_is_learned_counts() {
    for learns in [false, true] {
        let mut c = Cluster::with(by(JobOrder::Slowdown));
        c.join("w", 1);
        // Three runs of seven seconds each, of the same name or not.
        for run in 0..3 {
            let name = if learns { "train" } else { "test" };
            let id = c.submit("anna", |spec| spec.name = name.to_owned());
            assert_eq!(id.0, run + 1);
            let attempt = format!("{id}.1");
            c.report("w", &attempt, phase(AttemptPhase::Running))
                .unwrap();
            c.report("w", &attempt, done(Cause::Succeeded)).unwrap();
        }
        c.submit("other", |_| {});
        let hour = submit(&mut c, HOUR);
        let train = c.submit("anna", |spec| spec.name = "train".to_owned()).0;
        c.now = c.now.after(secs(60));
        let expected = if learns { [train, hour] } else { [hour, train] };
        assert_eq!(c.queue(), expected, "learns: {learns}");
    }
}

#[test]
fn backfill_takes_the_shortest_first() {
    for (order, starts) in [(JobOrder::Slowdown, 5), (JobOrder::Submission, 4)] {
        let mut c = Cluster::with(by(order));
        c.join("w", 2);
        c.submit("other", |spec| spec.time_request = Some(secs(HOUR)));
        c.submit("other", |spec| spec.time_request = Some(secs(60)));
        // A job for both GPUs is reserved from the end of the hour on.
        c.submit("anna", |spec| {
            spec.request.gpus = 2;
            spec.time_request = Some(secs(HOUR));
        });
        c.submit("bert", |spec| spec.time_request = Some(secs(1800)));
        c.submit("carl", |spec| spec.time_request = Some(secs(600)));
        c.now = c.now.after(secs(60));
        c.report("w", "2.1", done(Cause::Succeeded)).unwrap();
        let reserved = c.state.blocked().and_then(Blocked::reservation).unwrap();
        assert_eq!(reserved.job.0, 3);
        let started = [4, 5].map(|id| c.worker_of(id).is_some());
        assert_eq!(started, [starts == 4, starts == 5], "{order:?}");
    }
}

#[test]
fn a_firm_reservation_stays_with_its_job() {
    let mut c = Cluster::with(by(JobOrder::Slowdown));
    c.join("w", 1);
    c.submit("other", |spec| spec.time_request = Some(secs(HOUR)));
    let long = submit(&mut c, 10 * HOUR);
    c.now = c.now.after(secs(60));
    let short = submit(&mut c, 60);
    c.now = c.now.after(secs(60));
    assert_eq!(c.queue(), [short, long]);
    // The GPU is free long before it was promised, and the promise comes first.
    c.report("w", "1.1", done(Cause::Succeeded)).unwrap();
    assert!(c.worker_of(long).is_some());
}
