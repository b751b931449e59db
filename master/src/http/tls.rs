//! TLS for the API. Reloads certificate and key when their files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// How often the files are checked. Certificates are renewed weeks before they expire.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Unusable certificate or key files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or contains no PEM of the right kind. Fits "failed to {error}".
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file's modification time is unknown.
    #[error("look at {}", path.display())]
    Look {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file contains no certificate.
    #[error("find a certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// Key and certificate do not match, or their kind is unknown.
    #[error("use the certificate with its key")]
    Unfit(#[source] rustls::Error),
}

/// The API's certificate and key.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(read(cert, key)?)),
        })
    }

    /// Accepts connections with the newest certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read()).into()
    }

    /// Reloads the files whenever they change, for ever. Keeps the old ones if the new ones are unusable, such as half
    /// of a renewed pair.
    pub(super) async fn watch(&self) {
        let mut seen = self.changed_at().ok();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            match self.changed_at() {
                Ok(now) if Some(now) == seen => {}
                Ok(now) => match self.reload() {
                    Ok(()) => {
                        tracing::info!(cert = %self.cert.display(), "reloaded the certificate");
                        seen = Some(now);
                    }
                    Err(error) => warn(&error),
                },
                Err(error) => warn(&error),
            }
        }
    }

    fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.cert, &self.key)?);
        *self.current.write() = config;
        Ok(())
    }

    fn changed_at(&self) -> Result<[SystemTime; 2], TlsError> {
        let look = |path: &PathBuf| {
            let changed = std::fs::metadata(path).and_then(|data| data.modified());
            changed.map_err(|source| TlsError::Look {
                path: path.clone(),
                source,
            })
        };
        Ok([look(&self.cert)?, look(&self.key)?])
    }
}

fn warn(error: &TlsError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(
        error,
        "failed to reload the certificate; keeping the old one"
    );
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert).map_err(unread(cert))?;
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.map_err(unread(cert))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unread(key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
