//! Changes of the user's own file. Only the owner can read it; other settings are kept, comments are not.

use std::io::{self, Write};
use std::path::Path;

use toml::{Table, Value};
use url::Url;

use super::address::{origin_of, parse_url};
use super::token::Token;

/// Saves a master's token and makes that master the default, by its context's name if it has one.
pub(crate) fn save_login(path: &Path, url: &Url, token: &Token) -> io::Result<()> {
    change(path, |table| {
        let origin = origin_of(url);
        let named = contexts_of(table, &origin).into_iter().next();
        match named {
            Some(name) => table.insert("context".to_owned(), Value::String(name)),
            None => {
                table.remove("context");
                table.insert("url".to_owned(), Value::String(origin.clone()))
            }
        };
        if let Some(tokens) = sub_table(table, "tokens") {
            tokens.insert(origin, Value::String(token.reveal().to_owned()));
        }
    })
}

/// Removes a master's token.
pub(crate) fn forget_login(path: &Path, url: &Url) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    change(path, |table| {
        let origin = origin_of(url);
        if let Some(tokens) = sub_table(table, "tokens") {
            tokens.retain(|url, _| url.trim_end_matches('/') != origin);
        }
    })
}

/// Adds a context, or replaces one of the same name.
pub(crate) fn add_context(
    path: &Path,
    name: &str,
    url: &Url,
    ca_file: Option<&Path>,
) -> io::Result<()> {
    change(path, |table| {
        let mut master = Table::new();
        master.insert("url".to_owned(), Value::String(origin_of(url)));
        if let Some(ca_file) = ca_file {
            let ca_file = ca_file.display().to_string();
            master.insert("ca_file".to_owned(), Value::String(ca_file));
        }
        if let Some(contexts) = sub_table(table, "contexts") {
            contexts.insert(name.to_owned(), Value::Table(master));
        }
    })
}

/// Makes a context the default.
pub(crate) fn use_context(path: &Path, name: &str) -> io::Result<()> {
    change(path, |table| {
        table.insert("context".to_owned(), Value::String(name.to_owned()));
    })
}

/// Removes a context, and its master's token unless the file names that master elsewhere. Returns whether a token went.
pub(crate) fn remove_context(path: &Path, name: &str, url: &Url) -> io::Result<bool> {
    let mut removed = false;
    change(path, |table| {
        if let Some(contexts) = sub_table(table, "contexts") {
            contexts.remove(name);
        }
        if table.get("context").and_then(Value::as_str) == Some(name) {
            table.remove("context");
        }
        let origin = origin_of(url);
        let is_default = table.get("url").is_some_and(|url| is_origin(url, &origin));
        if is_default || !contexts_of(table, &origin).is_empty() {
            return;
        }
        if let Some(tokens) = sub_table(table, "tokens") {
            let before = tokens.len();
            tokens.retain(|url, _| url.trim_end_matches('/') != origin);
            removed = tokens.len() < before;
        }
    })?;
    Ok(removed)
}

/// The contexts whose master this is.
fn contexts_of(table: &Table, origin: &str) -> Vec<String> {
    let contexts = table.get("contexts").and_then(Value::as_table);
    let names = contexts
        .into_iter()
        .flatten()
        .filter(|(_, master)| master.get("url").is_some_and(|url| is_origin(url, origin)));
    names.map(|(name, _)| name.clone()).collect()
}

fn is_origin(value: &Value, origin: &str) -> bool {
    let url = value.as_str().and_then(|text| parse_url(text).ok());
    url.is_some_and(|url| origin_of(&url) == origin)
}

/// The table of that name, made if there is none; nothing if the name means something else.
fn sub_table<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
}

fn change(path: &Path, change: impl FnOnce(&mut Table)) -> io::Result<()> {
    let invalid = |error: toml::de::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut table: Table = match std::fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(invalid)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
        Err(error) => return Err(error),
    };
    change(&mut table);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    // A temporary file has mode 0600, so others can never read the secrets. The rename leaves either the old file
    // or the new one.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(table.to_string().as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
