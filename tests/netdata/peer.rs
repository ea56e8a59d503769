//! The Python package `xmi-reader`, which reads and writes streams of TSO: it opens what we write, we open what it writes.
//!
//! `UFT_XMI_READER_PYTHON` names a Python that has the package; else `tests/.venv` is used if it has it, else an environment is
//! made for it under the build directory, with `python3 -m venv` and `pip`. What is missing is named, and the test fails.
//!
//! What it cannot read is at [`UNREADABLE`], and must still be so. Besides, it knows CMS's format of variable records (0002) for
//! no format: it gives back their octets, but no lines.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use uft::canon::netdata::{
    Contents, FileKind, FileSpec, Format, Limits, Name, Newline, OctetRecords, Party, Plan, Recfm, Stamp,
    Style, TextRecords, Writer, decode,
};
use uft::canon::{Page, Policy};

const PACKAGE: &str = "xmi-reader==1.0.5";
/// The page of both sides.
const PAGE: Page = Page::Ibm1047;

/// Streams of ours, and of the known answers, that it cannot read or reads wrongly, and how.
const UNREADABLE: [(&str, &str); 6] = [
    ("v04-empty.nd", "a file without records: KeyError"),
    ("v11-cms-note.nd", "a note and no file: KeyError"),
    ("v14-ack-received.nd", "a receipt: KeyError"),
    ("v15-ack-deleted.nd", "a receipt: KeyError"),
    (
        "v17-two-files.nd",
        "two files: the second becomes part of the first",
    ),
    ("v18-record-number.nd", "record numbers become data"),
];

fn has_package(python: &Path) -> bool {
    let check = Command::new(python).args(["-c", "import xmi"]).output();
    check.is_ok_and(|output| output.status.success())
}

fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        if let Some(python) = std::env::var_os("UFT_XMI_READER_PYTHON").map(PathBuf::from) {
            assert!(
                has_package(&python),
                "{}: no Python with the package {PACKAGE}",
                python.display()
            );
            return python;
        }
        let prepared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.venv/bin/python"));
        if has_package(prepared) {
            return prepared.into();
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("xmi-reader");
        let python = dir.join("bin/python");
        if !has_package(&python) {
            run(
                Command::new("python3").arg("-m").arg("venv").arg(&dir),
                "python3 and python3-venv",
            );
            let pip = [
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                PACKAGE,
            ];
            run(Command::new(&python).args(pip), "the package index of Python");
            let missing = "the library libmagic (Debian package libmagic1)";
            assert!(has_package(&python), "this test needs {missing}");
        }
        python
    })
}

fn run(command: &mut Command, needs: &str) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|err| panic!("this test needs {needs}: {command:?}: {err}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs {needs}: {command:?}: {errors}"
    );
    output.stdout
}

fn script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg("-I").arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/peers")
            .join(name),
    );
    command
}

/// What it makes of streams.
fn opened(paths: &[PathBuf]) -> Vec<Value> {
    let output = run(script("netdata_read.py").args(paths), "the package xmi-reader");
    let lines = output
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    let found: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(found.len(), paths.len());
    found
}

/// Streams that it writes, for the arguments of each.
fn written(dir: &Path, arguments: &[Value]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for (number, arguments) in arguments.iter().enumerate() {
        let mut arguments = arguments.clone();
        arguments["output_file"] = json!(dir.join(format!("{number}.xmi")));
        arguments["encoding"] = json!("cp1047");
        writeln!(lines, "{arguments}").unwrap();
    }
    let mut child = script("netdata_write.py")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = |number| fs::read(dir.join(format!("{number}.xmi"))).unwrap();
    (0..arguments.len()).map(file).collect()
}

fn from_hex(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn plan(style: Style) -> Plan {
    let (from, to) = (
        Party::new("ALICE", "NODEA").unwrap(),
        Party::new("BOB", "NODEB").unwrap(),
    );
    Plan::new(
        from,
        to,
        Stamp::of("2026-01-02T03:04:05Z".parse().unwrap()),
        style,
    )
}

fn name(style: Style) -> (Name, &'static str) {
    match style {
        Style::Cms => (Name::cms("NOTES", "TEXT").unwrap(), "A.NOTES.TEXT"),
        Style::Tso => (Name::dataset("ALICE.NOTES.TEXT").unwrap(), "ALICE.NOTES.TEXT"),
    }
}

/// What a file holds.
#[derive(Clone, Copy)]
enum Content<'a> {
    Text(&'a str),
    Octets(&'a [u8]),
}

fn write(style: Style, note: Option<&str>, format: Format, content: Content<'_>) -> Vec<u8> {
    let mut plan = plan(style);
    if note.is_some() {
        plan.files.push(FileSpec::new(None, Format::fixed_text(80)));
    }
    plan.files.push(FileSpec::new(Some(name(style).0), format));
    let mut wire = Vec::new();
    let mut writer = Writer::new(&plan).unwrap();
    let text = |text: &str, writer: &mut Writer, wire: &mut Vec<u8>| {
        writer.start(wire).unwrap();
        let mut records = TextRecords::new(PAGE, Policy::Refuse, 65_535);
        records.feed(text.as_bytes(), writer, wire).unwrap();
        records.finish(writer, wire).unwrap();
    };
    if let Some(note) = note {
        text(note, &mut writer, &mut wire);
    }
    match content {
        Content::Text(content) => text(content, &mut writer, &mut wire),
        Content::Octets(octets) => {
            writer.start(&mut wire).unwrap();
            let mut records = OctetRecords::new();
            records.feed(octets, &mut writer, &mut wire).unwrap();
            records.finish(&mut writer, &mut wire).unwrap();
        }
    }
    writer.finish(&mut wire).unwrap();
    wire
}

/// Lines of many lengths, none with blanks at its end, some empty.
fn text(lines: usize, longest: usize) -> String {
    let line = |n: usize| {
        let length = n * 37 % (longest + 1);
        let mut line: String = (0..length)
            .map(|at| char::from(b'!' + ((n + at) % 90) as u8))
            .collect();
        if length > 2 && n.is_multiple_of(3) {
            line.replace_range(0..1, " ");
        }
        line + "\n"
    };
    (0..lines).map(line).collect()
}

fn octets(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

#[test]
fn it_opens_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut wires = Vec::new();
    for style in [Style::Cms, Style::Tso] {
        for note in [None, Some("Dear Bob,\n\n  here it is.\n")] {
            for (lines, longest) in [(1, 5), (5, 80), (300, 80), (40, 253), (30, 254), (20, 3000)] {
                let text = text(lines.max(2), longest);
                wires.push((style, note, Format::variable(longest as u32), Ok(text.clone())));
                if longest == 80 {
                    wires.push((style, note, Format::fixed_text(80), Ok(text)));
                }
            }
            for length in [1, 80, 1000, 70_000] {
                for format in [
                    Format::fixed_octets(80),
                    Format::fixed_octets(6233),
                    Format::variable(32_760),
                ] {
                    wires.push((style, note, format, Err(octets(length))));
                }
            }
        }
    }
    let paths: Vec<PathBuf> = wires
        .iter()
        .enumerate()
        .map(|(number, (style, note, format, content))| {
            let content = match content {
                Ok(text) => Content::Text(text),
                Err(octets) => Content::Octets(octets),
            };
            let path = dir.path().join(format!("{number}.nd"));
            fs::write(&path, write(*style, *note, *format, content)).unwrap();
            path
        })
        .collect();
    for (((style, note, format, content), path), found) in wires.iter().zip(&paths).zip(opened(&paths)) {
        let what = format!("{style:?} {note:?} {format:?} {content:?}");
        let what = what.chars().take(200).collect::<String>();
        let file = &found["files"][name(*style).1];
        assert!(file.is_object(), "{what}: {found}");
        match content {
            Ok(_) if *style == Style::Cms && matches!(format, Format::Variable { .. }) => {
                let wire = fs::read(path).unwrap();
                assert_eq!(
                    from_hex(&file["hex"]),
                    ours(&wire).files.last().unwrap().octets(),
                    "{what}"
                );
            }
            Ok(text) => assert_eq!(file["text"].as_str(), Some(text.as_str()), "{what}"),
            Err(octets) => assert_eq!(&from_hex(&file["hex"]), octets, "{what}"),
        }
        assert_eq!(found["message"].as_str(), *note, "{what}");
    }
}

#[test]
fn it_opens_the_known_answers_but_for_the_listed_ones() {
    let unreadable = BTreeMap::from(UNREADABLE);
    let good: Vec<PathBuf> = super::entries()
        .iter()
        .filter(|entry| entry["error"].is_null())
        .map(|entry| super::vectors().join(entry["file"].as_str().unwrap()))
        .collect();
    for (path, found) in good.iter().zip(opened(&good)) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let contents = super::decoded(name);
        let file = contents.files.last();
        // XMIT370 sends no name; it takes the one of the file.
        let theirs = found["files"].as_object().and_then(|files| files.values().next());
        let same = match (file, theirs) {
            (Some(file), Some(theirs)) => {
                let lines = |text: &str| {
                    text.lines()
                        .map(|line| line.trim_end().to_owned())
                        .collect::<Vec<_>>()
                };
                let text = file.info.recfm == Recfm::CMS_VARIABLE
                    || lines(&file.text(PAGE, Newline::Lf)) == lines(theirs["text"].as_str().unwrap_or(""));
                from_hex(&theirs["hex"]) == file.octets() && (text || !file.is_text)
            }
            _ => false,
        };
        if file.is_some_and(|file| file.info.kind == FileKind::Library) {
            let members = &theirs.unwrap()["members"];
            for member in file.unwrap().members().unwrap() {
                let theirs = &members[member.member.name.as_deref().unwrap()];
                assert_eq!(from_hex(&theirs["hex"]), member.octets(), "{name}");
            }
        }
        match unreadable.get(name) {
            Some(why) => assert!(!same, "{name}: the listed limit is gone: {why}"),
            None => assert!(same, "{name}: {found}"),
        }
    }
}

fn ours(wire: &[u8]) -> Contents {
    decode(wire, Limits::default()).unwrap()
}

#[test]
fn we_open_what_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let input = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    };
    let long = text(300, 80);
    let one = input("one.txt", long.as_bytes());
    let wide = text(50, 250);
    let two = input("two.txt", wide.as_bytes());
    let raw = [octets(8000), vec![0xff]].concat();
    let bin = input("bin.dat", &raw);
    // Text: folders of fixed and variable members, one with more members than a directory block has.
    for number in 0..23 {
        input(&format!("lib/m{number}.txt"), text(number * 7, 70).as_bytes());
        input(
            &format!("load/m{number}.bin"),
            &[octets(number * 3001), vec![0xff]].concat(),
        );
    }
    input("lib/empty.txt", b"");

    let message = "Hello,\n\n  it is here.\n";
    let wires = written(
        dir.path(),
        &[
            json!({"input_path": one, "dsn": "ALICE.ONE"}),
            json!({"input_path": one, "recfm": "VB", "message": message}),
            json!({"input_path": two, "recfm": "FB", "lrecl": 250, "message": message}),
            json!({"input_path": two, "recfm": "VB", "lrecl": 250}),
            json!({"input_path": bin, "recfm": "U", "lrecl": 0}),
            json!({"input_path": bin, "recfm": "FB", "lrecl": 80}),
            json!({"input_path": dir.path().join("lib"), "recfm": "FB", "message": message}),
            json!({"input_path": dir.path().join("lib"), "recfm": "VB", "lrecl": 100}),
            json!({"input_path": dir.path().join("load"), "dsn": "ALICE.LOAD"}),
        ],
    );
    let contents: Vec<Contents> = wires.iter().map(|wire| ours(wire)).collect();
    for (at, text) in [(0, &long), (1, &long), (2, &wide), (3, &wide)] {
        let file = contents[at].files.last().unwrap();
        assert!(file.is_text && file.info.kind == FileKind::Sequential, "{at}");
        assert_eq!(&file.text(PAGE, Newline::Lf), text, "{at}");
    }
    assert_eq!(
        contents[0].files[0].info.name.as_ref().unwrap().to_string(),
        "ALICE.ONE"
    );
    for at in [1, 2, 6] {
        let note = &contents[at].files[0];
        assert_eq!(
            (&note.info.kind, contents[at].files.len()),
            (&FileKind::Note, 2),
            "{at}"
        );
        assert_eq!(note.text(PAGE, Newline::Lf), message, "{at}");
    }
    assert_eq!(contents[4].files[0].octets(), raw);
    // It fills the last fixed record with 00.
    let filled = contents[5].files[0].octets();
    assert!(filled.len() == 8080 && filled.starts_with(&raw) && !contents[5].files[0].is_text);

    for at in [6, 7] {
        let members = contents[at].files.last().unwrap().members().unwrap();
        assert_eq!(members.len(), 24, "{at}");
        for member in &members {
            let name = member.member.name.as_deref().unwrap();
            let path = dir.path().join(format!("lib/{}.txt", name.to_lowercase()));
            assert_eq!(
                member.text(PAGE, Newline::Lf),
                fs::read_to_string(path).unwrap(),
                "{at} {name}"
            );
            assert!(member.is_text, "{at} {name}");
            let statistics = member.member.statistics.as_ref().unwrap();
            assert_eq!(statistics.user, "PYTHON", "{at} {name}");
        }
    }
    let members = contents[8].files[0].members().unwrap();
    assert_eq!(members.len(), 23);
    for member in &members {
        let name = member.member.name.as_deref().unwrap().to_lowercase();
        let want = fs::read(dir.path().join(format!("load/{name}.bin"))).unwrap();
        assert!(member.octets() == want && !member.is_text, "{name}");
    }
}
