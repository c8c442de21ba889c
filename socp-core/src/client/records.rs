//! What a client keeps across restarts.

use crate::wire::{HostPort, Meta, PublicKey, Rotation, ServerId, Timestamp, UserId};

/// A small change to the state that must survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The identity of the server at an address: insert or replace by address.
    ServerPin(ServerPin),
    /// A user's pinned key: insert or replace by id.
    UserPin(UserPin),
    /// What others see of us, since we changed it.
    Meta(Meta),
    /// A message or an offered file was shown, proven to be its author's; its repeats are dropped. The machine says what
    /// need not be kept any more: [`Record::Forgotten`].
    Shown(Shown),
    /// What was shown of an author until then is a repeat without being remembered singly: insert or replace by author,
    /// and drop each [`Record::Shown`] of that author that is not newer.
    Forgotten(Forgotten),
    /// The digest of a message or an offer that was told of without being proven. Only the newest [`MAX_DOUBTFUL`] need be
    /// kept.
    Doubtful([u8; 32]),
}

/// How many shown messages and offers are remembered that are proven to be their authors'.
pub const MAX_SHOWN: usize = 20_000;

/// How many are remembered that are not: as many, in 1.5 MB.
pub const MAX_DOUBTFUL: usize = 20_000;

/// A message or an offered file that was shown, by its author and the time that the author signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// Its author.
    pub from: UserId,
    /// When it was signed, by the author's clock.
    pub ts: Timestamp,
    /// What it is.
    pub digest: [u8; 32],
}

/// Until when nothing of an author is new any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The author; somebody with a pin, or we ourselves.
    pub from: UserId,
    /// The newest time of what was forgotten, by the author's clock.
    pub until: Timestamp,
}

/// Which server was met at an address (decisions §4): a change stops the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPin {
    /// As dialled.
    pub address: HostPort,
    /// Its id.
    pub server_id: ServerId,
    /// Its key.
    pub key: PublicKey,
    /// Whether it ever put our nonce into its LOGIN_CHALLENGE ✚: from then on one without it is no word of its, but a
    /// recording.
    pub echoes: bool,
}

impl ServerPin {
    /// Whether both are the same server at the same address.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let Self { address, server_id, key, echoes: _ } = self;
        *address == other.address && *server_id == other.server_id && *key == other.key
    }
}

/// A user's pinned key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPin {
    /// The user.
    pub user_id: UserId,
    /// The key.
    pub key: PublicKey,
    /// Since when it is pinned; older versions did not note it.
    pub since: Option<Timestamp>,
    /// When the user said that the key's fingerprint was compared in person, if ever.
    pub verified: Option<Timestamp>,
    /// Whether a key that was compared in person signed for this one, which was not.
    pub vouched: bool,
    /// How it follows from the user's first key, proven (decisions §4); empty where nobody showed it.
    pub rotations: Vec<Rotation>,
    /// What the user was called last, as labels show it, for when the user is not online.
    pub name: Option<Box<str>>,
}

impl UserPin {
    /// A key as it is pinned at a time, and nothing else known of it.
    pub fn new(user_id: &UserId, key: &PublicKey, at: Timestamp) -> Self {
        Self {
            user_id: user_id.clone(),
            key: key.clone(),
            since: Some(at),
            verified: None,
            vouched: false,
            rotations: Vec::new(),
            name: None,
        }
    }

    /// Whether the key was compared in person, or one was that signed for it.
    pub(super) fn is_trusted(&self) -> bool {
        self.verified.is_some() || self.vouched
    }
}

/// The state that survived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Pins of the servers met, by address.
    pub servers: Vec<ServerPin>,
    /// Pins of the users met.
    pub users: Vec<UserPin>,
    /// What was shown and is proven, by author, time and digest.
    pub shown: Vec<Shown>,
    /// Until when nothing is new any more, by author.
    pub forgotten: Vec<Forgotten>,
    /// What was told of without being proven, oldest first.
    pub doubtful: Vec<[u8; 32]>,
    /// What versions before these remembered of either kind, by other digests. No record adds to it.
    pub shown_before: Vec<[u8; 32]>,
    /// The last [`Record::Meta`], if there ever was one; beats the one in the config.
    pub meta: Option<Meta>,
}
