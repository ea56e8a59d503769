//! Store and forward between real gateways: over hops, through kills, refusals and loops.

use std::collections::BTreeMap;

use uft::local::{Form, ItemInfo};

use crate::harness::{Daemon, Link, Network, Random, random_bytes, until};

/// Waits until a user has this many items, and gives them.
fn items(daemon: &Daemon, user: &str, count: usize) -> Vec<ItemInfo> {
    until(&format!("{count} items for {user}"), || {
        let items = daemon.items(user);
        (items.len() >= count).then_some(items)
    })
}

/// Sends a file from a local user of a gateway, over its socket.
fn submit(daemon: &Daemon, to: &str, name: &str, bytes: &[u8]) {
    let reply = daemon.session().deliver(to, name, &[], bytes);
    assert!(reply.starts_with("200 "), "{reply}");
}

#[test]
fn a_file_goes_over_two_hops_and_says_where_it_comes_from() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    let bytes = random_bytes(1, 100_000);
    submit(network.at(0), "bob@GAMMA", "far.bin", &bytes);
    let item = items(network.at(2), "bob", 1).remove(0);
    assert_eq!(network.at(2).bytes(&item, Form::Wire), bytes);
    let facts = &item.envelope.facts;
    assert_eq!(facts.name.as_deref(), Some("far.bin"));
    let origin = &facts.origin;
    assert_eq!(
        (origin.user.as_str(), origin.node.as_deref()),
        ("root", Some("ALPHA"))
    );
    assert_eq!(origin.proof.word(), "peer");
    assert_eq!(facts.attribute("HOPS"), Some("2"));
    assert_eq!(facts.attribute("VIA"), Some("ALPHA,BETA"));
    for n in 0..2 {
        until("an empty queue", || {
            network.at(n).queued().is_empty().then_some(())
        });
    }
}
