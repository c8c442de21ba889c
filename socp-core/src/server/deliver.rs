//! Messages on their way (§8.3, §9.2, §9.3, §10): `route_to_user`, and what happens when there is no
//! route.

use std::collections::VecDeque;
use std::time::Duration;

use super::api::LinkId;
use super::link::Link;
use super::{InTransit, Location, MAX_CUT_OFF, MAX_IN_TRANSIT, Server, Teller, UNDER_WAY};
use crate::crypto::{SharedPayload, Unsigned, Verified};
use crate::dialect::UserFrames;
use crate::wire::{
    ErrorCode, ErrorReport, Frame, FrameRef, FrameType, Message, Payload, Recipient, ServerId, Timestamp,
    UserId,
};

/// Where a message to a user goes next (§10).
pub(super) enum Route {
    Local(LinkId),
    /// To the server by its own link, or by a neighbour that had news of it.
    Server {
        server: ServerId,
        hop: LinkId,
        direct: bool,
    },
    /// The user's server is known, but no link leads there at the moment.
    Unreachable,
    Unknown,
}

impl Server {
    /// MSG_DIRECT: routed first, its content signature is the recipient's business (decisions §6).
    pub(super) fn on_msg_direct(&mut self, link: LinkId, user: &UserId, frame: &Verified, message: &Message) {
        self.charge_message(link);
        let frame = frame.frame();
        let Some(recipient) = recipient_of(frame) else {
            let detail = "no recipient: neither payload.to nor to names a user";
            return self.undelivered(link, ErrorCode::UserNotFound, detail, frame.reference());
        };
        let ts = author_time(frame, message).unwrap_or(Timestamp(self.now.unix_ms));
        let delivery = Message {
            user_id: None,
            to: None,
            sender: Some(user.clone()),
            ts: Some(ts),
            original_ts: None,
            ..message.clone()
        };
        match self.route(&recipient) {
            Route::Local(to) => {
                let delivery = self.delivery(Recipient::from(&recipient), ts, Payload::UserDeliver(delivery));
                let Some(delivery) = delivery else { return self.too_long(link, frame) };
                if self.is_new_delivery(recipient.as_str(), user, Some(ts), message) {
                    self.send_to(vec![to], delivery);
                }
            }
            Route::Server { server, hop, .. } => {
                let payload =
                    Payload::ServerDeliver(Message { user_id: Some(recipient.clone()), ..delivery });
                let delivery = self.delivery(Recipient::from(&server), ts, payload);
                let Some(delivery) = delivery else { return self.too_long(link, frame) };
                let teller = Teller::Author(user.clone());
                self.note_in_transit(FrameType::MsgDirect, &recipient, ts, teller, &server, hop);
                self.send_to(vec![hop], delivery);
            }
            Route::Unreachable => {
                self.undelivered(link, ErrorCode::Timeout, &unreachable_now(&recipient), frame.reference());
            }
            Route::Unknown => {
                let detail = format!("{recipient} is not online");
                self.undelivered(link, ErrorCode::UserNotFound, &detail, frame.reference());
            }
        }
    }

    /// SERVER_DELIVER: to our user, or onward unchanged, or USER_NOT_FOUND to its origin.
    pub(super) fn on_server_deliver(&mut self, link_id: LinkId, frame: &Verified, message: &Message) {
        let frame = frame.frame();
        let (Some(recipient), Some(author)) = (&message.user_id, &message.sender) else { return };
        let Some(origin) = self.speaker_on(link_id, frame) else { return };
        if !self.links.get(&link_id).and_then(Link::server).is_some_and(|link| link.up) {
            return self.dropped("delivery on a link that is not up", origin.to_string());
        }
        self.remember_of(&origin, frame);
        self.charge_message(link_id);
        let route = self.route(recipient);
        let unreachable = matches!(route, Route::Unreachable);
        match route {
            Route::Local(to) => {
                let ts = author_time(frame, message).unwrap_or(Timestamp(self.now.unix_ms));
                let delivery = Message { user_id: None, to: None, ts: Some(ts), ..message.clone() };
                let delivery = self.delivery(Recipient::from(recipient), ts, Payload::UserDeliver(delivery));
                let Some(delivery) = delivery else {
                    return self.dropped("delivery is too long", origin.to_string());
                };
                if self.is_new_delivery(recipient.as_str(), author, Some(ts), message) {
                    self.send_to(vec![to], delivery);
                }
            }
            Route::Server { server, hop, .. }
                if server != origin && hop != link_id && self.profile(hop).relays =>
            {
                if let Some(ts) = frame.ts() {
                    let teller = Teller::Neighbour(link_id);
                    self.note_in_transit(FrameType::ServerDeliver, recipient, ts, teller, &server, hop);
                }
                self.relay(vec![hop], frame)
            }
            Route::Server { .. } | Route::Unreachable | Route::Unknown => {
                let reference = reference_to(&FrameType::ServerDeliver, recipient, frame.ts());
                let (code, detail) = match unreachable {
                    true => (ErrorCode::Timeout, unreachable_now(recipient)),
                    false => (ErrorCode::UserNotFound, format!("{recipient} is not online here")),
                };
                self.undelivered(link_id, code, &detail, reference);
            }
        }
    }

    /// ERROR from a server that a message was written to: it found nobody. If that is the recipient's own server, its
    /// claim is dropped; whoever sent the message is told.
    pub(super) fn on_server_error(&mut self, link: LinkId, server: &ServerId, error: &ErrorReport) {
        let about = error.reference.as_ref();
        let kind = about.map(|about| FrameType::parse(&about.kind));
        let recipient = about.and_then(|about| about.to.as_ref()?.parse::<UserId>().ok());
        let (Some(kind), Some(recipient), Some(ts)) = (kind, recipient, about.and_then(|about| about.ts))
        else {
            return self.dropped("error from a server", format!("{server}: {} {}", error.code, error.detail));
        };
        let position = self.in_transit_of(&kind).iter().position(|sent| {
            let is_meant = sent.recipient == recipient && sent.ts == ts && written_as(&sent.kind) == kind;
            // Nobody else knows what became of it.
            is_meant
                && self.links.get(&sent.hop).and_then(Link::server).is_some_and(|hop| hop.server == *server)
        });
        let Some(sent) = position.and_then(|position| self.in_transit_of_mut(&kind).remove(position)) else {
            // Searching costs us something, and who is honest has nothing more to say.
            self.charge_request(link);
            return self.dropped("error about nothing that was sent there", server.to_string());
        };
        // The user may have come back there meanwhile, and that news may have been faster.
        let unchanged = sent.claim == (server.clone(), self.claim_order(server, &recipient));
        if error.code == ErrorCode::UserNotFound && unchanged {
            self.drop_claim(server, &recipient);
        }
        let detail = match error.code {
            ErrorCode::Timeout => unreachable_now(&recipient),
            _ => format!("{recipient} is not online"),
        };
        // Whoever sent it has paid for it then. What this costs is the doing of who says so.
        self.charge_message(link);
        if let Some(to) = self.to_be_told(&sent.teller) {
            let reference = reference_to(&sent.kind, &recipient, Some(ts));
            self.send_error(to, error.code.clone(), &detail, Some(reference));
        }
    }

    fn to_be_told(&self, teller: &Teller) -> Option<LinkId> {
        match teller {
            Teller::Author(author) => self.local.get(author).map(|session| session.link),
            Teller::Neighbour(link) => self.links.contains_key(link).then_some(*link),
        }
    }

    /// A link is lost. Of what was written to it since its peer was last heard nobody knows whether it was read, and
    /// its authors hold it for sent: they are told.
    pub(super) fn on_deliveries_cut_off(&mut self, link: LinkId, heard: Duration) {
        let since = heard.saturating_sub(UNDER_WAY);
        // Of what was said to everybody one part is not worth an alarm.
        self.said_to_all.retain(|sent| sent.hop != link);
        let (lost, kept) =
            std::mem::take(&mut self.in_transit).into_iter().partition(|sent| sent.hop == link);
        self.in_transit = kept;
        let lost: VecDeque<InTransit> = lost;
        // A file says so itself.
        let is_direct = |sent: &InTransit| written_as(&sent.kind) == FrameType::ServerDeliver;
        let unheard = |sent: &InTransit| is_direct(sent) && sent.at >= since;
        let mut cut_off: Vec<InTransit> = lost.into_iter().filter(unheard).collect();
        for sent in cut_off.split_off(cut_off.len().saturating_sub(MAX_CUT_OFF)) {
            let Some(to) = self.to_be_told(&sent.teller) else { continue };
            let recipient = sent.recipient;
            let reference = reference_to(&sent.kind, &recipient, Some(sent.ts));
            let detail = format!("the link to the server of {recipient} was lost: this may not have arrived");
            // It is not the author's doing: it costs none of what the author may ask for.
            self.send_error(to, ErrorCode::Timeout, &detail, Some(reference));
        }
    }

    /// MSG_PUBLIC_CHANNEL from a user here: to one member, or one ciphertext fanned out as it is.
    pub(super) fn on_msg_public(&mut self, link: LinkId, user: &UserId, frame: &Verified, message: &Message) {
        let frame = frame.frame();
        let ts = author_time(frame, message);
        if frame.text().len() > self.config.limits.frame_out_bytes {
            return self.too_long(link, frame);
        }
        let Some(member) = member_of(frame) else {
            // One frame in, one out to everybody.
            self.charge_message(link);
            if !self.is_news_for_all(user, ts, message) {
                return;
            }
            let mut to = self.user_links();
            to.retain(|other| *other != link);
            if frame.from().is_some() {
                to.extend(self.server_links(&[], None));
            }
            to.retain(|to| self.profile(*to).user_frames == UserFrames::Relayed);
            self.relay(to, frame);
            return self.wrap_for_channel(link, user, frame);
        };
        self.charge_public(link);
        match self.onward(&member) {
            Ok(to) => {
                if !self.is_new_delivery(member.as_str(), user, ts, message) {
                    return;
                }
                if let (Route::Server { server, .. }, Some(ts)) = (self.route(&member), frame.ts()) {
                    let teller = Teller::Author(user.clone());
                    self.note_in_transit(FrameType::MsgPublicChannel, &member, ts, teller, &server, to);
                }
                if let Err((code, detail)) = self.pass_to(link, to, user, &member, frame) {
                    self.undelivered(link, code, &detail, frame.reference());
                }
            }
            Err((code, detail)) => self.undelivered(link, code, &detail, frame.reference()),
        }
    }

    /// The link on which a user's own frame goes on to its recipient (decisions §6), or what to tell its
    /// author.
    pub(super) fn onward(&self, recipient: &UserId) -> Result<LinkId, (ErrorCode, String)> {
        match self.route(recipient) {
            Route::Local(to) | Route::Server { hop: to, direct: true, .. } => Ok(to),
            // Users' own frames are believed on their server's own link alone: no detour.
            Route::Server { direct: false, .. } | Route::Unreachable => {
                Err((ErrorCode::Timeout, unreachable_now(recipient)))
            }
            Route::Unknown => Err((ErrorCode::UserNotFound, format!("{recipient} is not online"))),
        }
    }

    /// MSG_PUBLIC_CHANNEL of a user elsewhere, with its own text.
    pub(super) fn on_relayed_public(&mut self, link_id: LinkId, frame: &Verified, message: &Message) {
        let frame = frame.frame();
        let Some(link) = self.links.get(&link_id).and_then(Link::server).filter(|link| link.up) else {
            return;
        };
        let wrapped = frame.from() == Some(link.server.id());
        let author = match wrapped {
            true => message.sender.clone(),
            false => frame.from().cloned().map(UserId::from),
        };
        let Some(author) = author else { return };
        if frame.text().len() > self.config.limits.frame_out_bytes {
            return self.dropped("public message is too long", author.to_string());
        }
        self.remember(frame);
        let ts = author_time(frame, message);
        let member = message.user_id.clone().filter(|_| wrapped).or_else(|| member_of(frame));
        let Some(member) = member else {
            self.charge_message(link_id);
            if self.is_news_for_all(&author, ts, message) {
                let to = self.user_links();
                self.relay(to, frame);
            }
            return;
        };
        self.charge_public(link_id);
        match self.route(&member) {
            Route::Local(to) => {
                if self.is_new_delivery(member.as_str(), &author, ts, message)
                    && let Err((_, why)) = self.pass_to(link_id, to, &author, &member, frame)
                {
                    self.dropped("public message is too long", why);
                }
            }
            Route::Server { .. } | Route::Unreachable | Route::Unknown => {
                // Many may have left at once: a few words about it will do.
                let reference = reference_to(&FrameType::MsgPublicChannel, &member, frame.ts());
                let detail = format!("{member} is not online here");
                self.error(link_id, ErrorCode::UserNotFound, &detail, Some(reference));
            }
        }
    }

    pub(super) fn route(&self, user: &UserId) -> Route {
        let Some(entry) = self.users.get(user) else { return Route::Unknown };
        match &entry.location {
            None => Route::Unknown,
            Some(Location::Local) => match self.local.get(user) {
                Some(session) => Route::Local(session.link),
                None => Route::Unknown,
            },
            Some(Location::At(server)) => {
                let peer = self.peers.get(server);
                let direct = peer.and_then(|peer| self.carrier(peer));
                let hop = direct.or_else(|| peer?.via.filter(|hop| self.links.contains_key(hop)));
                match hop {
                    Some(hop) => Route::Server { server: server.clone(), hop, direct: direct.is_some() },
                    None => Route::Unreachable,
                }
            }
        }
    }

    /// USER_DELIVER (§9.2) or SERVER_DELIVER (§8.3), with the author's time in the payload and as the
    /// envelope's. `None` if it would be longer than what we build: the next hop would close the link.
    fn delivery(&self, to: Recipient, ts: Timestamp, payload: Payload) -> Option<Unsigned> {
        let delivery = Unsigned::new(self.id.id().clone(), to, ts, SharedPayload::new(&payload));
        (delivery.encoded_len() <= self.config.limits.frame_out_bytes).then_some(delivery)
    }

    fn too_long(&mut self, link: LinkId, frame: &Frame) {
        self.undelivered(link, ErrorCode::UnknownType, "the message is too long", frame.reference());
    }

    /// Whether what is said to the whole channel is news. Some write there without encryption or signature, and say the
    /// same more than once: only a signature tells a repeat from that.
    fn is_news_for_all(&mut self, author: &UserId, ts: Option<Timestamp>, message: &Message) -> bool {
        message.content_sig.is_none() || self.is_new_delivery("*", author, ts, message)
    }

    pub(super) fn note_in_transit(
        &mut self,
        kind: FrameType,
        recipient: &UserId,
        ts: Timestamp,
        teller: Teller,
        server: &ServerId,
        hop: LinkId,
    ) {
        let in_transit = self.in_transit_of_mut(&kind);
        if in_transit.len() >= MAX_IN_TRANSIT {
            in_transit.pop_front();
        }
        let claim = (server.clone(), self.claim_order(server, recipient));
        let (recipient, at) = (recipient.clone(), self.now.instant);
        let sent = InTransit { kind, recipient, ts, teller, hop, at, claim };
        self.in_transit_of_mut(&sent.kind).push_back(sent);
    }

    /// The copies of what was said to everybody are many, and leave the rest its room.
    fn in_transit_of_mut(&mut self, kind: &FrameType) -> &mut VecDeque<InTransit> {
        match kind {
            FrameType::MsgPublicChannel => &mut self.said_to_all,
            _ => &mut self.in_transit,
        }
    }

    fn in_transit_of(&self, kind: &FrameType) -> &VecDeque<InTransit> {
        match kind {
            FrameType::MsgPublicChannel => &self.said_to_all,
            _ => &self.in_transit,
        }
    }
}

/// When a message was written, by its author's clock (decisions §6).
fn author_time(frame: &Frame, message: &Message) -> Option<Timestamp> {
    message.ts.or(message.original_ts).or(frame.ts())
}

/// What a message is called on its way between servers, and in their ERRORs.
fn written_as(kind: &FrameType) -> FrameType {
    match kind {
        FrameType::MsgDirect => FrameType::ServerDeliver,
        other => other.clone(),
    }
}

fn reference_to(kind: &FrameType, recipient: &UserId, ts: Option<Timestamp>) -> FrameRef {
    FrameRef { kind: kind.as_str().into(), to: Some(recipient.as_str().into()), ts }
}

fn unreachable_now(recipient: &UserId) -> String {
    format!("the server of {recipient} cannot be reached at the moment")
}

/// The recipient of a user's frame: the payload's, which the seed uses, else the envelope's.
pub(super) fn recipient_of(frame: &Frame) -> Option<UserId> {
    let named = frame.payload().named_recipient().and_then(|to| to.parse().ok());
    named.or_else(|| frame.to().id().map(UserId::from))
}

/// The member that a public message is for; `None` if it is for the whole channel.
fn member_of(frame: &Frame) -> Option<UserId> {
    let member = recipient_of(frame)?;
    (member.as_str() != "public").then_some(member)
}
