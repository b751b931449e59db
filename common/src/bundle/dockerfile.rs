//! Static rules on a Dockerfile's text. Refuses what the builder would not contain, before anything runs.
//!
//! The builder decides whether the file builds; its output is the job's log. The worker's settings decide the
//! network.

use super::Fault;
use super::fault::{Faults, quote};

mod base;

use base::Bases;

/// Records every line of `text` that breaks a rule; `place` is the file's name in the bundle.
#[must_use]
pub fn check(text: &str, place: &str) -> Vec<Fault> {
    let mut faults = Faults::default();
    let text = text.trim_start_matches('\u{feff}');
    let escape = directives(text, place, &mut faults);
    let mut bases = Bases::default();
    for (line, instruction) in instructions(text, escape) {
        let place = format!("{place}: line {line}");
        judge(&instruction, &place, &mut bases, &mut faults);
    }
    faults.into_list()
}

/// Reads the comments before the first instruction, where builders look for directives. Returns the character that
/// continues a line.
fn directives(text: &str, place: &str, faults: &mut Faults) -> char {
    let mut escape = '\\';
    let mut escape_may_come = true;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let comment = line.strip_prefix('#').or_else(|| line.strip_prefix("//"));
        let Some(comment) = comment else {
            if line.is_empty() {
                escape_may_come = false;
                continue;
            }
            // Some builders accept the same directive in a JSON object at the top.
            if line.starts_with('{') {
                let place = format!("{place}: line {}", number + 1);
                faults.add("dockerfile_syntax", place, "it starts with a JSON object");
            }
            break;
        };
        match comment.split_once('=') {
            Some((name, _)) if name.trim().eq_ignore_ascii_case("syntax") => {
                let place = format!("{place}: line {}", number + 1);
                let message = "remove the `syntax=` line; it would load another builder";
                faults.add("dockerfile_syntax", place, message);
            }
            Some((name, value))
                if escape_may_come && name.trim().eq_ignore_ascii_case("escape") =>
            {
                escape = value.trim().chars().next().unwrap_or(escape);
            }
            Some((name, _)) if name.trim().eq_ignore_ascii_case("check") => {}
            Some(_) | None => escape_may_come = false,
        }
    }
    escape
}

/// The instructions and the line on which each starts. Joins continued lines and drops comments.
fn instructions(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (begin, mut text) = open.take().unwrap_or((number + 1, String::new()));
        match line.strip_suffix(escape) {
            Some(part) => {
                text.push_str(part);
                open = Some((begin, text));
            }
            None => {
                text.push_str(line);
                found.push((begin, text));
            }
        }
    }
    found.extend(open);
    found
}

fn judge(instruction: &str, place: &str, bases: &mut Bases, faults: &mut Faults) {
    let (word, rest) = instruction
        .split_once(char::is_whitespace)
        .unwrap_or((instruction, ""));
    let rest = rest.trim_start();
    match word.to_ascii_uppercase().as_str() {
        "ONBUILD" => judge(rest, place, bases, faults),
        "ARG" => bases.define(rest),
        "FROM" => {
            let image = rest.split_whitespace().find(|word| !word.starts_with("--"));
            bases.judge(image.unwrap_or_default(), place, faults);
        }
        "COPY" => {
            for image in flags(rest).filter_map(|flag| flag.strip_prefix("--from=")) {
                bases.judge(image, place, faults);
            }
        }
        "WORKDIR" => {
            let path = rest.trim_matches(['"', '\'']);
            if inside_kernel_tree(path) {
                let message = format!(
                    "a working directory of `{}` could reach the host",
                    quote(path)
                );
                faults.add("dockerfile_workdir", place, message);
            }
        }
        "RUN" => {
            for flag in flags(rest) {
                let name = flag.split('=').next().unwrap_or_default();
                let why = match name {
                    "--mount" => "build mounts could reach other builds' files",
                    "--security" => "builds have no privileges",
                    "--network" => "the administrator sets the network of builds",
                    _ => continue,
                };
                faults.add(
                    "dockerfile_run_flag",
                    place,
                    format!("`{name}` is not allowed: {why}"),
                );
            }
        }
        _ => {}
    }
}

fn flags(rest: &str) -> impl Iterator<Item = &str> {
    rest.split_whitespace()
        .take_while(|word| word.starts_with("--"))
}

/// Whether the path is in `/proc`, `/sys` or `/dev`, whatever its slashes and dots. Variables can contain anything; the
/// builder checks again.
fn inside_kernel_tree(path: &str) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    matches!(parts.first(), Some(&("proc" | "sys" | "dev")))
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
            "FROM python:3.12\n# syntax=later lines are comments\nRUN pip install x\nWORKDIR /work\n",
            "# escape=`\nFROM a\nRUN a `\n  b\nCMD [\"x\"]\n",
            "# a comment = with a sign\nFROM a\nRUN echo --mount=x\nRUN tool --mount=y\nWORKDIR proc\n",
            "ARG A=python B=3\nFROM ${A}:$B-slim AS build\nFROM abc\nCOPY --from=build a b",
            "ARG A\nFROM $A\nCOPY --from=build /a /b\nWORKDIR /processes\nHEALTHCHECK NONE",
        ] {
            assert_eq!(rules(text), [], "{text}");
        }
    }

    #[test]
    fn what_leaves_the_builders_hands_is_refused_at_its_line() {
        for (text, rule, line) in [
            (
                "# syntax=docker/dockerfile:1\nFROM a",
                "dockerfile_syntax",
                1,
            ),
            ("#   SynTax = evil/front:1\nFROM a", "dockerfile_syntax", 1),
            ("# a\n\n# syntax=x\nFROM a", "dockerfile_syntax", 3),
            ("\u{feff}#syntax=x\nFROM a", "dockerfile_syntax", 1),
            ("// syntax=x\nFROM a", "dockerfile_syntax", 1),
            ("{\"syntax\": \"x\"}", "dockerfile_syntax", 1),
            ("FROM a\nWORKDIR /proc/self/fd/8", "dockerfile_workdir", 2),
            (
                "FROM a\nworkdir \"/a/..//proc/self\"",
                "dockerfile_workdir",
                2,
            ),
            ("FROM a\nONBUILD WORKDIR /sys/fs", "dockerfile_workdir", 2),
            (
                "FROM a\nRUN --mount=type=cache,target=/x make",
                "dockerfile_run_flag",
                2,
            ),
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
            ("FROM dopq/anna:0123456789ab", "dockerfile_base", 1),
            (
                "FROM --platform=linux/amd64 docker.io/dopq/anna AS x",
                "dockerfile_base",
                1,
            ),
            (
                "FROM a\nCOPY --from=DOPQ/bob:partial / /",
                "dockerfile_base",
                2,
            ),
            ("FROM sha256:0123", "dockerfile_base", 1),
            ("FROM 0123456789ab", "dockerfile_base", 1),
            ("ARG A=do B\nFROM ${A}pq/anna", "dockerfile_base", 2),
            ("ARG A=\"dopq/x\"\nFROM \"$A\"", "dockerfile_base", 2),
            ("ARG A\nFROM ${A:-dopq/x}", "dockerfile_base", 2),
        ] {
            assert_eq!(
                rules(text),
                [(rule, format!("Dockerfile: line {line}"))],
                "{text}"
            );
        }
    }
}
