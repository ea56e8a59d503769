//! How a connection is made: to a host, or to the daemon of this one.
//!
//! What it does not do: say or hear anything of UFT.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{ClientError, Endpoint};
use crate::local::client::{AskError, ask};
use crate::local::{Answer, Request};

/// A byte stream in both directions: TCP, or the local socket.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to the first address that answers.
pub(super) async fn dial(
    endpoint: &Endpoint,
    host: &str,
    port: u16,
    patience: Duration,
) -> Result<Box<dyn Duplex>, ClientError> {
    let unresolved = |source| ClientError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(unresolved)?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small lines must not wait for the acknowledgement of earlier ones.
                stream
                    .set_nodelay(true)
                    .map_err(|source| unreachable(endpoint, source))?;
                return Ok(Box::new(stream));
            }
            Ok(Err(err)) => failed = err,
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
