//! What the user types.

use std::path::PathBuf;

use socp_core::client::{MetaChange, TransferId};
use socp_core::wire::MetaField;

/// All commands, with what follows them and what they do.
pub(crate) const COMMANDS: [(&str, &str, &str); 16] = [
    ("/tell", "USER TEXT", "a message to one user: a name or an id; names with spaces in \"quotes\""),
    ("/all", "TEXT", "a message to everybody online"),
    ("/list", "", "who is online"),
    ("/whois", "USER", "somebody's id, server and key: the fingerprint is for comparing it in person"),
    (
        "/verify",
        "USER",
        "you have compared the fingerprint in person; a change of the key takes the mark away",
    ),
    ("/unverify", "USER", "take the mark away"),
    (
        "/me",
        "[FIELD TEXT]",
        "what others see of you: name, pronouns, age, avatar, extras; without a text it goes",
    ),
    ("/file", "USER PATH", "a file to one user, or to \"public\": everybody online who accepts it"),
    ("/accept", "[N]", "take an offered file; N tells it from others"),
    ("/reject", "[N]", "refuse an offered file"),
    ("/cancel", "[N]", "stop a file on its way, in either direction; one to \"public\" for everybody"),
    ("/whoami", "", "your id, your server and the fingerprint of your key"),
    ("/password", "", "another password for your key"),
    ("/login", "", "your password for this server, if it wants one; it cannot be that of your key"),
    ("/help", "", "these lines"),
    ("/quit", "", "leave"),
];

/// A line with a meaning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Tell {
        to: String,
        text: String,
    },
    All {
        text: String,
    },
    List,
    File {
        to: String,
        path: PathBuf,
    },
    Whois(String),
    Verify(String, bool),
    Me(Option<MetaChange>),
    Accept(Option<TransferId>),
    Reject(Option<TransferId>),
    Cancel(Option<TransferId>),
    Whoami,
    /// With the new password, if it is there.
    Password(Option<String>),
    Login,
    Help,
    Quit,
}

/// Reads a line; `None` if it is blank.
///
/// # Errors
/// What is wrong with it, for the user.
pub(crate) fn parse(line: &str) -> Result<Option<Line>, String> {
    let line = line.trim_start();
    if line.trim_end().is_empty() {
        return Ok(None);
    }
    if !line.starts_with('/') {
        return Err(
            "a line starts with a command: /tell USER TEXT writes to one user, /all TEXT to everybody; /help lists all"
                .into(),
        );
    }
    let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let alone = |meant: Line| {
        if rest.is_empty() { Ok(Some(meant)) } else { Err(format!("{command} stands alone on its line")) }
    };
    match command {
        "/tell" => {
            let (to, text) = recipient(rest)?;
            if to.is_empty() || text.is_empty() {
                return Err("usage: /tell USER TEXT".into());
            }
            Ok(Some(Line::Tell { to, text: text.into() }))
        }
        "/file" => {
            let (to, path) = recipient(rest)?;
            match file(path.trim_end()) {
                Some(path) if !to.is_empty() => Ok(Some(Line::File { to, path })),
                Some(_) | None => Err("usage: /file USER PATH".into()),
            }
        }
        "/whois" => Ok(Some(Line::Whois(person(command, rest)?))),
        "/verify" => Ok(Some(Line::Verify(person(command, rest)?, true))),
        "/unverify" => Ok(Some(Line::Verify(person(command, rest)?, false))),
        "/me" => Ok(Some(Line::Me(meta_change(rest)?))),
        "/accept" => Ok(Some(Line::Accept(number(command, rest)?))),
        "/reject" => Ok(Some(Line::Reject(number(command, rest)?))),
        "/cancel" => Ok(Some(Line::Cancel(number(command, rest)?))),
        "/all" if rest.is_empty() => Err("usage: /all TEXT".into()),
        "/all" => Ok(Some(Line::All { text: rest.into() })),
        "/password" => Ok(Some(Line::Password((!rest.is_empty()).then(|| rest.into())))),
        "/list" => alone(Line::List),
        "/login" => alone(Line::Login),
        "/whoami" => alone(Line::Whoami),
        "/help" => alone(Line::Help),
        "/quit" => alone(Line::Quit),
        _ => Err(format!("there is no command {command}; /help lists all")),
    }
}

/// A user and nothing else. A name needs no quotes here.
fn person(command: &str, rest: &str) -> Result<String, String> {
    let (quoted, after) = recipient(rest)?;
    let name = if rest.starts_with('"') && after.is_empty() { quoted } else { rest.trim_end().into() };
    if name.is_empty() { Err(format!("usage: {command} USER")) } else { Ok(name) }
}

/// A field of what others see of us, and its value.
fn meta_change(rest: &str) -> Result<Option<MetaChange>, String> {
    let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let field = match name {
        "" => return Ok(None),
        "name" | "display_name" => MetaField::DisplayName,
        "pronouns" => MetaField::Pronouns,
        "age" => MetaField::Age,
        "avatar" | "avatar_url" => MetaField::AvatarUrl,
        "extras" => MetaField::Extras,
        _ => {
            return Err("usage: /me [FIELD TEXT], FIELD being name, pronouns, age, avatar or extras".into());
        }
    };
    let value = Some(value.trim()).filter(|value| !value.is_empty()).map(Into::into);
    Ok(Some(MetaChange { field, value }))
}

/// A path as people type it: all of the rest, perhaps in quotes, perhaps from their home on.
fn file(text: &str) -> Option<PathBuf> {
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match unquoted.strip_prefix("~/").and_then(|rest| Some(home()?.join(rest))) {
        Some(path) => Some(path),
        None => (!unquoted.is_empty()).then(|| unquoted.into()),
    }
}

/// What is typed of the path after `/file USER `, and where it begins.
pub(crate) fn path_typed(line: &str) -> Option<(usize, &str)> {
    let (_, path) = recipient(line.strip_prefix("/file ")?.trim_start()).ok()?;
    let start = line.len() - path.len();
    (start > "/file ".len() && line[..start].ends_with(char::is_whitespace)).then_some((start, path))
}

/// The folder and the beginning of a name in a path that is being typed, as [`file()`] reads it.
pub(crate) fn unfinished(path: &str) -> (PathBuf, &str) {
    let unquoted = path.strip_prefix('"').unwrap_or(path);
    let (folder, name) = unquoted.rsplit_once('/').map_or(("", unquoted), |(folder, name)| {
        // Of the root nothing else is left.
        (if folder.is_empty() { "/" } else { folder }, name)
    });
    let folder = if folder == "~" { "~/" } else { folder };
    (file(folder).unwrap_or_else(|| PathBuf::from(".")), name)
}

/// The number of a transfer, if one is named.
fn number(command: &str, rest: &str) -> Result<Option<TransferId>, String> {
    let rest = rest.trim_end();
    if rest.is_empty() {
        return Ok(None);
    }
    let number =
        rest.parse().map_err(|_| format!("usage: {command} [N], with the number that the offer names"))?;
    Ok(Some(TransferId(number)))
}

/// A user's name as it may be typed after `/tell`.
pub(crate) fn quoted(name: &str) -> String {
    if name.starts_with('"') || name.contains(char::is_whitespace) {
        format!("\"{}\"", name.replace('"', "\\\""))
    } else {
        name.into()
    }
}

/// Splits off the user. Inside quotes, `\"` is a quote; any other backslash is itself, since labels
/// show invisible characters as `\u{…}`.
fn recipient(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (to, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return Ok((to.into(), rest.trim_start()));
    };
    let mut to = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, character)) = chars.next() {
        match character {
            '"' => {
                let rest = &quoted[at + 1..];
                return match rest.chars().next() {
                    Some(next) if !next.is_whitespace() => {
                        Err("after the closing quote comes a space".into())
                    }
                    _ => Ok((to, rest.trim_start())),
                };
            }
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => to.push('"'),
            _ => to.push(character),
        }
    }
    Err("the quote after the command is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(to: &str, text: &str) -> Result<Option<Line>, String> {
        Ok(Some(Line::Tell { to: to.into(), text: text.into() }))
    }

    #[test]
    fn messages_keep_their_text() {
        assert_eq!(parse("/tell alice hello across servers!"), tell("alice", "hello across servers!"));
        assert_eq!(parse("  /tell\talice   a  b "), tell("alice", "a  b "));
        assert_eq!(parse("/tell \"alice smith\" \"hi\" there"), tell("alice smith", "\"hi\" there"));
        assert_eq!(parse(r#"/tell "a\"b\u{202e} c" x"#), tell(r#"a"b\u{202e} c"#, "x"));
        assert_eq!(parse("/tell al\"ice hi"), tell("al\"ice", "hi"));
        assert_eq!(parse("/all hello mesh!"), Ok(Some(Line::All { text: "hello mesh!".into() })));
        assert_eq!(parse("/all /quit"), Ok(Some(Line::All { text: "/quit".into() })));
    }

    #[test]
    fn names_can_be_typed_as_they_are_completed() {
        for name in ["alice", "alice smith", "\"x\" y", "al\"ice", r"a\u{202e} b", "ä ö"] {
            assert_eq!(parse(&format!("/tell {} text", quoted(name))), tell(name, "text"));
        }
    }

    #[test]
    fn a_path_is_found_where_it_is_typed() {
        for (line, typed) in [
            ("/file bob ", Some((10, ""))),
            ("/file bob /tmp/a b", Some((10, "/tmp/a b"))),
            ("/file \"bob b\" \"/tmp/a", Some((14, "\"/tmp/a"))),
            ("/file bob", None),
            ("/file \"bob ", None),
            ("/file ", None),
            ("/tell bob /tmp", None),
        ] {
            assert_eq!(path_typed(line), typed, "{line}");
        }
        for (path, folder, name) in [
            ("", ".", ""),
            ("ca", ".", "ca"),
            ("/et", "/", "et"),
            ("a/b c", "a", "b c"),
            ("\"a b/c", "a b", "c"),
        ] {
            assert_eq!(unfinished(path), (PathBuf::from(folder), name), "{path}");
        }
    }

    #[test]
    fn other_lines_have_a_meaning_or_an_explanation() {
        assert_eq!(parse(" \t"), Ok(None));
        assert_eq!(parse("/list "), Ok(Some(Line::List)));
        assert_eq!(parse("/whoami"), Ok(Some(Line::Whoami)));
        assert_eq!(parse("/help"), Ok(Some(Line::Help)));
        assert_eq!(parse("/quit"), Ok(Some(Line::Quit)));
        let file = |to: &str, path: &str| Ok(Some(Line::File { to: to.into(), path: path.into() }));
        assert_eq!(parse("/file bob cat.jpg"), file("bob", "cat.jpg"));
        assert_eq!(parse("/file \"bob smith\" my cat .jpg "), file("bob smith", "my cat .jpg"));
        assert_eq!(parse("/file public \"/a b/c\""), file("public", "/a b/c"));
        for (line, name) in
            [("/whois bob", "bob"), ("/whois bob smith ", "bob smith"), ("/whois \"a b\"", "a b")]
        {
            assert_eq!(parse(line), Ok(Some(Line::Whois(name.into()))));
        }
        assert_eq!(parse("/verify bob"), Ok(Some(Line::Verify("bob".into(), true))));
        assert_eq!(parse("/unverify bob"), Ok(Some(Line::Verify("bob".into(), false))));
        let me = |field, value: Option<&str>| {
            Ok(Some(Line::Me(Some(MetaChange { field, value: value.map(Into::into) }))))
        };
        assert_eq!(parse("/me"), Ok(Some(Line::Me(None))));
        assert_eq!(parse("/me name Bob  Smith "), me(MetaField::DisplayName, Some("Bob  Smith")));
        assert_eq!(parse("/me age"), me(MetaField::Age, None));
        assert_eq!(parse("/accept"), Ok(Some(Line::Accept(None))));
        assert_eq!(parse("/reject 3 "), Ok(Some(Line::Reject(Some(TransferId(3))))));
        assert_eq!(parse("/cancel 4"), Ok(Some(Line::Cancel(Some(TransferId(4))))));
        assert_eq!(parse("/password"), Ok(Some(Line::Password(None))));
        assert_eq!(parse("/password a b"), Ok(Some(Line::Password(Some("a b".into())))));
        for (line, says) in [
            ("hello", "/all TEXT"),
            ("/quit now", "alone"),
            ("/tel alice", "no command /tel;"),
            ("/tell", "usage: /tell USER TEXT"),
            ("/tell alice ", "usage: /tell USER TEXT"),
            ("/tell \"alice hi", "not closed"),
            ("/tell \"alice\"hi", "space"),
            ("/tell \"\" hi", "usage"),
            ("/all  ", "usage: /all TEXT"),
            ("/file bob", "usage: /file USER PATH"),
            ("/file bob \"\"", "usage: /file USER PATH"),
            ("/whois ", "usage: /whois USER"),
            ("/me shoe 46", "usage: /me [FIELD TEXT]"),
            ("/accept it", "usage: /accept [N]"),
        ] {
            assert!(parse(line).unwrap_err().contains(says), "{line}");
        }
    }
}
