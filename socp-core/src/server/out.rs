//! What leaves the machine: frames, budgets for what costs us work, chance and counters.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::Server;
use super::api::{Action, LinkId, Outgoing, Record, Report};
use super::link::LinkState;
use super::seen::{SeenKey, frame_key};
use crate::crypto::{SharedPayload, Unsigned};
use crate::dialect::{Dialect, Profile};
use crate::wire::{ErrorCode, ErrorReport, Frame, FrameRef, Nonce, Payload, Recipient, ServerId, Timestamp};

impl Server {
    // Sending.

    pub(super) fn frame(&self, to: Recipient, payload: SharedPayload) -> Unsigned {
        Unsigned::new(self.id.id().clone(), to, Timestamp(self.now.unix_ms), payload)
    }

    pub(super) fn send(&mut self, link: LinkId, to: Recipient, payload: &Payload) {
        let frame = self.frame(to, SharedPayload::new(payload));
        self.send_to(vec![link], frame);
    }

    /// One signature, one encoding, many links.
    pub(super) fn broadcast(&mut self, links: Vec<LinkId>, payload: SharedPayload) {
        let frame = self.frame(Recipient::Everyone, payload);
        self.send_to(links, frame);
    }

    pub(super) fn send_to(&mut self, mut to: Vec<LinkId>, frame: Unsigned) {
        if !self.dialects.is_empty() {
            self.send_dressed(&mut to, &frame);
        }
        if !to.is_empty() {
            self.out.push(Action::Send { to, frame: Outgoing::Own(frame) });
        }
    }

    /// Takes out the links whose peers speak a dialect, and sends them the frame as they want it: signed once a
    /// dialect.
    fn send_dressed(&mut self, to: &mut Vec<LinkId>, frame: &Unsigned) {
        let mut dressed: BTreeMap<Dialect, Vec<LinkId>> = BTreeMap::new();
        to.retain(|link| match self.dialects.get(link) {
            Some(dialect) => {
                dressed.entry(*dialect).or_default().push(*link);
                false
            }
            None => true,
        });
        for (dialect, to) in dressed {
            if let Some(frame) = frame.dressed(dialect) {
                self.out.push(Action::Send { to, frame: Outgoing::Own(frame) });
            }
        }
    }

    /// How the peer of a link speaks.
    pub(super) fn dialect(&self, link: LinkId) -> Dialect {
        self.dialects.get(&link).copied().unwrap_or(Dialect::Standard)
    }

    /// What follows from it.
    pub(super) fn profile(&self, link: LinkId) -> &'static Profile {
        self.dialect(link).profile()
    }

    pub(super) fn relay(&mut self, to: Vec<LinkId>, frame: &Frame) {
        if !to.is_empty() {
            self.out.push(Action::Send { to, frame: Outgoing::Relay(frame.text().clone()) });
        }
    }

    /// Sends an ERROR if the link's budget has one left: each costs a signature.
    pub(super) fn error(
        &mut self,
        link_id: LinkId,
        code: ErrorCode,
        detail: &str,
        reference: Option<FrameRef>,
    ) {
        let now = self.now.instant;
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let within_budget = match link.is_greeting() {
            true => link.errors.take(now) && self.stranger_errors.take(now),
            false => link.errors.take(now),
        };
        match within_budget {
            true => self.send_error(link_id, code, detail, reference),
            false => self.dropped("error over budget", detail),
        }
    }

    /// Says that a message was not delivered. Nobody's message is lost in silence: who causes too many of
    /// these is read more slowly.
    pub(super) fn undelivered(&mut self, link: LinkId, code: ErrorCode, detail: &str, reference: FrameRef) {
        self.charge_request(link);
        self.send_error(link, code, detail, Some(reference));
    }

    pub(super) fn send_error(
        &mut self,
        link_id: LinkId,
        code: ErrorCode,
        detail: &str,
        reference: Option<FrameRef>,
    ) {
        let Some(link) = self.links.get(&link_id) else { return };
        let max = self.config.limits.quoted_bytes;
        let code = match code {
            ErrorCode::Other(code) => ErrorCode::Other(cut(&code, max).into()),
            known => known,
        };
        let reference = reference.map(|FrameRef { kind, to, ts }| FrameRef {
            kind: cut(&kind, max).into(),
            to: to.map(|to| cut(&to, max).into()),
            ts,
        });
        let detail = cut(detail, max);
        let to = match &link.state {
            LinkState::User(user) => Recipient::from(user),
            LinkState::Login(login) => Recipient::from(&login.user),
            LinkState::Server(server) => Recipient::from(&server.server),
            LinkState::Greeting | LinkState::Joining(_) => Recipient::Unnamed,
        };
        self.send(link_id, to, &Payload::Error(ErrorReport { code, detail: detail.into(), reference }));
    }

    /// Holds a link back if it asks for more than its rate.
    pub(super) fn charge_request(&mut self, link_id: LinkId) {
        let now = self.now.instant;
        if let Some(until) = self.links.get_mut(&link_id).and_then(|link| link.requests.overdraw(now)) {
            self.out.push(Action::Pause { link: link_id, until });
        }
    }

    /// Holds a link back if it sends more messages than its rate.
    pub(super) fn charge_message(&mut self, link_id: LinkId) {
        let now = self.now.instant;
        if let Some(until) = self.links.get_mut(&link_id).and_then(|link| link.messages.overdraw(now)) {
            self.out.push(Action::Pause { link: link_id, until });
        }
    }

    /// Holds a link back if it sends public messages to members faster than its rate.
    pub(super) fn charge_public(&mut self, link_id: LinkId) {
        let now = self.now.instant;
        if let Some(until) = self.links.get_mut(&link_id).and_then(|link| link.public.overdraw(now)) {
            self.out.push(Action::Pause { link: link_id, until });
        }
    }

    /// Holds a link back if it sends chunks faster than its rate.
    pub(super) fn charge_chunk(&mut self, link_id: LinkId) {
        let now = self.now.instant;
        if let Some(until) = self.links.get_mut(&link_id).and_then(|link| link.chunks.overdraw(now)) {
            self.out.push(Action::Pause { link: link_id, until });
        }
    }

    /// The links of all local users.
    pub(super) fn user_links(&self) -> Vec<LinkId> {
        self.local.values().map(|session| session.link).collect()
    }

    /// The links of local users who came with a bare USER_HELLO, and expect adverts: those of a dialect of their own do
    /// not.
    pub(super) fn bare_user_links(&self) -> Vec<LinkId> {
        let bare = self.local.values().filter(|session| session.bare).map(|session| session.link);
        bare.filter(|link| !self.dialects.contains_key(link)).collect()
    }

    /// One link to each server, without those named.
    pub(super) fn server_links(&self, without: &[&ServerId], came_by: Option<LinkId>) -> Vec<LinkId> {
        self.peers
            .iter()
            .filter(|(server, peer)| {
                !without.contains(server) && !came_by.is_some_and(|link| peer.links.contains(&link))
            })
            .filter_map(|(_, peer)| peer.link())
            .collect()
    }

    /// One link to each server that takes gossip of others, without those named.
    pub(super) fn gossip_links(&self, without: &[&ServerId], came_by: Option<LinkId>) -> Vec<LinkId> {
        let mut links = self.server_links(without, came_by);
        links.retain(|link| self.profile(*link).relays);
        links
    }

    // Chance and counters.

    pub(super) fn nonce(&mut self) -> Nonce {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Nonce(bytes)
    }

    /// A duration drawn evenly from half of `around` to all of it.
    pub(super) fn jitter(&mut self, around: Duration) -> Duration {
        let half = around / 2;
        half + half.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    /// The next value of the counter behind `issued_at` (decisions §3), made durable with this batch.
    pub(super) fn next_issued_at(&mut self) -> u64 {
        self.issued_at = self.now.unix_ms.max(self.issued_at.saturating_add(1));
        self.out.push(Action::Persist(Record::IssuedAt(self.issued_at)));
        self.issued_at
    }

    pub(super) fn remember(&mut self, frame: &Frame) -> SeenKey {
        let key = frame_key(frame);
        self.seen.insert(key, self.now.instant);
        key
    }

    /// The same of a frame under its origin's own name: under another, which nobody knows yet, it would keep out what its
    /// true owner says later.
    pub(super) fn remember_of(&mut self, origin: &ServerId, frame: &Frame) {
        if frame.from() == Some(origin.id()) {
            self.remember(frame);
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.out.push(Action::Report(report));
    }

    pub(super) fn dropped(&mut self, why: &'static str, detail: impl Into<Box<str>>) {
        let detail: Box<str> = detail.into();
        self.report(Report::Dropped { why, detail: cut(&detail, self.config.limits.quoted_bytes).into() });
    }
}

/// The beginning of a text, at most so many bytes of it.
pub(super) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
