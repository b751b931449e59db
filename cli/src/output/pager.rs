//! A pager for what is longer than the terminal is high.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// What runs without `PAGER`.
const DEFAULT: &str = "less";

/// How less behaves unless `LESS` says otherwise: it ends by itself where all fits, shows colours, and leaves the text
/// on the screen.
const LESS: &str = "FRX";

/// The words of the pager's command; nothing if none is wanted.
fn words(pager: Option<&str>) -> Option<Vec<&str>> {
    let words: Vec<_> = pager.unwrap_or(DEFAULT).split_whitespace().collect();
    (!matches!(words.as_slice(), [] | ["cat"])).then_some(words)
}

/// Shows a text with the pager that `PAGER` names, and waits until the person leaves it. Returns false if there is none.
pub(super) fn show(text: &[u8]) -> io::Result<bool> {
    let pager = std::env::var("PAGER").ok();
    let Some(words) = words(pager.as_deref()) else {
        return Ok(false);
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    // Ctrl-C is the pager's: were this program to end by it, the pager would fight with the shell for the terminal.
    #[cfg(unix)]
    let _interrupts = tokio::runtime::Handle::try_current().ok().and_then(|_| {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).ok()
    });
    let Ok(mut child) = command.spawn() else {
        return Ok(false);
    };
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text) {
            // The person left before the end.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_less_unless_the_user_says_otherwise() {
        assert_eq!(words(None), Some(vec!["less"]));
        assert_eq!(words(Some("most -s")), Some(vec!["most", "-s"]));
        assert_eq!(words(Some("cat")), None);
        assert_eq!(words(Some(" ")), None);
    }
}
