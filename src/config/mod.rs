//! The configuration file: TOML text in, a checked [`Config`] out.
//!
//! Every key has a default. Unknown keys, values of the wrong shape and values that this release does not support are
//! errors that name key, value and line. What it does not do: read files, touch the network, or look users up.

mod keys;
mod relay;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uft_spool::{Limits, UserName};

use self::keys::{check_keys, line_of, shape};
pub use self::relay::{Peer, Program, QueueSection, Route, TlsMode};
use crate::proto::Query;
use crate::units::{Size, Span};

/// Everything the daemon can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// NJE-style node name, 1 to 8 of `A-Z 0-9 @ # $`.
    pub node: String,
    /// The name we greet with.
    pub hostname: String,
    /// The spool directory.
    pub spool: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    /// How long running sessions may go on after a stop was asked for.
    pub shutdown_grace: Span,
    /// The UFT listener.
    pub uft: Uft,
    /// Who has an inbox.
    pub users: Users,
    /// What fits.
    pub limits: LimitsSection,
    /// What `CPQ` answers.
    pub query: QuerySection,
    /// How people hear of arrivals.
    pub notice: Notice,
    /// The reverse check of the reference implementation.
    pub agent: Agent,
    /// Other gateways that we know.
    #[serde(rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Where files for other nodes go; the first that matches counts.
    #[serde(rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Files on their way to other nodes.
    pub queue: QueueSection,
}

/// `[uft]`: the listener and its patience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uft {
    /// Addresses to listen on; port 0 picks one.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on for sessions in TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// Our certificate, with those that signed it, in PEM.
    pub tls_cert: PathBuf,
    /// Its key, in PEM.
    pub tls_key: PathBuf,
    /// Sessions at once, in all.
    pub max_sessions: usize,
    /// Sessions at once from one address.
    pub max_sessions_per_address: usize,
    /// Longest silence between commands.
    pub idle_timeout: Span,
    /// Longest silence inside a burst.
    pub burst_timeout: Span,
    /// Longest time without a stored file; bytes that come at `min_rate` or faster do not use it up.
    pub session_timeout: Span,
    /// Slowest accepted rate inside a burst, bytes per second.
    pub min_rate: Size,
}

/// `[users]`: who has an inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Users {
    /// Where names come from.
    pub source: Source,
    /// The names, when `source` is `list`.
    pub list: Vec<UserName>,
    /// Other names, and whom each stands for.
    pub aliases: BTreeMap<UserName, Vec<UserName>>,
    /// Names that have no inbox of a person: what is sent to one is handed to a program.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub program: BTreeMap<UserName, Program>,
}

/// Where user names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The system's accounts: root, and `UID_MIN..=UID_MAX` of login.defs.
    System,
    /// `users.list`.
    List,
}

/// `[limits]`: what fits, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsSection {
    /// Largest file.
    pub max_file: Size,
    /// Unread bytes a user.
    pub user_bytes: Size,
    /// Unread items a user.
    pub user_items: u64,
    /// Bytes that stay free on the spool's file system.
    pub min_free: Size,
    /// Unread bytes from one unproven address.
    pub stranger_bytes: Size,
    /// Unread items from one unproven address.
    pub stranger_items: u64,
    /// What becomes of unproven senders.
    pub strangers: Strangers,
    /// Unread items older than this are removed.
    pub expire: Span,
}

/// What becomes of senders that proved nothing but their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strangers {
    /// They may deliver.
    Accept,
    /// Their files wait for the recipient's word.
    Pending,
    /// They may not.
    Refuse,
}

/// `[query]`: what `CPQ` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuerySection {
    /// Names of the queries that are answered.
    pub allow: Vec<String>,
    /// Message of the day.
    pub logmsg_file: PathBuf,
}

/// `[notice]`: how people hear of arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// Write to the terminals of a user who permits it.
    pub tty: bool,
    /// A program and its arguments, run on each arrival.
    pub hook: Vec<String>,
}

/// `[agent]`: the reverse check of the reference implementation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// File whose first word is the key that `AGENT` confirms.
    pub key_file: PathBuf,
}

/// A value that cannot be: key, value, reason.
type Wrong = (&'static str, String, String);

/// Why a configuration is not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or a value of the wrong shape. The text names line, key and value.
    #[error("{0}")]
    Shape(String),
    /// No such key.
    #[error("line {line}: unknown key {key}{}", nearest.as_ref().map(|n| format!(", did you mean {n}")).unwrap_or_default())]
    UnknownKey {
        /// Where; 0 when unknown.
        line: usize,
        /// Full path of the key.
        key: String,
        /// The closest known key, if one is close.
        nearest: Option<String>,
    },
    /// A value that cannot be.
    #[error("line {line}: {key} = {value}: {why}")]
    Value {
        /// Where; 0 when the value is not from the file.
        line: usize,
        /// Full path of the key.
        key: String,
        /// What it is set to.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Config {
    /// The built-in configuration for trying the daemon out: loopback port 6608, spool and socket below `state`.
    pub fn built_in(hostname: &str, state: PathBuf) -> Config {
        let hostname = if hostname.is_empty() {
            "localhost"
        } else {
            hostname
        };
        Config {
            node: node_of(hostname),
            hostname: hostname.to_owned(),
            socket: state.join("uftd.sock"),
            spool: state,
            ..Config::default()
        }
    }

    /// Reads a configuration file's text. `hostname` is this machine's, for the defaults that depend on it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, hostname: &str) -> Result<Config, ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| shape(text, &e))?;
        check_keys(text, &table)?;
        let mut config: Config = toml::from_str(text).map_err(|e| shape(text, &e))?;
        if config.hostname.is_empty() {
            config.hostname = if hostname.is_empty() {
                "localhost".into()
            } else {
                hostname.to_owned()
            };
        }
        if config.node.is_empty() {
            config.node = node_of(&config.hostname);
        }
        config.check().map_err(|(key, value, why)| ConfigError::Value {
            line: line_of(text, key),
            key: key.to_owned(),
            value,
            why,
        })?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn effective(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| format!("# cannot be written: {e}\n"))
    }

    /// Whether we have a certificate to show.
    pub fn has_certificate(&self) -> bool {
        !self.uft.tls_cert.as_os_str().is_empty() || !self.uft.tls_key.as_os_str().is_empty()
    }

    /// The spool's part of the limits.
    pub fn spool_limits(&self) -> Limits {
        Limits {
            max_file: self.limits.max_file.0,
            user_bytes: self.limits.user_bytes.0,
            user_items: self.limits.user_items,
            min_free: self.limits.min_free.0,
            stranger_bytes: self.limits.stranger_bytes.0,
            stranger_items: self.limits.stranger_items,
        }
    }

    /// Checks what the shapes cannot say.
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key, value: &dyn ToString, why: &str| Err((key, value.to_string(), why.to_owned()));
        let node_char =
            |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '@' | '#' | '$');
        if !(1..=8).contains(&self.node.len()) || !self.node.chars().all(node_char) {
            return wrong("node", &self.node, "a node name is 1 to 8 of A-Z 0-9 @ # $");
        }
        let host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if self.hostname.len() > 64 || !self.hostname.chars().all(host_char) {
            return wrong(
                "hostname",
                &self.hostname,
                "a host name is at most 64 of letters, digits, . and -",
            );
        }
        for (key, path) in [("spool", &self.spool), ("socket", &self.socket)] {
            if !path.is_absolute() {
                return wrong(key, &path.display(), "the path must be absolute");
            }
        }
        for (key, path) in [
            ("uft.tls_cert", &self.uft.tls_cert),
            ("uft.tls_key", &self.uft.tls_key),
        ] {
            let empty = path.as_os_str().is_empty();
            if !empty && !path.is_absolute() {
                return wrong(key, &path.display(), "the path must be absolute");
            }
            if empty && (self.has_certificate() || !self.uft.tls_listen.is_empty()) {
                let why = "TLS needs both, a certificate (uft.tls_cert) and its key (uft.tls_key)";
                return wrong(key, &"\"\"", why);
            }
        }
        if self.uft.max_sessions == 0 {
            return wrong("uft.max_sessions", &0, "nobody could connect; write at least 1");
        }
        if self.uft.max_sessions_per_address == 0 {
            return wrong(
                "uft.max_sessions_per_address",
                &0,
                "nobody could connect; write at least 1",
            );
        }
        for (key, span) in [
            ("uft.idle_timeout", self.uft.idle_timeout),
            ("uft.burst_timeout", self.uft.burst_timeout),
            ("uft.session_timeout", self.uft.session_timeout),
        ] {
            if span.0.is_zero() {
                return wrong(key, &span, "every session would end at once; write at least 1s");
            }
        }
        if self.limits.expire.0.is_zero() {
            return wrong(
                "limits.expire",
                &self.limits.expire,
                "every unread file would be removed at once; write at least 1s, or 36500d for never",
            );
        }
        if self.limits.strangers == Strangers::Pending {
            return wrong(
                "limits.strangers",
                &"pending",
                "not supported by this release; write accept or refuse",
            );
        }
        if let Some(name) = self.query.allow.iter().find(|name| Query::named(name).is_none()) {
            return wrong("query.allow", name, "no such query");
        }
        if let Some((name, _)) = self.users.aliases.iter().find(|(_, to)| to.is_empty()) {
            return wrong("users.aliases", name, "an alias needs at least one user");
        }
        relay::check(self)?;
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: String::new(),
            hostname: String::new(),
            spool: PathBuf::from("/var/spool/uft"),
            socket: PathBuf::from("/run/uft/uftd.sock"),
            shutdown_grace: Span(Duration::from_secs(30)),
            uft: Uft::default(),
            users: Users::default(),
            limits: LimitsSection::default(),
            query: QuerySection::default(),
            notice: Notice::default(),
            agent: Agent::default(),
            peers: Vec::new(),
            routes: Vec::new(),
            queue: QueueSection::default(),
        }
    }
}

impl Default for Uft {
    fn default() -> Uft {
        Uft {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6608))],
            tls_listen: Vec::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            max_sessions: 1024,
            max_sessions_per_address: 64,
            idle_timeout: Span(Duration::from_secs(120)),
            burst_timeout: Span(Duration::from_secs(60)),
            session_timeout: Span(Duration::from_secs(3_600)),
            min_rate: Size(500),
        }
    }
}

impl Default for Users {
    fn default() -> Users {
        Users {
            source: Source::System,
            list: Vec::new(),
            aliases: BTreeMap::new(),
            program: BTreeMap::new(),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> LimitsSection {
        LimitsSection {
            max_file: Size(16 << 30),
            user_bytes: Size(64 << 30),
            user_items: 10_000,
            min_free: Size(1 << 30),
            stranger_bytes: Size(4 << 30),
            stranger_items: 1_000,
            strangers: Strangers::Accept,
            expire: Span(Duration::from_secs(30 * 86_400)),
        }
    }
}

impl Default for QuerySection {
    fn default() -> QuerySection {
        QuerySection {
            allow: vec!["TIME".into(), "CPLEVEL".into()],
            logmsg_file: PathBuf::new(),
        }
    }
}

impl Default for Notice {
    fn default() -> Notice {
        Notice {
            tty: true,
            hook: Vec::new(),
        }
    }
}

/// A node name made of a host name: its first label, folded, cut at 8.
fn node_of(hostname: &str) -> String {
    let label = hostname.split('.').next().unwrap_or_default();
    let node: String = label
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(8)
        .collect();
    if node.is_empty() {
        "LOCAL".into()
    } else {
        node.to_ascii_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::keys::KEYS;
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, "alpha.example").unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = Config::parse("", "alpha.example").unwrap();
        assert_eq!(
            (config.node.as_str(), config.hostname.as_str()),
            ("ALPHA", "alpha.example")
        );
        assert_eq!(config.limits.max_file, Size(16 << 30));
        assert_eq!(config.uft.listen, ["127.0.0.1:6608".parse().unwrap()]);
    }

    #[test]
    fn the_effective_configuration_reads_back_as_itself() {
        let text = "node = \"BETA\"\n[users]\nsource = \"list\"\nlist = [\"alice\"]\naliases = { post = [\"alice\"] }";
        let config = Config::parse(text, "h").unwrap();
        assert_eq!(Config::parse(&config.effective(), "other").unwrap(), config);
    }

    #[test]
    fn every_key_of_the_structure_is_a_known_key() {
        let text = "[[peer]]\nname = \"b\"\nuft = \"h\"\n[[route]]\nto = \"*\"\nvia = \"b\"\n\
                    [users.program.lister]\ncommand = [\"/bin/true\"]";
        let table: toml::Table = Config::parse(text, "h").unwrap().effective().parse().unwrap();
        assert_eq!(check_keys("", &table), Ok(()));
        // Every name that is written with a value, once; a program's own name is none of ours.
        fn names(value: &toml::Value) -> usize {
            match value {
                toml::Value::Table(table) => table.values().map(|value| 1 + names(value)).sum(),
                toml::Value::Array(list) => list.iter().map(names).sum(),
                _ => 0,
            }
        }
        let written = names(&toml::Value::Table(table)) - "lister".lines().count();
        let sections = KEYS
            .iter()
            .filter(|(name, _)| !name.is_empty() && !name.contains('.'));
        let known: usize = KEYS.iter().map(|(_, keys)| keys.len()).sum();
        assert_eq!(written, known + sections.count(), "KEYS and the structure differ");
    }

    #[test]
    fn errors_name_line_key_and_value() {
        assert_eq!(
            error("\n[uft]\nmax_sesions = 3"),
            "line 3: unknown key uft.max_sesions, did you mean uft.max_sessions"
        );
        assert_eq!(error("[metrik]\n"), "line 1: unknown key metrik");
        let bad = error("[limits]\nmax_file = \"lots\"");
        assert!(
            bad.starts_with("line 2: max_file = \"lots\"") && bad.contains("is not a size"),
            "{bad}"
        );
        assert!(error("node = \"toolongname\"").starts_with("line 1: node = toolongname: "));
        assert!(error("[users]\nlist = [\"a/b\"]").contains("line 2"));
        assert!(error("[limits]\nexpire = \"0s\"").starts_with("line 2: limits.expire = 0"));
        assert!(error("[query]\nallow = [\"BOGUS\"]").contains("line 2: query.allow = BOGUS: no such query"));
    }

    #[test]
    fn what_this_release_does_not_do_is_refused_unless_it_is_off() {
        assert!(error("[mail]\nrelay = \"smtp://127.0.0.1\"").contains("mail = "));
        assert!(error("[limits]\nstrangers = \"pending\"").contains("not supported by this release"));
        assert!(error("[[peer]]\nname = \"b\"\nedt = true").contains("not supported"));
        assert!(Config::parse("[mail]\nrelay = \"\"\n[uft]\ntls_listen = []", "h").is_ok());
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        for text in [
            "[uft]\ntls_listen = [\"[::]:5608\"]",
            "[uft]\ntls_cert = \"/c\"",
            "[uft]\ntls_key = \"/k\"",
        ] {
            assert!(error(text).contains("TLS needs both"), "{text}");
        }
        assert!(error("[uft]\ntls_cert = \"c\"\ntls_key = \"/k\"").contains("absolute"));
        let good = "[uft]\ntls_listen = [\"[::]:5608\"]\ntls_cert = \"/c\"\ntls_key = \"/k\"";
        assert!(Config::parse(good, "h").unwrap().has_certificate());
    }

    #[test]
    fn what_holds_for_any_settings_holds_for_these() {
        use crate::fuzz_bodies::{configuration, local_line};

        for seed in [
            "",
            "node = \"B\"\n[limits]\nmax_file = \"1K\"\nexpire = \"1d\"",
            "[users]\nsource = \"list\"\nlist = [\"alice\"]\naliases = { a = [\"alice\"] }",
            "[[peer]]\nname = \"x\"",
            "a.b.c = {}",
            "\u{0}",
        ] {
            configuration(seed.as_bytes());
        }
        for seed in [
            r#"{"op":"list","user":null,"full":true}"#,
            r#"{"op":"open","user":"alice","id":3,"form":"wire"}"#,
            r#"{"row":[1,"a@b","A",3,4,null,"t"]}"#,
            r#"{"refused":{"why":"no_item","text":"\u001b"}}"#,
            "{}",
        ] {
            local_line(seed.as_bytes());
        }
    }
}
