//! From dial to directory, and back again after a loss (decisions §4, §5).

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::crypto::{Purpose, Refusal, SharedPayload, SignatureForm, Unsigned, Verified};
use crate::dialect::Dialect;
use crate::wire::{
    Directory as DirectoryPage, Empty, ErrorCode, ErrorReport, Frame, LoginChallenge, LoginProof, Meta,
    Nonce, Payload, Recipient, ServerId, Timestamp, UserHello, UserId, UserLoggedIn,
};
use crate::{Now, close_code};

use super::advice::with_advice;
use super::api::{Action, MessageKind, Notice};
use super::inbox::failed;
use super::label::escape_detail;
use super::records::{Record, ServerPin};
use super::seed::Step;
use super::{Client, dropped};

/// Where the client stands with its server.
#[derive(Debug)]
pub(super) enum Phase {
    /// Until the next dial.
    Waiting { until: Duration },
    /// The driver dials.
    Dialling,
    /// A socket is open.
    Open(Link),
    /// Until there is a password for the server.
    Locked,
    /// For good.
    Stopped,
}

/// The open socket.
#[derive(Debug)]
pub(super) struct Link {
    /// When the link was opened, or the last page of the directory came.
    pub(super) opened: Duration,
    pub(super) heard: Duration,
    pub(super) pinged: Duration,
    pub(super) stage: Stage,
    /// When a challenge was answered last.
    answered: Option<Duration>,
    /// What the server speaks, as far as we know.
    pub(super) dialect: Dialect,
    /// When a server that does not answer our hello is taken for one that does not know it.
    pub(super) guess_at: Option<Duration>,
    /// When the server is asked again who is online, if it must be, and when it was last.
    pub(super) relist_at: Option<Duration>,
    pub(super) listed: Duration,
    /// The id of a server that logged us in without showing a key.
    unproven: Option<ServerId>,
    /// How the server signs.
    pub(super) hint: Option<SignatureForm>,
    /// What our hellos on this link carry.
    pub(super) nonce: Nonce,
    /// Whether the server has shown that it knows it: it is no recording.
    pub(super) fresh: bool,
}

/// How far the login has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// USER_HELLO is sent.
    Greeting,
    /// LOGIN_PROOF is sent.
    Proving,
    /// A login by password is under way.
    Password(Step),
    /// Logged in; the directory is on its way, or is asked for at `ask_at`, or was asked for.
    Syncing { ask_at: Option<Duration>, asked: bool },
    /// Messages may be sent.
    Ready,
}

/// What lies between two sessions.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Dials since the last session.
    attempts: u32,
    /// Whether people know that there is no session.
    told: bool,
    /// The last refusal that people know of.
    pub(super) refused: Option<ErrorCode>,
    /// Whether there ever was a session.
    had_session: bool,
}

/// How far ahead of our clock a proof may be dated, in milliseconds: servers take no more (decisions §4).
const MAX_AHEAD_MS: u64 = 600_000;

impl Client {
    pub(super) fn on_link_opened(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Dialling => {}
            Phase::Stopped => {
                return out
                    .push(Action::Close { code: close_code::NORMAL, reason: "the client has stopped" });
            }
            Phase::Waiting { .. } | Phase::Open(_) | Phase::Locked => {
                return dropped(out, "a link that was not asked for", "");
            }
        }
        let mut nonce = [0; 32];
        self.chance.fill_bytes(&mut nonce);
        self.phase = Phase::Open(Link {
            opened: now.instant,
            heard: now.instant,
            pinged: now.instant,
            stage: Stage::Greeting,
            answered: None,
            dialect: self.config.dialect.unwrap_or(Dialect::Standard),
            // Half of the time is enough for any native server; then there is still the other half.
            guess_at: self.may_be_seed().then(|| now.instant.saturating_add(self.config.timing.login / 2)),
            relist_at: None,
            listed: now.instant,
            unproven: None,
            hint: None,
            nonce: Nonce(nonce),
            fresh: false,
        });
        self.greet(now, out);
    }

    /// Who we are, and what others see of us.
    pub(super) fn hello(&self, meta: Meta) -> UserHello {
        let nonce = match &self.phase {
            Phase::Open(link) => Some(link.nonce),
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => None,
        };
        UserHello {
            client: Some(self.config.program.clone()),
            pubkey: Some(self.config.key.clone().into()),
            enc_pubkey: Some(self.config.key.clone().into()),
            auth: vec!["pss".into()],
            ext: Vec::new(),
            meta: Some(meta),
            rotations: self.config.rotations.clone(),
            nonce,
        }
    }

    /// Sends a frame on the link; gives its time, by which an ERROR would name it.
    pub(super) fn send_to_server(&mut self, now: Now, payload: &Payload, out: &mut Vec<Action>) -> Timestamp {
        // Never unnamed: a hello to nobody is a seed's login (decisions §4).
        let to = match self.server_id() {
            Some(server_id) => Recipient::from(server_id),
            None => Recipient::Named(self.config.address.to_string().into()),
        };
        self.send_frame(now, to, payload, out)
    }

    /// Sends a frame as our server wants it, if it does.
    pub(super) fn send_frame(
        &mut self,
        now: Now,
        to: Recipient,
        payload: &Payload,
        out: &mut Vec<Action>,
    ) -> Timestamp {
        let ts = self.clock.next(now);
        self.write(to, ts, payload, out);
        ts
    }

    fn write(&self, to: Recipient, ts: Timestamp, payload: &Payload, out: &mut Vec<Action>) {
        let from = self.config.user_id.id().clone();
        let frame = Unsigned::new(from, to, ts, SharedPayload::new(payload));
        out.extend(frame.dressed(self.dialect()).map(Action::Send));
    }

    /// Sends a frame of our own to another user; its payload carries the same time.
    pub(super) fn send_to_user(
        &mut self,
        to: &UserId,
        ts: Timestamp,
        payload: &Payload,
        out: &mut Vec<Action>,
    ) {
        self.write(Recipient::from(to), ts, payload, out);
    }

    /// The server's id, as pinned or as it calls itself.
    pub(super) fn server_id(&self) -> Option<&ServerId> {
        match (&self.pin, &self.phase) {
            (Some(pin), _) => Some(&pin.server_id),
            (None, Phase::Open(link)) => link.unproven.as_ref(),
            (None, Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped) => None,
        }
    }

    /// Whether a frame names the server as its origin.
    pub(super) fn is_from_server(&self, frame: &Frame) -> bool {
        frame.from().is_some() && frame.from() == self.server_id().map(ServerId::id)
    }

    pub(super) fn on_frame(&mut self, now: Now, frame: Verified, out: &mut Vec<Action>) {
        let Phase::Open(link) = &mut self.phase else { return };
        link.heard = now.instant;
        if let Some(proof) = frame.proof(Purpose::Transport) {
            link.hint = proof.form.or(link.hint);
        }
        let stage = link.stage;
        if let Err(why) = self.believe(&frame) {
            return dropped(out, why, frame.frame().kind().as_str());
        }
        let logged_in = matches!(stage, Stage::Syncing { .. } | Stage::Ready);
        let verified = &frame;
        let frame = frame.frame();
        match frame.payload() {
            Payload::LoginChallenge(challenge) => self.on_login_challenge(now, challenge, out),
            Payload::UserLoggedIn(session) => self.on_user_logged_in(now, frame, session, out),
            Payload::Error(report) => self.on_error(now, report, out),
            Payload::CtrlClose(_) => self.drop_link(now, "the server says goodbye", out),
            Payload::Directory(page) if logged_in => self.on_directory(now, verified, page, out),
            Payload::ListResponse(page) if logged_in => self.on_list_response(now, verified, page, out),
            Payload::UserAdded(entry) if logged_in => self.on_user_added(now, verified, entry, out),
            Payload::UserRemoved(removed) if logged_in => self.on_user_removed(now, removed, out),
            Payload::UserKeyConflict(conflict) if logged_in => self.on_user_key_conflict(conflict, out),
            Payload::UserHelloAck(_) => self.on_hello_ack(now, out),
            Payload::UserRegistered(registered) => self.on_registered(now, &registered.user_id, out),
            Payload::UserDeliver(message)
                if logged_in && self.hold(now, MessageKind::Direct, frame, message) => {}
            Payload::MsgPublicChannel(message)
                if logged_in && self.hold(now, MessageKind::Public, frame, message) => {}
            Payload::UserDeliver(message) if logged_in => {
                self.on_message(now, MessageKind::Direct, frame, message, out);
            }
            Payload::MsgPublicChannel(message) if logged_in => {
                self.on_message(now, MessageKind::Public, frame, message, out);
            }
            Payload::FileStart(start) | Payload::FileStartDeliver(start) if logged_in => {
                self.on_file_start(now, verified, start, out);
            }
            Payload::FileChunk(chunk) | Payload::FileChunkDeliver(chunk) if logged_in => {
                self.on_file_chunk(now, frame, chunk, out);
            }
            Payload::FileEnd(end) | Payload::FileEndDeliver(end) if logged_in => {
                self.on_file_end(frame, end, out);
            }
            Payload::Ack(ack) if logged_in => self.on_ack(now, verified, ack, out),
            Payload::Directory(_)
            | Payload::ListResponse(_)
            | Payload::UserAdded(_)
            | Payload::UserRemoved(_)
            | Payload::UserKeyConflict(_)
            | Payload::UserDeliver(_)
            | Payload::MsgPublicChannel(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::FileStartDeliver(_)
            | Payload::FileChunkDeliver(_)
            | Payload::FileEndDeliver(_)
            | Payload::Ack(_) => dropped(out, "a frame before the login", frame.kind().as_str()),
            // Nothing for us to do, so far.
            Payload::Heartbeat(_)
            | Payload::Pubkey(_)
            | Payload::UserAdvertise(_)
            | Payload::UserRemove(_)
            | Payload::PublicChannelAdd(_)
            | Payload::PublicChannelUpdated(_)
            | Payload::PublicChannelKeyShare(_)
            | Payload::PublicChannelSnapshot(_)
            | Payload::UserKeyRequest(_)
            | Payload::UserKeyAnswer(_) => {}
            // What a server does not send to a user.
            Payload::ServerHelloJoin(_)
            | Payload::ServerWelcome(_)
            | Payload::ServerAnnounce(_)
            | Payload::ServerHelloLink(_)
            | Payload::LinkProof(_)
            | Payload::ServerDeliver(_)
            | Payload::Presence(_)
            | Payload::PresenceRequest(_)
            | Payload::PresenceList(_)
            | Payload::UserHello(_)
            | Payload::LoginProof(_)
            | Payload::ListRequest(_)
            | Payload::PubkeyRequest(_)
            | Payload::MsgDirect(_)
            | Payload::UserRegister(_)
            | Payload::UserLogin(_)
            | Payload::Unknown(_)
            | Payload::Misfit(_) => dropped(out, "a type that is not for users", frame.kind().as_str()),
        }
    }

    /// Whether a frame is the server's word, as far as that can be known: the pins may have changed since
    /// [`Client::admit`].
    fn believe(&self, frame: &Verified) -> Result<(), &'static str> {
        let from = frame.frame().from();
        if let Payload::LoginChallenge(challenge) = frame.frame().payload() {
            let proven = challenge.pubkey.key().is_ok_and(|key| frame.proven_by(Purpose::Transport, key));
            let named = from == Some(challenge.server_id.id());
            return if proven && named { Ok(()) } else { Err("a challenge that its server did not sign") };
        }
        if super::speaks_for_itself(frame.frame(), self.is_from_server(frame.frame())) {
            return Ok(());
        }
        // Without a key nothing can be proven; the id at least must stay the same.
        match (self.server_id(), self.server_key()) {
            (Some(server_id), _) if from != Some(server_id.id()) => Err("not from the server"),
            (_, Some(key)) if !frame.proven_by(Purpose::Transport, key) => Err("not signed by the server"),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    pub(super) fn on_refused(&mut self, now: Now, refusal: &Refusal, out: &mut Vec<Action>) {
        let Phase::Open(link) = &mut self.phase else { return };
        link.heard = now.instant;
        dropped(out, "a bad frame", &refusal.to_string());
        if let Some(code) = refusal.close {
            out.push(Action::Close { code, reason: "bad frame" });
            self.on_link_lost(now, "the server sent a bad frame", out);
        }
    }

    /// LOGIN_CHALLENGE (decisions §4), at the login and when the server renews its attestation of us.
    fn on_login_challenge(&mut self, now: Now, challenge: &LoginChallenge, out: &mut Vec<Action>) {
        let Ok(key) = challenge.pubkey.key() else { return };
        let Phase::Open(link) = &self.phase else { return };
        let echoed = self.echoes();
        let (is_stale, is_echo) = match challenge.client_nonce {
            Some(nonce) => (nonce != link.nonce, true),
            // One that follows on a fresh one need not say so again.
            None => (echoed && !link.fresh, false),
        };
        let met = ServerPin {
            address: self.config.address.clone(),
            server_id: challenge.server_id.clone(),
            key: key.clone(),
            echoes: echoed || is_echo,
        };
        match &self.pin {
            Some(pin) if !pin.is_of(&met) => {
                out.push(Action::Notify(Notice::ServerChanged { was: pin.clone(), now: met }));
                return self.stop("another server answers at this address", out);
            }
            _ if is_stale => return self.on_stale(met, out),
            Some(pin) if *pin == met => {}
            None if self.server_key().is_some_and(|given| *given != met.key) => {
                let (code, wrong) =
                    (ErrorCode::BadKey, "the server has another key than the one that you gave");
                let detail = wrong.into();
                out.push(Action::Notify(Notice::LoginRefused { code, detail, retrying: false }));
                return self.stop(wrong, out);
            }
            Some(_) | None => {
                out.push(Action::Persist(Record::ServerPin(met.clone())));
                self.pin = Some(met);
            }
        }
        let Phase::Open(link) = &mut self.phase else { return };
        link.fresh |= is_echo;
        let too_soon =
            link.answered.is_some_and(|at| now.instant < at.saturating_add(self.config.timing.challenge));
        if too_soon {
            return dropped(out, "a challenge too soon after the last", "");
        }
        link.answered = Some(now.instant);
        if link.stage == Stage::Greeting {
            link.stage = Stage::Proving;
        }
        // Another program of ours may run on a clock that is ahead. A server may not send us years ahead with
        // that: nobody could replace such a proof.
        let after = challenge.after.filter(|after| *after <= now.unix_ms.saturating_add(MAX_AHEAD_MS));
        let issued_at = now.unix_ms.max(after.map_or(0, |after| after + 1));
        let proof = LoginProof {
            nonce: challenge.nonce,
            user_id: self.config.user_id.clone(),
            server_id: challenge.server_id.clone(),
            host: self.config.address.to_string().into(),
            issued_at,
        };
        self.send_to_server(now, &Payload::LoginProof(proof), out);
    }

    /// Whether our server is known to show that it is no recording.
    pub(super) fn echoes(&self) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.echoes)
    }

    /// What our server signed was not made for this login: somebody may play back an earlier one.
    pub(super) fn on_stale(&mut self, server: ServerPin, out: &mut Vec<Action>) {
        out.push(Action::Notify(Notice::ServerNotFresh { server }));
        self.stop("the server's answer is not fresh", out);
    }

    fn on_user_logged_in(&mut self, now: Now, frame: &Frame, session: &UserLoggedIn, out: &mut Vec<Action>) {
        let own_key = session.pubkey.as_ref().is_none_or(|field| field.key() == Ok(&self.config.key));
        let wrong = if session.user_id != self.config.user_id {
            Some("the server logged in another user")
        } else if !own_key {
            Some("the server has another key for us")
        } else {
            None
        };
        let stale = self.pin.clone().filter(|pin| pin.echoes);
        let Phase::Open(link) = &mut self.phase else { return };
        match (link.stage, stale) {
            (Stage::Greeting | Stage::Proving, Some(server)) if !link.fresh => {
                return self.on_stale(server, out);
            }
            // A login by password, which the user wants, is without challenge.
            (Stage::Greeting | Stage::Proving | Stage::Password(_), _) => {}
            // The answer to a renewed proof.
            (Stage::Syncing { .. } | Stage::Ready, _) => return,
        }
        if let Some(wrong) = wrong {
            let detail = wrong.into();
            out.push(Action::Notify(Notice::LoginRefused {
                code: ErrorCode::BadKey,
                detail,
                retrying: false,
            }));
            return self.stop(wrong, out);
        }
        if self.pin.is_none() {
            let Some(named) = frame.from() else { return dropped(out, "a login by nobody", "") };
            let server_id = ServerId::from(named.clone());
            match self.config.server_key.clone() {
                Some(key) => {
                    let pin =
                        ServerPin { address: self.config.address.clone(), server_id, key, echoes: false };
                    out.push(Action::Persist(Record::ServerPin(pin.clone())));
                    self.pin = Some(pin);
                }
                None => link.unproven = Some(server_id),
            }
        }
        let ask_at = Some(now.instant.saturating_add(self.config.timing.directory));
        link.stage = Stage::Syncing { ask_at, asked: false };
        self.directory.begin_session();
        self.missing_until = None;
        if self.must_ask() {
            self.on_directory_late(now, out);
        }
    }

    /// Without DIRECTORY the server is asked for its list.
    pub(super) fn on_directory_late(&mut self, now: Now, out: &mut Vec<Action>) {
        let Phase::Open(link) = &mut self.phase else { return };
        link.stage = Stage::Syncing { ask_at: None, asked: true };
        self.send_to_server(now, &Payload::ListRequest(Empty {}), out);
    }

    fn on_directory(&mut self, now: Now, frame: &Verified, page: &DirectoryPage, out: &mut Vec<Action>) {
        self.confirm(now, frame, &page.users, out);
        let Phase::Open(link) = &mut self.phase else { return };
        match link.stage {
            Stage::Syncing { asked, .. } => link.stage = Stage::Syncing { ask_at: None, asked },
            Stage::Greeting | Stage::Proving | Stage::Password(_) | Stage::Ready => return,
        }
        // A long directory over a slow link has its time, as long as it comes.
        link.opened = now.instant;
        if page.is_last() {
            self.on_synced(now, out);
        }
    }

    fn on_list_response(&mut self, now: Now, frame: &Verified, page: &DirectoryPage, out: &mut Vec<Action>) {
        let Phase::Open(link) = &self.phase else { return };
        let syncing = match link.stage {
            Stage::Syncing { asked, .. } => asked,
            Stage::Greeting | Stage::Proving | Stage::Password(_) | Stage::Ready => false,
        };
        if !syncing && self.outbox.list_until().is_none() {
            return dropped(out, "a list that nobody asked for", "");
        }
        self.confirm(now, frame, &page.users, out);
        if page.is_last() && self.must_ask() {
            self.on_missing(now, out);
            self.release(now, out);
        }
        if !syncing {
            self.on_listed(&page.users, page.is_last(), out);
        } else if page.is_last() {
            self.on_synced(now, out);
        }
    }

    /// Everybody online is known.
    fn on_synced(&mut self, now: Now, out: &mut Vec<Action>) {
        let must_ask = self.must_ask();
        if let Phase::Open(link) = &mut self.phase {
            link.stage = Stage::Ready;
            link.relist_at = must_ask.then(|| now.instant.saturating_add(self.config.timing.relist));
        }
        let had_session = self.outage.had_session;
        self.outage = Outage { had_session: true, ..Outage::default() };
        if !self.directory.missing().is_empty() {
            self.missing_until = Some(now.instant.saturating_add(self.config.timing.missing));
        }
        match self.server_id() {
            Some(server_id) if !had_session => {
                let (server_id, proven) = (server_id.clone(), self.pin.is_some());
                let user_id = self.config.user_id.clone();
                out.push(Action::Notify(Notice::Ready { user_id, server_id, proven }));
            }
            Some(_) | None => out.push(Action::Notify(Notice::Reconnected)),
        }
    }

    /// ERROR (§9.5): about a message, about the login, or the end of the session.
    fn on_error(&mut self, now: Now, report: &ErrorReport, out: &mut Vec<Action>) {
        if self.on_login_refused(now, report, out) {
            return;
        }
        let Phase::Open(link) = &self.phase else { return };
        let detail = escape_detail(&report.detail);
        let code = report.code.clone();
        match link.stage {
            Stage::Greeting | Stage::Proving | Stage::Password(_) => {
                let unreadable = link.stage == Stage::Greeting && self.is_about_our_hello(report);
                let retrying = !unreadable && !matches!(code, ErrorCode::BadKey | ErrorCode::InvalidSig);
                let detail = if self.is_about_our_id(report) {
                    "this server wants a UUID v4 as user id; the one that is made of your key is such an id"
                        .into()
                } else {
                    detail
                };
                if !retrying || self.outage.refused.as_ref() != Some(&code) {
                    self.outage.refused = Some(code.clone());
                    out.push(Action::Notify(Notice::LoginRefused { code, detail, retrying }));
                }
                match retrying {
                    true => self.drop_link(now, "the login was refused", out),
                    false => self.stop("the login was refused", out),
                }
            }
            Stage::Syncing { .. } | Stage::Ready => {
                let report = with_advice(report);
                if self.on_message_refused(&report, out)
                    || self.on_file_refused(now, &report, out)
                    || self.on_meta_refused(now, &report, out)
                {
                } else if code == ErrorCode::NameInUse {
                    // Two clients of one user would throw each other out for ever.
                    out.push(Action::Notify(Notice::Replaced { detail }));
                    self.stop("logged in elsewhere", out);
                } else {
                    failed(out, None, code, &report.detail);
                }
            }
        }
    }

    /// Whether a server has read our hello and takes none like it: whoever names the frame has understood it, which
    /// no seed does, and the same hello would be refused again.
    pub(super) fn is_about_our_hello(&self, report: &ErrorReport) -> bool {
        let named = report.reference.as_ref().is_some_and(|reference| &*reference.kind == "USER_HELLO");
        report.code == ErrorCode::UnknownType && (named || self.is_about_our_id(report))
    }

    fn is_about_our_id(&self, report: &ErrorReport) -> bool {
        report.code == ErrorCode::UnknownType
            && !self.config.user_id.id().is_uuid_v4()
            && report.detail.to_ascii_lowercase().contains("uuid")
    }

    /// Closes the link; another follows.
    pub(super) fn drop_link(&mut self, now: Now, reason: &'static str, out: &mut Vec<Action>) {
        out.push(Action::Close { code: close_code::NORMAL, reason });
        self.on_link_lost(now, reason, out);
    }

    /// The link is gone, or the dial came to nothing.
    pub(super) fn on_link_lost(&mut self, now: Now, why: &str, out: &mut Vec<Action>) {
        if let Phase::Open(link) = &self.phase {
            self.doubt_written_since(link.heard, out);
        }
        self.outbox.on_link_lost();
        self.release(now, out);
        self.on_meta_cut_off(now, out);
        self.on_files_cut_off(now, "the link to the server was lost", out);
        self.missing_until = None;
        let most = self.config.timing.redial_first.saturating_mul(1 << self.outage.attempts.min(20));
        let most = most.min(self.config.timing.redial_slowest).as_millis();
        let half = u64::try_from(most / 2).unwrap_or(u64::MAX / 4).clamp(1, u64::MAX / 4);
        let delay = Duration::from_millis(half + self.chance.next_u64() % (half + 1));
        self.outage.attempts = self.outage.attempts.saturating_add(1);
        self.phase = Phase::Waiting { until: now.instant.saturating_add(delay) };
        if !self.outage.told && self.outage.refused.is_none() {
            self.outage.told = true;
            out.push(Action::Notify(Notice::Disconnected { reason: escape_detail(why) }));
        }
    }

    /// Ends it for good: every command that is left fails visibly.
    pub(super) fn stop(&mut self, why: &'static str, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Open(_)) {
            out.push(Action::Close { code: close_code::NORMAL, reason: why });
        }
        self.phase = Phase::Stopped;
        self.missing_until = None;
        self.fail_commands(why, out);
        self.fail_files(why, out);
        self.give_up_parts(out);
        self.fail_meta_changes(why, out);
        out.push(Action::Notify(Notice::Stopped));
    }
}
