//! NETDATA (type N) between real programs: made by `sendfile`, taken apart by `uft`.

use std::fs;

use uft::canon::Page;
use uft::canon::netdata::{
    FileKind, FileSpec, Format, Limits, Name, Newline, Party, Plan, Stamp, Style, Writer, decode,
};
use uft::local::Form;

use crate::harness::{Daemon, Ran, Random, random_bytes};

#[test]
fn a_text_becomes_netdata_in_the_style_that_its_name_fits() {
    let daemon = Daemon::start();
    let text = "first\n\n  third \nlast\n";
    daemon.place.file("notes.txt", text);
    daemon.place.file("a-longer-name.txt", text);
    let to = daemon.to("alice");
    daemon
        .sendfile([
            "-t",
            "N",
            "--note",
            "as agreed",
            &to,
            "notes.txt",
            "a-longer-name.txt",
        ])
        .ok();
    daemon
        .sendfile([
            "-t",
            "N",
            "--style",
            "tso",
            "--recfm",
            "F",
            "--lrecl",
            "20",
            &to,
            "notes.txt",
        ])
        .ok();
    let items = daemon.items("alice");
    for (item, (name, style, recfm)) in items.iter().zip([
        ("NOTES.TXT", Style::Cms, "V"),
        ("A-LONGER.TXT", Style::Tso, "VB"),
        ("NOTES.TXT", Style::Tso, "FB"),
    ]) {
        let contents = decode(&daemon.bytes(item, Form::Wire), Limits::default()).unwrap();
        assert_eq!(contents.header.to.user, "ALICE");
        let file = contents.files.last().unwrap();
        let sent = file.info.name.as_ref().unwrap();
        assert_eq!((sent.to_string().as_str(), sent.style()), (name, style));
        assert_eq!(file.info.recfm.to_string(), recfm);
        assert!(file.info.dates.changed.is_some());
        let wanted = match recfm {
            "FB" => "first\n\n  third\nlast\n",
            _ => text,
        };
        assert_eq!(file.text(Page::DEFAULT, Newline::Lf), wanted);
    }
    let contents = decode(&daemon.bytes(&items[0], Form::Wire), Limits::default()).unwrap();
    assert_eq!(contents.files[0].info.kind, FileKind::Note);
    assert_eq!(contents.files[0].text(Page::DEFAULT, Newline::Lf), "as agreed\n");
}

#[test]
fn octets_and_standard_input_become_netdata() {
    let daemon = Daemon::start();
    let octets: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    daemon.place.file("data.bin", &octets);
    let to = daemon.to("alice");
    daemon.sendfile(["-t", "N", "--binary", &to, "data.bin"]).ok();
    daemon
        .sendfile(["-t", "N", "--binary", "--recfm", "V", &to, "-"])
        .input(octets.clone())
        .ok();
    daemon
        .sendfile(["-t", "N", "--codepage", "IBM-273", &to, "-"])
        .input("Grüße [1]\n")
        .ok();
    let items = daemon.items("alice");
    for item in &items[..2] {
        let contents = decode(&daemon.bytes(item, Form::Wire), Limits::default()).unwrap();
        assert!(contents.files[0].octets() == octets);
    }
    let contents = decode(&daemon.bytes(&items[2], Form::Wire), Limits::default()).unwrap();
    let page = Page::parse("IBM-273").unwrap();
    assert_eq!(contents.files[0].text(page, Newline::Lf), "Grüße [1]\n");
    assert_eq!(
        items[2].envelope.facts.attribute("CHARSET"),
        Some(page.to_string().as_str())
    );
}

#[test]
fn what_does_not_fit_is_named_before_anything_is_sent() {
    let daemon = Daemon::start();
    daemon.place.file("x.txt", "ok\n5 \u{4e2d}\n");
    daemon
        .place
        .file("long.txt", format!("ok\n{}\n", "x".repeat(70_000)));
    let to = daemon.to("alice");
    let ran = daemon.sendfile(["-t", "N", &to, "x.txt"]).exits(65);
    assert!(ran.err.contains("line 2, column 3"), "{}", ran.err);
    let ran = daemon.sendfile(["-t", "N", &to, "long.txt"]).exits(65);
    assert!(ran.err.contains("line 2: longer than 65535"), "{}", ran.err);
    daemon.sendfile(["-t", "N", "--substitute", &to, "x.txt"]).ok();
    assert_eq!(daemon.items("alice").len(), 1);
}

/// Sends a transmission as it is and says as which item it arrived.
fn raw(daemon: &Daemon, name: Option<&str>, wire: &[u8]) -> String {
    daemon.place.file("transmission", wire);
    let to = daemon.to("alice");
    match name {
        Some(name) => {
            daemon
                .sendfile(["-t", "N", "--raw", "--name", name, &to, "transmission"])
                .ok();
        }
        None => {
            daemon.sendfile(["-t", "N", "--raw", &to, "-"]).input(wire).ok();
        }
    }
    daemon.items("alice").last().unwrap().id.to_string()
}

fn vector(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/netdata");
    fs::read(path.join(name)).unwrap()
}

/// Receives an item of alice into the receiving directory.
fn receive(daemon: &Daemon, id: &str, more: &[&str]) -> Ran {
    let into = daemon.place.inbound();
    let fixed = ["--user", "alice", "receive", id, "-o", into.to_str().unwrap()];
    daemon.uft(fixed.iter().chain(more)).ok()
}

fn file(daemon: &Daemon, name: &str) -> Vec<u8> {
    fs::read(daemon.place.inbound().join(name)).unwrap()
}

#[test]
fn a_transmission_is_received_as_its_file_and_as_it_was_sent_when_that_is_wanted() {
    let daemon = Daemon::start();
    daemon.place.file("notes.txt", "Grüße\n\n[x]\n");
    let to = daemon.to("alice");
    daemon
        .sendfile(["-t", "N", "--codepage", "IBM-273", &to, "notes.txt"])
        .ok();
    let item = daemon.item("alice");
    let (id, wire) = (item.id.to_string(), daemon.bytes(&item, Form::Wire));
    let peeked = daemon.uft(["--user", "alice", "peek", &id]).ok();
    assert_eq!(peeked.out, "Grüße\n\n[x]\n");
    for (name, more) in [
        ("wire", vec!["--wire"]),
        ("octets", vec!["--binary"]),
        ("as-i", vec!["--as", "I"]),
        ("other", vec!["--codepage", "IBM-1047"]),
    ] {
        let into = daemon.place.inbound().join(name);
        let fixed = ["--user", "alice", "receive", &id, "--keep", "-o"];
        daemon
            .uft(fixed.iter().copied().chain([into.to_str().unwrap()]).chain(more))
            .ok();
    }
    assert!(file(&daemon, "wire") == wire && file(&daemon, "as-i") == wire);
    let octets = file(&daemon, "octets");
    assert_eq!((octets.len(), octets[5]), (9, 0x40));
    assert_ne!(file(&daemon, "other"), "Grüße\n\n[x]\n".as_bytes());
    let ran = daemon
        .uft(["--user", "alice", "receive", &id, "--stdout", "--keep"])
        .ok();
    assert_eq!(ran.out, "Grüße\n\n[x]\n");
    receive(&daemon, &id, &[]);
    assert_eq!(file(&daemon, "notes.txt"), "Grüße\n\n[x]\n".as_bytes());
    assert!(daemon.items("alice").is_empty());
}

#[test]
fn a_transmission_without_a_name_has_that_of_its_file_made_safe() {
    let daemon = Daemon::start();
    let from = Party::new("MALLORY", "NODE").unwrap();
    let mut plan = Plan::new(
        from.clone(),
        from,
        Stamp::of("2026-01-02T03:04:05Z".parse().unwrap()),
        Style::Cms,
    );
    let name = Name::cms("XXXXXXXX", "XXXXXXXX").unwrap();
    plan.files.push(FileSpec::new(Some(name), Format::variable(80)));
    let mut wire = Vec::new();
    let mut writer = Writer::new(&plan).unwrap();
    writer.start(&mut wire).unwrap();
    writer.record(&[0xc1], &mut wire).unwrap();
    writer.finish(&mut wire).unwrap();
    // X...X.X...X becomes ..|../.etc in EBCDIC.
    let at = wire.windows(8).position(|part| part == [0xe7; 8]).unwrap();
    wire[at..at + 8].copy_from_slice(&[0x61, 0x4b, 0x4b, 0x61, 0x85, 0xa3, 0x83, 0x61]);
    let id = raw(&daemon, None, &wire);
    receive(&daemon, &id, &[]);
    let names = daemon.place.received();
    assert_eq!(names, ["_.._etc_.XXXXXXXX"]);
    assert_eq!(file(&daemon, &names[0]), b"A\n");
}

#[test]
fn several_files_of_one_transmission_become_one_file_each() {
    let daemon = Daemon::start();
    daemon.place.file("notes.txt", "the file\n");
    let to = daemon.to("alice");
    daemon
        .sendfile(["-t", "N", "--note", "the message", &to, "notes.txt"])
        .ok();
    let id = daemon.item("alice").id.to_string();
    let peeked = daemon.uft(["--user", "alice", "peek", &id]).ok();
    assert_eq!(peeked.out, "message:\nthe message\nNOTES.TXT:\nthe file\n");
    let stat = daemon.uft(["--user", "alice", "stat", &id]).ok();
    for line in ["NOTES.TXT: text, V 8, 1 records, 8 bytes", "  > the message"] {
        assert!(stat.out.contains(line), "{line}: {}", stat.out);
    }
    let stat = daemon.uft(["--user", "alice", "stat", &id, "--json"]).ok().json();
    assert_eq!(stat[0]["contents"]["files"][0]["message"], "the message\n");
    let ran = daemon
        .uft(["--user", "alice", "receive", &id, "--stdout"])
        .exits(64);
    assert!(ran.err.contains("2 files inside"), "{}", ran.err);
    let lines = receive(&daemon, &id, &["--json"]).json();
    assert_eq!(lines.len(), 2);
    assert_eq!(daemon.place.received(), ["notes.txt", "notes.txt.note"]);
    assert_eq!(file(&daemon, "notes.txt"), b"the file\n");
    assert_eq!(file(&daemon, "notes.txt.note"), b"the message\n");
}

#[test]
fn files_that_go_together_arrive_as_one_item_and_come_out_as_they_were() {
    let daemon = Daemon::start();
    let files = [
        ("one.txt", "the first\n"),
        ("a-longer-name.txt", "the second\n\nof them\n"),
        ("empty.txt", ""),
    ];
    let mut arguments = vec!["-t", "N", "--together", "--note", "three of them"];
    let to = daemon.to("alice");
    arguments.push(&to);
    for (name, text) in files {
        daemon.place.file(name, text);
        arguments.push(name);
    }
    let sent = daemon.sendfile(&arguments).ok();
    assert!(
        sent.out.starts_with("one.txt and 2 more: delivered to alice@"),
        "{}",
        sent.out
    );
    let item = daemon.item("alice");
    let facts = &item.envelope.facts;
    assert_eq!(
        (facts.name.as_deref(), facts.attribute("TITLE")),
        (None, Some("one.txt and 2 more"))
    );
    let contents = decode(&daemon.bytes(&item, Form::Wire), Limits::default()).unwrap();
    assert_eq!((contents.header.files, contents.files.len()), (Some(4), 4));
    assert_eq!(contents.files[0].info.kind, FileKind::Note);
    // One style for all of them: that which every name has.
    let names = contents.files[1..].iter().map(|file| &file.info.name);
    assert!(
        names
            .clone()
            .all(|name| name.as_ref().unwrap().style() == Style::Tso)
    );
    receive(&daemon, &item.id.to_string(), &[]);
    for ((_, text), name) in files.iter().zip(names) {
        let name = name.as_ref().unwrap().to_string();
        assert_eq!(String::from_utf8(file(&daemon, &name)).unwrap(), *text);
    }
    assert_eq!(
        daemon.place.received(),
        ["A-LONGER.TXT", "EMPTY.TXT", "ONE.TXT", "ONE.TXT.note"]
    );
    assert_eq!(file(&daemon, "ONE.TXT.note"), b"three of them\n");
}

#[test]
fn of_files_that_go_together_none_is_lost_and_none_goes_alone() {
    let daemon = Daemon::start();
    let to = daemon.to("alice");
    for (name, text) in [("report-1.txt", "1\n"), ("report-1b.txt", "2\n"), ("b.bin", "\0")] {
        daemon.place.file(name, text);
    }
    let together = |arguments: &[&str]| {
        let fixed = ["-t", "N", "--together"];
        daemon.sendfile(fixed.iter().chain(arguments))
    };
    let ran = together(&[&to, "report-1.txt", "missing.txt"]).exits(66);
    assert!(ran.err.contains("nothing was sent"), "{}", ran.err);
    together(&["--raw", &to, "b.bin"]).exits(64);
    daemon.sendfile(["--together", &to, "b.bin"]).exits(64);
    together(&["--style", "cms", &to, "report-1.txt", "report-1b.txt"]).exits(64);
    assert_eq!(daemon.items("alice"), []);

    let two = format!("{to},{}", daemon.to("bob"));
    let ran = together(&["--json", "--name", "both", &two, "report-1.txt", "report-1b.txt"]).ok();
    assert!(
        ran.err.contains("called REPORT-1.TXT in the transmission"),
        "{}",
        ran.err
    );
    let lines = ran.json();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["file"], &lines[0]["files"][1]),
        (&"report-1.txt and 1 more".into(), &"report-1b.txt".into())
    );
    assert_eq!(
        daemon.item("bob").envelope.facts.name.as_deref(),
        Some("both"),
        "one name for the item"
    );
    receive(&daemon, "1", &[]);
    assert_eq!(daemon.place.received(), ["REPORT-1.TXT", "REPORT-1.TXT.1"]);
    assert_eq!(file(&daemon, "REPORT-1.TXT.1"), b"2\n");
}

#[test]
fn what_cannot_be_taken_apart_is_received_as_it_was_sent_and_says_why() {
    let daemon = Daemon::start();
    let mut damaged = vector("v01-fb80-text-mvs.nd");
    damaged.truncate(damaged.len() / 2);
    for (name, wire, why) in [
        ("damaged", damaged, "it ends"),
        ("trailer", vector("e01-no-trailer.nd"), "INMR06"),
        ("first", vector("e05-continuation-first.nd"), "kept as sent"),
        ("receipt", vector("v14-ack-received.nd"), "a receipt"),
        ("none", b"no NETDATA at all".to_vec(), "kept as sent"),
        ("nothing", Vec::new(), "kept as sent"),
    ] {
        let id = raw(&daemon, Some(name), &wire);
        daemon.uft(["--user", "alice", "stat", &id]).ok();
        daemon.uft(["--user", "alice", "peek", &id]).ok();
        daemon
            .uft(["--user", "alice", "receive", &id, "--as", "A", "--stdout"])
            .exits(65);
        let ran = receive(&daemon, &id, &[]);
        assert!(ran.err.contains(why), "{name}: {}", ran.err);
        assert!(file(&daemon, name) == wire, "{name}");
    }
    assert!(daemon.items("alice").is_empty());
}

#[test]
fn every_known_stream_is_received_as_its_known_answer() {
    let daemon = Daemon::start();
    let manifest: Vec<serde_json::Value> = serde_json::from_slice(&vector("manifest.json")).unwrap();
    let mut seen = 0;
    for entry in manifest.iter().filter(|entry| entry["error"].is_null()) {
        let name = entry["file"].as_str().unwrap();
        let contents = decode(&vector(name), Limits::default()).unwrap();
        let [inside] = contents.files.as_slice() else {
            continue;
        };
        if inside.info.kind == FileKind::Library {
            continue;
        }
        let want = match entry["text"].as_str() {
            Some(text) => vector(text),
            None if inside.is_text => inside.text(Page::DEFAULT, Newline::Lf).into_bytes(),
            None => inside.octets().to_vec(),
        };
        let id = raw(&daemon, Some(name), &vector(name));
        receive(&daemon, &id, &[]);
        assert!(file(&daemon, name) == want, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn an_encrypted_file_is_kept_as_it_was_sent() {
    let daemon = Daemon::start();
    let mut wire = vector("v01-fb80-text-mvs.nd");
    let find = |wire: &[u8], what: &[u8]| wire.windows(what.len()).position(|part| part == what).unwrap();
    // INMCOPY, in the INMR02 that is one letter longer then, becomes AMSCIPHR.
    let utility = find(&wire, b"\xc9\xd5\xd4\xc3\xd6\xd7\xe8");
    wire.splice(utility - 1..utility + 7, *b"\x08\xc1\xd4\xe2\xc3\xc9\xd7\xc8\xd9");
    let step = find(&wire, b"\xc9\xd5\xd4\xd9\xf0\xf2");
    wire[step - 2] += 1;
    let id = raw(&daemon, Some("secret"), &wire);
    let stat = daemon.uft(["--user", "alice", "stat", &id]).ok();
    assert!(stat.out.contains("ALICE.TEST.TEXT: encrypted"), "{}", stat.out);
    daemon
        .uft(["--user", "alice", "receive", &id, "--as", "A", "-o", "text"])
        .exits(65);
    let ran = receive(&daemon, &id, &[]);
    assert!(ran.err.contains("encrypted: kept as sent"), "{}", ran.err);
    assert!(file(&daemon, "secret") == wire);
}

#[test]
fn a_library_becomes_one_file_for_each_member_when_that_is_wanted() {
    let daemon = Daemon::start();
    let wire = vector("v21-library.nd");
    let contents = decode(&wire, Limits::default()).unwrap();
    let library = &contents.files[0];
    let name = library.info.name.as_ref().unwrap().to_string();
    let members = library.members().unwrap();
    let id = raw(&daemon, Some("my.library"), &wire);

    let stat = daemon.uft(["--user", "alice", "stat", &id, "--json"]).ok().json();
    let listed = stat[0]["contents"]["files"][0]["members"].as_array().unwrap();
    assert_eq!(listed.len(), members.len());
    let stat = daemon.uft(["--user", "alice", "stat", &id]).ok();
    let peek = daemon.uft(["--user", "alice", "peek", &id]).ok();
    let aliased = members
        .iter()
        .find(|member| !member.member.aliases.is_empty())
        .unwrap();
    let also = format!("also {}", aliased.member.aliases[0]);
    assert!(
        stat.out.contains(&also) && peek.out.contains(&also),
        "{}",
        stat.out
    );

    // Without --members it stays what it is.
    let ran = receive(&daemon, &id, &["--keep"]);
    assert!(ran.err.contains("--members"), "{}", ran.err);
    assert!(file(&daemon, "my.library") == wire);
    daemon
        .uft(["--user", "alice", "receive", &id, "--members", "-o", "one-file"])
        .exits(64);
    fs::remove_file(daemon.place.inbound().join("my.library")).unwrap();

    let ran = receive(&daemon, &id, &["--members"]);
    assert!(ran.err.contains(&format!("is {also}")), "{}", ran.err);
    let mut wanted: Vec<String> = Vec::new();
    for member in &members {
        let path = format!("{name}({})", member.member.name.as_ref().unwrap());
        let content = match member.is_text {
            true => member.text(Page::DEFAULT, Newline::Lf).into_bytes(),
            false => member.octets().to_vec(),
        };
        assert!(file(&daemon, &path) == content, "{path}");
        wanted.push(path);
    }
    wanted.sort();
    assert_eq!(daemon.place.received(), wanted);
    assert!(daemon.items("alice").is_empty());
}

#[test]
fn a_member_has_the_date_that_its_statistics_have() {
    let daemon = Daemon::start();
    let id = raw(&daemon, Some("my.library"), &vector("v21-library.nd"));
    let stat = daemon.uft(["--user", "alice", "stat", &id, "--json"]).ok().json();
    let members = &stat[0]["contents"]["files"][0]["members"];
    println!("{members:#}");
    let into = daemon.place.inbound();
    let fixed = ["--user", "alice", "receive", &id, "--members", "-o"];
    daemon
        .uft(fixed.iter().copied().chain([into.to_str().unwrap()]))
        .env("TZ", "UTC0")
        .ok();
    let mut dated = 0;
    for member in members.as_array().unwrap() {
        let Some(changed) = member["changed"].as_str() else {
            continue;
        };
        let name = format!("({})", member["name"].as_str().unwrap());
        let names = daemon.place.received();
        let path = names.iter().find(|path| path.ends_with(&name)).unwrap();
        let modified = fs::metadata(into.join(path)).unwrap().modified().unwrap();
        let modified = jiff::Timestamp::try_from(modified).unwrap().to_string();
        assert_eq!(modified, format!("{changed}Z"));
        dated += 1;
    }
    assert_eq!(dated, 2);
}

#[test]
fn a_damaged_library_stays_one_file() {
    let daemon = Daemon::start();
    let mut wire = vector("v21-library.nd");
    // The eye-catcher of the unload: the transmission is sound, the library is not.
    let at = wire
        .windows(3)
        .position(|part| part == [0xca, 0x6d, 0x0f])
        .unwrap();
    wire[at] = 0;
    let id = raw(&daemon, Some("my.library"), &wire);
    let stat = daemon.uft(["--user", "alice", "stat", &id]).ok();
    assert!(stat.out.contains("cannot be told apart"), "{}", stat.out);
    let ran = receive(&daemon, &id, &["--members"]);
    assert!(ran.err.contains("kept as sent"), "{}", ran.err);
    assert_eq!(daemon.place.received(), ["my.library"]);
    assert!(file(&daemon, "my.library") == wire);
}

/// Files whose names say their number: every length that borders on something, and some at random.
fn corpus(count: usize, mut content: impl FnMut(&mut Random, usize) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let edges = [
        0, 1, 2, 79, 80, 81, 160, 252, 253, 254, 255, 506, 507, 4096, 32_760, 65_535, 65_536,
    ];
    let mut random = Random::seeded(34);
    (0..count)
        .map(|number| {
            let length = match edges.get(number) {
                Some(&length) => length,
                None => random.below(3000) as usize,
            };
            (format!("f{number}.dat"), content(&mut random, length))
        })
        .collect()
}

/// Sends the files, receives them all, and compares. A hundred at a time: a program has to end within the patience of a test.
fn there_and_back(files: &[(String, Vec<u8>)], sending: &[&str], receiving: &[&str]) {
    let daemon = Daemon::start();
    let to = daemon.to("alice");
    let into = daemon.place.inbound();
    let fixed = [
        "--user",
        "alice",
        "receive",
        "--all",
        "-o",
        into.to_str().unwrap(),
    ];
    for files in files.chunks(100) {
        let mut arguments: Vec<&str> = ["-t", "N", "-q"].iter().chain(sending).copied().collect();
        arguments.push(&to);
        for (name, content) in files {
            daemon.place.file(name, content);
            arguments.push(name);
        }
        daemon.sendfile(arguments).ok();
        daemon.uft(fixed.iter().chain(receiving)).ok();
        for (name, content) in files {
            assert!(file(&daemon, name) == *content, "{name} {sending:?}");
        }
    }
    assert_eq!(daemon.place.received().len(), files.len());
}

#[test]
fn every_text_of_a_corpus_comes_back() {
    let alphabet: Vec<char> = "abcxyzABCXYZ0189 ..  ,;[]{}|^~\\\"'\t\u{e4}\u{df}\u{e9}\u{bf}"
        .chars()
        .collect();
    let files = corpus(500, |random, length| {
        let mut text = String::new();
        while text.len() < length {
            let line = match random.below(400) {
                0 => 65_535 - 3,
                1..50 => 0,
                50..90 => 2 + random.below(6000),
                _ => 2 + random.below(90),
            };
            let mut line: String = (0..line)
                .map(|_| alphabet[random.below(alphabet.len() as u64) as usize])
                .collect();
            if random.below(4) == 0 && !line.is_empty() {
                line.push_str("   ");
            }
            text.push_str(&line);
            text.push('\n');
        }
        text.into_bytes()
    });
    there_and_back(&files, &[], &[]);
    there_and_back(&files[..40], &["--style", "tso", "--codepage", "IBM-273"], &[]);
}

#[test]
fn every_binary_of_a_corpus_comes_back() {
    let files = corpus(500, |random, length| match random.below(3) {
        0 => (0..length).map(|n| n as u8).collect(),
        1 => vec![random.next() as u8; length],
        _ => random_bytes(random.next(), length),
    });
    there_and_back(&files, &["--binary"], &["--binary"]);
    there_and_back(
        &files[..40],
        &["--binary", "--recfm", "V", "--lrecl", "65535", "--style", "tso"],
        &["--binary"],
    );
    // A byte that no text has says by itself what it is.
    let told: Vec<(String, Vec<u8>)> = files
        .into_iter()
        .map(|(name, mut content)| {
            content.push(0);
            (name, content)
        })
        .collect();
    there_and_back(&told[..60], &["--binary", "--lrecl", "1024"], &[]);
}

#[test]
fn two_files_of_one_transmission_have_their_own_names() {
    let daemon = Daemon::start();
    let wire = vector("v17-two-files.nd");
    let contents = decode(&wire, Limits::default()).unwrap();
    let id = raw(&daemon, Some("both"), &wire);
    let one = daemon.place.inbound().join("one");
    let ran = daemon
        .uft(["--user", "alice", "receive", &id, "-o", one.to_str().unwrap()])
        .exits(64);
    assert!(ran.err.contains("-o names one file"), "{}", ran.err);
    assert_eq!(daemon.place.received(), [""; 0]);
    receive(&daemon, &id, &["--force"]);
    let mut wanted: Vec<String> = Vec::new();
    for inside in &contents.files {
        let name = inside.info.name.as_ref().unwrap().to_string();
        let text = inside.text(Page::DEFAULT, Newline::Lf);
        assert_eq!(String::from_utf8(file(&daemon, &name)).unwrap(), text);
        wanted.push(name);
    }
    wanted.sort();
    assert_eq!(daemon.place.received(), wanted);
}
