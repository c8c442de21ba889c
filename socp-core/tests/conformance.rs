//! `docs/conformance.md` and SECURITY.md name a test and a module for what they claim. Both must exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows that the table of the standard has at least.
const CLAUSES: usize = 70;

/// What a row says that has nothing to show for it yet; the reason follows.
const NOT_YET: &str = "not yet";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows of the table under a heading, their cells trimmed.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.unwrap_or_else(|| panic!("no section {heading:?}")).lines();
    let rows = lines.filter(|line| line.starts_with('|')).skip(2);
    rows.map(cells).collect()
}

fn cells(row: &str) -> Vec<String> {
    let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
    row.into_iter().flat_map(|row| row.split('|')).map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The files that may be meant by `crate/file`, without `.rs`, in these folders of the crate.
fn sources(name: &str, folders: &[&str]) -> Vec<PathBuf> {
    let Some((package, file)) = name.split_once('/') else { return Vec::new() };
    let package = root().join(package);
    let places = folders.iter().flat_map(|place| {
        let path = package.join(place).join(file);
        [path.with_extension("rs"), path.join("mod.rs")]
    });
    places.filter(|path| path.is_file()).collect()
}

/// The names of the tests in a source: functions under a test attribute, and those that a macro makes of
/// `name: …;` lines.
fn tests_of(source: &str) -> Vec<&str> {
    let mut tests = Vec::new();
    let (mut is_test, mut in_macro) = (false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = line.split_once("fn ").map(|(_, rest)| rest).filter(|_| is_test) {
            tests.push(name.split(['(', '<']).next().unwrap_or_default());
            is_test = false;
        } else if line.ends_with("_tests! {") {
            in_macro = true;
        } else if let Some((name, _)) = line.split_once(':').filter(|_| in_macro) {
            tests.push(name);
        } else if line == "}" {
            in_macro = false;
        }
    }
    tests
}

/// Panics unless a cell names at least one test, each of them there: `crate/file::test`.
fn tests_exist(cell: &str, row: &[String]) {
    let mut named = 0;
    for name in quoted(cell) {
        let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("{name:?} names no test: {row:?}"));
        let has_test = |path: &PathBuf| {
            let source = std::fs::read_to_string(path).expect("a file");
            tests_of(&source).contains(&test)
        };
        assert!(sources(file, &["src", "tests"]).iter().any(has_test), "there is no test {name:?}: {row:?}");
        named += 1;
    }
    assert!(named > 0, "no test is named: {row:?}");
}

fn modules_exist(cell: &str, row: &[String]) {
    let mut named = 0;
    for name in quoted(cell) {
        assert!(!sources(name, &["src"]).is_empty(), "there is no module {name:?}: {row:?}");
        named += 1;
    }
    assert!(named > 0, "no module is named: {row:?}");
}

/// Rows of clause, what we do, module, test. One that is not done yet says so, and why.
fn holds(row: &[String]) {
    let [_, what, module, test] = row else { panic!("not four cells: {row:?}") };
    if what.starts_with(NOT_YET) {
        assert!(what.len() > NOT_YET.len() + 2, "why not: {row:?}");
        return;
    }
    modules_exist(module, row);
    tests_exist(test, row);
}

#[test]
fn every_clause_of_the_standard_names_a_module_and_a_test_that_exist() {
    let rows = rows(&document("docs/conformance.md"), "The standard");
    assert!(rows.len() >= CLAUSES, "{} rows", rows.len());
    rows.iter().for_each(|row| holds(row));
    let mut clauses = BTreeMap::new();
    for row in &rows {
        assert!(row[0].starts_with('§'), "which clause: {row:?}");
        assert_eq!(clauses.insert(&row[0], ()), None, "twice: {row:?}");
    }
}

#[test]
fn every_error_code_and_everything_beyond_the_standard_names_them_too() {
    let document = document("docs/conformance.md");
    let errors = rows(&document, "The six ERROR codes");
    for code in ["USER_NOT_FOUND", "INVALID_SIG", "BAD_KEY", "TIMEOUT", "UNKNOWN_TYPE", "NAME_IN_USE"] {
        assert!(errors.iter().any(|row| row[0].contains(code)), "{code}");
    }
    let beyond = rows(&document, "Beyond the standard");
    assert!(beyond.len() >= 10, "{} rows", beyond.len());
    errors.iter().chain(&beyond).for_each(|row| holds(row));
}

#[test]
fn every_known_weakness_names_the_test_that_attacks_it() {
    let rows = rows(&document("SECURITY.md"), "Known weaknesses");
    assert!(rows.len() >= 8, "{} rows", rows.len());
    for row in &rows {
        let [_, answer, test] = &row[..] else { panic!("not three cells: {row:?}") };
        if !answer.starts_with(NOT_YET) {
            tests_exist(test, row);
        }
    }
}

#[test]
fn a_test_is_a_function_under_an_attribute_or_made_by_a_macro() {
    let source = "fn helper() {}\n#[test]\nfn first() {}\n#[tokio::test]\n#[ignore]\nasync fn second() {}\n\
                  many_tests! {\n    third: \"third\";\n}\nfn fourth() {}\n";
    assert_eq!(tests_of(source), ["first", "second", "third"]);
}
