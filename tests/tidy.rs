//! The rules of the house, as tests: who may name what, which parts are pure, and that what is written about the
//! program (example configuration, module map, licences) is true of it. Why each rule is there: docs/architecture.md.
//!
//! A failure names file, line and rule. A rule that is in the way is changed here, in the same commit and with its
//! reason. What this does *not* do: formatting and lints (rustfmt, clippy).

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code; clippy's leave for tests does not reach helper functions"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use source::Source;

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

// ---- the files they are applied to ----

fn root() -> &'static Path {
    Path::new(ROOT)
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn rust_files(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root().join(&dir)).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                // What the test runner puts beside the tests (environments, tools) begins with a dot.
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources(dirs: &[&str]) -> Vec<Source> {
    let paths = dirs.iter().flat_map(|dir| rust_files(dir));
    paths.map(|path| Source::new(&path, &read(&path))).collect()
}

/// The product's files; those that are only test modules apart.
fn product() -> (Vec<Source>, Vec<Source>) {
    let all = sources(&["src", "spool/src"]);
    for must in ["src/lib.rs", "spool/src/lib.rs"] {
        assert!(
            all.iter().any(|source| source.path == must),
            "{must} not found: the rules would hold of nothing"
        );
    }
    let tests: BTreeSet<String> = all
        .iter()
        .flat_map(|source| source.test_modules.clone())
        .collect();
    all.into_iter().partition(|source| !tests.contains(&source.path))
}

fn holds(rule: impl Fn(&Source) -> Vec<String>, sources: &[Source]) {
    let faults: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn heavy_and_impure_things_are_named_only_where_they_belong() {
    holds(rules::names_in_their_place, &product().0);
}

#[test]
fn pure_parts_do_no_io_and_read_no_clock() {
    holds(rules::purity, &product().0);
}

#[test]
fn the_spool_knows_no_sockets_and_only_its_disk_file_touches_the_disk() {
    holds(rules::spool_keeps_to_itself, &product().0);
}

#[test]
fn modules_depend_on_each_other_as_the_table_says() {
    holds(rules::modules_know_their_own, &product().0);
}

#[test]
fn every_file_says_what_it_is_for_and_is_short_enough_to_read() {
    let all = sources(&[
        "src",
        "spool/src",
        "spool/tests",
        "spool/examples",
        "tests",
        "benches",
    ]);
    holds(rules::opens_with_its_purpose, &all);
    holds(rules::fits_in_a_head, &all);
}

#[test]
fn nothing_unwraps_outside_tests() {
    holds(rules::nothing_unwraps, &product().0);
}

#[test]
fn tests_are_not_ignored_and_do_not_sleep() {
    let (product, test_modules) = product();
    holds(
        |source| rules::tests_can_fail_and_do_not_wait(source, false),
        &product,
    );
    holds(
        |source| rules::tests_can_fail_and_do_not_wait(source, true),
        &test_modules,
    );
    holds(
        |source| rules::tests_can_fail_and_do_not_wait(source, true),
        &sources(&["tests", "spool/tests"]),
    );
}

// ---- what the manifests say ----

fn manifest(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn lookup<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    let (first, rest) = path
        .split_once('/')
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    match rest {
        None => table.get(first),
        Some(rest) => lookup(table.get(first)?.as_table()?, rest),
    }
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    let workspace = manifest("Cargo.toml");
    let level = lookup(&workspace, "workspace/lints/rust/unsafe_code").and_then(toml::Value::as_str);
    assert_eq!(
        level,
        Some("forbid"),
        "Cargo.toml: [workspace.lints.rust] unsafe_code"
    );
    let members = lookup(&workspace, "workspace/members")
        .and_then(toml::Value::as_array)
        .unwrap();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let path = format!("{member}/Cargo.toml");
        let inherits = lookup(&manifest(&path), "lints/workspace").and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{path}: [lints] workspace = true");
    }
}

#[test]
fn the_spool_depends_on_nothing_of_ours_and_on_no_runtime() {
    let spool = manifest("spool/Cargo.toml");
    for section in ["dependencies", "dev-dependencies"] {
        let names: Vec<&String> = lookup(&spool, section)
            .and_then(toml::Value::as_table)
            .unwrap()
            .keys()
            .collect();
        for banned in ["uft", "tokio", "mio", "rustls"] {
            assert!(
                names.iter().all(|name| *name != banned),
                "spool/Cargo.toml: {banned} in [{section}]"
            );
        }
    }
    let root = manifest("Cargo.toml");
    for banned in ["rusqlite", "libsqlite3-sys"] {
        assert_eq!(
            lookup(&root, &format!("dependencies/{banned}")),
            None,
            "Cargo.toml: {banned} is the spool's"
        );
    }
}

/// Whether an SPDX expression can be met with the allowed licences alone. `/` is an old way to write OR.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, end) = either(&words, 0, allowed);
    met && end == words.len()
}

fn either(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    let (mut met, mut at) = both(words, at, allowed);
    while words.get(at) == Some(&"OR") {
        let (other, end) = both(words, at + 1, allowed);
        (met, at) = (met | other, end);
    }
    (met, at)
}

fn both(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    let (mut met, mut at) = licence(words, at, allowed);
    while words.get(at) == Some(&"AND") {
        let (other, end) = licence(words, at + 1, allowed);
        (met, at) = (met & other, end);
    }
    (met, at)
}

fn licence(words: &[&str], at: usize, allowed: &[String]) -> (bool, usize) {
    match words.get(at) {
        Some(&"(") => {
            let (met, end) = either(words, at + 1, allowed);
            (met && words.get(end) == Some(&")"), end + 1)
        }
        Some(name) if words.get(at + 1) == Some(&"WITH") => {
            let exception = words.get(at + 2).unwrap_or(&"");
            (allowed.contains(&format!("{name} WITH {exception}")), at + 3)
        }
        Some(name) => (allowed.iter().any(|licence| licence == name), at + 1),
        None => (false, at),
    }
}

#[test]
fn every_dependency_is_under_a_licence_of_the_list() {
    let deny = manifest("deny.toml");
    let list = lookup(&deny, "licenses/allow")
        .and_then(toml::Value::as_array)
        .unwrap();
    let allowed: Vec<String> = list
        .iter()
        .filter_map(toml::Value::as_str)
        .map(str::to_owned)
        .collect();
    assert!(
        !allowed.is_empty() && !allowed.iter().any(|name| name.contains("GPL")),
        "deny.toml: {allowed:?}"
    );

    // What is built here has been fetched for the build; other platforms' crates have not.
    let version = run(Command::new("rustc").arg("-vV"));
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        host,
    ]);
    let metadata: serde_json::Value = serde_json::from_slice(&run(&mut cargo).stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(
        packages.len() > 10,
        "cargo metadata lists {} packages",
        packages.len()
    );
    let bad: Vec<String> = packages
        .iter()
        .filter(|package| !permitted(package["license"].as_str().unwrap_or(""), &allowed))
        .map(|package| {
            format!(
                "{} {}: {}",
                package["name"], package["version"], package["license"]
            )
        })
        .collect();
    assert!(
        bad.is_empty(),
        "licences that deny.toml does not allow:\n{}",
        bad.join("\n")
    );
}

// ---- what is written about the program ----

/// Runs a command at the root of the repository; it must succeed.
fn run(command: &mut Command) -> Output {
    let output = command
        .current_dir(ROOT)
        .output()
        .unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What `uftd --check` makes of a configuration.
fn check(config: &Path) -> toml::Table {
    let output = run(Command::new(env!("CARGO_BIN_EXE_uftd"))
        .arg("--config")
        .arg(config)
        .arg("--check"));
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn check_text(text: &str) -> toml::Table {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("uftd.toml");
    fs::write(&file, text).unwrap();
    check(&file)
}

/// The settings of the example that are commented out, each under its section: `#key = value`. Sections that are
/// commented out themselves are [`offered_sections`].
fn offered(example: &str) -> Vec<(String, String)> {
    let mut section = Some(String::new());
    let mut found = Vec::new();
    for line in example.lines() {
        if line.starts_with("#[") {
            section = None;
        } else if line.starts_with('[') {
            section = Some(line.to_owned());
        } else if let (Some(setting), Some(section)) = (commented_out(line), &section) {
            found.push((section.clone(), setting.to_owned()));
        }
    }
    found
}

/// The sections that are commented out, as they are without the `#`: they belong together.
fn offered_sections(example: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in example.lines() {
        let header = line.strip_prefix('#').filter(|rest| rest.starts_with('['));
        inside = header.is_some() || (inside && !line.starts_with('['));
        if let Some(line) = header.or_else(|| commented_out(line)).filter(|_| inside) {
            text += &format!("{line}\n");
        }
    }
    text
}

fn commented_out(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

#[test]
fn the_example_configuration_is_right_and_has_every_key() {
    let effective = check(&root().join("contrib/uftd.toml"));
    let example = read("contrib/uftd.toml");
    let mut there: BTreeSet<(String, String)> = BTreeSet::new();
    for (section, setting) in offered(&example) {
        check_text(&format!("{section}\n{setting}\n"));
        let key = setting.split('=').next().unwrap_or("").trim().to_owned();
        there.insert((section.trim_matches(['[', ']']).to_owned(), key));
    }
    let sections = check_text(&offered_sections(&example));
    for section in ["peer", "route", "users/program"] {
        assert!(
            lookup(&sections, section).is_some(),
            "contrib/uftd.toml does not show {section}"
        );
    }
    let written: toml::Table = example.parse().unwrap();
    for (section, value) in &effective {
        let Some(keys) = value.as_table() else {
            let known = written.contains_key(section) || there.contains(&(String::new(), section.clone()));
            assert!(known, "contrib/uftd.toml does not show the key {section}");
            continue;
        };
        for key in keys.keys() {
            let known = lookup(&written, &format!("{section}/{key}")).is_some()
                || there.contains(&(section.clone(), key.clone()));
            assert!(known, "contrib/uftd.toml does not show the key {section}.{key}");
        }
    }
}

/// The blocks of a document that are marked ```` ```toml ````.
fn toml_blocks(document: &str) -> Vec<String> {
    let blocks = document.split("\n```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap_or("").to_owned() + "\n")
        .collect()
}

#[test]
fn configurations_in_the_documentation_are_right() {
    let mut count = 0;
    for document in ["README.md", "docs/operations.md"] {
        for block in toml_blocks(&read(document)) {
            count += 1;
            check_text(&block);
        }
    }
    assert!(
        count > 0,
        "no configuration is shown any more: then this test goes too"
    );
}

/// Targets of the links in a document that lead to files.
fn links(document: &str) -> Vec<String> {
    let targets = document
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next());
    targets
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    documents.extend(docs.map(|name| format!("docs/{}", name.to_string_lossy())));
    for document in documents {
        let dir = root().join(&document).parent().unwrap().to_owned();
        for link in links(&read(&document)) {
            assert!(
                dir.join(&link).exists(),
                "{document}: the link to {link} leads nowhere"
            );
        }
    }
}

#[test]
fn the_module_map_of_the_documentation_is_complete() {
    let map = read("docs/architecture.md");
    let modules: BTreeSet<String> = product()
        .0
        .iter()
        .filter_map(|source| source.module().map(str::to_owned))
        .collect();
    for module in modules.iter().filter(|module| *module != "lib") {
        assert!(
            map.contains(&format!("| `{module}` |")),
            "docs/architecture.md: no line for the module `{module}`"
        );
    }
}

#[test]
fn the_installer_installs_everything_and_leaves_a_configuration_alone() {
    let dir = tempfile::tempdir().unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_uftd")).parent().unwrap();
    let install = || {
        let mut command = Command::new("sh");
        command
            .arg("contrib/install.sh")
            .env("DESTDIR", dir.path())
            .env("PREFIX", "/opt/uft");
        command.env_remove("SYSCONFDIR").env("BINARIES", binaries);
        run(&mut command)
    };
    install();
    let config = dir.path().join("etc/uft/uftd.toml");
    assert_eq!(fs::read_to_string(&config).unwrap(), read("contrib/uftd.toml"));
    fs::write(&config, "node = \"MINE\"\n").unwrap();
    install();
    assert_eq!(fs::read_to_string(&config).unwrap(), "node = \"MINE\"\n");
    let prefix = dir.path().join("opt/uft");
    for program in ["uftd", "uft", "sendfile"] {
        assert!(
            prefix.join("bin").join(program).is_file(),
            "{program} is not installed"
        );
    }
    for name in ["rls", "rcv", "rrm", "rstat", "tell", "cpq", "sf"] {
        assert_eq!(
            fs::read_link(prefix.join("bin").join(name)).unwrap(),
            Path::new("uft"),
            "{name}"
        );
    }
    let unit = fs::read_to_string(prefix.join("lib/systemd/system/uftd.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/opt/uft/bin/uftd --config /etc/uft/uftd.toml"),
        "{unit}"
    );
}

// ---- the readers above, on samples ----

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = [
        "MIT".to_owned(),
        "Apache-2.0".to_owned(),
        "Apache-2.0 WITH LLVM-exception".to_owned(),
    ];
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR X) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(permitted(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(GPL-2.0 OR X) AND MIT",
        "MIT WITH Y",
        "MIT MIT",
        "( MIT",
    ] {
        assert!(!permitted(bad, &allowed), "{bad:?}");
    }
}

#[test]
fn what_is_looked_for_in_documents_is_found() {
    let example = "# prose\n#node = \"A\"\n[uft]\n#min_rate = \"1B\"\n";
    let found = [
        (String::new(), "node = \"A\"".to_owned()),
        ("[uft]".to_owned(), "min_rate = \"1B\"".to_owned()),
    ];
    assert_eq!(offered(example), found);
    assert_eq!(
        toml_blocks("a\n```toml\nb = 1\n```\nc\n```sh\nd\n```\n"),
        ["b = 1\n"]
    );
    assert_eq!(
        links("[a](b.md) [c](https://x.example/) [d](e.md#f) [g](#h)"),
        ["b.md", "e.md"]
    );
}
