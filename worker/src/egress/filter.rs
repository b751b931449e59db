//! Hands rules to the kernel's packet filter, with the program `nft`.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Where the program is; not every account has all of these in its path.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
const PATIENCE: Duration = Duration::from_secs(30);

/// Rules that do not stand.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The program cannot be run.
    #[error("run nft; it is in the package nftables")]
    Program(#[source] io::Error),
    /// The kernel refuses the rules.
    #[error(
        "set the packet filter's rules, which needs root in the network of the machine: {message}"
    )]
    Refused {
        /// What the program says.
        message: String,
    },
}

/// Applies all of `rules`, or nothing of them.
pub(super) async fn apply(rules: &str) -> Result<(), FilterError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", FOLDERS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(FilterError::Program)?;
    let all = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(rules.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let ended = tokio::time::timeout(PATIENCE, all).await;
    let output = ended
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(FilterError::Program)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message = text.lines().next().unwrap_or_default().to_owned();
    Err(FilterError::Refused { message })
}
