//! The two files: the user's own and the project's. An unknown key is an error, reported with the nearest known one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dopq_common::secret::Secret;
use toml::{Table, Value};
use url::Url;

use super::address::{origin_of, parse_url};
use super::error::Error;

/// The name of a project's file.
pub(super) const PROJECT_FILE: &str = ".dopq.toml";

/// What a file sets; nothing if there is no file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(super) path: PathBuf,
    pub(super) url: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    /// The name of one of the user's contexts.
    pub(super) context: Option<String>,
    /// Only a project's.
    pub(super) token: Option<Secret>,
    /// Only the user's own: by master, as [`super::origin_of`] writes it.
    pub(super) tokens: BTreeMap<String, Secret>,
    /// Only the user's own: masters by the names that the user gave them.
    pub(super) contexts: BTreeMap<String, Master>,
}

/// A master that the user gave a name.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    /// Its URL; the path ends with a slash.
    pub(crate) url: Url,
    /// CA certificates to trust for it.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Reads the name of a context.
///
/// # Errors
///
/// What a name may be.
pub(crate) fn context_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a name for a context; use up to 32 letters, digits, dots, dashes and underscores"
        ))
    }
}

impl File {
    /// Reads a project's file.
    pub(super) fn project(path: &Path, errors: &mut Vec<Error>) -> Self {
        Self::read(path, errors, |file, keys| {
            file.token = keys.text("token").map(Secret::from);
        })
    }

    /// Reads the user's own file; a missing file is empty.
    pub(super) fn user(path: &Path, errors: &mut Vec<Error>) -> Self {
        if !path.exists() {
            return Self::default();
        }
        Self::read(path, errors, |file, keys| {
            file.tokens = keys.secrets("tokens");
            file.contexts = keys.masters("contexts");
        })
    }

    /// The user's masters by name.
    pub(crate) const fn contexts(&self) -> &BTreeMap<String, Master> {
        &self.contexts
    }

    /// Whether a token for this master is saved.
    pub(crate) fn has_token(&self, url: &Url) -> bool {
        self.tokens.contains_key(&origin_of(url))
    }

    /// `more` reads the keys that only one of the two files has.
    fn read(path: &Path, errors: &mut Vec<Error>, more: fn(&mut Self, &mut Keys<'_>)) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        if let Some(mut keys) = Keys::read(path, errors) {
            file.url = keys.text("url");
            file.context = keys.text("context");
            file.ca_file = keys.path("ca_file");
            more(&mut file, &mut keys);
            keys.finish();
        }
        file
    }
}

/// The keys of a file. Each is known once it is read.
struct Keys<'a> {
    path: &'a Path,
    /// The name of the table with a dot, or nothing for the whole file.
    within: String,
    table: Table,
    known: Vec<&'static str>,
    errors: &'a mut Vec<Error>,
}

impl<'a> Keys<'a> {
    fn read(path: &'a Path, errors: &'a mut Vec<Error>) -> Option<Self> {
        let place = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                errors.push(Error {
                    place,
                    message: format!("cannot be read: {error}"),
                });
                return None;
            }
        };
        match text.parse() {
            Ok(table) => Some(Self {
                path,
                within: String::new(),
                table,
                known: Vec::new(),
                errors,
            }),
            Err(error) => {
                let error: toml::de::Error = error;
                let line = error.span().map_or(1, |span| {
                    1 + text
                        .bytes()
                        .take(span.start)
                        .filter(|b| *b == b'\n')
                        .count()
                });
                errors.push(Error {
                    place: format!("{place}, line {line}"),
                    message: error.message().to_owned(),
                });
                None
            }
        }
    }

    fn wrong(&mut self, key: &str, message: String) {
        self.errors.push(Error {
            place: format!("{}: {}{key}", self.path.display(), self.within),
            message,
        });
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, format!("must be a string, not {}", other.type_str()));
                None
            }
        }
    }

    /// A path, relative to the file's folder.
    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(folder.join(text))
    }

    /// A table of secrets by URL.
    fn secrets(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let mut secrets = BTreeMap::new();
        match self.take(key) {
            None => {}
            Some(Value::Table(table)) => {
                for (name, value) in table {
                    if let Value::String(text) = value {
                        let url = name.trim_end_matches('/').to_owned();
                        secrets.insert(url, Secret::from(text));
                    } else {
                        let found = value.type_str();
                        self.wrong(key, format!("{name:?} must be a string, not {found}"));
                    }
                }
            }
            Some(other) => {
                let found = other.type_str();
                self.wrong(
                    key,
                    format!("must be a table of tokens by URL, not {found}"),
                );
            }
        }
        secrets
    }

    /// A table of tables, each a master.
    fn masters(&mut self, key: &'static str) -> BTreeMap<String, Master> {
        let mut masters = BTreeMap::new();
        let table = match self.take(key) {
            None => return masters,
            Some(Value::Table(table)) => table,
            Some(other) => {
                let found = other.type_str();
                self.wrong(key, format!("must be a table of contexts, not {found}"));
                return masters;
            }
        };
        for (name, value) in table {
            match (context_name(&name), value) {
                (Err(fault), _) => self.wrong(key, fault),
                (Ok(name), Value::Table(table)) => {
                    let mut keys = Keys {
                        path: self.path,
                        within: format!("{key}.{name}."),
                        table,
                        known: Vec::new(),
                        errors: &mut *self.errors,
                    };
                    if let Some(master) = keys.master() {
                        masters.insert(name, master);
                    }
                    keys.finish();
                }
                (Ok(name), other) => {
                    let found = other.type_str();
                    self.wrong(key, format!("{name} must be a table, not {found}"));
                }
            }
        }
        masters
    }

    fn master(&mut self) -> Option<Master> {
        let ca_file = self.path("ca_file");
        let url = if self.table.contains_key("url") {
            self.text("url")?
        } else {
            self.known.push("url");
            self.wrong("url", "is missing".to_owned());
            return None;
        };
        match parse_url(&url) {
            Ok(url) => Some(Master { url, ca_file }),
            Err(fault) => {
                self.wrong("url", fault);
                None
            }
        }
    }

    /// Refuses every key that was not read.
    fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for key in std::mem::take(&mut self.table).keys() {
            let nearest = known
                .iter()
                .map(|name| (strsim::damerau_levenshtein(key, name), *name))
                .min()
                .filter(|(distance, _)| *distance <= 2);
            let advice = nearest.map_or_else(
                || format!("the settings are {}", known.join(", ")),
                |(_, name)| format!("did you mean {name}?"),
            );
            self.wrong(key, format!("unknown setting; {advice}"));
        }
    }
}
