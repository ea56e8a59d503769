//! `sendfile` against a real gateway: what was sent is what is received, for every type and every name.

use std::fs;

use uft::local::Form;

use crate::harness::{Daemon, random_bytes, text_of, until};

/// Receives the only item of alice through `uft`, and gives its file's bytes.
fn received(daemon: &Daemon, more: &[&str]) -> Vec<u8> {
    let id = daemon.item("alice").id.to_string();
    let into = daemon.place.inbound().join("received");
    let mut arguments = vec![
        "--user",
        "alice",
        "receive",
        id.as_str(),
        "--force",
        "-o",
        into.to_str().unwrap(),
    ];
    arguments.extend(more);
    daemon.uft(arguments).ok();
    fs::read(into).unwrap()
}

#[test]
fn files_and_standard_input_arrive_whole_and_in_order() {
    let daemon = Daemon::start();
    let text = "first\nsecond\n";
    let binary = random_bytes(1, 300_000);
    daemon.place.file("a.txt", text);
    daemon.place.file("b.bin", &binary);
    let to = daemon.to("alice");
    let ran = daemon
        .sendfile([to.as_str(), "a.txt", "b.bin", "-"])
        .input(&b"from a pipe\n"[..])
        .ok();
    assert_eq!(ran.out.lines().count(), 3, "one line a file: {}", ran.out);
    let items = daemon.items("alice");
    let names: Vec<_> = items
        .iter()
        .map(|item| item.envelope.facts.name.as_deref())
        .collect();
    assert_eq!(names[..2], [Some("a.txt"), Some("b.bin")]);
    assert_eq!(daemon.bytes(&items[0], Form::Local), text.as_bytes());
    assert_eq!(daemon.bytes(&items[1], Form::Local), binary);
    assert_eq!(daemon.bytes(&items[2], Form::Local), b"from a pipe\n");
    let letters: String = items
        .iter()
        .map(|item| item.envelope.facts.stored_as.letter())
        .collect();
    assert_eq!(letters, "AIA", "text goes as text, the rest as octets");
}

#[test]
fn a_large_file_of_each_converted_type_comes_back_byte_for_byte() {
    let daemon = Daemon::start();
    let text = text_of(2, 3_000_000);
    daemon.place.file("large.txt", &text);
    for file_type in ["A", "E", "M", "I"] {
        daemon
            .sendfile(["-t", file_type, daemon.to("alice").as_str(), "large.txt"])
            .ok();
        let item = daemon.item("alice");
        assert_eq!(item.envelope.facts.stored_as.letter().to_string(), file_type);
        assert_eq!(item.envelope.local.bytes, text.len() as u64, "type {file_type}");
        assert_eq!(
            item.envelope.local.blake3,
            blake3::hash(text.as_bytes()),
            "type {file_type}"
        );
        assert!(received(&daemon, &[]) == text.as_bytes(), "type {file_type}");
        assert_eq!(daemon.items("alice"), [], "received once");
    }
}

#[test]
fn ebcdic_is_ebcdic_on_the_wire_and_text_in_the_inbox() {
    let daemon = Daemon::start();
    daemon.place.file("hello.txt", "HELLO\nWORLD\n");
    daemon
        .sendfile(["-t", "E", daemon.to("alice").as_str(), "hello.txt"])
        .ok();
    let wire = b"\xc8\xc5\xd3\xd3\xd6\x15\xe6\xd6\xd9\xd3\xc4\x15";
    let item = daemon.item("alice");
    assert_eq!(item.envelope.wire.bytes, wire.len() as u64);
    assert_eq!(item.envelope.wire.blake3, blake3::hash(wire));
    assert_eq!(received(&daemon, &["--keep", "--wire"]), wire);
    assert_eq!(received(&daemon, &[]), b"HELLO\nWORLD\n");
}

#[test]
fn a_character_outside_the_code_page_is_named_and_nothing_is_sent() {
    let daemon = Daemon::start();
    daemon
        .place
        .file("wide.txt", "fine\nthe \u{20ac}uro and \u{65e5}\u{672c}\n");
    let ran = daemon
        .sendfile([
            "-t",
            "E",
            "--codepage",
            "IBM-1047",
            daemon.to("alice").as_str(),
            "wide.txt",
        ])
        .exits(65);
    assert!(ran.err.contains('2'), "the line is named: {}", ran.err);
    assert_eq!(daemon.items("alice"), []);
}

#[test]
fn raw_records_and_netdata_are_kept_as_they_are() {
    let daemon = Daemon::start();
    let records = b"\x00\x04rec1\x00\x00\x00\x07record3";
    daemon.place.file("var.dat", records);
    daemon
        .sendfile(["-t", "V", "--raw", daemon.to("alice").as_str(), "var.dat"])
        .ok();
    assert_eq!(received(&daemon, &["--keep"]), records);
    let text = received(&daemon, &["--as", "A"]);
    assert_eq!(String::from_utf8_lossy(&text), "rec1\n\nrecord3\n");
    // INMR01 and the end of it: enough of NETDATA for a file that nobody opens.
    let netdata = random_bytes(3, 4000);
    daemon.place.file("net.dat", &netdata);
    daemon
        .sendfile(["-t", "N", "--raw", daemon.to("alice").as_str(), "net.dat"])
        .ok();
    assert_eq!(received(&daemon, &["--wire"]), netdata);
}

#[test]
fn a_directory_travels_as_one_archive() {
    let daemon = Daemon::start();
    let tree = daemon.place.work().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("deep/er/file"), "inside").unwrap();
    let to = daemon.to("alice");
    let refused = daemon.sendfile([to.as_str(), "tree"]).run();
    assert!(
        refused.code == 66 || refused.code == 64,
        "a directory needs --archive: {refused:?}"
    );
    daemon.sendfile(["--archive", to.as_str(), "tree"]).ok();
    let item = daemon.item("alice");
    assert_eq!(item.envelope.facts.name.as_deref(), Some("tree.tar"));
    let bytes = received(&daemon, &[]);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let paths: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert!(
        paths.iter().any(|path| path.ends_with("deep/er/file")),
        "{paths:?}"
    );
    assert!(paths.iter().all(|path| path.is_relative()), "{paths:?}");
}

#[test]
fn the_second_fork_and_the_attributes_arrive() {
    let daemon = Daemon::start();
    daemon.place.file("data", "data fork");
    daemon.place.file("fork", "resource fork");
    let to = daemon.to("alice");
    daemon
        .sendfile([
            "--aux",
            "fork",
            "--title",
            "-a title",
            "--class",
            "A",
            "--form",
            "STD",
            "--dist",
            "BIN7",
            "--copies",
            "3",
            "--hold",
            "--meta",
            "DEST=ANY",
            "--name",
            "other name.txt",
            to.as_str(),
            "data",
        ])
        .ok();
    let item = daemon.item("alice");
    assert_eq!(daemon.bytes(&item, Form::Local), b"data fork");
    assert_eq!(daemon.bytes(&item, Form::Aux), b"resource fork");
    let facts = &item.envelope.facts;
    assert_eq!(facts.name.as_deref(), Some("other name.txt"));
    for (key, value) in [
        ("TITLE", "-a title"),
        ("CLASS", "A"),
        ("FORM", "STD"),
        ("DIST", "BIN7"),
        ("DEST", "ANY"),
    ] {
        assert_eq!(
            facts.attribute(key),
            Some(value),
            "{key} of {:?}",
            facts.attributes
        );
    }
    assert!(
        facts.attribute("HOLD").is_some()
            && facts.attribute("COPIES").or(facts.attribute("COPY")) == Some("3")
    );
}

#[test]
fn names_with_blanks_and_of_every_script_arrive_whole() {
    let daemon = Daemon::start();
    let names = [
        "with blanks in it.txt",
        "Gr\u{fc}\u{df}e \u{65e5}\u{672c}\u{8a9e} \u{1f4e6}.txt",
        "nineteen_bytes_12345.txt",
        "a'b$c;d.txt",
    ];
    for name in names {
        daemon.place.file(name, name);
        daemon.sendfile([daemon.to("alice").as_str(), name]).ok();
    }
    let items = daemon.items("alice");
    let arrived: Vec<_> = items
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(arrived, names);
    daemon
        .uft([
            "--user",
            "alice",
            "receive",
            "--all",
            "-o",
            daemon.place.inbound().to_str().unwrap(),
        ])
        .ok();
    for name in names {
        let bytes = fs::read(daemon.place.inbound().join(name)).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert_eq!(bytes, name.as_bytes());
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let daemon = Daemon::start();
    daemon.place.file("empty", "");
    daemon.sendfile([daemon.to("alice").as_str(), "empty"]).ok();
    assert_eq!(daemon.item("alice").envelope.local.bytes, 0);
    assert_eq!(received(&daemon, &[]), b"");
}

#[test]
fn date_and_permission_come_back_but_no_more_than_the_umask_allows() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let daemon = Daemon::start();
    let path = daemon.place.file("tool", "#!/bin/sh\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(then)
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    daemon.sendfile([daemon.to("alice").as_str(), "tool"]).ok();
    daemon
        .uft([
            "--user",
            "alice",
            "receive",
            "--all",
            "-o",
            daemon.place.inbound().to_str().unwrap(),
        ])
        .ok();
    let meta = fs::metadata(daemon.place.inbound().join("tool")).unwrap();
    assert_eq!(meta.mtime(), 1_000_000_000);
    assert_eq!(meta.mode() & 0o7000, 0, "never setuid");
    assert_eq!(meta.mode() & 0o022, 0, "the umask holds: {:o}", meta.mode());
    assert_eq!(meta.mode() & 0o100, 0o100, "executable for its owner");
}

#[test]
fn several_recipients_get_a_copy_each_and_the_first_failure_is_the_exit_code() {
    let daemon = Daemon::start();
    daemon.place.file("f", "for both");
    let both = format!("{},{}", daemon.to("alice"), daemon.to("bob"));
    daemon.sendfile([both.as_str(), "f"]).ok();
    assert_eq!((daemon.items("alice").len(), daemon.items("bob").len()), (1, 1));
    let with_stranger = format!("{},{}", daemon.to("nosuch"), daemon.to("bob"));
    let ran = daemon.sendfile(["--json", with_stranger.as_str(), "f"]).exits(67);
    let lines = ran.json();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    for key in [
        "to",
        "file",
        "status",
        "code",
        "text",
        "id",
        "bytes",
        "seconds",
        "digest",
        "resumed_at",
    ] {
        assert!(
            lines.iter().all(|line| line.get(key).is_some()),
            "{key} in {}",
            ran.out
        );
    }
    assert_eq!(
        daemon.items("bob").len(),
        2,
        "the good one was served all the same"
    );
}

#[test]
fn json_of_an_accepted_file_names_its_number_and_digest() {
    let daemon = Daemon::start();
    daemon.place.file("f", "digested");
    let ran = daemon
        .sendfile(["--json", "-t", "I", daemon.to("alice").as_str(), "f"])
        .ok();
    let [line] = ran.json().try_into().unwrap();
    assert_eq!(line["code"], 200);
    assert_eq!(line["bytes"], 8);
    assert_eq!(line["id"], serde_json::json!(daemon.item("alice").id));
    assert_eq!(
        line["digest"],
        format!("blake3:{}", blake3::hash(b"digested").to_hex())
    );
}

#[test]
fn the_conversation_can_be_watched_and_is_shown_safely() {
    let daemon = Daemon::start();
    daemon.place.file("f", "x");
    let ran = daemon.sendfile(["-v", daemon.to("alice").as_str(), "f"]).ok();
    for said in ["FILE 1", "USER alice", "EOF", "208"] {
        assert!(
            ran.err.contains(said) || ran.out.contains(said),
            "{said:?} in {} {}",
            ran.out,
            ran.err
        );
    }
    ran.assert_inert();
    let quiet = daemon.sendfile(["-q", daemon.to("alice").as_str(), "f"]).ok();
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
}

#[test]
fn a_file_that_is_read_while_it_grows_or_shrinks_is_what_was_read() {
    // Standard input has no size; the estimate in FILE is none, and the count of the bursts rules.
    let daemon = Daemon::start();
    let bytes = random_bytes(9, 2_500_000);
    daemon
        .sendfile(["-t", "I", "--name", "piped", daemon.to("alice").as_str(), "-"])
        .input(bytes.clone())
        .ok();
    let item = until("the item", || daemon.items("alice").pop());
    assert_eq!(daemon.bytes(&item, Form::Local), bytes);
}
