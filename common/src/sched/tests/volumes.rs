//! Volumes: who gets them, and on which machines.

use super::groups::member;
use super::*;
use crate::resources::Volume;

/// A machine with one GPU that offers these volumes, each to the members of these groups.
fn join(c: &mut Cluster, name: &str, volumes: &[(&str, &[&str])]) {
    let mut capacity = capacity(name, 1);
    for (volume, groups) in volumes {
        let volume = (*volume).parse().unwrap();
        let groups = groups.iter().map(|of| group(of)).collect();
        let read_only = true;
        capacity
            .volumes
            .insert(volume, Volume { read_only, groups });
    }
    c.ok(Event::WorkerJoined {
        worker: worker(name),
        session: "session".into(),
        capacity,
        images: [].into(),
        machine: Arc::default(),
        known: Vec::new(),
    });
}

fn asks(names: &[&str]) -> impl FnOnce(&mut JobSpec) {
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    move |spec| spec.request.volumes = names
}

fn refusal(c: &mut Cluster, of: &str, names: &[&str]) -> String {
    let submitted = Event::Submitted(submission(of, asks(names)));
    c.step(submitted).unwrap_err().to_string()
}

#[test]
fn a_job_goes_to_a_machine_that_offers_its_volumes_and_waits_for_one() {
    let mut c = Cluster::new();
    join(&mut c, "w1", &[]);
    join(&mut c, "w2", &[("coco", &[]), ("imagenet", &[])]);
    c.submit("anna", asks(&["imagenet"]));
    assert_eq!(c.worker_of(1), Some("w2"));
    c.submit("anna", asks(&["coco", "imagenet"]));
    assert_eq!(c.phase(2), Phase::Queued, "w1 does not do");
    let told = reasons(&c.state, c.now, c.job(2));
    assert_eq!(
        told[0].to_string(),
        "no node has room now: 1 without enough free GPUs, 1 too small or of another kind"
    );
    c.submit("anna", |_| {});
    assert_eq!(c.worker_of(3), Some("w1"));
    c.report("w2", "1.1", done(Cause::Succeeded)).unwrap();
    assert_eq!(c.worker_of(2), Some("w2"));
}

#[test]
fn a_volume_that_no_machine_offers_is_refused_with_those_that_there_are() {
    let mut c = Cluster::new();
    join(&mut c, "w1", &[]);
    assert_eq!(
        refusal(&mut c, "anna", &["imagenet"]),
        "no machine could ever run it: none offers the volumes imagenet; volumes there are: none"
    );
    join(&mut c, "w1", &[("coco", &[])]);
    join(&mut c, "w2", &[("imagenet", &[])]);
    assert_eq!(
        refusal(&mut c, "anna", &["imagenets"]),
        "no machine could ever run it: none offers the volumes imagenets; volumes there are: coco, imagenet"
    );
    let told = refusal(&mut c, "anna", &["coco", "imagenet"]);
    assert!(told.contains("coco, imagenet together;"), "{told}");
}

#[test]
fn a_volume_of_a_group_is_for_its_members_alone() {
    let mut c = Cluster::new();
    for name in ["nlp", "vision"] {
        c.ok(Event::GroupSet {
            group: group(name),
            weight: 1.0,
            guards: Guards::default(),
        });
    }
    join(&mut c, "w1", &[("faces", &["vision", "robots"])]);
    c.ok(member("anna", Membership::Of(group("vision"))));
    c.ok(member("bert", Membership::Of(group("nlp"))));
    assert_eq!(
        refusal(&mut c, "bert", &["faces"]),
        "volume faces is for members of robots or vision, and bert is in nlp; ask an admin"
    );
    let told = refusal(&mut c, "carl", &["faces"]);
    assert!(told.contains("carl is in no group"), "{told}");
    c.submit("anna", asks(&["faces"]));
    assert_eq!(c.worker_of(1), Some("w1"));
    // A machine that is stricter than the others decides for all of them.
    join(&mut c, "w2", &[("faces", &["nlp"])]);
    let told = refusal(&mut c, "anna", &["faces"]);
    assert!(told.contains("members of nlp"), "{told}");
}
