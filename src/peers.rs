//! The gateways that we know, and what they prove themselves by.
//!
//! Secrets are read at the start and on SIGHUP, and are nowhere shown. What it does not do: speak to a gateway, decide
//! what a proven one may do.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use uft_spool::{Origin, Proof};

use crate::client::{Endpoint, Options, Security, TlsMode};
use crate::config::{self, Config, Peer};
use crate::display::chain;
use crate::proto::PeerClaim;
use crate::proto::proof::{Credentials, Exchange, Fingerprint, Role, Secret, SessionKeys, ShortSecret, Tag};
use crate::route::{Address, NodeName, Place, Table};
use crate::tls::{Link, Own};

/// Any user of the host may read the file.
const WORLD_READABLE: u32 = 0o004;
/// Stands in for the secret of a gateway that we do not know, so that an unknown name takes as long as a wrong proof.
const NOBODYS: &[u8] = b"the secret of nobody at all";

/// The gateways that are configured.
#[derive(Debug, Default)]
pub struct Peers {
    node: String,
    /// By name in lower case.
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    /// The name as configured.
    name: String,
    /// The name by which it knows us.
    user: String,
    secret: Option<Secret>,
    /// The certificate that it shows.
    certificate: Option<Fingerprint>,
}

/// A gateway that has proven who it is.
#[derive(Clone, Debug)]
pub struct ProvenPeer {
    /// Its name, as configured here.
    pub name: String,
    /// How it did.
    pub proof: Proof,
    /// Keys that only it and we have; none when the proof was no shared secret.
    pub keys: Option<SessionKeys>,
}

/// Why a secret is not used.
#[derive(Debug, thiserror::Error)]
enum BadSecret {
    #[error("cannot be read")]
    Unreadable(#[from] std::io::Error),
    #[error(transparent)]
    Short(#[from] ShortSecret),
}

impl Peers {
    /// Reads the secrets that the configuration names. One that cannot be used is named in the log, and its gateway
    /// cannot prove itself.
    pub fn new(config: &Config) -> Peers {
        let known = config.peers.iter().map(|peer| {
            let user = if peer.user.is_empty() {
                config.node.to_ascii_lowercase()
            } else {
                peer.user.clone()
            };
            let known = Known {
                name: peer.name.clone(),
                user,
                secret: secret_of(peer),
                certificate: peer.certificate(),
            };
            (peer.name.to_ascii_lowercase(), known)
        });
        Peers {
            node: config.node.clone(),
            known: known.collect(),
        }
    }

    /// Whether any gateway can prove itself by a secret.
    pub fn any_secret(&self) -> bool {
        self.known.values().any(|known| known.secret.is_some())
    }

    /// The gateway that shows this certificate.
    pub fn with_certificate(&self, shown: Fingerprint) -> Option<ProvenPeer> {
        let mut known = self.known.values();
        let found = known.find(|known| known.certificate == Some(shown))?;
        Some(ProvenPeer {
            name: found.name.clone(),
            proof: Proof::Certificate,
            keys: None,
        })
    }

    /// How a gateway is called: it shows the certificate that it is known by, or one that the system's authorities signed;
    /// we show `own`, and prove that we have the secret.
    pub fn dial(&self, peer: &Peer, timeout: Duration, own: Option<Arc<Own>>) -> (Endpoint, Options) {
        let (host, port) = peer.place();
        let security = Security {
            mode: match peer.tls {
                config::TlsMode::Prefer => TlsMode::Prefer,
                config::TlsMode::Require => TlsMode::Require,
                config::TlsMode::Off => TlsMode::Off,
            },
            known: peer.certificate().into_iter().collect(),
            first_use: false,
            own,
        };
        let options = Options {
            timeout,
            credentials: self.credentials(&peer.name),
            security,
        };
        (Endpoint::Tcp { host, port }, options)
    }

    /// What we prove ourselves by to the gateway of this name.
    pub fn credentials(&self, name: &str) -> Option<Credentials> {
        let known = self.known.get(&name.to_ascii_lowercase())?;
        Some(Credentials {
            name: known.user.clone(),
            server: known.name.clone(),
            secret: known.secret.clone()?,
        })
    }

    /// Checks a claim; the gateway, and our own proof. An unknown name, one without a secret and a wrong proof are the
    /// same to whoever asks, and take as long. So is a gateway that is known by a certificate too and does not show it:
    /// whoever keeps two gateways from speaking TLS with each other is not to have their files in clear.
    pub fn check(&self, claim: &PeerClaim, link: &Link) -> Option<(ProvenPeer, Tag)> {
        let known = self.known.get(&claim.name.to_ascii_lowercase());
        let secret = known.and_then(|known| known.secret.clone());
        let secret = secret.or_else(|| Secret::of_file(NOBODYS).ok())?;
        let exchange = Exchange {
            client: claim.name.clone(),
            server: self.node.clone(),
            server_nonce: claim.server_nonce,
            client_nonce: claim.client_nonce,
            exporter: link.exporter.clone(),
        };
        let right = exchange.verify(Role::Client, &secret, &claim.proof);
        let known = known.filter(|known| right && known.secret.is_some())?;
        let shown = known.certificate.is_none() || known.certificate == link.certificate;
        let known = Some(known).filter(|_| shown)?;
        let peer = ProvenPeer {
            name: known.name.clone(),
            proof: Proof::Peer,
            keys: Some(exchange.keys(&secret)),
        };
        Some((peer, exchange.prove(Role::Server, &secret)))
    }
}

impl ProvenPeer {
    /// The sender of a file that came from this gateway. It vouches for `origin`, the `user@node` that it gives; else the
    /// claim is a user of the gateway itself. Behind an AGENT key is a program of some user of its host, which speaks for
    /// nobody elsewhere. Nobody but our own kernel vouches for the users of this host, which `table` knows.
    pub fn origin(&self, claimed: String, origin: Option<&str>, host: String, table: &Table) -> Origin {
        let origin = origin.filter(|_| self.proof != Proof::Agent);
        let elsewhere = |place: &Place| !table.is_this_host(place);
        let (user, node) = match origin.and_then(|origin| user_at_node(origin, elsewhere)) {
            Some((user, node)) => (user, Some(node)),
            None => (claimed, node_name(&self.name)),
        };
        Origin {
            user,
            node,
            host,
            proof: self.proof,
        }
    }
}

/// A peer's name as the node that it is, if it can be one.
fn node_name(name: &str) -> Option<String> {
    let node: NodeName = name.parse().ok()?;
    Some(node.as_str().to_owned())
}

/// `user@NODE` or `user@host.name`, as one gateway tells another.
fn user_at_node(text: &str, fits: impl FnOnce(&Place) -> bool) -> Option<(String, String)> {
    let Address { user, place } = text.parse().ok()?;
    match place.filter(fits)? {
        Place::Node(node) => Some((user, node.as_str().to_owned())),
        Place::Host { name, port: None } => Some((user, name)),
        Place::Host { port: Some(_), .. } => None,
    }
}

fn secret_of(peer: &Peer) -> Option<Secret> {
    if peer.secret_file.as_os_str().is_empty() {
        return None;
    }
    let (name, path) = (&peer.name, &peer.secret_file);
    match read_secret(path) {
        Ok((secret, mode)) => {
            if mode & WORLD_READABLE != 0 {
                warn!(peer = name, path = %path.display(), "every user of this host can read this secret; chmod 640");
            }
            Some(secret)
        }
        Err(err) => {
            warn!(
                peer = name, path = %path.display(), err = chain(&err),
                "peer.secret_file is not used; this gateway cannot prove itself, nor we to it"
            );
            None
        }
    }
}

fn read_secret(path: &Path) -> Result<(Secret, u32), BadSecret> {
    let text = std::fs::read(path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    Ok((Secret::of_file(&text)?, mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::proof::Nonce;
    use crate::route::{Plan, Rule};

    fn peers(dir: &Path, text: &[u8]) -> Peers {
        let file = dir.join("secret");
        std::fs::write(&file, text).unwrap();
        let text = format!(
            "node = \"BETA\"\n[[peer]]\nname = \"Alpha\"\nuft = \"h\"\nsecret_file = {file:?}\n\
             [[peer]]\nname = \"gamma\"\nuft = \"h\"\nuser = \"b\""
        );
        Peers::new(&Config::parse(&text, "h").unwrap())
    }

    const SECRET: &[u8] = b"0123456789abcdef\n";

    fn claim(name: &str, secret: &[u8]) -> (Exchange, PeerClaim) {
        let exchange = Exchange {
            client: name.into(),
            server: "beta".into(),
            server_nonce: Nonce([1; 16]),
            client_nonce: Nonce([2; 16]),
            exporter: b"tls".to_vec(),
        };
        let claim = PeerClaim {
            name: name.into(),
            server_nonce: exchange.server_nonce,
            client_nonce: exchange.client_nonce,
            proof: exchange.prove(Role::Client, &Secret::of_file(secret).unwrap()),
        };
        (exchange, claim)
    }

    /// A session in TLS in which this certificate was shown.
    fn link(certificate: Option<Fingerprint>) -> Link {
        Link {
            exporter: b"tls".to_vec(),
            certificate,
            first_use: false,
        }
    }

    #[test]
    fn a_gateway_that_is_known_by_its_certificate_too_has_to_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let print = Fingerprint([7; 32]);
        let text = format!(
            "node = \"BETA\"\n[[peer]]\nname = \"alpha\"\nuft = \"h\"\nsecret_file = {file:?}\nfingerprint = \"{print}\""
        );
        let peers = Peers::new(&Config::parse(&text, "h").unwrap());
        let (_, claim) = claim("alpha", SECRET);
        assert!(peers.check(&claim, &link(Some(print))).is_some());
        assert!(peers.check(&claim, &link(Some(Fingerprint([8; 32])))).is_none());
        assert!(peers.check(&claim, &link(None)).is_none());
    }

    #[test]
    fn a_gateway_with_the_secret_is_known_and_hears_our_proof() {
        let dir = tempfile::tempdir().unwrap();
        let peers = peers(dir.path(), SECRET);
        let (exchange, claim) = claim("ALPHA", SECRET);
        let (peer, tag) = peers.check(&claim, &link(None)).unwrap();
        assert_eq!((peer.name.as_str(), peer.proof), ("Alpha", Proof::Peer));
        let secret = Secret::of_file(SECRET).unwrap();
        assert!(exchange.verify(Role::Server, &secret, &tag));
        assert_eq!(peer.keys.unwrap().key("x"), exchange.keys(&secret).key("x"));
        assert!(
            peers.check(&claim, &Link::default()).is_none(),
            "on another TLS session"
        );
    }

    #[test]
    fn whoever_is_not_known_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let known = peers(dir.path(), SECRET);
        for (name, secret) in [
            ("alpha", &b"another secret of somebody"[..]),
            ("gamma", SECRET),
            ("gamma", NOBODYS),
            ("delta", SECRET),
            ("delta", NOBODYS),
            ("", NOBODYS),
        ] {
            assert!(
                known.check(&claim(name, secret).1, &link(None)).is_none(),
                "{name}"
            );
        }
        assert!(known.any_secret());
        assert!(known.credentials("gamma").is_none());
        assert_eq!(known.credentials("ALPHA").unwrap().name, "beta");
        let short = peers(dir.path(), b"too short");
        assert!(!short.any_secret() && short.credentials("alpha").is_none());
    }

    #[test]
    fn a_gateway_vouches_for_the_origin_that_it_gives() {
        let peer = |name: &str| ProvenPeer {
            name: name.into(),
            proof: Proof::Peer,
            keys: None,
        };
        let table = Table::new(Plan {
            node: "BETA".into(),
            hosts: vec!["beta.example".into()],
            rules: vec![Rule {
                to: "BETA2".into(),
                via: vec!["local".into()],
            }],
            ..Plan::default()
        });
        let of = |name: &str, origin: Option<&str>| {
            let origin = peer(name).origin("claim".into(), origin, "192.0.2.1".into(), &table);
            (origin.user, origin.node)
        };
        let node = |node: &str| Some(node.to_owned());
        assert_eq!(of("alpha", Some("ann@GAMMA")), ("ann".into(), node("GAMMA")));
        assert_eq!(
            of("alpha", Some("ann@h.example")),
            ("ann".into(), node("h.example"))
        );
        // Our own users among them: those are vouched for by nobody else.
        for ours in ["root@BETA", "root@beta.example", "root@beta", "root@Beta2"] {
            assert_eq!(of("alpha", Some(ours)), ("claim".into(), node("ALPHA")), "{ours}");
        }
        for bad in ["ann", "@GAMMA", "ann@", "a nn@G", "ann@h.x:608", "ann@\u{1b}"] {
            assert_eq!(of("alpha", Some(bad)), ("claim".into(), node("ALPHA")), "{bad}");
        }
        assert_eq!(of("a-much-longer-name", None), ("claim".into(), None));
    }
}
