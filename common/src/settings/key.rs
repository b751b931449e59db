//! A setting that a program knows, and the nearest one to a name that it does not know.

/// What the names of our environment variables begin with.
pub(super) const PREFIX: &str = "DOPQ_";

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in the file, with its table: `store.url`.
    pub name: &'static str,
    /// What it is when nobody sets it, as one would write it; `None` when it then has no value.
    pub default: Option<&'static str>,
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

impl Key {
    /// A setting of one value.
    #[must_use]
    pub const fn new(
        name: &'static str,
        default: Option<&'static str>,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            default,
            shape: Shape::One,
            secret: false,
            help,
        }
    }

    /// The same with another shape.
    #[must_use]
    pub const fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// The same, never shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Its name in the environment: `DOPQ_STORE_URL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{PREFIX}{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }
}

/// The nearest of `known` to `name`, when one is near enough to be a slip of the pen.
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
