//! What DoPQ decides about a Dockerfile's text before a build.
//!
//! BuildKit decides whether the file builds, and keeps users apart: their caches, layers and images are in name spaces
//! of their own. Here stands only what needs no knowledge of variables or other images: which frontend reads the file,
//! and which instructions builds never allow.

use super::Fault;
use super::fault::{Faults, quote};

mod lower;
mod read;

use read::{Instruction, flags, head, instructions};

/// The images of Docker's own frontend, which a `syntax=` line may name. The engine's built-in frontend is used.
const FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// Records every line of `text` that breaks a rule; `place` is the file's name in the bundle.
#[must_use]
pub fn check(text: &str, place: &str) -> Vec<Fault> {
    let mut faults = Faults::default();
    let text = text.trim_start_matches('\u{feff}');
    let at = |line: usize| format!("{place}: line {line}");
    let head = head(text);
    for directive in head.directives.iter().filter(|d| d.is("syntax")) {
        if !is_docker_s(directive.value) {
            let message = format!(
                "`syntax={}` would load another builder; only docker/dockerfile is allowed",
                quote(directive.value)
            );
            faults.add("dockerfile_syntax", at(directive.line), message);
        }
    }
    // Some builders accept the same directive in a JSON object at the top.
    if head.next.starts_with('{') {
        let message = "it starts with a JSON object";
        faults.add("dockerfile_syntax", at(head.lines + 1), message);
    }
    let escape = head.escape();
    for instruction in instructions(text, escape) {
        judge(&instruction, escape, &at(instruction.line), &mut faults);
    }
    faults.into_list()
}

/// The text for the engine's built-in frontend: no line of it names another. Lines keep their numbers.
#[must_use]
pub fn for_builtin_frontend(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let head = head(text);
    let kept = ["escape", "check"].iter().filter_map(|name| {
        let directive = head.directives.iter().find(|d| d.counts && d.is(name))?;
        Some(format!("# {name}={}\n", directive.value))
    });
    let kept: Vec<String> = kept.collect();
    let blank = head.lines.saturating_sub(kept.len());
    let rest = text.split_inclusive('\n').skip(head.lines);
    kept.into_iter()
        .chain(std::iter::repeat_n("#\n".to_owned(), blank))
        .chain(rest.map(str::to_owned))
        .collect()
}

/// The text for the built-in frontend of an engine before 23.0, which knows no here-documents and no `--link`.
///
/// # Errors
/// The line and what of it such an engine cannot do.
pub fn for_old_frontend(text: &str) -> Result<String, String> {
    lower::lower(&for_builtin_frontend(text))
}

/// The text in which each `RUN` mounts the secrets of these paths there, for all users; not those of `ONBUILD`, which
/// other builds run. A step's own mount in the same place stays. Lines keep their numbers.
#[must_use]
pub fn with_secrets(text: &str, paths: &[String]) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let escape = head(text).escape();
    for instruction in instructions(text, escape) {
        let Some(line) = lines.get_mut(instruction.line - 1) else {
            continue;
        };
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let Some((word, rest)) = rest.split_at_checked("RUN".len()) else {
            continue;
        };
        let ends = rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == escape);
        if !ends || !word.eq_ignore_ascii_case("RUN") {
            continue;
        }
        let (own, _) = flags(instruction.split().1);
        let is_taken = |path: &str| {
            let mut parts = own.iter().flat_map(|flag| flag.split(','));
            parts.any(|part| part.split_once('=').is_some_and(|(_, value)| value == path))
        };
        let free = paths.iter().filter(|path| !is_taken(path));
        let mounts: String = free
            .map(|path| format!(" --mount=type=secret,id={path},target={path},mode=0444"))
            .collect();
        *line = format!("{indent}{word}{mounts}{rest}");
    }
    lines.concat()
}

/// Whether a `syntax=` line names Docker's own frontend, in whatever version.
fn is_docker_s(value: &str) -> bool {
    let image = value.split_whitespace().next().unwrap_or_default();
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = image.split(['@', ':']).next().unwrap_or_default();
    FRONTENDS.contains(&name)
}

fn judge(instruction: &Instruction<'_>, escape: char, place: &str, faults: &mut Faults) {
    let (mut word, mut rest) = instruction.split();
    if word == "ONBUILD" {
        let (next, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        (word, rest) = (next.to_ascii_uppercase(), after.trim_start());
    }
    let (flags, arguments) = flags(rest);
    match word.as_str() {
        "RUN" => {
            for flag in flags {
                let why = match flag.split_once('=').unwrap_or((flag, "")) {
                    ("--security", "insecure") => "builds have no privileges",
                    ("--network", "host") => "the administrator sets the network of builds",
                    ("--mount", mount) if mount.split(',').any(|part| part == "type=ssh") => {
                        "builds have no SSH agent; use a secret"
                    }
                    _ => continue,
                };
                let message = format!("`{}` is not allowed: {why}", quote(flag));
                faults.add("dockerfile_run_flag", place, message);
            }
        }
        "ADD" => {
            if let Some(source) = sources(arguments, escape).iter().find(|s| may_be_remote(s)) {
                let message = format!(
                    "ADD of `{}` is not allowed: the engine would fetch it past the network of builds; \
                     name files of the bundle without variables, or fetch it with RUN",
                    quote(source)
                );
                faults.add("dockerfile_add", place, message);
            }
        }
        _ => {}
    }
}

/// The sources of an `ADD`, without quotes: all words but the last, which is the destination.
fn sources(arguments: &str, escape: char) -> Vec<String> {
    let mut words: Vec<String> = serde_json::from_str(arguments).unwrap_or_else(|_| {
        let plain = |word: &str| word.replace(['"', '\'', escape], "");
        arguments.split_whitespace().map(plain).collect()
    });
    words.pop();
    words
}

/// Whether the builder could take a source for a URL or a repository. A variable can contain anything.
fn may_be_remote(source: &str) -> bool {
    source.contains("://")
        || source.contains('$')
        || source.starts_with("github.com/")
        || (source.contains('@') && source.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(&'static str, String)> {
        let faults = check(text, "Dockerfile");
        faults.into_iter().map(|f| (f.rule, f.place)).collect()
    }

    #[test]
    fn ordinary_files_pass() {
        for text in [
            "",
            "# syntax=docker/dockerfile:1.7-labs\nFROM a",
            "#syntax = docker.io/docker/dockerfile@sha256:00\n# escape=`\nFROM a",
            "FROM python:3.12\n# syntax=later lines are comments\nRUN pip install x\nWORKDIR /work\n",
            "# escape=`\nFROM a\nRUN a `\n  b\nCMD [\"x\"]\n",
            "# a comment = with a sign\nFROM a\nRUN echo --network=host\nRUN tool --security=insecure\n",
            "FROM a\nRUN --mount=type=cache,target=/x --network=none make\nRUN <<E\nADD http://x /\nE",
            "ARG A=python B=3\nFROM ${A:-x}:$B-slim AS build\nFROM abc\nCOPY --from=build $A b",
            "FROM a\nADD a.tar.gz b $HOME/x\nADD [\"a b\", \"/c\"]\nADD --chown=a:b x@y /d\nADD <<E /f\n$x\nE",
        ] {
            assert_eq!(rules(text), [], "{text}");
        }
    }

    #[test]
    fn what_builds_never_allow_is_refused_at_its_line() {
        for (text, rule, line) in [
            ("#   SynTax = evil/front:1\nFROM a", "dockerfile_syntax", 1),
            ("# a\n\n# syntax=x\nFROM a", "dockerfile_syntax", 3),
            ("\u{feff}#syntax=x\nFROM a", "dockerfile_syntax", 1),
            (
                "# a=b\n#!x\n# syntax=docker/dockerfilex",
                "dockerfile_syntax",
                3,
            ),
            ("// syntax=x\nFROM a", "dockerfile_syntax", 1),
            ("# a\n{\"syntax\": \"x\"}", "dockerfile_syntax", 2),
            (
                "FROM a\n\nRUN \\\n# note\n  --security=insecure \\\n a",
                "dockerfile_run_flag",
                3,
            ),
            (
                "# escape=`\nFROM a\nRUN `\n--network=host a",
                "dockerfile_run_flag",
                3,
            ),
            (
                "FROM a\nONBUILD run --mount=id=x,type=ssh a",
                "dockerfile_run_flag",
                2,
            ),
            ("FROM a\nADD http://x/y /", "dockerfile_add", 2),
            (
                "FROM a\nadd --chown=a \"ht\\tp\"://x /",
                "dockerfile_add",
                2,
            ),
            ("FROM a\nADD ht\\\n\ntps://x /", "dockerfile_add", 2),
            (
                "FROM a\nADD [\"\\u0068ttps://x\", \"/\"]",
                "dockerfile_add",
                2,
            ),
            ("FROM a\nADD a ${B} /", "dockerfile_add", 2),
            ("FROM a\nONBUILD ADD git@h:x /", "dockerfile_add", 2),
            (
                "FROM a\nRUN <<E\nE\nADD github.com/a/b /",
                "dockerfile_add",
                4,
            ),
        ] {
            assert_eq!(
                rules(text),
                [(rule, format!("Dockerfile: line {line}"))],
                "{text}"
            );
        }
    }

    #[test]
    fn the_builtin_frontend_sees_no_other_and_the_same_lines() {
        for (text, expected) in [
            ("FROM a", "FROM a"),
            ("# syntax=docker/dockerfile:1\nFROM a\n", "#\nFROM a\n"),
            (
                "\u{feff}# syntax=x\r\n# escape=`\r\n\nFROM a\r\nRUN b",
                "# escape=`\n#\n#\nFROM a\r\nRUN b",
            ),
            ("#!x\n# foo=bar\n# syntax=x\nRUN y", "#\n#\n#\nRUN y"),
            ("# check=error=true\n# syntax=x", "# check=error=true\n#\n"),
            (
                "// syntax=x\nRUN <<E\n# syntax=y\nE",
                "#\nRUN <<E\n# syntax=y\nE",
            ),
        ] {
            assert_eq!(for_builtin_frontend(text), expected, "{text:?}");
        }
    }

    #[test]
    fn secrets_are_mounted_by_each_run_and_by_nothing_else() {
        let paths = ["/a".to_owned(), "/b/c".to_owned()];
        let mounts = "--mount=type=secret,id=/a,target=/a,mode=0444 --mount=type=secret,id=/b/c,target=/b/c,mode=0444";
        for (text, expected) in [
            ("", ""),
            (
                "FROM a\nRUN b\nrun\tc\r\nRUN",
                "FROM a\nRUN @ b\nrun @\tc\r\nRUN @",
            ),
            (
                "FROM a\n  RUN \\\n# RUN\n  RUN x\nRUN\\\n y",
                "FROM a\n  RUN @ \\\n# RUN\n  RUN x\nRUN @\\\n y",
            ),
            (
                "FROM a\nRUN --network=none <<E\nRUN y\nE\nCOPY <<E /\nRUN z\nE\n",
                "FROM a\nRUN @ --network=none <<E\nRUN y\nE\nCOPY <<E /\nRUN z\nE\n",
            ),
            (
                "FROM a\nRUN --mount=type=secret,id=x,dst=/b/c \\\n x /a",
                "FROM a\nRUN --mount=type=secret,id=/a,target=/a,mode=0444 --mount=type=secret,id=x,dst=/b/c \\\n x /a",
            ),
            ("\u{feff}# escape=`\nRUN`\n x", "# escape=`\nRUN @`\n x"),
            (
                "ONBUILD RUN x\nRUNNER x\n# RUN\n",
                "ONBUILD RUN x\nRUNNER x\n# RUN\n",
            ),
        ] {
            let expected = expected.replace('@', mounts);
            assert_eq!(with_secrets(text, &paths), expected, "{text:?}");
            let plain = text.trim_start_matches('\u{feff}');
            assert_eq!(with_secrets(text, &[]), plain);
        }
    }

    #[test]
    fn a_hostile_file_takes_time_in_proportion_to_its_length() {
        let text = "ARG A1=$A0$A0\n".repeat(20_000) + &"ADD <<A ".repeat(50_000);
        assert_eq!(rules(&text), []);
        assert_eq!(for_builtin_frontend(&text), text);
    }
}
