//! Groups: how they are set, what their guards forbid, and whose turn it is between and within them.

use super::*;

pub(super) fn group_set(name: &str, weight: f64, guards: Guards) -> Event {
    Event::GroupSet {
        group: group(name),
        weight,
        guards,
    }
}

/// Puts users into a group of that name, which is made.
pub(super) fn join_group(c: &mut Cluster, name: &str, guards: Guards, users: &[&str]) {
    c.ok(group_set(name, 1.0, guards));
    for of in users {
        c.ok(member(of, Membership::Of(group(name))));
    }
}

pub(super) fn member(of: &str, membership: Membership) -> Event {
    Event::UserSet {
        user: user(of),
        weight: 1.0,
        guards: Guards::default(),
        group: membership,
    }
}

fn assigned(c: &Cluster) -> Vec<u64> {
    let jobs = c.state.jobs();
    let assigned = jobs.filter(|job| job.state.phase() == Phase::Assigned);
    assigned.map(|job| job.id.0).collect()
}

#[test]
fn groups_are_made_joined_left_and_removed() {
    let mut c = Cluster::new();
    let of = |name| Membership::Of(group(name));
    let none = c.step(member("anna", of("ml")));
    let text = "there is no group ml; groups there are: none".to_owned();
    assert_eq!(none, Err(Rejected::Invalid(text)));
    join_group(&mut c, "ml", Guards::default(), &["anna", "bert"]);
    assert!(c.dirty.users.contains(&user("bert")));
    c.ok(group_set("vision", 2.0, Guards::default()));
    assert_eq!(c.dirty.groups, [group("vision")].into());
    let wrong = c.step(member("anna", of("nlp")));
    let text = "there is no group nlp; groups there are: ml, vision".to_owned();
    assert_eq!(wrong, Err(Rejected::Invalid(text)));
    // Who is asked about nothing else stays where they are.
    c.ok(member("anna", Membership::Unchanged));
    let members = |c: &Cluster, name| -> Vec<String> {
        let group = group(name);
        c.state.members(&group).map(ToString::to_string).collect()
    };
    assert_eq!(members(&c, "ml"), ["anna", "bert"]);
    c.ok(member("anna", of("vision")));
    assert_eq!(members(&c, "ml"), ["bert"]);
    assert_eq!(members(&c, "vision"), ["anna"]);
    let in_use = c.step(Event::GroupRemoved { group: group("ml") });
    let in_use = in_use.unwrap_err().to_string();
    assert_eq!(in_use, "the group ml still has members: bert");
    c.ok(member("bert", Membership::None));
    c.ok(Event::GroupRemoved { group: group("ml") });
    assert_eq!(c.state.group(&group("ml")), None);
    let gone = c.step(Event::GroupRemoved { group: group("ml") });
    assert_eq!(gone, Err(Rejected::NoSuchGroup(group("ml"))));
}

#[test]
fn what_no_group_can_have_is_refused() {
    let mut c = Cluster::new();
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let set = c.step(group_set("ml", weight, Guards::default()));
        assert!(matches!(set, Err(Rejected::Invalid(_))), "{weight}");
    }
    let guards = Guards {
        max_gpus: Some(MilliGpu(1500)),
        floor: Some(MilliGpu(2000)),
        ..Guards::default()
    };
    let set = c.step(group_set("ml", 1.0, guards.clone()));
    let text = "a floor of 2 GPUs cannot be had with a limit of 1.5 GPUs".to_owned();
    assert_eq!(set, Err(Rejected::Invalid(text)));
    let set = c.step(Event::UserSet {
        user: user("anna"),
        weight: 1.0,
        guards,
        group: Membership::Unchanged,
    });
    assert!(matches!(set, Err(Rejected::Invalid(_))));
}

#[test]
fn guards_of_a_group_count_what_all_its_members_have() {
    let mut c = Cluster::new();
    c.join("w1", 8);
    let guards = Guards {
        max_gpus: Some(MilliGpu(3000)),
        max_running: Some(2),
        max_queued: Some(2),
        floor: None,
    };
    join_group(&mut c, "ml", guards, &["anna", "bert"]);
    c.submit("anna", |_| {});
    c.submit("bert", |spec| spec.request.gpus = 3);
    let gpus = Reason::GroupGpuLimit {
        group: group("ml"),
        max: 3000,
    };
    assert_eq!(reasons(&c.state, c.now, c.job(2)), [gpus]);
    c.submit("anna", |_| {});
    assert_eq!(c.phase(3), Phase::Assigned);
    c.submit("bert", |_| {});
    let running = Reason::GroupRunningLimit {
        group: group("ml"),
        max: 2,
    };
    assert_eq!(
        reasons(&c.state, c.now, c.job(4)),
        std::slice::from_ref(&running)
    );
    let refused = c.step(Event::Submitted(submission("anna", |_| {})));
    let text = "your group ml has 2 jobs waiting and may have 2".to_owned();
    assert_eq!(refused, Err(Rejected::Guarded(text)));
    // Others are not kept back, and who leaves takes along what they have.
    c.submit("carl", |_| {});
    assert_eq!(c.phase(5), Phase::Assigned);
    c.ok(member("anna", Membership::None));
    assert_eq!(c.phase(2), Phase::Assigned);
    assert_eq!(c.phase(4), Phase::Queued);
    let gpus = Reason::GroupGpuLimit {
        group: group("ml"),
        max: 3000,
    };
    assert_eq!(reasons(&c.state, c.now, c.job(4)), [gpus]);
    // Who comes brings along what they have: the group may be over its limit then, and starts nothing.
    c.ok(member("carl", Membership::Of(group("ml"))));
    let holdings = group_holdings_of(&c.state, &group("ml"));
    assert_eq!((holdings.running, holdings.gpus_milli), (2, 4000));
    assert_eq!(reasons(&c.state, c.now, c.job(4)), [running]);
    c.ok(group_set("ml", 1.0, Guards::default()));
    assert_eq!(c.phase(4), Phase::Assigned);
}

#[test]
fn an_own_limit_and_a_groups_are_both_told() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    let one = Guards {
        max_running: Some(1),
        ..Guards::default()
    };
    join_group(&mut c, "ml", one.clone(), &["anna"]);
    c.ok(Event::UserSet {
        user: user("anna"),
        weight: 1.0,
        guards: one,
        group: Membership::Unchanged,
    });
    c.submit("anna", |_| {});
    c.submit("anna", |_| {});
    let told = reasons(&c.state, c.now, c.job(2));
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let both = [
        "the user's limit of running jobs is reached (1)",
        "the limit of running jobs of group ml is reached (1)",
    ];
    assert_eq!(told, both);
    // Neither alone would let it start.
    assert_eq!(explain(&c.state, c.now, JobId(2)).unwrap().remedies, []);
    c.ok(member("anna", Membership::Unchanged));
    let remedies = explain(&c.state, c.now, JobId(2)).unwrap().remedies;
    assert_eq!(remedies, [Remedy::RaiseGroupLimit(group("ml"))]);
}

#[test]
fn at_the_top_groups_and_users_without_one_take_turns() {
    let mut c = Cluster::new();
    join_group(&mut c, "ml", Guards::default(), &["anna", "bert", "carl"]);
    // Nine jobs of the three members, three of Dora's.
    for name in ["anna", "bert", "carl"] {
        for _ in 0..3 {
            c.submit(name, |_| {});
        }
    }
    for _ in 0..3 {
        c.submit("dora", |_| {});
    }
    c.join("w1", 6);
    // One of each member, and as many of hers.
    assert_eq!(assigned(&c), [1, 4, 7, 10, 11, 12]);
}

#[test]
fn what_one_member_had_counts_for_all() {
    for policy in [Policy::Usage, Policy::Recency] {
        let mut c = Cluster::with(Settings {
            policy,
            ..Settings::default()
        });
        c.join("w1", 1);
        join_group(&mut c, "ml", Guards::default(), &["anna", "bert"]);
        c.submit("anna", |_| {});
        c.pass(100, &["w1"]);
        c.submit("bert", |_| {});
        c.submit("anna", |_| {});
        c.submit("carl", |_| {});
        c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
        // Carl, who had nothing, goes before Bert, who had nothing either; Anna is last in the group.
        assert_eq!(c.worker_of(4), Some("w1"), "{policy:?}");
        assert_eq!(c.queue(), [2, 3], "{policy:?}");
    }
}

#[test]
fn in_the_order_of_submission_groups_change_nothing() {
    let mut c = Cluster::with(Settings {
        policy: Policy::Fifo,
        ..Settings::default()
    });
    join_group(&mut c, "ml", Guards::default(), &["anna", "bert"]);
    c.ok(group_set("vision", 7.0, Guards::default()));
    c.ok(member("carl", Membership::Of(group("vision"))));
    for name in ["dora", "carl", "bert", "anna", "dora", "anna", "carl"] {
        c.submit(name, |_| {});
        c.now = c.now.after(Duration::from_secs(1));
    }
    assert_eq!(c.queue(), [1, 2, 3, 4, 5, 6, 7]);
    c.join("w1", 4);
    assert_eq!(assigned(&c), [1, 2, 3, 4]);
}

#[test]
fn class_decides_before_groups_do() {
    let mut c = Cluster::new();
    c.join("w1", 1);
    join_group(&mut c, "ml", Guards::default(), &["anna", "bert"]);
    c.submit("anna", |_| {});
    c.submit("anna", |spec| spec.class = Class::Nice);
    c.submit("carl", |_| {});
    c.submit("bert", |_| {});
    c.submit("anna", |spec| spec.class = Class::Urgent);
    assert_eq!(c.queue(), [5, 3, 4, 2]);
}

#[test]
fn what_a_group_has_had_is_what_its_members_have_had() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    c.ok(group_set("ml", 4.0, Guards::default()));
    for name in ["anna", "bert"] {
        c.ok(member(name, Membership::Of(group("ml"))));
        c.submit(name, |_| {});
    }
    c.pass(500, &["w1"]);
    let of = |name| account_of(&c.state, c.now, &user(name));
    let all = group_account_of(&c.state, c.now, &group("ml"));
    assert!((all.usage - of("anna").usage - of("bert").usage).abs() < 1e-9);
    assert!((all.rate - 2.0).abs() < 1e-9);
    let together = of("anna").penalty + of("bert").penalty;
    assert!((all.penalty - together / 4.0).abs() < 1e-12);
}
