//! Tests of `wording.rs`.

use uft_spool::{Attribute, FileType};

use super::*;

const OURS: Manner = Manner { ours: true, level: 2 };
const FIELD: Manner = Manner {
    ours: false,
    level: 2,
};
const UFT1: Manner = Manner {
    ours: false,
    level: 1,
};

fn delivery() -> Delivery {
    Delivery {
        to: "alice".into(),
        size: Some(18),
        from: Some("root".into()),
        name: Some("text.txt".into()),
        spec: TypeSpec::plain(FileType::A),
        attributes: vec![
            Attribute {
                key: "XDATE".into(),
                value: "1".into(),
            },
            Attribute {
                key: "DATE".into(),
                value: "2026-11-20 23:56:30 GMT".into(),
            },
        ],
        aux: false,
    }
}

fn lines(words: &Words) -> Vec<&str> {
    words.lines.iter().map(|(_, line)| line.as_str()).collect()
}

#[test]
fn field_servers_hear_what_they_know() {
    assert_eq!(
        lines(&head(&delivery(), FIELD).unwrap()),
        [
            "FILE 18 root -",
            "USER alice",
            "TYPE A",
            "NAME text.txt",
            "DATE 2026-11-20 23:56:30 GMT",
            "META XDATE 1"
        ]
    );
}

#[test]
fn our_server_hears_every_name_as_it_is() {
    let name = " a 'b'; $(c)\\d/e".to_owned() + &"x".repeat(900);
    let words = head(
        &Delivery {
            name: Some(name.clone()),
            ..delivery()
        },
        OURS,
    )
    .unwrap();
    assert_eq!(
        (lines(&words)[3], words.notes.len()),
        (format!("META NAME {name}").as_str(), 0)
    );
}

#[test]
fn uft1_hears_no_meta() {
    let words = head(
        &Delivery {
            name: Some("a b".into()),
            aux: true,
            ..delivery()
        },
        UFT1,
    )
    .unwrap();
    let expected = [
        "FILE 18 root -",
        "USER alice",
        "TYPE A",
        "DATE 2026-11-20 23:56:30 GMT",
        "XDATE 1",
    ];
    assert_eq!(lines(&words), expected);
    assert_eq!(words.notes.len(), 2);
}

#[test]
fn bare_names_are_short_and_plain() {
    for (name, line) in [
        ("exactly-19-bytes-ab", "NAME exactly-19-bytes-ab"),
        ("one-more-than-19-bytes", "META NAME one-more-than-19-bytes"),
        ("a b", "META NAME a b"),
        ("grün", "META NAME grün"),
        ("/tmp/x", "NAME x"),
        ("a'b;c$d", "NAME abcd"),
    ] {
        assert_eq!(
            lines(
                &head(
                    &Delivery {
                        name: Some(name.into()),
                        ..delivery()
                    },
                    FIELD
                )
                .unwrap()
            )[3],
            line
        );
    }
}

#[test]
fn nothing_becomes_a_second_line_or_operand() {
    let evil = "x\r\nQUIT\n\u{85}\u{0}\u{1b}[2J\tz";
    for manner in [OURS, FIELD, UFT1] {
        let mut bad = delivery();
        bad.from = Some(format!("a b\n{evil}"));
        bad.name = Some(evil.into());
        bad.spec.declared = Some(evil.into());
        bad.attributes.push(Attribute {
            key: "TITLE".into(),
            value: evil.into(),
        });
        bad.attributes.push(Attribute {
            key: "TI\r\nQUIT".into(),
            value: "x".into(),
        });
        let words = head(&bad, manner).unwrap();
        assert!(
            words
                .lines
                .iter()
                .all(|(_, line)| !line.contains(char::is_control))
        );
        assert!(
            words.lines[0].1.split(' ').count() == 4 && words.notes.len() >= 5,
            "{:?}",
            words
        );
        for to in ["", "a b", "a\nb", "a\tb", &"x".repeat(64)] {
            assert!(
                head(
                    &Delivery {
                        to: to.into(),
                        ..delivery()
                    },
                    manner
                )
                .is_err(),
                "{to:?}"
            );
            assert!(message(to, "x", None, &[], manner).is_err());
        }
        let words = message("bob", evil, None, &[], manner).unwrap();
        assert!(
            words
                .lines
                .iter()
                .all(|(_, line)| !line.contains(char::is_control))
        );
        assert!(
            !query(evil, &[], manner).unwrap().lines[0]
                .1
                .contains(char::is_control)
        );
    }
}

#[test]
fn lines_are_as_short_as_the_server_needs_them() {
    let long = "ä".repeat(400);
    let mut bad = delivery();
    bad.name = Some(long.clone());
    bad.from = Some(long.clone());
    bad.spec.declared = Some(long.clone());
    bad.attributes.push(Attribute {
        key: "TITLE".into(),
        value: long.clone(),
    });
    let words = head(&bad, FIELD).unwrap();
    assert!(words.lines.iter().all(|(_, line)| line.len() <= 253), "{words:?}");
    assert!(
        words
            .lines
            .iter()
            .any(|(_, line)| line.len() > 250 && line.starts_with("META NAME ä"))
    );
    assert!(message("bob", &long, None, &[], FIELD).is_err());
    assert!(message("bob", &long, None, &[], OURS).is_ok());
    assert!(message("bob", "  ", None, &[], OURS).is_err());
}
