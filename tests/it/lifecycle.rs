//! Starting, stopping, reading the configuration again: what is under way is finished, what is idle goes.

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::Signal;

use crate::harness::{Daemon, Local, Setup, Wire, random_bytes, until};

#[test]
fn a_stop_lets_a_running_transfer_finish_and_sends_the_idle_home() {
    let mut daemon = Daemon::start();
    let bytes = random_bytes(1, 400_000);
    let mut idle = daemon.connect();
    let mut running = daemon.connect();
    running.begin("alice", "I", "in the middle", bytes.len());
    running.ask(&format!("DATA {}", bytes.len())).is(3);
    running.send(&bytes[..200_000]);
    let address = daemon.address();
    daemon.signal(Signal::TERM);
    idle.reply().has(521);
    idle.ends();
    until("no more connections", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    running.send(&bytes[200_000..]);
    running.reply().has(213);
    running.ask("EOF").has(200);
    let _ = running.rest();
    assert!(daemon.ended().success());
    assert!(!daemon.socket().exists(), "the socket is gone");
    daemon.start_again();
    assert_eq!(daemon.item("alice").envelope.wire.blake3, blake3::hash(&bytes));
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut daemon = Daemon::with("shutdown_grace = \"1s\"");
    let mut stuck = daemon.connect();
    stuck.begin("alice", "I", "stuck", 100);
    stuck.ask("DATA 100").is(3);
    daemon.stop();
    stuck.ends();
    daemon.start_again();
    daemon.assert_untouched();
}

#[test]
fn an_interrupt_is_a_stop_too_and_watchers_end_with_the_daemon() {
    let mut daemon = Daemon::start();
    let mut watching = daemon.uft(["--user", "alice", "watch"]).beside();
    let mut wire = daemon.connect();
    until("the watch", || {
        (wire.ask("MSG alice x").code == 200).then_some(())
    });
    daemon.signal(Signal::INT);
    assert!(daemon.ended().success());
    watching.ends();
}

#[test]
fn a_reload_changes_users_and_limits_under_running_sessions() {
    let mut daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.ask("FILE 1 t -").has(200);
    wire.ask("USER carol").has(532);
    let mut busy = daemon.connect();
    busy.begin("alice", "I", "over a reload", 10);
    busy.ask("DATA 10").is(3);
    busy.send(b"01234");
    daemon.configure(
        "[users]\nlist = [\"carol\", \"root\"]\naliases = { c = [\"carol\"] }\n[limits]\nmax_file = \"1KiB\"",
    );
    daemon.reload();
    wire.ask("USER c").has(208);
    wire.burst("DATA", b"x").has(213);
    wire.ask("EOF").has(200);
    wire.ask("FILE 1 t -").has(200);
    wire.ask("USER alice").has(532);
    wire.ask("FILE 5000 t -").has(531);
    busy.send(b"56789");
    busy.reply().has(213);
    busy.ask("EOF").has(200);
    assert_eq!(daemon.items("carol").len(), 1);
    assert_eq!(
        daemon.items("alice").len(),
        1,
        "the session kept what it had been promised"
    );
}

#[test]
fn a_broken_configuration_does_not_replace_a_good_one() {
    let mut daemon = Daemon::start();
    let mut wire = daemon.connect();
    daemon.configure("[limits]\nno_such_key = 1");
    daemon.reload();
    let log = daemon.log();
    assert!(
        log.contains("no_such_key") && log.contains("not read again"),
        "{log}"
    );
    wire.ask("FILE 1 t -").has(200);
    wire.ask("USER alice").has(208);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut daemon = Daemon::start();
    daemon.kill();
    assert!(daemon.socket().exists(), "left behind");
    daemon.start_again();
    assert_eq!(daemon.status().items, 0);
    daemon.stop();
    let owner = UnixListener::bind(daemon.socket()).unwrap();
    let ended = daemon.try_start().unwrap_err();
    assert_eq!(ended.code(), Some(1));
    assert!(
        daemon.log().contains("another uftd answers there"),
        "{}",
        daemon.log()
    );
    drop(owner);
    daemon.start_again();
}

#[test]
fn a_second_daemon_on_the_same_spool_is_refused_and_harms_nothing() {
    let first = Daemon::start();
    first.connect().deliver("alice", "I", "kept", b"x").has(200);
    let mut partial = first.connect();
    partial.begin("alice", "I", "partial", 200_000);
    partial.ask("DATA 200000").is(3);
    partial.send(random_bytes(1, 150_000));
    let mut second = Daemon::start();
    second.stop();
    second.configure(&format!("spool = {:?}", first.spool()));
    let ended = second.try_start().unwrap_err();
    assert_eq!(ended.code(), Some(1));
    let log = second.log();
    assert!(
        log.contains(first.spool().to_str().unwrap()),
        "which spool: {log}"
    );
    partial.send(random_bytes(1, 50_000));
    partial.reply().has(213);
    partial.ask("EOF").has(200);
    assert_eq!(first.items("alice").len(), 2);
}

#[test]
fn a_port_in_use_is_a_runtime_failure_that_names_it() {
    let first = Daemon::start();
    let mut second = Daemon::start();
    second.stop();
    second.configure(&format!("[uft]\nlisten = [\"{}\"]", first.address()));
    assert_eq!(second.try_start().unwrap_err().code(), Some(1));
    assert!(
        second.log().contains(&first.address().to_string()),
        "{}",
        second.log()
    );
}

#[test]
fn every_listener_has_a_ready_line_with_its_real_port() {
    let daemon = Daemon::with("[uft]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    let lines = daemon.said();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines[..2] {
        let address: std::net::SocketAddr = line
            .strip_prefix("uftd: listening on uft ")
            .unwrap()
            .parse()
            .unwrap();
        assert_ne!(address.port(), 0);
        Wire::open(address).ask("NOOP").has(200);
    }
    assert_eq!(
        lines[2],
        format!("uftd: listening on local {}", daemon.socket().display())
    );
}

#[test]
fn logs_can_be_json() {
    let daemon = Setup::new("").argument("--log-format").argument("json").start();
    daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    daemon.quiet();
    let log = daemon.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line.to_string().contains("delivered")),
        "{log}"
    );
}

#[test]
fn a_stop_lets_a_local_transfer_finish_too() {
    let mut daemon = Daemon::start();
    let mut local = Local::open(&daemon.socket(), "{\"op\":\"session\"}");
    local.line("{\"done\"");
    local.reply("2");
    let bytes = random_bytes(1, 200_000);
    local.send(b"FILE 200000 x -\r\nUSER alice\r\nDATA 200000\r\n");
    for code in ["200", "208", "313"] {
        local.reply(code);
    }
    local.send(&bytes[..100_000]);
    let address = daemon.address();
    daemon.signal(Signal::TERM);
    until("no more connections", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    until("the log's word", || {
        daemon.log().contains("stopping").then_some(())
    });
    assert!(local.silent(), "still served");
    local.send(&bytes[100_000..]);
    local.reply("213");
    local.send(b"EOF\r\n");
    local.reply("200");
    assert!(daemon.ended().success());
    daemon.start_again();
    assert_eq!(daemon.item("alice").envelope.wire.blake3, blake3::hash(&bytes));
}

#[test]
fn what_is_no_socket_is_not_replaced_by_one() {
    let mut daemon = Daemon::start();
    daemon.stop();
    std::fs::write(daemon.socket(), "precious").unwrap();
    assert_eq!(daemon.try_start().unwrap_err().code(), Some(1));
    assert_eq!(std::fs::read(daemon.socket()).unwrap(), b"precious");
    let log = daemon.log();
    assert!(
        log.contains(daemon.socket().to_str().unwrap()) && log.contains("not a socket"),
        "{log}"
    );
}

#[test]
fn the_socket_of_a_daemon_that_is_too_busy_to_answer_is_not_taken() {
    let mut daemon = Daemon::start();
    daemon.stop();
    // Nobody accepts here, and the queue is full: connecting says "try again".
    let address = SocketAddrUnix::new(daemon.socket()).unwrap();
    let busy = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&busy, &address).unwrap();
    listen(&busy, 0).unwrap();
    let _waiting = UnixStream::connect(daemon.socket()).unwrap();
    let inode = std::fs::metadata(daemon.socket()).unwrap().ino();
    assert_eq!(daemon.try_start().unwrap_err().code(), Some(1));
    assert_eq!(std::fs::metadata(daemon.socket()).unwrap().ino(), inode);
}
