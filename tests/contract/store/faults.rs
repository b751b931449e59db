//! What a real file and a real server can suffer.

use std::path::PathBuf;
use std::time::Duration;

use dopq_common::id::JobId;
use dopq_common::job::{JobState, Stage};
use dopq_common::sched::Change;
use dopq_master::store::{Batch, Error, Options, RedisOptions, Store};
use dopq_tests::process::free_port;
use dopq_tests::services::{Certificates, Redis};
use redis::Value;
use tokio::runtime::Runtime;

use super::records::{active, job, user};
use super::suite::{contents, with_job};
use super::{commit, lead, master, open, redis_options};
use crate::soon;

pub(crate) fn run_embedded(runtime: &Runtime) {
    eprintln!("store in a file: a file is for one master and its owner only");
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    runtime.block_on(async {
        let options = Options::Embedded { dir: dir.clone() };
        let store = open(options.clone()).await;
        let second = Store::open(options.clone()).await;
        let error = second.expect_err("it is in use");
        assert!(error.to_string().contains("another master uses"), "{error}");
        drop(store);
        drop(open(options).await);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.join("store.redb"))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

pub(crate) fn run_redis(runtime: &Runtime, server: &mut Redis) {
    for (name, fault) in FAULTS {
        eprintln!("store in Redis: {name}");
        fault(runtime, server);
    }
}

type Fault = fn(&Runtime, &mut Redis);

const FAULTS: &[(&str, Fault)] = &[
    ("its lists mean what they say", its_lists_mean_what_they_say),
    (
        "a standby reads while the leader writes",
        a_standby_reads_while_the_leader_writes,
    ),
    ("a wrong password is refused", a_wrong_password_is_refused),
    (
        "a Redis that loses data is refused",
        a_redis_that_loses_data_is_refused,
    ),
    (
        "a full Redis refuses and goes on",
        a_full_redis_refuses_and_goes_on,
    ),
    (
        "a frozen Redis is unavailable, not fenced",
        a_frozen_redis_is_unavailable,
    ),
    (
        "a killed Redis has lost nothing",
        a_killed_redis_has_lost_nothing,
    ),
    ("a wiped Redis is noticed", a_wiped_redis_is_noticed),
    ("a narrow account is enough", a_narrow_account_is_enough),
    (
        "a commit that fails half way is not done",
        a_commit_that_fails_half_way_is_not_done,
    ),
    (
        "only a known certificate is trusted",
        only_a_known_certificate_is_trusted,
    ),
];

fn its_lists_mean_what_they_say(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let store = open(redis_options(server, "lists")).await;
        let epoch = lead(&store, "m1").await;
        let mut batch = Batch::new(epoch, 1);
        // Of two users the one with the lower penalty comes first; of a user's jobs the urgent one.
        batch.changes.push(Change::User(user(0, 2.0).into()));
        batch.changes.push(Change::User(user(1, 0.0).into()));
        for (id, owner, priority) in [(1, 0, 0), (2, 0, 5), (3, 1, 0), (4, 1, 0)] {
            let mut job = job(id, owner);
            job.priority = priority;
            batch.changes.push(Change::Job(job.into()));
        }
        commit(&store, &batch).await;
        let range = |key: &str| {
            let key = format!("dopq:{{lists}}:{key}");
            texts(&server.command(&["ZRANGE", &key, "0", "-1"]))
        };
        assert_eq!(range("queue:users"), ["bert", "anna"]);
        assert_eq!(range("queue:user:anna"), ["2", "1"]);
        assert_eq!(range("queue:user:bert"), ["3", "4"]);

        let mut batch = Batch::new(epoch, 2);
        for id in [3, 4] {
            let mut job = job(id, 1);
            job.state = JobState::Active(active(1, 1).into(), Stage::Running);
            batch.changes.push(Change::Job(job.into()));
        }
        batch.changes.push(Change::JobDropped(JobId(1)));
        commit(&store, &batch).await;
        assert_eq!(range("queue:users"), ["anna"]);
        assert_eq!(range("queue:user:anna"), ["2"]);
        assert_eq!(range("running"), ["3", "4"]);

        let mut batch = Batch::new(epoch, 3);
        let mut ended = job(4, 1);
        ended.state = super::records::states().pop().expect("the last state");
        batch.changes.push(Change::Job(ended.into()));
        commit(&store, &batch).await;
        assert_eq!(range("running"), ["3"]);
        assert_eq!(range("history"), ["4"]);
        let keys = texts(&server.command(&["KEYS", "*"]));
        assert!(keys.iter().all(|key| key.starts_with("dopq:{")), "{keys:?}");
    });
}

fn a_standby_reads_while_the_leader_writes(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let leader = open(redis_options(server, "busy")).await;
        let standby = open(redis_options(server, "busy")).await;
        let epoch = lead(&leader, "m1").await;
        let mut batch = Batch::new(epoch, 1);
        batch.changes = (1..=1500)
            .map(|id| Change::Job(job(id, id % 4).into()))
            .collect();
        commit(&leader, &batch).await;
        let writing = async {
            for seq in 2..=40 {
                let mut batch = Batch::new(epoch, seq);
                for id in (1..=1500).filter(|id| id % 40 == seq) {
                    batch.changes.push(Change::JobDropped(JobId(id)));
                    batch
                        .changes
                        .push(Change::Job(job(10_000 + id, id % 4).into()));
                }
                commit(&leader, &batch).await;
            }
        };
        let reading = async {
            loop {
                let loaded = standby.load().await.expect("it is read");
                // As of every single batch there are as many.
                assert_eq!(loaded.changes.len(), 1500, "as of batch {}", loaded.seq);
                if loaded.seq == 40 {
                    return;
                }
            }
        };
        let ((), ()) = futures::future::join(writing, reading).await;
        assert_eq!(contents(&leader).await, contents(&standby).await);
    });
}

fn a_wrong_password_is_refused(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let url = server.url().replace("dopq-test", "wrong");
        let refused = Store::open(Options::Redis(RedisOptions::new(url, "c"))).await;
        let error = refused.expect_err("it is wrong");
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let nobody = RedisOptions::new("redis://:x@127.0.0.1:1", "c");
        let error = Store::open(Options::Redis(nobody))
            .await
            .expect_err("nobody listens");
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    });
}

/// The rights of the account `dopq`, from the line that the documentation gives to administrators.
fn documented_rights(cluster: &str) -> Vec<String> {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
    let text = std::fs::read_to_string(docs).expect("the documentation");
    let from = text.find("ACL SETUSER dopq").expect("the account's line");
    let line = text
        .split_at(from)
        .1
        .split("```")
        .next()
        .unwrap_or_default();
    let line = line
        .replace("\\\n", " ")
        .replace("NAME", cluster)
        .replace("PASSWORD", "narrow");
    line.split_whitespace().map(str::to_owned).collect()
}

fn a_narrow_account_is_enough(runtime: &Runtime, server: &mut Redis) {
    let rights = documented_rights("narrow");
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    server.command(&rights);
    let url = server.url().replace(":dopq-test@", "dopq:narrow@");
    let options = |cluster: &str| Options::Redis(RedisOptions::new(url.clone(), cluster));
    runtime.block_on(async {
        let store = open(options("narrow")).await;
        let epoch = lead(&store, "m1").await;
        commit(&store, &with_job(epoch, 1, 1)).await;
        commit(&store, &super::suite::full(epoch, 2)).await;
        assert_eq!(
            contents(&store).await,
            contents(&open(options("narrow")).await).await
        );
        assert!(!store.audit(9).await.expect("it answers").is_empty());
        store
            .release_lead(&master("m1"), epoch)
            .await
            .expect("it answers");
        // Another cluster's keys are out of its reach.
        let refused = Store::open(options("other")).await;
        let error = refused.expect_err("out of reach").to_string();
        assert!(error.contains("NOPERM"), "{error}");
    });
    // Every right is needed, and its absence is told at the start.
    for command in ["time", "zrange", "rpush", "ltrim", "del"] {
        server.command(&["ACL", "SETUSER", "dopq", &format!("-{command}")]);
        let refused = runtime.block_on(Store::open(options("narrow")));
        let error = refused.expect_err(command).to_string();
        assert!(error.contains(&command.to_uppercase()), "{error}");
        server.command(&["ACL", "SETUSER", "dopq", &format!("+{command}")]);
    }
}

/// Redis keeps what a script wrote before it failed.
fn a_commit_that_fails_half_way_is_not_done(runtime: &Runtime, server: &mut Redis) {
    let rights = documented_rights("half");
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    let url = server.url().replace(":dopq-test@", "dopq:narrow@");
    let used = [
        "time",
        "set",
        "zadd",
        "zrem",
        "hset",
        "exists",
        "zscore",
        "zcard",
        "zrangebyscore",
        "del",
        "rpush",
        "ltrim",
    ];
    for command in used {
        server.command(&["ACL", "DELUSER", "dopq"]);
        server.command(&rights);
        server.command(&["EVAL", "for _, key in ipairs(redis.call('KEYS', 'dopq:{half}:*')) do redis.call('DEL', key) end", "0"]);
        runtime.block_on(async {
            let store = open(Options::Redis(RedisOptions::new(url.clone(), "half"))).await;
            let epoch = lead(&store, "m1").await;
            commit(&store, &with_job(epoch, 1, 1)).await;
            let batch = super::suite::full(epoch, 2);
            server.command(&["ACL", "SETUSER", "dopq", &format!("-{command}")]);
            for _ in 0..2 {
                let failed = store.commit(&batch).await;
                assert!(
                    matches!(failed, Err(Error::Refused { .. })),
                    "{command}: {failed:?}"
                );
                assert_eq!(store.seq().await.expect("it answers"), 1, "{command}");
            }
            server.command(&["ACL", "SETUSER", "dopq", &format!("+{command}")]);
            // The same again completes it, and once more changes nothing.
            commit(&store, &batch).await;
            let whole = contents(&store).await;
            commit(&store, &batch).await;
            assert_eq!(contents(&store).await, whole, "{command}");
            assert_eq!(store.seq().await.expect("it answers"), 2);
        });
    }
}

fn only_a_known_certificate_is_trusted(runtime: &Runtime, _server: &mut Redis) {
    let certificates = Certificates::make();
    let port = free_port().to_string();
    let path = |path: PathBuf| path.display().to_string();
    let _server = Redis::with_settings(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path(certificates.server()),
        "--tls-key-file",
        &path(certificates.key()),
        "--tls-ca-cert-file",
        &path(certificates.ca()),
        "--tls-auth-clients",
        "no",
    ]);
    runtime.block_on(async {
        let options = |host: &str, ca_pem: Option<String>| {
            let url = format!("rediss://:dopq-test@{host}:{port}");
            let mut options = RedisOptions::new(url, "c");
            options.ca_pem = ca_pem;
            Options::Redis(options)
        };
        let ca_pem = certificates.ca_pem();
        let store = open(options("127.0.0.1", Some(ca_pem.clone()))).await;
        let epoch = lead(&store, "m1").await;
        commit(&store, &with_job(epoch, 1, 1)).await;
        for (what, refused) in [
            ("an unknown authority", options("127.0.0.1", None)),
            ("another's name", options("localhost", Some(ca_pem))),
        ] {
            let error = Store::open(refused).await.expect_err(what);
            assert!(matches!(error, Error::Unavailable(_)), "{what}: {error:?}");
        }
    });
}

fn a_redis_that_loses_data_is_refused(runtime: &Runtime, _server: &mut Redis) {
    for (settings, word) in [
        (["--appendonly", "no"], "append-only"),
        (["--maxmemory-policy", "allkeys-lru"], "noeviction"),
        (["--appendfsync", "no"], "appendfsync"),
    ] {
        let careless = Redis::with_settings(&settings);
        runtime.block_on(async {
            let mut options = RedisOptions::new(careless.url(), "c");
            let refused = Store::open(Options::Redis(options.clone())).await;
            let error = refused.expect_err("it loses data").to_string();
            assert!(error.contains(word), "{error}");
            options.require_durability = false;
            drop(open(Options::Redis(options)).await);
        });
    }
}

fn a_full_redis_refuses_and_goes_on(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let store = open(redis_options(server, "full")).await;
        let epoch = lead(&store, "m1").await;
        commit(&store, &with_job(epoch, 1, 1)).await;
        server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
        let refused = store.commit(&with_job(epoch, 2, 2)).await;
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        match refused {
            Err(Error::Refused { why }) => assert!(why.contains("OOM"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.seq().await.expect("it answers"), 1);
        commit(&store, &with_job(epoch, 2, 2)).await;
    });
}

fn a_frozen_redis_is_unavailable(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let mut options = RedisOptions::new(server.url(), "frozen");
        options.timeout = Duration::from_millis(300);
        let store = open(Options::Redis(options)).await;
        let epoch = lead(&store, "m1").await;
        commit(&store, &with_job(epoch, 1, 1)).await;
        server.signal("STOP");
        let batch = with_job(epoch, 2, 2);
        let frozen = store.commit(&batch).await;
        assert!(matches!(frozen, Err(Error::Unavailable(_))), "{frozen:?}");
        let unknown = store.seq().await;
        assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
        server.signal("CONT");
        // The frozen commit may have been written since; the same again is harmless either way.
        commit(&store, &batch).await;
        assert_eq!(contents(&store).await.len(), 2);
        commit(&store, &with_job(epoch, 3, 3)).await;
    });
}

fn a_killed_redis_has_lost_nothing(runtime: &Runtime, server: &mut Redis) {
    let (store, epoch, before) = runtime.block_on(async {
        let store = open(redis_options(server, "killed")).await;
        let epoch = lead(&store, "m1").await;
        for seq in 1..=50 {
            commit(&store, &with_job(epoch, seq, seq)).await;
        }
        let before = contents(&store).await;
        (store, epoch, before)
    });
    server.kill();
    runtime.block_on(async {
        let down = store.commit(&with_job(epoch, 51, 51)).await;
        assert!(matches!(down, Err(Error::Unavailable(_))), "{down:?}");
    });
    server.start_again();
    runtime.block_on(async {
        // The handle finds its way back by itself.
        soon("Redis to be back", async {
            while store.seq().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(contents(&store).await, before);
        assert!(
            store
                .renew_lead(&master("m1"), epoch, Duration::from_secs(9))
                .await
                .expect("it answers")
        );
        commit(&store, &with_job(epoch, 51, 51)).await;
    });
}

fn a_wiped_redis_is_noticed(runtime: &Runtime, server: &mut Redis) {
    runtime.block_on(async {
        let store = open(redis_options(server, "wiped")).await;
        let epoch = lead(&store, "m1").await;
        commit(&store, &with_job(epoch, 1, 1)).await;
        server.command(&["FLUSHALL"]);
        let fenced = store.commit(&with_job(epoch, 2, 2)).await;
        assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
        let renewed = store
            .renew_lead(&master("m1"), epoch, Duration::from_secs(9))
            .await;
        assert!(!renewed.expect("it answers"));
        // Workers refuse orders of an epoch that they have seen a later one of.
        let again = lead(&store, "m1").await;
        assert!(again > epoch, "{again} after {epoch}");
        commit(&store, &with_job(again, 1, 1)).await;
    });
}

fn texts(value: &Value) -> Vec<String> {
    redis::from_redis_value(value.clone()).expect("a list of texts")
}
