//! An image registry that has no images: it answers, and knows no manifest.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

const UNKNOWN: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;

/// A started registry on the loopback address, which engines talk to without TLS. It answers until the process ends.
#[derive(Debug)]
pub struct Registry(SocketAddr);

impl Registry {
    /// Starts it.
    ///
    /// # Panics
    /// When it finds no port.
    #[must_use]
    pub fn without_images() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                std::thread::spawn(move || answer(&connection).unwrap_or_default());
            }
        });
        Self(address)
    }

    /// The name of an image that it does not have.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}/no/such:image", self.0)
    }
}

fn answer(mut connection: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let (status, body) = if request.contains(" /v2/ ") {
        ("200 OK", "{}")
    } else {
        ("404 Not Found", UNKNOWN)
    };
    // The answer to HEAD has no body.
    let body = if request.starts_with("HEAD") {
        ""
    } else {
        body
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
