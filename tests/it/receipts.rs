//! Receipts of NETDATA between real programs: who gets one, who gets none, and how one is shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use uft::canon::netdata::{Fate, Name, Party, Receipt, Stamp};
use uft::local::{Form, ItemInfo};

use crate::harness::{Daemon, Program, Ran, binary, until};

/// Sends a file that asks for a receipt, from root to nobody, both users of this host.
fn send(daemon: &Daemon, name: &str) -> String {
    daemon.place.file(name, "the file\n");
    daemon
        .sendfile(["-t", "N", "--notify", "received", "nobody", name])
        .ok();
    daemon.items("nobody").last().unwrap().id.to_string()
}

/// `uft` as nobody, whose own inbox it is.
fn nobody(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let into = daemon.place.path("nobodys");
    if !into.exists() {
        fs::create_dir(&into).unwrap();
        fs::set_permissions(&into, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let output = ["-o", into.to_str().unwrap()];
    let output: &[&str] = match arguments {
        ["receive", ..] => &output,
        _ => &[],
    };
    daemon
        .uft(arguments.iter().chain(output))
        .by_nobody(&daemon.place)
        .ok()
}

/// What root has when there are so many of them.
fn arrived(daemon: &Daemon, count: usize) -> Vec<ItemInfo> {
    until("the receipts", || {
        let items = daemon.items("root");
        (items.len() >= count).then_some(items)
    })
}

/// One more receipt is owed and comes: whatever else was owed before has come as well.
fn and_no_more(daemon: &Daemon, before: usize) {
    let id = send(daemon, "fence.txt");
    nobody(daemon, &["discard", &id]);
    let items = arrived(daemon, before + 1);
    assert_eq!(items.len(), before + 1, "{items:#?}");
    let last = items.last().unwrap().envelope.facts.receipt.as_ref().unwrap();
    assert_eq!(last.name.as_deref(), Some("FENCE.TXT"));
}

fn fate(item: &ItemInfo) -> (String, uft_spool::Fate) {
    let receipt = item.envelope.facts.receipt.clone().unwrap();
    (receipt.name.unwrap_or_default(), receipt.fate)
}

#[test]
fn a_sender_who_asks_hears_that_the_file_was_received_or_deleted() {
    let daemon = Daemon::start();
    let id = send(&daemon, "taken.txt");
    nobody(&daemon, &["receive", &id, "--keep"]);
    nobody(&daemon, &["receive", &id, "--force"]);
    assert_eq!(
        fs::read(daemon.place.path("nobodys/taken.txt")).unwrap(),
        b"the file\n"
    );
    let first = arrived(&daemon, 1);
    let id = send(&daemon, "unwanted.txt");
    nobody(&daemon, &["discard", &id]);
    let items = arrived(&daemon, 2);
    assert_eq!((first.len(), items.len()), (1, 2));
    assert_eq!(fate(&items[0]), ("TAKEN.TXT".into(), uft_spool::Fate::Received));
    assert_eq!(fate(&items[1]), ("UNWANTED.TXT".into(), uft_spool::Fate::Deleted));
    for item in &items {
        let facts = &item.envelope.facts;
        assert_eq!(
            (facts.origin.user.as_str(), facts.origin.proof),
            ("nobody", uft_spool::Proof::Local)
        );
        assert!(facts.receipt.as_ref().unwrap().sent.is_some());
    }
    let listed = daemon.uft(["ls"]).ok().out;
    assert!(
        listed.contains(" nobody@alpha.example N ") && listed.contains(" receipt for TAKEN.TXT (sent 2"),
        "{listed}"
    );
    // Whose wish it was is in the transmission too, for hosts that read only that.
    let contents = uft::canon::netdata::decode(
        &daemon.bytes(&items[0], Form::Wire),
        uft::canon::netdata::Limits::default(),
    );
    assert_eq!(contents.unwrap().header.to.to_string(), "ROOT@ALPHA");
}

#[test]
fn nobody_hears_of_what_was_not_asked_for_or_was_not_the_recipients_doing() {
    let daemon = Daemon::start();
    daemon.place.file("plain.txt", "x\n");
    for asked in [
        &["-t", "N"] as &[&str],
        &["-t", "N", "--notify", "delivered"],
        &["-t", "A", "--notify", "delivered"],
    ] {
        let arguments = asked.iter().chain(&["nobody", "plain.txt"]);
        daemon.sendfile(arguments).ok();
    }
    nobody(&daemon, &["receive", "--all"]);
    // An administrator clears away what is somebody else's.
    let id = send(&daemon, "cleared.txt");
    daemon.uft(["--user", "nobody", "discard", &id]).ok();
    let id = send(&daemon, "fetched.txt");
    let into = daemon.place.inbound();
    daemon
        .uft(["--user", "nobody", "receive", &id, "-o", into.to_str().unwrap()])
        .ok();
    and_no_more(&daemon, 0);
}

#[test]
fn files_of_other_types_are_answered_with_a_letter() {
    let daemon = Daemon::start();
    for name in ["taken.txt", "unwanted.txt"] {
        daemon.place.file(name, "x\n");
        daemon.sendfile(["--notify", "received", "nobody", name]).ok();
    }
    nobody(&daemon, &["receive", "1"]);
    arrived(&daemon, 1);
    nobody(&daemon, &["discard", "2"]);
    let letters = arrived(&daemon, 2);
    let titles: Vec<&str> = letters
        .iter()
        .map(|item| item.envelope.facts.attribute("TITLE").unwrap())
        .collect();
    let wanted = [
        "received: taken.txt to nobody@ALPHA",
        "discarded: unwanted.txt to nobody@ALPHA",
    ];
    assert_eq!(titles, wanted);
    assert_eq!(
        daemon.bytes(&letters[0], Form::Local),
        b"taken.txt was received by nobody@ALPHA.\n"
    );
    assert_eq!(letters[0].envelope.facts.origin.user, "uftd");
}

#[test]
fn a_forged_sender_gets_no_receipt() {
    let daemon = Daemon::start();
    daemon.place.file("forged.txt", "x\n");
    // The same transmission over the network: that it is root who sends is a claim.
    let to = daemon.to("nobody");
    daemon
        .sendfile(["-t", "N", "--notify", "received", &to, "forged.txt"])
        .ok();
    let item = daemon.item("nobody");
    assert_eq!(item.envelope.facts.origin.user, "root");
    nobody(&daemon, &["receive", "--all"]);
    and_no_more(&daemon, 0);
}

#[test]
fn a_receipt_is_never_answered() {
    let daemon = Daemon::start();
    let id = send(&daemon, "once.txt");
    nobody(&daemon, &["receive", &id]);
    let receipt = arrived(&daemon, 1).remove(0);
    let said = daemon.uft(["receive", &receipt.id.to_string()]).ok().out;
    assert!(
        said.contains(" from nobody@alpha.example: receipt for ONCE.TXT (sent ")
            && said.ends_with("): received\n"),
        "{said}"
    );
    // One that asks for another: INMFACK behind the name of its INMR01.
    let mut wire = daemon.place.file("asks", written(Fate::Received));
    let mut bytes = fs::read(&wire).unwrap();
    bytes.splice(8..8, [0x10, 0x26, 0x00, 0x00]);
    bytes[0] += 4;
    fs::write(&wire, &bytes).unwrap();
    wire = wire.file_name().map(PathBuf::from).unwrap();
    daemon
        .sendfile(["-t", "N", "--raw", "nobody", wire.to_str().unwrap()])
        .ok();
    assert!(daemon.item("nobody").envelope.facts.receipt.is_some());
    nobody(&daemon, &["discard", "--all"]);
    and_no_more(&daemon, 0);
    assert!(daemon.items("nobody").is_empty());
}

#[test]
fn a_flood_of_receipts_is_stopped_and_the_files_are_received_all_the_same() {
    let daemon = Daemon::start();
    let names: Vec<String> = (0..260).map(|n| format!("f{n}.txt")).collect();
    let mut arguments = vec!["-q", "-t", "N", "--notify", "received", "nobody"];
    for name in &names {
        daemon.place.file(name, "x\n");
        arguments.push(name);
    }
    daemon.sendfile(arguments).ok();
    nobody(&daemon, &["receive", "--all"]);
    assert_eq!(daemon.place.names("nobodys").len(), 260);
    assert!(daemon.items("nobody").is_empty());
    until("the end of the flood", || {
        let log = daemon.log();
        let (given, kept) = (
            log.matches("receipt sent").count(),
            log.matches("receipt not sent: too many").count(),
        );
        (given + kept == 260).then_some(())
    });
    assert_eq!(daemon.items("root").len(), 240);
}

/// A receipt as a stranger writes it.
fn written(fate: Fate) -> Vec<u8> {
    let stamp = || Stamp::of("2026-01-02T03:04:05Z".parse().unwrap());
    let receipt = Receipt {
        sent: Some(stamp()),
        name: Some(Name::cms("ACKME", "TEXT").unwrap()),
        ack: None,
        fate,
    };
    let (from, to) = (Party::folded("root", "alpha"), Party::folded("alice", "alpha"));
    let mut wire = Vec::new();
    receipt.write(&from, &to, &stamp(), &mut wire);
    wire
}

#[test]
fn a_receipt_from_another_host_is_shown_as_one_with_its_proven_sender() {
    let daemon = Daemon::start();
    let watching = daemon.uft(["--user", "alice", "watch"]).beside();
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/netdata");
    let wire = fs::read(vectors.join("v15-ack-deleted.nd")).unwrap();
    until("the watch", || {
        (daemon.connect().ask("MSG alice hello").code == 200).then_some(())
    });
    watching.line();
    daemon.connect().deliver("alice", "N", "a.name", &wire).has(200);
    let said = "receipt for ACKME.TEXT (sent ";
    let seen = watching.line();
    assert!(
        seen.starts_with("receipt 1 ?tester@127.0.0.1 N ") && seen.contains(said),
        "{seen}"
    );
    for shown in [&["ls"] as &[&str], &["stat", "1"], &["peek", "1"]] {
        let ran = daemon.uft(["--user", "alice"].iter().chain(shown)).ok();
        assert!(
            ran.out.contains(said) && ran.out.contains("): deleted\n"),
            "{}",
            ran.out
        );
    }
    for shown in [&["ls", "--json"] as &[&str], &["stat", "1", "--json"]] {
        let json = daemon.uft(["--user", "alice"].iter().chain(shown)).ok().json();
        let receipt = &json[0]["receipt"];
        assert_eq!(
            (&receipt["name"], &receipt["sent"], &receipt["fate"]),
            (
                &"ACKME.TEXT".into(),
                &"2026-01-02T03:04:05Z".into(),
                &"deleted".into()
            )
        );
        assert_eq!(json[0]["origin"]["proof"], "address");
    }
    // Bytes where they are wanted, words where they are not.
    let copy = daemon.place.inbound().join("copy");
    let received = |more: &[&str]| {
        let fixed = ["--user", "alice", "receive", "1"];
        daemon.uft(fixed.iter().chain(more)).ok()
    };
    received(&["--keep", "-o", copy.to_str().unwrap()]);
    assert_eq!(fs::read(&copy).unwrap(), wire);
    let kept = received(&["--keep", "--json"]).json();
    assert_eq!(
        (&kept[0]["path"], &kept[0]["removed"], &kept[0]["receipt"]["fate"]),
        (&serde_json::Value::Null, &false.into(), &"deleted".into())
    );
    let told = received(&[]);
    assert!(
        told.out
            .starts_with("1 from ?tester@127.0.0.1: receipt for ACKME.TEXT"),
        "{}",
        told.out
    );
    assert!(daemon.items("alice").is_empty());
    assert_eq!(daemon.place.names("work"), [""; 0]);
}

#[test]
fn a_receipt_cannot_hide_anything_in_what_it_says() {
    let daemon = Daemon::start();
    let mut wire = written(Fate::Other("XXXXXXXX".into()));
    // Escape, bell, CR LF and a C1 control in the name and in the words.
    for letters in [[0xc1_u8, 0xc3, 0xd2, 0xd4, 0xc5].as_slice(), &[0xe7; 8]] {
        let at = wire
            .windows(letters.len())
            .position(|part| part == letters)
            .unwrap();
        wire[at..at + 5].copy_from_slice(&[0x27, 0x2f, 0x0d, 0x25, 0x3b]);
    }
    let mut sender = daemon.connect();
    sender.ask("FILE 1 mall\u{1b}[31mory -").has(200);
    sender.ask("USER alice").has(208);
    sender.ask("TYPE N").has(200);
    sender.ask("META NAME na\u{1b}[2Jme\u{202e}").has(200);
    sender.burst("DATA", &wire).has(213);
    sender.ask("EOF").has(200);
    assert!(daemon.item("alice").envelope.facts.receipt.is_some());
    for arguments in [
        &["ls"] as &[&str],
        &["stat", "1"],
        &["peek", "1"],
        &["ls", "--json"],
        &["receive", "1", "--keep", "--json"],
        &["receive", "1"],
    ] {
        let ran = daemon.uft(["--user", "alice"].iter().chain(arguments)).ok();
        ran.assert_inert();
        assert!(ran.out.contains("receipt"), "{arguments:?}: {}", ran.out);
    }
}

#[test]
fn a_receipt_that_cannot_be_printed_stays() {
    let daemon = Daemon::start();
    let wire = written(Fate::Received);
    daemon.connect().deliver("alice", "N", "x", &wire).has(200);
    for more in ["", "--json"] {
        let script = format!(
            "exec {:?} --user alice receive 1 {more} >/dev/full",
            binary("uft").to_str().unwrap()
        );
        Program::new("/bin/sh".into(), &daemon.place.work())
            .env("UFT_SOCKET", daemon.socket())
            .arguments(["-c", &script])
            .exits(74);
        assert_eq!(daemon.items("alice").len(), 1);
    }
}

#[test]
fn a_file_that_begins_like_a_receipt_is_a_file() {
    let mut daemon = Daemon::start();
    let wire = written(Fate::Received);
    let end = wire.iter().rposition(|&byte| byte != 0).unwrap();
    let more = [wire.as_slice(), &[0xc1; 10_000]].concat();
    let mut sender = daemon.connect();
    for bytes in [&wire[..end], &more, &[wire.as_slice(), b"x"].concat()] {
        sender.deliver("alice", "N", "file", bytes).has(200);
    }
    sender.deliver("alice", "I", "octets", &wire).has(200);
    assert!(
        daemon
            .items("alice")
            .iter()
            .all(|item| item.envelope.facts.receipt.is_none())
    );
    sender.deliver("alice", "N", "receipt", &wire).has(200);
    drop(sender);
    // The listing says so after a restart as well, and when the index is made anew.
    for lost in [false, true] {
        daemon.stop();
        if lost {
            fs::remove_file(daemon.spool().join("index.sqlite")).unwrap();
        }
        daemon.start_again();
        let listed = daemon.uft(["--user", "alice", "ls"]).ok().out;
        assert_eq!(listed.matches("receipt for ACKME.TEXT").count(), 1, "{listed}");
    }
}
