//! Two users with hostile bundles on one machine: nothing of the other is read, and nothing of the other is ended.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dopq_tests::bundle::{Bundle, DOCKERFILE};
use dopq_tests::cli::Cli;
use dopq_tests::programs::Standalone;
use dopq_tests::{engine, wait_for};
use serde_json::{Value, json};

/// What nobody but its owner may see anywhere.
const SECRET: &str = "annas-secret-4711";

/// Serves the secret to whoever reaches it, and ends when it is told.
const VICTIM: &str = "
cat /secret > /outdir/secret; cat /secret; hostname -i
while :; do cat /secret | nc -l -p 7777; done &
i=0; while [ ! -e /outdir/go ] && [ $i -lt 1200 ]; do i=$((i+1)); sleep 0.1; done
echo unharmed
";

/// What a job of the other user tries against the machine and the victim. `$1` is the victim's address.
const ATTACK: &str = "
victim=$(cat /victim)
echo begin
nc -w 3 $victim 7777 </dev/null; echo nc: $?
arping -c 1 -I eth0 $victim; echo arping: $?
ip neigh add $victim lladdr 02:42:ac:11:00:99 dev eth0; echo neigh: $?
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'
cat /proc/1/root/secret /proc/self/cwd/../secret
ls /outdir/.. /outdir/../..
ls -R /imgdir
mount -t proc proc /mnt; echo mount: $?
mknod /disk b 254 0; echo mknod: $?
echo b > /proc/sysrq-trigger; echo sysrq: $?
ln -s /proc/1/root/secret /outdir/proc; ln -s ../../anna /outdir/up; ln -s /var/lib/docker /outdir/docker
mkdir /outdir/d && ln -s ../../.. /outdir/d/up
kill -9 -1
echo end
";

/// All that `cli` can learn of its own job: its log, its state, its results.
fn learnt(cli: &Cli, id: u64) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("results");
    let fetched = cli.run(&[
        "fetch",
        &id.to_string(),
        "--into",
        target.to_str().expect("UTF-8"),
    ]);
    let log = cli.run(&["logs", &id.to_string()]);
    let shown = cli.run(&["show", &id.to_string(), "--output", "json"]);
    [
        log.text(),
        log.stderr,
        shown.text(),
        fetched.stderr,
        files(&target),
    ]
    .concat()
}

/// The content of all files below `folder`; links are not followed.
fn files(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return String::new();
    };
    let contents = entries.flatten().map(|entry| {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_symlink() {
            let to = fs::read_link(&path).expect("a link");
            panic!("{} leads to {}", path.display(), to.display());
        }
        if kind.is_dir() {
            files(&path)
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned()
        }
    });
    contents.collect()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    let output = output.expect("docker runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A bundle of eve's whose Dockerfile goes on with `lines`.
fn eves(name: &str, lines: &str) -> Bundle {
    let bundle =
        Bundle::script("eve", name, "cat /found /m/secret; true").with("num_gpus", json!(0));
    let dockerfile =
        format!("{DOCKERFILE}COPY run.sh /run.sh\n{lines}\nCMD [\"/bin/sh\", \"/run.sh\"]\n");
    bundle.file("Dockerfile", dockerfile.as_bytes());
    bundle
}

/// Every way by which a bundle of eve's may name anna's image, caches or secrets. The version in the image's name is 128
/// bits that nobody is told, so what eve can know is the repository.
fn hostile_builds(image: &str, name: &str) -> Vec<(String, Bundle)> {
    let id = image.trim_start_matches("sha256:");
    let (repository, _) = name.split_once(':').expect("a tag");
    let mut builds = Vec::new();
    let latest = format!("{repository}:latest");
    let short = id.get(..12).expect("an id");
    for of in [image, id, short, repository, &latest] {
        builds.push((
            format!("COPY --from={of}"),
            format!("COPY --from={of} /secret /found"),
        ));
        let mount = format!("RUN --mount=type=bind,from={of},target=/m cat /m/secret > /found");
        builds.push((format!("a bind mount of {of}"), mount));
    }
    for lines in [
        "RUN --mount=type=cache,id=shared,target=/c cat /c/secret > /found; ls -R /c",
        "RUN --mount=type=cache,id=../shared,target=/c cat /c/secret > /found; ls -R /c",
        "RUN --mount=type=cache,target=/cache,sharing=locked cat /cache/secret > /found; ls -R /cache",
        "RUN --mount=type=secret,id=token cat /run/secrets/* > /found; ls -R /run",
        "RUN cat /proc/1/root/secret /proc/*/environ > /found; find / -name secret -exec cat {} +",
    ] {
        builds.push((lines.to_owned(), lines.to_owned()));
    }
    builds
        .into_iter()
        .enumerate()
        .map(|(n, (what, lines))| (what, eves(&format!("build-{n}"), &lines)))
        .collect()
}

#[test]
fn two_users_get_nothing_of_each_other() {
    let master = Standalone::start(4);
    let admin = master.admin();
    let (anna, eve) = (admin.add_user("anna"), admin.add_user("eve"));

    // Anna's image, cache, results and running job hold the secret.
    let victim = Bundle::script("anna", "victim", VICTIM).with("num_gpus", json!(0));
    victim.file("secret", SECRET.as_bytes());
    let lines = "COPY secret run.sh /\nRUN --mount=type=cache,id=shared,target=/c \
                 --mount=type=cache,target=/cache cp /secret /c/ && cp /secret /cache/";
    let dockerfile = format!("{DOCKERFILE}{lines}\nCMD [\"/bin/sh\", \"/run.sh\"]\n");
    victim.file("Dockerfile", dockerfile.as_bytes());
    let job = anna.submit(victim.path());
    wait_for("anna's job to run", Duration::from_secs(120), || {
        let log = anna.run(&["logs", &job.to_string(), "--source", "stdout"]);
        log.text().contains(SECRET).then_some(())
    });
    let container = engine::containers(&master.cluster, false).remove(0).name;
    // The container may use a network that was ready before it; then another one has the address.
    let network = docker(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", &container]);
    let address = docker(&[
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        network.strip_prefix("container:").unwrap_or(&container),
    ]);
    let image = docker(&["inspect", "-f", "{{.Image}}", &container]);
    let name = docker(&["inspect", "-f", "{{index .RepoTags 0}}", &image]);
    assert!(
        address.contains('.') && name.contains(':'),
        "{address} {name}"
    );

    let (_, version) = name.split_once(':').expect("a tag");

    // Over the API everybody sees that there is a job, and nothing of what it is given, prints or leaves.
    let bundle = anna.job(job)["bundle"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let number = job.to_string();
    for command in [
        &["logs", &number][..],
        &["fetch", &number],
        &["cancel", &number],
        &["hold", &number],
        &["explain", &number],
        &["retry", &number],
        &["prune", &number],
    ] {
        let answer = eve.run(command);
        assert_eq!(
            answer.code,
            3,
            "{command:?}: {}{}",
            answer.text(),
            answer.stderr
        );
        assert!(!answer.text().contains(SECRET));
    }
    assert_eq!(
        with_the_bundle_of_another(&master.url(), &eve, &bundle),
        404
    );
    for list in [&["ps"][..], &["queue"], &["nodes"], &["show", &number]] {
        let command = [list, &["--output", "json"]].concat();
        let answer = eve.run(&command).ok().text();
        assert!(
            !answer.contains(&bundle) && !answer.contains(SECRET),
            "{list:?}: {answer}"
        );
    }

    // Images by id and by name; caches and secrets of the same names.
    let mut jobs: Vec<(String, u64)> = Vec::new();
    let short = image.get(7..19).expect("an id");
    for of in [image.as_str(), short, name.as_str()] {
        let named = Bundle::script("eve", "named", "").with("num_gpus", json!(0));
        named.config(&json!({
            "name": "named", "executor_name": "eve", "required_memory": "64m", "num_gpus": 0,
            "build_flag": false, "image": of, "command": ["/bin/busybox", "cat", "/secret"]
        }));
        let answer = eve.run(&[
            "submit",
            named.path().to_str().expect("UTF-8"),
            "--output",
            "json",
        ]);
        if answer.code == 0 {
            let id = answer.json()["id"].as_u64().expect("an id");
            jobs.push((format!("image: {of}"), id));
        }
    }
    for (what, bundle) in hostile_builds(&image, &name) {
        let path = bundle.path().to_str().expect("UTF-8").to_owned();
        let answer = eve.run(&["submit", &path, "--output", "json"]);
        if answer.code == 0 {
            jobs.push((what, answer.json()["id"].as_u64().expect("an id")));
        }
    }
    let attack = Bundle::script("eve", "attack", ATTACK).with("num_gpus", json!(0));
    attack.file("victim", address.as_bytes());
    let dockerfile = format!("{DOCKERFILE}COPY run.sh victim /\nCMD [\"/bin/sh\", \"/run.sh\"]\n");
    attack.file("Dockerfile", dockerfile.as_bytes());
    let attack = eve.submit(attack.path());
    jobs.push(("the attack".to_owned(), attack));
    for (what, id) in &jobs {
        drop(eve.finished(*id));
        let learnt = learnt(&eve, *id);
        assert!(!learnt.contains(SECRET), "{what}: {learnt}");
        if !what.contains(version) {
            assert!(!learnt.contains(version), "{what}: {learnt}");
        }
    }
    let log = eve.run(&["logs", &attack.to_string()]).ok().text();
    for line in ["begin", "nc: 1", "mount: 1", "mknod: 1"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    for line in ["arping: 0", "neigh: 0", "sysrq: 0"] {
        assert!(!log.contains(line), "{line}: {log}");
    }

    // Anna's job was not touched, and its results are hers.
    assert_eq!(anna.job(job)["state"], "running");
    docker(&["exec", &container, "/bin/busybox", "touch", "/outdir/go"]);
    let end: Value = anna.finished(job);
    assert_eq!(end["outcome"]["cause"], "succeeded", "{end:#}");
    let hers = learnt(&anna, job);
    assert!(hers.contains("unharmed") && hers.contains(SECRET), "{hers}");
}

/// The status that eve gets for a job with a bundle of which she knows only the digest.
fn with_the_bundle_of_another(url: &str, eve: &Cli, digest: &str) -> u16 {
    let body = json!({"bundle": digest, "overrides": {"executor_name": "eve"}});
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let request = reqwest::Client::new().post(format!("{url}/v1/jobs"));
        let request = request
            .bearer_auth(eve.token())
            .header("idempotency-key", "stolen")
            .header("content-type", "application/json")
            .body(body.to_string());
        request.send().await.expect("an answer").status().as_u16()
    })
}
