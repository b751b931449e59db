//! `.dockerignore` files.

use dopq_common::bundle::ignore::Ignore;

use crate::dice::Dice;
use crate::run::Target;

#[test]
fn ignore_files() {
    Target {
        name: "ignore",
        test: "ignore::ignore_files",
        corpus: vec![
            b"# data\n*.ckpt\n!last.ckpt\n**/__pycache__\n/data/[a-c]?/**\n".to_vec(),
            "*".repeat(60_000).into_bytes(),
            "**/".repeat(20_000).into_bytes(),
            "*a".repeat(30_000).into_bytes(),
            "?*[!a-z]".repeat(8_000).into_bytes(),
            "!a\n".repeat(20_000).into_bytes(),
        ],
        generate,
        check,
        max_bytes: 64 << 10,
    }
    .run();
}

const PARTS: [&str; 24] = [
    "a",
    "b.txt",
    "*",
    "**",
    "**/",
    "?",
    "[a-c]",
    "[!a]",
    "[^a]",
    "[",
    "]",
    "[]",
    "-",
    "\\",
    "/",
    "..",
    ".",
    "!",
    "#",
    " ",
    "\n",
    "\r\n",
    "caf\u{e9}",
    "\u{feff}",
];

fn generate(dice: &mut Dice) -> Vec<u8> {
    let parts = 0..dice.length(5_000);
    let text: String = parts.map(|_| dice.pick(&PARTS)).collect();
    text.into_bytes()
}

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(ignore) = Ignore::parse(&text) else {
        return;
    };
    let deep = "a/".repeat(100) + "b.txt";
    for path in ["a", "a/b.txt", "caf\u{e9}/[", &deep, &"a".repeat(200)] {
        let covers = ignore.covers(path);
        // What is below something that is left out is left out too, unless a later line takes it back.
        if covers && !ignore.has_exceptions() {
            assert!(ignore.covers(&format!("{path}/below")), "{path}");
        }
    }
}
