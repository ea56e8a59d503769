//! The configuration file and the built-in defaults, as an administrator and a newcomer meet them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, Place, Program, Ran, binary, lines_of, until};

fn check(place: &Place, text: &str) -> Ran {
    let path = place.file("checked.toml", text);
    Program::new(binary("uftd"), &place.work())
        .arguments(["--check".as_ref(), "--config".as_ref(), path.as_os_str()])
        .run()
}

#[test]
fn a_good_configuration_is_printed_with_every_default() {
    let place = Place::new();
    let ran = check(&place, "node = \"BETA\"\n[limits]\nmax_file = \"1MiB\"\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let effective: toml::Table = ran.out.parse().unwrap();
    assert_eq!(effective["node"].as_str(), Some("BETA"));
    assert_eq!(effective["limits"]["max_file"].as_str(), Some("1MiB"));
    assert_eq!(effective["uft"]["max_sessions"].as_integer(), Some(1024));
    // What is printed is a configuration itself.
    let again = check(&place, &ran.out);
    assert_eq!((again.code, &again.out), (0, &ran.out), "{again:?}");
    assert!(!place.path("spool").exists(), "a check changes nothing");
}

#[test]
fn a_bad_configuration_is_2_and_names_key_value_and_line() {
    let place = Place::new();
    for (text, wanted) in [
        (
            "[uft]\n\nmax_sesions = 3\n",
            &["line 3", "uft.max_sesions", "max_sessions"][..],
        ),
        ("[limits]\nmax_file = \"lots\"\n", &["line 2", "max_file", "lots"]),
        ("node = \"much too long\"\n", &["line 1", "node", "much too long"]),
        ("[users]\nsource = \"ldap\"\n", &["line 2", "source", "ldap"]),
        (
            "[uft]\nlisten = [\"nowhere\"]\n",
            &["line 2", "listen", "nowhere"],
        ),
        ("[mail]\nrelay = \"smtp://x\"\n", &["mail", "not supported"]),
        ("spool = \"relative\"\n", &["line 1", "spool", "relative"]),
        ("[[[\n", &["line 1"]),
        ("[users]\nlist = [\"../x\"]\n", &["line 2"]),
    ] {
        let ran = check(&place, text);
        assert_eq!(ran.code, 2, "{text:?}: {ran:?}");
        for word in wanted {
            assert!(ran.err.contains(word), "{word:?} in {:?} for {text:?}", ran.err);
        }
    }
    let missing = Program::new(binary("uftd"), &place.work())
        .arguments(["--config", "/no/such/file"])
        .exits(2);
    assert!(missing.err.contains("/no/such/file"), "{missing:?}");
    Program::new(binary("uftd"), &place.work())
        .arguments(["--no-such-option"])
        .exits(2);
}

#[test]
fn without_a_configuration_it_runs_and_says_what_to_type_next() {
    if std::path::Path::new("/etc/uft/uftd.toml").exists() {
        panic!("this test needs a system without /etc/uft/uftd.toml");
    }
    for variable in ["HOME", "XDG_STATE_HOME"] {
        let place = Place::new();
        let state = if variable == "HOME" {
            place.path("home/.local/state/uft")
        } else {
            place.path("home/uft")
        };
        let mut child = Command::new(binary("uftd"))
            .args(["--listen", "127.0.0.1:0"])
            .env_clear()
            .env(variable, place.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let lines = lines_of(child.stdout.take().unwrap());
        let mut said: Vec<String> = Vec::new();
        let next_step = |said: &[String]| said.iter().any(|line| line.trim().ends_with("ls"));
        while !next_step(&said) {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(err) => {
                    let _ = child.kill();
                    panic!("{err}: {said:#?}");
                }
            }
        }
        let address = said[0]
            .strip_prefix("uftd: listening on uft ")
            .unwrap()
            .to_owned();
        let socket = state.join("uftd.sock");
        let advice = said
            .iter()
            .find(|line| line.contains("README.md"))
            .expect("a command to type")
            .clone();
        let uft =
            |program: &str| Program::new(binary(program), &place.work()).env(variable, place.path("home"));
        place.file("README.md", "try me\n");
        // The address in the advice is the right one, and both programs find the daemon by themselves.
        let to = advice
            .split_whitespace()
            .find(|word| word.contains('@'))
            .expect("user@address")
            .to_owned();
        let sent = uft("sendfile").arguments([to.as_str(), "README.md"]).run();
        let listed = uft("uft").arguments(["ls", "--json"]).run();
        kill_process(pid, Signal::TERM).unwrap();
        let status = until("the end", || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        assert!(to.ends_with(&address), "{to} {address}");
        assert_eq!(said[1], format!("uftd: listening on local {}", socket.display()));
        assert_eq!((sent.code, listed.code), (0, 0), "{sent:?} {listed:?}");
        assert_eq!(listed.json().len(), 1, "{listed:?}");
    }
}

#[test]
fn without_a_home_it_says_what_is_missing() {
    let place = Place::new();
    let ran = Program::new(binary("uftd"), &place.work()).exits(2);
    assert!(ran.err.contains("--spool"), "{ran:?}");
}

#[test]
fn the_demonstration_works_by_itself_and_quickly() {
    let place = Place::new();
    let began = Instant::now();
    let ran = Program::new(binary("uft"), &place.work())
        .env("HOME", place.path("home"))
        .env("TMPDIR", place.path("work"))
        .arguments(["demo"])
        .ok();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(ran.out.lines().count() >= 5, "it says what it did: {}", ran.out);
    ran.assert_inert();
    assert_eq!(
        place.names("work"),
        Vec::<String>::new(),
        "nothing is left behind"
    );
}

#[test]
fn every_program_explains_itself() {
    let place = Place::new();
    for name in ["uftd", "sendfile", "uft"] {
        let help = Program::new(binary(name), &place.work())
            .arguments(["--help"])
            .ok();
        assert!(
            help.out.contains("Examples") || help.out.contains("examples"),
            "{name}: {}",
            help.out
        );
        let version = Program::new(binary(name), &place.work())
            .arguments(["--version"])
            .ok();
        assert!(
            version.out.contains(env!("CARGO_PKG_VERSION")),
            "{name}: {}",
            version.out
        );
        help.assert_inert();
    }
}
