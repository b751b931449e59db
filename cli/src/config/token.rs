//! A token. `Debug` hides it.

use std::path::Path;

use dopq_common::secret::Secret;
use reqwest::header::HeaderValue;

/// The secret that identifies a user.
#[derive(Debug, Clone)]
pub(crate) struct Token(Secret);

impl Token {
    /// Takes the text without the blanks and newlines around it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without repeating it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; tokens begin with dopq_".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("contains spaces or characters that no token has".to_owned());
        }
        Ok(Self(Secret::from(text)))
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
        self.0.reveal()
    }

    /// The value of the `Authorization` header, kept out of debug output.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.reveal())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
