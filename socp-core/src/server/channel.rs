//! The public channel's tables (§9.3, §15.1, decisions §6): a grow-only set of members, a version, and wraps of
//! a group key that encrypts nothing in v1.3.
//!
//! The key is made and kept at the border: [`Action::WrapChannelKey`] asks for wraps, and
//! [`super::Event::ChannelKeyWrapped`] brings them. What changed is told at most once in
//! [`super::Timing::channel`], however many log in meanwhile: one signature for ADD, one for UPDATED.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Action, LinkId, MemberRecord, Record};
use super::directory::pages;
use super::link::Link;
use super::seen::payload_hash;
use super::timers::Timer;
use super::{Location, Server};
use crate::crypto::{RSA_BYTES, SharedPayload, Verified};
use crate::wire::{
    Frame, KeyId, Payload, PublicChannelAdd, PublicChannelKeyShare, PublicChannelSnapshot,
    PublicChannelUpdated, PublicKey, Recipient, ServerId, UserId, Wrap,
};

/// How far ahead of ours another server's version may be (decisions §6).
const MAX_VERSION_AHEAD: u64 = 1_000_000;

/// An entry of a list of ids, without the id: quotes and comma.
const ID_BYTES: usize = 3;

/// `groups` and `group_members` (§15), for the one group that there is.
#[derive(Debug)]
pub(super) struct Channel {
    version: u64,
    members: BTreeMap<UserId, Member>,
    /// Who became a member by a login here and has not been told of yet.
    joined: BTreeSet<UserId>,
    /// Local members whose wrap is to be asked for.
    unwrapped: BTreeSet<UserId>,
    /// Those whose wrap was asked for, and under which key: one batch at a time.
    wrapping: BTreeMap<UserId, KeyId>,
    /// Wraps that have not been told of yet.
    wraps: Vec<Wrap>,
    /// What newcomers are told, signed once until something changes.
    snapshot: Option<Vec<SharedPayload>>,
}

#[derive(Debug)]
struct Member {
    added_at: u64,
    /// Whether an ADD named the member: further ones are no news.
    told: bool,
    /// The key under which this run's group key was wrapped.
    wrapped: Option<KeyId>,
}

impl Channel {
    pub(super) fn new(version: u64) -> Self {
        Self {
            version,
            members: BTreeMap::new(),
            joined: BTreeSet::new(),
            unwrapped: BTreeSet::new(),
            wrapping: BTreeMap::new(),
            wraps: Vec::new(),
            snapshot: None,
        }
    }

    pub(super) fn restore(&mut self, member: MemberRecord) {
        let MemberRecord { member_id, wrapped_key: _, added_at } = member;
        self.members.insert(member_id, Member { added_at, told: false, wrapped: None });
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &UserId> {
        self.members.keys()
    }

    /// Whoever is forgotten altogether is no member either: the table refers to `users`.
    pub(super) fn forget(&mut self, user: &UserId) {
        if self.members.remove(user).is_some() {
            self.snapshot = None;
        }
        self.joined.remove(user);
        self.unwrapped.remove(user);
    }
}

impl Server {
    /// Everyone is a member from the moment they join (§9.3). Half of the room is kept for logins here
    /// (`local`): no server's gossip can use it up. False if there is none left.
    fn add_member(&mut self, user: &UserId, local: bool) -> bool {
        if self.channel.members.contains_key(user) {
            return true;
        }
        let room = self.config.limits.channel_members / if local { 1 } else { 2 };
        if self.channel.members.len() >= room {
            self.dropped("too many members of the channel", user.to_string());
            return false;
        }
        let added_at = self.now.unix_ms;
        self.channel.members.insert(user.clone(), Member { added_at, told: false, wrapped: None });
        self.channel.snapshot = None;
        let record = MemberRecord { member_id: user.clone(), wrapped_key: None, added_at };
        self.out.push(Action::Persist(Record::Member(record)));
        true
    }

    /// A login here: the user is a member, and gets a wrap unless this run made one for that key.
    pub(super) fn join_channel(&mut self, user: &UserId, key: &PublicKey) {
        let is_new = !self.channel.members.contains_key(user);
        if !self.add_member(user, true) {
            return;
        }
        if is_new {
            self.channel.joined.insert(user.clone());
        }
        let wrapped = self.channel.members.get(user).and_then(|member| member.wrapped);
        if wrapped != Some(key.id()) && self.channel.wrapping.get(user) != Some(&key.id()) {
            self.channel.unwrapped.insert(user.clone());
        }
        self.wake_channel();
    }

    /// An accepted advert makes its user a member.
    pub(super) fn join_channel_from(&mut self, origin: &ServerId, user: &UserId) {
        if self.is_located_at(user, origin) {
            self.add_member(user, false);
        }
    }

    /// Sees to it that what waits to be told is told. What waits for wraps waits for their event.
    fn wake_channel(&mut self) {
        let Channel { joined, unwrapped, wrapping, wraps, .. } = &self.channel;
        let due = !joined.is_empty() || !wraps.is_empty() || (!unwrapped.is_empty() && wrapping.is_empty());
        if due && !self.timers.is_set(&Timer::Channel) {
            self.timers.set(Timer::Channel, self.now.instant + self.config.timing.channel);
        }
    }

    /// Tells what has changed here, and asks for wraps.
    pub(super) fn on_channel_due(&mut self) {
        let at_once = self.config.limits.channel_wraps;
        let joined: Vec<UserId> = std::mem::take(&mut self.channel.joined).into_iter().collect();
        let now = self.channel.wraps.len().min(at_once);
        let wraps: Vec<Wrap> = self.channel.wraps.drain(..now).collect();
        if !joined.is_empty() || !wraps.is_empty() {
            let before = self.channel.version;
            self.raise_channel_version(before.saturating_add(1));
            self.tell_joined(joined, before);
            if !wraps.is_empty() {
                let payload = PublicChannelUpdated { version: self.channel.version, wraps };
                let to = self.server_links(&[], None);
                self.broadcast(to, SharedPayload::new(&Payload::PublicChannelUpdated(payload)));
            }
        }
        if self.channel.wrapping.is_empty() {
            self.ask_for_wraps(at_once);
        }
        self.wake_channel();
    }

    fn tell_joined(&mut self, joined: Vec<UserId>, before: u64) {
        for member in &joined {
            if let Some(member) = self.channel.members.get_mut(member) {
                member.told = true;
            }
        }
        if joined.is_empty() {
            return;
        }
        for add in pages(joined, self.config.limits.frame_out_bytes, id_bytes) {
            let payload = PublicChannelAdd { add, if_version: Some(before) };
            let to = self.server_links(&[], None);
            self.broadcast(to, SharedPayload::new(&Payload::PublicChannelAdd(payload)));
        }
    }

    fn ask_for_wraps(&mut self, at_once: usize) {
        let mut members = Vec::new();
        while members.len() < at_once
            && let Some(user) = self.channel.unwrapped.pop_first()
        {
            if let Some(key) = self.users.get(&user).and_then(|entry| entry.key.clone()) {
                self.channel.wrapping.insert(user.clone(), key.id());
                members.push((user, key));
            }
        }
        if !members.is_empty() {
            self.out.push(Action::WrapChannelKey { members });
        }
    }

    /// The border wrapped the group key for local members.
    pub(super) fn on_channel_key_wrapped(&mut self, wraps: Vec<Wrap>) {
        let mut asked = std::mem::take(&mut self.channel.wrapping);
        for wrap in wraps {
            let Some(under) = asked.remove(&wrap.member_id) else { continue };
            let pinned = self.users.get(&wrap.member_id).and_then(|entry| entry.key.as_ref());
            let unchanged = pinned.is_some_and(|key| key.id() == under);
            let Some(member) = self.channel.members.get_mut(&wrap.member_id).filter(|_| unchanged) else {
                continue;
            };
            member.wrapped = Some(under);
            self.channel.wraps.push(wrap.clone());
            self.persist_wrap(wrap);
        }
        self.wake_channel();
    }

    fn persist_wrap(&mut self, wrap: Wrap) {
        let Some(member) = self.channel.members.get(&wrap.member_id) else { return };
        let (wrapped_key, added_at) = (Some(wrap.wrapped_key), member.added_at);
        let record = MemberRecord { member_id: wrap.member_id, wrapped_key, added_at };
        self.out.push(Action::Persist(Record::Member(record)));
    }

    fn raise_channel_version(&mut self, version: u64) {
        if version > self.channel.version {
            self.channel.version = version;
            self.channel.snapshot = None;
            self.out.push(Action::Persist(Record::ChannelVersion(version)));
        }
    }

    /// PUBLIC_CHANNEL_SNAPSHOT after the directory (decisions §4), in pages for natives; others get what fits.
    pub(super) fn send_channel_snapshot(&mut self, link: LinkId, user: &UserId) {
        if self.local.get(user).is_some_and(|session| session.bare) {
            let first = self.first_members();
            return self.send(link, Recipient::from(user), &Payload::PublicChannelSnapshot(first));
        }
        let pages = match &self.channel.snapshot {
            Some(pages) => pages.clone(),
            None => self.channel_snapshot(),
        };
        self.channel.snapshot = Some(pages.clone());
        for page in pages {
            let frame = self.frame(Recipient::from(user), page);
            self.send_to(vec![link], frame);
        }
    }

    /// As many members as fit into one frame, for those who know no pages.
    fn first_members(&self) -> PublicChannelSnapshot {
        let members = self.channel.members().cloned().collect();
        let members = pages(members, self.config.limits.frame_out_bytes, id_bytes).swap_remove(0);
        PublicChannelSnapshot { version: self.channel.version, members, page: None, pages: None }
    }

    fn channel_snapshot(&self) -> Vec<SharedPayload> {
        let version = self.channel.version;
        let members = self.channel.members().cloned().collect();
        let members = pages(members, self.config.limits.frame_out_bytes, id_bytes);
        let count = members.len() as u32;
        let numbered = members.into_iter().zip(1..);
        let page = |(members, page)| {
            let numbers = (count > 1).then_some((page, count));
            let (page, pages) = (numbers.map(|(page, _)| page), numbers.map(|(_, pages)| pages));
            SharedPayload::new(&Payload::PublicChannelSnapshot(PublicChannelSnapshot {
                version,
                members,
                page,
                pages,
            }))
        };
        numbered.map(page).collect()
    }

    /// PUBLIC_CHANNEL_ADD (§9.3): believed for users located at `from`. What changes nothing is not relayed.
    pub(super) fn on_channel_add(&mut self, link_id: LinkId, frame: &Verified, add: &PublicChannelAdd) {
        let Some(origin) = self.channel_origin(link_id, frame.frame()) else { return };
        let is_news = |user: &&UserId| {
            let told = self.channel.members.get(*user).is_some_and(|member| member.told);
            !told && self.is_located_at(user, &origin)
        };
        let news: Vec<UserId> = add.add.iter().filter(is_news).cloned().collect();
        if news.is_empty() || !self.is_within_channel_rate(&origin) {
            return self.dropped("channel gossip that changes nothing", origin.to_string());
        }
        let mut added = false;
        for user in &news {
            if self.add_member(user, false)
                && let Some(member) = self.channel.members.get_mut(user)
            {
                member.told = true;
                added = true;
            }
        }
        if added {
            self.remember(frame.frame());
            self.pass_on(link_id, &origin, frame.frame());
        }
    }

    /// PUBLIC_CHANNEL_UPDATED (§9.3): an origin's versions rise, and its wraps are for users located there.
    pub(super) fn on_channel_updated(
        &mut self,
        link_id: LinkId,
        frame: &Verified,
        updated: &PublicChannelUpdated,
    ) {
        let Some(origin) = self.channel_origin(link_id, frame.frame()) else { return };
        if updated.version > self.channel.version.saturating_add(MAX_VERSION_AHEAD) {
            return self
                .dropped("channel version is too far ahead", format!("{origin}: {}", updated.version));
        }
        let last = self.peers.get(&origin).map_or(u64::MAX, |peer| peer.channel_version);
        if updated.version <= last || !self.is_within_channel_rate(&origin) {
            return self.dropped("channel gossip that changes nothing", origin.to_string());
        }
        if let Some(peer) = self.peers.get_mut(&origin) {
            peer.channel_version = updated.version;
        }
        self.remember(frame.frame());
        self.raise_channel_version(updated.version);
        for wrap in &updated.wraps {
            let is_wrap = wrap.wrapped_key.bytes().len() == RSA_BYTES;
            if is_wrap
                && self.is_located_at(&wrap.member_id, &origin)
                && self.add_member(&wrap.member_id, false)
            {
                self.persist_wrap(wrap.clone());
            }
        }
        self.pass_on(link_id, &origin, frame.frame());
    }

    /// PUBLIC_CHANNEL_KEY_SHARE (§9.3) of a user here: to the members that it names.
    pub(super) fn on_own_key_share(&mut self, link: LinkId, frame: &Verified, share: &PublicChannelKeyShare) {
        let frame = frame.frame();
        self.charge_message(link);
        if frame.from().is_none() {
            // Without `from` nobody further on could tell whose it is.
            let detail = "envelope: `from` is missing";
            return self.undelivered(link, crate::wire::ErrorCode::UnknownType, detail, frame.reference());
        }
        if self.is_new_key_share(frame) {
            let mut to = self.members_here(share);
            to.remove(&link);
            to.extend(self.servers_of(share));
            self.relay(to.into_iter().collect(), frame);
        }
    }

    /// The same from elsewhere: a user's own frame goes no further than its members here, a server's goes on to
    /// the servers of the members that it names.
    pub(super) fn on_key_share(&mut self, link_id: LinkId, frame: &Verified, share: &PublicChannelKeyShare) {
        let frame = frame.frame();
        let Some(from) = frame.from().cloned().map(ServerId::from) else { return };
        let link = self.links.get(&link_id).and_then(Link::server).filter(|link| link.up);
        let Some(sender) = link.map(|link| link.server.clone()) else { return };
        let by_server = self.peers.contains_key(&from);
        if !self.is_new_key_share(frame) {
            return self.dropped("repeated key share", from.to_string());
        }
        match by_server {
            true if !self.is_within_channel_rate(&from) => {
                return self.dropped("channel gossip over its rate", from.to_string());
            }
            true => {}
            false => self.charge_message(link_id),
        }
        self.remember(frame);
        let mut to = self.members_here(share);
        if by_server {
            let back = self.peers.iter().filter(|(server, _)| **server == from || **server == sender);
            let back: BTreeSet<LinkId> = back.flat_map(|(_, peer)| peer.links.iter().copied()).collect();
            to.extend(self.servers_of(share).difference(&back));
        }
        self.relay(to.into_iter().collect(), frame);
    }

    /// Recognised whatever its `ts`, like a delivery (decisions §3).
    fn is_new_key_share(&mut self, frame: &Frame) -> bool {
        self.seen.insert(payload_hash(frame), self.now.instant)
    }

    fn members_here(&self, share: &PublicChannelKeyShare) -> BTreeSet<LinkId> {
        share.shares.iter().filter_map(|share| Some(self.local.get(&share.member)?.link)).collect()
    }

    fn servers_of(&self, share: &PublicChannelKeyShare) -> BTreeSet<LinkId> {
        let server = |user: &UserId| match self.users.get(user)?.location.as_ref()? {
            Location::At(server) => self.peers.get(server)?.link(),
            Location::Local => None,
        };
        share.shares.iter().filter_map(|share| server(&share.member)).collect()
    }

    /// The server whose gossip a frame is, if the link may bring it.
    fn channel_origin(&mut self, link_id: LinkId, frame: &Frame) -> Option<ServerId> {
        let origin = ServerId::from(frame.from()?.clone());
        let up = self.links.get(&link_id).and_then(Link::server).is_some_and(|link| link.up);
        (up && origin != self.id && self.peers.contains_key(&origin)).then_some(origin)
    }

    /// Honest servers tell of changes once a second. More is dropped: nobody's messages depend on it.
    fn is_within_channel_rate(&mut self, origin: &ServerId) -> bool {
        let now = self.now.instant;
        self.peers.get_mut(origin).is_some_and(|peer| peer.channel.take(now))
    }

    /// The channel's version and members (§15, `groups` and `group_members`).
    pub fn channel(&self) -> (u64, impl Iterator<Item = &UserId>) {
        (self.channel.version(), self.channel.members())
    }
}

fn id_bytes(user: &UserId) -> usize {
    ID_BYTES + 6 * user.as_str().len()
}
