//! Addresses, routes and trails, by example and by property.

use proptest::prelude::*;
use uft_spool::Attribute;

use super::*;

fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|err| panic!("{err}"))
}

fn rule(to: &str, via: &[&str]) -> Rule {
    Rule {
        to: to.into(),
        via: via.iter().map(|&via| via.into()).collect(),
    }
}

fn plan() -> Plan {
    Plan {
        node: "alpha".into(),
        hosts: vec!["Alpha.Example".into()],
        peers: vec!["beta".into(), "Gamma".into()],
        rules: vec![
            rule("BETA", &["beta"]),
            rule("far", &["BETA", "gamma"]),
            rule("lost", &["nobody"]),
            rule("post", &["mail"]),
            rule("sister.example", &["local"]),
            rule("*.held.example", &["hold"]),
            rule("*.example", &["gamma"]),
            rule("*.example", &["beta"]),
            rule("evil.test", &["reject"]),
        ],
        max_hops: 16,
        percent: false,
    }
}

const LOCAL: Party = Party {
    local: true,
    link: None,
};
const STRANGER: Party = Party {
    local: false,
    link: None,
};

fn peer(name: &str) -> Party {
    Party {
        local: false,
        link: Some(name.into()),
    }
}

fn peers(names: &[&str]) -> Route {
    Route::Peers(names.iter().map(|&name| name.into()).collect())
}

fn inbox(user: &str) -> Route {
    Route::Inbox(user.into())
}

// ---- addresses ----

#[test]
fn every_form_is_read_and_has_one_canonical_text() {
    let node = |name: &str| Some(Place::Node(name.parse().unwrap()));
    let host = |name: &str, port| {
        Some(Place::Host {
            name: name.into(),
            port,
        })
    };
    for (text, user, place, canonical) in [
        ("alice", "alice", None, "alice"),
        ("Alice@beta", "Alice", node("BETA"), "Alice@BETA"),
        ("maint@#1$x", "maint", node("#1$X"), "maint@#1$X"),
        ("MAINT at beta", "MAINT", node("BETA"), "MAINT@BETA"),
        (" MAINT\tAT  beta ", "MAINT", node("BETA"), "MAINT@BETA"),
        (
            "a at Beta.Example:608",
            "a",
            host("beta.example", Some(608)),
            "a@beta.example:608",
        ),
        ("a at n@de", "a", node("N@DE"), "a at N@DE"),
        ("alice@12345678", "alice", node("12345678"), "alice@12345678"),
        (
            "alice@localhost",
            "alice",
            host("localhost", None),
            "alice@localhost",
        ),
        ("alice@beta-2", "alice", host("beta-2", None), "alice@beta-2"),
        (
            "alice@beta:608",
            "alice",
            host("beta", Some(608)),
            "alice@beta:608",
        ),
        (
            "alice@Beta.Example",
            "alice",
            host("beta.example", None),
            "alice@beta.example",
        ),
        (
            "alice@10.0.0.1:1",
            "alice",
            host("10.0.0.1", Some(1)),
            "alice@10.0.0.1:1",
        ),
        (
            "alice@[2001:DB8:0::1]",
            "alice",
            host("2001:db8::1", None),
            "alice@[2001:db8::1]",
        ),
        (
            "alice@[FE80::1%Eth0]:8",
            "alice",
            host("fe80::1%Eth0", Some(8)),
            "alice@[fe80::1%Eth0]:8",
        ),
        (
            "user%node@gateway",
            "user%node",
            node("GATEWAY"),
            "user%node@GATEWAY",
        ),
        ("a@b@gamma", "a@b", node("GAMMA"), "a@b@GAMMA"),
    ] {
        let read = address(text);
        assert_eq!((read.user.as_str(), &read.place), (user, &place), "{text}");
        assert_eq!(read.to_string(), canonical);
        assert_eq!(address(canonical), read);
    }
}

#[test]
fn what_is_no_address_is_an_error_that_quotes_it_and_says_what_to_write() {
    let long_user = format!("{}@beta", "u".repeat(64));
    let long_host = format!("a@{}.example", "h".repeat(250));
    for (text, fault) in [
        ("", "no user name"),
        ("@beta", "no user name"),
        ("alice@", "no host name"),
        ("alice@:608", "no host name"),
        ("al ice@beta", "' ' in it"),
        ("alice at", "' ' in it"),
        ("alice to beta", "' ' in it"),
        ("a at b at c", "' ' in it"),
        ("al\u{7}ice", "'\\u{7}' in it"),
        ("al\u{202e}ice@beta", "'\\u{202e}' in it"),
        ("a\u{feff}@beta", "in it"),
        ("a@be\r\nEOF", "the host name has '\\r'"),
        ("a@b/../c", "'/' in it"),
        ("a at @.x", "'@' in it"),
        ("a@x]y", "']' in it"),
        ("a@beta:0", "not a port"),
        ("a@beta:+1", "not a port"),
        ("a@beta:65536", "not a port"),
        ("a@::1", "more than one colon"),
        ("a@[::1", "not closed"),
        ("a@[::1]x", "after the bracket"),
        ("a@[beta]", "not an IPv6 address"),
        (long_user.as_str(), "64 bytes"),
        (long_host.as_str(), "258 bytes"),
    ] {
        let err = text.parse::<Address>().unwrap_err();
        let said = err.to_string();
        assert!(
            said.contains(fault) && said.contains("write user"),
            "{text:?}: {said}"
        );
        assert!(said.starts_with("address \""), "{said}");
        assert!(
            !said.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{said}"
        );
    }
}

#[test]
fn node_names_are_eight_of_their_letters_at_most() {
    assert_eq!("n@#$1".parse::<NodeName>().unwrap().as_str(), "N@#$1");
    for bad in ["", "ninechars", "a.b", "a-b", "ä", "a b", "a\n"] {
        assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
    }
}

// ---- routes ----

#[test]
fn what_names_this_host_goes_to_the_inbox_for_everybody() {
    let table = Table::new(plan());
    for text in ["alice", "alice@ALPHA", "alice@alpha", "alice@ALPHA.example"] {
        for party in [LOCAL, STRANGER, peer("beta")] {
            assert_eq!(table.decide(&address(text), &party), inbox("alice"), "{text}");
        }
    }
    let with_port = address("alice@alpha.example:608");
    assert_eq!(table.decide(&with_port, &STRANGER), inbox("alice"));
    assert_eq!(table.decide(&with_port, &peer("beta")), inbox("alice"));
}

#[test]
fn a_short_host_name_of_ours_is_not_taken_for_a_node() {
    let table = Table::new(Plan {
        hosts: vec!["vm1".into()],
        ..plan()
    });
    assert_eq!(table.decide(&address("alice@vm1"), &STRANGER), inbox("alice"));
}

#[test]
fn localhost_means_this_host_to_its_own_users_alone() {
    let table = Table::new(plan());
    for text in [
        "a@localhost",
        "a@127.0.0.1",
        "a@[::1]",
        "a@[::ffff:127.0.0.1]",
        "a@x.localhost",
    ] {
        assert_eq!(table.decide(&address(text), &LOCAL), inbox("a"), "{text}");
    }
    let direct = Route::Direct {
        host: "127.0.0.1".into(),
        port: Some(6609),
    };
    assert_eq!(table.decide(&address("a@127.0.0.1:6609"), &LOCAL), direct);
}

#[test]
fn hosts_and_wires_that_only_we_can_mean_are_nobody_elses_even_with_a_route() {
    let table = Table::new(Plan {
        rules: vec![rule("*", &["gamma"])],
        ..plan()
    });
    for text in [
        "a@localhost",
        "a@localhost:6608",
        "a@127.1.2.3",
        "a@[::1]:608",
        "a@[::]",
        "a@0.0.0.0",
        "a@169.254.169.254",
        "a@[fe80::1%eth0]",
        "a@[::ffff:169.254.0.1]",
        "a@255.255.255.255",
        "a@[ff02::1]",
    ] {
        for party in [STRANGER, peer("beta")] {
            let route = table.decide(&address(text), &party);
            assert!(
                matches!(route, Route::Refuse(Why::NotAllowed(_))),
                "{text}: {route:?}"
            );
        }
    }
}

#[test]
fn strangers_have_nothing_sent_on() {
    let table = Table::new(plan());
    for text in [
        "a@beta",
        "a@far",
        "a@x.example",
        "a@x.held.example",
        "a@post",
        "a@10.0.0.1",
    ] {
        let route = table.decide(&address(text), &STRANGER);
        assert!(
            matches!(route, Route::Refuse(Why::NotAllowed(_))),
            "{text}: {route:?}"
        );
    }
    assert_eq!(table.decide(&address("a@sister.example"), &STRANGER), inbox("a"));
}

#[test]
fn the_first_rule_that_matches_counts() {
    let table = Table::new(plan());
    for (text, route) in [
        ("a@Beta", peers(&["beta"])),
        ("a@FAR", peers(&["beta", "Gamma"])),
        ("a@far:99", peers(&["beta", "Gamma"])),
        ("a@post", Route::Mail),
        ("a@sister.example", inbox("a")),
        ("a@x.held.example", Route::Hold),
        ("a@held.example", peers(&["Gamma"])),
        ("a@X.Y.EXAMPLE", peers(&["Gamma"])),
        ("a@evil.test", Route::Refuse(Why::Rejected("evil.test".into()))),
        ("a@nowhere", Route::Refuse(Why::NoRoute("NOWHERE".into()))),
        ("a@lost", Route::Refuse(Why::NoPeer("LOST".into()))),
    ] {
        assert_eq!(table.decide(&address(text), &LOCAL), route, "{text}");
    }
}

#[test]
fn a_suffix_does_not_match_the_bare_suffix() {
    let table = Table::new(Plan {
        hosts: vec![],
        ..plan()
    });
    let direct = Route::Direct {
        host: "example.".into(),
        port: None,
    };
    assert_eq!(table.decide(&address("a@example."), &LOCAL), direct);
    assert_eq!(
        table.decide(&address("a@example"), &LOCAL),
        Route::Refuse(Why::NoRoute("EXAMPLE".into()))
    );
    let evil = table.decide(&address("a@notexample.org"), &LOCAL);
    assert!(matches!(evil, Route::Direct { .. }), "{evil:?}");
}

#[test]
fn a_host_without_a_rule_is_for_local_users_alone() {
    let table = Table::new(plan());
    let direct = Route::Direct {
        host: "beta.net".into(),
        port: Some(6608),
    };
    let text = "a@Beta.Net:6608";
    assert_eq!(table.decide(&address(text), &LOCAL), direct);
    let refused = Route::Refuse(Why::NoRoute("beta.net:6608".into()));
    assert_eq!(table.decide(&address(text), &peer("beta")), refused);
}

#[test]
fn a_file_never_goes_back_over_the_link_on_which_it_came() {
    let table = Table::new(plan());
    assert_eq!(table.decide(&address("a@far"), &peer("beta")), peers(&["Gamma"]));
    assert_eq!(table.decide(&address("a@far"), &peer("GAMMA")), peers(&["beta"]));
    let back = Why::Back {
        to: "BETA".into(),
        link: "beta".into(),
    };
    assert_eq!(
        table.decide(&address("a@beta"), &peer("beta")),
        Route::Refuse(back)
    );
    assert_eq!(table.decide(&address("a@post"), &peer("beta")), Route::Mail);
}

#[test]
fn percent_makes_a_station_of_us_only_when_it_is_on() {
    let off = Table::new(plan());
    assert_eq!(off.decide(&address("bob%beta@alpha"), &LOCAL), inbox("bob%beta"));
    let on = Table::new(Plan {
        percent: true,
        ..plan()
    });
    for text in ["bob%beta", "bob%beta@alpha", "bob%beta%alpha@alpha.example"] {
        assert_eq!(on.decide(&address(text), &LOCAL), peers(&["beta"]), "{text}");
        assert_eq!(on.meant(address(text), &LOCAL), address("bob@beta"), "{text}");
        assert_eq!(off.meant(address(text), &LOCAL), address(text), "{text}");
        let route = on.decide(&address(text), &STRANGER);
        assert!(
            matches!(route, Route::Refuse(Why::NotAllowed(_))),
            "{text}: {route:?}"
        );
    }
    assert_eq!(
        on.decide(&address("bob%beta@far"), &LOCAL),
        peers(&["beta", "Gamma"])
    );
    assert_eq!(on.decide(&address("bob%alpha"), &STRANGER), inbox("bob"));
    for odd in ["%beta", "bob%", "%", "a%b/c"] {
        assert_eq!(on.decide(&address(odd), &LOCAL), inbox(odd));
        assert_eq!(on.meant(address(odd), &LOCAL), address(odd));
    }
}

#[test]
fn every_reason_is_one_line_and_only_a_missing_peer_may_pass() {
    let table = Table::new(plan());
    for (text, party) in [
        ("a@lost", LOCAL),
        ("a@nowhere", LOCAL),
        ("a@beta", peer("beta")),
        ("a@beta", STRANGER),
    ] {
        let Route::Refuse(why) = table.decide(&address(text), &party) else {
            panic!("{text}")
        };
        assert!(!why.to_string().contains('\n'));
        assert_eq!(why.is_temporary(), text == "a@lost");
    }
}

// ---- trails ----

fn attributes(of: &[(&str, &str)]) -> Vec<Attribute> {
    of.iter()
        .map(|&(key, value)| Attribute {
            key: key.into(),
            value: value.into(),
        })
        .collect()
}

fn trail(of: &[(&str, &str)]) -> Result<Trail, Why> {
    Trail::read(&attributes(of))
}

#[test]
fn a_file_without_a_trail_begins_here() {
    let trail = trail(&[("CLASS", "A"), ("TITLE", "VIA")]).unwrap();
    assert_eq!(trail, Trail::default());
    assert_eq!(trail.passes(&Table::new(plan())), Ok(()));
    assert_eq!(
        trail.next("ALPHA"),
        attributes(&[("HOPS", "1"), ("VIA", "ALPHA")])
    );
}

#[test]
fn each_hop_adds_one_and_its_name_and_keeps_everything_else() {
    let came = [
        ("CLASS", "A"),
        ("ORIGIN", "alice@DELTA"),
        ("VIA", " DELTA, BETA ,"),
        ("HOPS", " 2 "),
        ("TAG", "x"),
    ];
    let trail = trail(&came).unwrap();
    assert_eq!(
        (trail.hops, trail.via.as_slice()),
        (2, &["DELTA".to_owned(), "BETA".into()][..])
    );
    let next = trail.onward(&attributes(&came), "ALPHA");
    let expected = [
        ("CLASS", "A"),
        ("TAG", "x"),
        ("ORIGIN", "alice@DELTA"),
        ("HOPS", "3"),
        ("VIA", "DELTA,BETA,ALPHA"),
    ];
    assert_eq!(next, attributes(&expected));
}

#[test]
fn repeating_an_attribute_does_not_shorten_a_trail() {
    let trail = trail(&[("HOPS", "9"), ("VIA", "alpha"), ("HOPS", "0"), ("VIA", "BETA")]).unwrap();
    assert_eq!((trail.hops, trail.via.len()), (9, 2));
    assert_eq!(trail.passes(&Table::new(plan())), Err(Why::Loop("ALPHA".into())));
}

#[test]
fn a_trail_that_names_more_gateways_than_it_counts_is_as_long_as_it_looks() {
    assert_eq!(trail(&[("HOPS", "1"), ("VIA", "A,B,C")]).unwrap().hops, 3);
}

#[test]
fn loops_and_long_ways_end_here() {
    let table = Table::new(plan());
    let passes = |hops: &str, via: &str| trail(&[("HOPS", hops), ("VIA", via)]).unwrap().passes(&table);
    assert_eq!(passes("16", "BETA"), Ok(()));
    assert_eq!(passes("17", "BETA"), Err(Why::TooManyHops { hops: 17, most: 16 }));
    assert_eq!(passes("1", "ALPHABET"), Ok(()));
    assert_eq!(passes("1", "beta,Alpha"), Err(Why::Loop("ALPHA".into())));
    assert_eq!(
        trail(&[("HOPS", "4294967295")]).unwrap().next("A")[0].value,
        "4294967295"
    );
}

#[test]
fn junk_is_refused_with_a_reason() {
    let long = "N,".repeat(VIA_BYTES_MAX / 2 + 1);
    let (name, origin) = ("N".repeat(65), "o".repeat(256));
    for of in [
        ("HOPS", ""),
        ("HOPS", "-1"),
        ("HOPS", "+1"),
        ("HOPS", "1x"),
        ("HOPS", "4294967296"),
        ("HOPS", "many"),
        ("ORIGIN", ""),
        ("ORIGIN", "a b"),
        ("ORIGIN", "a\u{1b}[2J@B"),
        ("ORIGIN", "a\u{202e}@B"),
        ("ORIGIN", origin.as_str()),
        ("VIA", "A B"),
        ("VIA", "A\u{0}"),
        ("VIA", name.as_str()),
        ("VIA", long.as_str()),
    ] {
        let why = trail(&[of]).unwrap_err();
        assert!(
            matches!(why, Why::BadTrail { key, .. } if key == of.0),
            "{of:?}: {why}"
        );
        assert!(!why.is_temporary());
    }
    let two = "N,".repeat(VIA_BYTES_MAX / 4 + 1);
    assert!(trail(&[("VIA", &two)]).is_ok() && trail(&[("VIA", &two), ("VIA", &two)]).is_err());
}

#[test]
fn the_bodies_of_the_fuzz_targets_hold_on_seeds() {
    for text in [
        "alice",
        "a@b@c",
        "a at n@de",
        "a at [fe80::1%Eth0]:608",
        "bob%beta%far@alpha",
        "a@FAR",
        "a@169.254.1.1",
        "al\u{202e}ice@beta",
        "a@[::1",
    ] {
        bodies::address(text.as_bytes());
    }
    for text in [
        "HOPS 4294967295\nVIA A,B\nORIGIN a@B",
        "VIA ,,\nVIA ALPHA",
        "HOPS x",
        "X y\nORIGIN \u{1b}",
    ] {
        bodies::trail(text.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_text_is_an_address_or_none(text in "(\\PC{0,12}|[a-zA-Z%.]{1,9})(@|%| at )?(\\PC{0,12}|[a-zA-Z0-9@#.:-]{1,9}|\\[[0-9a-f:]{2,9}\\])(:[0-9]{1,6})?") {
        bodies::address(text.as_bytes());
    }

    #[test]
    fn any_attributes_are_a_trail_or_none(text in "((HOPS|VIA|ORIGIN|TAG) [ -~]{0,20}\n|HOPS [0-9]{1,10}\n|VIA ([A-Z]{1,8},){0,30}\n){0,6}") {
        bodies::trail(text.as_bytes());
    }
}
