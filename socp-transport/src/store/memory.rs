//! The store that forgets: for tests, and for embedders that keep nothing.

use socp_core::{client, server};

use super::{Store, StoreError, Stored};

/// Keeps everything in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore<R: Stored> {
    snapshot: R::Snapshot,
}

impl<R: Stored> MemoryStore<R> {
    /// A store that holds `snapshot` already.
    pub fn new(snapshot: R::Snapshot) -> Self {
        Self { snapshot }
    }
}

impl<R: Stored> Default for MemoryStore<R> {
    fn default() -> Self {
        Self::new(R::Snapshot::default())
    }
}

impl<R: Stored> Store<R> for MemoryStore<R> {
    fn load(&mut self) -> Result<R::Snapshot, StoreError> {
        Ok(self.snapshot.clone())
    }

    fn commit(&mut self, batch: &[R]) -> Result<(), StoreError> {
        batch.iter().cloned().for_each(|record| record.apply(&mut self.snapshot));
        Ok(())
    }
}

impl Stored for server::Record {
    type Snapshot = server::Snapshot;

    fn apply(self, snapshot: &mut server::Snapshot) {
        match self {
            Self::OwnId(id) => snapshot.own_id = Some(id),
            Self::IssuedAt(issued_at) => snapshot.issued_at = snapshot.issued_at.max(issued_at),
            Self::Server(record) => upsert(&mut snapshot.servers, record, |kept| &kept.server_id),
            Self::ForgetUser(id) => {
                snapshot.users.retain(|kept| kept.user_id != id);
                snapshot.members.retain(|kept| kept.member_id != id);
                snapshot.accounts.retain(|kept| kept.user_id != id);
            }
            Self::ForgetServer(id) => snapshot.servers.retain(|kept| kept.server_id != id),
            Self::User(record) => upsert(&mut snapshot.users, record, |kept| &kept.user_id),
            Self::Account(record) => {
                if snapshot.users.iter().any(|kept| kept.user_id == record.user_id) {
                    upsert(&mut snapshot.accounts, record, |kept| &kept.user_id);
                }
            }
            Self::ChannelVersion(version) => {
                snapshot.channel_version = snapshot.channel_version.max(version);
            }
            Self::Member(record) => {
                // Members are users: of nobody else there is anything to keep.
                if snapshot.users.iter().any(|kept| kept.user_id == record.member_id) {
                    upsert(&mut snapshot.members, record, |kept| &kept.member_id);
                }
            }
            Self::Delivered(record) => {
                upsert(&mut snapshot.delivered, record, |kept| &kept.key);
            }
            Self::ForgetAuthor(id) => snapshot.delivered_until.retain(|(author, _)| *author != id),
            Self::DeliveredUntil { author, until } => {
                snapshot.delivered.retain(|kept| kept.author != author || kept.ts > until);
                upsert(&mut snapshot.delivered_until, (author, until), |(author, _)| author);
            }
        }
    }
}

impl Stored for client::Record {
    type Snapshot = client::Snapshot;

    fn apply(self, snapshot: &mut client::Snapshot) {
        match self {
            Self::ServerPin(pin) => upsert(&mut snapshot.servers, pin, |kept| &kept.address),
            Self::UserPin(pin) => upsert(&mut snapshot.users, pin, |kept| &kept.user_id),
            Self::Meta(meta) => snapshot.meta = Some(meta),
            Self::Shown(shown) => {
                if let Err(at) = snapshot.shown.binary_search(&shown) {
                    snapshot.shown.insert(at, shown);
                }
            }
            Self::Forgotten(forgotten) => {
                let client::Forgotten { from, until } = &forgotten;
                snapshot.shown.retain(|shown| shown.from != *from || shown.ts > *until);
                upsert(&mut snapshot.forgotten, forgotten, |kept| &kept.from);
            }
            Self::Doubtful(digest) => {
                if !snapshot.doubtful.contains(&digest) {
                    snapshot.doubtful.push(digest);
                }
                if snapshot.doubtful.len() > client::MAX_DOUBTFUL {
                    snapshot.doubtful.remove(0);
                }
            }
        }
    }
}

/// Inserts into a sorted list, or replaces what has the same key.
fn upsert<T, K: Ord>(items: &mut Vec<T>, item: T, key: impl Fn(&T) -> &K) {
    match items.binary_search_by(|kept| key(kept).cmp(key(&item))) {
        Ok(at) => items[at] = item,
        Err(at) => items.insert(at, item),
    }
}
