//! Text in columns.

/// Breaks a text at its spaces into lines of at most `width` characters. A longer word has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let chars = word.chars().count();
        if length > 0 && length + 1 + chars > width {
            lines.push(String::new());
            length = 0;
        }
        let line = lines.last_mut().expect("there is one from the start");
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += chars;
    }
    lines
}

/// A text cut or filled up to `width` characters.
pub(super) fn column(text: &str, width: usize) -> String {
    let chars = text.chars().count();
    if chars > width {
        let cut: String = text.chars().take(width.saturating_sub(1)).collect();
        return format!("{cut}…");
    }
    format!("{text}{}", " ".repeat(width - chars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_at_spaces_and_cut_with_an_ellipsis() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-long-word b", 4), ["a-long-word", "b"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(column("zwölf", 6), "zwölf ");
        assert_eq!(column("zwölf", 4), "zwö…");
    }
}
