//! Servers of the seed's dialect (decisions §4): they log users in by a password, tell of nobody who comes to them,
//! and show no key. The password stays with the driver.

use crate::Now;
use crate::crypto::{SharedPayload, Unsigned};
use crate::dialect::{Dialect, Logins};
use crate::wire::{
    ErrorCode, ErrorReport, Frame, Id, Message, Meta, Payload, PublicKey, Recipient, Timestamp, UserHello,
    UserId, UserLogin, UserRegister, WireText,
};

use super::Client;
use super::api::{Action, MessageKind, Notice};
use super::label::escape_detail;
use super::session::{Link, Phase, Stage};

/// Where a login by password stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The seed's USER_HELLO is sent.
    Hello,
    /// USER_LOGIN is sent; the server may not know us.
    LoggingIn,
    /// USER_REGISTER is sent.
    Registering,
    /// USER_LOGIN is sent once more.
    LoggingInAgain,
}

/// A USER_LOGIN or USER_REGISTER that waits for the user's password for this server. Neither is signed, as the seed has
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFrame {
    registers: bool,
    user_id: UserId,
    key: PublicKey,
    ts: Timestamp,
}

/// What USER_REGISTER says besides who we are.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// A sealed text. The seed's own clients keep their private key there; servers see the password, so it would be
    /// theirs.
    pub privkey_store: &'a str,
    /// The password's verifier.
    pub pake_password: &'a str,
}

/// About a server that logs users in by password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordNotice {
    /// It turned out to be one. Told once.
    Found {
        /// Who we are there.
        user_id: UserId,
    },
    /// There is no password, or it was refused: no more is done before [`super::Event::Password`].
    Needed {
        /// Who we are there.
        user_id: UserId,
        /// The server's words about the password that there was.
        refused: Option<Box<str>>,
    },
    /// The server did not know us: we are registered, with the password that there is.
    Registered {
        /// Who we are there.
        user_id: UserId,
    },
}

impl PasswordFrame {
    /// Whether it is USER_REGISTER, and takes a [`Registration`].
    pub fn registers(&self) -> bool {
        self.registers
    }

    /// USER_LOGIN.
    pub fn login(&self, password: &str) -> WireText {
        self.text(&Payload::UserLogin(UserLogin { user_id: self.user_id.clone(), password: password.into() }))
    }

    /// USER_REGISTER.
    pub fn registration(&self, Registration { privkey_store, pake_password }: Registration<'_>) -> WireText {
        self.text(&Payload::UserRegister(UserRegister {
            user_id: self.user_id.clone(),
            pubkey: self.key.clone().into(),
            privkey_store: privkey_store.into(),
            pake_password: pake_password.into(),
        }))
    }

    fn text(&self, payload: &Payload) -> WireText {
        let from: Id = self.user_id.id().clone();
        Unsigned::new(from, Recipient::Unnamed, self.ts, SharedPayload::new(payload)).without_signature()
    }
}

/// A message of somebody who is not known yet.
#[derive(Debug)]
pub(super) struct Held {
    kind: MessageKind,
    frame: Frame,
}

impl Client {
    /// What the server speaks, as far as we know.
    pub(super) fn dialect(&self) -> Dialect {
        match &self.phase {
            Phase::Open(link) => link.dialect,
            Phase::Waiting { .. } | Phase::Dialling | Phase::Locked | Phase::Stopped => Dialect::Standard,
        }
    }

    /// Whether the server must be asked who is online, and its answer is the whole truth.
    pub(super) fn must_ask(&self) -> bool {
        !self.dialect().profile().tells_of_all
    }

    /// Whether we may find out that the server is a seed's: nobody said, and no key of its is known, which natives
    /// show.
    pub(super) fn may_be_seed(&self) -> bool {
        self.config.dialect.is_none() && self.pin.is_none()
    }

    /// The hello of the seed's own clients.
    pub(super) fn greet_seed(&mut self, now: Now, out: &mut Vec<Action>) {
        let Phase::Open(link) = &mut self.phase else { return };
        link.dialect = Dialect::Seed;
        link.stage = Stage::Password(Step::Hello);
        if let Some(id) = self.config.seed_id.clone() {
            self.go_by(id);
        }
        if self.config.dialect.is_none() && !std::mem::replace(&mut self.told_seed, true) {
            let user_id = self.config.user_id.clone();
            out.push(Action::Notify(Notice::Password(PasswordNotice::Found { user_id })));
        }
        let native = self.hello(Meta::empty());
        let hello = UserHello { auth: Vec::new(), meta: None, rotations: Vec::new(), nonce: None, ..native };
        self.send_frame(now, Recipient::Unnamed, &Payload::UserHello(hello), out);
    }

    /// What we are called from now on.
    pub(super) fn go_by(&mut self, id: UserId) {
        if self.config.user_id != id {
            self.directory.set_own_id(&id);
            self.config.user_id = id;
        }
    }

    /// USER_HELLO_ACK: the server wants a password.
    pub(super) fn on_hello_ack(&mut self, now: Now, out: &mut Vec<Action>) {
        let Phase::Open(Link { stage, .. }) = &self.phase else { return };
        let stale = self.pin.clone().filter(|pin| pin.echoes);
        match (stage, stale) {
            // A server that logs in by key wants no password of the same user: so it was recorded elsewhere.
            (Stage::Greeting, Some(server)) => self.on_stale(server, out),
            (Stage::Greeting, None) if self.config.dialect.is_none() => self.greet_seed(now, out),
            (Stage::Password(Step::Hello), _) => self.send_password(now, Step::LoggingIn, out),
            (
                Stage::Greeting | Stage::Proving | Stage::Password(_) | Stage::Syncing { .. } | Stage::Ready,
                _,
            ) => {}
        }
    }

    fn send_password(&mut self, now: Now, step: Step, out: &mut Vec<Action>) {
        if !self.config.password {
            return self.lock(now, None, out);
        }
        let ts = self.clock.next(now);
        let Phase::Open(link) = &mut self.phase else { return };
        link.stage = Stage::Password(step);
        let (user_id, key) = (self.config.user_id.clone(), self.config.key.clone());
        out.push(Action::Password(PasswordFrame { registers: step == Step::Registering, user_id, key, ts }));
    }

    /// Nothing more until there is a password.
    fn lock(&mut self, now: Now, refused: Option<Box<str>>, out: &mut Vec<Action>) {
        // That says why there is no session, too.
        self.outage.refused = Some(ErrorCode::BadKey);
        self.drop_link(now, "the server wants a password", out);
        self.phase = Phase::Locked;
        let user_id = self.config.user_id.clone();
        out.push(Action::Notify(Notice::Password(PasswordNotice::Needed { user_id, refused })));
    }

    /// [`super::Event::Password`].
    pub(super) fn on_password(&mut self, now: Now) {
        self.config.password = true;
        match self.phase {
            Phase::Locked => {
                self.outage.refused = None;
                self.phase = Phase::Waiting { until: now.instant };
            }
            Phase::Waiting { .. } | Phase::Dialling | Phase::Open(_) | Phase::Stopped => {}
        }
    }

    pub(super) fn on_registered(&mut self, now: Now, user_id: &UserId, out: &mut Vec<Action>) {
        let registering =
            matches!(&self.phase, Phase::Open(Link { stage: Stage::Password(Step::Registering), .. }));
        if registering && *user_id == self.config.user_id {
            let user_id = user_id.clone();
            out.push(Action::Notify(Notice::Password(PasswordNotice::Registered { user_id })));
            self.send_password(now, Step::LoggingInAgain, out);
        }
    }

    /// An ERROR during the login. Whether it was one that a login by password knows what to do with.
    pub(super) fn on_login_refused(&mut self, now: Now, report: &ErrorReport, out: &mut Vec<Action>) -> bool {
        let Phase::Open(Link { stage, .. }) = &self.phase else { return false };
        match (stage, &report.code) {
            // It does not know our hello.
            (Stage::Greeting, ErrorCode::UnknownType)
                if self.may_be_seed() && !self.is_about_our_hello(report) =>
            {
                self.greet_seed(now, out);
            }
            (Stage::Password(Step::LoggingIn), ErrorCode::UserNotFound) => {
                self.send_password(now, Step::Registering, out);
            }
            (Stage::Password(Step::LoggingIn | Step::LoggingInAgain), ErrorCode::BadKey) => {
                self.config.password = false;
                self.lock(now, Some(escape_detail(&report.detail)), out);
            }
            (_, _) => return false,
        }
        true
    }

    /// Asks for the list as often as must be.
    pub(super) fn on_relist(&mut self, now: Now, out: &mut Vec<Action>) {
        let relist = self.config.timing.relist;
        if let Phase::Open(link) = &mut self.phase {
            link.relist_at = Some(now.instant.saturating_add(relist));
        }
        self.refresh_list(now, out);
    }

    /// The server is being asked who is online.
    pub(super) fn note_listed(&mut self, now: Now) {
        if let Phase::Open(link) = &mut self.phase {
            link.listed = now.instant;
        }
    }

    /// A message of somebody whom the server's list may know by now waits for it. Whether this one does.
    pub(super) fn hold(&mut self, now: Now, kind: MessageKind, frame: &Frame, message: &Message) -> bool {
        let known = |sender: &UserId| self.key_of(sender).is_some();
        let stranger = message.sender.as_ref().is_some_and(|sender| !known(sender));
        if !stranger || !self.must_ask() || self.strangers.len() >= self.config.limits.strangers {
            return false;
        }
        let soonest = self.config.timing.relist_soonest;
        let Phase::Open(link) = &mut self.phase else { return false };
        let soon = now.instant.max(link.listed.saturating_add(soonest));
        link.relist_at = Some(link.relist_at.map_or(soon, |at| at.min(soon)));
        self.strangers.push_back(Held { kind, frame: frame.clone() });
        true
    }

    /// The list is there, or will not come: now they are shown as whoever sent them is known.
    pub(super) fn release(&mut self, now: Now, out: &mut Vec<Action>) {
        for Held { kind, frame } in std::mem::take(&mut self.strangers) {
            if let Payload::UserDeliver(message) | Payload::MsgPublicChannel(message) = frame.payload() {
                self.on_message(now, kind, &frame, message, out);
            }
        }
    }

    /// What a server of that dialect begins with.
    pub(super) fn greet(&mut self, now: Now, out: &mut Vec<Action>) {
        self.go_by(self.native_id.clone());
        match self.dialect().profile().logins {
            Logins::Password => self.greet_seed(now, out),
            Logins::Key => {
                let hello = self.hello(self.config.meta.clone());
                self.send_to_server(now, &Payload::UserHello(hello), out);
            }
        }
    }
}
