//! What goes into the server machine and what comes out.

use std::net::IpAddr;
use std::time::Duration;

use crate::crypto::{Refusal, Unsigned, Verified};
use crate::dialect::Dialect;
use crate::wire::{
    Binary, HostPort, KeyId, Meta, PublicKey, Rotation, ServerId, Timestamp, UserId, WireText, Wrap,
};

use super::accounts::PasswordCheck;
use super::dialling::Reach;
use super::limits::{Limits, Timing};

/// A link: one WebSocket connection, named by the driver, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// How a link came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOrigin {
    /// Somebody dialled us; no more is known. No password is taken on such a link.
    Accepted,
    /// Somebody dialled us, from where the driver knows.
    AcceptedFrom(Caller),
    /// We dialled, on an [`Action::Dial`].
    Dialled(HostPort),
}

/// Who dialled us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose wrong passwords are counted together: an address, or the network that stands for its holder.
    pub address: IpAddr,
    /// Whether nobody on the way can read along: loopback or TLS.
    pub private: bool,
}

/// Where passwords are taken (decisions §4): they cross the link as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordLogins {
    /// On links that nobody can read along: loopback and TLS.
    #[default]
    Private,
    /// On every link.
    Anywhere,
    /// Nowhere.
    Never,
}

/// What the driver tells the machine.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an event is handed over once; a box per frame would cost more"
)]
pub enum Event {
    /// A socket is open in both directions.
    LinkOpened {
        /// Its name from now on.
        link: LinkId,
        /// Who opened it.
        origin: LinkOrigin,
    },
    /// A frame arrived and what [`super::Server::admit`] asked for has been checked.
    Frame {
        /// Where it came from.
        link: LinkId,
        /// The frame.
        frame: Verified,
    },
    /// A frame arrived that is none, was refused, or whose check failed.
    Refused {
        /// Where it came from.
        link: LinkId,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Something other than a text frame arrived, a pong for example: the peer lives.
    LinkAlive {
        /// Where it came from.
        link: LinkId,
    },
    /// A socket is gone. Ignored for a link that the machine closed itself.
    LinkClosed {
        /// Which.
        link: LinkId,
        /// For logs.
        why: Box<str>,
    },
    /// A dial came to nothing.
    DialFailed {
        /// What was dialled.
        address: HostPort,
        /// For logs.
        why: Box<str>,
    },
    /// The public channel's key was wrapped, as an [`Action::WrapChannelKey`] asked. Who could not be served is
    /// left out.
    ChannelKeyWrapped {
        /// The key under each member's key.
        wraps: Vec<Wrap>,
    },
    /// A password was checked, as an [`Action::CheckPassword`] asked.
    PasswordChecked {
        /// The link of the check.
        link: LinkId,
        /// Whether the hash is the one that was given.
        right: bool,
    },
    /// A deadline has come.
    Wakeup,
    /// The server is to stop: everybody is told and every link is closed.
    Shutdown,
}

/// What the machine asks of the driver. The order of a batch is its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a frame to links, in this order.
    Send {
        /// The links; several for a broadcast, whose text is shared.
        to: Vec<LinkId>,
        /// The frame.
        frame: Outgoing,
    },
    /// Make a change durable before the batch's frames leave.
    Persist(Record),
    /// Open a link; answered by [`Event::LinkOpened`] or [`Event::DialFailed`].
    Dial {
        /// Where to.
        address: HostPort,
        /// Which of the network addresses that it resolves to will do.
        reach: Reach,
    },
    /// Send a WebSocket ping.
    Ping {
        /// The links.
        to: Vec<LinkId>,
    },
    /// Close a link once the frames before this are written. The machine has forgotten it already.
    Close {
        /// Which.
        link: LinkId,
        /// The WebSocket close code.
        code: u16,
        /// The close frame's reason, and for logs.
        reason: &'static str,
    },
    /// Do not read from a link until then: honest traffic over its rate is slowed, never dropped.
    Pause {
        /// Which.
        link: LinkId,
        /// On the scale of [`crate::Now::instant`].
        until: Duration,
    },
    /// Wrap the public channel's key for members: RSA-OAEP of 256 random bits, made once per run and kept at the
    /// border (§15). Answered by [`Event::ChannelKeyWrapped`].
    WrapChannelKey {
        /// Who, and under which key.
        members: Vec<(UserId, PublicKey)>,
    },
    /// Derive and compare, off the hub and one after the other; answered by [`Event::PasswordChecked`].
    CheckPassword(PasswordCheck),
    /// Something that an operator or embedder may want to know.
    Report(Report),
}

/// A frame that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Ours: sign it (once per payload), then write.
    Own(Unsigned),
    /// A peer's, relayed with its own text.
    Relay(WireText),
    /// The same of a part of a file: what people wrote goes before it, and a peer that is slow to take it
    /// loses it rather than its link.
    Bulk(WireText),
}

/// Facts for logs, screens and embedders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A user is reachable who was not.
    UserOnline {
        /// Who.
        user: UserId,
        /// Where.
        server: ServerId,
    },
    /// A user is no longer reachable.
    UserOffline {
        /// Who.
        user: UserId,
    },
    /// A link to a server is up.
    ServerUp {
        /// Which server.
        server: ServerId,
        /// The link.
        link: LinkId,
        /// Whether it proved itself with LINK_PROOF.
        proven: bool,
        /// How it speaks.
        dialect: Dialect,
    },
    /// The last link to a server is gone.
    ServerDown {
        /// Which server.
        server: ServerId,
    },
    /// An introducer assigned us another id (§8.1); it is persisted.
    IdAssigned {
        /// Our id from now on.
        server: ServerId,
    },
    /// A server of the bootstrap list could not be joined. It is tried again, for ever.
    IntroducerDown {
        /// Where it was dialled.
        address: HostPort,
        /// What went wrong; text of peers included: escape before showing.
        why: Box<str>,
    },
    /// It could not be joined, and now it is linked.
    IntroducerUp {
        /// Where it is dialled.
        address: HostPort,
    },
    /// Another key than the pinned one was seen.
    KeyConflict(KeyConflict),
    /// A frame or dial came to nothing; a counter and a debug line.
    Dropped {
        /// Why, one of few fixed texts.
        why: &'static str,
        /// More words, peer text included: escape before showing.
        detail: Box<str>,
    },
}

/// Another key than the pinned one: the operator settles which is right, unless the newer one ranks higher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConflict {
    /// Whose key.
    pub of: ConflictOf,
    /// The key that was pinned.
    pub pinned: Option<KeyId>,
    /// Where that pin comes from.
    pub pinned_by: PinnedBy,
    /// The other key, if it was shown. Anybody can show a key: that proves nothing.
    pub seen: Option<KeyId>,
    /// Whether the other key is pinned from now on.
    pub replaced: bool,
}

/// Whose key is in dispute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictOf {
    /// A user's.
    User(UserId),
    /// A server's.
    Server(ServerId),
    /// That of the server which answers where we dialled.
    Address(HostPort),
}

impl std::fmt::Display for ConflictOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Server(server) => server.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Where a pin comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedBy {
    /// The operator's bootstrap list.
    BootstrapList,
    /// What was seen before, and stored.
    Store,
}

/// A small change to the state that must survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Our own id, when an introducer assigned another one.
    OwnId(ServerId),
    /// The counter behind `issued_at` (decisions §3); never falls.
    IssuedAt(u64),
    /// A known server: insert or replace by id.
    Server(ServerRecord),
    /// A stranger whose place another server takes: delete by id, if it is there.
    ForgetServer(ServerId),
    /// A known user: insert or replace by id (§15, `users`).
    User(UserRecord),
    /// A user who never proved a key, and whose place a proven one takes: delete by id from the users
    /// and the members of the public channel.
    ForgetUser(UserId),
    /// A password and what it opens: replaces that of a known user (§15, `users`).
    Account(AccountRecord),
    /// The public channel's version (§15, `groups`).
    ChannelVersion(u64),
    /// A member of the public channel: insert or replace by id (§15, `group_members`).
    Member(MemberRecord),
    /// A message of a user elsewhere reached a user here: insert by key.
    Delivered(DeliveryRecord),
    /// Nothing that this author wrote until then is new any more: insert or replace by author, and drop each
    /// [`Record::Delivered`] of that author that is not newer.
    DeliveredUntil {
        /// Whose.
        author: UserId,
        /// By the author's clock.
        until: Timestamp,
    },
    /// There are too many authors ([`Limits::seen_entries`]): the last [`Record::DeliveredUntil`] of this one goes.
    ForgetAuthor(UserId),
}

/// What is kept of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its id.
    pub server_id: ServerId,
    /// Its pinned key.
    pub key: PublicKey,
    /// Where the pin comes from.
    pub rank: PinRank,
    /// Whether it ever sent `nonce` or `issued_at`: from then on it is believed only with them.
    pub native: bool,
    /// How it speaks, by its last link.
    pub dialect: Dialect,
    /// Where it listens.
    pub address: Option<HostPort>,
    /// What presence of this server's is over, by its `issued_at`: that of the last PRESENCE that our table matched
    /// (decisions §5), of the newest removal, or of its last word when it was lost; 0 for none. After a
    /// restart nothing older counts, unless the server's list names it.
    pub matched: u64,
}

/// Where a server's pin comes from; higher ranks replace lower ones (decisions §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinRank {
    /// A stranger's own claim.
    Claimed = 0,
    /// An introducer's word.
    Introduced = 1,
    /// Proven by LINK_PROOF.
    Proven = 2,
    /// The operator's bootstrap list.
    Bootstrap = 3,
}

/// What is kept of a user (§15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The id.
    pub user_id: UserId,
    /// The pinned key.
    pub key: PublicKey,
    /// How it follows from the user's first key (decisions §4).
    pub rotations: Vec<Rotation>,
    /// Whether possession of the key was ever proven; from then on a bare hello is refused.
    pub proven: bool,
    /// §15.1.
    pub meta: Meta,
    /// Bumps on change.
    pub version: u64,
}

/// What is kept of a user who logs in by a password (§15), beside the [`UserRecord`].
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// The user, whose key is pinned.
    pub user_id: UserId,
    /// The private key, encrypted by the client.
    pub privkey_store: Box<str>,
    /// `b64u(salt).b64u(scrypt(password))`.
    pub pake_password: Box<str>,
}

impl std::fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountRecord({}, …)", self.user_id)
    }
}

/// What is kept of a member of the public channel (§15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// The member, who is a user.
    pub member_id: UserId,
    /// The channel's key under the member's key, if there is a wrap.
    pub wrapped_key: Option<Binary>,
    /// When the user became a member, Unix milliseconds.
    pub added_at: u64,
}

/// What is kept of a message that reached a user here, so that it does not come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// What tells it from all others, whatever its time says: recipient, author, ciphertext and content signature,
    /// hashed.
    pub key: [u8; 32],
    /// Its author.
    pub author: UserId,
    /// When it was written, by the author's clock, or when it came, if that is earlier.
    pub ts: Timestamp,
}

/// The state that survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last [`Record::OwnId`], if there ever was one; beats the id in the config.
    pub own_id: Option<ServerId>,
    /// The last [`Record::IssuedAt`], or 0.
    pub issued_at: u64,
    /// The last record of each server.
    pub servers: Vec<ServerRecord>,
    /// The last record of each user.
    pub users: Vec<UserRecord>,
    /// The last record of each account.
    pub accounts: Vec<AccountRecord>,
    /// The last [`Record::ChannelVersion`], or 1.
    pub channel_version: u64,
    /// The last record of each member of the public channel.
    pub members: Vec<MemberRecord>,
    /// The messages that reached users here, without those forgotten since.
    pub delivered: Vec<DeliveryRecord>,
    /// The last [`Record::DeliveredUntil`] of each author.
    pub delivered_until: Vec<(UserId, Timestamp)>,
}

impl Default for Snapshot {
    /// Of a server that never ran.
    fn default() -> Self {
        Self {
            own_id: None,
            issued_at: 0,
            servers: Vec::new(),
            users: Vec::new(),
            accounts: Vec::new(),
            channel_version: 1,
            members: Vec::new(),
            delivered: Vec::new(),
            delivered_until: Vec::new(),
        }
    }
}

/// A trusted introducer (§8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introducer {
    /// Where it listens.
    pub address: HostPort,
    /// Its pinned key.
    pub key: PublicKey,
    /// How it speaks, if the operator knows; else it is found out.
    pub dialect: Option<Dialect>,
}

impl Introducer {
    /// An introducer whose dialect is to be found out.
    pub fn new(address: HostPort, key: PublicKey) -> Self {
        Self { address, key, dialect: None }
    }
}

/// Whom we link with, whoever dials (decisions §7). Servers of the bootstrap list always may: the operator
/// named them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JoinPolicy {
    /// Any server with a good key.
    #[default]
    Open,
    /// Only servers with one of these keys.
    Allowlist(Vec<PublicKey>),
}

/// Which addresses learnt from peers are dialled (decisions §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialPolicy {
    /// All but loopback and link-local ones, unless we listen on such an address ourselves.
    #[default]
    Reachable,
    /// All.
    All,
    /// None: only the bootstrap list.
    None,
}

/// How a server machine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our id.
    pub server_id: ServerId,
    /// Our key; its private half stays at the border.
    pub key: PublicKey,
    /// Where others can dial us. Without it we do not join anybody.
    pub address: Option<HostPort>,
    /// Whether the operator set `address` explicitly: proofs that name another one are then refused.
    pub address_is_binding: bool,
    /// Trusted introducers, tried in order. An entry with our own key is skipped.
    pub bootstrap: Vec<Introducer>,
    /// Refuse ids that are not UUID v4.
    pub strict_ids: bool,
    /// Refuse logins without LOGIN_PROOF.
    pub require_proof: bool,
    /// Where passwords are taken.
    pub password_logins: PasswordLogins,
    /// Whom we link with, besides the bootstrap list.
    pub join: JoinPolicy,
    /// What is dialled.
    pub dial: DialPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Intervals and timeouts.
    pub timing: Timing,
    /// 32 bytes of chance from the system: ids, jitter and nonces come from it.
    pub seed: [u8; 32],
}

impl Config {
    /// A configuration with defaults for everything but identity, address and chance.
    pub fn new(server_id: ServerId, key: PublicKey, address: Option<HostPort>, seed: [u8; 32]) -> Self {
        Self {
            server_id,
            key,
            address,
            address_is_binding: false,
            bootstrap: Vec::new(),
            strict_ids: false,
            require_proof: false,
            password_logins: PasswordLogins::default(),
            join: JoinPolicy::Open,
            dial: DialPolicy::Reachable,
            limits: Limits::default(),
            timing: Timing::default(),
            seed,
        }
    }
}
