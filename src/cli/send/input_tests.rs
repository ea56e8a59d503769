//! What `input` sends of which file.

use super::*;

const AUTO: Coding = Coding {
    file_type: None,
    raw: false,
    page: None,
    policy: Policy::Refuse,
    netdata: None,
};

fn input(bytes: &[u8], coding: Coding) -> Input {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Input::open(file.path(), coding, false, false, 0).unwrap()
}

fn stream(bytes: &[u8], again: bool) -> Input {
    // A file that is read like a pipe: once, and its length is not asked for.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    Input::of_stream("-".into(), None, file, AUTO, again, 0).unwrap()
}

fn wire(input: &mut Input) -> Result<Vec<u8>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut body, reader) = input.body()?;
        let mut wire = Vec::new();
        while let Some(Ok(piece)) = body.recv().await {
            assert!(piece.len() <= 1 << 20);
            wire.extend_from_slice(&piece);
        }
        reader.await.unwrap().map(|_| wire)
    })
}

#[test]
fn auto_is_text_only_when_the_recipient_gets_the_same_bytes() {
    let late_nul = [vec![b'x'; 3 << 20], vec![0]].concat();
    let cut_character = "\u{20ac}".repeat(1 << 19);
    for (bytes, file_type) in [
        (&b"one\ntwo\n"[..], FileType::A),
        (b"no line end", FileType::A),
        (b"", FileType::A),
        ("gr\u{fc}\u{df}\n".as_bytes(), FileType::A),
        (cut_character.as_bytes(), FileType::A),
        (b"one\r\ntwo\r\n", FileType::I),
        (b"caf\xe9\n", FileType::I),
        (&late_nul, FileType::I),
    ] {
        assert_eq!(input(bytes, AUTO).file_type, file_type, "{} bytes", bytes.len());
    }
}

#[test]
fn a_stream_is_text_only_when_it_ended_soon() {
    let text = "line\n".repeat(200_000);
    assert_eq!(stream(text.as_bytes(), false).file_type, FileType::A);
    assert_eq!(stream(b"a\0b", false).file_type, FileType::I);
    assert_eq!(stream(text.repeat(2).as_bytes(), false).file_type, FileType::I);
}

#[test]
fn a_long_stream_is_read_once_or_kept_for_several_recipients() {
    let bytes = [7; (1 << 20) + 1000];
    let mut once = stream(&bytes, false);
    assert!(wire(&mut once).unwrap() == bytes);
    assert!(!once.again());
    assert_eq!(wire(&mut once).unwrap_err().exit, Exit::NoInput);
    let mut kept = stream(&bytes, true);
    for _ in 0..2 {
        assert!(wire(&mut kept).unwrap() == bytes);
    }
}

#[test]
fn a_file_becomes_the_wire_form_of_its_type_unless_it_is_that_already() {
    let lines = "a[\nb\n".repeat(300_000);
    let typed = |file_type, raw| Coding {
        file_type: Some(file_type),
        raw,
        ..AUTO
    };
    for (coding, want) in [
        (AUTO, lines.replace('\n', "\r\n").into_bytes()),
        (
            typed(FileType::M, false),
            lines.replace('\n', "\r\n").into_bytes(),
        ),
        (
            typed(FileType::E, false),
            [0x81, 0xad, 0x15, 0x82, 0x15].repeat(300_000),
        ),
        (typed(FileType::E, true), lines.clone().into_bytes()),
        (
            typed(FileType::V, false),
            [0, 2, b'a', b'[', 0, 1, b'b'].repeat(300_000),
        ),
    ] {
        assert!(
            wire(&mut input(lines.as_bytes(), coding)).unwrap() == want,
            "{coding:?}"
        );
    }
}

#[test]
fn a_character_that_the_page_does_not_have_is_named_with_its_place_and_a_way_out() {
    let coding = Coding {
        file_type: Some(FileType::E),
        ..AUTO
    };
    let failure = wire(&mut input("ok\n5 \u{20ac}\n".as_bytes(), coding)).unwrap_err();
    assert_eq!(failure.exit, Exit::DataError);
    assert!(failure.text.contains("line 2, column 3"), "{failure}");
    assert!(failure.to_string().contains("--translit"), "{failure}");
}

#[test]
fn a_directory_is_sent_as_an_archive_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let failure = Input::open(dir.path(), AUTO, false, false, 0).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    let mut archive = Input::open(dir.path(), AUTO, true, false, 0).unwrap();
    assert!(archive.name.as_ref().unwrap().ends_with(".tar"));
    let bytes = wire(&mut archive).unwrap();
    assert_eq!(tar::Archive::new(bytes.as_slice()).entries().unwrap().count(), 1);
}

#[test]
fn a_reader_that_breaks_off_does_not_look_like_the_end_of_the_file() {
    let (sender, mut body) = mpsc::channel(2);
    let reader = std::thread::spawn(move || {
        let mut out = Pieces { sender };
        out.give(Bytes::from_static(b"half"));
        panic!("a fault in a conversion");
    });
    assert!(reader.join().is_err());
    assert_eq!(body.blocking_recv().unwrap().unwrap(), "half");
    assert!(body.blocking_recv().unwrap().is_err());
    assert!(body.blocking_recv().is_none());
}
