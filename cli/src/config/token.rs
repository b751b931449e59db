//! A token, which is never printed by accident.

use std::fmt;
use std::path::Path;

use reqwest::header::HeaderValue;

/// The secret that proves who one is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// Takes the text without the blanks and newlines around it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without repeating it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; a token begins with dopq_".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "is not a token: it has blanks or other characters in the middle".to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a file that holds nothing but the token.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, or what is wrong with its content.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|fault| format!("{} {fault}", path.display()))
    }

    /// The secret, for the user's own file.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the `Authorization` header, kept out of debug output.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
