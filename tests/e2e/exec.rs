//! `dopq exec`: commands in running containers, over RabbitMQ between processes.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, LiveStream, amqp};
use dopq_common::wire::topic;
use dopq_tests::bundle::Bundle;
use dopq_tests::cli::{Answer, Cli};
use dopq_tests::wait_for;
use serde_json::json;

use crate::cluster::Cluster;

/// Bytes of every kind, more than all windows and buffers on the way hold.
const BYTES: usize = 10 << 20;

/// Submits a job of `user` that sleeps, and waits until it runs.
fn sleeper(cli: &Cli, user: &str) -> u64 {
    let job = cli.submit(Bundle::script(user, "sleeper", "sleep 1000").path());
    wait_for("the job to run", Duration::from_secs(60), || {
        (cli.job(job)["state"] == json!("running")).then_some(())
    });
    job
}

/// Runs a command with `input` as its standard input.
fn with_input(cli: &Cli, arguments: &[&str], input: &[u8]) -> Answer {
    let mut child = cli
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dopq runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends early reads no more.
            drop(stdin.write_all(input));
        });
        child.wait_with_output().expect("it ends")
    });
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_command_in_a_container_is_like_one_here() {
    let cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let (anna, bert) = (admin.add_user("anna"), admin.add_user("bert"));
    let job = sleeper(&anna, "anna");
    let id = job.to_string();

    let script = "echo out; echo err >&2; exit 7";
    let answer = anna.run(&["exec", &id, "sh", "-c", script]);
    let got = (answer.code, answer.text(), answer.stderr.as_str());
    assert_eq!(got, (7, "out\n".to_owned(), "err\n"));
    let script = "echo $A; pwd";
    let answer = anna.run(&["exec", "-e", "A=b c", "-w", "/bin", &id, "sh", "-c", script]);
    assert_eq!(answer.ok().text(), "b c\n/bin\n");
    let answer = anna.run(&["exec", &id, "no-such-command"]);
    assert!((126..=127).contains(&answer.code), "{answer:?}");

    let byte = |n: usize| u8::try_from((n * 7 + n / 251) % 256).expect("a byte");
    let sent: Vec<u8> = (0..BYTES).map(byte).collect();
    let answer = with_input(&anna, &["exec", "-i", &id, "cat"], &sent);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(
        answer.stdout == sent,
        "{} bytes came back",
        answer.stdout.len()
    );
    // One that reads nothing does not hold anybody up.
    let answer = with_input(&anna, &["exec", "-i", &id, "true"], &sent);
    assert_eq!(answer.code, 0, "{}", answer.stderr);

    drop(
        anna.run(&["exec", "-d", &id, "sh", "-c", "sleep 1; echo 1 > /detached"])
            .ok(),
    );
    wait_for("the detached command", Duration::from_secs(20), || {
        (anna.run(&["exec", &id, "cat", "/detached"]).code == 0).then_some(())
    });

    let answer = bert.run(&["exec", &id, "true"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(
        answer.stderr.contains("another user's"),
        "{}",
        answer.stderr
    );
    for (cli, argument, names) in [
        (&anna, "--privileged", "only admins"),
        (&admin, "--privileged", "exec.privileged"),
        (&anna, "--user=root", "exec.users"),
    ] {
        let answer = cli.run(&["exec", argument, &id, "true"]);
        assert_eq!(answer.code, 4, "{answer:?}");
        assert!(answer.stderr.contains(names), "{}", answer.stderr);
    }
    let lines = admin.json(&["audit"]).to_string();
    assert!(lines.contains("no-such-command"), "{lines}");
    assert!(
        !lines.contains("A=b c"),
        "the environment may hold secrets: {lines}"
    );
    let waits = anna.submit(Bundle::script("anna", "waits", "true").path());
    let answer = anna.run(&["exec", &waits.to_string(), "true"]);
    assert_eq!(answer.code, 6, "{answer:?}");
}

#[test]
fn a_terminal_has_a_size_and_a_session_ends_with_its_job() {
    let cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let job = sleeper(&admin, "admin");
    let id = job.to_string();

    // `script` gives the command a terminal.
    let exec = admin.command(&["exec", "-it", &id, "sh", "-c", "sleep 1; stty size; exit 5"]);
    let words = std::iter::once(exec.get_program()).chain(exec.get_args());
    let words: Vec<_> = words
        .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
        .collect();
    let line = format!("stty rows 33 cols 77; {}", words.join(" "));
    let mut script = Command::new("script");
    for (name, value) in exec.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("33 77"), "{text}");
    assert_eq!(output.status.code(), Some(5), "{text}");

    let running = admin
        .command(&["exec", &id, "sh", "-c", "echo begun; sleep 500"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dopq runs");
    wait_for("the command to run", Duration::from_secs(20), || {
        let ps = admin.run(&["exec", &id, "ps"]).ok().text();
        ps.contains("sleep 500").then_some(())
    });
    drop(admin.run(&["cancel", &id]).ok());
    let output = running.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{told}");
    assert!(
        told.contains(&format!("job {id} ended: cancelled")),
        "{told}"
    );
    assert_eq!(output.stdout, b"begun\n");
}

#[test]
fn a_command_ends_with_its_session() {
    let cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let job = sleeper(&admin, "admin");
    let id = job.to_string();
    let ps = || admin.run(&["exec", &id, "ps"]).ok().text();
    let mut running = admin
        .command(&["exec", &id, "sleep", "501"])
        .spawn()
        .expect("dopq runs");
    wait_for("the command to run", Duration::from_secs(20), || {
        ps().contains("sleep 501").then_some(())
    });
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    wait_for("the command to end", Duration::from_secs(20), || {
        (!ps().contains("sleep 501")).then_some(())
    });
}

#[test]
fn what_no_master_says_now_opens_nothing() {
    let cluster = Cluster::start(&[("gpu-a", 1)]);
    let admin = cluster.admin();
    let job = sleeper(&admin, "admin");
    let id = job.to_string();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let worker = "gpu-a".parse().expect("a name");
    let into = topic::into_sessions(&worker);
    let mut options = amqp::Options::new(cluster.rabbit_url(), cluster.name.clone(), "thief");
    options.prefix.clone_from(&cluster.name);
    let broker =
        runtime.block_on(async { Broker::Amqp(amqp::Broker::open(options).expect("opens")) });
    let (mut heard, mut answers) = runtime.block_on(async {
        let heard = broker.subscribe_live(&[&into]).await.expect("open");
        let answers = broker.subscribe_live(&["out.#"]).await.expect("open");
        (heard, answers)
    });

    let script = "echo once >> /count";
    drop(admin.run(&["exec", &id, "sh", "-c", script]).ok());
    let recorded = runtime.block_on(all(&mut heard));
    assert!(recorded.len() >= 2, "{} messages", recorded.len());
    assert!(runtime.block_on(all(&mut answers)).len() >= 3);

    runtime.block_on(async {
        for message in &recorded {
            broker
                .publish_live(&into, message.clone())
                .await
                .expect("open");
        }
    });
    let answered = runtime.block_on(all(&mut answers)).len();
    assert_eq!(answered, 1, "only a new nonce, which no recording fits");
    runtime.block_on(async {
        let opening = String::from_utf8_lossy(&recorded[0]).into_owned();
        let changed = opening.replacen("once", "more", 1);
        assert_ne!(opening, changed);
        let (_, body) = opening.split_once('\n').expect("a line");
        for forged in [changed.as_str(), body, ""] {
            let forged = Bytes::from(forged.to_owned());
            broker.publish_live(&into, forged).await.expect("open");
        }
    });
    let answered = runtime.block_on(all(&mut answers)).len();
    assert_eq!(answered, 0, "what is not sealed is not even answered");
    let count = admin.run(&["exec", &id, "cat", "/count"]).ok().text();
    assert_eq!(count, "once\n");
    runtime.block_on(broker.close());
}

/// What arrives until a second passes without.
async fn all(stream: &mut LiveStream) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(1), stream.next()).await
    {
        messages.push(message.body);
    }
    messages
}
