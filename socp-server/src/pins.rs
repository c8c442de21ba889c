//! `socp-server pins` and `socp-server forget`: whose keys this server remembers, and how an operator settles
//! that one of them is no longer right.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use socp_core::server::{PinRank, Record, ServerRecord, Snapshot, UserRecord};
use socp_core::wire::{Id, KeyId, PublicKey};
use socp_transport::data_dir::DataDir;
use socp_transport::store::Store;

use crate::args::{ForgetArgs, PinsArgs};
use crate::data::{self, ServerData};
use crate::error::{Result, note, one_line, show};

/// What is pinned, for people and for scripts.
#[derive(Serialize)]
struct Pin<'a> {
    kind: &'static str,
    id: &'a str,
    fingerprint: String,
    /// Where the pin comes from.
    source: &'static str,
    /// Where a server listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Whether the id is made of the key: no other key can ever take its place.
    derived: bool,
}

impl<'a> Pin<'a> {
    fn of_server(record: &'a ServerRecord) -> Self {
        let source = match record.rank {
            PinRank::Bootstrap => "bootstrap list",
            PinRank::Proven => "proven on a link",
            PinRank::Introduced => "an introducer's word",
            PinRank::Claimed if record.native => "proven on its own link",
            PinRank::Claimed => "its own word",
        };
        let address = record.address.as_ref().map(ToString::to_string);
        Self { address, ..Self::of("server", record.server_id.id(), &record.key, source) }
    }

    fn of_user(record: &'a UserRecord) -> Self {
        let source = if record.proven { "proven" } else { "first seen" };
        Self::of("user", record.user_id.id(), &record.key, source)
    }

    fn of(kind: &'static str, id: &'a Id, key: &PublicKey, source: &'static str) -> Self {
        let derived = *id == Id::derived_from(key);
        Self {
            kind,
            id: id.as_str(),
            fingerprint: KeyId::fingerprint(&key.id()),
            source,
            address: None,
            derived,
        }
    }

    fn in_words(&self) -> String {
        let Self { kind, id, fingerprint, source, address, derived } = self;
        let mut text = format!("{kind:<6}  {}\n        {fingerprint}\n        {source}", one_line(id));
        if *derived {
            text += ", its id is made of the key";
        }
        if let Some(address) = address {
            // Writing to a text cannot fail.
            let _ = write!(text, ", at {address}");
        }
        text
    }
}

/// `socp-server pins`.
pub(crate) fn pins(args: &PinsArgs) -> Result<()> {
    let folder = folder(args.data_dir.as_deref())?;
    // A server that runs can be looked at.
    let Snapshot { servers, users, .. } = data::state_in(&folder)?;
    let servers = servers.iter().map(Pin::of_server);
    let users = users.iter().map(Pin::of_user);
    let wanted = |pin: &Pin<'_>| args.ids.is_empty() || args.ids.iter().any(|id| id.as_str() == pin.id);
    let pins: Vec<_> = servers.chain(users).filter(wanted).collect();
    for pin in &pins {
        show(if args.json { serde_json::to_string(pin)? } else { pin.in_words() });
    }
    let found: BTreeSet<&str> = pins.iter().map(|pin| pin.id).collect();
    match args.ids.iter().find(|id| !found.contains(id.as_str())) {
        Some(missing) => Err(unknown(missing, &folder)),
        None if pins.is_empty() => {
            note("nobody is pinned so far");
            Ok(())
        }
        None => Ok(()),
    }
}

/// `socp-server forget`.
pub(crate) fn forget(args: &ForgetArgs) -> Result<()> {
    let folder = folder(args.data_dir.as_deref())?;
    if !folder.exists() {
        return Err(format!("{}: there is no such directory", folder.display()).into());
    }
    // Locked: a server that runs would go on with what it has in memory, and write it again.
    let data = ServerData::open(&folder)?;
    let mut store = data.store()?;
    let Snapshot { servers, users, accounts, .. } = store.load()?;
    let mut forgotten = Vec::new();
    for id in &args.ids {
        let before = forgotten.len();
        if let Some(server) = servers.iter().find(|server| server.server_id.id() == id) {
            forgotten.push((Pin::of_server(server), Record::ForgetServer(server.server_id.clone())));
        }
        if let Some(user) = users.iter().find(|user| user.user_id.id() == id) {
            if accounts.iter().any(|account| account.user_id == user.user_id) && !args.accounts {
                let what = "logs in here with a password, and the encrypted key behind it would be gone for good; if \
                            that is meant, say --accounts";
                return Err(format!("{} {what}", one_line(id.as_str())).into());
            }
            forgotten.push((Pin::of_user(user), Record::ForgetUser(user.user_id.clone())));
        }
        if forgotten.len() == before {
            return Err(unknown(id, &folder));
        }
    }
    // All or nothing.
    let records: Vec<Record> = forgotten.iter().map(|(_, record)| record.clone()).collect();
    store.commit(&records)?;
    store.close()?;
    for (pin, _) in &forgotten {
        show(format_args!("forgotten: {} {}, {}", pin.kind, one_line(pin.id), pin.fingerprint));
    }
    Ok(())
}

fn folder(named: Option<&Path>) -> Result<PathBuf> {
    Ok(match named {
        Some(folder) => folder.to_owned(),
        None => DataDir::default_for_server()?,
    })
}

fn unknown(id: &Id, folder: &Path) -> crate::error::Fatal {
    format!("{}: no key is pinned for {}", folder.display(), one_line(id.as_str())).into()
}
