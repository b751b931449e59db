//! One line for an error and what caused it.

use std::error::Error;

/// The error and its sources in one line, separated by colons. A source whose text is already there is left out: some
/// libraries repeat it in their own.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_once() {
        let inner = std::io::Error::other("no space left");
        let outer = std::io::Error::other(Wrapped(inner));
        assert_eq!(chain(&outer), "cannot write: no space left");
        let repeats = Repeats(std::io::Error::other("no space left"));
        assert_eq!(chain(&repeats), "cannot write: no space left");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write")]
    struct Wrapped(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write: {0}")]
    struct Repeats(#[source] std::io::Error);
}
