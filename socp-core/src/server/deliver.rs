//! Messages on their way (§8.3, §9.2, §9.3, §10): `route_to_user`, and what happens when there is no
//! route.

use std::collections::VecDeque;
use std::time::Duration;

use super::api::LinkId;
use super::link::Link;
use super::seen::delivery_key;
use super::{InTransit, Location, MAX_CUT_OFF, MAX_IN_TRANSIT, Server, UNDER_WAY};
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
        let ts = message.ts.or(message.original_ts).or(frame.ts()).unwrap_or(Timestamp(self.now.unix_ms));
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
                if self.is_new_delivery(&recipient, user, message) {
                    self.send_to(vec![to], delivery);
                }
            }
            Route::Server { server, hop, .. } => {
                let payload =
                    Payload::ServerDeliver(Message { user_id: Some(recipient.clone()), ..delivery });
                let delivery = self.delivery(Recipient::from(&server), ts, payload);
                let Some(delivery) = delivery else { return self.too_long(link, frame) };
                self.note_in_transit(FrameType::MsgDirect, &recipient, ts, user, &server, hop);
                self.send_to(vec![hop], delivery);
            }
            Route::Unreachable => {
                let detail = format!("the server of {recipient} cannot be reached at the moment");
                self.undelivered(link, ErrorCode::Timeout, &detail, frame.reference());
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
        match self.route(recipient) {
            Route::Local(to) => {
                let ts = message.ts.or(message.original_ts).or(frame.ts());
                let ts = ts.unwrap_or(Timestamp(self.now.unix_ms));
                let delivery = Message { user_id: None, to: None, ts: Some(ts), ..message.clone() };
                let delivery = self.delivery(Recipient::from(recipient), ts, Payload::UserDeliver(delivery));
                let Some(delivery) = delivery else {
                    return self.dropped("delivery is too long", origin.to_string());
                };
                if self.is_new_delivery(recipient, author, message) {
                    self.send_to(vec![to], delivery);
                }
            }
            Route::Server { server, hop, .. }
                if server != origin && hop != link_id && self.profile(hop).relays =>
            {
                self.relay(vec![hop], frame)
            }
            Route::Server { .. } | Route::Unreachable | Route::Unknown => {
                let reference = FrameRef {
                    kind: frame.kind().as_str().into(),
                    to: Some(recipient.as_str().into()),
                    ts: frame.ts(),
                };
                let detail = format!("{recipient} is not online here");
                self.undelivered(link_id, ErrorCode::UserNotFound, &detail, reference);
            }
        }
    }

    /// ERROR from a server: a delivery found nobody. Its claim is dropped and the author is told.
    pub(super) fn on_server_error(&mut self, server: &ServerId, error: &ErrorReport) {
        let kind_of = |about: &&FrameRef| match FrameType::parse(&about.kind) {
            FrameType::ServerDeliver => Some(FrameType::MsgDirect),
            FrameType::FileStart => Some(FrameType::FileStart),
            _ => None,
        };
        let about = error.reference.as_ref().filter(|about| kind_of(about).is_some());
        let recipient = about.and_then(|about| about.to.as_ref()?.parse::<UserId>().ok());
        let (Some(recipient), Some(ts)) = (recipient, about.and_then(|about| about.ts)) else {
            return self.dropped("error from a server", format!("{server}: {} {}", error.code, error.detail));
        };
        let kind = about.as_ref().and_then(kind_of);
        let position = self.in_transit.iter().position(|sent| {
            sent.recipient == recipient && sent.ts == ts && Some(&sent.kind) == kind.as_ref()
        });
        let Some(sent) = position.and_then(|position| self.in_transit.remove(position)) else { return };
        // The user may have come back there meanwhile, and that news may have been faster.
        let unchanged = sent.claim == (server.clone(), self.claim_order(server, &recipient));
        if error.code == ErrorCode::UserNotFound && unchanged {
            self.drop_claim(server, &recipient);
        }
        let Some(link) = self.local.get(&sent.author).map(|session| session.link) else { return };
        let reference =
            FrameRef { kind: sent.kind.as_str().into(), to: Some(recipient.as_str().into()), ts: Some(ts) };
        let detail = format!("{recipient} is not online");
        self.undelivered(link, error.code.clone(), &detail, reference);
    }

    /// A link is lost. Of what was written to it since its peer was last heard nobody knows whether it was read, and
    /// its authors hold it for sent: they are told.
    pub(super) fn on_deliveries_cut_off(&mut self, link: LinkId, heard: Duration) {
        let since = heard.saturating_sub(UNDER_WAY);
        let (lost, kept) =
            std::mem::take(&mut self.in_transit).into_iter().partition(|sent| sent.hop == link);
        self.in_transit = kept;
        let lost: VecDeque<InTransit> = lost;
        let unheard = |sent: &InTransit| sent.kind == FrameType::MsgDirect && sent.at >= since;
        let mut cut_off: Vec<InTransit> = lost.into_iter().filter(unheard).collect();
        for sent in cut_off.split_off(cut_off.len().saturating_sub(MAX_CUT_OFF)) {
            let Some(author) = self.local.get(&sent.author).map(|session| session.link) else { continue };
            let recipient = sent.recipient;
            let reference = FrameRef {
                kind: sent.kind.as_str().into(),
                to: Some(recipient.as_str().into()),
                ts: Some(sent.ts),
            };
            let detail = format!("the link to the server of {recipient} was lost: this may not have arrived");
            self.undelivered(author, ErrorCode::Timeout, &detail, reference);
        }
    }

    /// MSG_PUBLIC_CHANNEL from a user here: to one member, or one ciphertext fanned out as it is.
    pub(super) fn on_msg_public(&mut self, link: LinkId, user: &UserId, frame: &Verified, message: &Message) {
        let frame = frame.frame();
        let Some(member) = member_of(frame) else {
            // One frame in, one out to everybody.
            self.charge_message(link);
            if frame.text().len() > self.config.limits.frame_out_bytes {
                return self.too_long(link, frame);
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
        match self.onward(&member) {
            Ok(to) => {
                if self.is_new_delivery(&member, user, message)
                    && let Err((code, detail)) = self.pass_to(link, to, user, &member, frame)
                {
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
                let detail = format!("the server of {recipient} cannot be reached at the moment");
                Err((ErrorCode::Timeout, detail))
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
        self.remember(frame);
        let member = message.user_id.clone().filter(|_| wrapped).or_else(|| member_of(frame));
        let Some(member) = member else {
            self.charge_message(link_id);
            if frame.text().len() > self.config.limits.frame_out_bytes {
                return self.dropped("public message is too long", author.to_string());
            }
            let to = self.user_links();
            return self.relay(to, frame);
        };
        match self.route(&member) {
            Route::Local(to) => {
                if self.is_new_delivery(&member, &author, message)
                    && let Err((_, why)) = self.pass_to(link_id, to, &author, &member, frame)
                {
                    self.dropped("public message is too long", why);
                }
            }
            Route::Server { .. } | Route::Unreachable | Route::Unknown => {
                self.dropped("public message to nobody here", member.to_string());
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

    /// A delivery is recognised whatever its `ts` (decisions §3).
    fn is_new_delivery(&mut self, recipient: &UserId, author: &UserId, message: &Message) -> bool {
        let sig = message.content_sig.as_ref().map(|sig| sig.bytes()).unwrap_or_default();
        let key = delivery_key(recipient.as_str(), author.as_str(), message.ciphertext.bytes(), sig);
        let fresh = self.delivered.insert(key, self.now.instant);
        if !fresh {
            self.dropped("repeated delivery", format!("{author} to {recipient}"));
        }
        fresh
    }

    pub(super) fn note_in_transit(
        &mut self,
        kind: FrameType,
        recipient: &UserId,
        ts: Timestamp,
        author: &UserId,
        server: &ServerId,
        hop: LinkId,
    ) {
        if self.in_transit.len() >= MAX_IN_TRANSIT {
            self.in_transit.pop_front();
        }
        let claim = (server.clone(), self.claim_order(server, recipient));
        let (recipient, author) = (recipient.clone(), author.clone());
        let at = self.now.instant;
        self.in_transit.push_back(InTransit { kind, recipient, ts, author, hop, at, claim });
    }
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
