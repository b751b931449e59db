//! The packet filter and the network of the machine, which decide what containers reach.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Where the tools are that not every account has in its path.
const TOOLS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Runs a tool; gives what it prints.
///
/// # Errors
/// What it says when it fails.
pub fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(name);
    let output = command.args(arguments).env("PATH", TOOLS).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{name} {arguments:?}: {message}"))
}

/// Whether a worker can limit what containers reach: this process is where the engine's interfaces are, and may set
/// rules. If not, says that the test is skipped.
#[must_use]
pub fn can_be_set(test: &str) -> bool {
    let docker0 = Path::new("/proc/sys/net/ipv4/conf/docker0");
    let missing = [
        ("docker0", !docker0.exists()),
        (
            "the right to use nft",
            tool("nft", &["list", "tables"]).is_err(),
        ),
        ("ip", tool("ip", &["-V"]).is_err()),
    ];
    let missing = missing.iter().filter(|(_, is_missing)| *is_missing);
    let missing: Vec<_> = missing.map(|(what, _)| *what).collect();
    if missing.is_empty() {
        return true;
    }
    // Past the capture of the tests' output.
    let told = writeln!(
        std::io::stderr(),
        "\nSKIPPED {test}: this machine lacks {}",
        missing.join(", ")
    );
    told.unwrap_or_default();
    false
}

/// A table of rules that is removed when the test ends, however it ends.
#[derive(Debug)]
pub struct Table(pub String);

impl Table {
    /// Whether the packet filter has it.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn stands(&self) -> bool {
        let tables = tool("nft", &["list", "tables"]).expect("the tables");
        tables.split_whitespace().any(|word| word == self.0)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        drop(tool("nft", &["delete", "table", "inet", &self.0]));
    }
}

/// Says `page` over HTTP to whoever reaches any of the machine's addresses; gives the port.
///
/// # Panics
/// Without a free port.
#[must_use]
pub fn listen(page: &'static str) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let Ok(mut caller) = caller else { return };
            let mut request = [0; 256];
            // Who hangs up early is not interested.
            drop(caller.read(&mut request));
            drop(write!(caller, "HTTP/1.0 200 OK\r\n\r\n{page}"));
        }
    });
    port
}
