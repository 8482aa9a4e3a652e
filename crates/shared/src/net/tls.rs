//! Makes sure that inner and console talk to their router: by the public key whose fingerprint is
//! in their own key, or by a certificate that this machine's authorities vouch for.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError,
    RootCertStore, SignatureScheme,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::transport::Transport;
use crate::key::{Fingerprint, FingerprintStart};

/// Cryptography of all three programs.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The router's public key is not the one that the caller's key was made for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("its public key is {found}, and not {}", any_of(.expected))]
pub struct OtherRouter {
    /// What the caller knows the router by.
    pub expected: Vec<Pin>,
    /// Fingerprint of the router.
    pub found: Fingerprint,
}

fn any_of(pins: &[Pin]) -> String {
    let texts: Vec<_> = pins.iter().map(ToString::to_string).collect();
    texts.join(" or ")
}

/// A fingerprint of the router's public key, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// All of it, from a key.
    Whole(Fingerprint),
    /// Its beginning, from an invitation.
    Start(FingerprintStart),
}

impl Pin {
    fn fits(&self, found: &Fingerprint) -> bool {
        match self {
            Self::Whole(whole) => whole == found,
            Self::Start(start) => found.as_bytes().starts_with(start.as_bytes()),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Start(start) => write!(f, "{start}…"),
        }
    }
}

/// Puts TLS on a connection to the router `host`. The router must have the public key with one of
/// these fingerprints; without a fingerprint, a certificate for that name from an authority that this
/// machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's).
///
/// # Errors
/// If the TLS handshake fails; with an [`OtherRouter`] inside if the router's public key is wrong.
pub async fn connect(
    stream: TcpStream,
    host: &str,
    fingerprints: &[Fingerprint],
) -> io::Result<Transport> {
    let pins = fingerprints.iter().copied().map(Pin::Whole);
    connect_pinned(stream, host, pins.collect()).await
}

/// Does what [`connect`] does, by any of these pins.
///
/// # Errors
/// See [`connect`].
pub async fn connect_pinned(
    stream: TcpStream,
    host: &str,
    pins: Vec<Pin>,
) -> io::Result<Transport> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = if pins.is_empty() {
        let mut roots = RootCertStore::empty();
        // Some of a system's certificates can't be parsed; if none can, the handshake fails.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        config.with_root_certificates(roots)
    } else {
        let verifier = Arc::new(Pinned { pins, provider });
        config
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    };
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    Ok(Transport::tls(connector.connect(name, stream).await?))
}

/// Accepts certain public keys, whatever else its certificate says: names and dates add nothing, and a
/// wrong clock does no harm. The handshake's signature proves, as always, that the peer has the
/// private key.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let found = Fingerprint::of_public_key(&certificate.subject_public_key_info());
        if self.pins.iter().any(|pin| pin.fits(&found)) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherRouter {
            expected: self.pins.clone(),
            found,
        };
        let other = CertificateError::Other(OtherError(Arc::new(other)));
        Err(TlsError::InvalidCertificate(other))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Returns a sentence that says why a handshake failed and what to do; `None` if TLS is not the
/// reason.
#[must_use]
pub fn explain(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<TlsError>()?;
    Some(match tls {
        TlsError::InvalidCertificate(CertificateError::Other(OtherError(inner)))
            if inner.is::<OtherRouter>() =>
        {
            format!(
                "this is not the router that the key was made for ({inner}): somebody in between may be listening, or this network wants you to sign in first, or the router has a new certificate, or the key's last part was copied wrong. Copy the key again; if the router has a new certificate, give the key its fingerprint (`p2p-router certificate show` there prints the line for that) or make a new key there (`p2p-router key add`)"
            )
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no authority vouches for its certificate: a key made by `p2p-router key add` on that router knows it without one, and the key here has no fingerprint (a fourth part). Or this network wants you to sign in first".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired: renew it on the router, or check this machine's clock".to_owned(),
        TlsError::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: check this machine's clock".to_owned(),
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is for another name ({tls}): use the name that it is for"),
        TlsError::InvalidMessage(_) => {
            "it speaks no TLS: it is a p2p-router with --open, to which no key is sent (move the one in ~/.config/p2prouter/key away, or set HOME or XDG_CONFIG_HOME to another place), or one of before TLS, or another program, as the sign-in page of a network"
                .to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    })
}
