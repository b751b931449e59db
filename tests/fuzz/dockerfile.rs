//! The static check of a Dockerfile.

use dopq_common::bundle::dockerfile;

use crate::dice::Dice;
use crate::run::Target;

/// A quarter of the largest Dockerfile that is read (`Limits::dockerfile_bytes`): a program without optimisation reads
/// each version of so much in well below the second that a case may take.
const MAX_BYTES: usize = 1 << 18;

#[test]
fn dockerfiles() {
    // Forty lines that name 2^40 bytes.
    let mut bomb = "ARG A0=aaaaaaaaaa\n".to_owned();
    for at in 1..40 {
        bomb += &format!("ARG A{at}=$A{prev}$A{prev}\n", prev = at - 1);
    }
    bomb += "FROM $A39\n";
    let chain: String = (0..40_000).map(|at| format!("ARG A{at}=x\n")).collect();
    Target {
        name: "dockerfile",
        test: "dockerfile::dockerfiles",
        corpus: vec![
            b"FROM python:3.12 AS base\nRUN pip install x\nFROM base\nCOPY --from=base /a /b\n"
                .to_vec(),
            bomb.into_bytes(),
            format!("{chain}FROM ${{A1:-${{A2:-x}}}}\n").into_bytes(),
            format!("FROM {}\n", "${A:-".repeat(100_000)).into_bytes(),
            "FROM a AS b\nFROM b\n".repeat(20_000).into_bytes(),
            "RUN <<A <<B\nx\nA\ny\nB\n".repeat(10_000).into_bytes(),
            "RUN a \\\n".repeat(120_000).into_bytes(),
            "COPY --from=a --from=b ".repeat(40_000).into_bytes(),
            "ONBUILD ".repeat(130_000).into_bytes(),
        ],
        generate,
        check,
        max_bytes: MAX_BYTES,
    }
    .run();
}

const WORDS: [&str; 36] = [
    "FROM",
    "ARG",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "WORKDIR",
    "ONBUILD",
    "USER",
    "HEALTHCHECK",
    "scratch",
    "python:3.12",
    "AS base",
    "base",
    "--from=base",
    "--from=0",
    "--platform=$BUILDPLATFORM",
    "--mount=type=cache,target=/c",
    "--mount=type=bind,from=base",
    "--mount=type=secret,id=x",
    "$A",
    "${A}",
    "${A:-b}",
    "${A:+b}",
    "${A#b}",
    "A=b",
    "A=\"b c\"",
    "\\\n",
    "`\n",
    "<<EOF\nx\nEOF",
    "# syntax=docker/dockerfile:1\n",
    "# escape=`\n",
    "/proc/self/fd/8",
    "http://169.254.169.254/",
    "[\"sh\", \"-c\"]",
    "sha256:aa",
];

fn generate(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..dice.length(20_000) {
        text += dice.pick(&WORDS);
        text += dice.pick(&[" ", " ", "\n", "\r\n", "\t", ""]);
    }
    text.into_bytes()
}

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let faults = dockerfile::check(&text, "Dockerfile");
    drop(dockerfile::for_old_frontend(&text));
    let built_in = dockerfile::for_builtin_frontend(&text);
    assert!(
        built_in.len() <= 2 * text.len() + 100,
        "{} bytes",
        built_in.len()
    );
    assert!(faults.len() <= 101);
    for fault in &faults {
        let text = fault.to_string();
        assert!(
            text.len() < 100_000 && !text.contains(char::is_control),
            "{text}"
        );
    }
}
