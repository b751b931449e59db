//! Jobs on their way, one thing at a time.

use super::*;
use crate::resources::{GpuTaken, TakenBy};

#[test]
fn a_job_goes_its_whole_way() {
    let mut c = Cluster::recency();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    let run = Effect::Run {
        worker: worker("w1"),
        attempt: attempt("1.1"),
    };
    let accepted = Effect::Accepted {
        job: JobId(1),
        new: true,
    };
    assert_eq!(c.acts, [accepted, run]);
    assert_eq!(c.phase(1), Phase::Assigned);
    c.report("w1", "1.1", Progress::Accepted).unwrap();
    c.report("w1", "1.1", phase(AttemptPhase::Building))
        .unwrap();
    assert_eq!(c.phase(1), Phase::Building);
    c.report("w1", "1.1", phase(AttemptPhase::Running)).unwrap();
    assert_eq!(c.phase(1), Phase::Running);
    c.report("w1", "1.1", phase(AttemptPhase::Uploading))
        .unwrap();
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.cause(1), Some(Cause::Succeeded));
    let forget = Effect::Forget {
        worker: worker("w1"),
        attempt: attempt("1.1"),
    };
    let archive = Effect::Archive {
        job: Arc::new(c.job(1).clone()),
    };
    assert_eq!(c.acts, [archive, forget.clone()]);
    assert!((penalty_of(&c.state, c.now, &user("anna")) - 1.0).abs() < 1e-12);
    // The report repeats: it changes nothing, and the worker is told again.
    let again = c.report("w1", "1.1", done(Cause::Succeeded));
    assert_eq!(again, Err(Rejected::Stale(attempt("1.1"))));
    assert_eq!(c.acts, [forget]);
}

#[test]
fn a_job_that_does_not_fit_blocks_nobody_where_nothing_is_kept() {
    let mut c = Cluster::with(Settings {
        backfill: Backfill::BestEffort,
        ..Settings::default()
    });
    c.join("w1", 2);
    c.submit("anna", |_| {});
    c.submit("anna", |spec| spec.request.gpus = 2);
    c.submit("bert", |_| {});
    assert_eq!(c.phase(2), Phase::Queued);
    assert_eq!(c.phase(3), Phase::Assigned);
    let reasons = reasons(&c.state, c.now, c.job(2));
    let told: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["no node has room now: 1 without enough free GPUs"]);
}

#[test]
fn what_can_never_fit_is_refused_and_told_what_would() {
    let mut c = Cluster::new();
    c.submit("anna", |spec| spec.request.gpus = 9);
    assert_eq!(c.phase(1), Phase::Queued);
    assert_eq!(reasons(&c.state, c.now, c.job(1)), [Reason::NoMachine]);
    c.join("w1", 2);
    type Edit = fn(&mut JobSpec);
    let table: [(Edit, &str); 6] = [
        (
            |s| s.request.gpus = 3,
            "it asks for 3 GPUs, and one machine has at most 2; ask for 2 or fewer",
        ),
        (
            |s| s.request.gpu_models = vec!["H200".to_owned()],
            "none has a GPU of the model H200; models there are: NVIDIA A100",
        ),
        (
            |s| s.request.gpu_memory = Some(ByteSize(80 << 30)),
            "it asks for GPUs with 80 GiB of memory, and the largest has 40 GiB",
        ),
        (
            |s| s.request.cpu = Some(MilliCpu(64_500)),
            "it asks for 64.5 CPU cores, and one machine has at most 16; ask for 16 or fewer",
        ),
        (
            |s| s.request.memory = Some(ByteSize(65 << 30)),
            "it asks for 65 GiB of memory, and one machine has at most 64 GiB; ask for 64 GiB or less",
        ),
        (
            |s| s.request.labels = [("zone".to_owned(), "a".to_owned())].into(),
            "none has the labels zone=a; labels there are: none",
        ),
    ];
    for (edit, text) in table {
        let result = c.step(Event::Submitted(submission("anna", edit)));
        let expected = format!("no machine could ever run it: {text}");
        assert_eq!(result, Err(Rejected::NeverFits(expected)));
    }
}

#[test]
fn a_machine_that_closed_itself_takes_no_jobs_until_it_opens() {
    let mut c = Cluster::new();
    let closed = |why: Option<&str>| Event::WorkerClosed {
        worker: worker("w1"),
        session: "session".into(),
        why: why.map(Arc::from),
    };
    let unknown = c.step(closed(Some("full")));
    assert_eq!(unknown, Err(Rejected::NoSuchWorker(worker("w1"))));
    c.join("w1", 1);
    c.ok(closed(Some("the engine's disk has 1m free")));
    c.submit("anna", |_| {});
    // An introduction alone does not open it.
    c.join("w1", 1);
    assert_eq!(c.phase(1), Phase::Queued);
    let reasons = reasons(&c.state, c.now, c.job(1));
    let told: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["no node has room now: 1 short of disk space"]);
    c.ok(closed(None));
    assert_eq!(c.phase(1), Phase::Assigned);
}

#[test]
fn why_a_job_is_still_being_built_is_in_its_timeline() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.report("w1", "1.1", phase(AttemptPhase::Building))
        .unwrap();
    let says = |note: &str| Progress::Entered {
        phase: AttemptPhase::Building,
        note: note.to_owned(),
    };
    let note = "cannot fetch the bundle yet: reach http://m";
    c.report("w1", "1.1", says(note)).unwrap();
    let repeated = c.report("w1", "1.1", says(note));
    assert_eq!(repeated, Err(Rejected::Repeated(attempt("1.1"))));
    assert_eq!(c.phase(1), Phase::Building);
    let told = c.job(1).timeline.iter().filter(|line| line.note == note);
    assert_eq!(told.count(), 1);
}

#[test]
fn gpus_that_others_use_are_given_to_nobody_until_they_are_free() {
    let mut c = Cluster::new();
    let taken = |by: Option<TakenBy>| {
        let taken = by.map(|by| GpuTaken {
            by,
            detail: "pid 4711 (python3 of bert)".to_owned(),
        });
        let taken = taken.map(|taken| ("GPU-w1-0".parse().expect("a name"), taken));
        Event::GpusTaken {
            worker: worker("w1"),
            session: "session".into(),
            taken: taken.into_iter().collect(),
        }
    };
    let unknown = c.step(taken(None));
    assert_eq!(unknown, Err(Rejected::NoSuchWorker(worker("w1"))));
    c.join("w1", 1);
    c.ok(taken(Some(TakenBy::Foreign)));
    c.submit("anna", |_| {});
    // An introduction alone does not free it.
    c.join("w1", 1);
    assert_eq!(c.phase(1), Phase::Queued);
    let told = |c: &Cluster| {
        let reasons = reasons(&c.state, c.now, c.job(1));
        let told = reasons.iter().map(ToString::to_string);
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(&c),
        [
            "no node has room now: 1 without enough free GPUs",
            "GPU 0 of w1 is foreign: pid 4711 (python3 of bert)"
        ]
    );
    c.ok(taken(Some(TakenBy::Dirty)));
    assert!(told(&c)[1].starts_with("GPU 0 of w1 is dirty"));
    c.ok(taken(None));
    assert_eq!(c.phase(1), Phase::Assigned);
    // One that has a job already keeps it.
    c.ok(taken(Some(TakenBy::Foreign)));
    assert_eq!(c.phase(1), Phase::Assigned);
}
