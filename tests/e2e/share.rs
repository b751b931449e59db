//! A share with two hundred zips, twenty of them bad in different ways, some still being copied, and the
//! master killed in the middle: 180 jobs, 20 rejections each with its own reason, no file vanished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::programs::Standalone;
use dopq_tests::s3::S3;
use dopq_tests::wait_for;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use serde_json::{Value, json};

const GOOD: usize = 180;
const USER: &str = "anna";

fn good(n: usize) -> Bundle {
    // A few different images among many jobs, as on a real share.
    Bundle::script(USER, &format!("job-{}", n % 6), &format!("echo {}", n % 6))
}

fn zipped(bundle: &Bundle) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::read(bundle.zip_to(&folder.path().join("bundle.zip"))).expect("a zip")
}

/// A zip made entry by entry, so that it can be wrong.
fn crafted(write: impl FnOnce(&mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default();
    for (name, content) in [
        (
            "container_config.json",
            json!({"name": "job", "executor_name": USER}).to_string(),
        ),
        ("Dockerfile", "FROM scratch\n".to_owned()),
    ] {
        zip.start_file(name, plain).expect("an entry");
        zip.write_all(content.as_bytes()).expect("content");
    }
    write(&mut zip);
    zip.finish().expect("a zip").into_inner()
}

fn with_file(name: &str) -> Vec<u8> {
    crafted(|zip| {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .expect("an entry");
    })
}

fn with_config(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let bundle = good(0);
    let mut config =
        json!({"name": "job", "executor_name": USER, "required_memory": "64m", "num_gpus": 1});
    change(&mut config);
    bundle.config(&config);
    zipped(&bundle)
}

fn with_config_text(text: &str) -> Vec<u8> {
    let bundle = good(0);
    bundle.file("container_config.json", text.as_bytes());
    zipped(&bundle)
}

/// Twenty zips, each bad in a way of its own, with a rule that must be named.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let whole = zipped(&good(0));
    let without = |name: &str| {
        let bundle = good(0);
        fs::remove_file(bundle.path().join(name)).expect("the file was there");
        zipped(&bundle)
    };
    let mut encrypted = whole.clone();
    // The general purpose flags of the first local header and of its central twin.
    encrypted[6] |= 1;
    let central = encrypted
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .expect("a directory");
    encrypted[central + 8] |= 1;
    vec![
        ("no-zip", b"this is no zip at all".to_vec()),
        ("empty", Vec::new()),
        ("cut-short", whole[..whole.len() / 2].to_vec()),
        ("trailing-bytes", [&whole[..], b"and more"].concat()),
        ("encrypted", encrypted),
        ("escapes", with_file("../../etc/cron.d/evil")),
        ("absolute", with_file("/etc/passwd")),
        ("drive", with_file("C:\\evil")),
        ("case-twins", with_file("DOCKERFILE")),
        (
            "symlink",
            crafted(|zip| {
                zip.add_symlink(
                    "link",
                    "/etc/passwd",
                    zip::write::SimpleFileOptions::default(),
                )
                .expect("a link");
            }),
        ),
        ("no-config", without("container_config.json")),
        ("no-dockerfile", without("Dockerfile")),
        ("no-json", with_config_text("{\"name\": ")),
        (
            "twice-the-same-key",
            with_config_text("{\"name\": \"job\", \"name\": \"bob\", \"executor_name\": \"anna\"}"),
        ),
        (
            "unknown-field",
            with_config(|config| config["num_gpu"] = json!(1)),
        ),
        (
            "name-too-short",
            with_config(|config| config["name"] = json!("ab")),
        ),
        (
            "not-anna",
            with_config(|config| config["executor_name"] = json!("berta")),
        ),
        (
            "privileged",
            with_config(|config| config["run_params"] = json!({"privileged": true})),
        ),
        (
            "mounts",
            with_config(|config| config["run_params"] = json!({"volumes": ["/:/host"]})),
        ),
        (
            TOO_LARGE,
            with_config(|config| config["num_gpus"] = json!(64)),
        ),
    ]
}

/// The bad bundle that asks for more GPUs than any machine has.
const TOO_LARGE: &str = "too-many-gpus";

async fn names(store: &dyn ObjectStore, prefix: &str) -> BTreeSet<String> {
    let listed: Vec<_> = store
        .list(Some(&Path::from(prefix)))
        .try_collect()
        .await
        .expect("a listing");
    listed
        .into_iter()
        .map(|object| object.location.to_string())
        .collect()
}

/// Puts everything on the share, kills the master in the middle, and checks what became of each file.
fn fill_and_check(
    store: &Arc<dyn ObjectStore>,
    ingest_url: &str,
    settings: &[(&str, &str)],
    first: usize,
    meanwhile: &dyn Fn(),
) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let put = |name: &str, content: Vec<u8>| {
        let path = Path::from(format!("incoming/{USER}/{name}.zip"));
        runtime
            .block_on(store.put(&path, content.into()))
            .expect("the share takes it");
    };
    let variants: Vec<_> = (0..6).map(|n| zipped(&good(n))).collect();
    let bad = bad();
    assert_eq!(bad.len(), 20);
    // What no machine can run is only refused once a machine is known.
    let at_once: Vec<_> = bad.iter().filter(|(name, _)| *name != TOO_LARGE).collect();
    for n in first..GOOD {
        put(&format!("good-{n:03}"), variants[n % 6].clone());
        if let Some((name, content)) = at_once.get(n / 9).filter(|_| n % 9 == 8) {
            put(&format!("bad-{name}"), content.clone());
        }
    }

    let settings = [
        &[
            ("DOPQ_INGEST_URL", ingest_url),
            ("DOPQ_INGEST_POLL", "200ms"),
        ],
        settings,
    ]
    .concat();
    let mut master = Standalone::start_with(8, &settings);
    meanwhile();
    let admin = master.admin();
    wait_for("the worker", Duration::from_secs(60), || {
        let nodes = admin.json(&["nodes"]);
        (nodes["nodes"][0]["state"] == "up").then_some(())
    });
    for (name, content) in bad.iter().filter(|(name, _)| *name == TOO_LARGE) {
        put(&format!("bad-{name}"), content.clone());
    }
    let done = |pattern: &str| {
        let all = runtime.block_on(async {
            let accepted = names(store.as_ref(), "accepted").await;
            let rejected = names(store.as_ref(), "rejected").await;
            accepted.union(&rejected).cloned().collect::<BTreeSet<_>>()
        });
        all.into_iter()
            .filter(|name| name.ends_with(pattern))
            .count()
    };
    for kill_at in [20, 90] {
        wait_for(
            "the share to be worked through",
            Duration::from_secs(120),
            || (done(".json") >= kill_at).then_some(()),
        );
        master.program.kill();
        master.restart();
    }
    wait_for("every zip to be settled", Duration::from_secs(240), || {
        let incoming = runtime.block_on(names(store.as_ref(), "incoming"));
        let left = incoming
            .iter()
            .filter(|name| name.ends_with(".zip"))
            .count();
        (left == 0).then_some(())
    });

    let rejected = runtime.block_on(names(store.as_ref(), "rejected"));
    let mut reasons = BTreeMap::new();
    for (name, _) in &bad {
        let is = |path: &&String, end: &str| {
            path.contains(&format!("bad-{name}")) && path.ends_with(end)
        };
        assert!(
            rejected.iter().any(|path| is(&path, ".zip")),
            "bad-{name}.zip vanished: {rejected:#?}"
        );
        let reason = rejected.iter().find(|path| is(path, ".reason.json"));
        let reason = reason.unwrap_or_else(|| panic!("no reason for bad-{name}: {rejected:#?}"));
        let text = runtime.block_on(async {
            store
                .get(&Path::from(reason.as_str()))
                .await
                .expect("a reason")
                .bytes()
                .await
                .expect("content")
        });
        let reason: Value = serde_json::from_slice(&text).expect("JSON");
        let told = reason.to_string();
        assert!(reasons.insert((*name).to_owned(), told).is_none());
    }
    let different: BTreeSet<_> = reasons.values().collect();
    assert_eq!(different.len(), 20, "{reasons:#?}");
    let zips = rejected
        .iter()
        .filter(|name| name.ends_with(".zip"))
        .count();
    assert_eq!(zips, 20, "{rejected:#?}");

    let jobs = admin.json(&["ps", "--all", "--user", USER, "--limit", "1000"]);
    let jobs = jobs["jobs"].as_array().expect("jobs").len();
    assert_eq!(jobs, GOOD, "each good zip is one job");
    let accepted = runtime.block_on(names(store.as_ref(), "accepted"));
    let receipts = accepted.iter().filter(|name| name.ends_with(".json"));
    let receipts: Vec<Value> = receipts
        .map(|name| {
            let text = runtime.block_on(async {
                store
                    .get(&Path::from(name.as_str()))
                    .await
                    .expect("a receipt")
                    .bytes()
                    .await
                    .expect("content")
            });
            serde_json::from_slice(&text).expect("JSON")
        })
        .collect();
    let ids: BTreeSet<_> = receipts
        .iter()
        .filter_map(|receipt| receipt["job"].as_u64())
        .collect();
    assert_eq!(ids.len(), GOOD, "each receipt names a job of its own");
}

#[test]
fn two_hundred_zips_on_a_folder() {
    let share = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(share.path()).expect("a local store"));
    let folder = share.path().join("incoming").join(USER);
    fs::create_dir_all(&folder).expect("a folder");
    // The first three are written in small pieces while the master already looks at the share.
    let copy_slowly = || {
        let content = zipped(&good(0));
        let mut files: Vec<_> = (0..3)
            .map(|n| {
                fs::File::create(folder.join(format!("good-{n:03}.zip")))
                    .expect("the share takes it")
            })
            .collect();
        for piece in content.chunks(content.len() / 20 + 1) {
            for file in &mut files {
                file.write_all(piece).expect("the share takes it");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let url = share.path().to_str().expect("UTF-8").to_owned();
    fill_and_check(&store, &url, &[], 3, &copy_slowly);
}

#[test]
fn two_hundred_zips_on_a_real_s3_server() {
    let s3 = S3::start();
    let store: Arc<dyn ObjectStore> = Arc::new(s3.client());
    let environment = s3.environment();
    let settings: Vec<(&str, &str)> = environment
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    fill_and_check(&store, &s3.url(), &settings, 0, &|| ());
}
