//! The trail of a file: who sent it in the first place, how many gateways it has passed, and which.
//!
//! It travels as three attributes, `META ORIGIN user@node`, `META HOPS n`, `META VIA A,B,C`. They are claims of whoever
//! sent them: they keep honest gateways from sending a file round in circles, and they prove nothing. What this file does
//! *not* do: say where a file goes next (`table.rs`).

use uft_spool::Attribute;

use super::table::{Table, Why};
use crate::display::hidden;

/// Most bytes of `VIA` that are read: with our own name added it still fits into one line of the protocol.
pub const VIA_BYTES_MAX: usize = 3000;
/// Longest `ORIGIN`, in bytes.
const ORIGIN_MAX: usize = 255;
/// Longest name in `VIA`, in bytes: what a gateway may be called.
const NAME_MAX: usize = 64;

const ORIGIN: &str = "ORIGIN";
const HOPS: &str = "HOPS";
const VIA: &str = "VIA";

/// What a file says of its way so far. The default is that of a file which begins here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Who sent it in the first place, `user@node` by custom: 1 to 255 bytes, no blank, nothing invisible.
    pub origin: Option<String>,
    /// Gateways passed: `via.len() <= hops`.
    pub hops: u32,
    /// Their node names in the order in which they were passed; at most [`VIA_BYTES_MAX`] bytes with their commas.
    pub via: Vec<String>,
}

impl Trail {
    /// Reads the trail among the attributes of a file. A sender that repeats an attribute does not shorten the trail: of
    /// several `HOPS` the largest counts, and several `VIA` are one. The last `ORIGIN` counts, as with any attribute.
    ///
    /// # Errors
    /// [`Why::BadTrail`] when one of the three makes no sense. Such a file is refused rather than sent on without a
    /// trail: what cannot be counted cannot be stopped either.
    pub fn read(attributes: &[Attribute]) -> Result<Trail, Why> {
        let mut trail = Trail::default();
        let mut held = 0;
        for Attribute { key, value } in attributes {
            let value = value.trim_matches([' ', '\t']);
            match key.as_str() {
                ORIGIN => trail.origin = Some(origin(value)?),
                HOPS => trail.hops = trail.hops.max(hops(value)?),
                VIA => {
                    held += value.len() + 1;
                    if held > VIA_BYTES_MAX {
                        return Err(bad(VIA, "is too long"));
                    }
                    trail.via.append(&mut via(value)?);
                }
                _ => {}
            }
        }
        let passed = u32::try_from(trail.via.len()).unwrap_or(u32::MAX);
        trail.hops = trail.hops.max(passed);
        Ok(trail)
    }

    /// Whether a file may go on from here.
    ///
    /// # Errors
    /// [`Why::Loop`] when it has been here before, [`Why::TooManyHops`] when it has passed more gateways than allowed.
    pub fn passes(&self, table: &Table) -> Result<(), Why> {
        if self
            .via
            .iter()
            .any(|node| node.eq_ignore_ascii_case(table.node()))
        {
            return Err(Why::Loop(table.node().to_owned()));
        }
        if self.hops > table.max_hops() {
            return Err(Why::TooManyHops {
                hops: self.hops,
                most: table.max_hops(),
            });
        }
        Ok(())
    }

    /// The three attributes that the next hop gets from `node`, which is us: one hop more, and our name added.
    pub fn next(&self, node: &str) -> Vec<Attribute> {
        let attribute = |key: &str, value: String| Attribute {
            key: key.to_owned(),
            value,
        };
        let mut next = Vec::with_capacity(3);
        if let Some(origin) = &self.origin {
            next.push(attribute(ORIGIN, origin.clone()));
        }
        next.push(attribute(HOPS, self.hops.saturating_add(1).to_string()));
        let names = self.via.iter().map(String::as_str).chain([node]);
        next.push(attribute(VIA, names.collect::<Vec<_>>().join(",")));
        next
    }

    /// The attributes of a file as the next hop gets them: all others as they are, then [`Trail::next`].
    pub fn onward(&self, attributes: &[Attribute], node: &str) -> Vec<Attribute> {
        let others = attributes.iter().filter(|a| !Trail::has(&a.key)).cloned();
        others.chain(self.next(node)).collect()
    }

    /// Whether an attribute of this key is part of a trail.
    pub fn has(key: &str) -> bool {
        [ORIGIN, HOPS, VIA].contains(&key)
    }
}

fn bad(key: &'static str, fault: &'static str) -> Why {
    Why::BadTrail { key, fault }
}

/// Whether a text is one visible word.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || hidden(c))
}

fn origin(value: &str) -> Result<String, Why> {
    if value.len() > ORIGIN_MAX {
        return Err(bad(ORIGIN, "is too long"));
    }
    let fits = is_word(value).then(|| value.to_owned());
    fits.ok_or_else(|| bad(ORIGIN, "is not one word"))
}

fn hops(value: &str) -> Result<u32, Why> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number.ok_or_else(|| bad(HOPS, "is not a number"))
}

/// Names between commas; blanks around them and empty ones are nothing.
fn via(value: &str) -> Result<Vec<String>, Why> {
    let names = value.split(',').map(|name| name.trim_matches([' ', '\t']));
    names
        .filter(|name| !name.is_empty())
        .map(|name| match name.len() {
            1..=NAME_MAX if is_word(name) => Ok(name.to_owned()),
            1..=NAME_MAX => Err(bad(VIA, "has a name that is not one word")),
            _ => Err(bad(VIA, "has a name that is too long")),
        })
        .collect()
}
