//! Stand-ins for RSA, and a scene in which one client meets one server.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::crypto::{
    ContentCover, CryptoError, Opener, RSA_BYTES, SaltLength, Sealer, SharedPayload, Signature, Signer,
    Unsigned, Verifier,
};
use crate::dialect::Dialect;
use crate::wire::{
    Directory, DirectoryEntry, ErrorReport, FrameRef, FrameType, LoginChallenge, Message, Meta, Nonce,
    Recipient, UserLoggedIn, UserRemoved,
};
use crate::{Deadline, Now};

use super::draft::Content;
use super::session::Phase;
use super::{
    Action, Client, Command, Config, Draft, DraftId, ErrorCode, Event, Frame, MessageKind, Notice, Payload,
    PublicKey, Record, SentTo, ServerId, Snapshot, Timestamp, UserId, UserPin,
};

/// A key that looks like RSA-4096 and works by hashing.
pub(super) struct FakeKey(PublicKey);

pub(super) fn fake_key(name: &str) -> FakeKey {
    let mut der =
        vec![0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01];
    der.extend([
        0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02,
    ]);
    der.extend([0x01, 0x00]);
    let mut modulus = Sha256::digest(name).repeat(16);
    modulus[0] |= 0x80;
    modulus[511] |= 1;
    der.extend(modulus);
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    FakeKey(PublicKey::from_der(&der).expect("the right prefix, 512 bytes, the right suffix"))
}

fn fake_signature(key: &PublicKey, message: &[u8], salt: SaltLength) -> Vec<u8> {
    let salt = salt.bytes().to_be_bytes();
    Sha256::new()
        .chain_update(salt)
        .chain_update(key.id().as_bytes())
        .chain_update(message)
        .finalize()
        .repeat(16)
}

impl Signer for FakeKey {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn sign_with(&self, message: &[u8], salt: SaltLength) -> Result<Signature, CryptoError> {
        Ok(fake_signature(&self.0, message, salt).into())
    }
}

impl Opener for FakeKey {
    fn open(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let rest = ciphertext.strip_prefix(self.0.id().as_bytes()).ok_or(CryptoError::Undecryptable)?;
        let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        Ok(rest[2..2 + len].to_vec())
    }
}

/// The public operations.
pub(super) struct Fake;

impl Verifier for Fake {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool {
        signature == fake_signature(key, message, salt)
    }
}

impl Sealer for Fake {
    fn seal(&self, key: &PublicKey, plaintext: &[u8]) -> Result<Box<[u8]>, CryptoError> {
        let mut block = key.id().as_bytes().to_vec();
        block.extend(u16::try_from(plaintext.len()).expect("short").to_be_bytes());
        block.extend(plaintext);
        block.resize(RSA_BYTES, 0);
        Ok(block.into())
    }
}

/// A client, its server, and the time.
pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) own: FakeKey,
    pub(super) server: FakeKey,
    pub(super) server_id: ServerId,
    pub(super) now: Now,
}

pub(super) fn user(name: &str) -> UserId {
    name.parse().expect("test ids are good")
}

pub(super) fn config(name: &str) -> Config {
    let address = "127.0.0.1:9000".parse().expect("an address");
    Config { program: "test".into(), ..Config::new(user(name), fake_key(name).0, address, [7; 32]) }
}

/// A directory entry; the key is the one of that name unless `key` says otherwise.
pub(super) fn entry(id: &str, display_name: Option<&str>) -> DirectoryEntry {
    entry_with_key(id, display_name, id)
}

pub(super) fn entry_with_key(id: &str, display_name: Option<&str>, key: &str) -> DirectoryEntry {
    DirectoryEntry {
        content_form: None,
        user_id: user(id),
        pubkey: Some(fake_key(key).0.into()),
        server_id: None,
        online_local: Some(true),
        meta: display_name.map(Meta::named),
        rotations: Vec::new(),
        event: None,
    }
}

pub(super) fn added(entry: DirectoryEntry) -> Payload {
    Payload::UserAdded(DirectoryEntry { event: Some("added".into()), ..entry })
}

pub(super) fn removed(id: &str) -> Payload {
    Payload::UserRemoved(UserRemoved { user_id: user(id), event: Some("removed".into()) })
}

pub(super) fn error(code: ErrorCode, detail: &str, reference: Option<FrameRef>) -> Payload {
    Payload::Error(ErrorReport { code, detail: detail.into(), reference })
}

pub(super) fn directory(users: Vec<DirectoryEntry>) -> Payload {
    Payload::Directory(Directory { users, page: Some(1), pages: Some(1) })
}

pub(super) fn notices(actions: &[Action]) -> Vec<&Notice> {
    actions
        .iter()
        .filter_map(|action| if let Action::Notify(notice) = action { Some(notice) } else { None })
        .collect()
}

pub(super) fn drafts(actions: &[Action]) -> Vec<&Draft> {
    actions
        .iter()
        .filter_map(|action| if let Action::Seal(draft) = action { Some(draft) } else { None })
        .collect()
}

impl Scene {
    pub(super) fn server_key(&self) -> PublicKey {
        self.server.0.clone()
    }

    pub(super) fn new(name: &str) -> Self {
        Self::with(config(name), Snapshot::default())
    }

    pub(super) fn with(config: Config, snapshot: Snapshot) -> Self {
        let now = Now { instant: Duration::from_secs(5), unix_ms: START };
        let own = fake_key(config.user_id.as_str());
        let server_id = "srv".parse().expect("a good id");
        Self { client: Client::new(config, snapshot, now), own, server: fake_key("server"), server_id, now }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        self.client.handle(self.now, event)
    }

    /// Wakes the client at its next deadline.
    pub(super) fn wake(&mut self) -> Vec<Action> {
        let Deadline { at, reason: _ } = self.client.poll_timeout().expect("a deadline");
        self.pass(at.saturating_sub(self.now.instant));
        self.handle(Event::Wakeup)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
    }

    /// A frame from the server, signed.
    pub(super) fn frame(&self, payload: &Payload) -> Frame {
        let ts = Timestamp(self.now.unix_ms);
        let from = self.server_id.id().clone();
        let frame = Unsigned::new(from, Recipient::Everyone, ts, SharedPayload::new(payload));
        let signed = frame.sign(&self.server).expect("fake keys do not fail");
        Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read")
    }

    /// A frame from another user, as the server relays it, signed by that user unless it is a chunk.
    pub(super) fn relayed(&self, from: &str, payload: &Payload) -> Frame {
        let (from, author) = (user(from).id().clone(), fake_key(from));
        let to = Recipient::from(self.client.user_id());
        let frame = Unsigned::new(from, to, Timestamp(self.now.unix_ms), SharedPayload::new(payload));
        let text = match payload {
            Payload::FileChunk(_) => frame.without_signature(),
            _ => frame.sign(&author).expect("fake keys do not fail").into_text(),
        };
        Frame::parse(text.as_str(), usize::MAX).expect("our own frames are read")
    }

    pub(super) fn receive_from(&mut self, from: &str, payload: &Payload) -> Vec<Action> {
        let frame = self.relayed(from, payload);
        self.client.receive(self.now, frame, &Fake)
    }

    pub(super) fn receive(&mut self, payload: &Payload) -> Vec<Action> {
        let frame = self.frame(payload);
        self.client.receive(self.now, frame, &Fake)
    }

    pub(super) fn receive_text(&mut self, text: &str) -> Vec<Action> {
        let frame = Frame::parse(text, usize::MAX).expect("a frame");
        self.client.receive(self.now, frame, &Fake)
    }

    pub(super) fn challenge(&self) -> Payload {
        Payload::LoginChallenge(LoginChallenge {
            nonce: Nonce([9; 32]),
            server_id: self.server_id.clone(),
            pubkey: self.server.0.clone().into(),
            after: None,
            client_nonce: None,
        })
    }

    /// The same, of a server that shows that it was made for this login.
    pub(super) fn fresh_challenge(&self) -> Payload {
        let Payload::LoginChallenge(challenge) = self.challenge() else { panic!("it is one") };
        let Phase::Open(link) = &self.client.phase else { panic!("a link is open") };
        Payload::LoginChallenge(LoginChallenge { client_nonce: Some(link.nonce), ..challenge })
    }

    pub(super) fn logged_in(&self) -> Payload {
        Payload::UserLoggedIn(UserLoggedIn {
            user_id: self.client.user_id().clone(),
            server_id: Some(self.server_id.clone()),
            pubkey: Some(self.own.0.clone().into()),
            privkey_store: None,
        })
    }

    /// From the next dial to a session with these users.
    pub(super) fn log_in(&mut self, users: Vec<DirectoryEntry>) -> Vec<Action> {
        let mut actions = self.wake();
        actions.extend(self.handle(Event::LinkOpened));
        actions.extend(self.receive(&self.challenge()));
        actions.extend(self.receive(&self.logged_in()));
        actions.extend(self.receive(&directory(users)));
        assert!(self.client.is_ready());
        actions
    }

    pub(super) fn lose_link(&mut self) -> Vec<Action> {
        self.handle(Event::LinkClosed { why: "reset".into() })
    }

    pub(super) fn command(&mut self, reference: u64, command: Command) -> Vec<Action> {
        self.handle(Event::Command { reference, command })
    }

    pub(super) fn tell(&mut self, reference: u64, to: &str, text: &str) -> Vec<Action> {
        self.command(reference, Command::Tell { to: to.into(), text: text.into() })
    }

    /// A message of another client's to ours, as the server delivers it.
    pub(super) fn deliver(&self, draft: &Draft, author: &FakeKey) -> Message {
        message_of(draft, author)
    }

    /// A draft of `from` to our client.
    pub(super) fn draft_from(&self, from: &str, kind: MessageKind, text: &str, ts: u64) -> Draft {
        Draft {
            id: DraftId(0),
            kind,
            from: user(from),
            own_key: fake_key(from).0,
            to: self.client.user_id().clone(),
            key: self.own.0.clone(),
            dialect: Dialect::Standard,
            cover: ContentCover::default(),
            content: Arc::new(Content::new(text.into(), Timestamp(ts))),
            part: None,
            whole: Vec::new(),
        }
    }

    /// Does what the actions ask of the border: opens what is to be opened.
    pub(super) fn open(&mut self, actions: &[Action]) -> Vec<Action> {
        let mut out = Vec::new();
        for action in actions {
            if let Action::Open(sealed) = action {
                let opened = sealed.clone().open(&self.own, &Fake);
                out.extend(self.handle(Event::Opened(opened)));
            }
        }
        out
    }
}

/// The message that a draft becomes.
pub(super) fn message_of(draft: &Draft, author: &FakeKey) -> Message {
    let signed = draft.seal(&Fake, author).expect("fake keys do not fail");
    let frame = Frame::parse(signed.text().as_str(), usize::MAX).expect("our own frames are read");
    match frame.payload() {
        Payload::MsgDirect(message) | Payload::MsgPublicChannel(message) => message.clone(),
        other => panic!("a draft is a message, not {other:?}"),
    }
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn sent_types(actions: &[Action]) -> Vec<&FrameType> {
    actions
        .iter()
        .filter_map(|action| if let Action::Send(frame) = action { Some(frame.kind()) } else { None })
        .collect()
}

pub(super) fn failed(reference: u64, code: ErrorCode, detail: &str) -> Action {
    Action::Notify(Notice::Failed { reference: Some(reference), code, detail: detail.into() })
}

pub(super) fn sent(reference: u64, to: &str) -> Action {
    let to = SentTo::User { user_id: user(to), label: to.into() };
    Action::Notify(Notice::Sent { reference, to })
}

pub(super) fn user_added(id: &str, label: &str) -> Action {
    Action::Notify(Notice::UserAdded { user_id: user(id), label: label.into() })
}

pub(super) fn user_removed(id: &str) -> Action {
    Action::Notify(Notice::UserRemoved { user_id: user(id), label: id.into() })
}

/// When a scene starts, by the wall clock.
pub(super) const START: u64 = 1_800_000_000_000;

/// What a store would have kept of it for the next run, but for pins.
pub(super) fn remembered(actions: &[Action]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for action in actions {
        match action {
            Action::Persist(Record::Shown(shown)) => snapshot.shown.push(shown.clone()),
            Action::Persist(Record::Doubtful(digest)) => snapshot.doubtful.push(*digest),
            Action::Persist(Record::Forgotten(forgotten)) => {
                snapshot.shown.retain(|shown| shown.from != forgotten.from || shown.ts > forgotten.until);
                snapshot.forgotten.retain(|other| other.from != forgotten.from);
                snapshot.forgotten.push(forgotten.clone());
            }
            _ => {}
        }
    }
    snapshot
}

/// A key is pinned at that time, of somebody without a name.
pub(super) fn pinned(id: &str, key: &str) -> Action {
    Action::Persist(Record::UserPin(UserPin::new(&user(id), &public(key), Timestamp(START))))
}

/// The same of somebody who has one.
pub(super) fn pinned_as(id: &str, key: &str, name: &str) -> Action {
    let pin = UserPin::new(&user(id), &public(key), Timestamp(START));
    Action::Persist(Record::UserPin(UserPin { name: Some(name.into()), ..pin }))
}

pub(super) fn told_dropped(why: &'static str, detail: &str) -> Action {
    Action::Notify(Notice::Dropped { why, detail: detail.into() })
}

pub(super) fn public(name: &str) -> PublicKey {
    entry_with_key(name, None, name)
        .pubkey
        .and_then(|field| field.key().cloned().ok())
        .expect("fake keys are good")
}

pub(super) fn ready(scene: &Scene, proven: bool) -> Action {
    let user_id = scene.client.user_id().clone();
    Action::Notify(Notice::Ready { user_id, server_id: scene.server_id.clone(), proven })
}
