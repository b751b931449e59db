//! Two machines with one name: the one that is heard from keeps it.

use super::*;

fn joins(c: &mut Cluster, session: &str, instance: &str) -> Result<(), Rejected> {
    let machine = Machine {
        instance: instance.to_owned(),
        host: format!("host-of-{instance}"),
        ..Machine::default()
    };
    c.step(Event::WorkerJoined {
        worker: worker("w1"),
        session: session.into(),
        capacity: capacity("w1", 1),
        images: [].into(),
        machine: machine.into(),
        known: Vec::new(),
    })
}

fn heard(c: &mut Cluster, session: &str) -> Result<(), Rejected> {
    c.step(Event::WorkerHeard {
        worker: worker("w1"),
        session: session.into(),
    })
}

#[test]
fn a_second_machine_is_refused_and_the_first_stays() {
    let mut c = Cluster::new();
    joins(&mut c, "s1", "a").unwrap();
    c.submit("anna", |_| {});
    let refused = joins(&mut c, "s2", "b").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the name w1 is taken: the worker at host-of-a has it, so the one at host-of-b is refused"
    );
    heard(&mut c, "s1").unwrap();
    heard(&mut c, "s2").unwrap_err();
    let closed = c.step(Event::WorkerClosed {
        worker: worker("w1"),
        session: "s2".into(),
        why: Some("full".into()),
    });
    closed.unwrap_err();
    assert!(c.state.worker(&worker("w1")).unwrap().takes_jobs());
    assert_eq!(c.worker_of(1), Some("w1"));
}

#[test]
fn a_restarted_agent_is_no_second_one() {
    let mut c = Cluster::new();
    joins(&mut c, "s1", "a").unwrap();
    joins(&mut c, "s2", "a").unwrap();
    heard(&mut c, "s2").unwrap();
    // One that is older than instances is believed, and so is one that follows it.
    joins(&mut c, "s3", "").unwrap();
    joins(&mut c, "s4", "b").unwrap();
}

#[test]
fn a_name_that_nobody_uses_is_free() {
    let mut c = Cluster::new();
    joins(&mut c, "s1", "a").unwrap();
    c.pass(15, &[]);
    joins(&mut c, "s2", "b").unwrap();
    c.ok(Event::WorkerLeft {
        worker: worker("w1"),
    });
    joins(&mut c, "s3", "c").unwrap();
}
