//! Settings that change while the master runs, and a master that is to end.

use super::*;

fn change(c: &mut Cluster, edit: impl FnOnce(&mut Settings)) {
    let mut settings = c.state.settings().clone();
    edit(&mut settings);
    // The shell shows readers the same settings.
    c.replica.set_settings(settings.clone());
    let settings = Box::new(settings);
    c.ok(Event::SettingsChanged { settings });
}

#[test]
fn other_settings_hold_from_the_next_pass_on() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    change(&mut c, |settings| settings.starts_per_worker = 1);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    assert_eq!(c.phase(2), Phase::Queued, "one start at a time");
    change(&mut c, |settings| settings.starts_per_worker = 2);
    assert_eq!(c.phase(2), Phase::Assigned);
}

#[test]
fn rates_follow_and_what_runs_keeps_the_rate_it_was_placed_with() {
    let mut c = Cluster::new();
    c.join("w1", 2);
    c.submit("anna", |_| {});
    change(&mut c, |settings| {
        settings.usage.gpu_weights = vec![("a100".to_owned(), 4.0)];
    });
    c.submit("bert", |_| {});
    let rate = |c: &Cluster, id| c.job(id).state.active().unwrap().rate.gpus();
    assert_eq!((rate(&c, 1), rate(&c, 2)), (1.0, 4.0));
    let account = account_of(&c.state, c.now, &user("bert"));
    assert_eq!(account.capacity, 8.0);
}

#[test]
fn a_shorter_history_forgets_at_once() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    for id in 1..=3 {
        c.submit("anna", |_| {});
        let attempt = format!("{id}.1");
        c.report("w1", &attempt, done(Cause::Succeeded)).unwrap();
    }
    change(&mut c, |settings| settings.history_max_jobs = 1);
    let left: Vec<u64> = c.state.jobs().map(|job| job.id.0).collect();
    assert_eq!(left, [3]);
}

#[test]
fn a_master_that_is_to_end_starts_nothing_and_says_so() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    let by = user("root");
    c.ok(Event::ShutdownRequested { by: by.clone() });
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.phase(2), Phase::Queued);
    let reasons = reasons(&c.state, c.now, c.job(2));
    assert_eq!(reasons.first(), Some(&Reason::Closing { by }));
    // The next master begins with what is stored, and goes on.
    let mut next = State::new(c.state.settings().clone());
    for worker in c.replica.workers() {
        next.apply(Change::Worker(worker.clone()));
    }
    for job in c.replica.jobs() {
        next.apply(Change::Job(job.clone()));
    }
    assert_eq!(next.closing(), None);
}
