//! The layers one above the other, what they come to, and every mistake in them.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use super::file;
use super::key::{Key, PREFIX, Shape, nearest};
use super::value::Value;

/// Settings as they were given so far; the last layer that names one has its way.
#[derive(Debug)]
pub struct Layers {
    keys: &'static [Key],
    found: BTreeMap<&'static str, Found>,
    mistakes: Vec<Mistake>,
    hints: Vec<String>,
}

#[derive(Debug)]
struct Found {
    value: Value,
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
    /// No layer yet; `keys` are the settings that the program knows.
    #[must_use]
    pub const fn new(keys: &'static [Key]) -> Self {
        Self {
            keys,
            found: BTreeMap::new(),
            mistakes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds the file at `path`, whose content is `text`.
    pub fn file(&mut self, path: &str, text: &str) {
        let content = file::read(self.keys, text);
        for (key, value, line) in content.found {
            let place = format!("{path}:{line}");
            self.found.insert(key.name, Found { value, place });
        }
        for (name, line) in content.unknown {
            let message = self.unknown(&name);
            self.mistake(format!("{path}:{line}"), message);
        }
        for (message, line) in content.wrong {
            self.mistake(format!("{path}:{line}"), message);
        }
    }

    /// Adds environment variables. Those that do not begin with `DOPQ_` are none of ours; one that does
    /// and is not known may be another program's, so it is only hinted at when it looks like a slip.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        let known: BTreeMap<String, &'static Key> =
            self.keys.iter().map(|key| (key.variable(), key)).collect();
        for (name, text) in variables {
            let Some(own) = name.strip_prefix(PREFIX) else {
                continue;
            };
            match known.get(&name) {
                Some(key) => self.text(key, &text, name),
                None => {
                    let known = known.keys().filter_map(|known| known.strip_prefix(PREFIX));
                    if let Some(near) = nearest(own, known) {
                        self.hints.push(format!(
                            "unknown variable {name}; did you mean {PREFIX}{near}?"
                        ));
                    }
                }
            }
        }
    }

    /// Adds what the flag `flag` says for the setting `name`.
    pub fn flag(&mut self, flag: &str, name: &str, text: &str) {
        match self.keys.iter().find(|key| key.name == name) {
            Some(key) => self.text(key, text, flag.to_owned()),
            None => {
                let message = self.unknown(name);
                self.mistake(flag.to_owned(), message);
            }
        }
    }

    fn text(&mut self, key: &'static Key, text: &str, place: String) {
        let pieces = || {
            text.split(',')
                .map(str::trim)
                .filter(|piece| !piece.is_empty())
        };
        let value = match key.shape {
            Shape::One => Value::One(text.to_owned()),
            Shape::List => Value::List(pieces().map(str::to_owned).collect()),
            Shape::Map => {
                let pairs = pieces().map(|piece| {
                    let (name, value) = piece.split_once('=')?;
                    Some((name.trim().to_owned(), value.trim().to_owned()))
                });
                match pairs.collect::<Option<_>>() {
                    Some(pairs) => Value::Map(pairs),
                    None => {
                        let message = format!("`{}` is written name=value,name=value", key.name);
                        return self.mistake(place, message);
                    }
                }
            }
        };
        self.found.insert(key.name, Found { value, place });
    }

    fn unknown(&self, name: &str) -> String {
        match nearest(name, self.keys.iter().map(|key| key.name)) {
            Some(near) => format!("unknown setting `{name}`; did you mean `{near}`?"),
            None => format!("unknown setting `{name}`"),
        }
    }

    /// Notes a mistake that belongs to no setting.
    pub fn mistake(&mut self, place: String, message: String) {
        self.mistakes.push(Mistake { place, message });
    }

    /// Whether somebody set it.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The setting as `parse` understands it; `None` when it has no value, or one that `parse` refuses,
    /// which is then a mistake. The refusal must not repeat the value of a secret.
    pub fn get<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = match self.found.get(name).map(|found| &found.value) {
            Some(Value::One(text)) => text.as_str(),
            Some(Value::List(_) | Value::Map(_)) => return None,
            None => self.key(name)?.default?,
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(name, message);
                None
            }
        }
    }

    /// A list's items, each as `parse` understands it; empty when nobody set it.
    pub fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let items = match self.found.get(name).map(|found| &found.value) {
            Some(Value::List(items)) => items.clone(),
            Some(Value::One(_) | Value::Map(_)) | None => Vec::new(),
        };
        let mut parsed = Vec::new();
        for item in items {
            match parse(&item) {
                Ok(value) => parsed.push(value),
                Err(message) => self.refuse(name, message),
            }
        }
        parsed
    }

    /// A table's names and values; empty when nobody set it.
    #[must_use]
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        match self.found.get(name).map(|found| &found.value) {
            Some(Value::Map(pairs)) => pairs.clone(),
            Some(Value::One(_) | Value::List(_)) | None => BTreeMap::new(),
        }
    }

    /// Notes that the value of `name` will not do, at the place where it was set.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        let place = match self.found.get(name) {
            Some(found) => format!("{}: `{name}`", found.place),
            None => format!("`{name}`"),
        };
        self.mistake(place, message.into());
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

    /// The result as a TOML file, with where each value comes from and without secrets.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        let (top, inside): (Vec<&Key>, Vec<&Key>) =
            self.keys.iter().partition(|key| !key.name.contains('.'));
        for key in top.into_iter().chain(inside) {
            let (of, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if of != table {
                table = of;
                // Writing to a String cannot fail.
                let _infallible = writeln!(text, "\n[{table}]");
            }
            let line = match (self.found.get(key.name), key.default) {
                (Some(found), _) => {
                    format!("{name} = {} # {}", shown(key, &found.value), found.place)
                }
                (None, Some(default)) => {
                    let value = Value::One(default.to_owned());
                    format!("{name} = {} # default", shown(key, &value))
                }
                (None, None) => format!("# {name} is not set"),
            };
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = self.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "the setting {name} is not in the table");
        key
    }
}

fn shown(key: &Key, value: &Value) -> String {
    if key.secret {
        return quoted("(hidden)");
    }
    match value {
        Value::One(text) => plain_or_quoted(text),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn plain_or_quoted(text: &str) -> String {
    match text.parse::<i64>().is_ok() || text == "true" || text == "false" {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The text as TOML writes it, with the password of a URL hidden.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in hide_password(text).chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn hide_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((login, _)) = authority.rsplit_once('@') else {
        return text.to_owned();
    };
    let user = login.split(':').next().unwrap_or(login);
    let after = rest.strip_prefix(login).unwrap_or(rest);
    format!("{scheme}://{user}:(hidden){after}")
}
