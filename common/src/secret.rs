//! A text that nobody may read by accident.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A token, key or password that is sent or stored as its text. `Debug` hides it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(SecretString);

impl Secret {
    /// The text, to send it, to store it or to show it to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        self.reveal().as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.reveal())
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reveal())
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use crate::{api, wire};

    const TEXT: &str = "s3cret";

    fn read<T: DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(&json.replace("SECRET", TEXT)).expect("JSON")
    }

    #[test]
    fn debug_output_contains_no_token() {
        let order: wire::RunOrder = read(
            r#"{"cluster":"c","user":"anna","config":"{}","token":"SECRET","data_urls":[],
                "allocation":{"gpus":[],"cpu_milli":1,"memory_bytes":1}}"#,
        );
        let created: api::TokenCreated = read(
            r#"{"info":{"id":"1","label":"","created_at":"2026-01-01T00:00:00Z","expires_at":null},
                "token":"SECRET"}"#,
        );
        assert_eq!((order.token.reveal(), created.token.reveal()), (TEXT, TEXT));
        let login: api::Login = read(r#"{"name":"anna","password":"SECRET"}"#);
        let change: api::NewPassword = read(r#"{"password":"SECRET","current":"SECRET"}"#);
        let shown = format!("{order:?} {created:?} {login:?} {change:?}");
        assert!(!shown.contains(TEXT), "{shown}");
    }
}
