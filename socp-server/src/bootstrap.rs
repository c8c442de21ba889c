//! The list of trusted introducers (§8.1), in the standard's YAML. One file serves all servers of a mesh.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use socp_core::server::Introducer;
use socp_core::wire::HostPort;

use crate::error::{Result, one_line};
use crate::parsed::{Host, KeyText, Parsed, Port};

/// So many introducers the standard asks for.
pub(crate) const ENOUGH: usize = 3;

/// Longest file that is read: room for a thousand entries.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Keys that are not the standard's are passed over: files of other servers have more to say.
#[derive(Deserialize)]
struct List {
    bootstrap_servers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    host: Parsed<Host>,
    port: Parsed<Port>,
    pubkey: Parsed<KeyText>,
}

/// Reads the list.
pub(crate) fn read(path: &Path) -> Result<Vec<Introducer>> {
    let text = read_text(path)?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Reads a file of settings.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let named = |error| format!("{}: cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(named)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(named)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{}: longer than {MAX_FILE_BYTES} bytes", path.display()).into());
    }
    Ok(text)
}

fn parse(text: &str) -> std::result::Result<Vec<Introducer>, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 20_000,
            max_depth: 16,
            // Nobody needs them here, so nobody can build bombs of them.
            max_anchors: 0,
            max_aliases: 0,
        },
    };
    let list: List = serde_saphyr::from_str_with_options(text, options).map_err(|error| said(&error))?;
    let introducer = |Entry { host, port, pubkey }| {
        let address = HostPort::new(&host.0.0, port.0.0).map_err(|error| error.to_string())?;
        Ok(Introducer { address, key: pubkey.0.0 })
    };
    list.bootstrap_servers.into_iter().map(introducer).collect()
}

/// The error with its place in front.
fn said(error: &serde_saphyr::Error) -> String {
    let text = one_line(&error.without_snippet().to_string());
    let Some(place) = error.location() else { return format!("not a bootstrap list: {text}") };
    let (line, column) = (place.line(), place.column());
    let behind = format!(" at line {line}, column {column}");
    let what = text.strip_suffix(&behind).unwrap_or(&text);
    format!("line {line}, column {column}: {what}")
}

#[cfg(test)]
mod tests {
    use crate::parsed::tests::key;

    use super::*;

    fn entry(host: &str, port: &str, key: &str) -> String {
        format!("  - host: {host}\n    port: {port}\n    pubkey: {key}\n")
    }

    #[test]
    fn keys_may_come_in_any_form() {
        let key = key("server-a");
        let field = key.to_field();
        let (first, second) = field.split_at(400);
        let pem: Vec<_> = field.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        let pem = pem.join("\n      ").replace('-', "+").replace('_', "/");
        let pem =
            format!("|\n      -----BEGIN PUBLIC KEY-----\n      {pem}==\n      -----END PUBLIC KEY-----");
        let text = [
            "# our mesh\nname: ignored\nbootstrap_servers:\n".to_owned(),
            entry("Example.org", "8765", &format!("\"{field}\"")),
            entry("127.0.0.1", "'9001'", &format!(">-\n      {first}\n      {second}")),
            entry("\"::1\"", "1", &pem),
        ];
        let list = parse(&text.concat()).unwrap();
        let addresses: Vec<_> = list.iter().map(|introducer| introducer.address.to_string()).collect();
        assert_eq!(addresses, ["example.org:8765", "127.0.0.1:9001", "[::1]:1"]);
        assert!(list.iter().all(|introducer| introducer.key == key));
        assert_eq!(parse("bootstrap_servers: []"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let good = key("server-a").to_field();
        let list = |entry: String| format!("bootstrap_servers:\n{entry}");
        let bomb = format!("a: &a [{}]\nb: [*a, *a]\n", "x, ".repeat(20));
        for (text, place, what) in [
            (String::new(), "line 1", ""),
            ("servers: []".into(), "line 1", "bootstrap_servers"),
            ("bootstrap_servers: 3".into(), "line 1, column 20", "sequence"),
            (list(entry("a", "1", "AAAA")), "line 4, column 13", "RSA"),
            (list(entry("a", "0", &good)), "line 3, column 11", "port"),
            (list(entry("a", "x", &good)), "line 3, column 11", "port"),
            (list(entry("a b", "1", &good)), "line 2, column 11", "host"),
            (list("  - host: a\n    port: 1\n".into()), "line 3", "pubkey"),
            (list(entry("[", "1", &good)), "line ", ""),
            (bomb, "line 1", "budget"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(what) && !error.contains('\n'), "{error}");
        }
    }
}
