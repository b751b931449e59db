//! What every store promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::id::{Epoch, JobId};
use dopq_common::sched::{Change, Health};
use dopq_master::store::{
    AccountChange, AuditEntry, Batch, Delta, Error, IngestMark, Loaded, Store,
};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::records::{
    account, any_change, at, group, group_name, job, meta, node_key, states, user, worker,
    worker_id,
};
use super::{Bench, commit, lead, master};
use crate::soon;

/// What a store holds, by name, so that the order of loading does not matter.
type Contents = BTreeMap<String, String>;

pub(crate) async fn an_empty_store_is_empty(bench: Bench) {
    let loaded = bench.store.load().await.expect("it is read");
    let empty = Loaded {
        seq: 0,
        epoch: Epoch(0),
        changes: Vec::new(),
        accounts: Vec::new(),
        nodes: Vec::new(),
    };
    assert_eq!(loaded, empty);
    assert_eq!(bench.store.seq().await.expect("it is read"), 0);
    assert_eq!(bench.store.leader().await.expect("it is read"), None);
    assert_eq!(bench.store.ingested("a").await.expect("it is read"), None);
    assert_eq!(bench.store.audit(10).await.expect("it is read"), []);
}

pub(crate) async fn every_kind_of_change_is_read_back(bench: Bench) {
    let mut batch = Batch::new(lead(&bench.store, "m1").await, 1);
    for (number, state) in (1..).zip(states()) {
        let mut job = job(number, number % 4);
        job.state = state;
        batch.changes.push(Change::Job(Arc::new(job)));
    }
    let health = [
        Health::Up,
        Health::Suspect { since: at(1) },
        Health::Lost { since: at(2) },
    ];
    for (number, health) in (0..).zip(health) {
        batch
            .changes
            .push(Change::Worker(Arc::new(worker(number, health))));
    }
    for (number, recency) in [0.0, f64::MIN_POSITIVE, 1.581_976_706_869_326_3]
        .into_iter()
        .enumerate()
    {
        let number = u64::try_from(number).expect("small");
        batch
            .changes
            .push(Change::User(user(number, recency).into()));
    }
    for (number, weight) in [(0, 1.0), (1, 0.1 + 0.2)] {
        batch
            .changes
            .push(Change::Group(group(number, weight).into()));
    }
    batch
        .changes
        .push(Change::Key(Arc::from("upload: 1"), JobId(1)));
    batch.changes.push(Change::Meta(meta(11, true).into()));
    batch.accounts.push(AccountChange::Set(account(0, 3)));
    batch.accounts.push(AccountChange::Set(account(1, 0)));
    batch.accounts.push(AccountChange::NodeSet(node_key(0)));
    batch.accounts.push(AccountChange::NodeSet(node_key(1)));
    let mut expected = Contents::new();
    apply(&mut expected, &batch);
    commit(&bench.store, &batch).await;
    assert_eq!(contents(&bench.store).await, expected);

    // The next master finds the same.
    let bench = bench.open_again().await;
    assert_eq!(contents(&bench.store).await, expected);

    let mut removal = Batch::new(batch.epoch, 2);
    removal.changes.push(Change::JobDropped(JobId(2)));
    removal.changes.push(Change::WorkerDropped(worker_id(1)));
    removal.changes.push(Change::GroupDropped(group_name(1)));
    removal
        .accounts
        .push(AccountChange::Removed(account(1, 0).name));
    removal
        .accounts
        .push(AccountChange::NodeRemoved(node_key(1).worker));
    // What is not there can be removed as well.
    removal.changes.push(Change::JobDropped(JobId(99)));
    apply(&mut expected, &removal);
    commit(&bench.store, &removal).await;
    assert_eq!(contents(&bench.store).await, expected);
}

pub(crate) async fn any_history_is_read_back(bench: Bench) {
    let mut lots = TestRunner::deterministic();
    let history = proptest::collection::vec(proptest::collection::vec(any_change(), 0..8), 40);
    let history = history.new_tree(&mut lots).expect("a history").current();
    let epoch = lead(&bench.store, "m1").await;
    let mut expected = Contents::new();
    for (seq, changes) in (1..).zip(history) {
        let mut batch = Batch::new(epoch, seq);
        batch.changes = changes;
        apply(&mut expected, &batch);
        commit(&bench.store, &batch).await;
    }
    // Of a job that is gone its keys are not loaded.
    let jobs: Vec<String> = expected
        .keys()
        .filter(|name| name.starts_with("job:"))
        .cloned()
        .collect();
    expected
        .retain(|name, value| !name.starts_with("key:") || jobs.contains(&format!("job:{value}")));
    assert_eq!(contents(&bench.store).await, expected);
}

/// A batch with every kind of operation, after [`with_job`] of job 1.
pub(crate) fn full(epoch: Epoch, seq: u64) -> Batch {
    let mut batch = with_job(epoch, seq, 2);
    batch.changes.push(Change::User(user(0, 1.0).into()));
    batch
        .changes
        .push(Change::Key(Arc::from("upload: 2"), JobId(2)));
    batch.changes.push(Change::JobDropped(JobId(1)));
    batch.changes.push(Change::Meta(meta(11, true).into()));
    batch.accounts.push(AccountChange::Set(account(0, 1)));
    batch.ingested.push((
        IngestMark {
            key: "a".to_owned(),
        },
        JobId(2),
    ));
    batch.audit.push(line(1));
    batch
}

pub(crate) async fn a_batch_is_written_whole_or_not_at_all(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    commit(&bench.store, &with_job(epoch, 1, 1)).await;
    let before = contents(&bench.store).await;
    for (epoch, seq) in [(epoch, 3), (Epoch(epoch.0 + 1), 2), (Epoch(epoch.0 - 1), 2)] {
        let refused = full(epoch, seq);
        bench.store.commit(&refused).await.expect_err("refused");
    }
    assert_eq!(contents(&bench.store).await, before);
    assert_eq!(bench.store.seq().await.expect("it is read"), 1);
    assert_eq!(bench.store.ingested("a").await.expect("it is read"), None);
    assert_eq!(bench.store.audit(10).await.expect("it is read"), []);
}

pub(crate) async fn an_older_epoch_is_fenced(bench: Bench) {
    let old = lead(&bench.store, "m1").await;
    commit(&bench.store, &with_job(old, 1, 1)).await;
    bench
        .store
        .release_lead(&master("m1"), old)
        .await
        .expect("it is let go");
    let new = lead(&bench.store, "m2").await;
    assert!(new > old, "{new} after {old}");
    let fenced = bench.store.commit(&with_job(old, 2, 2)).await;
    match fenced {
        Err(Error::Fenced { ours, theirs }) => assert_eq!((ours, theirs), (old, new)),
        other => panic!("{other:?}"),
    }
    // Not even what it wrote itself may it repeat: it must learn that it leads no more.
    let fenced = bench.store.commit(&with_job(old, 1, 1)).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    // The new one goes on where the old one ended.
    commit(&bench.store, &with_job(new, 2, 2)).await;
    assert_eq!(bench.store.load().await.expect("it is read").epoch, new);
    let bench = bench.open_again().await;
    let later = bench
        .store
        .take_lead(&master("m2"), Duration::from_secs(9))
        .await;
    let later = later.expect("the store answers").expect("it is one's own");
    assert!(later > new, "{later} after {new}");
}

pub(crate) async fn batches_follow_one_another(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    for (seq, at) in [(0, 0), (2, 0), (u64::MAX, 0)] {
        let refused = bench.store.commit(&with_job(epoch, seq, 1)).await;
        assert_out_of_sequence(&refused, seq, at);
    }
    commit(&bench.store, &with_job(epoch, 1, 1)).await;
    commit(&bench.store, &Batch::new(epoch, 2)).await;
    let refused = bench.store.commit(&with_job(epoch, 1, 1)).await;
    assert_out_of_sequence(&refused, 1, 2);
    assert_eq!(bench.store.seq().await.expect("it is read"), 2);
}

pub(crate) async fn a_repeated_batch_is_harmless(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    let mut batch = with_job(epoch, 1, 1);
    batch.audit.push(line(1));
    commit(&bench.store, &batch).await;
    commit(&bench.store, &batch).await;
    assert_eq!(bench.store.seq().await.expect("it is read"), 1);
    assert_eq!(bench.store.audit(10).await.expect("it is read").len(), 1);
    // Another batch of the same number is not the same batch.
    let other = bench.store.commit(&with_job(epoch, 1, 2)).await;
    assert_out_of_sequence(&other, 1, 1);
    let bench = bench.open_again().await;
    commit(&bench.store, &batch).await;
    commit(&bench.store, &with_job(epoch, 2, 2)).await;
}

pub(crate) async fn the_lead_is_taken_renewed_and_let_go(bench: Bench) {
    let ttl = Duration::from_secs(600);
    let (first, second) = (master("m1"), master("m2"));
    let store = &bench.store;
    let epoch = store
        .take_lead(&first, ttl)
        .await
        .expect("it answers")
        .expect("nobody leads");
    assert_eq!(
        store.leader().await.expect("it answers"),
        Some(first.clone())
    );
    assert_eq!(
        store.take_lead(&second, ttl).await.expect("it answers"),
        None
    );
    assert!(
        store
            .renew_lead(&first, epoch, ttl)
            .await
            .expect("it answers")
    );
    assert!(
        !store
            .renew_lead(&second, Epoch(epoch.0 - 1), ttl)
            .await
            .expect("it answers")
    );
    // A lead that is not held cannot be let go.
    store
        .release_lead(&second, Epoch(epoch.0 - 1))
        .await
        .expect("it answers");
    assert_eq!(
        store.leader().await.expect("it answers"),
        Some(first.clone())
    );
    // Taking it again gives a new epoch, and the old one is lost.
    let again = store
        .take_lead(&first, ttl)
        .await
        .expect("it answers")
        .expect("its own");
    assert!(again > epoch);
    assert!(
        !store
            .renew_lead(&first, epoch, ttl)
            .await
            .expect("it answers")
    );
    store.release_lead(&first, again).await.expect("it answers");
    assert_eq!(store.leader().await.expect("it answers"), None);
    let taken = store.take_lead(&second, ttl).await.expect("it answers");
    assert!(taken.expect("nobody leads") > again);
}

pub(crate) async fn a_lease_that_ended_can_be_taken_by_another(bench: Bench) {
    let (first, second) = (master("m1"), master("m2"));
    let store = &bench.store;
    let short = Duration::from_millis(200);
    let old = store
        .take_lead(&first, short)
        .await
        .expect("it answers")
        .expect("nobody leads");
    let new = soon("the lease to end", async {
        loop {
            let taken = store.take_lead(&second, Duration::from_secs(600)).await;
            if let Some(epoch) = taken.expect("it answers") {
                return epoch;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(new > old);
    assert!(
        !store
            .renew_lead(&first, old, short)
            .await
            .expect("it answers")
    );
    assert_eq!(store.leader().await.expect("it answers"), Some(second));
    let fenced = store.commit(&with_job(old, 1, 1)).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
}

pub(crate) async fn a_standby_follows(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    let mut lots = TestRunner::deterministic();
    let mut followed = Contents::new();
    let mut seq = 0;
    for batch_seq in 1..=30 {
        let mut batch = Batch::new(epoch, batch_seq);
        let changes = proptest::collection::vec(any_change(), 0..6);
        batch.changes = changes.new_tree(&mut lots).expect("changes").current();
        if batch_seq % 7 == 0 {
            batch
                .accounts
                .push(AccountChange::Set(account(batch_seq % 3, 1)));
            batch
                .accounts
                .push(AccountChange::Removed(account((batch_seq + 1) % 3, 1).name));
        }
        commit(&bench.store, &batch).await;
        if batch_seq % 3 != 0 {
            continue;
        }
        match bench.store.load_since(seq).await.expect("it is read") {
            Some(delta) => {
                seq = delta.seq;
                follow(&mut followed, delta);
            }
            None => {
                let loaded = bench.store.load().await.expect("it is read");
                seq = loaded.seq;
                followed = of_loaded(&loaded);
            }
        }
        assert_eq!(seq, batch_seq);
        // Keys of jobs that are gone are not loaded, but a follower may still hold them.
        let without_keys = |contents: &Contents| {
            let mut contents = contents.clone();
            contents.retain(|name, _| !name.starts_with("key:"));
            contents
        };
        let expected = contents(&bench.store).await;
        assert_eq!(without_keys(&followed), without_keys(&expected));
    }
    let nothing = bench.store.load_since(seq).await.expect("it is read");
    let nothing = nothing.expect("nothing has happened since");
    assert_eq!((nothing.seq, nothing.changes.len()), (seq, 0));
    // A store that is behind its follower was reset.
    assert_eq!(
        bench.store.load_since(seq + 1).await.expect("it is read"),
        None
    );
}

pub(crate) async fn marks_are_kept(bench: Bench) {
    let mut batch = with_job(lead(&bench.store, "m1").await, 1, 5);
    let key = "incoming/anna/a b.zip 1234 \"etag\"".to_owned();
    batch
        .ingested
        .push((IngestMark { key: key.clone() }, JobId(5)));
    commit(&bench.store, &batch).await;
    let bench = bench.open_again().await;
    let marked = bench.store.ingested(&key).await.expect("it is read");
    assert_eq!(marked, Some(JobId(5)));
    assert_eq!(
        bench.store.ingested("other").await.expect("it is read"),
        None
    );
}

pub(crate) async fn keys_go_with_their_jobs(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    let mut batch = with_job(epoch, 1, 1);
    batch.changes.push(Change::Key(Arc::from("k1"), JobId(1)));
    commit(&bench.store, &batch).await;
    assert_eq!(
        contents(&bench.store)
            .await
            .get("key:k1")
            .map(String::as_str),
        Some("1")
    );
    let mut batch = Batch::new(epoch, 2);
    batch.changes.push(Change::JobDropped(JobId(1)));
    commit(&bench.store, &batch).await;
    assert_eq!(contents(&bench.store).await, Contents::new());
}

pub(crate) async fn the_audit_log_is_read_newest_first(bench: Bench) {
    let epoch = lead(&bench.store, "m1").await;
    for seq in 1..=3 {
        let mut batch = Batch::new(epoch, seq);
        batch.audit = vec![line(2 * seq), line(2 * seq + 1)];
        commit(&bench.store, &batch).await;
    }
    let newest = bench.store.audit(3).await.expect("it is read");
    assert_eq!(newest, [line(7), line(6), line(5)]);
    assert_eq!(bench.store.audit(100).await.expect("it is read").len(), 6);
    assert_eq!(bench.store.audit(0).await.expect("it is read"), []);
}

/// Lines of users are kept apart, and every master may append lines.
pub(crate) async fn lines_of_users_and_of_others_are_read_together(bench: Bench) {
    let user = |number| AuditEntry {
        by_user: true,
        ..line(number)
    };
    let epoch = lead(&bench.store, "m1").await;
    let mut batch = Batch::new(epoch, 1);
    batch.audit = vec![line(1), user(2), line(5)];
    commit(&bench.store, &batch).await;
    let recorded = bench.store.record(&[user(3), line(4), user(6)]).await;
    recorded.expect("it is written");
    let newest = bench.store.audit(10).await.expect("it is read");
    let expected = [user(6), line(5), line(4), user(3), user(2), line(1)];
    assert_eq!(newest, expected);
    assert_eq!(
        bench.store.audit(2).await.expect("it is read"),
        expected[..2]
    );
    bench.store.record(&[]).await.expect("nothing is written");
}

pub(crate) async fn the_last_uses_of_tokens_are_kept_until_they_are_forgotten(bench: Bench) {
    let names = ["a", "b", "c"].map(str::to_owned);
    let [a, b, _] = names.clone();
    assert_eq!(bench.store.token_uses(&[]).await.expect("it is read"), []);
    let uses = [(a.clone(), at(1)), (b.clone(), at(2))];
    bench.store.note_token_uses(&uses).await.expect("written");
    let later = [(a.clone(), at(7))];
    bench.store.note_token_uses(&later).await.expect("written");
    let read = bench.store.token_uses(&names).await.expect("it is read");
    assert_eq!(read, [Some(at(7)), Some(at(2)), None]);
    bench
        .store
        .forget_token_uses(&[b])
        .await
        .expect("forgotten");
    let read = bench.store.token_uses(&names).await.expect("it is read");
    assert_eq!(read, [Some(at(7)), None, None]);
}

pub(crate) fn with_job(epoch: Epoch, seq: u64, id: u64) -> Batch {
    let mut batch = Batch::new(epoch, seq);
    batch.changes.push(Change::Job(Arc::new(job(id, id % 4))));
    batch
}

fn line(number: u64) -> AuditEntry {
    AuditEntry {
        at: at(number),
        by: "anna".to_owned(),
        action: "job.cancel".to_owned(),
        target: number.to_string(),
        detail: "by \"hand\"".to_owned(),
        ..AuditEntry::default()
    }
}

fn assert_out_of_sequence(committed: &Result<(), Error>, expected: u64, last: u64) {
    match committed {
        Err(Error::OutOfSequence { got, at }) => assert_eq!((*got, *at), (expected, last)),
        other => panic!("{other:?}"),
    }
}

/// What the store holds now.
pub(crate) async fn contents(store: &Store) -> Contents {
    of_loaded(&store.load().await.expect("it is read"))
}

fn of_loaded(loaded: &Loaded) -> Contents {
    let mut contents = Contents::new();
    for change in &loaded.changes {
        put(&mut contents, change);
    }
    for account in &loaded.accounts {
        put_account(&mut contents, &AccountChange::Set(account.clone()));
    }
    for node in &loaded.nodes {
        put_account(&mut contents, &AccountChange::NodeSet(node.clone()));
    }
    contents
}

fn apply(contents: &mut Contents, batch: &Batch) {
    batch
        .changes
        .iter()
        .for_each(|change| put(contents, change));
    batch
        .accounts
        .iter()
        .for_each(|change| put_account(contents, change));
}

fn follow(contents: &mut Contents, delta: Delta) {
    delta
        .changes
        .iter()
        .for_each(|change| put(contents, change));
    delta
        .accounts
        .iter()
        .for_each(|change| put_account(contents, change));
}

fn put(contents: &mut Contents, change: &Change) {
    match change {
        Change::Job(job) => drop(contents.insert(format!("job:{}", job.id), format!("{job:?}"))),
        Change::JobDropped(id) => drop(contents.remove(&format!("job:{id}"))),
        Change::User(user) => {
            drop(contents.insert(format!("user:{}", user.name), format!("{user:?}")))
        }
        Change::Group(group) => {
            contents.insert(format!("group:{}", group.name), format!("{group:?}"));
        }
        Change::GroupDropped(name) => drop(contents.remove(&format!("group:{name}"))),
        Change::Worker(worker) => {
            contents.insert(format!("worker:{}", worker.id), format!("{worker:?}"));
        }
        Change::WorkerDropped(id) => drop(contents.remove(&format!("worker:{id}"))),
        Change::Key(key, job) => drop(contents.insert(format!("key:{key}"), job.to_string())),
        Change::Meta(meta) => drop(contents.insert("meta".to_owned(), format!("{meta:?}"))),
    }
}

/// Accounts keep their secrets out of `Debug`, so these are compared by all that it leaves and their number.
fn put_account(contents: &mut Contents, change: &AccountChange) {
    match change {
        AccountChange::Set(account) => {
            let hashes: Vec<&str> = account
                .tokens
                .iter()
                .map(|token| token.hash.as_str())
                .collect();
            let text = format!("{account:?} {hashes:?}");
            contents.insert(format!("account:{}", account.name), text);
        }
        AccountChange::Removed(name) => drop(contents.remove(&format!("account:{name}"))),
        AccountChange::NodeSet(node) => {
            contents.insert(format!("node:{}", node.worker), format!("{node:?}"));
        }
        AccountChange::NodeRemoved(worker) => drop(contents.remove(&format!("node:{worker}"))),
    }
}
