//! The commands of the documents, run as a reader would run them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use dopq_tests::bases::Bases;
use dopq_tests::process::binary;
use dopq_tests::programs::Standalone;

/// All blocks of commands, one after the other.
fn commands(document: &str) -> String {
    let mut all = String::new();
    let mut is_inside = false;
    for line in document.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => {
                all.push_str(line);
                all.push('\n');
            }
            _text => {}
        }
    }
    all
}

#[test]
fn the_quickstart_works_as_it_is_written() {
    let _bases = Bases::shared();
    let master = Standalone::start(0);
    let admin = master.admin();
    let added = admin.run(&["user", "add", "anna"]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    let token = admin
        .run(&["user", "token", "add", "anna", "-o", "quiet"])
        .ok();
    let script = commands(include_str!("../../docs/QUICKSTART.md"));
    assert!(script.contains("dopq login"), "{script}");
    let script = script.replace("http://queue.lab:7070", &master.url());

    let home = tempfile::tempdir().expect("a folder");
    let programs = binary("dopq");
    let programs = programs.parent().map(Path::to_owned).expect("a folder");
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").expect("a path")
    );
    let mut shell = Command::new("bash")
        .args(["-xeuo", "pipefail", "-c", &script])
        .current_dir(home.path())
        .env_clear()
        .envs([("PATH", path.as_str()), ("LANG", "C.UTF-8")])
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let mut stdin = shell.stdin.take().expect("piped");
    stdin.write_all(&token.stdout).expect("written");
    drop(stdin);
    let output = shell.wait_with_output().expect("it ends");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
    assert!(
        home.path().join("first-job/results/result.txt").exists(),
        "{told}"
    );
}
