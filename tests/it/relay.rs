//! Store and forward between real gateways: over hops, through kills, refusals, loops and lies.

use std::collections::BTreeMap;

use uft::local::{Form, ItemInfo};

use crate::harness::{Daemon, Link, Network, Random, Tmpfs, random_bytes, until};

/// Waits until a user has this many items, and gives them.
pub(crate) fn items(daemon: &Daemon, user: &str, count: usize) -> Vec<ItemInfo> {
    until(&format!("{count} items for {user}"), || {
        let items = daemon.items(user);
        (items.len() >= count).then_some(items)
    })
}

/// Sends a file from a local user of a gateway (root), over its socket.
pub(crate) fn submit(daemon: &Daemon, to: &str, name: &str, bytes: &[u8]) {
    let reply = daemon.session().deliver(to, name, &[], bytes);
    assert!(reply.starts_with("200 "), "{reply}");
}

pub(crate) fn empty(daemon: &Daemon) {
    until("an empty queue", || daemon.queued().is_empty().then_some(()));
}

/// The title of an item, as a letter of the gateway has it.
pub(crate) fn title(item: &ItemInfo) -> &str {
    item.envelope.facts.attribute("TITLE").unwrap_or_default()
}

#[test]
fn a_file_goes_over_two_hops_and_says_where_it_comes_from() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    let bytes = random_bytes(1, 100_000);
    let more = ["META CLASS A PRT", "META PRI 7", "META CHARSET ISO-8859-1"];
    let reply = network
        .at(0)
        .session()
        .deliver("bob@GAMMA", "far.bin", &more, &bytes);
    assert!(reply.contains("job="), "{reply}");
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
    for (key, value) in [
        ("HOPS", "2"),
        ("VIA", "ALPHA,BETA"),
        ("CLASS", "A PRT"),
        ("PRI", "7"),
        ("CHARSET", "ISO-8859-1"),
    ] {
        assert_eq!(facts.attribute(key), Some(value), "{key}");
    }
    empty(network.at(0));
    empty(network.at(1));
    // The other way, and to a node that is the host itself.
    submit(network.at(2), "alice@ALPHA", "back.bin", b"back");
    submit(network.at(2), "bob@GAMMA", "here.bin", b"here");
    assert_eq!(
        items(network.at(0), "alice", 1)[0]
            .envelope
            .facts
            .attribute("VIA"),
        Some("GAMMA,BETA")
    );
    assert_eq!(
        items(network.at(2), "bob", 2)[1].envelope.facts.attribute("VIA"),
        None
    );
}

#[test]
fn a_large_second_fork_goes_on_in_little_memory() {
    const FORK: usize = 64 << 20;
    let network = Network::row(&["ALPHA", "BETA"], "");
    let before = network.at(0).memory("VmHWM");
    let mut local = network.at(0).session();
    for line in ["FILE 0 me -", "USER bob@BETA", "TYPE I"] {
        assert!(local.ask(line).starts_with('2'), "{line}");
    }
    local.send(format!("AUXDATA {FORK}\r\n").as_bytes());
    local.reply("313");
    let piece = random_bytes(3, 1 << 20);
    for _ in 0..FORK >> 20 {
        local.send(&piece);
    }
    local.reply("213");
    assert!(local.ask("EOF").contains("job="));
    let item = items(network.at(1), "bob", 1).remove(0);
    let aux = item.envelope.aux.unwrap();
    assert_eq!(
        (aux.bytes, aux.blake3),
        (FORK as u64, blake3::hash(&piece.repeat(FORK >> 20)))
    );
    let more = network.at(0).memory("VmHWM").saturating_sub(before);
    assert!(more < 32 << 10, "{more} KiB more");
}

#[test]
fn text_is_converted_where_it_is_received_and_nowhere_on_the_way() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    let from = network.at(0);
    from.place.file("a.txt", "eins\nzwei\n");
    let ran = from.sendfile(["-t", "E", "bob@GAMMA", "a.txt"]).ok();
    assert!(ran.out.contains("queued"), "{}", ran.out);
    let item = items(network.at(2), "bob", 1).remove(0);
    assert_eq!(network.at(2).bytes(&item, Form::Local), b"eins\nzwei\n");
    assert_eq!(item.envelope.facts.spec.file_type.letter(), 'E');
    let second_fork = random_bytes(2, 300_000);
    from.place.file("fork", second_fork.clone());
    from.sendfile(["--aux", "fork", "bob@GAMMA", "a.txt"]).ok();
    let item = items(network.at(2), "bob", 2).remove(1);
    assert_eq!(network.at(2).bytes(&item, Form::Aux), second_fork);
}

#[test]
fn a_gateway_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    const FILES: u64 = 500;
    const KILLS: u64 = 20;
    let mut network = Network::row(
        &["ALPHA", "BETA", "GAMMA"],
        "[limits]\nuser_items = 100000\nuser_bytes = \"4GiB\"",
    );
    let mut random = Random::new();
    let mut sent: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut killed = 0;
    let mut session = network.at(0).session();
    for n in 0..FILES {
        let len = match random.below(10) {
            0 => 0,
            1..=7 => random.below(5_000),
            8 => random.below(200_000),
            _ => random.below(2_000_000),
        };
        let (name, bytes) = (format!("f{n}"), random_bytes(n, len as usize));
        let reply = session.deliver("bob@GAMMA", &name, &[], &bytes);
        assert!(reply.starts_with("200 "), "{reply}");
        sent.insert(name, bytes);
        if n % (FILES / KILLS) == FILES / KILLS - 1 {
            // Whatever it is doing now.
            network.at_mut(1).kill();
            killed += 1;
            network.at_mut(1).start_again();
        }
    }
    assert_eq!(killed, KILLS);
    let arrived = items(network.at(2), "bob", sent.len());
    empty(network.at(0));
    empty(network.at(1));
    assert_eq!(network.at(2).items("bob").len(), sent.len(), "each once");
    for item in &arrived {
        let name = item.envelope.facts.name.as_deref().unwrap();
        let bytes = sent.remove(name).unwrap_or_else(|| panic!("{name} twice"));
        assert!(network.at(2).bytes(item, Form::Wire) == bytes, "{name} differs");
    }
    assert!(sent.is_empty(), "missing: {:?}", sent.keys());
}

#[test]
fn files_wait_for_a_gateway_that_is_down_and_go_when_it_is_back() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).kill();
    for n in 0..20 {
        submit(network.at(0), "bob@BETA", &format!("f{n}"), b"waits");
    }
    until("a failed attempt", || {
        network.at(0).log().contains("next hop not reached").then_some(())
    });
    assert_eq!(
        network
            .at(0)
            .queued()
            .iter()
            .filter(|name| name.ends_with(".job"))
            .count(),
        20
    );
    // A restart forgets nothing.
    network.at_mut(0).restart();
    network.at_mut(1).start_again();
    items(network.at(1), "bob", 20);
    empty(network.at(0));
}

#[test]
fn a_deleted_index_costs_no_job() {
    let mut network = Network::row(&["ALPHA", "BETA"], "[limits]\nuser_items = 100000");
    network.at_mut(1).kill();
    let mut session = network.at(0).session();
    for n in 0..1_000 {
        let reply = session.deliver("bob@BETA", &format!("f{n}"), &[], &[b'x'; 10]);
        assert!(reply.starts_with("200 "), "{reply}");
    }
    drop(session);
    network.at_mut(0).kill();
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(network.at(0).spool().join(name));
    }
    network.at_mut(0).start_again();
    network.at_mut(1).start_again();
    items(network.at(1), "bob", 1_000);
    empty(network.at(0));
    assert_eq!(network.at(1).items("bob").len(), 1_000);
}

#[test]
fn a_refusal_for_good_is_told_to_the_sender_once_and_the_file_is_kept() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    submit(network.at(0), "nosuch@GAMMA", "lost\u{1b}[2J.txt", b"lost");
    let letter = items(network.at(0), "root", 1).remove(0);
    assert!(
        title(&letter).starts_with("not delivered: lost"),
        "{}",
        title(&letter)
    );
    let text = String::from_utf8(network.at(0).bytes(&letter, Form::Local)).unwrap();
    assert!(
        text.contains("532") && text.contains("nosuch") && !text.contains('\u{1b}'),
        "{text}"
    );
    // BETA gave up: it keeps the file, and ALPHA is done with it.
    empty(network.at(0));
    until("the failed job", || {
        network
            .at(1)
            .queued()
            .iter()
            .any(|name| name.starts_with("failed/"))
            .then_some(())
    });
    let ran = network.at(1).uft(["queue", "--all", "--json"]).ok();
    assert_eq!(ran.json()[0]["state"], "failed", "{}", ran.out);
    // A letter about a letter is never sent: the sender of this one does not exist.
    network
        .at(0)
        .session()
        .deliver("nosuch@GAMMA", "again", &[], b"x");
    items(network.at(0), "root", 2);
    assert_eq!(network.at(2).items("root").len(), 0);
}

#[test]
fn a_full_inbox_is_waited_for() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).configure("[limits]\nuser_items = 2");
    network.at(1).reload();
    for n in 0..3 {
        submit(network.at(0), "bob@BETA", &format!("f{n}"), b"x");
    }
    let two = items(network.at(1), "bob", 2);
    until("a deferred job", || {
        network.at(0).log().contains("541").then_some(())
    });
    assert!(network.at(0).items("root").is_empty(), "nothing is given up");
    assert!(network.at(1).discard(&two[0]));
    until("the third", || {
        (network.at(1).items("bob").len() == 2 && network.at(0).queued().is_empty()).then_some(())
    });
}

#[test]
fn a_full_disk_on_the_way_is_waited_for() {
    let disk = Tmpfs::mount("size=5m");
    let mut network = Network::of_spools(&[("ALPHA", None), ("BETA", Some(disk.path()))], "");
    network.make_row();
    let bytes = random_bytes(9, 3 << 20);
    submit(network.at(0), "bob@BETA", "first", &bytes);
    let first = items(network.at(1), "bob", 1).remove(0);
    submit(network.at(0), "bob@BETA", "second", &bytes);
    until("a refusal for want of room", || {
        network.at(0).log().contains("559").then_some(())
    });
    assert!(network.at(1).discard(&first));
    let second = items(network.at(1), "bob", 1).remove(0);
    assert_eq!(second.envelope.facts.name.as_deref(), Some("second"));
    assert!(network.at(1).bytes(&second, Form::Wire) == bytes);
}

#[test]
fn routes_that_go_round_in_a_circle_end_with_a_letter() {
    let mut network = Network::of(&["ALPHA", "BETA", "GAMMA"], "");
    for here in 0..3 {
        let others: Vec<usize> = (0..3).filter(|&n| n != here).collect();
        network.introduce(here, &others, &Link::default());
    }
    let to = |node: &str, via: &str| (node.to_owned(), via.to_owned());
    network.route(0, &[to("DELTA", "beta"), to("*", "gamma")]);
    network.route(1, &[to("DELTA", "gamma"), to("*", "alpha")]);
    network.route(2, &[to("DELTA", "alpha"), to("*", "alpha")]);
    network.reload();
    submit(network.at(0), "bob@DELTA", "circle", b"round");
    let letter = items(network.at(0), "root", 1).remove(0);
    assert!(title(&letter).starts_with("not delivered: circle"), "{letter:?}");
    let text = String::from_utf8(network.at(0).bytes(&letter, Form::Local)).unwrap();
    assert!(text.contains("been here before"), "{text}");
    empty(network.at(0));
}

#[test]
fn a_file_is_never_sent_back_over_the_link_that_it_came_from() {
    let mut network = Network::of(&["ALPHA", "BETA"], "");
    network.introduce(0, &[1], &Link::default());
    network.introduce(1, &[0], &Link::default());
    network.route(0, &[("*".into(), "beta".into())]);
    network.route(1, &[("*".into(), "alpha".into())]);
    network.reload();
    submit(network.at(0), "bob@DELTA", "ping", b"pong");
    let letter = items(network.at(0), "root", 1).remove(0);
    assert!(title(&letter).starts_with("not delivered: ping"), "{letter:?}");
}

#[test]
fn a_file_that_has_come_too_far_is_refused() {
    let mut network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    network.at_mut(2).configure("[queue]\nmax_hops = 1");
    network.at(2).reload();
    submit(network.at(0), "bob@GAMMA", "far", b"x");
    let letter = items(network.at(0), "root", 1).remove(0);
    assert!(title(&letter).starts_with("not delivered: far"), "{letter:?}");
    assert_eq!(network.at(2).items("bob"), []);
}

#[test]
fn strangers_cannot_have_anything_sent_on() {
    let network = Network::row(&["ALPHA", "BETA"], "");
    let mut wire = network.at(0).connect();
    wire.ask("FILE 3 mallory -").has(200);
    for to in [
        "bob@BETA",
        "bob@example.org",
        "bob@127.0.0.1:1",
        "bob%BETA@ALPHA",
        "@BETA",
        "bob@",
    ] {
        let reply = wire.ask(&format!("USER {to}"));
        assert!(matches!(reply.code, 567 | 532), "{to}: {reply:?}");
    }
    wire.ask("META ORIGIN root@ALPHA").has(200);
    wire.ask("META VIA GAMMA").has(200);
    wire.ask("USER bob@BETA").is(5);
    wire.ask("USER bob@ALPHA").has(208);
    // What a stranger says of its way is no proof, and is counted all the same.
    wire.burst("DATA", b"abc").has(213);
    wire.ask("EOF").has(200);
    let origin = items(network.at(0), "bob", 1).remove(0).envelope.facts.origin;
    assert_eq!(
        (origin.proof.word(), origin.user.as_str()),
        ("address", "mallory")
    );
    let mut wire = network.at(0).connect();
    wire.ask("FILE 3 mallory -").has(200);
    wire.ask("USER bob").has(208);
    wire.ask("META VIA X,ALPHA").has(200);
    wire.ask("DATA 3").is(5);
    assert!(network.at(0).queued().is_empty());
}

#[test]
fn a_wrong_secret_keeps_files_waiting_until_it_is_right() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    let secret = network.at(1).place.path("alpha.secret");
    let right = std::fs::read(&secret).unwrap();
    std::fs::write(&secret, "something else altogether").unwrap();
    network.at(1).reload();
    submit(network.at(0), "bob@BETA", "kept", b"x");
    until("a failed proof", || {
        network.at(0).log().contains("next hop not reached").then_some(())
    });
    assert_eq!(network.at(1).items("bob"), []);
    std::fs::write(&secret, right).unwrap();
    network.at(1).reload();
    items(network.at(1), "bob", 1);
    empty(network.at_mut(0));
}

#[test]
fn the_second_peer_of_a_route_takes_over_while_the_first_is_down() {
    let mut network = Network::of(&["ALPHA", "BETA", "GAMMA"], "");
    network.introduce(0, &[1, 2], &Link::default());
    network.introduce(1, &[0], &Link::default());
    network.introduce(2, &[0], &Link::default());
    network
        .at_mut(0)
        .configure("[[route]]\nto = \"*.example.org\"\nvia = [\"beta\", \"gamma\"]");
    for n in [1, 2] {
        network
            .at_mut(n)
            .configure("[[route]]\nto = \"*.example.org\"\nvia = \"local\"");
    }
    network.reload();
    submit(network.at(0), "bob@x.example.org", "one", b"1");
    items(network.at(1), "bob", 1);
    network.at_mut(1).kill();
    submit(network.at(0), "bob@x.example.org", "two", b"2");
    items(network.at(2), "bob", 1);
    empty(network.at(0));
}

#[test]
fn what_waits_too_long_goes_back_as_a_letter() {
    let mut network = Network::row(&["ALPHA", "BETA"], "[queue]\nexpire = \"1500ms\"");
    network.at_mut(1).kill();
    submit(network.at(0), "bob@BETA", "late", b"x");
    let letter = items(network.at(0), "root", 1).remove(0);
    assert!(title(&letter).starts_with("not delivered: late"), "{letter:?}");
    // The letter comes first.
    until("the failed job", || {
        let queued = network.at(0).queued();
        queued
            .iter()
            .any(|name| name.starts_with("failed/"))
            .then_some(())
    });
}

#[test]
fn what_was_given_up_is_removed_when_nobody_looks_after_it() {
    let mut network = Network::row(
        &["ALPHA", "BETA"],
        "[limits]\nexpire = \"1s\"\n[queue]\nexpire = \"1s\"",
    );
    network.at_mut(1).kill();
    submit(network.at(0), "bob@BETA", "late", b"x");
    until("the failed job", || {
        network
            .at(0)
            .queued()
            .iter()
            .any(|name| name.starts_with("failed/"))
            .then_some(())
    });
    // Looked for at every start.
    until("its removal", || {
        network.at_mut(0).restart();
        until("a look", || {
            network.at(0).log().contains("spool opened").then_some(())
        });
        network.at(0).queued().is_empty().then_some(())
    });
}

#[test]
fn receipts_come_back_over_the_network() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    let from = network.at(0);
    from.place.file("a.txt", "text\n");
    from.sendfile(["--notify", "received", "bob@GAMMA", "a.txt"]).ok();
    items(network.at(2), "bob", 1);
    let delivered = items(from, "root", 1).remove(0);
    assert_eq!(title(&delivered), "delivered: a.txt to bob@GAMMA");
    network
        .at(2)
        .uft(["--user", "bob", "receive", "1", "--stdout"])
        .ok();
    // Administrators clear away; only a recipient receives. Root is its own recipient.
    from.sendfile(["--notify", "received", "root@GAMMA", "a.txt"])
        .ok();
    items(network.at(2), "root", 1);
    network.at(2).uft(["receive", "1"]).ok();
    let letters = items(from, "root", 3);
    let titles: Vec<&str> = letters.iter().map(title).collect();
    assert!(titles.contains(&"received: a.txt to root@GAMMA"), "{titles:?}");
    assert!(titles.contains(&"delivered: a.txt to root@GAMMA"), "{titles:?}");
    // In kind for NETDATA.
    from.sendfile(["-t", "N", "--notify", "received", "root@GAMMA", "a.txt"])
        .ok();
    items(network.at(2), "root", 1);
    network.at(2).uft(["receive", "2"]).ok();
    until("a receipt in NETDATA", || {
        from.items("root")
            .iter()
            .find_map(|item| item.envelope.facts.receipt.clone())
    });
}

#[test]
fn a_large_file_goes_on_where_the_killed_gateway_left_it() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    let bytes = random_bytes(3, 96 << 20);
    // BETA takes its time, so that it is killed in the middle.
    let partial = network.at(1).spool().join("partial");
    submit(network.at(0), "bob@BETA", "large", &bytes);
    until("8 MiB of it", || {
        let entries = std::fs::read_dir(&partial).ok()?.flatten();
        let held: u64 = entries
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum();
        (held > 8 << 20).then_some(())
    });
    network.at_mut(1).kill();
    let whole = network.at(1).spool().join("users/bob/1").exists();
    assert!(!whole, "it was quicker than the kill");
    network.at_mut(1).start_again();
    let item = items(network.at(1), "bob", 1).remove(0);
    assert!(network.at(1).bytes(&item, Form::Wire) == bytes);
    empty(network.at(0));
    let story = network.at(0).uft(["queue", "show", "1"]).ok().out;
    assert!(story.contains("went on from byte"), "{story}");
}

#[test]
fn a_job_that_is_moved_by_hand_is_held_and_freed() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).kill();
    submit(network.at(0), "bob@BETA", "f", b"x");
    let queue = network.at(0).spool().join("queue");
    std::fs::rename(queue.join("1.job"), queue.join("held/1.job")).unwrap();
    network.at_mut(1).start_again();
    submit(network.at(0), "bob@BETA", "g", b"y");
    let first = items(network.at(1), "bob", 1).remove(0);
    assert_eq!(first.envelope.facts.name.as_deref(), Some("g"));
    std::fs::rename(queue.join("held/1.job"), queue.join("1.job")).unwrap();
    items(network.at(1), "bob", 2);
}

#[test]
fn users_hold_free_reroute_and_purge_their_jobs() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).kill();
    for n in 1..=3 {
        submit(network.at(0), "bob@BETA", &format!("f{n}"), b"x");
    }
    let from = network.at(0);
    from.uft(["queue", "hold", "1"]).ok();
    from.uft(["queue", "purge", "2"]).ok();
    from.uft(["queue", "reroute", "3", "alice@BETA"]).ok();
    network.at_mut(1).start_again();
    let from = network.at(0);
    items(network.at(1), "alice", 1);
    assert_eq!(network.at(1).items("bob"), []);
    from.uft(["queue", "free", "1"]).ok();
    assert_eq!(
        items(network.at(1), "bob", 1)[0].envelope.facts.name.as_deref(),
        Some("f1")
    );
    empty(from);
    // To a user of this host: delivered here.
    network.at_mut(1).kill();
    submit(network.at(0), "bob@BETA", "f4", b"home");
    network.at(0).uft(["queue", "reroute", "4", "alice@ALPHA"]).ok();
    assert_eq!(
        items(network.at(0), "alice", 1)[0].envelope.facts.name.as_deref(),
        Some("f4")
    );
    empty(network.at(0));
}
