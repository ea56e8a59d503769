//! Tests of `command.rs`.

use super::*;

fn parse(line: &str) -> Request {
    Command::parse(line.as_bytes()).expect("a command").request
}

fn attribute(key: &str, value: &str) -> Request {
    Request::Attribute {
        key: Ok(key.into()),
        value: value.into(),
    }
}

#[test]
fn comments_and_blank_lines_are_no_commands() {
    for line in ["", "   ", "\t", "# x", "* x", "  #x", "\t*", "#"] {
        assert_eq!(Command::parse(line.as_bytes()), None, "{line:?}");
    }
}

#[test]
fn verbs_are_abbreviated_in_the_published_order() {
    for (short, full) in [
        ("E", "EOF"),
        ("EO", "EOF"),
        ("EX", "EXIT"),
        ("QUI", "QUIT"),
        ("H", "HELP"),
        ("NO", "NOOP"),
        ("NOP", "NOOP"),
        ("U bob", "USER bob"),
        ("US bob", "USER bob"),
        ("DAT 5", "DATA 5"),
        ("AUXD 5", "AUXDATA 5"),
        ("A", "ABORT"),
        ("AGEN k", "AGENT k"),
        ("CPQUERY TIME", "CPQ TIME"),
        ("CPQU TIME", "CPQ TIME"),
        ("M bob hi", "MSG bob hi"),
        ("T A", "TYPE A"),
        ("NA x", "NAME x"),
        ("TI x", "TITLE x"),
        ("TR x", "UCS x"),
        ("DA x", "DATE x"),
    ] {
        assert_eq!(parse(short), parse(full), "{short}");
        assert_eq!(
            parse(&short.to_lowercase()),
            parse(&full.to_lowercase()),
            "{short}"
        );
        assert_eq!(parse(&format!(" \t{short}")), parse(full), "{short}");
    }
}

#[test]
fn what_is_too_short_or_unknown_is_no_verb() {
    for line in [
        "F 1",
        "FIL 1",
        "N",
        "TAG x",
        "QU",
        "AUX 1",
        "AGE k",
        "CP TIME",
        "MET A B",
        "PIPE",
        "STARTTLS",
        "GET / HTTP/1.1",
        "EOFX",
        "\u{16}\u{3}\u{1}",
        "PROT U:RW",
        "D",
        "\u{0}EOF",
        "EOF\r",
    ] {
        assert_eq!(parse(line), Request::Unknown, "{line:?}");
    }
}

#[test]
fn file_takes_any_operands() {
    let size = |line: &str| match parse(line) {
        Request::File(file) => file.size,
        other => panic!("{other:?}"),
    };
    assert_eq!(size("FILE 36K tester -"), Some(36 << 10));
    assert_eq!(
        (size("FILE 10m"), size("FILE 2G x -")),
        (Some(10 << 20), Some(2 << 30))
    );
    assert_eq!(size("FILE 99999999999999 x - y z"), Some(99_999_999_999_999));
    for unknown in [
        "",
        "0",
        "*",
        "-",
        "-1",
        "+5",
        "K",
        "5KB",
        "0x10",
        "99999999999999999999",
        "18446744073709551615G",
        "ä",
        "1ä",
    ] {
        assert_eq!(size(&format!("FILE {unknown} x -")), None, "{unknown}");
    }
    assert_eq!(parse("FILE"), Request::File(FileLine::default()));
    assert_eq!(parse("FILE - - -"), Request::File(FileLine::default()));
}

#[test]
fn an_agent_key_is_never_shown() {
    let file = parse("FILE 5 root AGENT feedface extra");
    assert!(!format!("{file:?}").contains("feedface"));
    let Request::File(FileLine {
        auth: Auth::Agent(Some(key)),
        ..
    }) = file
    else {
        panic!("a key")
    };
    assert_eq!(key.expose(), "feedface");
    assert_eq!(parse("AGENT"), Request::Agent(None));
    assert!(!format!("{:?}", parse("AGENT feedface")).contains("feedface"));
}

#[test]
fn a_burst_count_is_plain_digits_or_it_is_refused() {
    let count = |text: &str| match parse(&format!("DATA {text}")) {
        Request::Burst(Fork::Data, count) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(count("3 junk"), Ok(3));
    assert_eq!(count("0000000000000000000000000007"), Ok(7));
    assert_eq!(count("9223372036854775807"), Ok(i64::MAX as u64));
    for zero in ["", "abc", "*", "K1", "\u{0}5"] {
        assert_eq!(count(zero), Ok(0), "{zero:?}");
    }
    for bad in [
        "-5",
        "+5",
        "1K",
        "0x10",
        "5\u{0}",
        "9223372036854775808",
        "99999999999999999999",
        "1e3",
        "1.0",
        "-",
        "5\r",
    ] {
        assert_eq!(count(bad), Err(BadCount(bad.into())), "{bad:?}");
    }
}

#[test]
fn types_fold_to_nine() {
    let spec = |text: &str| match parse(&format!("TYPE {text}")) {
        Request::Type(spec) => spec,
        other => panic!("{other:?}"),
    };
    let plain = |t| Some(TypeSpec::plain(t));
    let declared = |t, text: &str| {
        Some(TypeSpec {
            declared: Some(text.into()),
            ..TypeSpec::plain(t)
        })
    };
    for file_type in FileType::ALL {
        assert_eq!(spec(&file_type.letter().to_string()), plain(file_type));
        assert_eq!(
            spec(&file_type.letter().to_ascii_lowercase().to_string()),
            plain(file_type)
        );
    }
    assert_eq!(spec(""), None);
    assert_eq!(spec("IMAGE"), declared(FileType::I, "IMAGE"));
    assert_eq!(
        (spec("t"), spec("Z")),
        (declared(FileType::A, "t"), declared(FileType::I, "Z"))
    );
    assert_eq!(
        (spec("B"), spec("u")),
        (declared(FileType::I, "B"), declared(FileType::I, "u"))
    );
    assert_eq!(
        spec("a m"),
        Some(TypeSpec {
            carriage: Some(Carriage::Machine),
            ..TypeSpec::plain(FileType::A)
        })
    );
    assert_eq!(
        spec("F 80"),
        Some(TypeSpec {
            record_length: Some(80),
            ..TypeSpec::plain(FileType::F)
        })
    );
    let both = spec("F 80 C").unwrap();
    assert_eq!(
        (both.record_length, both.carriage, both.declared),
        (Some(80), Some(Carriage::Asa), None)
    );
    let ascii = spec("C").unwrap();
    assert_eq!(
        (ascii.carriage, ascii.declared),
        (Some(Carriage::Asa), Some("C".into()))
    );
    assert_eq!(spec("F 0"), declared(FileType::F, "F 0"));
    assert_eq!(spec("A 80"), declared(FileType::A, "A 80"));
    assert_eq!(spec(&"ä".repeat(1000)).unwrap().declared.unwrap().len(), 64);
}

#[test]
fn a_type_is_said_as_it_was_heard() {
    for text in ["A", "F 80", "F 80 C", "A M", "IMAGE", "Z 9 x"] {
        let Request::Type(Some(spec)) = parse(&format!("TYPE {text}")) else {
            panic!("a type")
        };
        assert_eq!(type_text(&spec), text);
    }
}

#[test]
fn a_name_is_the_rest_of_the_line() {
    assert_eq!(parse("NAME my file.txt"), attribute("NAME", "my file.txt"));
    assert_eq!(parse("NAME   a/b\\c "), attribute("NAME", "a/b\\c "));
    assert_eq!(parse("NAME"), attribute("NAME", ""));
    assert_eq!(parse("META NAME  two"), attribute("NAME", " two"));
    assert_eq!(parse("META  TWO  spaces"), attribute("TWO", " spaces"));
    assert_eq!(
        parse("META"),
        Request::Attribute {
            key: Err(attribute::BadKey::Empty),
            value: "".into()
        }
    );
    let latin1 = Command::parse(b"NAME gr\xfcn").unwrap();
    assert_eq!((latin1.request, latin1.latin1), (attribute("NAME", "grün"), true));
}

#[test]
fn a_message_needs_a_text() {
    assert_eq!(
        parse("MSG ALICE hello  world "),
        Request::Message {
            to: "alice".into(),
            text: "hello  world".into()
        }
    );
    for empty in ["MSG", "MSG root", "MSG alice  "] {
        assert_eq!(parse(empty), Request::EmptyMessage, "{empty}");
    }
    assert_eq!(
        (parse("MSG ON"), parse("M off")),
        (attribute("MSG", "ON"), attribute("MSG", "off"))
    );
}

#[test]
fn an_overlong_burst_command_is_recognised() {
    let long = |start: &str| {
        Command::may_be_burst(
            format!("{start}{}", "0".repeat(5000))
                .get(..64)
                .unwrap()
                .as_bytes(),
        )
    };
    for burst in [
        "DATA ",
        "  dat\t",
        "AUXDATA ",
        &format!("{}DA", " ".repeat(62)),
        &" ".repeat(64),
    ] {
        assert!(long(burst), "{burst:?}");
    }
    for other in [
        "NAME ",
        "META NAME ",
        "X ",
        "# ",
        "#",
        "EOF ",
        "DATA",
        "\u{0}",
        "",
    ] {
        assert!(!long(other), "{other:?}");
    }
}
