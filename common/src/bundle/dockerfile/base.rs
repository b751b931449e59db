//! Checks a Dockerfile's base images: none may be an image that the machine built for a job.
//!
//! Those are private to their users, and an image id can refer to any image of the machine. The engine decides which
//! other images may be pulled.

use std::collections::BTreeMap;

use crate::bundle::fault::{Faults, quote};

/// The repository of images built for jobs.
const OURS: &str = "dopq/";

/// Prefixes that the engine ignores.
const REGISTRIES: [&str; 2] = ["docker.io/", "index.docker.io/"];

/// The minimum length of an id; shorter words are names.
const ID_MIN_CHARS: usize = 12;

/// The build arguments and their defaults. DoPQ passes no others to a build.
#[derive(Debug, Default)]
pub(super) struct Bases {
    arguments: BTreeMap<String, String>,
}

impl Bases {
    /// Adds an `ARG` instruction's names and defaults.
    pub(super) fn define(&mut self, rest: &str) {
        for word in rest.split_whitespace() {
            let (name, default) = word.split_once('=').unwrap_or((word, ""));
            let default = self.resolve(default).unwrap_or_default();
            self.arguments.insert(name.to_owned(), default);
        }
    }

    /// Records a base image that is not allowed.
    pub(super) fn judge(&self, image: &str, place: &str, faults: &mut Faults) {
        let Some(resolved) = self.resolve(image) else {
            let message = format!(
                "cannot expand `{}`; write variables as ${{NAME}}",
                quote(image)
            );
            faults.add("dockerfile_base", place, message);
            return;
        };
        let name = resolved.to_ascii_lowercase();
        let name = REGISTRIES
            .iter()
            .find_map(|registry| name.strip_prefix(registry))
            .unwrap_or(&name);
        let is_hexadecimal = name.bytes().all(|b| b.is_ascii_hexdigit());
        let why = if name.starts_with(OURS) {
            "images built for jobs are private"
        } else if name.starts_with("sha256:") || (name.len() >= ID_MIN_CHARS && is_hexadecimal) {
            "an id could refer to another user's image; use a name"
        } else {
            return;
        };
        faults.add(
            "dockerfile_base",
            place,
            format!(
                "`{}` is not allowed as a base image: {why}",
                quote(&resolved)
            ),
        );
    }

    /// `text` without quotes and with `$NAME` and `${NAME}` replaced; `None` for any other form.
    fn resolve(&self, text: &str) -> Option<String> {
        let mut resolved = String::new();
        let mut rest = text.chars().filter(|c| !matches!(c, '"' | '\'')).peekable();
        while let Some(c) = rest.next() {
            match c {
                '$' => {
                    let braced = rest.next_if_eq(&'{').is_some();
                    let mut name = String::new();
                    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        name.push(c);
                    }
                    if braced {
                        rest.next_if_eq(&'}')?;
                    }
                    if let Some(value) = self.arguments.get(&name) {
                        resolved.push_str(value);
                    }
                }
                '\\' => return None,
                c => resolved.push(c),
            }
        }
        Some(resolved)
    }
}
