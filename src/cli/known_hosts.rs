//! Certificates that hosts signed themselves, as they were met first: `~/.config/uft/known_hosts`, one `host:port
//! sha256:<hex>` a line.
//!
//! A host that is in there is spoken to in TLS only, and has to show a certificate that is in there for it. What this
//! file does *not* do: check certificates (`tls` does), or forget one: that is for the user to do.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::aliases::own_file;
use super::exit::{Exit, Failure, reason};
use super::send::carry::explained;
use crate::client::{Connection, Endpoint, Notice, Options, Security, TLS_PORT, TlsMode, Watch};
use crate::proto::proof::Fingerprint;

/// Name of the file, for people.
pub(crate) const SHOWN: &str = "~/.config/uft/known_hosts";
const NAME: &str = "known_hosts";

/// The values of `--tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// In TLS where port 5608 answers, in clear on 608 only when it refuses the connection; with a port in clear. A
    /// host whose certificate is known is never spoken to in clear
    #[default]
    Prefer,
    /// In TLS or not at all
    Require,
    /// In clear
    Off,
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> TlsMode {
        match tls {
            Tls::Prefer => TlsMode::Prefer,
            Tls::Require => TlsMode::Require,
            Tls::Off => TlsMode::Off,
        }
    }
}

/// Opens a connection as a user does: known certificates count, and one that a host signed itself is remembered before
/// anything is sent. What happens is told to `watch`.
pub(crate) async fn open(
    endpoint: &Endpoint,
    timeout: Duration,
    tls: Tls,
    watch: Watch<'_>,
) -> Result<Connection, super::send::carry::NotSent> {
    let known = match (key(endpoint), tls) {
        (None, _) | (_, Tls::Off) => Vec::new(),
        (Some(key), Tls::Prefer | Tls::Require) => known(own_file(NAME).as_deref(), &key)?,
    };
    let options = Options {
        security: Security {
            mode: tls.into(),
            known,
            first_use: true,
            own: None,
        },
        ..Options::new(timeout)
    };
    let connection = Connection::open(endpoint, &options, watch)
        .await
        .map_err(|err| explained(&err))?;
    if let (Some(met), Some(key)) = (connection.first_use(), key(endpoint)) {
        let said = match remember(own_file(NAME).as_deref(), &key, met) {
            Ok(others) if !others.is_empty() => return Err(changed(&key).into()),
            Ok(_) => format!("{key} signed its certificate itself; it is remembered in {SHOWN}: {met}"),
            Err(err) => format!(
                "{key} signed its certificate itself, and it cannot be remembered in {SHOWN}: {}",
                reason(&err)
            ),
        };
        watch(Notice::Warning(said));
    }
    Ok(connection)
}

/// What a host is called in the file: `host:port`, the host in lower case.
fn key(endpoint: &Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let host = host.to_ascii_lowercase();
            let port = Some(port.unwrap_or(TLS_PORT));
            Some(Endpoint::Tcp { host, port }.to_string())
        }
        Endpoint::Local(_) => None,
    }
}

/// The certificates that are known of a host.
fn known(file: Option<&Path>, key: &str) -> Result<Vec<Fingerprint>, Failure> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let failed = |why: String| Failure::new(Exit::NoInput, format!("{}: {why}", file.display()));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(failed(format!("cannot be read: {}", reason(&e)))),
    };
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(host), print) if host.eq_ignore_ascii_case(key) => {
                let print = print.and_then(|print| print.parse().ok());
                // A line that cannot be read must not make an unknown host of a known one.
                found
                    .push(print.ok_or_else(|| failed(format!("line {} is not: {key} sha256:<hex>", n + 1)))?);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Another program has met the host meanwhile, and it showed another certificate there.
fn changed(key: &str) -> Failure {
    let what =
        format!("{key} shows two certificates at the same time; one is in {SHOWN}, the other is not taken");
    Failure::new(Exit::Refused, what)
}

/// Adds a line, unless the host is in the file already: somebody who comes between must not have a certificate of its own
/// taken because two programs met the host at once. The certificates of the host, if this is none of them.
fn remember(file: Option<&Path>, key: &str, print: Fingerprint) -> io::Result<Vec<Fingerprint>> {
    let file: PathBuf = file
        .ok_or_else(|| io::Error::other("there is no home directory"))?
        .to_owned();
    if let Some(dir) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut options = OpenOptions::new();
    let mut open = options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&file)?;
    // Held until the file is closed.
    rustix::fs::flock(&open, rustix::fs::FlockOperation::LockExclusive)?;
    let others = known(Some(&file), key).map_err(|failure| io::Error::other(failure.text))?;
    if !others.is_empty() {
        return Ok(match others.contains(&print) {
            true => Vec::new(),
            false => others,
        });
    }
    // The last line may have been written by hand, without its end.
    let mut text = Vec::new();
    open.read_to_end(&mut text)?;
    let gap = if matches!(text.last(), None | Some(b'\n')) {
        ""
    } else {
        "\n"
    };
    open.write_all(format!("{gap}{key} {print}\n").as_bytes())?;
    open.sync_all()?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn endpoint(host: &str, port: Option<u16>) -> Endpoint {
        let host = host.to_owned();
        Endpoint::Tcp { host, port }
    }

    #[test]
    fn a_host_is_known_by_its_name_in_lower_case_and_its_port() {
        assert_eq!(key(&endpoint("Beta.Example", None)).unwrap(), "beta.example:5608");
        assert_eq!(key(&endpoint("::1", Some(6608))).unwrap(), "[::1]:6608");
        assert_eq!(key(&Endpoint::Local("/x".into())), None);
    }

    #[test]
    fn what_is_remembered_is_known_and_the_file_is_the_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("uft").join("known_hosts");
        let (one, two) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        assert_eq!(known(Some(&file), "b:5608").unwrap(), []);
        remember(Some(&file), "b:5608", one).unwrap();
        remember(Some(&file), "c:5608", two).unwrap();
        assert_eq!(known(Some(&file), "B:5608").unwrap(), [one]);
        assert_eq!(known(Some(&file), "b:608").unwrap(), []);
        assert_eq!(remember(Some(&file), "b:5608", one).unwrap(), []);
        assert_eq!(
            remember(Some(&file), "b:5608", two).unwrap(),
            [one],
            "met by two at once"
        );
        assert_eq!(known(Some(&file), "b:5608").unwrap(), [one]);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(remember(None, "b:5608", one).is_err());
    }

    #[test]
    fn a_last_line_without_an_end_stays_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        let (one, two) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        std::fs::write(&file, format!("b:5608 {one}")).unwrap();
        remember(Some(&file), "c:5608", two).unwrap();
        assert_eq!(known(Some(&file), "b:5608").unwrap(), [one]);
        assert_eq!(known(Some(&file), "c:5608").unwrap(), [two]);
    }

    #[test]
    fn a_line_that_cannot_be_read_does_not_make_a_stranger_of_its_host() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        std::fs::write(&file, "# mine\n\nb:5608 sha256:00\nc:5608\n").unwrap();
        for host in ["b:5608", "c:5608"] {
            let failure = known(Some(&file), host).unwrap_err();
            assert_eq!(failure.exit, Exit::NoInput);
            assert!(failure.text.contains("line "), "{failure}");
        }
        assert_eq!(known(Some(&file), "d:5608").unwrap(), []);
        std::fs::write(&file, b"\xff").unwrap();
        assert!(known(Some(&file), "d:5608").is_err());
    }
}
