//! The layers one above the other, and every mistake in them.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::file;
use super::key::{Key, PREFIX, Raw, nearest};
use super::print::{has_password, shown};
use super::scalar::Scalar;
use super::snapshot::Snapshot;
use crate::secret::Secret;

/// Variables that are not settings: flags with variables of their own, and the command line's settings.
const OTHERS: [&str; 7] = [
    "DOPQ_CONFIG",
    "DOPQ_LOG_FORMAT",
    "DOPQ_URL",
    "DOPQ_TOKEN",
    "DOPQ_TOKEN_FILE",
    "DOPQ_CA_FILE",
    "DOPQ_CLIENT_CONFIG",
];

/// Settings as they were given so far; the last layer that names one wins.
#[derive(Debug)]
pub struct Layers {
    keys: Vec<Key>,
    read: fn(&Path) -> io::Result<String>,
    found: BTreeMap<String, Found>,
    mistakes: Vec<Mistake>,
    hints: Vec<String>,
}

#[derive(Debug)]
struct Found {
    raw: Raw,
    place: String,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: the file and line, the variable, the flag, or the setting.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has an error:")?,
            count => write!(f, "the configuration has {count} errors:")?,
        }
        for Mistake { place, message } in &self.0 {
            write!(f, "\n  {place}: {message}")?;
        }
        Ok(())
    }
}

impl Layers {
    /// No layer yet; `keys` are the settings that the program knows, and `read` reads files.
    #[must_use]
    pub const fn new(keys: Vec<Key>, read: fn(&Path) -> io::Result<String>) -> Self {
        Self {
            keys,
            read,
            found: BTreeMap::new(),
            mistakes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds the file `named`, or that at `usual` if it exists.
    pub fn file(&mut self, named: Option<&Path>, usual: Option<&Path>) {
        let Some(path) = named.or(usual) else { return };
        let place = path.display();
        let text = match (self.read)(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                return self.mistake(place.to_string(), format!("cannot be read: {error}"));
            }
        };
        let content = file::read(&self.keys, &text);
        for (name, raw, line) in content.found {
            let place = format!("{place}:{line}");
            self.found.insert(name, Found { raw, place });
        }
        for (name, line) in content.unknown {
            let message = self.unknown(&name);
            self.mistake(format!("{place}:{line}"), message);
        }
        for (message, line) in content.wrong {
            self.mistake(format!("{place}:{line}"), message);
        }
    }

    /// Adds environment variables. One that begins with `DOPQ_` and is not known may be another program's, so it is only
    /// hinted at when it looks like a slip.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        let known: BTreeMap<String, Key> = self
            .keys
            .iter()
            .map(|key| (key.variable(), key.clone()))
            .collect();
        for (name, text) in variables {
            let Some(own) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if let Some(key) = known.get(&name) {
                self.text(key, &text, name);
            } else if !OTHERS.contains(&name.as_str()) {
                let known = known.keys().filter_map(|known| known.strip_prefix(PREFIX));
                if let Some(near) = nearest(own, known) {
                    self.hints.push(format!(
                        "unknown variable {name}; did you mean {PREFIX}{near}?"
                    ));
                }
            }
        }
    }

    /// Adds what the flag `flag` says for the setting `name`, if it is given.
    pub fn flag(&mut self, flag: &str, name: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        let message = match self.keys.iter().find(|key| key.name == name).cloned() {
            Some(key) if key.secret || text.split(',').any(has_password) => format!(
                "every user of this machine can read arguments; give `{name}` as {} or in a file",
                key.variable()
            ),
            Some(key) => return self.text(&key, text, flag.to_owned()),
            None => self.unknown(name),
        };
        self.mistake(flag.to_owned(), message);
    }

    /// Adds the flags `--set NAME=VALUE`.
    pub fn set(&mut self, flags: &[String]) {
        for text in flags {
            match text.split_once('=') {
                Some((name, value)) => self.flag("--set", name.trim(), Some(value.trim())),
                None => self.mistake(
                    "--set".to_owned(),
                    format!("{text:?} is not written NAME=VALUE"),
                ),
            }
        }
    }

    fn text(&mut self, key: &Key, text: &str, place: String) {
        match key.shape.split(text) {
            Some(raw) => {
                self.found.insert(key.name.clone(), Found { raw, place });
            }
            None => {
                let message = format!("`{}` is written name=value,name=value", key.name);
                self.mistake(place, message);
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        match nearest(name, self.keys.iter().map(|key| key.name.as_str())) {
            Some(near) => format!("unknown setting `{name}`; did you mean `{near}`?"),
            None => format!("unknown setting `{name}`"),
        }
    }

    fn mistake(&mut self, place: String, message: String) {
        self.mistakes.push(Mistake { place, message });
    }

    /// Whether somebody set it.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The settings whose name begins with `prefix` that somebody set.
    pub fn set_below(&self, prefix: &str) -> Vec<String> {
        let names = self.found.keys().filter(|name| name.starts_with(prefix));
        names.cloned().collect()
    }

    /// The values of a setting that can be read and are within `bounds`; others are mistakes. `None` when it is not set.
    pub(super) fn take<T: Scalar>(
        &mut self,
        name: &str,
        bounds: impl Fn(&T) -> Result<(), String>,
    ) -> Option<Vec<(String, T)>> {
        let raw = self.found.get(name)?.raw.clone();
        let mut taken = Vec::new();
        for (item, text) in raw {
            match T::read(text.reveal()).and_then(|value| bounds(&value).map(|()| value)) {
                Ok(value) => taken.push((item, value)),
                Err(message) => self.refuse(name, message),
            }
        }
        Some(taken)
    }

    /// The text of the file that the setting `name` names; `None` when it cannot be read, which is then a mistake.
    pub fn content(&mut self, name: &str, path: &Path) -> Option<String> {
        let read = (self.read)(path);
        let refused =
            |error| self.refuse(name, format!("{} cannot be read: {error}", path.display()));
        read.map_err(refused).ok()
    }

    /// Notes that the value of `name` is wrong, at the place where it was set.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        let place = match self.found.get(name) {
            Some(found) => format!("{}: `{name}`", found.place),
            None => format!("`{name}`"),
        };
        self.mistake(place, message.into());
    }

    /// The same, unless the condition holds.
    pub fn require(&mut self, holds: bool, name: &str, message: impl Into<String>) {
        if !holds {
            self.refuse(name, message);
        }
    }

    /// Things that are not wrong but look like slips.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Every mistake so far.
    ///
    /// # Errors
    /// [`Mistakes`] when there is any.
    pub fn check(&self) -> Result<(), Mistakes> {
        match self.mistakes.is_empty() {
            true => Ok(()),
            false => Err(Mistakes(self.mistakes.clone())),
        }
    }

    /// The values that result.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let values = self.keys.iter().map(|key| {
            let given = self.found.get(&key.name).map(|found| found.raw.clone());
            let default = key.default.as_deref();
            let default = default.and_then(|default| key.shape.split(default));
            (key.clone(), given.or(default).unwrap_or_default())
        });
        Snapshot(values.collect())
    }

    /// The result as a TOML file, with where each value comes from and without secrets.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        let (top, inside): (Vec<&Key>, Vec<&Key>) =
            self.keys.iter().partition(|key| !key.name.contains('.'));
        for key in top.into_iter().chain(inside) {
            let (of, name) = key.name.rsplit_once('.').unwrap_or(("", &key.name));
            if of != table {
                table = of;
                // Writing to a String cannot fail.
                let _infallible = writeln!(text, "\n[{table}]");
            }
            let _infallible = match (self.found.get(&key.name), &key.default) {
                (Some(found), _) => {
                    writeln!(
                        text,
                        "{name} = {} # {}",
                        shown(key, &found.raw),
                        found.place
                    )
                }
                (None, Some(default)) => {
                    let raw = [(String::new(), Secret::from(default.as_str()))];
                    writeln!(text, "{name} = {} # default", shown(key, &raw))
                }
                (None, None) => writeln!(text, "# {name} is not set"),
            };
        }
        text
    }
}
