//! How an item is shown: a row of a listing, a page of facts, a JSON object.
//!
//! A sender's name that nobody proved never looks like a proven one: it has a `?` before it in every listing, and what
//! was verified stands beside it everywhere else.
//! What it does *not* do: fetch items.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use uft_spool::{Carriage, Fate, Measure, Origin, Proof, Receipt};
use unicode_width::UnicodeWidthStr;

use crate::display::{self, shown};
use crate::local::{ItemInfo, Row};

/// The JSON form of an item. Field names are part of the interface.
#[derive(Serialize)]
pub(crate) struct ItemJson<'a> {
    id: u64,
    user: &'a str,
    from: String,
    origin: OriginJson<'a>,
    name: Option<&'a str>,
    #[serde(rename = "type")]
    file_type: char,
    stored_as: char,
    state: &'static str,
    size: u64,
    wire_size: u64,
    digest: String,
    local_digest: String,
    received: String,
    title: Option<&'a str>,
    meta: BTreeMap<&'a str, &'a str>,
    hops: u32,
    via: [&'a str; 0],
    exact: bool,
    note: Option<String>,
    aux: Option<AuxJson>,
    receipt: Option<ReceiptJson<'a>>,
}

#[derive(Serialize)]
struct OriginJson<'a> {
    user: &'a str,
    node: Option<&'a str>,
    host: &'a str,
    proof: Proof,
}

#[derive(Serialize)]
struct AuxJson {
    size: u64,
    digest: String,
}

/// A receipt; `words` are those of another `fate` than received and deleted.
#[derive(Serialize)]
pub(crate) struct ReceiptJson<'a> {
    name: Option<&'a str>,
    sent: Option<String>,
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'a str>,
}

impl ReceiptJson<'_> {
    pub(crate) fn of(receipt: &Receipt) -> ReceiptJson<'_> {
        let (fate, words) = match &receipt.fate {
            Fate::Received => ("received", None),
            Fate::Deleted => ("deleted", None),
            Fate::Other(words) => ("other", Some(words.as_str())),
        };
        ReceiptJson {
            name: receipt.name.as_deref(),
            sent: receipt.sent.map(rfc3339),
            fate,
            words,
        }
    }
}

/// The JSON form of an item.
pub(crate) fn json(item: &ItemInfo) -> ItemJson<'_> {
    let facts = &item.envelope.facts;
    ItemJson {
        id: item.id.get(),
        user: item.user.as_str(),
        from: facts.origin.sender(),
        origin: OriginJson {
            user: &facts.origin.user,
            node: facts.origin.node.as_deref(),
            host: &facts.origin.host,
            proof: facts.origin.proof,
        },
        name: facts.name.as_deref(),
        file_type: facts.spec.file_type.letter(),
        stored_as: facts.stored_as.letter(),
        state: "unread",
        size: item.envelope.local.bytes,
        wire_size: item.envelope.wire.bytes,
        digest: digest(&item.envelope.wire),
        local_digest: digest(&item.envelope.local),
        received: rfc3339(facts.received),
        title: facts.attribute("TITLE"),
        meta: facts
            .attributes
            .iter()
            .map(|a| (a.key.as_str(), a.value.as_str()))
            .collect(),
        hops: 0,
        via: [],
        exact: facts.exact,
        note: (!facts.notes.is_empty()).then(|| facts.notes.join("; ")),
        aux: item.envelope.aux.as_ref().map(|aux| AuxJson {
            size: aux.bytes,
            digest: digest(aux),
        }),
        receipt: facts.receipt.as_ref().map(ReceiptJson::of),
    }
}

/// `blake3:<hex>`.
pub(crate) fn digest(measure: &Measure) -> String {
    format!("blake3:{}", measure.blake3.to_hex())
}

/// `?` before a name that nobody proved, a blank before one that the kernel or a proven gateway stands for.
fn mark(proof: Proof) -> char {
    match proof {
        Proof::Address => '?',
        Proof::Local | Proof::Peer | Proof::Certificate | Proof::Agent => ' ',
    }
}

/// What a row says of the sender was proven or not: strangers come from an address, local users from a named host, and
/// those whom a proven gateway vouches for from a node.
fn proof_of_row(from: &str) -> Proof {
    let host = from.rsplit_once('@').map_or(from, |(_, host)| host);
    let address = host.split('%').next().unwrap_or(host);
    match address.parse::<IpAddr>() {
        Ok(_) => Proof::Address,
        Err(_) => Proof::Local,
    }
}

/// A sender for people: `alice@alpha`, or `?maint@192.0.2.1` when the name is only claimed.
pub(crate) fn marked_sender(origin: &Origin) -> String {
    let text = format!("{}{}", mark(origin.proof), shown(&origin.sender()));
    text.trim_start().to_owned()
}

/// A sender for people, and what was proven of it.
pub(crate) fn proven_sender(origin: &Origin) -> String {
    let proof = match origin.proof {
        Proof::Local => "a user of this host, named by its kernel",
        Proof::Address => "nothing but the address is proven",
        Proof::Peer => "the gateway proved itself by the shared secret",
        Proof::Certificate => "the gateway proved itself by its certificate",
        Proof::Agent => "the gateway confirmed the sender's key",
    };
    format!("{} ({proof})", marked_sender(origin))
}

/// The listing of an inbox, one line an item, with a heading. Inboxes can be long and their senders few: what a row
/// shares with others is worked out once.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut senders: HashMap<&str, (String, usize)> = HashMap::new();
    let (mut w_id, mut w_from, mut w_size) = ("ID".len(), " FROM".len(), "SIZE".len());
    for Row(id, from, _, size, ..) in rows {
        let (_, width) = senders.entry(from).or_insert_with(|| {
            let text = format!("{}{}", mark(proof_of_row(from)), shown(from));
            let width = text.width();
            (text, width)
        });
        w_id = w_id.max(digits(id.get()));
        w_from = w_from.max(*width);
        w_size = w_size.max(digits(*size));
    }
    for (text, width) in senders.values_mut() {
        text.extend(std::iter::repeat_n(' ', w_from - *width));
    }
    let mut clock = Clock::new();
    let w_time = clock.at(0).len();
    let mut out = format!(
        "{:>w_id$} {:<w_from$} T {:>w_size$} {:<w_time$} NAME\n",
        "ID", " FROM", "SIZE", "RECEIVED"
    );
    for Row(id, from, file_type, size, received, name, title, receipt) in rows {
        let from = senders.get(from.as_str()).map_or("", |(text, _)| text);
        let (file_type, time) = (file_type.letter(), clock.at(*received));
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "{id:>w_id$} {from} {file_type} {size:>w_size$} {time:<w_time$}"
        );
        match (receipt, name, title) {
            (Some(receipt), ..) => out.extend([" ", &clock.receipt(receipt)]),
            (None, Some(name), _) => out.extend([" ", &shown(name)]),
            (None, None, Some(title)) => out.extend([" (", &shown(title), ")"]),
            (None, None, None) => {}
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// Decimal digits of a number.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Times on this host's clock, to the minute; the last one is remembered, since items of a list are neighbours.
pub(crate) struct Clock {
    zone: TimeZone,
    minute: i64,
    text: String,
}

impl Clock {
    /// This host's clock.
    pub(crate) fn new() -> Clock {
        let zone = TimeZone::system();
        let text = local_time(0, &zone);
        Clock {
            zone,
            minute: 0,
            text,
        }
    }

    /// A time, by its seconds since 1970.
    pub(crate) fn at(&mut self, seconds: i64) -> &str {
        let minute = seconds.div_euclid(60);
        if minute != self.minute {
            self.minute = minute;
            self.text = local_time(seconds, &self.zone);
        }
        &self.text
    }

    fn receipt(&self, receipt: &Receipt) -> String {
        display::receipt(receipt, |sent| local_time(sent, &self.zone))
    }
}

/// What a receipt says, in one line.
pub(crate) fn receipt(receipt: &Receipt) -> String {
    Clock::new().receipt(receipt)
}

/// One item as one line, for arrivals.
pub(crate) fn line(item: &ItemInfo) -> String {
    let facts = &item.envelope.facts;
    let name = match &facts.receipt {
        Some(said) => Some(receipt(said)),
        None => facts.name.as_deref().map(shown),
    };
    format!(
        "{} {} {} {} {}",
        item.id,
        marked_sender(&facts.origin),
        facts.stored_as.letter(),
        item.envelope.local.bytes,
        name.unwrap_or_else(|| "(no name)".to_owned())
    )
}

/// Everything about an item for people, one fact a line.
pub(crate) fn facts(item: &ItemInfo) -> Vec<String> {
    let envelope = &item.envelope;
    let facts = &envelope.facts;
    let mut out = Vec::new();
    let mut fact = |key: &str, value: String| out.push(format!("{key:<13}{value}"));
    fact("item", format!("{} of {}", item.id, item.user));
    fact("from", proven_sender(&facts.origin));
    if let Some(node) = &facts.origin.node {
        fact("node", shown(node));
    }
    if let Some(name) = &facts.name {
        fact("name", shown(name));
    }
    if let Some(said) = &facts.receipt {
        fact("says", receipt(said));
    }
    let mut kind = facts.spec.file_type.letter().to_string();
    match facts.spec.carriage {
        Some(Carriage::Asa) => kind.push_str(", ASA carriage control"),
        Some(Carriage::Machine) => kind.push_str(", machine carriage control"),
        None => {}
    }
    if let Some(length) = facts.spec.record_length {
        kind.push_str(&format!(", records of {length} bytes"));
    }
    if facts.stored_as != facts.spec.file_type {
        kind.push_str(&format!(", stored as {}", facts.stored_as.letter()));
    }
    fact("type", kind);
    fact("size", format!("{} bytes", envelope.local.bytes));
    if envelope.wire != envelope.local {
        fact("as sent", format!("{} bytes", envelope.wire.bytes));
    }
    if let Some(aux) = &envelope.aux {
        fact("second fork", format!("{} bytes", aux.bytes));
    }
    fact("received", local_time(facts.received, &TimeZone::system()));
    fact("digest", digest(&envelope.wire));
    if envelope.wire != envelope.local {
        fact("local digest", digest(&envelope.local));
    }
    for attribute in &facts.attributes {
        fact(
            "meta",
            format!("{} {}", shown(&attribute.key), shown(&attribute.value)),
        );
    }
    for note in &facts.notes {
        fact("note", shown(note));
    }
    out
}

/// A time in UTC as RFC 3339 has it.
pub(crate) fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// A time on this host's clock, to the minute.
fn local_time(seconds: i64, zone: &TimeZone) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use uft_spool::{FileType, SpoolId};

    use super::*;

    fn row(id: u64, from: &str, name: Option<&str>) -> Row {
        Row(
            SpoolId::new(id).unwrap(),
            from.into(),
            FileType::A,
            18,
            1_795_218_990,
            name.map(str::to_owned),
            Some("a title".into()),
            None,
        )
    }

    #[test]
    fn a_claimed_sender_is_marked_and_a_local_one_is_not() {
        for (from, marked) in [
            ("alice@alpha", false),
            ("alice@GAMMA", false),
            ("maint@192.0.2.1", true),
            ("root@alpha@2001:db8::1", true),
            ("x@fe80::1%eth0", true),
            ("192.0.2.1", true),
        ] {
            assert_eq!(proof_of_row(from) == Proof::Address, marked, "{from}");
        }
    }

    #[test]
    fn a_listing_is_aligned_and_shows_no_control_character() {
        let text = table(&[
            row(3, "alice@alpha", Some("a.txt")),
            row(12, "ma\u{1b}[31mint@192.0.2.1", None),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        let [heading, first, second] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!(
            *heading,
            "ID  FROM                    T SIZE RECEIVED         NAME"
        );
        assert!(
            first.starts_with(" 3  alice@alpha             A   18 "),
            "{first}"
        );
        assert!(
            second.starts_with("12 ?ma\\x1b[31mint@192.0.2.1 A   18 "),
            "{second}"
        );
        assert!(second.ends_with(" (a title)"), "{second}");
    }

    #[test]
    fn a_receipt_is_listed_as_one_whatever_the_item_is_called() {
        let mut item = row(1, "bob@alpha", Some("a.txt"));
        for (fate, said) in [
            (Fate::Received, "received"),
            (Fate::Deleted, "deleted"),
            (Fate::Other("lo\u{1b}[1mst".into()), "\"lo\\x1b[1mst\""),
        ] {
            item.7 = Some(Receipt {
                name: Some("NOT\u{202e}ES.TEXT".into()),
                sent: None,
                fate,
            });
            let text = table(std::slice::from_ref(&item));
            let end = format!(" receipt for NOT\\u{{202e}}ES.TEXT: {said}\n");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    #[test]
    fn times_of_machines_are_utc() {
        assert_eq!(rfc3339(1_795_218_990), "2026-11-20T23:56:30Z");
    }
}
