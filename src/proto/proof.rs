//! How two gateways prove to each other that they have the same secret, without either of them saying it.
//!
//! The proof is an HMAC over a transcript of everything that must be the same on both sides: who proves, both names,
//! both nonces, and the TLS session if there is one. A nonce for each side makes every proof good for one connection;
//! the role in it makes a proof that is sent back useless; the TLS exporter ties it to the connection's two ends, so
//! that nobody in the middle can pass it on. What this file does *not* do: draw nonces, look up secrets, or say
//! anything (`session.rs`, `dialogue.rs`).
//!
//! Source: RFC 2104 (HMAC), RFC 5869 (HKDF), RFC 9266 on channel bindings by exporter; `docs/protocol.md`, *Peers*.

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// First field of every transcript: another form of proof will have another one.
const LABEL: &[u8] = b"uft-peer-1";
/// Shortest secret, in bytes.
pub const SECRET_MIN: usize = 16;

/// A number that is used once: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// An HMAC-SHA256 as it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub [u8; 32]);

/// A secret that both gateways have: it has no serial form and its `Debug` hides it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A secret of fewer than [`SECRET_MIN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of {0} bytes; at least {SECRET_MIN} are needed")]
pub struct ShortSecret(pub usize);

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that connected.
    Client,
    /// The side that was connected to.
    Server,
}

/// What a gateway proves itself by to another one.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name by which the other one knows it.
    pub name: String,
    /// Node name of the other one.
    pub server: String,
    /// What both have.
    pub secret: Secret,
}

/// What both sides of one connection know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The name by which the server knows the client; compared without case.
    pub client: String,
    /// Node name of the server; compared without case.
    pub server: String,
    /// The nonce in the herald.
    pub server_nonce: Nonce,
    /// The nonce in `PEER`.
    pub client_nonce: Nonce,
    /// The value that both ends of a TLS session can export and nobody else; empty in clear.
    pub exporter: Vec<u8>,
}

/// Keys for what else the two gateways do in this session, none of which tells anything of another.
#[derive(Clone)]
pub struct SessionKeys(Hkdf<Sha256>);

impl Secret {
    /// The secret in a file: everything but the end of its last line.
    ///
    /// # Errors
    /// When it is too short to be one.
    pub fn of_file(text: &[u8]) -> Result<Secret, ShortSecret> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() < SECRET_MIN {
            return Err(ShortSecret(text.len()));
        }
        Ok(Secret(text.to_vec()))
    }
}

impl Exchange {
    /// What `role` says to prove that it has the secret.
    pub fn prove(&self, role: Role, secret: &Secret) -> Tag {
        let tag = self.mac(role, secret).finalize().into_bytes();
        Tag(tag.into())
    }

    /// Whether `role` has the secret, as this tag is to show. Takes as long for a wrong one as for the right one.
    pub fn verify(&self, role: Role, secret: &Secret, tag: &Tag) -> bool {
        self.mac(role, secret).verify_slice(&tag.0).is_ok()
    }

    /// The keys that the two gateways have in common once both proofs were right.
    pub fn keys(&self, secret: &Secret) -> SessionKeys {
        SessionKeys(Hkdf::new(Some(&self.transcript(b"keys")), &secret.0))
    }

    fn mac(&self, role: Role, secret: &Secret) -> Hmac<Sha256> {
        let role: &[u8] = match role {
            Role::Client => b"client",
            Role::Server => b"server",
        };
        // A key of any length will do; the type of the error says that there are others for which that is not so.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&secret.0) {
            Ok(mac) => mac,
            Err(_) => Hmac::new(&Default::default()),
        };
        mac.update(&self.transcript(role));
        mac
    }

    /// Every field with its length before it (32 bits, big-endian): no two exchanges have the same bytes.
    fn transcript(&self, role: &[u8]) -> Vec<u8> {
        let (client, server) = (self.client.to_ascii_lowercase(), self.server.to_ascii_lowercase());
        let fields: [&[u8]; 7] = [
            LABEL,
            role,
            client.as_bytes(),
            server.as_bytes(),
            &self.server_nonce.0,
            &self.client_nonce.0,
            &self.exporter,
        ];
        let mut bytes = Vec::with_capacity(256);
        for field in fields {
            bytes.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

impl SessionKeys {
    /// The key for one purpose.
    pub fn key(&self, label: &str) -> [u8; 32] {
        let mut key = [0; 32];
        // Only more than 8160 bytes would be refused.
        if self.0.expand(label.as_bytes(), &mut key).is_err() {
            debug_assert!(false, "32 bytes can always be derived");
        }
        key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// Text that is not the right number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the right number of hexadecimal digits")]
pub struct NotHex;

macro_rules! hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<$name, NotHex> {
                unhex(text).map($name)
            }
        }
    };
}

hexadecimal!(Nonce);
hexadecimal!(Tag);

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    if text.len() != 2 * N {
        return Err(NotHex);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let &[high, low] = pair else { return Err(NotHex) };
        *byte = digit(high).ok_or(NotHex)? << 4 | digit(low).ok_or(NotHex)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(exporter: &[u8]) -> Exchange {
        Exchange {
            client: "Alpha".into(),
            server: "BETA".into(),
            server_nonce: Nonce([0x11; 16]),
            client_nonce: Nonce([0x22; 16]),
            exporter: exporter.to_vec(),
        }
    }

    fn secret() -> Secret {
        Secret::of_file(b"correct horse battery staple\n").unwrap()
    }

    /// Computed with:
    ///
    /// ```text
    /// python3 - <<'END'
    /// import hmac, hashlib
    /// def t(role, exporter=b""):
    ///     fields = [b"uft-peer-1", role, b"alpha", b"beta", b"\x11" * 16, b"\x22" * 16, exporter]
    ///     return b"".join(len(f).to_bytes(4, "big") + f for f in fields)
    /// def mac(key, text): return hmac.new(key, text, hashlib.sha256).digest()
    /// secret = b"correct horse battery staple"
    /// print(mac(secret, t(b"client")).hex())
    /// print(mac(secret, t(b"server")).hex())
    /// print(mac(secret, t(b"server", b"\x33" * 32)).hex())
    /// print(mac(mac(t(b"keys"), secret), b"edt" + b"\x01").hex())
    /// END
    /// ```
    #[test]
    fn proofs_and_keys_are_those_that_another_program_computes() {
        let (clear, tls) = (exchange(b""), exchange(&[0x33; 32]));
        let key = clear.keys(&secret()).key("edt");
        for (ours, theirs) in [
            (
                clear.prove(Role::Client, &secret()),
                "416a8ff973db3643704484f6fb610ba42dcea0a2190a0f4cafe2662cb21a003b",
            ),
            (
                clear.prove(Role::Server, &secret()),
                "54336f1bab17a38b32c82c3ad6f815883e0347baccb2b97a6ca82d89309d225a",
            ),
            (
                tls.prove(Role::Server, &secret()),
                "7ecef28d18a4c16922bb2bca184bfee3470cd6c1496bb2f0bffcc57173a73854",
            ),
            (
                Tag(key),
                "43f22909dbc2b17d3330f0db33db0030a6d0f16dd1745de83bd3c7347c4bfc9c",
            ),
        ] {
            assert_eq!(ours.to_string(), theirs);
        }
    }

    #[test]
    fn a_secret_is_the_file_without_its_line_end_and_is_never_shown() {
        assert_eq!(
            Secret::of_file(b"0123456789abcde\n").unwrap_err(),
            ShortSecret(15)
        );
        let plain = Secret::of_file(b"0123456789abcdef").unwrap();
        for same in [&b"0123456789abcdef\n"[..], b"0123456789abcdef\r\n"] {
            assert_eq!(Secret::of_file(same).unwrap().0, plain.0);
        }
        let spaced = Secret::of_file(b" 0123456789abcdef \n\n").unwrap();
        assert_eq!(spaced.0, b" 0123456789abcdef \n", "one line end, nothing else");
        assert!(!format!("{plain:?}").contains("0123"));
        let keys = exchange(b"").keys(&plain);
        assert_eq!(format!("{keys:?}"), "SessionKeys(..)");
        assert_ne!(keys.key("a"), keys.key("b"));
    }

    #[test]
    fn only_the_right_number_of_hexadecimal_digits_is_a_nonce() {
        let digits = "00112233445566778899aabbccddeeff";
        let nonce: Nonce = digits.parse().unwrap();
        assert_eq!(nonce.to_string(), digits);
        assert_eq!(digits.to_ascii_uppercase().parse(), Ok(nonce));
        for bad in [
            "",
            "00",
            "0x112233445566778899aabbccddeeff",
            "ä0112233445566778899aabbccddee",
            "+0112233445566778899aabbccddeeff",
            "00112233445566778899aabbccddeeff00",
        ] {
            assert_eq!(bad.parse::<Nonce>(), Err(NotHex), "{bad}");
        }
    }

    fn any_exchange() -> impl Strategy<Value = Exchange> {
        (
            "[A-Za-z0-9@#$._-]{1,12}",
            "[A-Z0-9]{1,8}",
            any::<[u8; 16]>(),
            any::<[u8; 16]>(),
            prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 32)],
        )
            .prop_map(
                |(client, server, server_nonce, client_nonce, exporter)| Exchange {
                    client,
                    server,
                    server_nonce: Nonce(server_nonce),
                    client_nonce: Nonce(client_nonce),
                    exporter,
                },
            )
    }

    fn any_secret() -> impl Strategy<Value = Secret> {
        prop::collection::vec(any::<u8>(), 16..100).prop_map(Secret)
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_exchange_role_and_secret_and_for_no_other(
            (one, other) in (any_exchange(), any_exchange()),
            (secret, another) in (any_secret(), any_secret()),
        ) {
            let tag = one.prove(Role::Client, &secret);
            prop_assert!(one.verify(Role::Client, &secret, &tag));
            prop_assert!(!one.verify(Role::Server, &secret, &tag), "a proof that is sent back proves nothing");
            prop_assert!(!other.verify(Role::Client, &secret, &tag));
            prop_assert!(!one.verify(Role::Client, &another, &tag));
            let folded = Exchange { client: one.client.to_ascii_uppercase(), ..one.clone() };
            prop_assert!(folded.verify(Role::Client, &secret, &tag), "names have no case");
        }

        #[test]
        fn one_changed_field_or_bit_makes_another_proof(
            one in any_exchange(), secret in any_secret(), bit in 0usize..256,
        ) {
            let tag = one.prove(Role::Server, &secret);
            let mut flipped = tag;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!one.verify(Role::Server, &secret, &flipped));
            let mut nonce = one.server_nonce;
            nonce.0[bit / 16] ^= 1 << (bit % 8);
            let moved = one.client.clone() + "x";
            for other in [
                Exchange { server_nonce: nonce, ..one.clone() },
                Exchange { exporter: vec![7; 32], ..one.clone() },
                Exchange { client: moved, ..one.clone() },
                Exchange { server: "other".into(), ..one.clone() },
            ] {
                prop_assert!(!other.verify(Role::Server, &secret, &tag));
            }
            prop_assert_eq!(tag.to_string().parse::<Tag>().unwrap(), tag);
        }

        #[test]
        fn what_is_no_tag_is_refused_and_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Tag>();
            let _ = text.parse::<Nonce>();
        }
    }
}
