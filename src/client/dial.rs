//! How a connection is made: to a host, or to the daemon of this one.
//!
//! What it does not do: say or hear anything of UFT.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{ClientError, Endpoint, Notice, Options, PORT, Security, TLS_PORT, TlsMode, Watch};
use crate::local::client::{AskError, ask};
use crate::local::{Answer, Request};
use crate::tls::{self, Link};

/// A byte stream in both directions: TCP, TLS, or the local socket.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that was made, and what it is known by.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Duplex>,
    pub(super) link: Link,
}

/// Connects to a host, in TLS or in clear as the options say.
pub(super) async fn dial(
    host: &str,
    port: Option<u16>,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Dialled, ClientError> {
    let security = &options.security;
    let at = |port: u16| Endpoint::Tcp {
        host: host.to_owned(),
        port: Some(port),
    };
    let clear = at(port.unwrap_or(PORT));
    let secure = at(port.unwrap_or(TLS_PORT));
    if security.required() {
        let stream = connect(&secure, options.timeout).await?;
        return secured(&secure, host, stream, options).await;
    }
    if security.mode == TlsMode::Prefer && port.is_none() {
        match connect(&secure, options.timeout).await {
            Ok(stream) => return secured(&secure, host, stream, options).await,
            Err(err) if is_refused(&err) => {}
            Err(err) => return Err(err),
        }
        let stream = in_clear(connect(&clear, options.timeout).await?);
        watch(Notice::Warning(format!(
            "{host} has no TLS (connection refused on port {TLS_PORT}): sent in clear on port {PORT}"
        )));
        return Ok(stream);
    }
    connect(&clear, options.timeout).await.map(in_clear)
}

fn in_clear(stream: TcpStream) -> Dialled {
    Dialled {
        stream: Box::new(stream),
        link: Link::default(),
    }
}

/// Nobody listens there: the one answer that says that a host has no TLS.
fn is_refused(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
}

/// Makes a connection one in TLS.
async fn secured(
    endpoint: &Endpoint,
    host: &str,
    stream: TcpStream,
    options: &Options,
) -> Result<Dialled, ClientError> {
    let Security { own, .. } = &options.security;
    let trust = options.security.trust();
    let session = timeout(
        options.timeout,
        tls::connect(stream, host, &trust, own.as_deref()),
    );
    match session.await {
        Ok(Ok((stream, link))) => Ok(Dialled {
            stream: Box::new(stream),
            link,
        }),
        Ok(Err(why)) => Err(ClientError::Tls {
            endpoint: endpoint.clone(),
            why,
        }),
        Err(_) => Err(ClientError::TimedOut {
            step: "TLS".into(),
            after: options.timeout,
        }),
    }
}

/// Connects to the first address that answers.
async fn connect(endpoint: &Endpoint, patience: Duration) -> Result<TcpStream, ClientError> {
    let Endpoint::Tcp {
        host,
        port: Some(port),
    } = endpoint
    else {
        return Err(unreachable(endpoint, io::ErrorKind::InvalidInput.into()));
    };
    let unresolved = |source| ClientError::Resolve {
        host: host.clone(),
        source,
    };
    let addresses = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(unresolved)?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small lines must not wait for the acknowledgement of earlier ones.
                stream
                    .set_nodelay(true)
                    .map_err(|source| unreachable(endpoint, source))?;
                return Ok(stream);
            }
            // Refused at one address and silent at another is not refused.
            Ok(Err(err)) if failed.kind() != io::ErrorKind::TimedOut => failed = err,
            Ok(Err(_)) => {}
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(unreachable(endpoint, failed))
}

fn unreachable(endpoint: &Endpoint, source: io::Error) -> ClientError {
    ClientError::Unreachable {
        endpoint: endpoint.clone(),
        source,
    }
}

/// A session over the local socket, and what was read of it already.
pub(super) async fn local_session(
    path: &Path,
    patience: Duration,
) -> Result<(Box<dyn Duplex>, Vec<u8>), ClientError> {
    let path = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut asked = ask(&path, &Request::Session)?;
        match asked.only()? {
            Answer::Done { .. } => Ok(asked.into_session()),
            Answer::Refused { why, text } => Err(ClientError::NotAdmitted { why, text }),
            other => Err(AskError::NotUnderstood(format!("{other:?}")).into()),
        }
    });
    let broken = |err: io::Error| ClientError::Local(AskError::Lost(err));
    // Connecting may wait as well, when the daemon's queue is full.
    let asked = timeout(patience, asked)
        .await
        .map_err(|_| ClientError::TimedOut {
            step: "the request for a session".into(),
            after: patience,
        })?;
    let (stream, read_ahead) = asked.map_err(|err| broken(io::Error::other(err)))??;
    stream.set_nonblocking(true).map_err(broken)?;
    let stream = UnixStream::from_std(stream).map_err(broken)?;
    Ok((Box::new(stream), read_ahead))
}
