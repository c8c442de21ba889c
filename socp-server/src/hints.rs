//! What a newcomer needs to know once a server runs.

use socp_core::wire::{HostPort, PublicKey};

/// How a client connects and how another server joins, as lines. `client` and `server` are where they find
/// us, if anybody knows.
pub(crate) fn how_to_join(client: &str, server: Option<&HostPort>, key: &PublicKey) -> String {
    let (elsewhere, address) = match server {
        Some(address) => ("", address.to_string()),
        None => (" (HOST: this machine's address)", format!("HOST:{}", port(client))),
    };
    format!(
        "  a client connects with:\n    \
             socp-client --server ws://{client} --user NAME\n  \
           another server joins with{elsewhere}:\n    \
             socp-server --introducer {address}#{key}\n  \
           (on this machine it also needs an address and a directory of its own: --listen 127.0.0.1:0 --data-dir DIR)",
        key = key.to_field(),
    )
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}
