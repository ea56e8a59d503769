//! What must hold for any text given as an address, and for any trail that a file claims.
//!
//! Included by the fuzz targets and by a test. Whoever includes it has a `route` beside it.

use uft_spool::Attribute;

use super::route::{Address, Party, Plan, Route, Rule, Table, Trail, VIA_BYTES_MAX};

fn table() -> Table {
    let rule = |to: &str, via: &[&str]| Rule {
        to: to.into(),
        via: via.iter().map(|&via| via.into()).collect(),
    };
    Table::new(Plan {
        node: "ALPHA".into(),
        hosts: vec!["alpha.example".into()],
        peers: vec!["beta".into(), "gamma".into()],
        rules: vec![
            rule("BETA", &["beta"]),
            rule("*.example", &["beta", "gamma"]),
            rule("*", &["hold"]),
        ],
        max_hops: 16,
        percent: true,
    })
}

/// Any text is an address, whose canonical text reads back as itself, or an error in one line. Strangers reach inboxes and
/// nothing else, peers never a host without a rule, and nothing goes back where it came from.
pub(crate) fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let address: Address = match text.parse() {
        Ok(address) => address,
        Err(err) => {
            assert!(!format!("{err}").contains(|c: char| c.is_control()));
            return;
        }
    };
    let canonical = address.to_string();
    assert_eq!(canonical.parse().as_ref(), Ok(&address), "{canonical}");
    assert!(!canonical.contains(|c: char| c.is_control()));
    let table = table();
    let stranger = table.decide(&address, &Party::default());
    assert!(
        matches!(stranger, Route::Inbox(_) | Route::Refuse(_)),
        "{stranger:?}"
    );
    let link = Party {
        local: false,
        link: Some("beta".into()),
    };
    match table.decide(&address, &link) {
        Route::Peers(peers) => assert_eq!(peers, ["gamma"]),
        Route::Direct { .. } => panic!("a peer has files sent to any host: {canonical}"),
        Route::Inbox(_) | Route::Mail | Route::Hold | Route::Refuse(_) => {}
    }
}

/// Any attributes are a trail or a reason; a trail only grows, by one, and is read back as it was written.
pub(crate) fn trail(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let attributes: Vec<Attribute> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| Attribute {
            key: key.into(),
            value: value.into(),
        })
        .collect();
    let Ok(trail) = Trail::read(&attributes) else {
        return;
    };
    assert!(trail.via.len() <= trail.hops as usize);
    let next = trail.onward(&attributes, "ALPHA");
    assert!(
        next.iter()
            .all(|a| a.key.len() + a.value.len() < VIA_BYTES_MAX + 100 || !Trail::has(&a.key))
    );
    if let Ok(read) = Trail::read(&next) {
        assert_eq!(read.hops, trail.hops.saturating_add(1));
        assert_eq!(read.origin, trail.origin);
        assert_eq!(
            read.via.split_last(),
            Some((&"ALPHA".to_owned(), trail.via.as_slice()))
        );
        assert!(read.passes(&table()).is_err(), "it has been here");
    }
}
