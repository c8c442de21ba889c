//! What the machine is asked, asks and tells about files.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::{Binary, ErrorCode, UserId};

use super::super::api::{Doubt, SentTo};
use super::sealing::{ChunkRun, Offer};

/// A transfer, in or out. People type the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file that is being sent, to one user or to several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(super) u64);

/// Which files of others are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfferPolicy {
    /// None.
    Refuse,
    /// Those that [`FileCommand::Accept`] names.
    #[default]
    Ask,
    /// All whose manifest is proven to be their sender's; the others as with `Ask`.
    Accept,
}

/// What the user wants done with files (§14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileCommand {
    /// `/file`: ends in [`FileNotice::Sent`] or a failure once the other end has all of it, or has refused it.
    Send {
        /// A label, a user id, or `public`: everybody online.
        to: Box<str>,
        /// Which file.
        path: PathBuf,
    },
    /// `/accept`: ends in [`FileNotice::Accepted`].
    Accept(Option<TransferId>),
    /// `/reject`: ends in [`FileNotice::Stopped`].
    Reject(Option<TransferId>),
    /// `/cancel`: ends in [`FileNotice::Stopped`]. A file to everybody is stopped for all.
    Cancel(Option<TransferId>),
}

/// What the machine asks of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Open a file and read it through once; answered by [`FileEvent::Read`].
    Read {
        /// Its name from now on.
        source: SourceId,
        /// Where it lies.
        path: PathBuf,
        /// A longer one is refused.
        max_bytes: u64,
    },
    /// Sign and write a FILE_START; answered by [`FileEvent::OfferWritten`] or [`FileEvent::SendFailed`].
    Offer(Offer),
    /// Read a run of blocks, seal them and write their frames in order, behind all else that waits for the
    /// link; answered by [`FileEvent::Written`] or [`FileEvent::SendFailed`].
    Seal(ChunkRun),
    /// The file is needed no more.
    Close(SourceId),
    /// A file may come. Nothing is to be done before the first of the next three.
    Expect(Expected),
    /// Keep a sealed block, on disk: it may be long until somebody accepts it. They come in order.
    Keep {
        /// Whose.
        transfer: TransferId,
        /// One block.
        ciphertext: Binary,
    },
    /// The file is wanted: open its blocks as they come, several at once; answered by [`FileEvent::Opened`]s and
    /// in the end by [`FileEvent::Saved`] or [`FileEvent::ReceiveFailed`].
    Open(TransferId),
    /// No further block comes: if bytes are missing when all are open, it has failed.
    End(TransferId),
    /// Forget it and remove what was kept.
    Drop(TransferId),
}

/// A file that may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its name among transfers.
    pub transfer: TransferId,
    /// What to call it, if nothing is called so yet; safe ([`super::safe_file_name`]).
    pub name: Box<str>,
    /// Its length in bytes.
    pub size: u64,
    /// What its bytes must hash to.
    pub sha256: [u8; 32],
}

/// What reading a file through told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its length in bytes.
    pub size: u64,
    /// The hash of its bytes.
    pub sha256: [u8; 32],
}

/// What the driver tells the machine. Words are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// A [`FileAction::Read`] is done.
    Read {
        /// Which file.
        source: SourceId,
        /// What it is, or why it cannot be sent.
        result: Result<FileInfo, Box<str>>,
    },
    /// An offer's frame is on the socket.
    OfferWritten(TransferId),
    /// So many further chunks are on the socket.
    Written {
        /// Of which transfer.
        transfer: TransferId,
        /// How many.
        chunks: u64,
    },
    /// An offer or a run of blocks came to nothing.
    SendFailed {
        /// Of which transfer.
        transfer: TransferId,
        /// Why, for our user alone.
        why: Box<str>,
    },
    /// So many further blocks are open and written to disk.
    Opened {
        /// Of which transfer.
        transfer: TransferId,
        /// How many.
        chunks: u64,
        /// What they held.
        bytes: u64,
    },
    /// The file is complete, its hash is right, and it has its name.
    Saved {
        /// Which transfer.
        transfer: TransferId,
        /// Where it lies.
        path: PathBuf,
    },
    /// It came to nothing, and nothing is left of it.
    ReceiveFailed {
        /// Which transfer.
        transfer: TransferId,
        /// What kind of failure: the sender is told no more than that.
        kind: FailureKind,
        /// Why, for our user alone: it may name places on this machine.
        why: Box<str>,
    },
}

/// Why a file that came was not saved, as far as that is its sender's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no space left for it.
    NoSpace,
    /// Nothing may be written where files go.
    NotAllowed,
    /// The folder that files go to is missing.
    NoFolder,
    /// The system has failed otherwise.
    System,
    /// A part of it could not be decrypted.
    NotDecrypted,
    /// What came is not what was announced.
    OtherContent,
}

impl FailureKind {
    /// For the sender.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NoSpace => "no space left",
            Self::NotAllowed => "not allowed to write",
            Self::NoFolder => "the folder is missing",
            Self::System => "the system failed",
            Self::NotDecrypted => "a part of it could not be decrypted",
            Self::OtherContent => "what came is not what was announced",
        }
    }
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From us.
    Out,
    /// To us.
    In,
}

/// What a transfer is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its number.
    pub id: TransferId,
    /// Which way it goes.
    pub direction: Direction,
    /// The other end.
    pub user_id: UserId,
    /// The other end's label.
    pub label: Box<str>,
    /// What the file is called; safe, and escaped.
    pub name: Box<str>,
    /// Its length in bytes.
    pub size: u64,
}

/// What the user is told about files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileNotice {
    /// A file waits until others to the same user are through: nobody takes any number at one time.
    Waiting(Transfer),
    /// We offer a file; the other end decides.
    Offering(Transfer),
    /// Somebody offers a file.
    Offered {
        /// What and whose.
        transfer: Transfer,
        /// Whether it goes to everybody.
        to_all: bool,
        /// Whether it is proven whose it is, and if not, why.
        verified: Result<(), Doubt>,
        /// Whether it is taken without asking.
        accepted: bool,
    },
    /// An offered file is on its way.
    Accepted {
        /// The command's.
        reference: u64,
        /// Which.
        transfer: Transfer,
    },
    /// Ours is on its way: the other end has accepted it, or has a client that says nothing.
    Started(Transfer),
    /// A transfer has ended because we said so.
    Stopped {
        /// The command's.
        reference: u64,
        /// Which.
        transfer: Transfer,
        /// Transfers of the same file to others, which have ended with it.
        others: Vec<TransferId>,
    },
    /// How far it is; told while it moves.
    Progress {
        /// Which.
        transfer: Transfer,
        /// Bytes so far.
        done: u64,
        /// Bytes a second, lately.
        rate: u64,
        /// How long the rest will take at that.
        left: Option<Duration>,
    },
    /// A file is complete and verified.
    Saved {
        /// Which.
        transfer: Transfer,
        /// Where it lies.
        path: PathBuf,
        /// What it took since it was accepted.
        took: Duration,
    },
    /// A file has reached one of its recipients.
    Arrived {
        /// Which.
        transfer: Transfer,
        /// Whether the recipient's client said that it is complete and verified.
        confirmed: bool,
        /// What it took since it was accepted.
        took: Duration,
    },
    /// A file has been sent to all who take it.
    Sent {
        /// The command's.
        reference: u64,
        /// What it is called.
        name: Box<str>,
        /// To whom.
        to: SentTo,
        /// Whether every recipient's client said that it is complete and verified. Clients of the standard
        /// have no way to.
        confirmed: bool,
    },
    /// A transfer came to nothing.
    Failed {
        /// The command's that it ends: a `/file` to a single user.
        reference: Option<u64>,
        /// Which.
        transfer: Transfer,
        /// What kind of failure.
        code: ErrorCode,
        /// In words; escaped.
        detail: Box<str>,
    },
    /// The end of a `/file` that has reached nobody because we stopped it.
    Cancelled {
        /// The command's.
        reference: u64,
        /// Which, or the first of several.
        transfer: Transfer,
    },
}
