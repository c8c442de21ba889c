//! The server machine: events in, ordered actions out.
//!
//! ```text
//! text ─ Frame::parse ─▶ Server::admit ─▶ Unverified::verify ─▶ Server::handle ─▶ Vec<Action>
//! ```
//!
//! `admit` reads pins and names the checks, the driver runs them wherever it likes, `handle` acts. A
//! driver calls `handle` with [`Event::Wakeup`] no later than [`Server::poll_timeout`] says. `handle`
//! cannot fail and does not panic: a bad peer is normal and yields an ERROR, a close, a report.

mod accounts;
mod admission;
mod advert_text;
mod api;
mod budget;
mod channel;
mod deliver;
mod delivered;
mod dialling;
mod directory;
mod files;
mod foreign;
mod joining;
mod limits;
mod link;
mod linked;
mod login;
mod out;
mod peer;
mod pins;
mod presence;
mod replay;
mod seen;
mod sync;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use accounts::PasswordCheck;
pub(crate) use admission::is_carried;
pub use api::{
    AccountRecord, Action, Caller, Config, ConflictOf, DeliveryRecord, DialPolicy, Event, Introducer,
    JoinPolicy, KeyConflict, LinkId, LinkOrigin, MemberRecord, Outgoing, PasswordLogins, PinRank, PinnedBy,
    Record, Report, ServerRecord, Snapshot, UserRecord,
};
pub use dialling::Reach;
pub use limits::{Limits, Timing};
pub(crate) use replay::Meets;

use crate::crypto::{
    Admission, Purpose, Refusal, SharedPayload, SignatureForm, Unsigned, Verified, Verifier,
};
use crate::dialect::Dialect;
use crate::repeats::Repeats;
use crate::wire::{
    Attestation, Empty, ErrorCode, Frame, FrameType, HostPort, Meta, Nonce, Payload, PublicKey, Recipient,
    Rotation, ServerId, Timestamp, UserAdvertise, UserHelloAck, UserId, UserRemove,
};
use crate::{Deadline, Now, close_code};
use accounts::Accounts;
use admission::Rule;
use budget::Budget;
use channel::Channel;
use dialling::Dial;
use link::{Link, LinkState};
use peer::Peer;
use seen::Seen;
use timers::{Timer, Timers};

/// A SOCP server, without sockets, clock or private key.
#[derive(Debug)]
pub struct Server {
    config: Config,
    id: ServerId,
    rng: ChaCha20Rng,
    now: Now,
    /// The last `issued_at` that we used.
    issued_at: u64,
    timers: Timers,
    links: BTreeMap<LinkId, Link>,
    /// Links whose peers speak a dialect: what leaves on them is dressed for it.
    dialects: BTreeMap<LinkId, Dialect>,
    /// Every server we know (§5 `servers`, `server_addrs`).
    peers: BTreeMap<ServerId, Peer>,
    /// Every address that we keep linked.
    dials: BTreeMap<HostPort, Dial>,
    next_learnt_dial: Duration,
    /// Every user whose key we know, and where they are (§5 `user_locations`).
    users: BTreeMap<UserId, User>,
    /// Sessions here (§5 `local_users`).
    local: BTreeMap<UserId, Session>,
    /// Who logs in by a password (§15 `privkey_store`, `pake_password`).
    accounts: Accounts,
    /// The public channel (§15 `groups`, `group_members`).
    channel: Channel,
    seen: Seen,
    delivered: Repeats,
    /// Deliveries sent to other servers, so that their ERROR, or the loss of their link, finds the author.
    in_transit: VecDeque<InTransit>,
    /// The same of public messages to single members.
    said_to_all: VecDeque<InTransit>,
    heartbeat: SharedPayload,
    hello_ack: SharedPayload,
    /// Removals in our own name that answered somebody's stale advert, for a while.
    settled: Seen,
    /// ERRORs to all who have not logged in.
    stranger_errors: Budget,
    /// USER_KEY_CONFLICTs that clients may be told of.
    conflicts: Budget,
    out: Vec<Action>,
}

/// A user: pinned key and best live claim.
#[derive(Debug, Default)]
struct User {
    key: Option<PublicKey>,
    /// How that key follows from the user's first one; empty for the first one, and where nobody showed it.
    rotations: Vec<Rotation>,
    proven: bool,
    version: u64,
    meta: Meta,
    location: Option<Location>,
    /// Servers whose tables hold a claim for this user: hardly ever more than one.
    claimed_by: Vec<ServerId>,
    /// USER_ADDED, kept from when somebody without pages is told, so that it is signed once for all of them.
    added: Option<SharedPayload>,
}

impl User {
    fn add_claim_by(&mut self, server: &ServerId) {
        if !self.claimed_by.contains(server) {
            self.claimed_by.reserve_exact(1);
            self.claimed_by.push(server.clone());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    Local,
    At(ServerId),
}

/// A user logged in here.
#[derive(Debug)]
struct Session {
    link: LinkId,
    key: PublicKey,
    meta: Meta,
    issued_at: u64,
    /// When the user proved itself here, if it did.
    attested: Option<u64>,
    /// Changes of `meta` that the user may still make.
    meta_changes: Budget,
    /// Came with a bare USER_HELLO: gets adverts and removals themselves, and lists without pages.
    bare: bool,
    /// How its frames were signed last, to be tried first (decisions §1).
    form: Option<SignatureForm>,
    /// A renewal challenge that is open, and until when.
    challenge: Option<(Nonce, Duration)>,
    /// Signed once, sent to whoever needs it.
    advert: Unsigned,
}

impl Session {
    /// The user's LOGIN_PROOF, if there was one: every advert shows it, and is where it is kept.
    fn attestation(&self) -> Option<Attestation> {
        let advert = serde_json::from_str::<UserAdvertise>(self.advert.payload().canonical());
        advert.expect("our own advert").attestation
    }
}

#[derive(Debug)]
struct InTransit {
    /// The author's frame.
    kind: FrameType,
    recipient: UserId,
    ts: Timestamp,
    teller: Teller,
    /// Where it went, and when.
    hop: LinkId,
    at: Duration,
    /// The server whose claim led there, and which of its claims that was.
    claim: (ServerId, u64),
}

/// Who is to hear that a message came to nothing.
#[derive(Clone, Debug)]
enum Teller {
    /// Its author, who is here.
    Author(UserId),
    /// The server that brought it on its way elsewhere.
    Neighbour(LinkId),
}

/// Deliveries whose failure can still be told to whoever sent them.
const MAX_IN_TRANSIT: usize = 4096;

/// Deliveries on a link that is lost whose authors are told: an ERROR each, and as many keep two cores busy signing for
/// a second.
const MAX_CUT_OFF: usize = 1024;

/// What was written this long before the last word of a link's peer may still have been under way when it fell silent.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Sizes of the machine's tables, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open links of all kinds.
    pub links: usize,
    /// Users logged in here.
    pub local_users: usize,
    /// Users online anywhere, as far as we know.
    pub online_users: usize,
    /// Users whose keys are pinned.
    pub pinned_users: usize,
    /// Servers we know.
    pub known_servers: usize,
    /// Servers with a link that is up.
    pub linked_servers: usize,
    /// Members of the public channel.
    pub channel_members: usize,
    /// Entries of both duplicate caches.
    pub seen_entries: usize,
}

impl Server {
    /// A server with the state that survived.
    pub fn new(config: Config, snapshot: Snapshot, now: Now) -> Self {
        let timing = &config.timing;
        let mut server = Self {
            id: snapshot.own_id.clone().unwrap_or_else(|| config.server_id.clone()),
            rng: ChaCha20Rng::from_seed(config.seed),
            now,
            issued_at: snapshot.issued_at,
            timers: Timers::default(),
            links: BTreeMap::new(),
            dialects: BTreeMap::new(),
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_learnt_dial: now.instant,
            users: BTreeMap::new(),
            local: BTreeMap::new(),
            accounts: Accounts::default(),
            channel: Channel::new(snapshot.channel_version),
            seen: Seen::new(config.limits.seen_entries, timing.seen),
            delivered: Repeats::new(0, []),
            in_transit: VecDeque::new(),
            said_to_all: VecDeque::new(),
            heartbeat: SharedPayload::new(&Payload::Heartbeat(Empty {})),
            hello_ack: SharedPayload::new(&Payload::UserHelloAck(UserHelloAck { status: "ok".into() })),
            settled: Seen::new(config.limits.seen_entries, timing.presence),
            stranger_errors: Budget::new(
                config.limits.stranger_error_burst,
                f64::from(config.limits.stranger_errors_per_second),
                now.instant,
            ),
            conflicts: Budget::new(
                config.limits.error_burst,
                f64::from(config.limits.errors_per_second),
                now.instant,
            ),
            out: Vec::new(),
            config,
        };
        server.timers.set(Timer::Heartbeat, now.instant + server.config.timing.heartbeat);
        server.timers.set(Timer::Presence, now.instant + server.config.timing.presence);
        server.restore(snapshot);
        server.start_dialling();
        server
    }

    /// Our id.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// Sizes of the machine's tables.
    pub fn counts(&self) -> Counts {
        Counts {
            links: self.links.len(),
            local_users: self.local.len(),
            online_users: self.users.values().filter(|user| user.location.is_some()).count(),
            pinned_users: self.users.len(),
            known_servers: self.peers.len(),
            linked_servers: self.peers.values().filter(|peer| !peer.links.is_empty()).count(),
            channel_members: self.channel.members().count(),
            seen_entries: self.seen.len() + self.delivered.len(),
        }
    }

    /// Users with a session here and their links (§5 `local_users`).
    pub fn local_users(&self) -> impl Iterator<Item = (&UserId, LinkId)> {
        self.local.iter().map(|(user, session)| (user, session.link))
    }

    /// Users known to be online and the servers they are at (§5 `user_locations`).
    pub fn user_locations(&self) -> impl Iterator<Item = (&UserId, &ServerId)> {
        self.users.iter().filter_map(|(user, entry)| match entry.location.as_ref()? {
            Location::Local => Some((user, &self.id)),
            Location::At(server) => Some((user, server)),
        })
    }

    /// Servers with a link that is up (§5 `servers`).
    pub fn linked_servers(&self) -> impl Iterator<Item = (&ServerId, LinkId)> {
        self.peers.iter().filter_map(|(server, peer)| Some((server, peer.link()?)))
    }

    /// When to call [`Server::handle`] with [`Event::Wakeup`] at the latest. After a wake-up it is
    /// strictly later than that event's [`Now`].
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next()
    }

    /// Admits, verifies and handles a frame: for embedders and tests without a pool.
    pub fn receive(&mut self, now: Now, link: LinkId, frame: Frame, verifier: &dyn Verifier) -> Vec<Action> {
        let checked = match self.admit(link, frame) {
            Admission::Accept(frame) => Ok(frame),
            Admission::Verify(frame) => frame.verify(verifier),
            Admission::Refuse(refusal) => Err(refusal),
        };
        match checked {
            Ok(frame) => self.handle(now, Event::Frame { link, frame }),
            Err(refusal) => self.handle(now, Event::Refused { link, refusal }),
        }
    }

    /// Takes one event and says what follows from it, in order. Deadlines that are due fire first.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        // A driver's monotonic clock does not run backwards; if it does, time stands still here.
        self.now = Now { instant: now.instant.max(self.now.instant), unix_ms: now.unix_ms };
        while let Some(timer) = self.timers.pop_due(self.now.instant) {
            self.on_timer(timer);
        }
        match event {
            Event::LinkOpened { link, origin } => self.on_link_opened(link, origin),
            Event::Frame { link, frame } => self.on_frame(link, frame),
            Event::Refused { link, refusal } => {
                self.touch(link);
                self.on_refused(link, refusal);
            }
            Event::LinkAlive { link } => self.touch(link),
            Event::LinkClosed { link, why } => {
                self.note_link_trouble(link, &why);
                self.drop_link(link);
            }
            Event::DialFailed { address, why } => self.on_dial_failed(&address, &why),
            Event::ChannelKeyWrapped { wraps } => self.on_channel_key_wrapped(wraps),
            Event::PasswordChecked { link, right } => self.on_password_checked(link, right),
            Event::Wakeup => {}
            Event::Shutdown => self.on_shutdown(),
        }
        std::mem::take(&mut self.out)
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Heartbeat => self.on_heartbeat_due(),
            Timer::Presence => self.on_presence_due(),
            Timer::Channel => self.on_channel_due(),
            Timer::Silence(link) => self.on_silence(link),
            Timer::Greeting(link) | Timer::Challenge(link) => self.on_greeting_timeout(link),
            Timer::Password(link) => self.on_password_overdue(link),
            Timer::Welcome(link) => self.on_welcome_overdue(link),
            Timer::LinkProof(link) => self.on_link_proof_overdue(link),
            Timer::Settle(server) => self.on_settled(&server),
            Timer::Unreachable(server) => self.on_unreachable(&server),
            Timer::Relist(server) => self.on_relisted(&server),
            Timer::Renew(user) => self.on_renewal_due(&user),
            Timer::Redial(address) => self.on_redial_due(&address),
        }
    }

    fn on_link_opened(&mut self, link: LinkId, origin: LinkOrigin) {
        let now = self.now.instant;
        let state = match &origin {
            LinkOrigin::Accepted | LinkOrigin::AcceptedFrom(_) => {
                if self.links.values().filter(|link| link.is_greeting()).count()
                    >= self.config.limits.greeting_links
                {
                    self.out.push(Action::Close {
                        link,
                        code: close_code::POLICY,
                        reason: "too many strangers",
                    });
                    return;
                }
                self.timers.set(Timer::Greeting(link), now + self.config.timing.greeting);
                LinkState::Greeting
            }
            LinkOrigin::Dialled(address) => match self.join(link, address) {
                Some(joining) => LinkState::Joining(joining),
                None => return,
            },
        };
        self.links.insert(link, Link::new(link, origin, state, now, &self.config.limits));
        self.timers.set(Timer::Silence(link), now + self.config.timing.silence);
    }

    fn on_frame(&mut self, link_id: LinkId, frame: Verified) {
        self.touch(link_id);
        let Some(link) = self.links.get(&link_id) else { return };
        // A link may have been nobody's when the frame was admitted, and be a server's since: by this very frame.
        let author_there = frame.author_was_there() || self.is_author_there(link, frame.frame());
        match self.rule(link, frame.frame(), author_there) {
            Err(refusal) => return self.on_refused(link_id, refusal),
            Ok(Rule::Repeat) => return,
            Ok(Rule::Ignore(why)) => return self.dropped(why, link_id.0.to_string()),
            Ok(Rule::Checks(checks)) => {
                let met =
                    checks.iter().all(|check| !check.required || frame.proven_by(check.purpose, &check.key));
                if !met {
                    // A pin moved while the check ran.
                    let refusal = Refusal::of(frame.frame(), ErrorCode::InvalidSig, "the key has changed");
                    return self.on_refused(link_id, refusal);
                }
            }
        }
        match &link.state {
            LinkState::Greeting => self.on_greeting_frame(link_id, frame),
            LinkState::Login(_) => self.on_login_frame(link_id, &frame),
            LinkState::Joining(_) => self.on_joining_frame(link_id, frame),
            LinkState::Server(server) => {
                let server = server.server.clone();
                self.on_server_frame(link_id, &server, frame);
            }
            LinkState::User(user) => {
                let user = user.clone();
                self.on_user_frame(link_id, &user, frame);
            }
        }
    }

    fn on_greeting_frame(&mut self, link: LinkId, frame: Verified) {
        match frame.frame().payload() {
            Payload::ServerHelloJoin(hello) => self.on_server_hello(link, &frame, hello, true),
            Payload::ServerHelloLink(hello) => self.on_server_hello(link, &frame, hello, false),
            Payload::ServerAnnounce(hello) => {
                self.on_server_hello(link, &frame, hello, false);
                self.on_announce(link, &frame, hello);
            }
            Payload::UserHello(hello) => self.on_user_hello(link, &frame, hello),
            Payload::UserRegister(registration) => self.on_user_register(link, &frame, registration),
            Payload::UserLogin(login) => self.on_user_login(link, &frame, login),
            Payload::CtrlClose(_) => self.close(link, close_code::NORMAL, "closed by peer"),
            // The rules let nothing else through but gossip.
            _ => self.on_dial_back(link, frame),
        }
    }

    fn on_server_frame(&mut self, link: LinkId, server: &ServerId, frame: Verified) {
        if !self.dialects.is_empty() {
            self.note_answer(link);
        }
        self.on_first_word(link, &frame);
        if let Some(form) = frame.proof(Purpose::Transport).and_then(|proof| proof.form)
            && let Some(peer) = self.peers.get_mut(server)
            && frame.frame().from() == Some(server.id())
        {
            peer.form = Some(form);
        }
        match frame.frame().payload() {
            Payload::Heartbeat(_) => {}
            Payload::LinkProof(proof) => self.on_link_proof(link, server, proof),
            Payload::ServerAnnounce(hello) => self.on_announce(link, &frame, hello),
            Payload::ServerHelloJoin(_) | Payload::ServerHelloLink(_) => {}
            Payload::UserAdvertise(advert) => {
                if let Some(server_id) = self.origin(link, frame.frame(), &advert.server_id) {
                    let advert = UserAdvertise { server_id, ..advert.clone() };
                    self.on_user_advertise(link, frame, &advert);
                }
            }
            Payload::UserRemove(removal) => {
                if let Some(server_id) = self.origin(link, frame.frame(), &removal.server_id) {
                    self.on_user_remove(link, &frame, &UserRemove { server_id, ..removal.clone() });
                }
            }
            Payload::UserKeyRequest(request) => {
                self.on_user_key_request(link, server, frame.frame(), &request.recipient_uuid);
            }
            Payload::UserKeyAnswer(answer) => self.on_user_key_answer(link, server, answer),
            Payload::Presence(presence) => self.on_presence(link, &frame, presence),
            Payload::PresenceRequest(request) => self.on_presence_request(link, &request.server_id),
            Payload::PresenceList(list) => self.on_presence_list(link, list),
            Payload::ServerDeliver(message) => self.on_server_deliver(link, &frame, message),
            Payload::MsgPublicChannel(message) => self.on_relayed_public(link, &frame, message),
            Payload::FileStart(_) | Payload::FileChunk(_) | Payload::FileEnd(_) | Payload::Ack(_) => {
                self.on_relayed_file(link, &frame);
            }
            Payload::PublicChannelAdd(add) => self.on_channel_add(link, &frame, add),
            Payload::PublicChannelUpdated(updated) => self.on_channel_updated(link, &frame, updated),
            Payload::PublicChannelKeyShare(share) => self.on_key_share(link, &frame, share),
            Payload::Error(error) => self.on_server_error(link, server, error),
            Payload::CtrlClose(_) => self.on_server_close(link),
            // The rules let nothing else through.
            _ => {}
        }
    }

    fn on_user_frame(&mut self, link: LinkId, user: &UserId, frame: Verified) {
        if let Some(form) = frame.proof(Purpose::Transport).and_then(|proof| proof.form)
            && let Some(session) = self.local.get_mut(user)
        {
            session.form = Some(form);
        }
        match frame.frame().payload() {
            Payload::MsgDirect(message) => self.on_msg_direct(link, user, &frame, message),
            Payload::MsgPublicChannel(message) => self.on_msg_public(link, user, &frame, message),
            Payload::FileStart(_) | Payload::FileChunk(_) | Payload::FileEnd(_) | Payload::Ack(_) => {
                self.on_file_frame(link, user, &frame);
            }
            Payload::PublicChannelKeyShare(share) => self.on_own_key_share(link, &frame, share),
            Payload::ListRequest(_) => self.on_list_request(link, user),
            Payload::PubkeyRequest(request) => self.on_pubkey_request(link, user, &frame, &request.user_id),
            Payload::LoginProof(proof) => self.on_renewal_proof(link, user, &frame, proof),
            Payload::UserHello(hello) => self.on_hello_again(link, user, &frame, hello),
            Payload::UserLogin(login) => self.on_user_login(link, &frame, login),
            Payload::CtrlClose(_) => self.close(link, close_code::NORMAL, "closed by peer"),
            // An ERROR is never answered; the rules let nothing else through.
            _ => {}
        }
    }

    /// Answers a bad frame (decisions §2): an ERROR to users and strangers, a counted drop on server
    /// links, and a close where the refusal or the number of bad frames asks for one.
    fn on_refused(&mut self, link_id: LinkId, refusal: Refusal) {
        let now = self.now.instant;
        let Some(link) = self.links.get_mut(&link_id) else { return };
        // A bad frame that its neighbour merely carried does not close the link: an honest one may well know servers
        // that we do not, or by other keys. What costs checks is looked at no more; what no honest neighbour would
        // have carried slows the link down.
        let kind = refusal.reference.as_ref().map(|reference| FrameType::parse(&reference.kind));
        let carried = match (&link.state, &refusal.from) {
            (LinkState::Server(server), Some(from)) => {
                from != server.server.id() && kind.as_ref().is_some_and(admission::is_carried)
            }
            _ => false,
        };
        let within_budget = carried || link.bad_frames.take(now);
        let origin = refusal.from.clone().map(ServerId::from).filter(|_| carried);
        let failed = origin.zip(refusal.failed.as_ref()).map(|(origin, failed)| {
            // Of a user's own frame no server's pin is to blame.
            let pinned = self.peers.get(&origin).map(|peer| peer.record.key.id());
            let (purpose, key) = **failed;
            (origin, purpose == Purpose::Transport && Some(key) == pinned)
        });
        // A frame that is not signed at all shows nobody's key.
        let other_key = match &link.state {
            LinkState::Joining(joining)
                if refusal.failed.is_some() && refusal.shown.as_ref() != Some(&joining.key) =>
            {
                Some((joining.address.clone(), joining.key.clone()))
            }
            _ => None,
        };
        let answers_error = refusal.reference.as_ref().is_some_and(|reference| &*reference.kind == "ERROR");
        let from_server = matches!(link.state, LinkState::Server(_) | LinkState::Joining(_));
        let detail = format!("{link_id:?}: {refusal}");
        if let Some((address, pinned)) = other_key
            && self.note_trouble(&address, "another key than the pinned one answers there")
        {
            // Most likely the operator's list has another server's key for it.
            let subject = ConflictOf::Address(address);
            self.report_conflict(subject, Some(&pinned), refusal.shown.as_ref(), false);
        }
        self.dropped("refused frame", detail);
        match failed {
            Some((origin, true)) => self.doubt(link_id, &origin),
            Some((_, false)) => self.charge_request(link_id),
            None => {}
        }
        if !from_server && !answers_error {
            self.error(link_id, refusal.code, &refusal.detail, refusal.reference.map(|reference| *reference));
        }
        if let Some(code) = refusal.close {
            self.close(link_id, code, "refused");
        } else if !within_budget {
            self.close(link_id, close_code::POLICY, "too many bad frames");
        }
    }

    fn doubt(&mut self, link_id: LinkId, origin: &ServerId) {
        let link = self.links.get_mut(&link_id).map(|link| &mut link.state);
        if let Some(LinkState::Server(link)) = link {
            link.doubt(origin, &self.config.limits, self.now.instant);
        }
    }

    fn on_heartbeat_due(&mut self) {
        self.timers.set(Timer::Heartbeat, self.now.instant + self.config.timing.heartbeat);
        let links: Vec<(LinkId, ServerId)> =
            self.links.values().filter_map(|link| Some((link.id, link.server()?.server.clone()))).collect();
        for (link, server) in links {
            let frame = self.frame(Recipient::from(&server), self.heartbeat.clone());
            self.send_to(vec![link], frame);
        }
        if !self.links.is_empty() {
            self.out.push(Action::Ping { to: self.links.keys().copied().collect() });
        }
    }

    fn on_silence(&mut self, link_id: LinkId) {
        let Some(link) = self.links.get(&link_id) else { return };
        let dead_at = link.heard + self.config.timing.silence;
        if self.now.instant > dead_at + self.config.timing.heartbeat {
            // The timer itself is late: it was us who slept. What the peer sent meanwhile waits to be read.
            self.touch(link_id);
            self.timers.set(Timer::Silence(link_id), self.now.instant + self.config.timing.silence);
        } else if dead_at > self.now.instant {
            self.timers.set(Timer::Silence(link_id), dead_at);
        } else {
            self.close(link_id, close_code::POLICY, "silent for too long");
        }
    }

    fn on_greeting_timeout(&mut self, link: LinkId) {
        if self.links.get(&link).is_some_and(Link::is_greeting) && !self.may_be_dial_back(link) {
            self.error(link, ErrorCode::Timeout, "said too late who you are", None);
            self.close(link, close_code::POLICY, "no greeting");
        }
    }

    /// Tells everybody that we leave, then closes every link with 1000.
    fn on_shutdown(&mut self) {
        let close = SharedPayload::new(&Payload::CtrlClose(Empty {}));
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        let greeted: Vec<LinkId> = self
            .links
            .values()
            .filter(|link| matches!(link.state, LinkState::Server(_) | LinkState::User(_)))
            .map(|link| link.id)
            .collect();
        self.broadcast(greeted, close);
        for link in &links {
            self.out.push(Action::Close {
                link: *link,
                code: close_code::NORMAL,
                reason: "server is stopping",
            });
        }
        self.links.clear();
        self.dialects.clear();
        self.local.clear();
        self.timers = Timers::default();
    }

    fn touch(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.heard = self.now.instant;
        }
    }

    /// Closes a link and lets go of what hung on it.
    fn close(&mut self, link: LinkId, code: u16, reason: &'static str) {
        if self.links.contains_key(&link) {
            self.out.push(Action::Close { link, code, reason });
            self.note_link_trouble(link, reason);
            self.drop_link(link);
        }
    }

    fn note_link_trouble(&mut self, link: LinkId, why: &str) {
        if let Some(LinkOrigin::Dialled(address)) = self.links.get(&link).map(|link| link.origin.clone()) {
            self.note_trouble(&address, why);
        }
    }

    fn drop_link(&mut self, link_id: LinkId) {
        let Some(link) = self.links.remove(&link_id) else { return };
        self.dialects.remove(&link_id);
        for timer in [Timer::Silence, Timer::Greeting, Timer::Welcome, Timer::LinkProof, Timer::Challenge] {
            self.timers.cancel(&timer(link_id));
        }
        match link.state {
            LinkState::Greeting | LinkState::Login(_) => {}
            LinkState::Joining(_) | LinkState::Server(_) => self.on_server_link_closed(link),
            LinkState::User(user) => self.end_session(&user, link_id),
        }
    }
}
