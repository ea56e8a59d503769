//! Tests of `tls.rs`: both ends in memory, with certificates made on the spot.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A certificate that signed itself, for this name, and its key, as files.
fn own(dir: &Path, name: &str) -> Own {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (certificate_file, key_file) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    Own::load(&certificate_file, &key_file).unwrap()
}

type Met = (
    Result<Link, (io::Error, DuplexStream)>,
    Result<(client_side::TlsStream<DuplexStream>, Link), TlsError>,
);

async fn meet(server: &Own, trust: &Trust, client: Option<&Own>) -> Met {
    let (near, far) = duplex(1 << 16);
    let answered = async {
        let (mut stream, link) = server.accept(far).await?;
        let mut said = [0; 5];
        // The handshake of the client may fail after ours is done.
        if stream.read_exact(&mut said).await.is_ok() {
            assert_eq!(&said, b"hello");
        }
        Ok(link)
    };
    let dialled = async {
        let (mut stream, link) = connect(near, "beta.example", trust, client).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        Ok((stream, link))
    };
    tokio::join!(answered, dialled)
}

#[tokio::test]
async fn both_ends_export_the_same_and_know_each_others_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = (own(dir.path(), "beta.example"), own(dir.path(), "alpha"));
    let trust = Trust::Known(vec![Fingerprint([0; 32]), server.fingerprint()]);
    let (there, here) = meet(&server, &trust, Some(&client)).await;
    let (there, here) = (there.unwrap(), here.unwrap().1);
    assert_eq!((there.exporter.len(), &there.exporter), (32, &here.exporter));
    assert_eq!(there.certificate, Some(client.fingerprint()));
    assert_eq!(here.certificate, Some(server.fingerprint()));
    let (again, _) = meet(&server, &trust, None).await;
    let again = again.unwrap();
    assert_eq!(again.certificate, None, "nobody has to show one");
    assert_ne!(again.exporter, here.exporter, "another session, another exporter");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_good_on_first_use_only_when_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let server = own(dir.path(), "another.example");
    let (_, first) = meet(&server, &Trust::FirstUse, None).await;
    assert!(first.unwrap().1.first_use);
    let (_, system) = meet(&server, &Trust::System, None).await;
    assert!(matches!(system, Err(TlsError::Certificate(_))));
    let (_, known) = meet(&server, &Trust::Known(vec![server.fingerprint()]), None).await;
    assert!(!known.unwrap().1.first_use);
    let (_, other) = meet(&server, &Trust::Known(vec![Fingerprint([1; 32])]), None).await;
    assert!(matches!(other, Err(TlsError::Changed(shown)) if shown == server.fingerprint()));
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_told_from_whoever_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = own(dir.path(), "beta.example");
    let (mut near, far) = duplex(1 << 16);
    near.write_all(b"FILE 1 x -\r\n").await.unwrap();
    assert!(
        server.accept(far).await.is_err(),
        "the connection comes back with the error"
    );
    let (near, mut far) = duplex(1 << 16);
    far.write_all(b"223 vm UFT/2 x 1 ; ready.\r\n").await.unwrap();
    let failed = connect(near, "beta.example", &Trust::FirstUse, None).await;
    assert!(matches!(failed, Err(TlsError::Handshake(_))), "{failed:?}");
}

#[tokio::test]
async fn a_name_that_no_certificate_can_have_is_an_error_only_where_names_count() {
    let dir = tempfile::tempdir().unwrap();
    let server = own(dir.path(), "beta.example");
    for (host, trust, good) in [
        ("a b", Trust::System, false),
        ("a b", Trust::Known(vec![server.fingerprint()]), true),
        ("fe80::1%eth0", Trust::FirstUse, true),
    ] {
        assert_eq!(server_name(host, &trust).is_ok(), good, "{host}");
    }
}

#[test]
fn what_cannot_be_loaded_names_the_file_and_shows_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _two) = (own(dir.path(), "one"), own(dir.path(), "two"));
    assert!(format!("{one:?}").contains("sha256:") && !format!("{one:?}").contains("key"));
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("empty"), "").unwrap();
    for (certificate, key, said) in [
        ("one.crt", "two.key", "two.key"),
        ("none", "one.key", "none"),
        ("empty", "one.key", "no certificate in it"),
        ("one.crt", "empty", "no private key in it"),
        ("one.crt", "one.crt", "no private key in it"),
    ] {
        let err = Own::load(&path(certificate), &path(key)).unwrap_err().to_string();
        assert!(err.contains(said), "{certificate} {key}: {err}");
    }
}

#[test]
fn only_a_certificate_that_names_itself_as_its_issuer_signed_itself() {
    let (authority, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let named = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name.to_owned());
        params
    };
    let issuer = rcgen::Issuer::new(named("authority"), authority);
    let signed = named("beta").signed_by(&own, &issuer).unwrap();
    let itself = named("beta").self_signed(&own).unwrap();
    assert!(signed_by_itself(itself.der()) && !signed_by_itself(signed.der()));
    // Whatever else stands there is no certificate that signed itself, and breaks nothing.
    let der = itself.der();
    for end in 0..der.len() {
        let _ = signed_by_itself(der.get(..end).unwrap());
    }
    for junk in [
        &b""[..],
        b"\x30",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x89",
    ] {
        assert!(!signed_by_itself(junk));
    }
}
