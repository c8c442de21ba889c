//! The list of trusted introducers (§8.1), in the standard's YAML. One file serves all servers of a mesh.

use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use socp_core::dialect::Dialect;
use socp_core::wire::{HostPort, PublicKey};
use socp_transport::{Scheme, ServerUrl};

use crate::error::one_line;
use crate::mistake::{Mistake, Place, Source};
use crate::parsed::{Host, Parsed, PeerKey, Port};

/// So many introducers the standard asks for.
pub(crate) const ENOUGH: usize = 3;

/// Keys that are not the standard's are passed over: files of other servers have more to say.
#[derive(Deserialize)]
struct List {
    bootstrap_servers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    host: Spanned<Parsed<Host>>,
    port: Parsed<Port>,
    pubkey: Parsed<PeerKey>,
    /// Not in the standard, whose readers pass over it.
    tls: Option<bool>,
    /// Likewise.
    dialect: Option<Parsed<Dialect>>,
}

/// A trusted introducer, from the list or from elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pub(crate) server: ServerUrl,
    pub(crate) key: PublicKey,
    /// How it speaks, if that is known; else it is found out.
    pub(crate) dialect: Option<Dialect>,
    /// Where it says so.
    pub(crate) place: Option<Place>,
    /// Whether that is an entry of the list.
    pub(crate) is_listed: bool,
}

/// Reads the list.
pub(crate) fn read(source: &Arc<Source>) -> Result<Vec<Trusted>, Mistake> {
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
    let list = serde_saphyr::from_str_with_options(&source.text, options);
    let list: List = list.map_err(|error| said(&error, source))?;
    let trusted = |Entry { host, port, pubkey, tls, dialect }: Entry| {
        let place = Some(place_of(&host.referenced, source));
        let address = HostPort::new(&host.value.0.0, port.0.0);
        let address = address.map_err(|error| Mistake::error(place.clone(), error))?;
        let scheme = tls.map(|tls| if tls { Scheme::Wss } else { Scheme::Ws });
        let server = ServerUrl { scheme, address };
        let Parsed(PeerKey { key, dialect: shown }) = pubkey;
        let dialect = dialect.map(|Parsed(dialect)| dialect).or(shown);
        Ok(Trusted { server, key, dialect, place, is_listed: true })
    };
    list.bootstrap_servers.into_iter().map(trusted).collect()
}

fn place_of(location: &Location, source: &Arc<Source>) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Place::word(source, number(location.line()), number(location.column()))
}

fn said(error: &serde_saphyr::Error, source: &Arc<Source>) -> Mistake {
    let text = one_line(&error.without_snippet().to_string());
    let Some(location) = error.location() else {
        return Mistake::error(None, format!("{}: not a bootstrap list: {text}", source.path.display()));
    };
    let behind = format!(" at line {}, column {}", location.line(), location.column());
    let what = text.strip_suffix(&behind).unwrap_or(&text);
    Mistake::error(Some(place_of(&location, source)), what).help(
        "an entry of `bootstrap_servers` has a host, a port, a pubkey (`socp-server identity` prints a server's) \
         and, if it is dialled over TLS, `tls: true`, and, if it speaks a dialect that it does not show, `dialect`",
    )
}

#[cfg(test)]
mod tests {
    use socp_core::wire::KeyForm;

    use crate::parsed::tests::key;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Trusted>, String> {
        let source = Arc::new(Source { path: "mesh.yaml".into(), text: text.into() });
        read(&source).map_err(|mistake| mistake.to_string())
    }

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
        let addresses: Vec<_> = list.iter().map(|introducer| introducer.server.to_string()).collect();
        assert_eq!(addresses, ["example.org:8765", "127.0.0.1:9001", "[::1]:1"]);
        assert!(list.iter().all(|introducer| introducer.key == key));
        assert!(parse("bootstrap_servers: []").unwrap().is_empty());
    }

    #[test]
    fn an_entry_may_say_how_it_is_dialled() {
        let key = key("server-a").to_field();
        let text = format!(
            "bootstrap_servers:\n\
             - {{host: a, port: 1, pubkey: {key}, tls: true}}\n\
             - {{host: b, port: 1, pubkey: {key}, tls: false}}\n\
             - {{host: c, port: 1, pubkey: {key}}}\n"
        );
        let list = parse(&text).unwrap();
        let servers: Vec<_> = list.iter().map(|trusted| trusted.server.to_string()).collect();
        assert_eq!(servers, ["wss://a:1", "ws://b:1", "c:1"]);
        assert!(parse(&text.replace("true", "perhaps")).unwrap_err().starts_with("mesh.yaml: line 2"));
    }

    #[test]
    fn an_entry_may_say_or_show_which_dialect_its_server_speaks() {
        let key = key("server-a");
        let (der, pem) = (key.to_field(), key.to_field_in(KeyForm::PemPadded));
        let text = format!(
            "bootstrap_servers:\n\
             - {{host: a, port: 1, pubkey: {der}, dialect: seed}}\n\
             - {{host: b, port: 1, pubkey: '{pem}'}}\n\
             - {{host: c, port: 1, pubkey: '{pem}', dialect: standard}}\n\
             - {{host: d, port: 1, pubkey: {der}}}\n"
        );
        let list = parse(&text).unwrap();
        let dialects: Vec<_> = list.iter().map(|trusted| trusted.dialect).collect();
        assert_eq!(dialects, [Some(Dialect::Seed), Some(Dialect::R), Some(Dialect::Standard), None]);
        let error = parse(&text.replace("seed", "klingon")).unwrap_err();
        assert!(error.starts_with("mesh.yaml: line 2") && error.contains("no such dialect"), "{error}");
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
            (list(entry("wss://a", "1", &good)), "line 2, column 11", "`tls: true`"),
            (list("  - host: a\n    port: 1\n".into()), "line 3", "pubkey"),
            (list(entry("[", "1", &good)), "line ", ""),
            (bomb, "line 1", "budget"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(
                error.starts_with(&format!("mesh.yaml: {place}"))
                    && error.contains(what)
                    && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
