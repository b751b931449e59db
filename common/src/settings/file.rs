//! Reads the TOML file into settings by their full names, each with its line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Shape};
use super::value::Value;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Settings with their line.
    pub(super) found: Vec<(&'static Key, Value, usize)>,
    /// Names that no setting has, with their line.
    pub(super) unknown: Vec<(String, usize)>,
    /// Anything else that is wrong, with its line.
    pub(super) wrong: Vec<(String, usize)>,
}

/// Reads `text`; goes on after a mistake, so that all are found.
pub(super) fn read(keys: &'static [Key], text: &str) -> Content {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        keys,
        text,
        content: Content::default(),
    };
    for error in errors {
        let at = error.span().unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        reader.wrong(message, &at);
    }
    reader.table("", root.get_ref());
    reader.content
}

struct Reader<'t> {
    keys: &'static [Key],
    text: &'t str,
    content: Content,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{prefix}{}", name.get_ref());
            let line = self.line(&name.span());
            match self.keys.iter().find(|key| key.name == full) {
                Some(key) => self.setting(key, value),
                None => match value.get_ref() {
                    DeValue::Table(inner) if self.is_table(&full) => {
                        self.table(&format!("{full}."), inner);
                    }
                    _ if self.is_table(&full) => {
                        let message = format!("`{full}` is a table of settings: write [{full}]");
                        self.content.wrong.push((message, line));
                    }
                    _ => self.content.unknown.push((full, line)),
                },
            }
        }
    }

    fn is_table(&self, name: &str) -> bool {
        let inside = |key: &Key| key.name.strip_prefix(name)?.strip_prefix('.').map(drop);
        self.keys.iter().any(|key| inside(key).is_some())
    }

    fn setting(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let read = match (key.shape, value.get_ref()) {
            (Shape::One, value) => scalar(value).map(Value::One),
            (Shape::List, DeValue::Array(items)) => {
                let items = items.iter().map(|item| scalar(item.get_ref()));
                items.collect::<Option<_>>().map(Value::List)
            }
            (Shape::List, value) => scalar(value).map(|one| Value::List(vec![one])),
            (Shape::Map, DeValue::Table(table)) => {
                let pairs = table.iter().map(|(name, value)| {
                    Some((name.get_ref().to_string(), scalar(value.get_ref())?))
                });
                pairs.collect::<Option<_>>().map(Value::Map)
            }
            (Shape::Map, _) => None,
        };
        let span = value.span();
        match read {
            Some(read) => {
                let line = self.line(&span);
                self.content.found.push((key, read, line));
            }
            None => {
                let expected = match key.shape {
                    Shape::One => "one value",
                    Shape::List => "a list of values",
                    Shape::Map => "a table of names with values",
                };
                let is = value.get_ref().type_str();
                self.wrong(
                    format!("`{}` must be {expected}, not of type {is}", key.name),
                    &span,
                );
            }
        }
    }

    fn wrong(&mut self, message: String, at: &Range<usize>) {
        let line = self.line(at);
        self.content.wrong.push((message, line));
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
