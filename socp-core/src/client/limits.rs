//! Every bound and every interval of the client machine, with where its number comes from.

use std::time::Duration;

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame that is read, in bytes (decisions §1); the transport enforces it with close 1009.
    pub frame_in_bytes: usize,
    /// Users that are known at one time: ten full servers and some.
    pub users: usize,
    /// Users whose keys are pinned, those offline included. 200,000 pins of 0.7 KiB are 140 MB.
    pub pinned_users: usize,
    /// Commands that wait for a session or for their turn.
    pub queued_commands: usize,
    /// Messages that are being sealed or written: enough for a pool and a batch of writes.
    pub drafts_in_flight: usize,
    /// Written messages whose ERROR is still recognised.
    pub sent_references: usize,
    /// Messages of people who are not known yet: they wait for the list that is asked for.
    pub strangers: usize,
    /// Messages of one long text (decisions §1).
    pub text_parts: usize,
    /// Longest `meta` of our own, in bytes (decisions §1).
    pub meta_bytes: usize,
    /// What others tell of themselves beside their names, of all together, in bytes: 8,000 of the longest `meta`s.
    pub metas_bytes: usize,
    /// Longest name in a `Tell`, in bytes: a label has 64 characters, escaped ones included.
    pub name_bytes: usize,
    /// Received messages that are being opened.
    pub opens_in_flight: usize,
    /// Received messages that wait to be opened; the driver stops reading at half of them.
    pub received_messages: usize,
    /// Long texts of others that are not complete, of 7 KiB each at most.
    pub long_texts: usize,
    /// Shown messages and offers that are remembered and proven to be their authors'.
    pub shown: usize,
    /// The same of those that are not.
    pub doubtful: usize,
    /// Longest file, sent or received, in bytes (decisions §1).
    pub file_bytes: u64,
    /// Transfers to others at one time, and recipients of one file.
    pub files_out: usize,
    /// Transfers to one user at one time; what is beyond waits. As many as natives take from one user
    /// ([`Limits::files_in_per_user`]).
    pub files_out_per_user: usize,
    /// Chunks, of all transfers together, that are being sealed or written: enough for a pool and a batch of
    /// writes, and half a megabyte.
    pub chunks_in_flight: u64,
    /// Chunks of one transfer that its recipient has not opened yet. At 0.285 MB/s per core this is 0.4 s of
    /// two cores' work, which covers the slowest of paths.
    pub file_window: u64,
    /// The same of all transfers to us together: a quarter of what our server keeps for us (its link's queue).
    pub file_windows: u64,
    /// Chunks that a recipient who does not answer FILE_START, as the standard has it, gets at once.
    pub blind_chunks: u64,
    /// Chunks a second after these: less than the slowest implementation decrypts.
    pub blind_chunks_per_second: u64,
    /// Files that others offer us or send.
    pub files_in: usize,
    /// Files that one other user offers us or sends.
    pub files_in_per_user: usize,
    /// Bytes of sealed blocks that nobody has accepted yet, of all files together.
    pub kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_in_bytes: 1024 * 1024,
            users: 110_000,
            pinned_users: 200_000,
            queued_commands: 1_000,
            drafts_in_flight: 64,
            sent_references: 4_096,
            strangers: 64,
            text_parts: 16,
            meta_bytes: 4 * 1024,
            metas_bytes: 32 * 1024 * 1024,
            name_bytes: 512,
            opens_in_flight: 16,
            received_messages: 4_096,
            long_texts: 64,
            shown: super::MAX_SHOWN,
            doubtful: super::MAX_DOUBTFUL,
            file_bytes: 64 * 1024 * 1024,
            files_out: 256,
            files_out_per_user: 8,
            chunks_in_flight: 512,
            file_window: 512,
            file_windows: 1_024,
            blind_chunks: 256,
            blind_chunks_per_second: 200,
            files_in: 32,
            files_in_per_user: 8,
            kept_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Intervals and timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A login must be finished within this, directory included.
    pub login: Duration,
    /// Without a DIRECTORY for this long after the login we ask with LIST_REQUEST.
    pub directory: Duration,
    /// Pings (decisions §5).
    pub ping: Duration,
    /// Silence after which a link is dead (§8.4).
    pub silence: Duration,
    /// First redial at the latest.
    pub redial_first: Duration,
    /// Slowest redial.
    pub redial_slowest: Duration,
    /// Who is missing from the directory after a reconnect is gone after this.
    pub missing: Duration,
    /// A LIST_RESPONSE must have come within this.
    pub list: Duration,
    /// Servers that do not tell of everybody are asked this often; each answer costs them a signature.
    pub relist: Duration,
    /// When somebody unknown writes, they are asked at once, but not sooner than this after the last time.
    pub relist_soonest: Duration,
    /// Challenges that follow sooner than this on an answered one are not answered: a proof costs us a
    /// private-key operation.
    pub challenge: Duration,
    /// On quitting, what is under way has this long to be written.
    pub flush: Duration,
    /// After a part of a long text the next must come within this; else it is shown as it is.
    pub parts: Duration,
    /// Whose client has not answered FILE_START within this has one that never will.
    pub file_answer: Duration,
    /// An offered file may be accepted for this long.
    pub file_offer: Duration,
    /// A file that does not move for this long has failed.
    pub file_idle: Duration,
    /// How far a file is, is told this often.
    pub progress: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            login: secs(15),
            directory: secs(2),
            ping: secs(15),
            silence: secs(45),
            redial_first: secs(1),
            redial_slowest: secs(60),
            missing: secs(30),
            list: secs(15),
            relist: secs(15),
            relist_soonest: secs(1),
            challenge: secs(5),
            flush: secs(10),
            parts: secs(30),
            file_answer: secs(3),
            file_offer: secs(600),
            file_idle: secs(60),
            progress: secs(1),
        }
    }
}

impl Timing {
    /// The same with no interval of less than a millisecond: a deadline always lies ahead.
    pub(super) fn sane(self) -> Self {
        let sane = |interval: Duration| interval.max(Duration::from_millis(1));
        let Self {
            login,
            directory,
            ping,
            silence,
            redial_first,
            redial_slowest,
            missing,
            list,
            relist,
            relist_soonest,
            challenge,
            flush,
            parts,
            file_answer,
            file_offer,
            file_idle,
            progress,
        } = self;
        Self {
            login: sane(login),
            directory: sane(directory),
            ping: sane(ping),
            silence: sane(silence),
            redial_first: redial_first.max(Duration::from_millis(2)),
            redial_slowest: redial_slowest.max(Duration::from_millis(2)),
            missing: sane(missing),
            list: sane(list),
            relist: sane(relist),
            relist_soonest: sane(relist_soonest),
            challenge: sane(challenge),
            flush: sane(flush),
            parts: sane(parts),
            file_answer: sane(file_answer),
            file_offer: sane(file_offer),
            file_idle: sane(file_idle),
            progress: sane(progress),
        }
    }
}
