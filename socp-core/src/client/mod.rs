//! The client machine: one user's session with one server.
//!
//! [`Client`] is pure: events in, actions out. It dials, logs in, keeps the directory and its pins, turns commands into
//! drafts, has received messages opened and shows them once, and comes back by itself when the link is
//! lost. The private key stays with the driver: [`Draft::seal`] and [`SealedMessage::open`] run there.

mod advice;
mod api;
mod directory;
mod draft;
mod files;
mod inbox;
mod label;
mod limits;
mod outbox;
mod parts;
mod profile;
mod records;
mod roster;
mod sealed;
mod seed;
mod session;
mod shown;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use api::*;
pub use draft::{Draft, DraftId};
pub use files::{
    ChunkRun, Direction, Expected, FailureKind, FileAction, FileCommand, FileEvent, FileInfo, FileNotice,
    Offer, OfferPolicy, SourceId, Transfer, TransferId, safe_file_name, split_name,
};
pub use label::{MAX_LABEL_CHARS, escape_label, escape_text, quote_label};
pub use limits::{Limits, Timing};
pub use records::*;
pub use sealed::{Opened, SealedMessage};
pub use seed::{PasswordFrame, PasswordNotice, Registration};

use crate::crypto::{
    Admission, Check, Claimed, Purpose, Refusal, Unverified, Verified, Verifier, manifest_check,
};
use crate::wire::{Empty, ErrorCode, Frame, Payload, PublicKey, ServerId, Timestamp, UserId};
use crate::{Deadline, Now};

use directory::Directory;
use files::Files;
use inbox::Inbox;
use label::escape_detail;
use outbox::Outbox;
use parts::Parts;
use profile::Profile;
use seed::Held;
use session::{Outage, Phase, Stage};
use shown::Memory;

/// The client machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    /// Our id where servers log in by key; `config` has the one of now.
    native_id: UserId,
    /// Whether people know that the server logs in by password.
    told_seed: bool,
    /// Who answers at our server's address, once we know.
    pin: Option<ServerPin>,
    phase: Phase,
    outage: Outage,
    directory: Directory,
    /// When users that the new session has not confirmed are gone.
    missing_until: Option<Duration>,
    outbox: Outbox,
    inbox: Inbox,
    /// Messages of people whom the server's list, which is asked for, may know.
    strangers: VecDeque<Held>,
    /// Long texts that are not complete.
    parts: Parts,
    files: Files,
    /// Changes of our `meta` that the server has not confirmed.
    profile: Profile,
    clock: Clock,
    chance: ChaCha20Rng,
    /// Set when the user quits: until then what is under way may finish.
    quit_at: Option<Duration>,
}

/// The clock of our frames: `ts` strictly rises, so that it names a frame (decisions §6).
#[derive(Debug)]
struct Clock {
    last: u64,
    /// The latest [`Now::instant`].
    instant: Duration,
}

impl Clock {
    fn next(&mut self, now: Now) -> Timestamp {
        self.last = now.unix_ms.max(self.last.saturating_add(1));
        Timestamp(self.last)
    }
}

impl Client {
    /// A client at rest: its deadline, which is now, makes it dial.
    pub fn new(config: Config, mut snapshot: Snapshot, now: Now) -> Self {
        let memory = Memory::new(&mut snapshot, &config.limits);
        let Snapshot { servers, users, meta, shown: _, forgotten: _, doubtful: _, shown_before: _ } =
            snapshot;
        let meta = meta.unwrap_or_else(|| config.meta.clone());
        let config = Config { timing: config.timing.clone().sane(), meta, ..config };
        let limits = &config.limits;
        Self {
            pin: servers.into_iter().find(|pin| {
                let is_given = config.server_key.as_ref().is_none_or(|key| *key == pin.key);
                pin.address == config.address && is_given
            }),
            phase: Phase::Waiting { until: now.instant },
            outage: Outage::default(),
            directory: Directory::new(config.user_id.clone(), &config.meta, users, limits),
            missing_until: None,
            outbox: Outbox::default(),
            inbox: Inbox::new(memory),
            strangers: VecDeque::new(),
            parts: Parts::default(),
            files: Files::default(),
            profile: Profile::default(),
            clock: Clock { last: 0, instant: now.instant },
            chance: ChaCha20Rng::from_seed(config.seed),
            quit_at: None,
            native_id: config.user_id.clone(),
            told_seed: false,
            config,
        }
    }

    /// Which checks a frame needs before [`Event::Frame`]. Run them on the link's task.
    pub fn admit(&self, frame: Frame) -> Admission {
        if let Some(refusal) = Refusal::of_misfit(&frame) {
            return Admission::Refuse(refusal);
        }
        let key = if let Payload::LoginChallenge(challenge) = frame.payload() {
            // It brings its key; `handle` compares it with the pin.
            match challenge.pubkey.key() {
                Ok(key) => key.clone(),
                Err(error) => return Admission::Refuse(Refusal::bad_key(&frame, error)),
            }
        } else if speaks_for_itself(&frame, self.is_from_server(&frame)) {
            return match self.author_check(&frame) {
                Some(check) => Admission::Verify(Unverified::new(frame, vec![check])),
                None => Admission::Accept(Verified::unchecked(frame)),
            };
        } else if let Some(key) = self.server_key() {
            key.clone()
        } else {
            // A server of the standard shows no key, so there is nothing to check its word with; users' own holds.
            let checks = self.rotation_checks(&frame);
            return match checks.is_empty() {
                true => Admission::Accept(Verified::unchecked(frame)),
                false => Admission::Verify(Unverified::new(frame, checks)),
            };
        };
        if frame.sig().is_none() {
            return Admission::Refuse(Refusal::of(&frame, ErrorCode::InvalidSig, "not signed"));
        }
        let hint = match &self.phase {
            Phase::Open(link) => link.hint,
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => None,
        };
        let claimed = Claimed::Payload { hint };
        let mut checks = vec![Check { purpose: Purpose::Transport, key, required: true, claimed }];
        checks.extend(self.rotation_checks(&frame));
        Admission::Verify(Unverified::new(frame, checks))
    }

    /// What proves that a user's key follows from an earlier one, for those whose chain is news.
    fn rotation_checks(&self, frame: &Frame) -> Vec<Check> {
        let entries = match frame.payload() {
            Payload::Directory(page) | Payload::ListResponse(page) => page.users.as_slice(),
            Payload::UserAdded(entry) => std::slice::from_ref(entry),
            // Nobody else tells of users.
            _ => &[],
        };
        entries.iter().filter_map(|entry| self.directory.rotation_check(entry)).collect()
    }

    /// What proves whose a file or an acknowledgement is. Without the proof it is shown as not verified, or does
    /// nothing.
    fn author_check(&self, frame: &Frame) -> Option<Check> {
        let key = || self.key_of(&UserId::from(frame.from()?.clone())).cloned();
        match frame.payload() {
            Payload::FileStart(start) => manifest_check(frame, start, key()?, false),
            Payload::Ack(_) if frame.sig().is_some() => {
                let claimed = Claimed::Payload { hint: None };
                Some(Check { purpose: Purpose::Transport, key: key()?, required: false, claimed })
            }
            // Of a chunk the manifest's hash will tell.
            _ => None,
        }
    }

    /// [`Client::admit`], the checks, and [`Client::handle`] in one.
    pub fn receive(&mut self, now: Now, frame: Frame, verifier: &dyn Verifier) -> Vec<Action> {
        let event = match self.admit(frame) {
            Admission::Accept(verified) => Event::Frame(verified),
            Admission::Verify(unverified) => match unverified.verify(verifier) {
                Ok(verified) => Event::Frame(verified),
                Err(refusal) => Event::Refused(refusal),
            },
            Admission::Refuse(refusal) => Event::Refused(refusal),
        };
        self.handle(now, event)
    }

    /// Takes an event in and says what is to be done. Due deadlines fire first.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.clock.instant = self.clock.instant.max(now.instant);
        let now = Now { instant: self.clock.instant, ..now };
        let mut out = Vec::new();
        self.fire_deadlines(now, &mut out);
        match event {
            Event::LinkOpened => self.on_link_opened(now, &mut out),
            Event::Frame(frame) => self.on_frame(now, frame, &mut out),
            Event::Refused(refusal) => self.on_refused(now, &refusal, &mut out),
            Event::LinkAlive => {
                if let Phase::Open(link) = &mut self.phase {
                    link.heard = now.instant;
                }
            }
            Event::LinkClosed { why } => match self.phase {
                Phase::Open(_) => self.on_link_lost(now, &why, &mut out),
                // Closed by ourselves already.
                Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => {}
            },
            Event::DialFailed { why } => match self.phase {
                Phase::Dialling => self.on_link_lost(now, &why, &mut out),
                Phase::Waiting { .. } | Phase::Open(_) | Phase::Locked | Phase::Stopped => {}
            },
            Event::Password => self.on_password(now),
            Event::Wakeup => {}
            Event::Command { reference, command } => self.on_command(now, reference, command, &mut out),
            Event::Written(draft) => self.on_written(draft, &mut out),
            Event::DraftFailed(draft, error) => self.on_draft_failed(draft, error, &mut out),
            Event::Opened(opened) => self.on_opened(opened, &mut out),
            Event::File(event) => self.on_file_event(now, event, &mut out),
            Event::Shutdown => {
                let until = now.instant.saturating_add(self.config.timing.flush);
                self.quit_at.get_or_insert(until);
            }
        }
        if self.is_ready() {
            self.run_commands(now, &mut out);
            self.pump_files(now, &mut out);
        }
        self.open_messages(&mut out);
        self.finish_quitting(now, &mut out);
        out
    }

    /// When [`Event::Wakeup`] is due at the latest. After a wake-up it lies ahead.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let timing = &self.config.timing;
        let deadline = |at, reason| Some(Deadline { at, reason });
        let after = |from: Duration, interval, reason| deadline(from.saturating_add(interval), reason);
        let of_phase = match &self.phase {
            Phase::Waiting { until } if self.quit_at.is_none() => [deadline(*until, "dial"), None, None],
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => [None, None, None],
            Phase::Open(link) => [
                after(link.heard, timing.silence, "silence"),
                after(link.pinged, timing.ping, "ping"),
                match link.stage {
                    Stage::Greeting if link.guess_at.is_some() => {
                        link.guess_at.and_then(|at| deadline(at, "guess"))
                    }
                    Stage::Greeting
                    | Stage::Proving
                    | Stage::Password(_)
                    | Stage::Syncing { ask_at: None, .. } => after(link.opened, timing.login, "login"),
                    Stage::Syncing { ask_at: Some(at), .. } => {
                        deadline(at.min(link.opened.saturating_add(timing.login)), "directory")
                    }
                    Stage::Ready => link.relist_at.and_then(|at| deadline(at, "list of users")),
                },
            ],
        };
        let rest = [
            self.missing_until.and_then(|at| deadline(at, "missing users")),
            self.outbox.list_until().and_then(|at| deadline(at, "list")),
            self.parts.deadline().and_then(|at| deadline(at, "parts")),
            self.profile.until().and_then(|at| deadline(at, "meta")),
            self.files_deadline().and_then(|at| deadline(at, "files")),
            self.files_paced_at().and_then(|at| deadline(at, "chunks")),
            self.quit_at.filter(|_| !self.is_stopped()).and_then(|at| deadline(at, "quit")),
        ];
        of_phase.into_iter().chain(rest).flatten().min_by_key(|deadline| deadline.at)
    }

    /// Each deadline that fires moves or ends.
    fn fire_deadlines(&mut self, now: Now, out: &mut Vec<Action>) {
        let timing = &self.config.timing;
        let due = |from: Duration, interval| from.saturating_add(interval) <= now.instant;
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now.instant && self.quit_at.is_none() => {
                self.phase = Phase::Dialling;
                out.push(Action::Dial(self.config.address.clone()));
            }
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => {}
            Phase::Open(link) => {
                if link.stage != Stage::Ready && due(link.opened, timing.login) {
                    self.drop_link(now, "the login took too long", out);
                } else if due(link.heard, timing.silence) {
                    self.drop_link(now, "the server has gone silent", out);
                } else {
                    if due(link.pinged, timing.ping) {
                        link.pinged = now.instant;
                        out.push(Action::Ping);
                    }
                    match link.stage {
                        Stage::Syncing { ask_at: Some(at), .. } if at <= now.instant => {
                            self.on_directory_late(now, out);
                        }
                        Stage::Greeting if link.guess_at.take_if(|at| *at <= now.instant).is_some() => {
                            self.greet_seed(now, out);
                        }
                        Stage::Ready if link.relist_at.is_some_and(|at| at <= now.instant) => {
                            self.on_relist(now, out);
                        }
                        Stage::Greeting
                        | Stage::Proving
                        | Stage::Password(_)
                        | Stage::Syncing { .. }
                        | Stage::Ready => {}
                    }
                }
            }
        }
        if self.missing_until.is_some_and(|at| at <= now.instant) {
            self.on_missing(now, out);
        }
        if self.outbox.list_until().is_some_and(|at| at <= now.instant) {
            self.on_list_timeout(out);
            self.release(now, out);
        }
        if self.profile.until().is_some_and(|at| at <= now.instant) {
            self.on_meta_late(now, out);
        }
        self.on_parts_due(now, out);
        self.on_files_due(now, out);
    }

    /// After [`Event::Shutdown`]: ends the session once nothing is under way, or time is up, or there is
    /// no session to wait for.
    fn finish_quitting(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(quit_at) = self.quit_at else { return };
        let time_is_up = quit_at <= now.instant;
        match self.phase {
            Phase::Stopped => return,
            Phase::Waiting { .. } | Phase::Locked => self.fail_commands("not connected", out),
            Phase::Dialling | Phase::Open(_) => {}
        }
        let idle = self.outbox.is_idle()
            && self.inbox.len() == 0
            && self.strangers.is_empty()
            && self.files.is_idle()
            && self.profile.is_idle();
        if !idle && !time_is_up {
            return;
        }
        if self.is_ready() {
            self.cancel_files(now, out);
            self.send_to_server(now, &Payload::CtrlClose(Empty {}), out);
        }
        self.stop("the user quits", out);
    }

    /// Why new commands cannot be taken.
    fn deaf(&self) -> Option<&'static str> {
        match (&self.phase, self.quit_at) {
            (Phase::Stopped, _) => Some("the client has stopped"),
            (Phase::Waiting { .. } | Phase::Dialling | Phase::Open(_) | Phase::Locked, Some(_)) => {
                Some("the client is quitting")
            }
            (Phase::Waiting { .. } | Phase::Dialling | Phase::Open(_) | Phase::Locked, None) => None,
        }
    }

    /// The server's key: pinned, or given by the user.
    fn server_key(&self) -> Option<&PublicKey> {
        self.pin.as_ref().map(|pin| &pin.key).or(self.config.server_key.as_ref())
    }

    /// The pinned key of a user: online, offline, or ourselves.
    fn key_of(&self, id: &UserId) -> Option<&PublicKey> {
        if *id == self.config.user_id { Some(&self.config.key) } else { self.directory.key(id) }
    }

    fn view(&self, id: &UserId) -> Option<KnownUser> {
        if *id != self.config.user_id {
            return self.directory.view(id);
        }
        Some(KnownUser {
            user_id: id.clone(),
            label: self.directory.label(id),
            server_id: self.server_id().cloned(),
            online_local: true,
            key: self.config.key.id(),
        })
    }

    /// Our id, at the server that we talk to.
    pub fn user_id(&self) -> &UserId {
        &self.config.user_id
    }

    /// The server's pinned identity, once it was met.
    pub fn server(&self) -> Option<(&ServerId, &PublicKey)> {
        self.pin.as_ref().map(|pin| (&pin.server_id, &pin.key))
    }

    /// Whether there is a session and everybody online is known.
    pub fn is_ready(&self) -> bool {
        match &self.phase {
            Phase::Open(link) => link.stage == Stage::Ready,
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => false,
        }
    }

    /// Whether the client has stopped for good.
    pub fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Whether the driver should stop reading the link until messages have been opened: what comes
    /// beyond [`Limits::received_messages`] is lost.
    pub fn is_congested(&self) -> bool {
        self.inbox.len() >= self.config.limits.received_messages.div_ceil(2).max(1)
    }

    /// Everybody known to be online but ourselves, by label, then id.
    pub fn users(&self) -> Vec<KnownUser> {
        let mut users: Vec<_> = self.directory.ids().filter_map(|id| self.view(id)).collect();
        users.sort_by(|a, b| (&a.label, &a.user_id).cmp(&(&b.label, &b.user_id)));
        users
    }

    /// What a user is called on screens; escaped.
    pub fn label_of(&self, id: &UserId) -> Box<str> {
        self.directory.label(id)
    }
}

/// Frames that need no proof of the server's: a message in the public channel, whose author signed its content;
/// files and what acknowledges them, likewise; what we do not act on; and a bare CTRL_CLOSE (decisions §1),
/// which does no more than closing the socket would.
fn speaks_for_itself(frame: &Frame, from_server: bool) -> bool {
    let ignored = matches!(
        frame.payload(),
        Payload::UserAdvertise(_)
            | Payload::UserRemove(_)
            | Payload::PublicChannelKeyShare(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::Ack(_)
            | Payload::Unknown(_)
    );
    let relayed = matches!(frame.payload(), Payload::MsgPublicChannel(_)) && !from_server;
    let bare_close = matches!(frame.payload(), Payload::CtrlClose(_)) && frame.sig().is_none();
    ignored || relayed || bare_close
}

fn dropped(out: &mut Vec<Action>, why: &'static str, detail: &str) {
    out.push(Action::Notify(Notice::Dropped { why, detail: escape_detail(detail) }));
}
