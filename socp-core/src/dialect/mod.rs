//! Dialects: what peers do otherwise than we do, as data.
//!
//! Reading needs no dialect: one tolerant reader takes every form (decisions §1). What differs per peer is what it
//! can read of ours and what it must be spared, and that is a [`Profile`]. A link's dialect is recognised by what
//! the peer sends ([`Dialect::of`]) or set by the operator; from then on every frame of ours that leaves on that
//! link is dressed for it on its way out, so that no handler knows of dialects.

mod dress;
mod profiles;
mod recognise;

use std::fmt;
use std::str::FromStr;

use crate::crypto::{ContentCover, SaltLength};
use crate::wire::{Base64Form, FrameType, Id, KeyForm};

pub use recognise::{Mark, Observed};

/// How a peer speaks. Letters stand for independent implementations, as in `docs/dialects.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dialect {
    /// One of ours, or a peer that follows the standard: nothing is dressed.
    Standard,
    /// The standard, on an old library for Python that reads the longest salt and no other.
    Python,
    /// The system that this project started from: free ids, passwords, users' frames signed by servers.
    Seed,
    /// PEM keys and padding everywhere; keys are asked for.
    R,
    /// One-way links.
    M,
    /// PEM keys without padding; relayed frames signed anew.
    F,
    /// No gossip.
    G,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Standard, Self::Python, Self::Seed, Self::R, Self::M, Self::F, Self::G];

    /// The dialect that writes keys like this, if not many do: how a server speaks that has not said anything.
    pub fn by_key(form: KeyForm) -> Option<Self> {
        let writes = |dialect: &Self| form != KeyForm::Der && dialect.profile().keys == form;
        Self::ALL.into_iter().find(writes)
    }

    /// What follows from it.
    pub fn profile(self) -> &'static Profile {
        &profiles::PROFILES[self as usize]
    }

    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        self.profile().name
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// There is no dialect of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such dialect: standard, python, seed, r, m, f and g are known")]
pub struct DialectError;

impl FromStr for Dialect {
    type Err = DialectError;

    fn from_str(name: &str) -> Result<Self, DialectError> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.as_str().eq_ignore_ascii_case(name));
        named.ok_or(DialectError)
    }
}

/// What one dialect asks of those who talk to it.
#[derive(Debug)]
pub struct Profile {
    /// The dialect's name.
    pub name: &'static str,
    /// What a peer shows that speaks it: any of these sets, each mark of it.
    pub recognised_by: &'static [&'static [Mark]],
    /// How public keys are written.
    pub keys: KeyForm,
    /// How payloads and signatures are written.
    pub writing: Writing,
    /// What is changed in payloads of ours, by type, in this order.
    pub edits: &'static [(FrameType, &'static [Edit])],
    /// A field of the payload that is repeated beside it, by type.
    pub repeats: &'static [(FrameType, &'static str)],
    /// Types that the peer is better spared.
    pub omits: &'static [FrameType],
    /// Whether it takes gossip of third parties from us.
    pub relays: bool,
    /// Whether frames that it relays carry its own signature under the author's name: they prove nothing.
    pub resigns: bool,
    /// Whether it refuses frames about ids that are no UUID v4.
    pub only_uuids: bool,
    /// Who writes only on sockets that it dialled: both sides dial, and what comes on a socket that it opened may
    /// be gossip without a greeting.
    pub one_way: bool,
    /// Whether servers of the mesh that are no introducers are greeted with SERVER_HELLO_LINK.
    pub links_without_join: bool,
    /// What WELCOME lists as `clients`.
    pub welcome_clients: WelcomeClients,
    /// Whether users' keys are not in its adverts but asked for, and asked of us.
    pub asks_for_keys: bool,
    /// Who signs users' frames that the standard does not wrap.
    pub user_frames: UserFrames,
    /// How its servers log users in.
    pub logins: Logins,
    /// Whether its servers tell their users of everybody who comes and goes, or must be asked.
    pub tells_of_all: bool,
    /// What its clients sign of a direct message (§12); `None`: nothing that binds anybody.
    pub content: Option<ContentCover>,
}

/// How payloads and signatures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// Whether everything beyond ASCII is escaped, as the signature's input and in the frame.
    pub ascii: bool,
    /// The PSS salt.
    pub salt: SaltLength,
    /// The envelope's `sig`.
    pub sig: Base64Form,
}

impl Writing {
    /// Ours.
    pub const STANDARD: Self = Self { ascii: false, salt: SaltLength::Digest, sig: Base64Form::Url };
}

/// A change to a payload of ours.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// Adds a field with this JSON text.
    Add(&'static str, &'static str),
    /// Leaves a field out.
    Remove(&'static str),
    /// Repeats a field under another name.
    Copy(&'static str, &'static str),
    /// Moves a field into `meta`.
    IntoMeta(&'static str),
    /// Writes the user's display name, else the id, into this field of `meta`.
    NameIntoMeta(&'static str),
    /// Writes a binary field in another form.
    Encode(&'static str, Base64Form),
    /// Lists servers as `clients`, under this name of their id.
    ServersAsClients(&'static str),
}

/// What WELCOME lists as `clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WelcomeClients {
    /// Users of the welcoming server, and servers where an entry has a `server_id`.
    Users,
    /// Servers, whatever their id is called.
    Servers,
}

/// Who signs users' frames that the standard does not wrap: MSG_PUBLIC_CHANNEL and FILE_* (decisions §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFrames {
    /// Nobody, or the user: they are relayed with their own text.
    Relayed,
    /// Each server on the way, in its own name.
    Wrapped,
    /// They reach nobody there.
    Unknown,
}

/// How a server logs users in (decisions §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// By a hello, and a proof that they have their key.
    Key,
    /// By a password, after a hello that says nothing.
    Password,
}

impl Profile {
    /// Whether frames of ours take another form for this dialect.
    pub fn dresses(&self) -> bool {
        self.writing != Writing::STANDARD
            || self.keys != KeyForm::Der
            || !self.edits.is_empty()
            || !self.omits.is_empty()
            || !self.repeats.is_empty()
            || self.only_uuids
    }

    /// Whether the peer would take a frame about this user.
    pub fn takes_user(&self, user: &Id) -> bool {
        !self.only_uuids || user.is_uuid_v4()
    }
}
