//! What is known about a file and its sender: the facts that travel in the trailer of an item and never change.
//!
//! What it does *not* hold: the recipient and the item's number (those are the item's place), attempts, or times
//! other than the arrival. The byte layout of the trailer is `trailer.rs`'s.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The canonical type of a file (RFC 1440 "type"; the aliases T and C of A, B and U of I are folded at the edge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileType {
    /// Text, lines end with CR LF on the wire.
    A,
    /// Octets.
    I,
    /// EBCDIC text, lines end with 0x15.
    E,
    /// IBM NETDATA.
    N,
    /// A mail message (RFC 5322), CR LF.
    M,
    /// Records with a 16-bit big-endian length.
    V,
    /// Records with a 32-bit big-endian length.
    W,
    /// Records with a 64-bit big-endian length.
    X,
    /// Fixed records; their length is [`TypeSpec::record_length`].
    F,
}

impl FileType {
    /// Every type once, in the order of the documentation.
    pub const ALL: [FileType; 9] = [
        FileType::A,
        FileType::I,
        FileType::E,
        FileType::N,
        FileType::M,
        FileType::V,
        FileType::W,
        FileType::X,
        FileType::F,
    ];

    /// The letter used on the wire.
    pub fn letter(self) -> char {
        match self {
            FileType::A => 'A',
            FileType::I => 'I',
            FileType::E => 'E',
            FileType::N => 'N',
            FileType::M => 'M',
            FileType::V => 'V',
            FileType::W => 'W',
            FileType::X => 'X',
            FileType::F => 'F',
        }
    }
}

/// Carriage control of a text (second word of `TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carriage {
    /// ASA (FORTRAN) control characters in column 1: `C`.
    Asa,
    /// Machine control bytes in column 1: `M`.
    Machine,
}

/// A `TYPE` command, understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSpec {
    /// What the bytes are.
    pub file_type: FileType,
    /// Carriage control, if declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carriage: Option<Carriage>,
    /// Bytes a record (type F), if declared: `1 <= n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_length: Option<u32>,
    /// The argument as it was sent, when it says more than the fields above (`C`, `T`, `U`, `B`, an unknown type).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
}

impl TypeSpec {
    /// The plain form of a type.
    pub fn plain(file_type: FileType) -> TypeSpec {
        TypeSpec {
            file_type,
            carriage: None,
            record_length: None,
            declared: None,
        }
    }
}

/// What was *verified* about a sender; the name in [`Origin::user`] is a claim unless this says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The kernel named the user at the other end of the local socket.
    Local,
    /// Nothing but the address that the bytes came from.
    Address,
    /// The gateway that the bytes came from has the secret that it shares with this one.
    Peer,
    /// The gateway that the bytes came from showed its TLS certificate.
    Certificate,
    /// The gateway that was asked back at its own address confirmed the key of the sender.
    Agent,
}

/// Who sent a file: the claim, and what of it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Login name as claimed in `FILE` (proven when `proof` is [`Proof::Local`], vouched for by a gateway that has proven
    /// itself); empty when none was given.
    pub user: String,
    /// NJE-style node of the sender, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The host that the bytes came from: an address in text form, or this host's name for local senders.
    pub host: String,
    /// What was verified.
    pub proof: Proof,
}

impl Proof {
    /// One word for programs, as in the envelope.
    pub fn word(self) -> &'static str {
        match self {
            Proof::Local => "local",
            Proof::Address => "address",
            Proof::Peer => "peer",
            Proof::Certificate => "certificate",
            Proof::Agent => "agent",
        }
    }

    /// Whether the gateway that the bytes came from was proven, which then vouches for its users.
    pub fn is_gateway(self) -> bool {
        matches!(self, Proof::Peer | Proof::Certificate | Proof::Agent)
    }
}

impl Origin {
    /// Where the sender is: the node that a proven gateway vouches for, else the host that the bytes came from.
    pub fn place(&self) -> &str {
        match &self.node {
            Some(node) if self.proof.is_gateway() => node,
            _ => &self.host,
        }
    }

    /// `user@place`, or the place alone when no name was given.
    pub fn sender(&self) -> String {
        match self.user.as_str() {
            "" => self.place().to_owned(),
            user => format!("{user}@{}", self.place()),
        }
    }
}

/// One attribute (`META key value` or its bare form), under its full key, in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Upper case, `A-Z 0-9 _ -`, 1 to 32 bytes.
    pub key: String,
    /// The rest of the line, as text.
    pub value: String,
}

/// What the server knows of a file before its bytes are counted: everything in the envelope but sizes and digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The name as sent (hostile text, never a path here).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Type of the wire form, as declared by the sender.
    #[serde(rename = "type")]
    pub spec: TypeSpec,
    /// Type of the local form as stored: `spec.file_type` unless a failed conversion left it as [`FileType::I`].
    pub stored_as: FileType,
    /// Who sent it.
    pub origin: Origin,
    /// Time of the commit, seconds since 1970-01-01 00:00 UTC.
    pub received: i64,
    /// Attributes in order of arrival; NAME and TYPE are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// The sender's transfer id (`META XID`), 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<String>,
    /// Whether the wire form can be made again from the local form, byte for byte.
    pub exact: bool,
    /// What the recipient should know: an unknown charset, a failed conversion, a dropped attribute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The bytes are a receipt for another file, not a file: of whom is [`Facts::origin`]'s to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// A receipt: the sender's word (hostile text) on what became of a file that was sent before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Name of that file; none: it was a message, or had no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was sent, seconds since 1970-01-01 00:00 UTC; none: the receipt does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<i64>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Its recipient took it.
    Received,
    /// Its recipient discarded it.
    Deleted,
    /// Something else, in the words of the other side.
    Other(String),
}

impl Facts {
    /// The last value of an attribute; `key` in upper case.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .rev()
            .find(|a| a.key == key)
            .map(|a| a.value.as_str())
    }
}

/// Length and digest of one form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the bytes.
    #[serde(with = "hex_digest")]
    pub blake3: blake3::Hash,
}

/// The whole record of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Format of this record; 1.
    pub version: u32,
    /// What was said of the file.
    #[serde(flatten)]
    pub facts: Facts,
    /// The bytes at the start of the item's file, which the recipient gets.
    pub local: Measure,
    /// The bytes as sent; equal to `local` when nothing was converted.
    pub wire: Measure,
    /// Whether the wire form stands beside the item as `<id>.wire`.
    pub wire_kept: bool,
    /// The second fork (`AUXDATA`), beside the item as `<id>.aux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux: Option<Measure>,
}

impl Envelope {
    /// Bytes that an item counts for: the larger of its local and its wire form, and the second fork.
    pub(crate) fn charge(&self) -> u64 {
        let aux = self.aux.map_or(0, |aux| aux.bytes);
        self.local.bytes.max(self.wire.bytes).saturating_add(aux)
    }
}

/// The address that a stranger's quota is counted under: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stranger(String);

impl Stranger {
    /// The key of an address; an IPv4-mapped IPv6 address counts as the IPv4 one.
    pub fn of(address: IpAddr) -> Stranger {
        match address.to_canonical() {
            IpAddr::V4(v4) => Stranger(v4.to_string()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Stranger(format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }

    /// A key that the index has kept.
    pub(crate) fn stored(text: String) -> Stranger {
        Stranger(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

mod hex_digest {
    //! A BLAKE3 digest as 64 hexadecimal digits.

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &blake3::Hash, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(hash.to_hex().as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<blake3::Hash, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        blake3::Hash::from_hex(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_stranger_is_the_slash_64() {
        let of = |text: &str| Stranger::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn a_sender_is_at_the_node_that_a_proven_gateway_names_else_at_the_host() {
        let of = |proof, node: Option<&str>, user: &str| {
            let (user, host) = (user.to_owned(), "192.0.2.1".to_owned());
            let node = node.map(str::to_owned);
            Origin {
                user,
                node,
                host,
                proof,
            }
            .sender()
        };
        assert_eq!(of(Proof::Peer, Some("GAMMA"), "ann"), "ann@GAMMA");
        assert_eq!(of(Proof::Agent, Some("GAMMA"), ""), "GAMMA");
        assert_eq!(of(Proof::Certificate, None, "ann"), "ann@192.0.2.1");
        assert_eq!(of(Proof::Address, Some("GAMMA"), "ann"), "ann@192.0.2.1");
        assert_eq!(
            serde_json::to_string(&Proof::Certificate).unwrap(),
            "\"certificate\""
        );
    }

    #[test]
    fn an_envelope_survives_its_text_form() {
        let measure = Measure {
            bytes: 3,
            blake3: blake3::hash(b"abc"),
        };
        let envelope = Envelope {
            version: 1,
            facts: Facts {
                name: Some("re\u{7}port\n.txt".into()),
                spec: TypeSpec {
                    carriage: Some(Carriage::Asa),
                    ..TypeSpec::plain(FileType::A)
                },
                stored_as: FileType::A,
                origin: Origin {
                    user: "maint".into(),
                    node: None,
                    host: "192.0.2.1".into(),
                    proof: Proof::Address,
                },
                received: 1_795_218_990,
                attributes: vec![Attribute {
                    key: "CLASS".into(),
                    value: "A PRT".into(),
                }],
                xid: None,
                exact: true,
                notes: vec![],
                receipt: Some(Receipt {
                    name: Some("NOTES.TEXT".into()),
                    sent: None,
                    fate: Fate::Other("lost\n".into()),
                }),
            },
            local: measure,
            wire: measure,
            wire_kept: false,
            aux: None,
        };
        let text = serde_json::to_string(&envelope).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), envelope);
    }
}
