//! What a newcomer needs to know once a server runs.

use socp_core::wire::{HostPort, PublicKey};
use socp_transport::{Scheme, is_loopback};

/// How a client connects and how another server joins, as lines. `client` and `server` are where they find
/// us, if anybody knows.
pub(crate) fn how_to_join(
    scheme: Scheme,
    client: &str,
    server: Option<&HostPort>,
    key: &PublicKey,
) -> String {
    let (elsewhere, address) = match server {
        Some(address) => ("", address.to_string()),
        None => (" (HOST: this machine's address)", format!("HOST:{}", port(client))),
    };
    // Without a scheme it is a plain link, as the standard has it.
    let joined_by = if scheme == Scheme::Wss { "wss://" } else { "" };
    let leaves = |host: Option<&HostPort>| host.is_none_or(|host| !is_loopback(host.host()));
    let private =
        if scheme == Scheme::Wss { " (and --ca FILE, if the authority is a private one)" } else { "" };
    let asked = |leaves| if scheme == Scheme::Ws && leaves { " --allow-plain" } else { "" };
    format!(
        "  a client connects with{private}:\n    \
             socp-client --server {scheme}://{client}{for_client} --user NAME\n  \
           another server joins with{elsewhere}:\n    \
             socp-server{for_server} --introducer {joined_by}{address}#{key}\n  \
           (on this machine it also needs an address and a directory of its own: --listen 127.0.0.1:0 --data-dir DIR)",
        for_client = asked(leaves(client.parse().ok().as_ref())),
        for_server = asked(leaves(server)),
        key = key.to_field(),
    )
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::parsed::tests::key;

    use super::*;

    #[test]
    fn hints_are_commands_that_work() {
        let hint = |scheme, client: &str, server: Option<&str>| {
            let server = server.map(|server| server.parse().unwrap());
            how_to_join(scheme, client, server.as_ref(), &key("server-a"))
        };
        for (hint, client, server) in [
            (
                hint(Scheme::Ws, "127.0.0.1:1", Some("127.0.0.1:1")),
                "--server ws://127.0.0.1:1 --user",
                "socp-server --introducer 127.0.0.1:1#MII",
            ),
            (
                hint(Scheme::Ws, "192.0.2.1:1", Some("192.0.2.1:1")),
                "--server ws://192.0.2.1:1 --allow-plain --user",
                "socp-server --allow-plain --introducer 192.0.2.1:1#MII",
            ),
            (
                hint(Scheme::Ws, "127.0.0.1:1", None),
                "--server ws://127.0.0.1:1 --user",
                "socp-server --allow-plain --introducer HOST:1#MII",
            ),
            (
                hint(Scheme::Wss, "192.0.2.1:1", Some("192.0.2.1:1")),
                "--server wss://192.0.2.1:1 --user",
                "socp-server --introducer wss://192.0.2.1:1#MII",
            ),
        ] {
            assert!(hint.contains(client) && hint.contains(server), "{hint}");
        }
    }
}
