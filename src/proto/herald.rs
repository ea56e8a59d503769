//! The herald: the first line of a server, written and read.
//!
//! What this file does *not* do: decide what a client does with it (`dialogue.rs`).
//! Source: heralds of the implementations in the field, listed in `docs/protocol.md`.

use super::line::is_blank;
use super::proof::Nonce;
use super::reply::{Code, Reply, clean};

/// What our server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Name of this host: one word.
    pub host: String,
    /// Product and version, one word: `uftd/0.1.0`.
    pub product: String,
    /// The largest burst that clients of the field may send, in bytes (any is taken). 32256 is what they know.
    pub max_burst: u32,
    /// What gateways that know us put into their proof, fresh for each connection; none when there are no such gateways.
    pub nonce: Option<Nonce>,
}

impl Greeting {
    pub(super) fn reply(&self) -> Reply {
        let (host, product) = (token(&self.host), token(&self.product));
        let mut text = format!("{host} UFT/2 {product} {} ; ready.", self.max_burst);
        if let Some(nonce) = &self.nonce {
            text.push_str(&format!(" {NONCE}{nonce}"));
        }
        Reply::new(223, &text)
    }

    /// `HELP`: our own words, and nothing about the host.
    pub(super) fn help(&self) -> Reply {
        let product = format!("server: {}", token(&self.product));
        let mut lines = vec!["protocol: UFT/2".to_owned(), product, "commands:".to_owned()];
        lines.extend(HELP.iter().map(|&line| line.to_owned()));
        let lines: Vec<String> = lines.iter().map(|line| format!("HELP: {line}")).collect();
        Reply::bulk(614, &lines, 214, "HELP: end of HELP")
    }
}

/// What stands before the nonce, as the last word of a herald.
const NONCE: &str = "nonce=";

const HELP: &[&str] = &[
    "FILE <size> <from> <auth>     announce a file",
    "USER <recipient>              say for whom it is",
    "TYPE <type> [<cc>|<length>]   A E M N V W X F I",
    "NAME <filename>               name it",
    "META <key> <value>            describe it",
    "DATA <count>                  then that many bytes; again as needed",
    "AUXDATA <count>               the same for the second fork",
    "EOF                           deliver it",
    "ABORT                         drop it",
    "MSG <recipient> <text>        send one line",
    "CPQ <query>                   CPLEVEL CPUID FILES INDICATE LOGMSG NAMES TIME USER USERS",
    "AGENT <key>                   check a key",
    "NOOP                          do nothing",
    "QUIT                          end the session",
];

/// A word for a place where words are counted.
fn token(text: &str) -> String {
    let word: String = clean(text, 64).split(is_blank).collect::<Vec<_>>().join("_");
    if word.is_empty() { "-".to_owned() } else { word }
}

/// A herald, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Herald {
    /// 1 (herald 1xx: no `META`, no `AUXDATA`, no 3xx) or 2.
    pub level: u8,
    /// Product and version, when said.
    pub product: Option<String>,
    /// The largest burst in bytes, when a usable one was said: `1 <= n`.
    pub max_burst: Option<u32>,
    /// The server's nonce, when it knows gateways by a secret.
    pub nonce: Option<Nonce>,
}

/// The first line is no welcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWelcome {
    /// The server refuses the session (4xx, 5xx).
    #[error("{0} {1}")]
    Refused(Code, String),
    /// Whatever this is, it is no UFT server.
    #[error("not a UFT server")]
    NotUft,
}

impl Herald {
    /// Reads a herald: code, host, protocol (`UFT...`), product, largest burst.
    ///
    /// # Errors
    /// When the line refuses the session, or is not a herald of this protocol.
    pub fn parse(line: &str) -> Result<Herald, NotWelcome> {
        let code = Code::of(line).ok_or(NotWelcome::NotUft)?;
        let text = line.get(3..).unwrap_or_default();
        let level = match code.class() {
            1 => 1,
            2 => 2,
            4 | 5 => return Err(NotWelcome::Refused(code, text.trim().to_owned())),
            _ => return Err(NotWelcome::NotUft),
        };
        let mut words = text.split(is_blank).filter(|word| !word.is_empty());
        let (_host, protocol) = (words.next(), words.next().unwrap_or_default());
        if !protocol.to_ascii_uppercase().starts_with("UFT") {
            return Err(NotWelcome::NotUft);
        }
        let product = words
            .next()
            .filter(|word| !word.starts_with(';'))
            .map(str::to_owned);
        let max_burst = words
            .next()
            .and_then(|word| word.trim_end_matches(';').parse().ok())
            .filter(|&n: &u32| n > 0);
        let nonce = text
            .split_once(';')
            .and_then(|(_, remark)| remark.split(is_blank).find_map(|word| word.strip_prefix(NONCE)))
            .and_then(|nonce| nonce.parse().ok());
        Ok(Herald {
            level,
            product,
            max_burst,
            nonce,
        })
    }

    /// Whether the server is ours: it takes large bursts and commands without waiting.
    pub fn is_ours(&self) -> bool {
        self.level == 2
            && self
                .product
                .as_deref()
                .is_some_and(|product| product.starts_with("uftd/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn herald(level: u8, product: Option<&str>, max_burst: Option<u32>) -> Result<Herald, NotWelcome> {
        Ok(Herald {
            level,
            product: product.map(str::to_owned),
            max_burst,
            nonce: None,
        })
    }

    #[test]
    fn our_herald_is_read_back_as_ours() {
        let greeting = Greeting {
            host: "a b".into(),
            product: "uftd/0.1.0".into(),
            max_burst: 32256,
            nonce: None,
        };
        let reply = greeting.reply();
        let (code, text) = reply.lines().next().unwrap();
        assert_eq!(
            format!("{code} {text}"),
            "223 a_b UFT/2 uftd/0.1.0 32256 ; ready."
        );
        let herald = Herald::parse(&format!("{code} {text}")).unwrap();
        assert!(herald.is_ours() && herald.max_burst == Some(32256));
    }

    #[test]
    fn a_long_host_name_leaves_the_herald_whole() {
        let greeting = Greeting {
            host: "h".repeat(255),
            product: "uftd/0.1.0".into(),
            max_burst: 32256,
            nonce: None,
        };
        assert!(
            greeting
                .reply()
                .lines()
                .next()
                .unwrap()
                .1
                .ends_with("32256 ; ready.")
        );
    }

    #[test]
    fn a_nonce_is_the_last_word_of_a_herald_that_stays_short() {
        let greeting = Greeting {
            host: "h".repeat(255),
            product: "uftd/0.1.0".into(),
            max_burst: 32256,
            nonce: Some(Nonce([0xab; 16])),
        };
        let reply = greeting.reply();
        let (code, text) = reply.lines().next().unwrap();
        assert!(
            text.ends_with(&format!(" ; ready. nonce={}", "ab".repeat(16))),
            "{text}"
        );
        assert!(text.len() + "223 \r\n".len() < 200);
        let herald = Herald::parse(&format!("{code} {text}")).unwrap();
        assert_eq!(herald.nonce, greeting.nonce);
        assert!(herald.is_ours() && herald.max_burst == Some(32256));
        for none in [
            "; nonce=",
            "; nonce=xy",
            "nonce=abababababababababababababababab",
            ";nonce",
        ] {
            let herald = Herald::parse(&format!("223 h UFT/2 uftd/1 1 {none}")).unwrap();
            assert_eq!(herald.nonce, None, "{none}");
        }
    }

    #[test]
    fn heralds_of_the_field_are_read() {
        assert_eq!(
            Herald::parse("223 vm UFT/2 POSIXUFT/2.1.2 32256 ; ready."),
            herald(2, Some("POSIXUFT/2.1.2"), Some(32256))
        );
        assert_eq!(
            Herald::parse("222 h UFT/2 VMCMSUFT/2.1 32256 ; ready."),
            herald(2, Some("VMCMSUFT/2.1"), Some(32256))
        );
        assert_eq!(
            Herald::parse("224 *anonymous UFT/2 UFT/redacted 0 ; ready."),
            herald(2, Some("UFT/redacted"), None)
        );
        assert_eq!(Herald::parse("102 host UFT/1"), herald(1, None, None));
        assert_eq!(Herald::parse("220 host UFT ; ready"), herald(2, None, None));
        assert_eq!(Herald::parse("223 h UFT/2 P -5"), herald(2, Some("P"), None));
        assert_eq!(
            Herald::parse("223 h UFT/2 P 99999999999"),
            herald(2, Some("P"), None)
        );
    }

    #[test]
    fn other_servers_and_refusals_are_no_welcome() {
        for line in [
            "",
            "220 mail.example ESMTP",
            "220 ready",
            "SSH-2.0-x",
            "300 h UFT/2",
            "HTTP/1.1 400 Bad",
            "ä",
        ] {
            assert_eq!(Herald::parse(line), Err(NotWelcome::NotUft), "{line}");
        }
        assert_eq!(
            Herald::parse("568 x; not a peer"),
            Err(NotWelcome::Refused(Code(568), "x; not a peer".into()))
        );
    }
}
