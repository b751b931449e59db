//! Why TLS with a master failed, in words that lead to the remedy.

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, InvalidMessage};

/// Why a connection could not be secured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsFault {
    /// Unknown issuer.
    #[error("its certificate is not signed by a CA you trust")]
    UnknownCa,
    /// Too late.
    #[error("its certificate has expired")]
    Expired,
    /// Another host's.
    #[error("its certificate is for another host name")]
    WrongName,
    /// Anything else about the certificate.
    #[error("its certificate is not valid: {0}")]
    Invalid(String),
    /// No TLS on that port.
    #[error("it answers plain HTTP there")]
    PlainHttp,
}

impl TlsFault {
    /// What an error of a call says about TLS; `None` when it is about something else.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        match innermost(error)? {
            rustls::Error::InvalidCertificate(fault) => Some(match fault {
                CertificateError::UnknownIssuer => Self::UnknownCa,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                other => Self::Invalid(other.to_string()),
            }),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Some(Self::PlainHttp)
            }
            _ => None,
        }
    }

    /// What to do about it.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::UnknownCa => "set DOPQ_CA_FILE to the file (PEM) of the CA that signed it",
            Self::Expired => "check this machine's clock, or ask your admin to renew it",
            Self::WrongName => "use the host name that the certificate is for",
            Self::Invalid(_) => "ask your admin for a valid certificate",
            Self::PlainHttp => "use http:// in the URL",
        }
    }
}

/// The error of rustls inside another.
fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an io::Error is that of the error in it, which is skipped otherwise.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_inside_other_errors() {
        let wrap = |fault: rustls::Error| io::Error::other(io::Error::other(fault));
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(TlsFault::of(&wrap(unknown)), Some(TlsFault::UnknownCa));
        let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert_eq!(TlsFault::of(&wrap(plain)), Some(TlsFault::PlainHttp));
        assert_eq!(TlsFault::of(&io::Error::other("refused")), None);
    }
}
