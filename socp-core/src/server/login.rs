//! Users at our door (§9.1, decisions §4): hello, challenge, proof, session, and its end.

use super::api::LinkId;
use super::budget::Budget;
use super::link::{Link, LinkState, Login};
use super::pins::PinOutcome;
use super::timers::Timer;
use super::{Server, Session};
use crate::close_code;
use crate::crypto::{Purpose, SharedPayload, Verified, proven_rotations};
use crate::wire::{
    Attestation, ErrorCode, HostPort, LoginChallenge, LoginProof, Meta, Nonce, Payload, PublicKey, Recipient,
    Rotation, UserAdvertise, UserHello, UserId, UserLoggedIn, UserRemove,
};

/// A hello that asks for a challenge.
struct Hello {
    user: UserId,
    key: PublicKey,
    rotations: Vec<Rotation>,
    meta: Meta,
    /// The client's, to be put into the challenge.
    nonce: Option<Nonce>,
}

/// A login that is complete but for the tables.
pub(super) struct Arrival {
    pub(super) user: UserId,
    pub(super) key: PublicKey,
    /// The proven chain that leads to `key`, or nothing.
    pub(super) rotations: Vec<Rotation>,
    pub(super) meta: Meta,
    pub(super) attestation: Option<Attestation>,
    /// What a login by password is answered with.
    pub(super) privkey_store: Option<Box<str>>,
}

impl Server {
    /// USER_HELLO: with `auth` a challenge follows; bare it is the whole login, unless the id is proven.
    pub(super) fn on_user_hello(&mut self, link_id: LinkId, frame: &Verified, hello: &UserHello) {
        let Some(user) = frame.frame().from().cloned().map(UserId::from) else { return };
        let meta = hello.meta.clone().unwrap_or_default();
        // Who leaves `to` out has not said as much: a bare hello is the whole login.
        let seed_login = hello.auth.is_empty() && frame.frame().has_empty_to();
        let Ok(Some(key)) = hello.key().map(Option::<&PublicKey>::cloned) else {
            if seed_login {
                return self.acknowledge_seed_hello(link_id, &user);
            }
            return self.refuse_login(link_id, frame, ErrorCode::BadKey, "pubkey is missing");
        };
        let rotations = proven_rotations(frame, &user, &hello.rotations, &key).to_vec();
        if matches!(self.judge_user_key(&user, &key, &rotations), PinOutcome::Conflict) {
            let server = self.id.clone();
            self.tell_conflict(&user, Some(&key), &server);
            return self.refuse_login(link_id, frame, ErrorCode::BadKey, self.other_key(&user, &key));
        }
        if hello.auth.iter().any(|way| &**way == "pss") {
            return self.challenge(link_id, Hello { user, key, rotations, meta, nonce: hello.nonce });
        }
        if seed_login || self.accounts.has(&user) {
            return self.acknowledge_seed_hello(link_id, &user);
        }
        if self.local.contains_key(&user) {
            return self.refuse_login(link_id, frame, ErrorCode::NameInUse, "this id is online here");
        }
        let proven = self.users.get(&user).is_some_and(|entry| entry.proven)
            || self.remotely_attested(&user, &key).is_some();
        if proven || self.config.require_proof {
            return self.refuse_login(link_id, frame, ErrorCode::BadKey, "this id needs a login proof");
        }
        self.arrive(link_id, Arrival { user, key, rotations, meta, attestation: None, privkey_store: None });
    }

    /// Why a login under another key than the pinned one is refused.
    fn other_key(&self, user: &UserId, key: &PublicKey) -> &'static str {
        match self.is_superseded(user, key) {
            // For its owner's other devices.
            true => "this key was replaced by a newer one, which it signed for: log in with that",
            false => "another key is pinned for this id",
        }
    }

    fn refuse_login(&mut self, link: LinkId, frame: &Verified, code: ErrorCode, detail: &'static str) {
        self.error(link, code, detail, Some(frame.frame().reference()));
        self.close(link, close_code::POLICY, detail);
    }

    /// The seed's hello is not a login; its USER_LOGIN is, and so it is for whoever has a password here.
    fn acknowledge_seed_hello(&mut self, link: LinkId, user: &UserId) {
        self.charge_request(link);
        let ack = self.frame(Recipient::from(user), self.hello_ack.clone());
        self.send_to(vec![link], ack);
    }

    fn challenge(&mut self, link_id: LinkId, hello: Hello) {
        let Hello { user, key, rotations, meta, nonce: clients } = hello;
        let nonce = self.nonce();
        self.timers.cancel(&Timer::Greeting(link_id));
        self.timers.set(Timer::Challenge(link_id), self.now.instant + self.config.timing.challenge);
        self.send_challenge(link_id, &user, nonce, clients);
        if let Some(link) = self.links.get_mut(&link_id) {
            link.state = LinkState::Login(Login { user, key, rotations, meta, nonce });
        }
    }

    fn send_challenge(&mut self, link: LinkId, user: &UserId, nonce: Nonce, client_nonce: Option<Nonce>) {
        let (server_id, pubkey) = (self.id.clone(), self.config.key.clone().into());
        let after = self.users.get(user).and_then(|entry| self.remotely_attested(user, entry.key.as_ref()?));
        let challenge = LoginChallenge { nonce, server_id, pubkey, after, client_nonce };
        self.send(link, Recipient::from(user), &Payload::LoginChallenge(challenge));
    }

    /// LOGIN_PROOF, signed by the key of the hello.
    pub(super) fn on_login_frame(&mut self, link_id: LinkId, frame: &Verified) {
        let Payload::LoginProof(proof) = frame.frame().payload() else {
            return self.close(link_id, close_code::NORMAL, "closed by peer");
        };
        let Some(Link { state: LinkState::Login(login), .. }) = self.links.get(&link_id) else { return };
        let (user, key, meta) = (login.user.clone(), login.key.clone(), login.meta.clone());
        let rotations = login.rotations.clone();
        if proof.nonce != login.nonce {
            return self.refuse_login(
                link_id,
                frame,
                ErrorCode::InvalidSig,
                "the nonce is not the one of the challenge",
            );
        }
        if let Err((code, detail)) = self.check_login_proof(&user, proof) {
            self.error(link_id, code, &detail, Some(frame.frame().reference()));
            return self.close(link_id, close_code::POLICY, "login refused");
        }
        if self.remotely_attested(&user, &key).is_some_and(|theirs| theirs > proof.issued_at) {
            // It would be refused by everybody who knows of the other login.
            let detail = "there is a newer login at another server";
            return self.refuse_login(link_id, frame, ErrorCode::NameInUse, detail);
        }
        let Some(sig) = frame.frame().sig().cloned() else { return };
        let attestation = Some(Attestation { payload: proof.clone(), sig });
        self.arrive(link_id, Arrival { user, key, rotations, meta, attestation, privkey_store: None });
    }

    fn check_login_proof(&self, user: &UserId, proof: &LoginProof) -> Result<(), (ErrorCode, String)> {
        let refused = |code, detail: &str| Err((code, detail.to_owned()));
        if proof.user_id != *user || proof.server_id != self.id {
            return refused(ErrorCode::InvalidSig, "the proof names another user or server");
        }
        let dialled = proof.host.parse::<HostPort>().ok();
        if let Some(address) = self.config.address.as_ref().filter(|_| self.config.address_is_binding)
            && dialled.as_ref() != Some(address)
        {
            let detail = format!("this server is reached at {address}: connect there");
            return Err((ErrorCode::InvalidSig, detail));
        }
        match self.is_current(proof.issued_at) {
            true => Ok(()),
            false => refused(ErrorCode::Timeout, "the proof's time is too far from the server's clock"),
        }
    }

    /// The login holds: pin → session → answers → USER_ADDED → USER_ADVERTISE (decisions §5).
    pub(super) fn arrive(&mut self, link_id: LinkId, arrival: Arrival) {
        let Arrival { user, key, rotations, meta, attestation, privkey_store } = arrival;
        let attested = attestation.as_ref().map(|attestation| attestation.payload.issued_at);
        let proven = attested.is_some();
        let by_password = privkey_store.is_some();
        if !self.local.contains_key(&user) && self.local.len() >= self.config.limits.local_users {
            self.error(link_id, ErrorCode::Timeout, "this server is full", None);
            return self.close(link_id, close_code::POLICY, "too many users");
        }
        let outcome = self.pin_user(&user, &key, &rotations, proven, true);
        match outcome {
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => {}
            PinOutcome::Conflict => {
                // Pinned by gossip while the proof was on its way.
                let why = self.other_key(&user, &key);
                self.error(link_id, ErrorCode::BadKey, why, None);
                return self.close(link_id, close_code::POLICY, why);
            }
            PinOutcome::Full => {
                self.error(link_id, ErrorCode::Timeout, "this server knows too many users", None);
                return self.close(link_id, close_code::POLICY, "too many users");
            }
        }
        if let Some(earlier) = self.local.get(&user).map(|session| session.link) {
            // A proven login replaces the earlier session, which is told why; the user stays online.
            self.error(earlier, ErrorCode::NameInUse, "replaced by a newer login", None);
            if let Some(link) = self.links.get_mut(&earlier) {
                link.state = LinkState::Greeting;
            }
            self.close(earlier, close_code::POLICY, "replaced by a newer login");
        }
        self.timers.cancel(&Timer::Greeting(link_id));
        self.timers.cancel(&Timer::Challenge(link_id));
        if let Some(link) = self.links.get_mut(&link_id) {
            link.state = LinkState::User(user.clone());
        }
        let (issued_at, advert) = self.own_advert(&user, &key, &meta, attestation);
        let (burst, every) = (self.config.limits.meta_changes, self.config.timing.meta_change);
        let session = Session {
            link: link_id,
            key: key.clone(),
            meta,
            issued_at,
            attested,
            meta_changes: Budget::new(burst, 1.0 / every.as_secs_f64().max(0.001), self.now.instant),
            bare: !proven,
            form: None,
            challenge: None,
            advert,
        };
        self.local.insert(user.clone(), session);
        if proven {
            let answer = UserLoggedIn {
                user_id: user.clone(),
                server_id: Some(self.id.clone()),
                pubkey: Some(key.clone().into()),
                privkey_store: None,
            };
            self.send(link_id, Recipient::from(&user), &Payload::UserLoggedIn(answer));
            self.timers
                .set(Timer::Renew(user.clone()), self.now.instant + self.config.timing.attestation_renewal);
        }
        self.join_channel(&user, &key);
        if let Some(privkey_store) = privkey_store {
            self.answer_login(link_id, &user, privkey_store);
        }
        self.send_directory(link_id, &user, !proven);
        if proven || by_password {
            self.send_channel_snapshot(link_id, &user);
        }
        if !self.relocate(&user) && outcome == PinOutcome::Replaced {
            self.tell_added(&user);
        }
        self.advertise(&user);
    }

    /// Makes a fresh advert; its payload is signed once, whoever it goes to.
    fn own_advert(
        &mut self,
        user: &UserId,
        key: &PublicKey,
        meta: &Meta,
        attestation: Option<Attestation>,
    ) -> (u64, crate::crypto::Unsigned) {
        let issued_at = self.next_issued_at();
        let payload = UserAdvertise {
            user_id: user.clone(),
            server_id: self.id.clone(),
            pubkey: Some(key.clone().into()),
            meta: Some(meta.clone()),
            issued_at: Some(issued_at),
            attestation,
            rotations: self.users.get(user).map(|entry| entry.rotations.clone()).unwrap_or_default(),
            event: None,
        };
        let payload = SharedPayload::new(&Payload::UserAdvertise(payload));
        (issued_at, self.frame(Recipient::Everyone, payload))
    }

    /// Sends a user's advert to all servers, and to local clients that expect adverts themselves.
    fn advertise(&mut self, user: &UserId) {
        let Some(session) = self.local.get(user) else { return };
        let (advert, own_link) = (session.advert.clone(), session.link);
        let mut to = self.server_links(&[], None);
        to.extend(self.bare_user_links().into_iter().filter(|link| *link != own_link));
        self.send_to(to, advert);
    }

    /// USER_REMOVE to all servers, and to local clients that expect removals themselves.
    pub(super) fn advertise_removal(&mut self, user: &UserId) {
        let issued_at = Some(self.next_issued_at());
        let (user_id, server_id) = (user.clone(), self.id.clone());
        let payload = UserRemove { user_id, server_id, issued_at, meta: None, event: None };
        let mut to = self.server_links(&[], None);
        to.extend(self.bare_user_links());
        self.broadcast(to, SharedPayload::new(&Payload::UserRemove(payload)));
    }

    /// A user's link is gone, and with it the session, at once.
    pub(super) fn end_session(&mut self, user: &UserId, link: LinkId) {
        if self.local.get(user).is_none_or(|session| session.link != link) {
            return;
        }
        self.local.remove(user);
        self.timers.cancel(&Timer::Renew(user.clone()));
        self.relocate(user);
        self.advertise_removal(user);
    }

    /// A session's attestation is to be renewed by a new challenge.
    pub(super) fn on_renewal_due(&mut self, user: &UserId) {
        let nonce = self.nonce();
        let until = self.now.instant + self.config.timing.challenge;
        let Some(session) = self.local.get_mut(user) else { return };
        session.challenge = Some((nonce, until));
        let link = session.link;
        self.timers
            .set(Timer::Renew(user.clone()), self.now.instant + self.config.timing.attestation_renewal);
        // The link is known not to be a recording.
        self.send_challenge(link, user, nonce, None);
    }

    pub(super) fn on_renewal_proof(
        &mut self,
        link: LinkId,
        user: &UserId,
        frame: &Verified,
        proof: &LoginProof,
    ) {
        let Some(session) = self.local.get_mut(user) else { return };
        let now = self.now.instant;
        let expected =
            session.challenge.take().is_some_and(|(nonce, until)| nonce == proof.nonce && now <= until);
        let (key, meta) = (session.key.clone(), session.meta.clone());
        let checked = match expected {
            true => self.check_login_proof(user, proof),
            false => Err((ErrorCode::InvalidSig, "the nonce is not the one of the challenge".to_owned())),
        };
        if let Err((code, detail)) = checked {
            return self.error(link, code, &detail, Some(frame.frame().reference()));
        }
        let Some(sig) = frame.frame().sig().cloned() else { return };
        debug_assert!(frame.proven_by(Purpose::Transport, &key), "the rule for users asks for it");
        let attestation = Some(Attestation { payload: proof.clone(), sig });
        let (issued_at, advert) = self.own_advert(user, &key, &meta, attestation);
        if let Some(session) = self.local.get_mut(user) {
            session.issued_at = issued_at;
            session.attested = Some(proof.issued_at);
            session.advert = advert;
        }
        self.advertise(user);
    }

    /// USER_HELLO once more, on the session's own link: the user's `meta` from now on (§15.1). Everybody is told
    /// at once, and the user, too: its own USER_ADDED is the answer.
    pub(super) fn on_hello_again(
        &mut self,
        link: LinkId,
        user: &UserId,
        frame: &Verified,
        hello: &UserHello,
    ) {
        self.charge_request(link);
        let now = self.now.instant;
        let Some(session) = self.local.get_mut(user) else { return };
        if let Some(meta) = hello.meta.as_ref().filter(|meta| **meta != session.meta) {
            if !session.meta_changes.take(now) {
                let detail = "changed too often: try again in a while";
                return self.error(link, ErrorCode::Timeout, detail, Some(frame.frame().reference()));
            }
            let (key, attestation) = (session.key.clone(), session.attestation());
            let (issued_at, advert) = self.own_advert(user, &key, meta, attestation);
            if let Some(session) = self.local.get_mut(user) {
                session.meta = meta.clone();
                session.issued_at = issued_at;
                session.advert = advert;
            }
            self.relocate(user);
            self.advertise(user);
        }
        if let Some(payload) = self.user_added(user) {
            self.broadcast(vec![link], payload);
        }
    }
}
