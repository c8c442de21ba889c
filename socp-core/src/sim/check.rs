//! What must hold after every step, whoever lies and whatever breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::device::Said;
use super::life::Person;
use super::net::Site;
use super::node::{EPOCH_MS, Store};
use super::world::{Next, World, micros};
use crate::client::{MessageKind, Notice};
use crate::crypto::first_key;
use crate::server::{Action, LinkId, PinRank, Record, Report, Server, UserRecord};
use crate::wire::{Frame, FrameType, Payload, ServerId, UserId, WireText};

/// The frame that a batch of actions answers.
pub(super) struct Cause {
    pub(super) link: LinkId,
    pub(super) frame: Arc<Frame>,
    /// Its signatures held.
    pub(super) verified: bool,
    pub(super) refused: bool,
}

impl Cause {
    pub(super) fn of(link: LinkId, frame: Arc<Frame>) -> Self {
        Self { link, frame, verified: false, refused: false }
    }
}

/// Something that must be so a little later, in a world in which no link breaks.
#[derive(Debug)]
pub(super) enum Promise {
    /// Everybody knows of a session; and the clients that were ready when it began.
    Known { user: UserId, server: usize, link: LinkId, witnesses: Vec<(usize, LinkId)> },
    /// Nobody believes in a session that has ended.
    Gone { user: UserId, server: usize },
    /// A message was shown, if its recipient's session lives, once its sender's server has read it.
    Shown { message: usize, sender: LinkId, device: usize, link: LinkId },
}

/// Tables of a server, to be compared.
type Tables = (Vec<(UserId, ServerId)>, Vec<ServerId>, usize, usize);

fn tables(machine: &Server) -> Tables {
    let locations = machine.user_locations().map(|(user, server)| (user.clone(), server.clone())).collect();
    let linked = machine.linked_servers().map(|(server, _)| server.clone()).collect();
    let counts = machine.counts();
    (locations, linked, counts.known_servers, counts.pinned_users)
}

/// What one server has said and seen.
#[derive(Default)]
struct Witness {
    /// In its own name, in this life: `issued_at`, and what was said with it.
    issued: BTreeMap<u64, Box<str>>,
    /// What was stored when this life began.
    issued_before: u64,
    /// In this life, removals that it believed: the `issued_at` of each.
    gone: BTreeMap<(ServerId, UserId), u64>,
    /// In this life, where it last said that a user is.
    located: BTreeMap<UserId, ServerId>,
    /// In this life, whose proof of a login at which server it was handed last, and of what time.
    attested: BTreeMap<(ServerId, UserId), u64>,
    /// In this life, messages written to users, and when.
    delivered: BTreeMap<(UserId, Box<[u8]>), u64>,
}

/// What the checks remember.
pub(super) struct Checks {
    broken: Option<(&'static str, String)>,
    pub(super) prompt: bool,
    witnesses: Vec<Witness>,
    /// Which users each server has ever advertised.
    advertised: BTreeSet<(ServerId, UserId)>,
    before: Option<Tables>,
    steps: u64,
}

/// In large worlds, one step in so many is checked whole.
const SAMPLED: u64 = 1024;
/// Entries that no world here fills.
const LARGE_CACHE: usize = 10_000;
/// How far off a clock may be that counts as right, in milliseconds: well below what attestations may be ahead.
const RIGHT_MS: u64 = 120_000;
/// Users and servers up to which every step is.
const SMALL: usize = 40;

impl Checks {
    pub(super) fn new(servers: usize, prompt: bool) -> Self {
        let witnesses = (0..servers).map(|_| Witness::default()).collect();
        Self { broken: None, prompt, witnesses, advertised: BTreeSet::new(), before: None, steps: 0 }
    }

    /// Notes the first invariant that broke.
    pub(super) fn broken(&mut self, invariant: &'static str, detail: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some((invariant, detail.into()));
        }
    }

    pub(super) fn take_broken(&mut self) -> Option<(&'static str, String)> {
        self.broken.take()
    }

    pub(super) fn server_started(&mut self, server: usize, store: &Store) {
        self.witnesses[server] = Witness { issued_before: store.issued_at, ..Witness::default() };
    }

    /// Before a frame is handled.
    pub(super) fn before(&mut self, machine: &Server, cause: &Cause) {
        self.before = cause.refused.then(|| tables(machine));
    }

    /// Pins move by the rules only (decisions §2, §4), and nothing that counts ever falls.
    pub(super) fn persisted(&mut self, server: usize, store: &Store, record: &Record) {
        let broken = match record {
            Record::OwnId(id) => Some(format!("a derived id gave way to {id}")),
            Record::IssuedAt(at) => {
                (*at <= store.issued_at).then(|| format!("issued_at {} → {at}", store.issued_at))
            }
            Record::Server(now) => store.servers.get(&now.server_id).and_then(|was| {
                let id = &now.server_id;
                let same_key = was.key == now.key;
                let outranked = now.rank > was.rank && !(was.native && now.rank < PinRank::Bootstrap);
                let allowed = !id.derives_from(&was.key) && (id.derives_from(&now.key) || outranked);
                let fell = same_key && (now.rank < was.rank || now.matched < was.matched)
                    || was.native && !now.native;
                ((!same_key && !allowed) || fell).then(|| format!("{was:?} → {now:?}"))
            }),
            Record::ForgetServer(id) => store
                .servers
                .get(id)
                .filter(|was| was.rank == PinRank::Bootstrap)
                .map(|was| format!("forgotten: {was:?}")),
            Record::User(now) => store.users.get(&now.user_id).and_then(|was| {
                let same_key = was.key == now.key;
                let owned =
                    |record: &UserRecord| now.user_id.derives_from(first_key(&record.rotations, &record.key));
                let same_owner = owned(was) && owned(now);
                let longer = same_owner && now.rotations.len() > was.rotations.len();
                let allowed = owned(now) && (!owned(was) || longer);
                let fell = (same_key || same_owner) && was.proven && !now.proven
                    || same_owner && now.rotations.len() < was.rotations.len()
                    || owned(was) && !owned(now)
                    || now.version <= was.version;
                ((!same_key && !allowed) || fell).then(|| format!("{was:?} → {now:?}"))
            }),
            Record::Account(now) => Some(format!("a password: {now:?}")),
            Record::ChannelVersion(now) => store
                .channel_version
                .filter(|was| now <= was)
                .map(|was| format!("the channel's version: {was} → {now}")),
            Record::Member(now) => {
                let stranger = !store.users.contains_key(&now.member_id);
                stranger.then(|| format!("a member who is no user: {now:?}"))
            }
            Record::Delivered(now) => {
                let twice = store.delivered.iter().any(|was| was.key == now.key);
                twice.then(|| format!("delivered twice: {now:?}"))
            }
            Record::DeliveredUntil { author, until } => {
                let before = store.delivered_until.get(author);
                before.filter(|was| until < was).map(|was| format!("{author} until {was} → {until}"))
            }
            Record::ForgetAuthor(author) => Some(format!("too many authors for so few people: {author}")),
            Record::ForgetUser(id) => {
                store.users.get(id).filter(|was| was.proven).map(|was| format!("forgotten: {was:?}"))
            }
        };
        if let Some(detail) = broken {
            self.broken("pins and counters move by the rules", format!("s{server}: {detail}"));
        }
    }
}

impl World {
    fn is_small(&self) -> bool {
        self.people.len() <= SMALL && self.servers.len() <= SMALL
    }

    /// The honest server of an id.
    pub(super) fn server_of(&self, id: &ServerId) -> Option<usize> {
        self.servers.iter().position(|node| node.id == *id)
    }

    /// After every batch of a server.
    pub(super) fn check_server(&mut self, server: usize, actions: &[Action], cause: Option<&Cause>) {
        self.checks.steps += 1;
        self.check_refusal(server, actions, cause);
        if let Some(cause) = cause {
            self.note_proof(server, cause);
        }
        for action in actions {
            if let Action::Report(report) = action {
                self.check_report(server, report, cause);
            }
        }
        if self.is_small() || self.checks.steps.is_multiple_of(SAMPLED) {
            self.check_sessions(server);
            self.check_limits(server);
        }
    }

    /// What was refused has changed nothing.
    fn check_refusal(&mut self, server: usize, actions: &[Action], cause: Option<&Cause>) {
        let Some(before) = self.checks.before.take() else { return };
        let Some(machine) = &self.servers[server].machine else { return };
        let closes = actions.iter().any(|action| matches!(action, Action::Close { .. }));
        if !closes && tables(machine) != before {
            let frame = cause.map_or("", |cause| cause.frame.text().as_str());
            self.checks.broken("nothing unverified changes a table", format!("s{server}, by {frame}"));
        }
    }

    fn check_report(&mut self, server: usize, report: &Report, cause: Option<&Cause>) {
        match report {
            Report::UserOnline { user, server: at } => self.check_location(server, user, at, cause),
            Report::UserOffline { user } => {
                let was = self.checks.witnesses[server].located.remove(user);
                if let (Some(cause), Some(was)) = (cause.filter(|cause| cause.verified), &was)
                    && let Payload::UserRemove(removal) = cause.frame.payload()
                    && let Some(issued_at) = removal.issued_at
                {
                    self.checks.witnesses[server].gone.insert((was.clone(), user.clone()), issued_at);
                }
                if was.as_ref() == Some(&self.servers[server].id) {
                    self.promise(Promise::Gone { user: user.clone(), server });
                }
            }
            Report::ServerUp { server: id, link, proven: true, .. } => {
                let honest = self.server_of(id).map(Site::Server);
                if honest.is_some() && self.other_end(*link) != honest {
                    let detail = format!("s{server} takes {:?} for {id}", self.other_end(*link));
                    self.checks.broken("a proven link ends at whom it names", detail);
                }
            }
            Report::ServerUp { .. }
            | Report::ServerDown { .. }
            | Report::IdAssigned { .. }
            | Report::IntroducerDown { .. }
            | Report::IntroducerUp { .. }
            | Report::KeyConflict(_)
            | Report::Dropped { .. } => {}
        }
    }

    fn check_location(&mut self, server: usize, user: &UserId, at: &ServerId, cause: Option<&Cause>) {
        let was = self.checks.witnesses[server].located.insert(user.clone(), at.clone());
        let own = self.servers[server].id == *at;
        if own {
            return self.check_arrival(server, user);
        }
        if let Some(honest) = self.server_of(at) {
            // Where a liar came first under another's id, its key is pinned until the owner comes.
            let pinned = self.servers[server].store.servers.get(at).map(|record| &record.key);
            if pinned == Some(&self.servers[honest].config.key)
                && !self.checks.advertised.contains(&(at.clone(), user.clone()))
            {
                let detail = format!("s{server} believes that {user} is at {at}, who never said so");
                self.checks.broken("nothing unverified changes a table", detail);
            }
            if let Some(Payload::UserAdvertise(advert)) = cause.map(|cause| cause.frame.payload())
                && advert.user_id == *user
                && advert.server_id == *at
                && let Some(gone) = self.checks.witnesses[server].gone.get(&(at.clone(), user.clone()))
                && advert.issued_at.is_some_and(|issued_at| issued_at < *gone)
            {
                let detail = format!("s{server} saw {user} leave {at} at {gone}, and now an older advert");
                self.checks.broken("stale adverts bring nobody back", detail);
            }
            return;
        }
        // A liar's word against a session that was attested, as far as this server knows: it may have heard of
        // nobody but a liar who was there before, without a proof.
        let liars_word = matches!(cause.map(|cause| cause.frame.payload()), Some(Payload::UserAdvertise(_)));
        let Some((home, was)) = was.and_then(|was| Some((self.server_of(&was)?, was))) else { return };
        let linked = self.servers[server]
            .machine
            .as_ref()
            .is_some_and(|machine| machine.linked_servers().any(|(other, _)| *other == was));
        // Who has found an old key is the person to whoever has not heard of the new one.
        let known = self.servers[server].store.users.get(user).map(|record| record.key.id());
        let newest = |person: &Person| Some(person.pair.signer.public_key().id()) == known;
        let rotated = self.people.iter().any(|person| person.id == *user && !newest(person));
        // A proof counts for longer than any world lasts, but not if it is from the future.
        let latest = EPOCH_MS + self.time / 1000 + RIGHT_MS;
        let proof = self.checks.witnesses[server].attested.get(&(was, user.clone()));
        let attested = proof.is_some_and(|issued_at| *issued_at <= latest)
            && self.servers[server].clock.skew_ms.unsigned_abs() <= RIGHT_MS
            && self.honest_session(home, user).is_some();
        if linked && attested && !rotated && liars_word && home != server {
            let detail = format!("s{server} takes {at}'s word for {user}, who has a session at s{home}");
            self.checks.broken("attested claims beat unattested ones", detail);
        }
    }

    /// Which logins a server has been shown proofs of, whatever it makes of them.
    fn note_proof(&mut self, server: usize, cause: &Cause) {
        if let Payload::UserAdvertise(advert) = cause.frame.payload()
            && let Some(attestation) = &advert.attestation
            && cause.verified
            && cause.frame.from() == Some(advert.server_id.id())
        {
            let whose = (advert.server_id.clone(), advert.user_id.clone());
            self.checks.witnesses[server].attested.insert(whose, attestation.payload.issued_at);
        }
    }

    /// A session has opened here.
    fn check_arrival(&mut self, server: usize, user: &UserId) {
        let Some(link) = self.session_link(server, user) else { return };
        if let Some(Site::Liar(_)) = self.other_end(link)
            && let Some(person) = self.people.iter().find(|person| person.id == *user)
            && let Some(record) = self.servers[server].store.users.get(user)
            && record.proven
            && record.key == *person.pair.signer.public_key()
        {
            let detail = format!("s{server} let a liar in as {user}");
            self.checks.broken("once proven, always proven", detail);
        }
        if self.honest_session(server, user).is_none() {
            return;
        }
        let witnesses = self.ready_devices();
        self.promise(Promise::Known { user: user.clone(), server, link, witnesses });
    }

    pub(super) fn session_link(&self, server: usize, user: &UserId) -> Option<LinkId> {
        let mut sessions = self.servers[server].machine.as_ref()?.local_users();
        sessions.find(|(other, _)| *other == user).map(|(_, link)| link)
    }

    /// The device that holds a user's session at a server.
    pub(super) fn honest_session(&self, server: usize, user: &UserId) -> Option<usize> {
        match self.other_end(self.session_link(server, user)?)? {
            Site::Device(device) if self.people[self.devices[device].person].id == *user => Some(device),
            Site::Device(_) | Site::Server(_) | Site::Liar(_) => None,
        }
    }

    /// `local_users` are the greeted user links, no more and no fewer.
    fn check_sessions(&mut self, server: usize) {
        let Some(machine) = &self.servers[server].machine else { return };
        let mut broken = None;
        for (user, link) in machine.local_users() {
            let fits = match self.other_end(link) {
                Some(Site::Device(device)) => self.people[self.devices[device].person].id == *user,
                Some(Site::Liar(_)) => true,
                Some(Site::Server(_)) | None => false,
            };
            if !fits || !self.is_open(link) {
                broken =
                    Some(format!("s{server}: {user} on {link:?}, which ends at {:?}", self.other_end(link)));
            }
        }
        let sessions: BTreeMap<LinkId, &UserId> =
            machine.local_users().map(|(user, link)| (link, user)).collect();
        for device in &self.devices {
            // The server's end of the same wire.
            let Some(link) = device.link.map(|link| LinkId(link.0 ^ 1)).filter(|_| device.server == server)
            else {
                continue;
            };
            let ready = device.client.as_ref().is_some_and(crate::client::Client::is_ready);
            if ready && self.is_open(link) && !sessions.contains_key(&link) {
                broken = Some(format!(
                    "s{server}: {} was greeted on {link:?} and is not there",
                    self.people[device.person].id
                ));
            }
        }
        if let Some(detail) = broken {
            self.checks.broken("local_users are the greeted links", detail);
        }
    }

    fn check_limits(&mut self, server: usize) {
        let node = &self.servers[server];
        let Some(machine) = &node.machine else { return };
        let (counts, limits) = (machine.counts(), &node.config.limits);
        let within = counts.local_users <= limits.local_users
            && counts.known_servers <= limits.servers
            && counts.pinned_users <= limits.pinned_users
            && counts.seen_entries <= 2 * limits.seen_entries
            && counts.channel_members <= limits.channel_members
            && counts.online_users <= counts.pinned_users
            && node.store.users.len() == counts.pinned_users
            && node.store.servers.len() == counts.known_servers;
        if !within {
            let stored = (node.store.servers.len(), node.store.users.len());
            self.checks.broken(
                "limits hold, and what is known is stored",
                format!("s{server}: {counts:?}, stored {stored:?}"),
            );
        }
    }

    /// Every frame that a server sends.
    pub(super) fn check_sent(
        &mut self,
        server: usize,
        to: &[LinkId],
        text: &WireText,
        own: Option<&FrameType>,
        cause: Option<&Cause>,
    ) {
        match (own, cause) {
            (Some(kind), _) => {
                let limit = self.servers[server].config.limits.frame_out_bytes;
                if text.len() > limit {
                    self.checks.broken(
                        "limits hold, and what is known is stored",
                        format!("s{server}: {kind} of {} bytes", text.len()),
                    );
                }
                match kind {
                    FrameType::UserAdvertise | FrameType::UserRemove | FrameType::Presence => {
                        self.check_issued(server, text);
                    }
                    FrameType::UserDeliver => self.check_delivery(server, to, text),
                    _ => {}
                }
            }
            (None, Some(cause)) if cause.frame.text() == text => self.check_relay(server, to, cause),
            (None, _) => {}
        }
    }

    /// An advert never goes back to where it came from, nor to its origin.
    fn check_relay(&mut self, server: usize, to: &[LinkId], cause: &Cause) {
        let gossip = matches!(
            cause.frame.kind(),
            FrameType::UserAdvertise
                | FrameType::UserRemove
                | FrameType::Presence
                | FrameType::ServerAnnounce
        );
        let sender = self.other_end(cause.link);
        let origin =
            cause.frame.from().and_then(|from| self.server_of(&from.clone().into())).map(Site::Server);
        for link in to.iter().filter(|_| gossip) {
            let target = self.other_end(*link);
            let honest = matches!(target, Some(Site::Server(_)));
            if *link == cause.link || honest && (target == sender || target == origin) {
                let detail = format!("s{server} sends {} back to {target:?}", cause.frame.kind());
                self.checks.broken("gossip never goes back", detail);
            }
        }
    }

    /// `issued_at` rises over all lives of a server, and is stored before it is said.
    fn check_issued(&mut self, server: usize, text: &WireText) {
        let Ok(frame) = self.read(text) else { return };
        let id = &self.servers[server].id;
        let (issued_at, about) = match frame.payload() {
            Payload::UserAdvertise(advert) => {
                self.checks.advertised.insert((id.clone(), advert.user_id.clone()));
                (advert.issued_at, advert.user_id.as_str())
            }
            Payload::UserRemove(removal) => (removal.issued_at, removal.user_id.as_str()),
            Payload::Presence(presence) => (Some(presence.issued_at), ""),
            _ => (None, ""),
        };
        let (Some(issued_at), stored) = (issued_at, self.servers[server].store.issued_at) else { return };
        let witness = &mut self.checks.witnesses[server];
        // Whom it is about: the rest may be dressed for the peer's dialect.
        let said = format!("{} {about}", frame.kind());
        let other = **witness.issued.entry(issued_at).or_insert_with(|| said.clone().into()) != *said;
        if other || issued_at <= witness.issued_before || issued_at > stored {
            let before = witness.issued_before;
            let detail = format!("s{server} issues {issued_at}; stored: {stored}, at its start: {before}");
            self.checks.broken("issued_at rises and is stored first", detail);
        }
    }

    /// A direct message goes to its addressee's link alone, and once.
    fn check_delivery(&mut self, server: usize, to: &[LinkId], text: &WireText) {
        let Ok(frame) = self.read(text) else { return };
        let Payload::UserDeliver(message) = frame.payload() else { return };
        let Some(recipient) = frame.to().id().map(UserId::from) else { return };
        for link in to {
            let astray = match self.other_end(*link) {
                Some(Site::Device(device)) => self.people[self.devices[device].person].id != recipient,
                Some(Site::Server(_)) => true,
                Some(Site::Liar(_)) | None => false,
            };
            if astray {
                let detail = format!("s{server} delivers {recipient}'s to {:?}", self.other_end(*link));
                self.checks.broken("a message reaches only its addressee", detail);
            }
        }
        let sig = message.content_sig.as_ref().map(|sig| sig.bytes()).unwrap_or_default();
        let author = message.sender.as_ref().map_or("", |sender| sender.as_str()).as_bytes();
        let key = (recipient, [author, message.ciphertext.bytes(), sig].concat().into());
        let before = self.checks.witnesses[server].delivered.insert(key, self.time);
        // What a small cache has forgotten may come again; the client then drops it.
        let remembered = micros(self.setup.timing.seen);
        let forgets = self.setup.limits.seen_entries < LARGE_CACHE;
        if before.is_some_and(|before| self.time - before < remembered && !forgets) {
            self.checks
                .broken("a message is delivered at most once", format!("s{server}: {}", text.as_str()));
        }
    }

    /// What a client tells its user.
    pub(super) fn check_notice(&mut self, device: usize, notice: &Notice) {
        if let Notice::KeyChanged { user_id, was, now, signed, .. } = notice
            && self.people.iter().any(|person| person.id == *user_id)
        {
            // From key to later key by signature, and to the person's at once from one that nobody has shown to be:
            // a liar's, or a later one that a liar gave alone.
            let (before, after) = (self.key_number(user_id, *was), self.key_number(user_id, *now));
            let shown = self.devices[device].replaced(user_id);
            let shown = shown.is_some_and(|pin| user_id.derives_from(first_key(&pin.rotations, &pin.key)));
            let right = match before.filter(|before| Some(*before) < after || shown) {
                Some(_) => before < after && *signed,
                None => after.is_some() && !signed,
            };
            if !right {
                let detail = format!("d{device}: {user_id} {before:?} → {after:?}, signed: {signed}");
                self.checks.broken("pins and counters move by the rules", detail);
            }
        }
        let Notice::Message { kind, from, text, verified: Ok(()), .. } = notice else { return };
        if !self.people.iter().any(|person| person.id == *from) {
            return;
        }
        let person = self.devices[device].person;
        let index = text.as_str().strip_prefix('m').and_then(|index| index.parse::<usize>().ok());
        let Some(said) = index.and_then(|index| self.said_mut(index)) else {
            return self.checks.broken("a message arrives untouched", format!("d{device} is shown {text}"));
        };
        let meant = match (kind, said.to) {
            (MessageKind::Direct, Some(to)) => to == person,
            (MessageKind::Public, None) => true,
            (MessageKind::Direct, None) | (MessageKind::Public, Some(_)) => false,
        };
        let times = said.shown.entry(device).or_default();
        *times += 1;
        let (times, author) = (*times, said.from);
        if !meant || self.people[author].id != *from {
            self.checks.broken(
                "a message reaches only its addressee",
                format!("d{device} is shown {text} as from {from}"),
            );
        } else if times > 1 {
            self.checks.broken("a message is shown at most once", format!("d{device} is shown {text} again"));
        }
    }

    // Promises.

    /// What must be so when news has had its time: three hops, and one for what was decided meanwhile.
    fn promise(&mut self, promise: Promise) {
        if self.checks.prompt && self.is_meshed() {
            let after = self.setup.faults.latency.1 * 4 + Duration::from_millis(20);
            self.schedule(self.time + micros(after), Next::Prompt(promise));
        }
    }

    /// A message is on its way to somebody who has been there for a while; what was sealed to a liar who was there
    /// before, under the same name, nobody can open.
    pub(super) fn promise_message(&mut self, message: usize, from: usize, sender: LinkId) {
        let Some(Said { to: Some(to), .. }) = self.said_mut(message) else { return };
        let to = *to;
        let person = &self.people[to];
        if self.devices[from].pinned(&person.id) != Some(person.pair.signer.public_key()) {
            return;
        }
        let mut ready = self.ready_devices().into_iter();
        if let Some((device, link)) = ready.find(|(device, _)| self.devices[*device].person == to) {
            self.promise(Promise::Shown { message, sender, device, link });
        }
    }

    fn ready_devices(&self) -> Vec<(usize, LinkId)> {
        let ready = self.devices.iter().enumerate();
        let ready =
            ready.filter(|(_, device)| device.client.as_ref().is_some_and(crate::client::Client::is_ready));
        ready.filter_map(|(index, device)| Some((index, device.link?))).collect()
    }

    pub(super) fn check_promise(&mut self, promise: Promise) {
        match &promise {
            Promise::Known { user, server, link, witnesses } => {
                if self.session_link(*server, user) != Some(*link) {
                    return;
                }
                let at = self.servers[*server].id.clone();
                for other in 0..self.servers.len() {
                    if self.location(other, user) != Some(&at) && self.is_meshed() {
                        let detail = format!("s{other} does not know that {user} is at {at}");
                        return self.checks.broken("a login is known everywhere at once", detail);
                    }
                }
                for (device, link) in witnesses {
                    let entry = &self.devices[*device];
                    let same = entry.link == Some(*link) && self.people[entry.person].id != *user;
                    let Some(client) = entry.client.as_ref().filter(|client| same && client.is_ready())
                    else {
                        continue;
                    };
                    if !client.users().iter().any(|known| known.user_id == *user) {
                        let detail = format!("d{device} does not see that {user} is at {at}");
                        return self.checks.broken("a login is known everywhere at once", detail);
                    }
                }
            }
            Promise::Gone { user, server } => {
                let at = self.servers[*server].id.clone();
                if self.session_link(*server, user).is_some() || !self.is_meshed() {
                    return;
                }
                for other in 0..self.servers.len() {
                    if self.location(other, user) == Some(&at) {
                        let detail = format!("s{other} believes that {user} is at {at}");
                        return self.checks.broken("a logout is known everywhere at once", detail);
                    }
                }
            }
            Promise::Shown { sender, .. } if self.is_waiting(*sender) => self.promise(promise),
            Promise::Shown { message, sender: _, device, link } => {
                let same = self.devices[*device].link == Some(*link);
                let shown = self.said_mut(*message).is_some_and(|said| said.shown.contains_key(device));
                if same && !shown {
                    let detail = format!("m{message} was not shown on d{device}");
                    self.checks.broken("a message arrives", detail);
                }
            }
        }
    }

    /// Where a server thinks that a user is.
    pub fn location(&self, server: usize, user: &UserId) -> Option<&ServerId> {
        let machine = self.servers[server].machine.as_ref()?;
        machine.user_locations().find(|(other, _)| *other == user).map(|(_, at)| at)
    }
}
