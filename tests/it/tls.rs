//! Sessions in TLS: certificates that are good, that are known, and that are neither; and no way back to clear text.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use uft::client::{ClientError, Connection, Endpoint, Options, Parcel, Security, TlsMode};
use uft::proto::proof::{Credentials, Fingerprint, Secret};
use uft::tls::Own;
use uft_spool::{FileType, Proof, TypeSpec};

use crate::harness::{Daemon, Network, PATIENCE, Place, Program, Wire, needs_root, random_bytes, until};

/// Certificates as files in a directory of the test.
struct Shelf {
    place: Place,
    issuer: Issuer<'static, KeyPair>,
}

impl Shelf {
    /// With an authority, whose certificate is `authority.crt`.
    fn new() -> Shelf {
        let place = Place::new();
        let key = KeyPair::generate().unwrap();
        let mut params = named("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(place.path("authority.crt"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Shelf { place, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// `NAME.crt` and `NAME.key`, signed by itself; its fingerprint.
    fn own(&self, name: &str) -> Fingerprint {
        let key = KeyPair::generate().unwrap();
        let certificate = named(name).self_signed(&key).unwrap();
        self.write(name, &certificate, &key)
    }

    /// The same, signed by the authority, for a host, until a year.
    fn signed(&self, name: &str, host: &str, until: i32) -> Fingerprint {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name = named(name).distinguished_name;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate, &key)
    }

    fn write(&self, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) -> Fingerprint {
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        Fingerprint::of(certificate.der())
    }

    /// The settings of a daemon with this certificate.
    fn settings(&self, name: &str) -> String {
        let (certificate, key) = (
            self.path(&format!("{name}.crt")),
            self.path(&format!("{name}.key")),
        );
        format!("[uft]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n")
    }

    fn daemon(&self, name: &str) -> Daemon {
        Daemon::with(&format!(
            "{}tls_listen = [\"127.0.0.1:0\"]\n",
            self.settings(name)
        ))
    }

    fn own_of(&self, name: &str) -> Arc<Own> {
        let own = Own::load(
            &self.path(&format!("{name}.crt")),
            &self.path(&format!("{name}.key")),
        );
        Arc::new(own.unwrap())
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, name.to_owned());
    params
}

/// Where the daemon answers in TLS.
fn tls_address(daemon: &Daemon) -> SocketAddr {
    let line = daemon
        .said()
        .iter()
        .find_map(|line| line.strip_prefix("uftd: listening on uft-tls "));
    line.expect("a ready line").parse().unwrap()
}

fn known_hosts(daemon: &Daemon) -> PathBuf {
    daemon.place.path("home/.config/uft/known_hosts")
}

/// `sendfile` of one small file to alice at `at`; `authority`: one that the system is to know.
fn send(daemon: &Daemon, at: &str, options: &[&str], authority: Option<&Shelf>) -> Program {
    daemon.place.file("f.txt", "text\n");
    let to = format!("alice@{at}");
    let mut arguments = vec!["--retries", "0", "--timeout", "10s"];
    arguments.extend(options);
    arguments.extend([to.as_str(), "f.txt"]);
    let none = daemon.place.path("no-authorities");
    let file = authority.map_or(none, |shelf| shelf.path("authority.crt"));
    daemon.sendfile(arguments).env("SSL_CERT_FILE", file)
}

#[test]
fn a_certificate_that_signed_itself_is_remembered_and_then_required() {
    let shelf = Shelf::new();
    let print = shelf.own("beta");
    let mut daemon = shelf.daemon("beta");
    let at = tls_address(&daemon).to_string();
    let first = send(&daemon, &at, &["--tls", "require"], None).ok();
    assert!(first.err.contains("it is remembered in"), "{}", first.err);
    let file = known_hosts(&daemon);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{at} {print}\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // It is known now: TLS without a word, and without being told to.
    for options in [&["--tls", "require"][..], &[]] {
        let again = send(&daemon, &at, options, None).ok();
        assert!(!again.err.contains("remembered"), "{}", again.err);
    }
    assert_eq!(daemon.items("alice").len(), 3);
    assert_eq!(
        daemon.items("alice")[0].envelope.facts.origin.proof,
        Proof::Address
    );
    // Another certificate.
    let other = shelf.own("beta");
    daemon.reload();
    for options in [&["--tls", "require"][..], &[]] {
        let refused = send(&daemon, &at, options, None).exits(77);
        assert!(
            refused
                .err
                .contains("its certificate is not the one that is known"),
            "{}",
            refused.err
        );
        assert!(
            refused.err.contains(&other.to_string()) && refused.err.contains("~/.config/uft/known_hosts")
        );
    }
    assert_eq!(daemon.items("alice").len(), 3);
    fs::remove_file(&file).unwrap();
    send(&daemon, &at, &["--tls", "require"], None).ok();
    daemon.stop();
    let gone = send(&daemon, &at, &[], None).exits(69);
    assert!(gone.err.contains("cannot connect"), "{}", gone.err);
}

#[test]
fn the_systems_authorities_vouch_for_a_host_by_its_name_and_for_a_time() {
    let shelf = Shelf::new();
    shelf.signed("good", "127.0.0.1", 2099);
    shelf.signed("elsewhere", "beta.example", 2099);
    shelf.signed("old", "127.0.0.1", 2021);
    let daemon = shelf.daemon("good");
    let at = tls_address(&daemon).to_string();
    let sent = send(&daemon, &at, &["--tls", "require"], Some(&shelf)).ok();
    assert!(!sent.err.contains("remembered"), "{}", sent.err);
    assert!(!known_hosts(&daemon).exists());
    let refused = send(&daemon, &at, &["--tls", "require"], None).exits(77);
    assert!(
        refused
            .err
            .contains("not signed by an authority that this system knows"),
        "{}",
        refused.err
    );
    assert_eq!(daemon.items("alice").len(), 1);
    for (name, said) in [
        ("elsewhere", "its certificate is for another host"),
        ("old", "its certificate has expired"),
    ] {
        let daemon = shelf.daemon(name);
        let at = tls_address(&daemon).to_string();
        let refused = send(&daemon, &at, &["--tls", "require"], Some(&shelf)).exits(77);
        assert!(refused.err.contains(said), "{name}: {}", refused.err);
        assert_eq!(daemon.items("alice"), []);
    }
}

/// A daemon on the protocol's own ports of a loopback address; nobody else may be there.
fn on_own_ports(shelf: &Shelf, host: &str, name: &str, clear: bool, tls: bool) -> Daemon {
    needs_root("it listens on ports below 1024");
    let address = |on: bool, port: u16| {
        if on {
            format!("\"{host}:{port}\"")
        } else {
            String::new()
        }
    };
    let clear = if clear {
        address(true, 608)
    } else {
        "\"127.0.0.1:0\"".to_owned()
    };
    Daemon::with(&format!(
        "{}listen = [{clear}]\ntls_listen = [{}]\n",
        shelf.settings(name),
        address(tls, 5608)
    ))
}

#[test]
fn without_a_port_tls_comes_first_and_clear_text_only_where_nobody_listens() {
    let shelf = Shelf::new();
    shelf.own("beta");
    let host = "127.0.0.31";
    let mut daemon = on_own_ports(&shelf, host, "beta", true, false);
    let clear = send(&daemon, host, &[], None).ok();
    assert!(
        clear
            .err
            .contains("has no TLS (connection refused on port 5608): sent in clear on port 608"),
        "{}",
        clear.err
    );
    send(&daemon, host, &["--tls", "require"], None).exits(69);
    assert_eq!(daemon.items("alice").len(), 1);
    // Now it has TLS.
    daemon.configure(&format!("[uft]\ntls_listen = [\"{host}:5608\"]"));
    daemon.restart();
    let tls = send(&daemon, host, &[], None).ok();
    assert!(
        tls.err.contains("127.0.0.31:5608 signed its certificate itself"),
        "{}",
        tls.err
    );
    let off = send(&daemon, host, &["--tls", "off"], None).ok();
    assert_eq!(off.err, "");
    let query = daemon
        .uft(["query", host, "TIME"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .ok();
    assert!(query.err.is_empty() && !query.out.is_empty(), "{}", query.err);
    // And now somebody keeps us from it: a host that is known to have TLS is not spoken to in clear.
    daemon.configure("[uft]\ntls_listen = []");
    daemon.restart();
    let refused = send(&daemon, host, &[], None).exits(69);
    assert!(
        refused.err.contains("127.0.0.31:5608: cannot connect"),
        "{}",
        refused.err
    );
    assert_eq!(daemon.items("alice").len(), 3);
}

#[test]
fn a_bad_certificate_never_falls_back_to_clear_text() {
    let shelf = Shelf::new();
    let host = "127.0.0.32";
    shelf.signed("old", host, 2021);
    let daemon = on_own_ports(&shelf, host, "old", true, true);
    let refused = send(&daemon, host, &[], Some(&shelf)).exits(77);
    assert!(
        refused.err.contains("its certificate has expired"),
        "{}",
        refused.err
    );
    assert_eq!(daemon.items("alice"), []);
}

#[test]
fn a_certificate_is_read_again_and_one_that_cannot_be_used_changes_nothing() {
    let shelf = Shelf::new();
    let first = shelf.own("beta");
    let daemon = shelf.daemon("beta");
    let at = tls_address(&daemon);
    let fails_with = |known: Fingerprint| deliver(at, None, Some(known), None).is_err();
    assert!(!fails_with(first));
    fs::write(shelf.path("beta.crt"), "nonsense").unwrap();
    daemon.reload();
    assert!(daemon.log().contains("the old one stays"));
    assert!(!fails_with(first), "the old one is shown");
    let second = shelf.own("beta");
    daemon.reload();
    assert!(fails_with(first) && !fails_with(second), "the new one is shown");
    // At a start there is no old one.
    fs::write(shelf.path("beta.key"), "nonsense").unwrap();
    let mut daemon = daemon;
    daemon.stop();
    assert!(daemon.try_start().is_err());
    assert!(daemon.log().contains("no private key in it"), "{}", daemon.log());
}

#[test]
fn who_does_not_speak_tls_on_its_port_or_is_slow_about_it_is_let_go() {
    let shelf = Shelf::new();
    shelf.own("beta");
    let settings = shelf.settings("beta");
    let daemon = Daemon::with(&format!(
        "{settings}tls_listen = [\"127.0.0.1:0\"]\nidle_timeout = \"1s\"\n"
    ));
    let mut silent = Wire::silent(tls_address(&daemon));
    assert_eq!(silent.rest(), "");
    let mut plain = Wire::silent(tls_address(&daemon));
    plain.send("FILE 1 tester -\r\nUSER alice\r\n");
    assert!(!plain.rest().contains("200"));
    daemon.assert_untouched();
}

#[test]
fn tls_on_a_port_in_clear_is_told_so() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\nQUIT\n");
    assert_eq!(wire.reply().has(500).text, "no TLS on this port.");
    wire.ends();
    let at = daemon.address().to_string();
    let failed = send(&daemon, &at, &["--tls", "require"], None).exits(76);
    assert!(failed.err.contains("no TLS session"), "{}", failed.err);
    assert!(failed.err.contains("--tls off"), "{}", failed.err);
    daemon.assert_untouched();
}

#[test]
fn a_large_file_goes_through_tls_whole() {
    let shelf = Shelf::new();
    shelf.own("beta");
    let daemon = shelf.daemon("beta");
    let bytes = random_bytes(7, 5_000_000);
    daemon.place.file("large", &bytes);
    let to = format!("alice@{}", tls_address(&daemon));
    daemon.sendfile(["--tls", "require", "-i", &to, "large"]).ok();
    let item = daemon.item("alice");
    assert!(daemon.bytes(&item, uft::local::Form::Local) == bytes);
}

/// Delivers a file in TLS as a program does, with these means; what the connection comes to.
fn deliver(
    at: SocketAddr,
    own: Option<Arc<Own>>,
    known: Option<Fingerprint>,
    credentials: Option<Credentials>,
) -> Result<(), ClientError> {
    let endpoint = Endpoint::Tcp {
        host: at.ip().to_string(),
        port: Some(at.port()),
    };
    let options = Options {
        credentials,
        security: Security {
            mode: TlsMode::Require,
            known: known.into_iter().collect(),
            first_use: true,
            own,
        },
        ..Options::new(PATIENCE)
    };
    let parcel = Parcel {
        to: "alice".into(),
        from: "ann".into(),
        size: None,
        spec: TypeSpec::plain(FileType::I),
        name: None,
        attributes: Vec::new(),
        aux: None,
        xid: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut watch = |_| {};
        let mut connection = Connection::open(&endpoint, &options, &mut watch).await?;
        let (end, body) = tokio::sync::mpsc::channel(1);
        drop(end);
        connection.deliver(parcel, body, &mut watch).await?;
        connection.quit(&mut watch).await;
        Ok(())
    })
}

const SECRET: &[u8] = b"a secret of two gateways";

/// A daemon in TLS that knows BETA by its certificate and GAMMA by a secret.
fn with_peers(shelf: &Shelf, beta: Fingerprint) -> Daemon {
    shelf.own("alpha");
    let secret = shelf.path("gamma.secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    Daemon::with(&format!(
        "{}tls_listen = [\"127.0.0.1:0\"]\n[limits]\nstranger_items = 1\n\
         [[peer]]\nname = \"beta\"\nuft = \"h\"\nfingerprint = \"{beta}\"\n\
         [[peer]]\nname = \"gamma\"\nuft = \"h\"\nsecret_file = {secret:?}\n",
        shelf.settings("alpha")
    ))
}

#[test]
fn a_certificate_that_a_gateway_is_known_by_proves_that_it_is_that_gateway() {
    let shelf = Shelf::new();
    let print = shelf.own("beta");
    shelf.own("mallory");
    let daemon = with_peers(&shelf, print);
    let at = tls_address(&daemon);
    let proof = |own: Option<&str>| {
        deliver(at, own.map(|name| shelf.own_of(name)), None, None)?;
        let facts = daemon.items("alice").pop().unwrap().envelope.facts;
        Ok::<_, ClientError>((facts.origin.proof, facts.origin.node))
    };
    let beta = || Some("BETA".to_owned());
    for _ in 0..3 {
        assert_eq!(proof(Some("beta")).unwrap(), (Proof::Certificate, beta()));
    }
    assert_eq!(proof(Some("mallory")).unwrap(), (Proof::Address, None));
    assert!(proof(None).is_err(), "the stranger's quota is used up");
    assert_eq!(proof(Some("beta")).unwrap().0, Proof::Certificate);
}

#[test]
fn a_shared_secret_is_proven_in_tls_too_and_not_by_somebody_with_anothers_certificate() {
    let shelf = Shelf::new();
    let print = shelf.own("beta");
    let daemon = with_peers(&shelf, print);
    let at = tls_address(&daemon);
    let gamma = || {
        Some(Credentials {
            name: "gamma".into(),
            server: "alpha".into(),
            secret: Secret::of_file(SECRET).unwrap(),
        })
    };
    deliver(at, None, Some(shelf.own_of("alpha").fingerprint()), gamma()).unwrap();
    assert_eq!(daemon.item("alice").envelope.facts.origin.proof, Proof::Peer);
    let confused = deliver(at, Some(shelf.own_of("beta")), None, gamma()).unwrap_err();
    assert!(matches!(confused, ClientError::NotProven { .. }), "{confused}");
    let wrong = deliver(at, None, Some(print), gamma()).unwrap_err();
    assert!(matches!(wrong, ClientError::Tls { .. }), "{wrong}");
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn gateways_relay_in_tls_and_know_each_other_by_their_certificates() {
    let shelf = Shelf::new();
    let prints = ["alpha", "beta"].map(|name| shelf.own(name));
    let settings = format!("{}tls_listen = [\"127.0.0.1:0\"]\n", shelf.settings("alpha"));
    let mut network = Network::of(&["ALPHA", "BETA"], &settings);
    network.at_mut(1).configure(&shelf.settings("beta"));
    let addresses = [0, 1].map(|n| tls_address(network.at(n)));
    for (here, there) in [(0, 1), (1, 0)] {
        let name = ["alpha", "beta"][there];
        let (address, print) = (addresses[there], prints[there]);
        network.add(
            here,
            &format!("[[peer]]\nname = \"{name}\"\nuft = \"{address}\"\nfingerprint = \"{print}\"\n"),
        );
        network.route(here, &[(name.to_uppercase(), name.to_owned())]);
    }
    network.reload();
    let alpha = network.at(0);
    alpha.place.file("f", "text\n");
    alpha.sendfile(["bob@BETA", "f"]).ok();
    let item = until("the file at BETA", || network.at(1).items("bob").pop());
    let origin = &item.envelope.facts.origin;
    assert_eq!(origin.proof, Proof::Certificate);
    assert_eq!(origin.sender(), "root@ALPHA");
    // Somebody else at that place gets nothing, once the connection has been given up.
    network.at(1).quiet();
    shelf.own("beta");
    network.at(1).reload();
    alpha.sendfile(["bob@BETA", "f"]).ok();
    until("the refusal", || {
        let log = alpha.log();
        log.contains("its certificate is not the one that is known")
            .then_some(())
    });
    assert_eq!(network.at(1).items("bob").len(), 1);
}
