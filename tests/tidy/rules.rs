//! The rules for sources: each takes a file and gives `path:line: what is wrong`.
//!
//! The tables come first: to let a part name something more is a line there. What this file does *not* do: find the
//! files, or say why a rule is good for the product (docs/architecture.md does).

use std::fmt::Display;

use super::source::Source;

/// Longest file, in lines; tables may be longer.
const LINES_MAX: usize = 700;
const TABLES: [&str; 1] = ["src/canon/pages.rs"];

/// Parts that do no I/O and read no clock: bytes and values in, decisions out. Those that do not exist yet are named
/// all the same.
const PURE: [&str; 11] = [
    "src/proto/",
    "src/canon/",
    "src/ftp/",
    "src/queue/hop.rs",
    "src/queue/retry.rs",
    "src/queue/schedule.rs",
    "src/route/",
    "src/sift/",
    "src/config/",
    "src/display.rs",
    "src/units.rs",
];

/// What a pure part may not name.
const IMPURE: [&str; 18] = [
    "tokio",
    "rustix",
    "nix",
    "getrandom",
    "tracing",
    "std::fs",
    "std::os",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant",
    "SystemTime",
];

/// Addresses are values; no socket comes with them.
const ADDRESSES: [&str; 7] = [
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::net::SocketAddrV4",
    "std::net::SocketAddrV6",
    "std::net::AddrParseError",
];

/// A name, where alone it may be written, and why.
struct Only(&'static str, &'static [&'static str], &'static str);

const ONLY: [Only; 15] = [
    Only(
        "tokio",
        &[
            "src/bin/",
            "src/channel.rs",
            "src/cli/",
            "src/client.rs",
            "src/client/",
            "src/daemon.rs",
            "src/deliver/",
            "src/queue/errand.rs",
            "src/queue/mod.rs",
            "src/queue/watch.rs",
            "src/server/",
            "src/tls.rs",
        ],
        "only drivers wait",
    ),
    Only(
        "std::fs",
        &[
            "spool/src/",
            "src/bin/",
            "src/cli/",
            "src/daemon.rs",
            "src/local/client.rs",
            "src/peers.rs",
            "src/queue/watch.rs",
            "src/server/local.rs",
            "src/server/mod.rs",
            "src/server/notice.rs",
            "src/server/query.rs",
            "src/server/users.rs",
            "src/tls.rs",
        ],
        "a file on its way goes through the spool; the daemon's other files are opened in few places",
    ),
    Only(
        "rusqlite",
        &["spool/src/index.rs", "spool/src/index/", "spool/src/error.rs"],
        "the index can be replaced in one place",
    ),
    Only(
        "udt",
        &["src/channel.rs"],
        "the UDT library can be replaced in one file",
    ),
    Only(
        "lettre",
        &["src/deliver/mail.rs"],
        "the mail library can be replaced in one file",
    ),
    Only(
        "rustls",
        &["src/tls.rs"],
        "the TLS library can be replaced in one file",
    ),
    Only(
        "tokio_rustls",
        &["src/tls.rs"],
        "the TLS library can be replaced in one file",
    ),
    Only(
        "rustls_native_certs",
        &["src/tls.rs"],
        "the TLS library can be replaced in one file",
    ),
    Only(
        "anyhow",
        &["src/bin/"],
        "the library's errors are types; only a program may flatten them to text",
    ),
    Only(
        "clap",
        &["src/bin/", "src/cli/"],
        "command lines are the programs' affair",
    ),
    Only(
        "tracing_subscriber",
        &["src/bin/"],
        "where the log goes is the program's affair",
    ),
    Only(
        "sd_notify",
        &["src/daemon.rs"],
        "the daemon alone tells systemd how it is",
    ),
    Only(
        "encoding_rs",
        &["src/canon/"],
        "character sets are the conversions' affair",
    ),
    Only(
        "uft_spool::Spool",
        &[
            "src/daemon.rs",
            "src/deliver/",
            "src/post.rs",
            "src/queue/",
            "src/server/",
        ],
        "only the daemon opens the spool; programs ask it over the local socket",
    ),
    Only(
        "uft_spool::Staged",
        &["src/deliver/", "src/post.rs", "src/queue/", "src/server/"],
        "only the daemon writes to the spool; programs ask it over the local socket",
    ),
];

/// Modules of the library, and which of their siblings each may name. The programs in src/bin and lib.rs may name all.
const MODULES: [(&str, &[&str]); 19] = [
    ("canon", &[]),
    ("channel", &[]),
    (
        "cli",
        &[
            "canon", "client", "display", "local", "proto", "route", "sift", "tls", "units",
        ],
    ),
    ("client", &["cli", "display", "local", "proto", "tls", "units"]),
    ("config", &["proto", "units"]),
    ("daemon", &["config", "display", "queue", "server", "tls"]),
    (
        "deliver",
        &[
            "canon", "channel", "client", "config", "display", "ftp", "local", "peers", "proto", "route",
            "sift", "tls",
        ],
    ),
    ("display", &[]),
    ("ftp", &["sift"]),
    ("local", &[]),
    ("peers", &["config", "display", "proto", "route"]),
    ("proto", &[]),
    ("post", &["display", "route"]),
    (
        "queue",
        &[
            "client", "config", "deliver", "display", "peers", "post", "route", "sift", "tls",
        ],
    ),
    ("route", &["display"]),
    (
        "server",
        &[
            "canon", "config", "display", "ftp", "local", "peers", "post", "proto", "route", "sift", "tls",
            "units",
        ],
    ),
    ("sift", &["proto"]),
    ("tls", &["proto"]),
    ("units", &[]),
];

/// What changes the disk, and so has no place even in the file that looks at it.
const CHANGES: [&str; 8] = [
    "fsync",
    "link",
    "linkat",
    "mkdirat",
    "renameat",
    "renameat_with",
    "unlink",
    "unlinkat",
];

/// In the spool, steps on the disk that only disk.rs takes, so that a test can count, fail or cut off each of them.
const DISK_STEPS: [&str; 6] = [
    "std::fs",
    "rustix::fs",
    "File::create",
    "File::open",
    "File::options",
    "OpenOptions",
];
/// What is none of these: the lock, and the spool's own directory, which is made before there is a disk to speak of.
const NO_DISK_STEPS: [&str; 3] = [
    "rustix::fs::flock",
    "rustix::fs::FlockOperation",
    "std::fs::DirBuilder",
];
const DISK_CALLS: [&str; 4] = ["sync_all", "sync_data", "set_len", "set_permissions"];

fn fault(source: &Source, line: usize, rule: impl Display) -> String {
    format!("{}:{line}: {rule}", source.path)
}

/// Whether a path is `name` or something inside it.
fn within(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Lines of a view on which `.method(` is called.
fn calls(view: &str, method: &str) -> Vec<usize> {
    let call = format!(".{method}(");
    let joined: Vec<String> = view
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_whitespace()).collect())
        .collect();
    (1..=joined.len())
        .filter(|&n| joined[n - 1].contains(&call))
        .collect()
}

/// Names of [`ONLY`] stand where they may.
pub(crate) fn names_in_their_place(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for name in source.names(&source.product) {
        for Only(what, places, why) in &ONLY {
            if within(&name.path, what) && !source.is_in(places) {
                faults.push(fault(
                    source,
                    name.line,
                    format!("`{}` may be named only in {places:?}: {why}", name.path),
                ));
            }
        }
    }
    faults
}

/// Files of [`PURE`] name nothing of [`IMPURE`] and ask no clock.
pub(crate) fn purity(source: &Source) -> Vec<String> {
    if !source.is_in(&PURE) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for name in source.names(&source.product) {
        let address = ADDRESSES.iter().any(|value| within(&name.path, value));
        let impure = IMPURE.iter().any(|what| within(&name.path, what)) && !address;
        if impure || name.path.ends_with("::now") {
            faults.push(fault(
                source,
                name.line,
                format!("`{}` in a part that does no I/O and reads no clock", name.path),
            ));
        }
    }
    for line in calls(&source.product, "now") {
        faults.push(fault(
            source,
            line,
            "`.now()` in a part that reads no clock: `now` is a parameter",
        ));
    }
    faults
}

/// The spool has no sockets, and one file of it touches the disk.
pub(crate) fn spool_keeps_to_itself(source: &Source) -> Vec<String> {
    if !source.path.starts_with("spool/src/") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let disk = source.path == "spool/src/disk.rs";
    // It opens and lists; what would change something is found among the calls below.
    let looking = source.path == "spool/src/dir.rs";
    for name in source.names(&source.product) {
        let address = ADDRESSES.iter().any(|value| within(&name.path, value));
        let socket = ["tokio", "std::net", "std::os::unix::net", "rustix::net"]
            .iter()
            .any(|s| within(&name.path, s));
        if socket && !address {
            faults.push(fault(
                source,
                name.line,
                format!("`{}`: the spool knows no runtime and no socket", name.path),
            ));
        }
        // A handle is a value: what opens it is disk.rs.
        let exempt = name.path == "std::fs::File" || NO_DISK_STEPS.iter().any(|not| within(&name.path, not));
        let step = DISK_STEPS.iter().any(|step| within(&name.path, step)) && !exempt;
        let changes = CHANGES
            .iter()
            .any(|change| name.path == format!("rustix::fs::{change}"));
        if step && !disk && (!looking || changes) {
            faults.push(fault(
                source,
                name.line,
                format!("`{}`: only spool/src/disk.rs touches the file system", name.path),
            ));
        }
    }
    for call in DISK_CALLS {
        for line in calls(&source.product, call).into_iter().filter(|_| !disk) {
            faults.push(fault(
                source,
                line,
                format!("`.{call}()`: only spool/src/disk.rs touches the file system"),
            ));
        }
    }
    faults
}

/// Modules name the siblings that [`MODULES`] gives them.
pub(crate) fn modules_know_their_own(source: &Source) -> Vec<String> {
    let Some(module) = source
        .module()
        .filter(|m| source.path.starts_with("src/") && !["bin", "lib"].contains(m))
    else {
        return Vec::new();
    };
    let Some((_, may)) = MODULES.iter().find(|(name, _)| *name == module) else {
        return vec![fault(
            source,
            1,
            format!("module `{module}` is not in the table: say there what it may depend on"),
        )];
    };
    let mut faults = Vec::new();
    for name in source.names(&source.product) {
        let other = name
            .path
            .strip_prefix("crate::")
            .and_then(|rest| rest.split("::").next())
            .unwrap_or("");
        let known = MODULES.iter().any(|(name, _)| *name == other);
        if known && other != module && !may.contains(&other) {
            faults.push(fault(
                source,
                name.line,
                format!("`{module}` may not name `{other}`, only {may:?}"),
            ));
        }
    }
    faults
}

/// A file says what it is for.
pub(crate) fn opens_with_its_purpose(source: &Source) -> Vec<String> {
    let purpose = source.text.trim_start().starts_with("//! ");
    if purpose {
        Vec::new()
    } else {
        vec![fault(
            source,
            1,
            "a file begins with `//!`: what it is for, what it does not do",
        )]
    }
}

/// No file is longer than [`LINES_MAX`].
pub(crate) fn fits_in_a_head(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= LINES_MAX || source.is_in(&TABLES) {
        return Vec::new();
    }
    vec![fault(
        source,
        lines,
        format!("{lines} lines, at most {LINES_MAX}: split it, or name it among the tables"),
    )]
}

/// No `.unwrap()` outside tests.
pub(crate) fn nothing_unwraps(source: &Source) -> Vec<String> {
    let lines = calls(&source.product, "unwrap").into_iter();
    lines
        .map(|line| {
            fault(
                source,
                line,
                "`.unwrap()` outside tests: handle it, or `expect` with the invariant",
            )
        })
        .collect()
}

/// No test is switched off, passes whatever happens, or sleeps. `whole`: the file is nothing but test code.
pub(crate) fn tests_can_fail_and_do_not_wait(source: &Source, whole: bool) -> Vec<String> {
    let view = if whole {
        source.code.clone()
    } else {
        source.tests()
    };
    let mut faults = Vec::new();
    for (n, line) in view.lines().enumerate() {
        let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        let rule = if bare.contains("#[ignore") || (bare.contains("cfg_attr(") && bare.contains("ignore")) {
            "a test that is ignored counts as passed: run it or remove it"
        } else if bare.contains("should_panic") {
            "should_panic passes for any panic: assert what went wrong"
        } else if bare.starts_with("matches!(") && bare.ends_with(");") {
            "a bare `matches!` tests nothing: assert it"
        } else {
            continue;
        };
        faults.push(fault(source, n + 1, rule));
    }
    for name in source
        .names(&view)
        .iter()
        .filter(|name| name.path.ends_with("::sleep"))
    {
        faults.push(fault(
            source,
            name.line,
            "a test that sleeps is slow on one machine and wrong on the next: wait for the event",
        ));
    }
    faults
}

/// A rule that cannot fail is none.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let found = |faults: Vec<String>, line: usize, count: usize| {
            assert_eq!(faults.len(), count, "{faults:?}");
            assert!(
                faults[0].split(':').nth(1) == Some(&line.to_string()),
                "{faults:?}"
            );
        };
        let at = Source::new;
        found(
            names_in_their_place(&at("src/proto/x.rs", "//! x\nuse tokio::{io, net};")),
            2,
            2,
        );
        found(
            names_in_their_place(&at("src/config/", "use std::{\n    io,\n    fs::{self},\n};")),
            3,
            1,
        );
        found(
            names_in_their_place(&at("src/server/conn.rs", "fn a() { std::fs::read(p) }")),
            1,
            1,
        );
        found(
            names_in_their_place(&at("spool/src/stage.rs", "\nfn a(e: rusqlite::Error) {}")),
            2,
            1,
        );
        found(
            names_in_their_place(&at("src/daemon.rs", "use anyhow as sure;")),
            1,
            1,
        );
        found(
            names_in_their_place(&at("src/cli/ls.rs", "use uft_spool::{SpoolId, Spool};")),
            1,
            1,
        );
        assert!(names_in_their_place(&at("src/cli/ls.rs", "// tokio\nuse uft_spool::SpoolId;")).is_empty());
        assert!(
            names_in_their_place(&at("src/canon/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }"))
                .is_empty()
        );

        found(
            purity(&at("src/canon/x.rs", "use std::time::{Duration, Instant};")),
            1,
            1,
        );
        found(
            purity(&at("src/proto/x.rs", "\n\nlet t = jiff::Timestamp::now();")),
            3,
            1,
        );
        found(purity(&at("src/route/table.rs", "let t = clock.now();")), 1, 1);
        found(
            purity(&at("src/config/", "use std::net::{IpAddr, TcpStream};")),
            1,
            1,
        );
        assert!(
            purity(&at(
                "src/proto/x.rs",
                "fn a(now: i64, by: std::net::IpAddr) { later(now) }"
            ))
            .is_empty()
        );
        assert!(purity(&at("src/server/x.rs", "Instant::now()")).is_empty());

        found(
            spool_keeps_to_itself(&at("spool/src/lib.rs", "use std::os::unix::net::UnixStream;")),
            1,
            1,
        );
        found(
            spool_keeps_to_itself(&at("spool/src/lib.rs", "file\n    .sync_all()?;")),
            2,
            1,
        );
        found(
            spool_keeps_to_itself(&at(
                "spool/src/lib.rs",
                "std::fs::rename(a, b)?; rustix::fs::unlinkat(d, n, f)?;",
            )),
            1,
            2,
        );
        assert!(
            spool_keeps_to_itself(&at("spool/src/disk.rs", "std::fs::rename(a, b)?; f.sync_all()"))
                .is_empty()
        );
        assert!(
            spool_keeps_to_itself(&at(
                "spool/src/lib.rs",
                "use std::fs::File; use std::net::IpAddr;"
            ))
            .is_empty()
        );

        found(
            modules_know_their_own(&at("src/server/mod.rs", "use super::deliver::uft;")),
            1,
            1,
        );
        found(
            modules_know_their_own(&at("src/deliver/mod.rs", "\nuse crate::{client, server};")),
            2,
            1,
        );
        found(
            modules_know_their_own(&at("src/proto/a.rs", "fn a() -> crate::config::Config {}")),
            1,
            1,
        );
        found(modules_know_their_own(&at("src/novelty.rs", "")), 1, 1);
        assert!(
            modules_know_their_own(&at(
                "src/server/conn.rs",
                "use super::caps; use crate::proto::Ask;"
            ))
            .is_empty()
        );

        found(
            opens_with_its_purpose(&at("src/a.rs", "use a::b;\n//! late")),
            1,
            1,
        );
        found(
            fits_in_a_head(&at("src/a.rs", &"\n".repeat(LINES_MAX + 1))),
            LINES_MAX + 1,
            1,
        );
        assert!(fits_in_a_head(&at(TABLES[0], &"\n".repeat(LINES_MAX + 1))).is_empty());
        found(
            nothing_unwraps(&at(
                "src/a.rs",
                "a.b().unwrap();\n#[cfg(test)]\nmod t { c.unwrap(); }",
            )),
            1,
            1,
        );
    }

    #[test]
    fn the_rules_for_tests_find_what_they_forbid() {
        let faults =
            |text: &str| tests_can_fail_and_do_not_wait(&Source::new("tests/a.rs", text), true).len();
        assert_eq!(faults("#[test]\n#[ignore = \"slow\"]\nfn a() {}"), 1);
        assert_eq!(faults("#[cfg_attr(miri, ignore)]"), 1);
        assert_eq!(faults("#[should_panic]"), 1);
        assert_eq!(faults("    matches!(a, Some(_));"), 1);
        assert_eq!(faults("thread::sleep(d); tokio::time::sleep(d).await;"), 2);
        assert_eq!(
            faults("assert!(matches!(a, Some(_)));\n// #[ignore]\nlet a = \"should_panic\";"),
            0
        );
        let inside = Source::new(
            "src/a.rs",
            "fn a() { tokio::time::sleep(d) }\n#[cfg(test)]\nmod t { fn b() { thread::sleep(d) } }",
        );
        assert_eq!(tests_can_fail_and_do_not_wait(&inside, false).len(), 1);
    }
}
