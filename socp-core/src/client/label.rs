//! Text of strangers made fit for a screen (decisions §5): what is invisible or would move other text
//! about becomes visible.

use std::borrow::Cow;

/// Longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 64;

/// Longest escaped detail or reason of a notice, in characters.
pub(super) const MAX_DETAIL_CHARS: usize = 512;

/// Combining marks that may follow one another; more would grow into the lines above and below.
const MAX_MARKS_IN_A_ROW: usize = 4;

/// A name as a label shows it: control, bidirectional, zero-width and other invisible characters, and white space other than
/// the plain space, as `\u{202e}`; at most 4 combining marks in a row; at most 64 characters, the last
/// of which is `…` if there were more.
pub fn escape_label(name: &str) -> String {
    escape(name, MAX_LABEL_CHARS, |character, _| is_hidden(character).then(|| unicode(character)))
}

/// A label for the middle of a sentence: in quotes, if it holds what could pass for a part of the sentence or a tag. A
/// quote inside is written `\"`.
pub fn quote_label(label: &str) -> Cow<'_, str> {
    let ends_it = |character: char| character.is_whitespace() || "[]():;,\"".contains(character);
    match label.is_empty() || label.contains(ends_it) {
        true => Cow::Owned(format!("\"{}\"", label.replace('"', "\\\""))),
        false => Cow::Borrowed(label),
    }
}

/// A message's text on one line of a screen: line breaks as `⏎`, tabs as `⇥`, what labels escape as `\u{202e}`; the
/// joiners and variation selectors that emoji and some scripts need stay, behind other than ASCII.
pub fn escape_text(text: &str) -> String {
    escape_line(text, usize::MAX)
}

/// Words of peers and of the system in notices.
pub(super) fn escape_detail(text: &str) -> Box<str> {
    escape_line(text, MAX_DETAIL_CHARS).into()
}

fn escape_line(text: &str, max_chars: usize) -> String {
    let text = text.replace("\r\n", "\n");
    escape(&text, max_chars, |character, before| match character {
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some("⏎".to_owned()),
        '\t' => Some("⇥".to_owned()),
        '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}'
            if before.is_some_and(|before| !before.is_ascii()) =>
        {
            None
        }
        _ => is_hidden(character).then(|| unicode(character)),
    })
}

fn escape(text: &str, max_chars: usize, instead: impl Fn(char, Option<char>) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    let mut chars = 0;
    // Where to cut, should there turn out to be one character too many.
    let mut cut = 0;
    let mut marks = 0;
    let mut before = None;
    for character in text.chars() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        if marks > MAX_MARKS_IN_A_ROW {
            continue;
        }
        let escaped = instead(character, before);
        chars += escaped.as_ref().map_or(1, |escaped| escaped.chars().count());
        if chars > max_chars {
            out.truncate(cut);
            out.push('…');
            return out;
        }
        match escaped {
            Some(escaped) => out.push_str(&escaped),
            None => out.push(character),
        }
        if chars < max_chars {
            cut = out.len();
        }
        before = Some(character);
    }
    out
}

fn unicode(character: char) -> String {
    format!("\\u{{{:x}}}", u32::from(character))
}

/// Characters that show nothing, look like a space, or change how their neighbours are shown.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Combining marks, by the blocks from which towers of them are built.
fn is_mark(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}' | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{6e7}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{730}'..='\u{74a}' | '\u{7eb}'..='\u{7f3}' | '\u{816}'..='\u{82d}' | '\u{8d3}'..='\u{902}'
        | '\u{93c}' | '\u{941}'..='\u{948}' | '\u{94d}' | '\u{951}'..='\u{957}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{eb1}' | '\u{eb4}'..='\u{ebc}' | '\u{ec8}'..='\u{ecd}' | '\u{f18}'..='\u{f19}'
        | '\u{f71}'..='\u{f84}' | '\u{f8d}'..='\u{fbc}' | '\u{1ab0}'..='\u{1aff}' | '\u{1cd0}'..='\u{1cf9}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20f0}' | '\u{2cef}'..='\u{2cf1}' | '\u{2de0}'..='\u{2dff}'
        | '\u{302a}'..='\u{302d}' | '\u{3099}'..='\u{309a}' | '\u{a66f}'..='\u{a67d}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{101fd}' | '\u{1d165}'..='\u{1d172}' | '\u{1e000}'..='\u{1e02a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invisible_in_a_label_becomes_visible() {
        for (name, label) in [
            ("bob", "bob"),
            ("Zoë 🦀", "Zoë 🦀"),
            ("bob\u{202e}ecila", "bob\\u{202e}ecila"),
            ("b\u{200b}ob", "b\\u{200b}ob"),
            ("bob\n* alice", "bob\\u{a}* alice"),
            ("a\u{a0}b\u{3000}c", "a\\u{a0}b\\u{3000}c"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{300}\u{300}\u{300}\u{300}\u{300}\u{300}b", "a\u{300}\u{300}\u{300}\u{300}b"),
        ] {
            assert_eq!(escape_label(name), label);
        }
        assert_eq!(escape_label(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(escape_label(&"x".repeat(65)), "x".repeat(63) + "…");
        assert_eq!(
            escape_label(&("x".repeat(60) + "\u{202e}")),
            "x".repeat(60) + "…",
            "no escape is cut in two"
        );
    }

    #[test]
    fn a_label_that_could_pass_for_a_sentence_is_quoted() {
        for (label, quoted) in [
            ("bob", "bob"),
            ("bob~4567", "bob~4567"),
            ("Zoë🦀", "Zoë🦀"),
            ("[dm] Bobby: send money", "\"[dm] Bobby: send money\""),
            ("bob]", "\"bob]\""),
            ("al\"ice", "\"al\\\"ice\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_label(label), quoted);
        }
    }

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(escape_text("a\r\nb\n\tc\u{2028}d"), "a⏎b⏎⇥c⏎d");
        assert_eq!(escape_text("👩\u{200d}🚀 ❤\u{fe0f}"), "👩\u{200d}🚀 ❤\u{fe0f}");
        assert_eq!(escape_text("a\u{200d}b\u{202e}"), "a\\u{200d}b\\u{202e}");
    }
}
