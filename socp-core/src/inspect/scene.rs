//! What a server of ours would do: real machines in the places of those who receive the frames, told what the record
//! tells, and asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::keyring::Keyring;
use crate::Now;
use crate::crypto::{Admission, Refusal, Verifier};
use crate::server::{
    Action, Caller, Config, DialPolicy, Event, Limits, LinkId, LinkOrigin, Meets, Outgoing, PasswordLogins,
    Report, Server, Snapshot, Timing, is_carried,
};
use crate::wire::{
    ErrorReport, Frame, FrameType, HostPort, Id, LoginChallenge, Nonce, Payload, PublicKey, SPKI_BYTES,
    ServerWelcome,
};

/// Servers whose places are taken; a machine with full tables has some tens of megabytes.
pub const MAX_SERVERS: usize = 16;

/// Parties of the record, and sockets of one server, that are followed.
pub const MAX_SOCKETS: usize = 4096;

/// Why of a frame that is accepted and changes nothing.
pub const NOTHING_FOLLOWS: &str = "nothing follows";

/// Users that a machine remembers, so that no record fills the memory.
const MAX_USERS: usize = 10_000;

/// Time in the record passes no faster than this from frame to frame: what is cut out of it is no silence.
const MAX_STEP: Duration = Duration::from_secs(5);

/// Who receives the frames of a record that does not say it.
const US: &str = "";

/// What a server of ours does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// Acts on it.
    Accepts,
    /// Refuses it, with an ERROR or a close where the peer is to be told.
    Refuses,
    /// Drops it without telling anybody.
    Drops,
    /// Has had it before.
    Repeats,
    /// Never gets it: it is for a client.
    ForClient,
    /// Cannot be said from what is known.
    Unknown,
}

impl Does {
    /// One word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepts => "accepted",
            Self::Refuses => "refused",
            Self::Drops => "dropped",
            Self::Repeats => "repeat",
            Self::ForClient => "for-client",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server of ours does, why, and what was assumed to say so. Both texts hold words of peers: escape them before
/// showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub does: Does,
    /// Why, or what follows.
    pub why: Box<str>,
    /// What the record does not say.
    pub assumed: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    User,
}

/// A party of the record.
#[derive(Debug, Default)]
struct Actor {
    role: Option<Role>,
    /// Who it said that it is.
    id: Option<Id>,
}

/// The record so far.
#[derive(Debug, Default)]
pub(super) struct Scene {
    actors: BTreeMap<Box<str>, Actor>,
    posts: BTreeMap<Box<str>, Post>,
    now: Now,
}

/// A machine in a server's place.
#[derive(Debug)]
struct Post {
    server: Server,
    /// Whether its id is what the recorded server said.
    named: bool,
    /// By the other end, and whether we dialled it.
    sockets: BTreeMap<(Box<str>, bool), Socket>,
    /// Where the recorded server dialled, and the nonce of its JOIN, by the other end.
    dialled: BTreeMap<Box<str>, (HostPort, Option<Nonce>)>,
    next_link: u64,
}

#[derive(Debug)]
struct Socket {
    link: LinkId,
    /// When something last went over it: two sockets of one pair are told apart by that.
    used: usize,
    closed: Option<(usize, Box<str>)>,
    /// Whether the machine has the nonce that the recorded server sent.
    nonce: bool,
}

/// A frame on its way, with all that is known about it.
pub(super) struct Heard<'a> {
    pub(super) line: usize,
    pub(super) parties: Option<(&'a str, &'a str)>,
    pub(super) frame: &'a Frame,
    pub(super) verifier: &'a dyn Verifier,
    pub(super) ring: &'a Keyring,
}

/// What the machine in the reader's place is told besides.
#[derive(Clone, Copy)]
struct Told<'a> {
    now: Now,
    /// Who said hello on the writer's side.
    writer: Option<&'a Id>,
}

impl Heard<'_> {
    /// Who wrote: without a record of it, who the envelope says.
    fn writer(&self) -> &str {
        let from = || self.frame.from().map_or("?", |from| from.as_str());
        self.parties.map_or_else(from, |(writer, _)| writer)
    }

    fn reader(&self) -> &str {
        self.parties.map_or(US, |(_, reader)| reader)
    }
}

impl Scene {
    /// Whether `from` is somebody else than who said hello on that side of the socket.
    pub(super) fn is_foreign(&self, heard: &Heard<'_>) -> bool {
        let id = self.actors.get(heard.writer()).and_then(|actor| actor.id.as_ref());
        id.is_some_and(|id| heard.frame.from().is_some_and(|from| from != id))
            && !is_carried(heard.frame.kind())
    }

    pub(super) fn judge(&mut self, heard: &Heard<'_>) -> Verdict {
        self.pass_time(heard.frame);
        self.cast(heard);
        self.tell_writer(heard);
        let for_user = self.actors.get(heard.reader()).is_some_and(|actor| actor.role == Some(Role::User));
        if for_user || roles(heard.frame.kind()).1 == Some(Role::User) {
            return verdict(Does::ForClient, "for a client: no server of ours gets it");
        }
        let writer = self.actors.get(heard.writer()).and_then(|actor| actor.id.clone());
        let told = Told { now: self.now, writer: writer.as_ref() };
        match self.post(heard.reader(), heard) {
            Some(post) => post.judge(told, heard),
            None => verdict(Does::Unknown, "more servers in one record than are followed"),
        }
    }

    /// A line that holds no frame.
    pub(super) fn judge_unreadable(refusal: &Refusal) -> Verdict {
        verdict(Does::Refuses, &refused(refusal))
    }

    fn pass_time(&mut self, frame: &Frame) {
        let Some(ts) = frame.ts() else { return };
        if self.now.unix_ms > 0 {
            self.now.instant += Duration::from_millis(ts.0.saturating_sub(self.now.unix_ms)).min(MAX_STEP);
        }
        self.now.unix_ms = ts.0;
    }

    /// Who is what, from the types of the frames.
    fn cast(&mut self, heard: &Heard<'_>) {
        let (writes, reads) = roles(heard.frame.kind());
        for (name, role) in [(heard.writer(), writes), (heard.reader(), reads)] {
            if !self.actors.contains_key(name) && self.actors.len() < MAX_SOCKETS {
                self.actors.insert(name.into(), Actor::default());
            }
            if let Some(actor) = self.actors.get_mut(name).filter(|_| name != US) {
                actor.role = actor.role.or(role);
            }
        }
        if says_who(heard.frame.kind())
            && let Some(actor) = self.actors.get_mut(heard.writer())
        {
            actor.id = actor.id.take().or_else(|| heard.frame.from().cloned());
        }
    }

    /// The machine in the writer's place learns what the server there said.
    fn tell_writer(&mut self, heard: &Heard<'_>) {
        let is_server = self.actors.get(heard.writer()).is_some_and(|actor| actor.role == Some(Role::Server));
        if heard.parties.is_none() || !is_server || !tells_of_writer(heard.frame.kind()) {
            return;
        }
        if let Some(post) = self.post(heard.writer(), heard) {
            post.said(heard);
        }
    }

    fn post(&mut self, name: &str, heard: &Heard<'_>) -> Option<&mut Post> {
        if !self.posts.contains_key(name) {
            if self.posts.len() >= MAX_SERVERS {
                return None;
            }
            self.posts.insert(name.into(), Post::new(heard.ring.key_called(name), self.now));
        }
        self.posts.get_mut(name)
    }
}

impl Post {
    fn new(key: Option<&PublicKey>, now: Now) -> Self {
        let key = key.cloned().unwrap_or_else(nobodys_key);
        let id = Id::uuid_v4([0; 16]);
        // Where nobody dials: we only need to have an address to be one who joins.
        let address = HostPort::new("inspected.invalid", 8765).ok();
        let config = Config {
            password_logins: PasswordLogins::Anywhere,
            dial: DialPolicy::None,
            limits: limits(),
            timing: timing(),
            ..Config::new(id.into(), key, address, [7; 32])
        };
        let server = Server::new(config, Snapshot::default(), now);
        Self { server, named: false, sockets: BTreeMap::new(), dialled: BTreeMap::new(), next_link: 0 }
    }

    /// The recorded server in our place sent this frame.
    fn said(&mut self, heard: &Heard<'_>) {
        let frame = heard.frame;
        let key = match frame.payload() {
            Payload::ServerHelloJoin(hello) | Payload::ServerHelloLink(hello) => {
                hello.pubkey.key().ok().cloned()
            }
            Payload::LoginChallenge(challenge) => challenge.pubkey.key().ok().cloned(),
            _ => None,
        };
        let from = frame.from().filter(|_| !self.named);
        if let Some(from) = from {
            let key = heard.ring.key_of(from.as_str()).cloned().or(key);
            self.server.replay_identity(Some(from), key.as_ref());
            self.named = true;
        }
        let peer: Box<str> = heard.reader().into();
        match frame.payload() {
            Payload::ServerHelloJoin(hello) | Payload::ServerHelloLink(hello) => {
                let opened = self.sockets.contains_key(&(peer.clone(), true));
                if let Some(address) =
                    frame.to().address().filter(|_| !opened && self.dialled.len() < MAX_SOCKETS)
                {
                    self.dialled.insert(peer, (address, hello.nonce));
                }
            }
            Payload::ServerWelcome(ServerWelcome { nonce: Some(nonce), .. })
            | Payload::LoginChallenge(LoginChallenge { nonce, .. }) => {
                if let Some(socket) = self.sockets.get_mut(&(peer, false)) {
                    self.server.replay_nonce(socket.link, *nonce);
                    socket.nonce = true;
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self, told: Told<'_>, heard: &Heard<'_>) -> Verdict {
        let now = told.now;
        let mut assumed: Vec<Box<str>> = Vec::new();
        let before = self.next_link;
        let socket = match self.socket(now, heard, &mut assumed) {
            Ok(socket) => socket,
            Err(verdict) => return verdict,
        };
        let opened = self.next_link > before;
        self.assume_what_is_missing(told, heard, &socket, opened, &mut assumed);
        let Some(Socket { link, .. }) = self.sockets.get(&socket) else {
            return verdict(Does::Unknown, "more sockets in one record than are followed");
        };
        let link = *link;
        self.server.handle(now, Event::Wakeup);
        let meets = self.server.meets(link, heard.frame);
        let (mut actions, refusal) = match self.server.admit(link, heard.frame.clone()) {
            Admission::Accept(frame) => (self.server.handle(now, Event::Frame { link, frame }), None),
            Admission::Verify(unverified) => match unverified.verify(heard.verifier) {
                Ok(frame) => (self.server.handle(now, Event::Frame { link, frame }), None),
                Err(refusal) => self.refuse(now, link, refusal),
            },
            Admission::Refuse(refusal) => self.refuse(now, link, refusal),
        };
        if actions.iter().any(|action| matches!(action, Action::CheckPassword(_))) {
            assumed.push("the password is right".into());
            actions.extend(self.server.handle(now, Event::PasswordChecked { link, right: true }));
        }
        let effects = Effects::of(&actions, link);
        if let Some(reason) = &effects.closed
            && let Some(socket) = self.sockets.get_mut(&socket)
        {
            socket.closed = Some((heard.line, reason.clone()));
        }
        let (does, why) = effects.verdict(meets, refusal.as_ref());
        Verdict { does, why: why.into(), assumed }
    }

    fn refuse(&mut self, now: Now, link: LinkId, refusal: Refusal) -> (Vec<Action>, Option<Refusal>) {
        (self.server.handle(now, Event::Refused { link, refusal: refusal.clone() }), Some(refusal))
    }

    /// The socket that a frame came on, opened if it is the first.
    fn socket(
        &mut self,
        now: Now,
        heard: &Heard<'_>,
        assumed: &mut Vec<Box<str>>,
    ) -> Result<(Box<str>, bool), Verdict> {
        let peer: Box<str> = heard.writer().into();
        let welcome = *heard.frame.kind() == FrameType::ServerWelcome;
        let hello = is_hello(heard.frame.kind());
        let used = |we_dialled: bool| {
            let socket = self.sockets.get(&(peer.clone(), we_dialled));
            socket.map_or(0, |socket| socket.used + 1)
        };
        let waiting = self.dialled.contains_key(&peer) && !self.sockets.contains_key(&(peer.clone(), true));
        let we_dialled = welcome || (!hello && (used(true) > used(false) || (waiting && used(false) == 0)));
        let key = (peer.clone(), we_dialled);
        // Who was turned away and says hello again came on a new socket.
        let reopened =
            self.sockets.get(&key).is_some_and(|socket| socket.closed.is_some()) && (hello || welcome);
        if !self.sockets.contains_key(&key) || reopened {
            if self.sockets.len() >= MAX_SOCKETS {
                return Err(verdict(Does::Unknown, "more sockets in one record than are followed"));
            }
            self.open(now, heard, &key, assumed)?;
        }
        let Some(socket) = self.sockets.get_mut(&key) else {
            return Err(verdict(Does::Unknown, "the link was not opened"));
        };
        socket.used = heard.line;
        match &socket.closed {
            Some((line, reason)) => {
                Err(verdict(Does::Refuses, &format!("we have closed this link at line {line}: {reason}")))
            }
            None => Ok(key),
        }
    }

    fn open(
        &mut self,
        now: Now,
        heard: &Heard<'_>,
        socket: &(Box<str>, bool),
        assumed: &mut Vec<Box<str>>,
    ) -> Result<(), Verdict> {
        let (peer, we_dialled) = socket;
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let origin = match we_dialled {
            false => {
                LinkOrigin::AcceptedFrom(Caller { address: IpAddr::V4(Ipv4Addr::LOCALHOST), private: true })
            }
            true => {
                let from = heard.frame.from().and_then(|from| heard.ring.key_of(from.as_str()));
                let Some(key) = from.or_else(|| heard.ring.key_called(peer)) else {
                    let why = "we dial only servers whose key we have, and nothing here says which key this one has";
                    return Err(verdict(Does::Unknown, why));
                };
                let address = match self.dialled.get(peer) {
                    Some((address, _)) => address.clone(),
                    None => {
                        assumed.push("we dialled it".into());
                        let port = u16::try_from(link.0 % 60_000).unwrap_or_default() + 1;
                        HostPort::new("dialled.invalid", port).expect("a name and a port that is not 0")
                    }
                };
                assumed.push("our bootstrap list has its address and key".into());
                self.server.replay_dial(&address, key);
                LinkOrigin::Dialled(address)
            }
        };
        self.server.handle(now, Event::LinkOpened { link, origin });
        let nonce = self.dialled.get(peer).and_then(|(_, nonce)| *nonce).filter(|_| *we_dialled);
        if let Some(nonce) = nonce {
            self.server.replay_nonce(link, nonce);
        }
        let nonce = nonce.is_some();
        self.sockets.insert(socket.clone(), Socket { link, used: heard.line, closed: None, nonce });
        Ok(())
    }

    /// What a record that begins in the middle does not show.
    fn assume_what_is_missing(
        &mut self,
        told: Told<'_>,
        heard: &Heard<'_>,
        socket: &(Box<str>, bool),
        opened: bool,
        assumed: &mut Vec<Box<str>>,
    ) {
        let Some(Socket { link, nonce, .. }) = self.sockets.get(socket) else { return };
        let (link, has_nonce, frame) = (*link, *nonce, heard.frame);
        if opened && !is_hello(frame.kind()) && self.server.awaits_hello(link) {
            self.assume_hello(told, heard, link, assumed);
        }
        let (own_id, answered) = match frame.payload() {
            Payload::LinkProof(proof) => (Some(proof.to.id().clone()), Some(proof.nonce)),
            Payload::LoginProof(proof) => (Some(proof.server_id.id().clone()), Some(proof.nonce)),
            _ => (None, None),
        };
        if let Some(id) = own_id.filter(|_| !self.named) {
            assumed.push(format!("we are {id}").into());
            self.server.replay_identity(Some(&id), None);
            self.named = true;
        }
        if let Some(nonce) = answered.filter(|_| !has_nonce) {
            assumed.push("its nonce is the one that we sent".into());
            self.server.replay_nonce(link, nonce);
        }
    }

    /// The peer said hello before the record begins: it is who it said elsewhere that it is, else the frame's `from`.
    fn assume_hello(&mut self, told: Told<'_>, heard: &Heard<'_>, link: LinkId, assumed: &mut Vec<Box<str>>) {
        let kind = heard.frame.kind();
        let writes = match kind {
            FrameType::Heartbeat => Some(Role::Server),
            _ => roles(kind).0,
        };
        let hello = match writes {
            Some(Role::Server) => r#""type":"SERVER_HELLO_LINK","payload":{"host":"","port":null,"#,
            Some(Role::User) => r#""type":"USER_HELLO","to":"the server","payload":{"#,
            None => return,
        };
        // Frames of seed clients have no `from`: the record may call their writer by its id.
        let name: Option<Id> = heard.parties.and_then(|(writer, _)| writer.parse().ok());
        let Some(id) = told.writer.or(heard.frame.from()).or(name.as_ref()) else { return };
        let Some(key) = heard.ring.key_of(id.as_str()) else { return };
        let (from, key) = (serde_json::Value::from(id.as_str()), key.to_field());
        let text = format!(r#"{{"from":{from},{hello}"pubkey":"{key}"}}}}"#);
        let Ok(hello) = Frame::parse(&text, usize::MAX) else { return };
        self.server.receive(told.now, link, hello, heard.verifier);
        assumed.push(format!("the record begins after the hello of {id}, whose key we have").into());
    }
}

/// What the actions of a machine amount to.
#[derive(Debug, Default)]
struct Effects {
    parts: Vec<String>,
    /// An ERROR to the sender.
    error: Option<String>,
    dropped: Option<String>,
    /// Its link was closed.
    closed: Option<Box<str>>,
}

impl Effects {
    fn of(actions: &[Action], link: LinkId) -> Self {
        let mut effects = Self::default();
        let mut relayed: usize = 0;
        let mut answers: Vec<&str> = Vec::new();
        for action in actions {
            match action {
                Action::Send { to, frame: Outgoing::Own(frame) } => {
                    let back = to.contains(&link);
                    if *frame.kind() == FrameType::Error && back {
                        effects.error = Some(error_text(frame.payload().canonical()));
                    } else if back {
                        answers.push(frame.kind().as_str());
                    }
                    let others = to.len() - usize::from(back);
                    if others > 0 {
                        effects.part(format!("sends {} to {}", frame.kind(), links(others)));
                    }
                }
                Action::Send { to, frame: Outgoing::Relay(_) | Outgoing::Bulk(_) } => {
                    relayed += to.len();
                }
                Action::Close { link: closed, code, reason } if *closed == link => {
                    effects.closed = Some(format!("{reason} ({code})").into());
                }
                Action::Report(report) => effects.report(report),
                // Stored, or asked of the border.
                Action::Persist(_)
                | Action::Dial { .. }
                | Action::Ping { .. }
                | Action::Close { .. }
                | Action::Pause { .. }
                | Action::WrapChannelKey { .. }
                | Action::CheckPassword(_) => {}
            }
        }
        if !answers.is_empty() {
            answers.dedup();
            effects.parts.insert(0, format!("answers {}", answers.join(", ")));
        }
        if relayed > 0 {
            effects.part(format!("relays it to {}", links(relayed)));
        }
        effects
    }

    fn part(&mut self, part: String) {
        if !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::UserOnline { user, server } => self.part(format!("{user} is online at {server}")),
            Report::UserOffline { user } => self.part(format!("{user} is offline")),
            Report::ServerUp { server, proven, .. } => {
                let how = if *proven { "proven" } else { "unproven" };
                self.part(format!("the link to {server} is up, {how}"));
            }
            Report::ServerDown { server } => self.part(format!("the last link to {server} is gone")),
            Report::IdAssigned { server } => self.part(format!("takes the id {server}")),
            // What is not dialled here cannot fail.
            Report::IntroducerDown { .. } | Report::IntroducerUp { .. } => {}
            Report::KeyConflict(conflict) => {
                self.part(format!("another key is pinned for {}", conflict.of));
            }
            Report::Dropped { why, detail } => {
                self.dropped.get_or_insert(format!("{why}: {detail}"));
            }
        }
    }

    fn verdict(&self, meets: Meets, refusal: Option<&Refusal>) -> (Does, String) {
        let closes = self.closed.as_ref().map(|reason| format!("closes the link: {reason}"));
        let join = |first: Option<String>| {
            let parts = first.into_iter().chain(self.parts.iter().cloned()).chain(closes.clone());
            parts.collect::<Vec<_>>().join("; ")
        };
        if let Some(refusal) = refusal {
            return (Does::Refuses, join(Some(refused(refusal))));
        }
        match (meets, &self.error, &self.dropped) {
            (Meets::Repeat, ..) => (Does::Repeats, "it has had this frame before".to_owned()),
            (Meets::Ignored(why), ..) => (Does::Drops, why.to_owned()),
            (Meets::Rules, Some(error), _) => (Does::Refuses, join(Some(error.clone()))),
            (Meets::Rules, None, Some(dropped)) if self.parts.is_empty() => {
                (Does::Drops, join(Some(dropped.clone())))
            }
            (Meets::Rules, None, _) if self.parts.is_empty() && closes.is_none() => {
                (Does::Accepts, NOTHING_FOLLOWS.to_owned())
            }
            (Meets::Rules, None, _) => (Does::Accepts, join(None)),
        }
    }
}

fn verdict(does: Does, why: &str) -> Verdict {
    Verdict { does, why: why.into(), assumed: Vec::new() }
}

fn refused(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.code(), refusal.detail())
}

fn error_text(payload: &str) -> String {
    match serde_json::from_str::<ErrorReport>(payload) {
        Ok(error) => format!("{}: {}", error.code, error.detail),
        Err(_) => "ERROR".to_owned(),
    }
}

fn links(count: usize) -> String {
    if count == 1 { "1 link".to_owned() } else { format!("{count} links") }
}

/// Who writes and who reads frames of a type, where the type says it.
fn roles(kind: &FrameType) -> (Option<Role>, Option<Role>) {
    let (server, user) = (Some(Role::Server), Some(Role::User));
    match kind {
        FrameType::ServerHelloJoin
        | FrameType::ServerWelcome
        | FrameType::ServerHelloLink
        | FrameType::LinkProof
        | FrameType::ServerDeliver
        | FrameType::Presence
        | FrameType::PresenceRequest
        | FrameType::PresenceList => (server, server),
        FrameType::ServerAnnounce
        | FrameType::UserAdvertise
        | FrameType::UserRemove
        | FrameType::PublicChannelAdd
        | FrameType::PublicChannelUpdated => (server, None),
        FrameType::UserHello
        | FrameType::LoginProof
        | FrameType::ListRequest
        | FrameType::PubkeyRequest
        | FrameType::MsgDirect
        | FrameType::UserRegister
        | FrameType::UserLogin => (user, server),
        FrameType::LoginChallenge
        | FrameType::UserLoggedIn
        | FrameType::Directory
        | FrameType::UserAdded
        | FrameType::UserRemoved
        | FrameType::UserKeyConflict
        | FrameType::ListResponse
        | FrameType::Pubkey
        | FrameType::UserDeliver
        | FrameType::PublicChannelSnapshot
        | FrameType::FileStartDeliver
        | FrameType::FileChunkDeliver
        | FrameType::FileEndDeliver
        | FrameType::UserRegistered
        | FrameType::UserHelloAck => (server, user),
        FrameType::Heartbeat
        | FrameType::UserKeyRequest
        | FrameType::UserKeyAnswer
        | FrameType::MsgPublicChannel
        | FrameType::PublicChannelKeyShare
        | FrameType::FileStart
        | FrameType::FileChunk
        | FrameType::FileEnd
        | FrameType::Ack
        | FrameType::Error
        | FrameType::CtrlClose
        | FrameType::Unknown(_) => (None, None),
    }
}

/// Frames that begin a socket.
fn is_hello(kind: &FrameType) -> bool {
    matches!(
        kind,
        FrameType::ServerHelloJoin
            | FrameType::ServerHelloLink
            | FrameType::UserHello
            | FrameType::UserRegister
            | FrameType::UserLogin
    )
}

/// Frames whose `from` is their writer's own id.
fn says_who(kind: &FrameType) -> bool {
    matches!(
        kind,
        FrameType::ServerHelloJoin
            | FrameType::ServerWelcome
            | FrameType::ServerHelloLink
            | FrameType::UserHello
    )
}

/// Frames from which the machine in the writer's place learns.
fn tells_of_writer(kind: &FrameType) -> bool {
    matches!(kind, FrameType::LoginChallenge) || (says_who(kind) && *kind != FrameType::UserHello)
}

/// The key of a server that has not shown one: it has the form of a key and no private half.
fn nobodys_key() -> PublicKey {
    let mut spki = [0xff; SPKI_BYTES];
    spki[..33].copy_from_slice(&crate::wire::SPKI_PREFIX);
    spki[SPKI_BYTES - 5..].copy_from_slice(&crate::wire::SPKI_SUFFIX);
    PublicKey::from_der(&spki).expect("it has the form of a key")
}

/// Rates are of no interest here: nobody waits, and every ERROR is to be seen.
fn limits() -> Limits {
    Limits {
        pinned_users: MAX_USERS,
        channel_burst: u32::MAX,
        wrong_passwords_per_second: u32::MAX,
        bad_frames_per_minute: u32::MAX,
        error_burst: u32::MAX,
        stranger_error_burst: u32::MAX,
        greeting_links: MAX_SOCKETS,
        ..Limits::default()
    }
}

/// A record shows no pings, and begins and ends anywhere: nobody is too slow.
fn timing() -> Timing {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Timing {
        silence: NEVER,
        greeting: NEVER,
        welcome: NEVER,
        link_proof: NEVER,
        challenge: NEVER,
        password: NEVER,
        presence_lost: NEVER,
        ..Timing::default()
    }
}
