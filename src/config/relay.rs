//! `[[peer]]`, `[[route]]`, `[queue]` and `[users.program]`: what does not stay on this host, or not in an inbox.
//!
//! What it does *not* do: decide where a file goes (`route` does), or read secrets.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Config, Wrong};
use crate::proto::proof::Fingerprint;
use crate::units::Span;

/// Words that stand for something else than a peer in `via`.
const RESERVED: [&str; 4] = ["local", "mail", "hold", "reject"];
/// The longest wait between two attempts, and the longest time in the queue, that make sense.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// `[[peer]]`: another gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// What it is called here: its node name, in lower case by custom.
    pub name: String,
    /// Where it takes files over UFT: `host` or `host:port`.
    pub uft: String,
    /// The name by which it knows us; our node name, in lower case, when empty.
    pub user: String,
    /// The secret that both gateways have; none: neither proves anything to the other.
    pub secret_file: PathBuf,
    /// Connections to it at once.
    pub max_parallel: usize,
    /// Whether sessions with it are in TLS.
    pub tls: TlsMode,
    /// The certificate that it shows, `sha256:<hex>`; empty: one that the system's authorities signed.
    pub fingerprint: String,
}

/// Whether a connection is in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// In TLS where the port for it answers; in clear when the connection is refused there. A bad certificate is not a
    /// reason for going on in clear, and where the certificate is known TLS is required.
    #[default]
    Prefer,
    /// In TLS or not at all.
    Require,
    /// In clear.
    Off,
}

/// `[[route]]`: where files for other nodes go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// A node or host name, `*.suffix`, or `*`.
    pub to: String,
    /// Peers in the order in which they are tried, or one of `local`, `mail`, `hold`, `reject`.
    #[serde(deserialize_with = "one_or_more", serialize_with = "as_short_as_can_be")]
    pub via: Vec<String>,
}

/// `[queue]`: files on their way to other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSection {
    /// Pauses after the first, second, ... failed attempt; the last one is used again and again.
    pub retry: Vec<Span>,
    /// After this time a file that cannot be delivered goes back to its sender as a notice.
    pub expire: Span,
    /// How often the disk is looked at for what no event told of.
    pub rescan: Span,
    /// The longest silence of a next hop at any one step.
    pub timeout: Span,
    /// Gateways that a file may pass.
    pub max_hops: u32,
    /// A directory outside the spool that takes jobs; none when empty.
    pub drop: PathBuf,
    /// Whether `user%node@gateway` is read as `user@node` by that gateway.
    pub percent: bool,
}

/// `[users.program.NAME]`: what is sent to this name is handed to a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// The program, by its absolute path, and its arguments.
    pub command: Vec<String>,
    /// How long it may take for one file.
    pub timeout: Span,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer {
            name: String::new(),
            uft: String::new(),
            user: String::new(),
            secret_file: PathBuf::new(),
            max_parallel: 4,
            tls: TlsMode::Prefer,
            fingerprint: String::new(),
        }
    }
}

impl Default for QueueSection {
    fn default() -> QueueSection {
        let minutes = |n: u64| Span(Duration::from_secs(n * 60));
        QueueSection {
            retry: [1, 5, 15, 60, 120].map(minutes).to_vec(),
            expire: minutes(5 * 24 * 60),
            rescan: Span(Duration::from_secs(30)),
            timeout: Span(Duration::from_secs(60)),
            max_hops: 16,
            drop: PathBuf::new(),
            percent: false,
        }
    }
}

impl Default for Program {
    fn default() -> Program {
        Program {
            command: Vec::new(),
            timeout: Span(Duration::from_secs(300)),
        }
    }
}

impl Peer {
    /// The port of UFT when none is written.
    const PORT: u16 = 608;

    /// Host (an IPv6 address without its brackets) and port of [`Peer::uft`]; 608 when none is written.
    pub fn host_and_port(&self) -> (String, u16) {
        let (host, port) = self.place();
        (host, port.unwrap_or(Peer::PORT))
    }

    /// The certificate that it is known by.
    pub fn certificate(&self) -> Option<Fingerprint> {
        self.fingerprint.parse().ok()
    }

    /// Host and port, if one is written: without one a session in TLS is tried on the port for that first.
    pub fn place(&self) -> (String, Option<u16>) {
        let (host, port) = match self.uft.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, port)) => (v6, port.strip_prefix(':')),
            None => self
                .uft
                .split_once(':')
                .map_or((self.uft.as_str(), None), |(host, port)| (host, Some(port))),
        };
        (host.to_owned(), port.and_then(|port| port.parse().ok()))
    }
}

/// `via = "beta"` or `via = ["beta", "gamma"]`.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "via is a name or a list of names")]
    enum Via {
        One(String),
        More(Vec<String>),
    }
    Ok(match Via::deserialize(from)? {
        Via::One(name) => vec![name],
        Via::More(names) => names,
    })
}

fn as_short_as_can_be<S: Serializer>(via: &[String], to: S) -> Result<S::Ok, S::Error> {
    match via {
        [one] => to.serialize_str(one),
        more => more.serialize(to),
    }
}

/// Checks what the shapes cannot say.
pub(super) fn check(config: &Config) -> Result<(), Wrong> {
    for (n, peer) in config.peers.iter().enumerate() {
        check_peer(peer)?;
        let same = |other: &Peer| other.name.eq_ignore_ascii_case(&peer.name);
        if config.peers.iter().take(n).any(same) {
            return wrong("peer.name", &peer.name, "another peer has this name");
        }
        let shown = |other: &Peer| other.certificate() == peer.certificate();
        if peer.certificate().is_some() && config.peers.iter().take(n).any(shown) {
            return wrong(
                "peer.fingerprint",
                &peer.fingerprint,
                "another peer shows this certificate",
            );
        }
    }
    for route in &config.routes {
        check_route(route, &config.peers)?;
    }
    check_queue(&config.queue, config)?;
    for (name, program) in &config.users.program {
        let users = &config.users;
        if users.list.contains(name) || users.aliases.contains_key(name) {
            return wrong("users.program", name, "a user or an alias has this name");
        }
        let path = program.command.first().map(String::as_str).unwrap_or_default();
        if !path.starts_with('/') {
            let why = "name the program by its absolute path, then its arguments";
            return wrong("users.program.command", &format!("{name}: {path}"), why);
        }
        if program.timeout.0.is_zero() {
            return wrong("users.program.timeout", &program.timeout, "write at least 1s");
        }
    }
    Ok(())
}

fn wrong<T>(key: &'static str, value: &dyn ToString, why: &str) -> Result<T, Wrong> {
    Err((key, value.to_string(), why.to_owned()))
}

fn check_peer(peer: &Peer) -> Result<(), Wrong> {
    let plain = |name: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '#' | '$');
        (1..=64).contains(&name.len()) && name.chars().all(letter)
    };
    let names = "a name is 1 to 64 of letters, digits and . - _ @ # $";
    if !plain(&peer.name) {
        return wrong("peer.name", &peer.name, names);
    }
    if RESERVED.contains(&peer.name.to_ascii_lowercase().as_str()) {
        return wrong(
            "peer.name",
            &peer.name,
            "this word means something else in routes",
        );
    }
    if !peer.user.is_empty() && !plain(&peer.user) {
        return wrong("peer.user", &peer.user, names);
    }
    if !is_endpoint(&peer.uft) {
        return wrong(
            "peer.uft",
            &peer.uft,
            "write host or host:port, an IPv6 address in brackets",
        );
    }
    if !peer.secret_file.as_os_str().is_empty() && !peer.secret_file.is_absolute() {
        let shown = peer.secret_file.display();
        return wrong("peer.secret_file", &shown, "the path must be absolute");
    }
    if !peer.fingerprint.is_empty() && peer.certificate().is_none() {
        return wrong(
            "peer.fingerprint",
            &peer.fingerprint,
            "write sha256: and 64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 shows them",
        );
    }
    if !peer.fingerprint.is_empty() && peer.tls == TlsMode::Off {
        let why = "without TLS nobody shows a certificate; write tls = \"require\", or no fingerprint";
        return wrong("peer.tls", &"off", why);
    }
    if peer.max_parallel == 0 {
        return wrong("peer.max_parallel", &0, "nothing could be sent; write at least 1");
    }
    Ok(())
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn is_endpoint(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((v6, port))) => {
            v6.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        }
        Some(None) => false,
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
            !host.is_empty() && host.chars().all(letter) && port.is_none_or(is_port)
        }
    }
}

fn check_route(route: &Route, peers: &[Peer]) -> Result<(), Wrong> {
    let to = route.to.strip_prefix("*.").unwrap_or(&route.to);
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '#' | '$');
    if route.to != "*" && (to.is_empty() || to.len() > 255 || !to.chars().all(letter)) {
        let why = "write a node or host name, \"*.suffix\", or \"*\"";
        return wrong("route.to", &route.to, why);
    }
    if route.via.is_empty() {
        return wrong("route.via", &"[]", "name a peer, or local, hold or reject");
    }
    for via in &route.via {
        if via == "mail" {
            return wrong(
                "route.via",
                via,
                "not supported by this release; name a peer, or local, hold or reject",
            );
        }
        if RESERVED.contains(&via.as_str()) {
            if route.via.len() > 1 {
                return wrong("route.via", via, "only peers can stand for one another");
            }
        } else if !peers.iter().any(|peer| peer.name.eq_ignore_ascii_case(via)) {
            return wrong("route.via", via, "there is no [[peer]] of this name");
        }
    }
    Ok(())
}

fn check_queue(queue: &QueueSection, config: &Config) -> Result<(), Wrong> {
    if queue.retry.is_empty() {
        return wrong(
            "queue.retry",
            &"[]",
            "write at least one pause, such as [\"15m\"]",
        );
    }
    if let Some(pause) = queue
        .retry
        .iter()
        .find(|pause| pause.0.is_zero() || pause.0 > YEAR)
    {
        return wrong("queue.retry", pause, "a pause is from 1ms to 366d");
    }
    if queue.expire.0.is_zero() || queue.expire.0 > YEAR {
        return wrong("queue.expire", &queue.expire, "write 1s to 366d");
    }
    for (key, span) in [("queue.rescan", queue.rescan), ("queue.timeout", queue.timeout)] {
        if span.0.is_zero() {
            return wrong(key, &span, "write at least 1s");
        }
    }
    if !(1..=255).contains(&queue.max_hops) {
        return wrong("queue.max_hops", &queue.max_hops, "write 1 to 255");
    }
    let drop = &queue.drop;
    if !drop.as_os_str().is_empty() {
        if !drop.is_absolute() {
            return wrong("queue.drop", &drop.display(), "the path must be absolute");
        }
        if drop.starts_with(&config.spool) || config.spool.starts_with(drop) {
            let why = "it must be outside the spool, and the spool outside of it";
            return wrong("queue.drop", &drop.display(), why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn error(text: &str) -> String {
        Config::parse(text, "alpha.example").unwrap_err().to_string()
    }

    const PEERS: &str = "[[peer]]\nname = \"beta\"\nuft = \"beta.example\"\n[[peer]]\nname = \"gamma\"\nuft = \"[::1]:609\"\n";

    #[test]
    fn peers_and_routes_read_back_as_they_were_written() {
        let text = format!(
            "{PEERS}[[route]]\nto = \"BETA\"\nvia = \"beta\"\n[[route]]\nto = \"*.example\"\nvia = [\"beta\", \"gamma\"]\n\
             [[route]]\nto = \"*\"\nvia = \"reject\"\n[queue]\nretry = [\"1s\"]\n\
             [users.program.lister]\ncommand = [\"/bin/lister\", \"-x\"]"
        );
        let config = Config::parse(&text, "h").unwrap();
        assert_eq!(config.peers[0].max_parallel, 4);
        assert_eq!(config.peers[0].host_and_port(), ("beta.example".into(), 608));
        assert_eq!(config.peers[1].host_and_port(), ("::1".into(), 609));
        assert_eq!(config.routes[1].via, ["beta", "gamma"]);
        assert_eq!(Config::parse(&config.effective(), "h").unwrap(), config);
    }

    #[test]
    fn peers_that_cannot_be_are_refused() {
        for (peer, said) in [
            ("name = \"\"\nuft = \"h\"", "peer.name"),
            ("name = \"hold\"\nuft = \"h\"", "means something else"),
            ("name = \"b\"\nuft = \"\"", "peer.uft"),
            ("name = \"b\"\nuft = \"h:0\"", "peer.uft"),
            ("name = \"b\"\nuft = \"::1\"", "peer.uft"),
            (
                "name = \"b\"\nuft = \"h\"\nsecret_file = \"x\"",
                "must be absolute",
            ),
            ("name = \"b\"\nuft = \"h\"\nmax_parallel = 0", "at least 1"),
            (
                "name = \"b\"\nuft = \"h\"\nfingerprint = \"sha256:00\"",
                "64 hexadecimal digits",
            ),
            ("name = \"b\"\nuft = \"h\"\ntls = \"maybe\"", "tls = "),
            (
                "name = \"b\"\nuft = \"h\"\nmax_paralel = 1",
                "did you mean peer.max_parallel",
            ),
            (
                "name = \"b\"\nuft = \"h\"\nedt = true",
                "not supported by this release",
            ),
        ] {
            let text = error(&format!("[[peer]]\n{peer}"));
            assert!(text.contains(said), "{peer}: {text}");
        }
        let known = format!(
            "name = \"b\"\nuft = \"h\"\nfingerprint = \"sha256:{}\"",
            "0".repeat(64)
        );
        assert!(error(&format!("[[peer]]\n{known}\ntls = \"off\"")).contains("nobody shows a certificate"));
        assert!(error(&format!("{PEERS}[[peer]]\nname = \"BETA\"\nuft = \"h\"")).contains("another peer"));
    }

    #[test]
    fn a_certificate_is_one_gateways() {
        let peer = |name: &str| {
            let digits = "ab".repeat(32);
            format!("[[peer]]\nname = \"{name}\"\nuft = \"h\"\nfingerprint = \"sha256:{digits}\"\n")
        };
        assert!(Config::parse(&peer("b"), "h").is_ok());
        assert!(error(&(peer("b") + &peer("c"))).contains("another peer shows this certificate"));
    }

    #[test]
    fn routes_that_lead_nowhere_are_refused() {
        for (route, said) in [
            ("to = \"B\"\nvia = \"nobody\"", "no [[peer]] of this name"),
            ("to = \"B\"\nvia = []", "name a peer"),
            ("to = \"B\"\nvia = [\"beta\", \"hold\"]", "only peers"),
            ("to = \"B\"\nvia = \"mail\"", "not supported"),
            ("to = \"*B\"\nvia = \"beta\"", "route.to"),
            ("to = \"*.\"\nvia = \"beta\"", "route.to"),
            ("to = \"a b\"\nvia = \"beta\"", "route.to"),
        ] {
            let text = error(&format!("{PEERS}[[route]]\n{route}"));
            assert!(text.contains(said), "{route}: {text}");
        }
    }

    #[test]
    fn a_queue_that_could_not_work_is_refused() {
        for (queue, said) in [
            ("retry = []", "at least one pause"),
            ("retry = [\"0s\"]", "a pause is"),
            ("expire = \"0s\"", "queue.expire"),
            ("max_hops = 0", "1 to 255"),
            ("drop = \"drop\"", "must be absolute"),
            ("drop = \"/var/spool/uft/drop\"", "outside the spool"),
            ("drop = \"/var/spool\"", "outside the spool"),
        ] {
            let text = error(&format!("[queue]\n{queue}"));
            assert!(text.contains(said), "{queue}: {text}");
        }
        assert!(error("[users.program.lister]\ncommand = [\"lister\"]").contains("absolute path"));
        let program = "[users.program.lister]\ncommand = [\"/bin/lister\"]";
        for users in ["list = [\"lister\"]", "aliases = { lister = [\"root\"] }"] {
            assert!(error(&format!("[users]\n{users}\n{program}")).contains("a user or an alias"));
        }
        assert!(error("[users.program.lister]\ncomand = [\"lister\"]").contains("did you mean"));
    }
}
