//! The configuration file, read and printed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Settings;
use super::fields::{Field, Section};
use super::value::Wrong;
use crate::error::one_line;
use crate::mistake::{Mistake, Place, Source};

/// Comments are no wider.
const WIDTH: usize = 100;

/// How alike two names must be for one to be a misspelling of the other.
const ALIKE: f64 = 0.8;

/// Where the values of a file stand, by `section.name`.
#[derive(Debug, Default)]
pub(super) struct Places {
    source: Option<Arc<Source>>,
    spans: BTreeMap<String, Range<usize>>,
}

impl Places {
    /// Where a value stands, if the file has it.
    pub(super) fn of(&self, name: &str) -> Option<Place> {
        Some(Place::new(self.source.as_ref()?, self.spans.get(name)?.clone()))
    }

    /// The same of an element of a list, counted from 0.
    pub(super) fn of_element(&self, name: &str, at: usize) -> Option<Place> {
        self.of(&element_name(name, at)).or_else(|| self.of(name))
    }

    /// The command line has the last word on it.
    pub(super) fn overrule(&mut self, name: &str) {
        let elements = format!("{name}[");
        self.spans.retain(|place, _| place != name && !place.starts_with(&elements));
    }
}

/// Takes what a file says over what the settings say, and tells all that is wrong with it.
pub(super) fn read(settings: &mut Settings, source: Arc<Source>) -> Result<Places, Vec<Mistake>> {
    let (mut spans, mut wrong) = (BTreeMap::new(), Vec::new());
    match DeTable::parse(&source.text) {
        Ok(table) => read_table(settings, table.get_ref(), &mut spans, &mut wrong),
        Err(error) => {
            let end = source.text.len();
            wrong.push(Wrong::new(error.span().unwrap_or(end..end), one_line(error.message())));
        }
    }
    if wrong.is_empty() {
        let folder = source.path.parent().unwrap_or(Path::new(""));
        settings.start_paths_at(folder);
        return Ok(Places { source: Some(source), spans });
    }
    wrong.sort_by_key(|wrong| wrong.span.start);
    let mistake = |Wrong { span, what, help }| {
        let mistake = Mistake::error(Some(Place::new(&source, span)), what);
        match help {
            Some(help) => mistake.help(help),
            None => mistake,
        }
    };
    Err(wrong.into_iter().map(mistake).collect())
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

fn read_table(
    settings: &mut Settings,
    table: &DeTable<'_>,
    spans: &mut BTreeMap<String, Range<usize>>,
    wrong: &mut Vec<Wrong>,
) {
    let mut sections = settings.sections();
    let names: Vec<(&str, Vec<&str>)> = sections
        .iter()
        .map(|section| (section.name, section.fields.iter().map(|field| field.name).collect()))
        .collect();
    let mut take = |section: &mut Section<'_>, key: &Key<'_>, value: &Spanned<DeValue<'_>>| {
        let Some(field) = section.fields.iter_mut().find(|field| field.name == key.get_ref()) else {
            return wrong.push(unknown(section.name, key, &names));
        };
        let name = full_name(section.name, field.name);
        if let DeValue::Array(elements) = value.get_ref() {
            let elements = elements.iter().enumerate();
            spans.extend(elements.map(|(at, element)| (element_name(&name, at), element.span())));
        }
        spans.insert(name, value.span());
        if let Err(error) = field.slot.read(value) {
            wrong.push(error);
        }
    };
    for (key, value) in table {
        let inner =
            sections.iter_mut().find(|section| !section.name.is_empty() && section.name == key.get_ref());
        match (inner, value.get_ref()) {
            (Some(section), DeValue::Table(inner)) => {
                for (key, value) in inner {
                    take(section, key, value);
                }
            }
            // A value in a section's place is no setting that anybody has.
            (Some(_), _) | (None, _) => {
                if let Some(top) = sections.first_mut() {
                    take(top, key, value);
                }
            }
        }
    }
}

fn element_name(name: &str, at: usize) -> String {
    format!("{name}[{at}]")
}

fn full_name(section: &str, name: &str) -> String {
    if section.is_empty() { name.into() } else { format!("{section}.{name}") }
}

fn unknown(section: &str, key: &Key<'_>, names: &[(&str, Vec<&str>)]) -> Wrong {
    let name = key.get_ref();
    let wrong = Wrong::new(key.span(), format!("unknown key {name:?}"));
    let sections = names.iter().map(|(section, _)| *section).filter(|section| !section.is_empty());
    if sections.clone().any(|section| section == name) {
        return Wrong { help: Some(format!("it is a section: [{name}], and its keys below")), ..wrong };
    }
    let place =
        |at: &str| if at.is_empty() { "before the first section".into() } else { format!("in [{at}]") };
    let all = names.iter().flat_map(|(at, names)| names.iter().map(|name| (*at, *name)));
    let elsewhere = all.clone().find(|(_, other)| other == name);
    if let Some((at, _)) = elsewhere {
        return Wrong { help: Some(format!("its place is {}", place(at))), ..wrong };
    }
    // A misspelt name of the same section before a better match of another one.
    let likeness =
        |at: &str, other: &str| strsim::jaro_winkler(other, name) + if at == section { 0.05 } else { 0.0 };
    let alike = all
        .map(|(at, other)| (likeness(at, other), at, other))
        .chain(sections.filter(|_| section.is_empty()).map(|other| (likeness("", other), "", other)))
        .max_by(|(a, ..), (b, ..)| a.total_cmp(b))
        .filter(|(likeness, ..)| *likeness >= ALIKE);
    let help = match alike {
        Some((_, at, other)) if at == section => format!("did you mean {other:?}?"),
        Some((_, at, other)) => format!("did you mean {other:?}, {}?", place(at)),
        None => "`socp-server config default` shows all keys".into(),
    };
    Wrong { help: Some(help), ..wrong }
}

/// The whole file, with every setting at its default.
pub(crate) fn default_file() -> String {
    let mut settings = Settings::default();
    let mut file = comment(
        "The configuration of socp-server: every setting, at its default. A key behind a # has no default, and the \
         value there is an example. Flags beat the file. Durations have units: \"500ms\", \"15s\", \"2min\", \"12h\". \
         Sizes: \"1 MiB\", \"512 KiB\", or a number of bytes.",
    );
    file.push_str("#\n# socp-server config check FILE    tells whether it is right\n");
    file.push_str("# socp-server run --config FILE     uses it\n");
    for Section { name, about, fields } in settings.sections() {
        if !name.is_empty() {
            file.push_str(&format!("\n{}[{name}]\n", comment(about)));
        }
        for Field { name, about, example, slot } in fields {
            let line = match slot.shown() {
                Some(value) => format!("{name} = {value}"),
                None => format!("#{name} = {example}"),
            };
            file.push_str(&format!("\n{}{line}\n", comment(about)));
        }
    }
    file
}

/// Text as lines of comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() <= WIDTH {
            lines.push(' ');
            width += 1 + word.len();
        } else {
            lines.push_str(if width > 0 { "\n# " } else { "# " });
            width = 2 + word.len();
        }
        lines.push_str(word);
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use socp_core::server::{Limits, Timing};
    use socp_transport::LinkLimits;

    use super::*;

    fn read_text(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let source = Arc::new(Source { path: "a.toml".into(), text: text.into() });
        match read(&mut settings, source) {
            Ok(_) => Ok(settings),
            Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn the_default_file_is_the_defaults() {
        let file = default_file();
        assert_eq!(read_text(&file), Ok(Settings::default()));
        assert!(file.lines().all(|line| line.len() <= WIDTH + 2), "{file}");
        // Examples can be used as they stand.
        let uncommented: String = file
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let settings = read_text(&uncommented).unwrap();
        assert!(settings.advertise.is_some() && settings.join_allowlist.is_some());
    }

    /// Reads names from `{:#?}`, which has all fields of a struct whatever anybody forgot.
    fn names_of(value: &impl std::fmt::Debug) -> Vec<String> {
        let text = format!("{value:#?}");
        let fields = text.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
        fields.filter_map(|line| Some(line.trim().split_once(": ")?.0.to_owned())).collect()
    }

    #[test]
    fn every_limit_can_be_set_and_is_printed() {
        let file = default_file();
        let section = |name: &str| {
            let start = file.find(&format!("\n[{name}]\n")).unwrap();
            let rest = &file[start + 2..];
            let end = rest.find("\n[").unwrap_or(rest.len());
            let lines = rest[..end].lines();
            lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect::<Vec<_>>()
        };
        let sorted = |mut names: Vec<String>| {
            names.sort_unstable();
            names
        };
        let limits = names_of(&Limits::default());
        assert!(limits.contains(&"seen_entries".to_owned()) && limits.len() > 20);
        assert_eq!(sorted(section("limits")), sorted(limits));
        assert_eq!(sorted(section("timing")), sorted(names_of(&Timing::default())));
        let mut links = names_of(&LinkLimits::default());
        links.retain(|name| name != "frame_in_bytes");
        links.extend(["max_links".to_owned(), "max_handshakes".to_owned()]);
        assert_eq!(sorted(section("links")), sorted(links));
    }

    #[test]
    fn every_setting_that_is_read_is_the_one_of_its_name() {
        // Each is set to a value that nothing else has; then its name stands beside it in the struct.
        let mut file = String::new();
        for Section { name, fields, .. } in Settings::default().sections() {
            if !["limits", "timing", "links"].contains(&name) {
                continue;
            }
            file.push_str(&format!("[{name}]\n"));
            for (at, field) in fields.iter().enumerate() {
                let shown = field.slot.shown().unwrap();
                let value = match () {
                    () if shown.ends_with("s\"") || shown.ends_with("n\"") || shown.ends_with("h\"") => {
                        format!("'{}s'", 5000 + at)
                    }
                    () => format!("{}", 50_000 + at),
                };
                file.push_str(&format!("{} = {value}\n", field.name));
            }
        }
        let Settings { limits, timing, links, max_links, max_handshakes, .. } = read_text(&file).unwrap();
        let debug = format!(
            "{limits:#?}{timing:#?}{links:#?}max_links: {max_links},\nmax_handshakes: {max_handshakes},"
        );
        let mut checked = 0;
        for line in file.lines() {
            let Some((name, value)) = line.split_once(" = ") else { continue };
            let value = value.trim_matches('\'');
            assert!(debug.contains(&format!("{name}: {value},")), "{line}\n{debug}");
            checked += 1;
        }
        assert!(checked > 45);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_what_to_do() {
        for (text, expected) in [
            (
                "\nlisten_on = 'a:1'",
                "a.toml: line 2, column 1: unknown key \"listen_on\"; did you mean \"listen\"?",
            ),
            (
                "heartbeat = '1s'",
                "a.toml: line 1, column 1: unknown key \"heartbeat\"; its place is in [timing]",
            ),
            (
                "[limits]\nheartbeet = '1s'",
                "a.toml: line 2, column 1: unknown key \"heartbeet\"; did you mean \"heartbeat\", in [timing]?",
            ),
            (
                "[limit]\nservers = 3",
                "a.toml: line 1, column 2: unknown key \"limit\"; did you mean \"limits\"?",
            ),
            (
                "tls = true",
                "a.toml: line 1, column 1: unknown key \"tls\"; it is a section: [tls], and its keys below",
            ),
            (
                "zzz = 1",
                "a.toml: line 1, column 1: unknown key \"zzz\"; `socp-server config default` shows all keys",
            ),
            ("strict_ids = 1", "a.toml: line 1, column 14: expected true or false, found 1"),
            ("dial = 'some'", "a.toml: line 1, column 8: expected \"reachable\", \"all\" or \"none\""),
            (
                "[timing]\nsilence = 45",
                "a.toml: line 2, column 11: expected a duration such as \"500ms\", \"15s\", \"2min\" or \"12h\", \
                 found 45; for seconds write \"45s\"",
            ),
            (
                "introducers = [\n  'a:1#AAAA',\n]",
                "a.toml: line 2, column 3: the part behind '#': not an RSA public key in DER SubjectPublicKeyInfo form",
            ),
        ] {
            assert_eq!(read_text(text).unwrap_err(), expected);
        }
        for text in ["listen = ", "listen = 'a'", "a = 1\na = 2", "[limits\n"] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with("a.toml: line ") && !error.contains('\n'), "{error}");
        }
        // All at once, in the file's order.
        let all = read_text("strict_ids = 1\nallow_plain = 2\n[limits]\nservers = 0").unwrap_err();
        let lines: Vec<_> = all.lines().map(|line| &line[..14]).collect();
        assert_eq!(lines, ["a.toml: line 1", "a.toml: line 2", "a.toml: line 4"]);
    }
}
