//! What goes into the client machine and what comes out.

use std::fmt;

use crate::crypto::{CryptoError, Refusal, Unsigned, Verified};
use crate::dialect::Dialect;
use crate::wire::{
    ErrorCode, HostPort, KeyId, Meta, MetaField, PublicKey, Rotation, ServerId, Timestamp, UserId,
};

use super::draft::{Draft, DraftId};
use super::files::{FileAction, FileCommand, FileEvent, FileNotice, OfferPolicy};
use super::limits::{Limits, Timing};
use super::records::{Record, ServerPin};
use super::sealed::{Opened, SealedMessage};
use super::seed::{PasswordFrame, PasswordNotice};

/// How a client machine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our id.
    pub user_id: UserId,
    /// Our key; its private half stays at the border.
    pub key: PublicKey,
    /// The chain from our first key to this one, for those who know an earlier one (decisions §4).
    pub rotations: Vec<Rotation>,
    /// What others see of us (§15.1).
    pub meta: Meta,
    /// The program, as USER_HELLO names it: `socp-client/0.1`.
    pub program: Box<str>,
    /// The server's address, as it is dialled; the login proof names it (decisions §4).
    pub address: HostPort,
    /// How the server speaks; unless it is said, that is found out, as far as a server can be logged in to.
    pub dialect: Option<Dialect>,
    /// The server's key, if the user knows it: seeds show none, so that nothing they say is proven without.
    pub server_key: Option<PublicKey>,
    /// Our id at a server that knows users by names, if it is another one there.
    pub seed_id: Option<UserId>,
    /// Whether the driver has a password for this server, for [`Action::Password`].
    pub password: bool,
    /// Which files of others are taken.
    pub files: OfferPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Intervals and timeouts.
    pub timing: Timing,
    /// 32 bytes of chance from the system, for nonces, ids and jitter.
    pub seed: [u8; 32],
}

impl Config {
    /// A configuration with defaults for everything but identity, address and chance.
    pub fn new(user_id: UserId, key: PublicKey, address: HostPort, seed: [u8; 32]) -> Self {
        Self {
            user_id,
            key,
            rotations: Vec::new(),
            meta: Meta::empty(),
            program: concat!("socp-client/", env!("CARGO_PKG_VERSION")).into(),
            address,
            dialect: None,
            server_key: None,
            seed_id: None,
            password: false,
            files: OfferPolicy::default(),
            limits: Limits::default(),
            timing: Timing::default(),
            seed,
        }
    }
}

/// What the driver tells the machine. There is one link at a time: after [`Action::Close`] or
/// [`Event::LinkClosed`] nothing of that link is reported any more but [`Event::Written`], for drafts that
/// still got out; before a `LinkClosed` all of them are, so that no message is sent twice.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an event is handed over once; a box per frame would cost more"
)]
pub enum Event {
    /// The dialled socket is open.
    LinkOpened,
    /// A frame arrived and what [`super::Client::admit`] asked for has been checked.
    Frame(Verified),
    /// A frame arrived that is none, was refused, or whose check failed.
    Refused(Refusal),
    /// Something other than a text frame arrived, a pong for example: the server lives.
    LinkAlive,
    /// The socket is gone.
    LinkClosed {
        /// For people.
        why: Box<str>,
    },
    /// The dial came to nothing.
    DialFailed {
        /// For people.
        why: Box<str>,
    },
    /// A deadline has come.
    Wakeup,
    /// The user wants something.
    Command {
        /// The caller's name for it: notices about it carry it.
        reference: u64,
        /// What.
        command: Command,
    },
    /// A draft's frame is on the socket.
    Written(DraftId),
    /// A draft could not be sealed.
    DraftFailed(DraftId, CryptoError),
    /// An [`Action::Open`] is done, well or badly.
    Opened(Opened),
    /// The driver has a password for this server, perhaps another one than before.
    Password,
    /// Something about a file.
    File(FileEvent),
    /// Quit: what is under way is finished or fails visibly, then the link is closed.
    Shutdown,
}

/// What the user wants (§14). Ends in the notice for which [`Notice::ends`] gives its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/tell`: a message to one user.
    Tell {
        /// A label or a user id.
        to: Box<str>,
        /// The text.
        text: Text,
    },
    /// `/all`: a message to everybody online.
    All {
        /// The text.
        text: Text,
    },
    /// `/list`: who is online.
    List,
    /// `/whois`: who somebody is. Somebody who is not online is found by id or by the last name.
    Whois {
        /// A label or a user id.
        user: Box<str>,
    },
    /// `/verify`: somebody's fingerprint was compared in person.
    Verify {
        /// A label or a user id.
        user: Box<str>,
        /// False takes it back.
        verified: bool,
    },
    /// `/me`: what others see of us; with a change it is made.
    Me(Option<MetaChange>),
    /// `/file`, `/accept`, `/reject`, `/cancel`.
    File(FileCommand),
}

/// A change of what others see of us (§15.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaChange {
    /// Which field.
    pub field: MetaField,
    /// Its value as people type it; none takes it away.
    pub value: Option<Box<str>>,
}

/// What the machine asks of the driver. The order of a batch is its meaning: frames, sealed ones
/// included, leave the link in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a link; answered by [`Event::LinkOpened`] or [`Event::DialFailed`], within the driver's own
    /// timeout.
    Dial(HostPort),
    /// Sign and write a frame.
    Send(Unsigned),
    /// Write a frame with the user's password for this server, which the machine never sees: at a server of the
    /// seed's dialect it is the login (decisions §4).
    Password(PasswordFrame),
    /// Seal and write a message; answered by [`Event::Written`] or [`Event::DraftFailed`]. If its link is
    /// gone first it is thrown away: the machine has it sealed again.
    Seal(Draft),
    /// Open a message; answered by [`Event::Opened`], whatever became of the link.
    Open(SealedMessage),
    /// Make a change durable before the batch's frames leave.
    Persist(Record),
    /// Something about a file.
    File(FileAction),
    /// Send a WebSocket ping.
    Ping,
    /// Close the link once the frames before this are written. The machine has forgotten it already.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// The close frame's reason, and for logs.
        reason: &'static str,
    },
    /// Something for the user.
    Notify(Notice),
}

/// What the user is told. Labels, details and reasons are escaped already
/// ([`super::escape_label`]); texts of messages are as they were written: screens pass them through
/// [`super::escape_text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first session is open and everybody online is known.
    Ready {
        /// Who we are there.
        user_id: UserId,
        /// The server.
        server_id: ServerId,
        /// Whether the server showed a key and signs with it. The standard has no way to.
        proven: bool,
    },
    /// A session is open again.
    Reconnected,
    /// There is no session, and the client keeps trying. Told once, until there is one again.
    Disconnected {
        /// Why.
        reason: Box<str>,
    },
    /// The server did not let us in.
    LoginRefused {
        /// The server's code.
        code: ErrorCode,
        /// The server's words.
        detail: Box<str>,
        /// Whether the client keeps trying.
        retrying: bool,
    },
    /// The server logs users in by password.
    Password(PasswordNotice),
    /// The session has ended because the same user logged in elsewhere; there is no retry.
    Replaced {
        /// The server's words.
        detail: Box<str>,
    },
    /// Another server answers at the address than before (decisions §4); there is no retry.
    ServerChanged {
        /// The pinned one.
        was: ServerPin,
        /// The one that answered.
        now: ServerPin,
    },
    /// Our server has shown before that its words are made for the login under way, and these are not, or they were made
    /// for another: somebody may play back a recording. There is no retry.
    ServerNotFresh {
        /// The server as it is pinned, or as it calls itself.
        server: ServerPin,
    },
    /// The client has stopped for good.
    Stopped,
    /// A user has become known.
    UserAdded {
        /// The user.
        user_id: UserId,
        /// The user's label.
        label: Box<str>,
    },
    /// A user has gone.
    UserRemoved {
        /// The user.
        user_id: UserId,
        /// The user's label as it was.
        label: Box<str>,
    },
    /// A user is called otherwise from now on.
    UserRenamed {
        /// The user.
        user_id: UserId,
        /// The label before.
        was: Box<str>,
        /// The user's label.
        label: Box<str>,
    },
    /// Another key took the pinned one's place: one that the pinned key signed for, or that the user's id derives
    /// from, or its rotation (decisions §4).
    KeyChanged {
        /// The user.
        user_id: UserId,
        /// The user's label.
        label: Box<str>,
        /// The pinned key.
        was: KeyId,
        /// The key that is pinned from now on.
        now: KeyId,
        /// Whether the pinned key was verified in person. The new one is not.
        was_verified: bool,
        /// Whether the pinned key signed for the new one.
        signed: bool,
    },
    /// Another key than the pinned one was seen; the pin stays (decisions §4).
    KeyConflict {
        /// The user.
        user_id: UserId,
        /// The user's label.
        label: Box<str>,
        /// The pinned key, if there is one here.
        pinned: Option<KeyId>,
        /// The key that was seen, if it is one.
        seen: Option<KeyId>,
    },
    /// A message.
    Message {
        /// To us, or to all.
        kind: MessageKind,
        /// Who wrote it, if `verified`.
        from: UserId,
        /// The author's label.
        label: Box<str>,
        /// The text as it was written.
        text: Text,
        /// Whether it is proven who wrote it, and if not, why.
        verified: Result<(), Doubt>,
        /// The author's clock.
        ts: Timestamp,
    },
    /// A message has been written to the socket.
    Sent {
        /// The command's.
        reference: u64,
        /// To whom.
        to: SentTo,
    },
    /// A command, or something that belongs to none, has failed.
    Failed {
        /// The command's, if it is about one. It may have been told `Sent` before.
        reference: Option<u64>,
        /// §9.
        code: ErrorCode,
        /// In words.
        detail: Box<str>,
    },
    /// The answer to [`Command::List`], by label, then id; we are in it.
    List {
        /// The command's.
        reference: u64,
        /// Who is online.
        users: Vec<KnownUser>,
    },
    /// The answer to [`Command::Whois`].
    Whois {
        /// The command's.
        reference: u64,
        /// Who it is.
        user: Box<UserDetails>,
    },
    /// [`Command::Verify`] is done.
    Verified {
        /// The command's.
        reference: u64,
        /// Who it is, with or without the mark.
        user: Box<UserDetails>,
    },
    /// What others see of us, as [`Command::Me`] wanted to know or has changed it.
    Me {
        /// The command's.
        reference: u64,
        /// §15.1.
        meta: Meta,
    },
    /// Something about a file.
    File(FileNotice),
    /// A frame came to nothing; for logs.
    Dropped {
        /// Why, one of few fixed texts.
        why: &'static str,
        /// More words.
        detail: Box<str>,
    },
}

impl Notice {
    /// The reference of the command that this ends. A message that was sent may still fail later.
    pub fn ends(&self) -> Option<u64> {
        match self {
            Self::Sent { reference, .. }
            | Self::List { reference, .. }
            | Self::Whois { reference, .. }
            | Self::Verified { reference, .. }
            | Self::Me { reference, .. }
            | Self::Failed { reference: Some(reference), .. }
            | Self::File(
                FileNotice::Accepted { reference, .. }
                | FileNotice::Stopped { reference, .. }
                | FileNotice::Sent { reference, .. }
                | FileNotice::Cancelled { reference, .. }
                | FileNotice::Failed { reference: Some(reference), .. },
            ) => Some(*reference),
            Self::Ready { .. }
            | Self::Reconnected
            | Self::Disconnected { .. }
            | Self::LoginRefused { .. }
            | Self::Password(_)
            | Self::Replaced { .. }
            | Self::ServerChanged { .. }
            | Self::ServerNotFresh { .. }
            | Self::Stopped
            | Self::UserAdded { .. }
            | Self::UserRemoved { .. }
            | Self::UserRenamed { .. }
            | Self::KeyChanged { .. }
            | Self::KeyConflict { .. }
            | Self::Message { .. }
            | Self::Failed { reference: None, .. }
            | Self::File(
                FileNotice::Waiting(_)
                | FileNotice::Offering(_)
                | FileNotice::Offered { .. }
                | FileNotice::Progress { .. }
                | FileNotice::Started(_)
                | FileNotice::Saved { .. }
                | FileNotice::Arrived { .. }
                | FileNotice::Failed { reference: None, .. },
            )
            | Self::Dropped { .. } => None,
        }
    }
}

/// Which way a message took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// To one user (§9.2).
    Direct,
    /// To everybody (§9.3).
    Public,
}

/// To whom a message went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentTo {
    /// To one user.
    User {
        /// The user.
        user_id: UserId,
        /// The user's label.
        label: Box<str>,
    },
    /// To everybody online.
    Everyone {
        /// To how many it was written.
        recipients: usize,
        /// To how many it could not be sent.
        failed: usize,
    },
}

/// Why a message is shown as not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Nobody told us the sender's key.
    #[error("unknown sender")]
    UnknownSender,
    /// There is no `content_sig`, or a malformed one.
    #[error("no content signature")]
    NoSignature,
    /// Without the sender's time its signature cannot be checked.
    #[error("the sender's time is missing")]
    NoTime,
    /// The message names another key than the pinned one, or the pin has changed meanwhile.
    #[error("sender's key is not the pinned one")]
    OtherKey,
    /// It is a long text of which some parts never came.
    #[error("parts of it are missing")]
    PartsMissing,
    /// The signature is not the sender's over this message.
    #[error("content signature does not hold")]
    BadSignature,
}

/// A user as screens show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// The id.
    pub user_id: UserId,
    /// What people call the user; escaped.
    pub label: Box<str>,
    /// Where the user is online, if the server says so.
    pub server_id: Option<ServerId>,
    /// Whether that is our own server.
    pub online_local: bool,
    /// The pinned key; [`KeyId::fingerprint`] is for people to compare.
    pub key: KeyId,
}

/// A user and all that is known of the user's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDetails {
    /// The id.
    pub user_id: UserId,
    /// What people call the user; escaped.
    pub label: Box<str>,
    /// Whether the user is online.
    pub online: bool,
    /// Where, if the server says so.
    pub server_id: Option<ServerId>,
    /// Whether that is our own server.
    pub online_local: bool,
    /// The pinned key; [`KeyId::fingerprint`] is for people to compare.
    pub key: KeyId,
    /// Whether the id is the key's own, or that of the key which it follows from (decisions §4): no other key can
    /// claim it. Else it is the first that we saw.
    pub derived: bool,
    /// How often the user changed the key, each time signed by the one before.
    pub rotations: usize,
    /// Since when the key is pinned here, if that was noted.
    pub since: Option<Timestamp>,
    /// When the fingerprint was compared in person, if ever.
    pub verified: Option<Timestamp>,
    /// Whether a key whose fingerprint was compared signed for this one, which was not.
    pub vouched: bool,
    /// Whether it is we.
    pub own: bool,
    /// What the user tells beside the name (§15.1), if that is known: of those online, while there is room.
    pub meta: Option<Meta>,
}

/// The text of a message. `Debug` shows its length alone: logs hold no plaintext.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Box<str>> for Text {
    fn from(text: Box<str>) -> Self {
        Self(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}
