//! What DoPQ decides about a Dockerfile's text before a build.
//!
//! BuildKit decides whether the file builds, and keeps users apart: their caches, layers and images are in name spaces
//! of their own. Here stands only what needs no knowledge of variables or other images: which frontend reads the file,
//! and which instructions builds never allow.

use std::collections::BTreeSet;

use super::Fault;
use super::fault::{Faults, quote};

mod lower;
mod read;
mod words;

use read::{Parts, head, instructions, json};
use words::Version;

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
    // What the engine reads. The workers' engines differ, so no version may find anything else in it.
    let text = for_builtin_frontend(text);
    let escape = head.escape();
    let versions: &[Version] = match text.contains("<<") {
        true => &Version::ALL,
        false => &[Version::NEWEST],
    };
    let mut judged = BTreeSet::new();
    let mut refused = BTreeSet::new();
    let mut troubles = Vec::new();
    for version in versions {
        for instruction in instructions(&text, escape, *version) {
            let line = instruction.line;
            if let Some(trouble) = instruction.trouble {
                troubles.push((*version, line, trouble));
            }
            // Most versions read the same.
            if judged.insert((line, instruction.text.clone()))
                && !refused.contains(&line)
                && !judge(&instruction.text, escape, &at(line), &mut faults)
            {
                refused.insert(line);
            }
        }
    }
    // An engine whose version cannot read it refuses it by itself.
    let is_unreadable = |version: &Version| troubles.iter().any(|(other, ..)| other == version);
    if versions.iter().all(is_unreadable)
        && let Some((_, line, trouble)) = troubles.first()
    {
        faults.add("dockerfile_document", at(*line), trouble.text());
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
    for instruction in instructions(text, escape, Version::NEWEST) {
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
        let own = Parts::of(&instruction.text, escape).flags;
        let is_taken = |path: &str| {
            let mut parts = own.iter().flat_map(|flag| flag.value.split(','));
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

/// Records what of an instruction builds never allow; whether there is nothing.
fn judge(text: &str, escape: char, place: &str, faults: &mut Faults) -> bool {
    let mut is_fine = true;
    let mut refuse = |rule, message: String| {
        is_fine = false;
        faults.add(rule, place, message);
    };
    let parts = Parts::of(text, escape).run(escape);
    match parts.word.as_str() {
        "RUN" => {
            // Before version 0.21 flags have the default escape character.
            let default = Parts::of(text, '\\').run('\\');
            let new = default
                .flags
                .into_iter()
                .filter(|flag| !parts.flags.contains(flag));
            let mut flags: Vec<_> = new.collect();
            flags.extend(parts.flags);
            for flag in flags {
                let why = match flag.value.split_once('=').unwrap_or((&flag.value, "")) {
                    ("--security", "insecure") => "builds have no privileges",
                    ("--network", "host") => "the administrator sets the network of builds",
                    ("--mount", mount) if mount.split(',').any(|part| part == "type=ssh") => {
                        "builds have no SSH agent; use a secret"
                    }
                    _ => continue,
                };
                let message = format!("`{}` is not allowed: {why}", quote(&flag.raw));
                refuse("dockerfile_run_flag", message);
            }
        }
        "ADD" => {
            if let Some(source) = remote_source(&parts.arguments, escape) {
                let message = format!(
                    "ADD of `{}` is not allowed: the engine would fetch it past the network of builds; \
                     name files of the bundle without variables, or fetch it with RUN",
                    quote(&source)
                );
                refuse("dockerfile_add", message);
            }
        }
        _ => {}
    }
    is_fine
}

/// What an `ADD` could fetch. All words but the last are sources.
fn remote_source(arguments: &str, escape: char) -> Option<String> {
    let plain = |word: &str| word.replace(['"', '\'', escape], "");
    let words = arguments.split_whitespace().map(str::to_owned).collect();
    // Some versions read an array although text follows it.
    let lists = [Some(words), json(arguments, Version::V10)];
    lists.into_iter().flatten().find_map(|words: Vec<String>| {
        let mut words: Vec<String> = words.iter().map(|word| plain(word)).collect();
        let destination = words.pop();
        let is_url = |destination: &String| destination.contains("://");
        words
            .into_iter()
            .find(|source| may_be_remote(source))
            .or_else(|| destination.filter(is_url))
    })
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
            "FROM a\nRUN echo $((1 << 3)) && x\nRUN cat << E\nADD a b\nE\nRUN y",
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
            ("FROM a\nADD http://x\\\n    /x", "dockerfile_add", 2),
            (
                "FROM a\nRUN <<\\EOF\ntrue\nEOF\nADD http://x /",
                "dockerfile_add",
                5,
            ),
            (
                "FROM a\nRUN true # <<E '\nADD http://x /",
                "dockerfile_add",
                3,
            ),
            (
                "FROM a\nRUN true \\\u{a0}\nADD http://x /",
                "dockerfile_add",
                3,
            ),
            (
                "FROM a\nRUN [\"a\"] <<E\nADD http://x /\nE",
                "dockerfile_add",
                3,
            ),
            (
                "FROM a\nRUN << E\nRUN <<F\nE\nADD http://x /\nF",
                "dockerfile_add",
                5,
            ),
            (
                "FROM a\nRUN ${a%b} <<E\nADD http://x /\nE",
                "dockerfile_add",
                3,
            ),
            (
                "FROM a\nADD [\"http:\\\\/\\\\/x\", \"/\"]",
                "dockerfile_add",
                2,
            ),
            (
                "FROM a\nADD [\"http\\u003a\\u002f/x\\ud800\", \"/\"] b",
                "dockerfile_add",
                2,
            ),
            ("FROM a\nADD b http://x", "dockerfile_add", 2),
            ("// \\\nFROM a\nADD http://x /", "dockerfile_add", 3),
            (
                "FROM a\nRUN --mount=target=\"/a b\" --network='host' c",
                "dockerfile_run_flag",
                2,
            ),
            (
                "# escape=`\nFROM a\nRUN --x=a\\ b --network=host c",
                "dockerfile_run_flag",
                3,
            ),
            ("FROM a\nRUN <<E\nx", "dockerfile_document", 2),
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
        let endless = ("dockerfile_document", "Dockerfile: line 20001".to_owned());
        assert_eq!(rules(&text), [endless]);
        assert_eq!(for_builtin_frontend(&text), text);
        let text = "RUN <<A ".to_owned() + &"${A:-".repeat(50_000);
        assert_eq!(
            rules(&text),
            [("dockerfile_document", "Dockerfile: line 1".to_owned())]
        );
    }
}
