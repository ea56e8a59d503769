//! TLS: the end of a session that is dialled, and the end that answers. The only file that names the TLS library.
//!
//! A server shows one certificate and asks for the client's, which it need not have: what is shown there is only ever
//! compared with the fingerprints of known gateways. A client trusts what the system's authorities signed, or a certificate
//! that it knows, or, on the first use of a host, one that the host signed itself. Sessions are not resumed, so that
//! every one has shown its certificates and has an exporter of its own. What it does *not* do: sockets, time-outs,
//! remembering certificates (`cli::known_hosts`), deciding who a fingerprint belongs to (`peers`).
//!
//! TLS 1.2 (with the extended master secret of RFC 7627, without which an exporter binds nothing) and 1.3.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme, client,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client as client_side, server as server_side};

use crate::proto::proof::Fingerprint;

/// What both ends of a session export for the proof of gateways.
const EXPORTER: &[u8] = b"EXPORTER-uft-peer-1";

/// The own certificate and key.
pub struct Own {
    acceptor: TlsAcceptor,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A file cannot be read, or is not in PEM.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The two do not belong together, or the key is of a kind that is not supported.
    #[error("{} and {}: {why}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

/// Which certificates of a server are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's authorities signed for the host's name.
    System,
    /// The same, and one that the host signed itself: its dates and names are not looked at.
    FirstUse,
    /// One of these, whoever signed it and for whatever name.
    Known(Vec<Fingerprint>),
}

/// What a session is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What both ends can export, and nobody else; empty in clear.
    pub exporter: Vec<u8>,
    /// The certificate that the other end showed.
    pub certificate: Option<Fingerprint>,
    /// Nobody vouches for that certificate: it is taken on first use.
    pub first_use: bool,
}

/// Why there is no session with a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Its certificate is none of those that it is known by.
    #[error("its certificate is not the one that is known: it shows {0}")]
    Changed(Fingerprint),
    /// Its certificate is not good.
    #[error("{0}")]
    Certificate(String),
    /// It does not speak TLS, or none that we speak.
    #[error("no TLS session: {0}")]
    Handshake(String),
    /// The host's name cannot stand in a certificate.
    #[error("no certificate can be for a host of this name")]
    Name,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Own {
    /// Reads certificate (with those that signed it, if it has any) and key, both in PEM.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(certificate: &Path, key: &Path) -> Result<Own, OwnError> {
        let file = |path: &Path, why: String| OwnError::File {
            path: path.to_owned(),
            why,
        };
        let pem = std::fs::read(certificate).map_err(|err| file(certificate, err.to_string()))?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|err| file(certificate, err.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| file(certificate, "there is no certificate in it".into()))?;
        let fingerprint = Fingerprint::of(first);
        let pem = std::fs::read(key).map_err(|err| file(key, err.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| file(key, "there is no private key in it".into()))?;
        let config = server_config(chain.clone(), secret.clone_key()).map_err(|err| OwnError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: err.to_string(),
        })?;
        Ok(Own {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            chain,
            key: secret,
            fingerprint,
        })
    }

    /// What others know this certificate by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Answers a client. When that fails, gives the connection back, so that it can be closed in an orderly way.
    ///
    /// # Errors
    /// When the client does not speak TLS, or breaks off.
    pub async fn accept<S>(&self, stream: S) -> Result<(server_side::TlsStream<S>, Link), (io::Error, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secure = self.acceptor.accept(stream).into_fallible().await?;
        let session = secure.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.map(|shown| Fingerprint::of(shown));
        match session.export_keying_material(vec![0; 32], EXPORTER, None) {
            Ok(exporter) => {
                let link = Link {
                    exporter,
                    certificate,
                    first_use: false,
                };
                Ok((secure, link))
            }
            Err(err) => Err((io::Error::other(err), secure.into_inner().0)),
        }
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.require_ems = true;
    Ok(config)
}

/// Opens a session with the server `host`. `own`: the certificate that we show, if it asks for one.
///
/// # Errors
/// When there is no session, or none with a server that is to be trusted.
pub async fn connect<S>(
    stream: S,
    host: &str,
    trust: &Trust,
    own: Option<&Own>,
) -> Result<(client_side::TlsStream<S>, Link), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = server_name(host, trust)?;
    let judge = Arc::new(Judge::new(trust).await?);
    let config =
        client_config(Arc::clone(&judge), own).map_err(|err| TlsError::Handshake(err.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let secure = connected.map_err(|err| judge.explain(&err))?;
    let session = secure.get_ref().1;
    let exporter = session
        .export_keying_material(vec![0; 32], EXPORTER, None)
        .map_err(|err| TlsError::Handshake(err.to_string()))?;
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let link = Link {
        exporter,
        certificate: certificate.map(|shown| Fingerprint::of(shown)),
        first_use: judge.remark() == Some(Remark::FirstUse),
    };
    Ok((secure, link))
}

/// The name that is asked for, without the zone of an IPv6 address. Where names do not count, any host has one.
fn server_name(host: &str, trust: &Trust) -> Result<ServerName<'static>, TlsError> {
    let host = host.split('%').next().unwrap_or(host);
    let named = ServerName::try_from(host.to_owned());
    named.or_else(|_| match trust {
        Trust::Known(_) => ServerName::try_from("localhost").map_err(|_| TlsError::Name),
        Trust::System | Trust::FirstUse => Err(TlsError::Name),
    })
}

fn client_config(judge: Arc<Judge>, own: Option<&Own>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&judge.provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(judge);
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = client::Resumption::disabled();
    config.require_ems = true;
    Ok(config)
}

/// What was found out about a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remark {
    FirstUse,
    Changed(Fingerprint),
}

/// Decides on one server's certificate.
#[derive(Debug)]
struct Judge {
    provider: Arc<CryptoProvider>,
    trust: Trust,
    /// The system's authorities; `None` when it has none, or they do not count.
    system: Option<Arc<WebPkiServerVerifier>>,
    remark: Mutex<Option<Remark>>,
}

impl Judge {
    async fn new(trust: &Trust) -> Result<Judge, TlsError> {
        let provider = provider();
        let system = match trust {
            Trust::Known(_) => None,
            Trust::System | Trust::FirstUse => {
                let provider = Arc::clone(&provider);
                let read = tokio::task::spawn_blocking(move || system_authorities(provider));
                read.await.map_err(|err| TlsError::Handshake(err.to_string()))?
            }
        };
        Ok(Judge {
            provider,
            trust: trust.clone(),
            system,
            remark: Mutex::default(),
        })
    }

    fn remark(&self) -> Option<Remark> {
        *self.remark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, remark: Remark) {
        *self.remark.lock().unwrap_or_else(PoisonError::into_inner) = Some(remark);
    }

    /// Why the handshake failed.
    fn explain(&self, err: &io::Error) -> TlsError {
        if let Some(Remark::Changed(shown)) = self.remark() {
            return TlsError::Changed(shown);
        }
        let cause = err.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match cause {
            Some(Error::InvalidCertificate(why)) => TlsError::Certificate(complaint(why)),
            Some(Error::InvalidMessage(_)) => TlsError::Handshake("the answer is not TLS".into()),
            Some(other) => TlsError::Handshake(other.to_string()),
            None if err.kind() == io::ErrorKind::UnexpectedEof => {
                TlsError::Handshake("the connection was closed".into())
            }
            None => TlsError::Handshake(err.to_string()),
        }
    }
}

fn complaint(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host".into()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is not signed by an authority that this system knows".into()
        }
        CertificateError::Revoked => "its certificate was revoked".into(),
        other => format!("its certificate is not good: {other}"),
    }
}

fn system_authorities(provider: Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    // What cannot be read there vouches for nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of(end_entity);
        if let Trust::Known(known) = &self.trust {
            if known.contains(&shown) {
                return Ok(ServerCertVerified::assertion());
            }
            self.note(Remark::Changed(shown));
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let verified = match &self.system {
            Some(system) => {
                system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if verified.is_err() && self.trust == Trust::FirstUse && signed_by_itself(end_entity) {
            self.note(Remark::FirstUse);
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Takes any certificate of a client, or none: that it has the key to it is checked, who it is others look up.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether issuer and subject of a certificate are the same: nobody else is asked to vouch for it. That it has the key
/// is what the handshake shows. What is not understood was signed by somebody else.
fn signed_by_itself(certificate: &[u8]) -> bool {
    names(certificate).is_some_and(|(issuer, subject)| issuer == subject)
}

/// Issuer and subject, as they stand there (RFC 5280 4.1).
fn names(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    let mut next = || {
        let (_, value, after) = element(rest)?;
        rest = after;
        Some(value)
    };
    let (_serial, _algorithm) = (next()?, next()?);
    let issuer = next()?;
    let _validity = next()?;
    Some((issuer, next()?))
}

/// One element of DER: its tag, its value, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit));
            (length, rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
