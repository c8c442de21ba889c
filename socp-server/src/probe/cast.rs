//! Who plays: two servers and some users, each with an id of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socp_core::crypto::Signer;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::{Id, KeyField, PublicKey, ServerId, UserId};

use crate::error::Result;

/// Of the first server, the second server, and the users: making one takes a second.
const KEYS: [&str; 3] = ["probe-1", "probe-2", "users"];

/// Whom the probe plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The first server.
    One,
    /// The second server.
    Two,
    /// Users at the target.
    Ann,
    Ben,
    Dot,
    Eve,
    /// A user at the first server.
    Rob,
    /// A user at the second server.
    Zoe,
    /// Users whom nobody is to hear of.
    Bad,
    Bare,
    Odd,
    /// Nobody at all.
    Nil,
}

impl Who {
    pub(super) const ALL: [Self; 12] = [
        Self::One,
        Self::Two,
        Self::Ann,
        Self::Ben,
        Self::Dot,
        Self::Eve,
        Self::Rob,
        Self::Zoe,
        Self::Bad,
        Self::Bare,
        Self::Odd,
        Self::Nil,
    ];

    /// On screens.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::One => "probe-1",
            Self::Two => "probe-2",
            Self::Ann => "ann",
            Self::Ben => "ben",
            Self::Dot => "dot",
            Self::Eve => "eve",
            Self::Rob => "rob",
            Self::Zoe => "zoe",
            Self::Bad => "bad",
            Self::Bare => "bare",
            Self::Odd => "odd",
            Self::Nil => "nobody",
        }
    }

    pub(super) fn is_server(self) -> bool {
        matches!(self, Self::One | Self::Two)
    }
}

/// All of them.
pub(super) struct Cast {
    keys: [Arc<PrivateKey>; 3],
    ids: Vec<Id>,
    /// Whether an earlier probe may have come with the same ids.
    pub(super) known: bool,
}

impl Cast {
    /// With new keys, or those of a folder, which are made if they are not there.
    pub(super) fn new(folder: Option<&Path>) -> Result<Self> {
        let [one, two, users] = KEYS;
        let known = folder.is_some_and(|folder| path_of(folder, users).exists());
        let keys = [key(folder, one)?, key(folder, two)?, key(folder, users)?].map(Arc::new);
        Ok(Self { known, ..Self::of(keys) })
    }

    fn of(keys: [Arc<PrivateKey>; 3]) -> Self {
        let ids = Who::ALL.map(|who| id(who, keys[slot(who)].public_key())).to_vec();
        Self { keys, ids, known: false }
    }

    pub(super) fn id(&self, who: Who) -> Id {
        self.ids[who as usize].clone()
    }

    pub(super) fn user(&self, who: Who) -> UserId {
        self.id(who).into()
    }

    pub(super) fn server(&self, who: Who) -> ServerId {
        self.id(who).into()
    }

    /// The target gave another id, or another one is needed.
    pub(super) fn rename(&mut self, who: Who, id: Id) {
        self.ids[who as usize] = id;
    }

    pub(super) fn private_key(&self, who: Who) -> &Arc<PrivateKey> {
        &self.keys[slot(who)]
    }

    pub(super) fn key(&self, who: Who) -> &PublicKey {
        self.keys[slot(who)].public_key()
    }

    pub(super) fn key_field(&self, who: Who) -> KeyField {
        self.key(who).clone().into()
    }

    pub(super) fn signer(&self, who: Who) -> &dyn Signer {
        &*self.keys[slot(who)]
    }
}

fn slot(who: Who) -> usize {
    match who {
        Who::One => 0,
        Who::Two => 1,
        _ => 2,
    }
}

/// The same for the same key, and different for each of them: a UUID v4 made from the key's hash.
fn id(who: Who, key: &PublicKey) -> Id {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&key.id().as_bytes()[..16]);
    bytes[15] ^= who as u8;
    Id::uuid_v4(bytes)
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pem"))
}

fn key(folder: Option<&Path>, name: &str) -> Result<PrivateKey> {
    let Some(folder) = folder else { return Ok(PrivateKey::generate()?) };
    let path = path_of(folder, name);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        return Ok(PrivateKey::from_pem(&text).map_err(|error| failed(&error))?);
    }
    let key = PrivateKey::generate()?;
    fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    write_private(&path, &key.to_pem()).map_err(|error| failed(&error))?;
    Ok(key)
}

/// Throw-away keys, but keys.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_an_id_of_their_own_and_keeps_it_with_the_key() {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../socp-core/tests/fixtures/keys/server-a.pem");
        let key = Arc::new(PrivateKey::from_pem(&fs::read_to_string(fixtures).unwrap()).unwrap());
        let [cast, again] = [(); 2].map(|()| Cast::of([key.clone(), key.clone(), key.clone()]));
        assert_eq!(cast.ids, again.ids);
        let mut ids = cast.ids.clone();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), Who::ALL.len());
        assert!(ids.iter().all(Id::is_uuid_v4));
        assert!(cast.server(Who::One).derives_from(key.public_key()));
    }
}
