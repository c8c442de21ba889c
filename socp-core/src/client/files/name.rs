//! A stranger's name for a file made safe for a directory of ours (decisions §6).

use super::super::label::is_hidden;

/// Longest name, in bytes: file systems take 255, and ` (999)` and a temporary ending must fit, too.
const MAX_NAME_BYTES: usize = 200;

/// Longest ending that survives when a name is cut, in bytes.
const MAX_ENDING_BYTES: usize = 16;

/// Names that mean devices on some systems, whatever follows a dot.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Devices that have numbers.
const PORTS: [&str; 2] = ["COM", "LPT"];

/// The last part of a path as a name that is safe everywhere: no separators, control or invisible characters,
/// nothing that hides the file or reads as an option, no device, and at most 200 bytes, whose ending stays.
pub fn safe_file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    let plain = |character: char| {
        let special = matches!(character, '<' | '>' | ':' | '"' | '|' | '?' | '*');
        if special || is_hidden(character) { '_' } else { character }
    };
    let safe: String = last.chars().map(plain).collect();
    // Some systems drop these at the end, and the file would have another name.
    let safe = safe.trim_matches(' ').trim_end_matches(['.', ' ']);
    let mut safe = match safe.chars().next() {
        None => return "file".to_owned(),
        Some('.' | '-' | '~') => format!("_{}", &safe[1..]),
        Some(_) => safe.to_owned(),
    };
    if is_device(&safe) {
        safe.insert(0, '_');
    }
    shortened(&safe)
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let is_port = |port: &str| {
        let mut number = stem.strip_prefix(port).unwrap_or_default().chars();
        // Superscript digits count, too.
        number.next().is_some_and(char::is_numeric) && number.next().is_none()
    };
    DEVICES.contains(&stem.as_str()) || PORTS.into_iter().any(is_port)
}

/// Cut in front of its ending.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME_BYTES {
        return name.to_owned();
    }
    let (_, ending) = split_name(name);
    let ending = if ending.len() <= MAX_ENDING_BYTES { ending } else { "" };
    let stem = &name[..name.floor_char_boundary(MAX_NAME_BYTES - ending.len())];
    format!("{}{ending}", stem.trim_end_matches(['.', ' ']))
}

/// A name and its ending, dot included: where ` (1)` goes if the name is taken.
pub fn split_name(name: &str) -> (&str, &str) {
    match name.rfind('.').filter(|at| *at > 0) {
        Some(at) => name.split_at(at),
        None => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_reduced_to_safe_ones() {
        for (name, safe) in [
            ("cat.jpg", "cat.jpg"),
            ("Zoë's 🦀 (1).tar.gz", "Zoë's 🦀 (1).tar.gz"),
            ("../../etc/passwd", "passwd"),
            ("/etc/cron.d/x", "x"),
            (r"C:\Windows\system32\cmd.exe", "cmd.exe"),
            ("dir/", "dir"),
            ("..", "file"),
            ("../..", "file"),
            ("", "file"),
            ("/", "file"),
            (" . ", "file"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("~root", "_root"),
            ("a\nb\0c\u{1b}[2J", "a_b_c_[2J"),
            ("gpj.\u{202e}exe", "gpj._exe"),
            ("a\u{200b}b", "a_b"),
            ("what?<i>*:|\".txt", "what__i_____.txt"),
            ("trailing. . ", "trailing"),
            ("nul", "_nul"),
            ("COM1.txt", "_COM1.txt"),
            ("com\u{b9}", "_com\u{b9}"),
            ("aux .c", "_aux .c"),
            ("COMB.txt", "COMB.txt"),
            ("company", "company"),
            ("c:stream", "c_stream"),
        ] {
            assert_eq!(safe_file_name(name), safe, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        assert_eq!(safe_file_name(&format!("{}.tar", "x".repeat(300))), "x".repeat(196) + ".tar");
        let odd = format!("a.{}", "y".repeat(300));
        assert_eq!(safe_file_name(&odd).len(), MAX_NAME_BYTES);
        let umlauts = safe_file_name(&("ä".repeat(200) + ".txt"));
        assert!(umlauts.len() <= MAX_NAME_BYTES && umlauts.ends_with("ä.txt"), "{umlauts}");
    }

    #[test]
    fn whatever_the_name_the_safe_one_stays_in_its_directory() {
        use proptest::prelude::*;
        proptest!(|(name in "(?s).{0,40}")| {
            let safe = safe_file_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= MAX_NAME_BYTES);
            prop_assert!(!safe.contains(['/', '\\', '\0']) && !safe.starts_with('.'));
            prop_assert_eq!(&safe_file_name(&safe), &safe, "what is safe stays as it is");
        });
    }
}
