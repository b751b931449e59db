//! Certificates for private servers, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority of its own and a server's certificate for the address 127.0.0.1, and for no name.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |arguments: &str| {
            let output = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .output();
            let output = output.expect("openssl runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "openssl {arguments}: {error}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test"
        ));
        run(&format!(
            "req {key} -keyout server.key -out server.csr -subj /CN=server"
        ));
        let names = "subjectAltName = IP:127.0.0.1";
        std::fs::write(folder.path().join("names"), names).expect("its names");
        run(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \
             -out server.pem",
        );
        Self { folder }
    }

    /// The authority's certificate, for clients.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.ca()).expect("the certificate is read")
    }

    /// The file of the authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The file of the server's certificate.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The file of the server's key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}
