//! What is known of a setting, and the nearest one to an unknown name.

use crate::secret::Secret;

/// What the names of our environment variables begin with.
pub(super) const PREFIX: &str = "DOPQ_";

/// One setting.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name in the file, with its table: `store.url`.
    pub name: String,
    /// Its value when nobody sets it; `None` when it then has none.
    pub default: Option<String>,
    /// What its value looks like.
    pub shape: Shape,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// One sentence for people.
    pub help: &'static str,
}

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// A list; separated by commas in the environment and in flags.
    List,
    /// Names with values, a table in the file; `name=value` separated by commas elsewhere.
    Map,
}

/// A value that is not yet read: names and texts, with empty names unless it is a table. Any text may be a secret.
pub(super) type Raw = Vec<(String, Secret)>;

impl Shape {
    /// Reads the text of a variable or a flag; `None` when it is no table.
    pub(super) fn split(self, text: &str) -> Option<Raw> {
        let pieces = text
            .split(',')
            .map(str::trim)
            .filter(|piece| !piece.is_empty());
        match self {
            Self::One => Some(vec![(String::new(), text.into())]),
            Self::List => Some(pieces.map(|piece| (String::new(), piece.into())).collect()),
            Self::Map => pieces
                .map(|piece| {
                    let (name, value) = piece.split_once('=')?;
                    Some((name.trim().to_owned(), value.trim().into()))
                })
                .collect(),
        }
    }
}

impl Key {
    /// Its name in the environment: `DOPQ_STORE_URL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{PREFIX}{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// Its row in `docs/CONFIGURATION.md`.
    #[must_use]
    pub fn row(&self) -> String {
        let default = self.default.as_ref().map(|text| format!("`{text}`"));
        let shape = match self.shape {
            Shape::One => None,
            Shape::List => Some("a list; elsewhere separated by commas"),
            Shape::Map => Some("a table; elsewhere `name=value,name=value`"),
        };
        let notes: Vec<&str> = self
            .secret
            .then_some("never shown")
            .into_iter()
            .chain(shape)
            .collect();
        let notes = match notes[..] {
            [] => String::new(),
            _ => format!(" ({})", notes.join("; ")),
        };
        format!(
            "| `{}` | {} | {}{notes} |",
            self.name,
            default.unwrap_or_default(),
            self.help
        )
    }
}

/// The nearest of `known` to `name`, when it is near enough to be a slip.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min()
        .map(|(_, known)| known)
}
