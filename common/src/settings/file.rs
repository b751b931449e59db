//! Reads the TOML file into settings by their full names, each with its line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Raw, Shape};

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Settings with their line.
    pub(super) found: Vec<(String, Raw, usize)>,
    /// Names that no setting has, with their line.
    pub(super) unknown: Vec<(String, usize)>,
    /// Anything else that is wrong, with its line.
    pub(super) wrong: Vec<(String, usize)>,
}

/// Reads `text`; goes on after a mistake, so that all are found.
pub(super) fn read(keys: &[Key], text: &str) -> Content {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        keys,
        text,
        content: Content::default(),
    };
    for error in errors {
        let line = reader.line(&error.span().unwrap_or_default());
        let message = error.message().replace('\n', ", ");
        reader.content.wrong.push((message, line));
    }
    reader.table("", root.get_ref());
    reader.content
}

struct Reader<'t> {
    keys: &'t [Key],
    text: &'t str,
    content: Content,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{prefix}{}", name.get_ref());
            let line = self.line(&name.span());
            if let Some(key) = self.keys.iter().find(|key| key.name == full) {
                self.setting(key, value);
            } else if !self.is_table(&full) {
                self.content.unknown.push((full, line));
            } else if let DeValue::Table(inner) = value.get_ref() {
                self.table(&format!("{full}."), inner);
            } else {
                let message = format!("`{full}` is a table of settings: write [{full}]");
                self.content.wrong.push((message, line));
            }
        }
    }

    fn is_table(&self, name: &str) -> bool {
        let inside = |key: &Key| key.name.strip_prefix(name)?.strip_prefix('.').map(drop);
        self.keys.iter().any(|key| inside(key).is_some())
    }

    fn setting(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let unnamed =
            |item: &Spanned<DeValue<'_>>| Some((String::new(), scalar(item.get_ref())?.into()));
        let raw: Option<Raw> = match (key.shape, value.get_ref()) {
            (Shape::List, DeValue::Array(items)) => items.iter().map(unnamed).collect(),
            (Shape::Map, DeValue::Table(table)) => table
                .iter()
                .map(|(name, value)| {
                    Some((name.get_ref().to_string(), scalar(value.get_ref())?.into()))
                })
                .collect(),
            (shape, value) => scalar(value).and_then(|text| shape.split(&text)),
        };
        let line = self.line(&value.span());
        let expected = match key.shape {
            Shape::One => "one value",
            Shape::List => "a list of values",
            Shape::Map => "a table of names with values",
        };
        match raw {
            Some(raw) => self.content.found.push((key.name.clone(), raw, line)),
            None => {
                let is = value.get_ref().type_str();
                let message = format!("`{}` must be {expected}, not of type {is}", key.name);
                self.content.wrong.push((message, line));
            }
        }
    }

    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
