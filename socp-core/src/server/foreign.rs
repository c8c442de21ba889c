//! What only peers of other dialects need: finding out how they speak, links on which nobody greets, users' frames in
//! the form that the next hop takes (decisions §6), keys that are asked for, and frames under names that nobody knows.

use super::Server;
use super::api::{Action, LinkId, Outgoing, PinRank};
use super::deliver::Route;
use super::link::{Link, LinkState, ServerLink};
use super::peer::{Claim, Peer};
use super::pins::PinOutcome;
use super::timers::Timer;
use crate::close_code;
use crate::crypto::{Purpose, RSA_BYTES, Refusal, SharedPayload, Unsigned, Verified};
use crate::dialect::{Dialect, Observed, UserFrames};
use crate::wire::{
    ErrorCode, FileChunk, FileEnd, FileStart, Frame, HostPort, Id, KeyField, KeyForm, Message, Payload,
    PublicKey, Recipient, ServerId, Timestamp, UserId, UserKeyAnswer, UserKeyRequest,
};

/// Frames that one message to the whole channel may become for those who take it only in a server's name.
const MAX_WRAPPED: usize = 100;

impl Server {
    // Who they are.

    /// A link to a server that answers no greeting. It may not have said its name yet: then it goes by its key's.
    pub(super) fn link_unanswered(
        &mut self,
        link_id: LinkId,
        key: &PublicKey,
        address: &HostPort,
        answered: bool,
    ) {
        let server = self.server_of_key(key).unwrap_or_else(|| ServerId::from(Id::derived_from(key)));
        if self.is_native(&server) || self.is_key_of_native(key) {
            // A native answers, and proves itself: whoever is silent there is not it, or will be later.
            self.greet_by_join(address);
            return self.close(link_id, close_code::POLICY, "a native server without a nonce");
        }
        let rank = self.rank_of(key, true, PinRank::Claimed);
        let outcome = self.pin_server(&server, key, rank, Some(address.clone()));
        if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) {
            return self.close(link_id, close_code::POLICY, "not the server that was expected");
        }
        self.identify(link_id, &server, key, None, Some(address.clone()), None);
        if let Some(Link { state: LinkState::Server(link), .. }) = self.links.get_mut(&link_id) {
            link.answered = answered;
        }
        self.keep_dialect(link_id, &server);
        self.link_up(link_id);
    }

    /// Notes how a peer speaks: by the operator's word, else by what it shows.
    pub(super) fn recognise(&mut self, link: LinkId, frame: &Verified, key: &PublicKey) {
        let listed = self.config.bootstrap.iter().find(|introducer| introducer.key == *key);
        let told = listed.and_then(|introducer| introducer.dialect);
        let signature = frame.proof(Purpose::Transport).and_then(|proof| proof.form);
        let observed = Observed { frame: frame.frame(), signature };
        if let Some(dialect) = told.or_else(|| Dialect::of(&observed)) {
            self.set_dialect(link, dialect);
        }
    }

    /// Keeps how a server speaks, for its next link: what it signed, or answered where we dialled. Anybody can say
    /// hello unsigned.
    pub(super) fn keep_dialect(&mut self, link: LinkId, server: &ServerId) {
        let dialect = self.dialect(link);
        if let Some(peer) = self.peers.get_mut(server).filter(|peer| peer.record.dialect != dialect) {
            peer.record.dialect = dialect;
            self.persist_server(server);
        }
    }

    pub(super) fn set_dialect(&mut self, link: LinkId, dialect: Dialect) {
        match dialect {
            Dialect::Standard => self.dialects.remove(&link),
            other => self.dialects.insert(link, other),
        };
    }

    pub(super) fn server_of_key(&self, key: &PublicKey) -> Option<ServerId> {
        let mut peers = self.peers.iter();
        peers.find(|(_, peer)| peer.record.key == *key).map(|(server, _)| server.clone())
    }

    /// Gossip as the first frame, of a server that writes only on sockets it dialled.
    pub(super) fn on_dial_back(&mut self, link_id: LinkId, frame: Verified) {
        let Some(server) = frame.frame().from().cloned().map(ServerId::from) else { return };
        let signer = self.peers.values().map(|peer| &peer.record);
        let mut signer = signer.filter(|record| frame.proven_by(Purpose::Transport, &record.key));
        let Some((key, dialect)) = signer.next().map(|record| (record.key.clone(), record.dialect)) else {
            let refusal = Refusal::of(frame.frame(), ErrorCode::InvalidSig, "sig does not hold");
            return self.on_refused(link_id, refusal);
        };
        if !self.may_join(&key) {
            return self.close(link_id, close_code::POLICY, "not on the list of servers that may join");
        }
        let outcome = self.pin_server(&server, &key, PinRank::Claimed, None);
        if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) {
            return self.close(link_id, close_code::POLICY, "another key is pinned for this id");
        }
        self.timers.cancel(&Timer::Greeting(link_id));
        self.set_dialect(link_id, dialect);
        self.identify(link_id, &server, &key, None, None, None);
        self.keep_dialect(link_id, &server);
        self.link_up(link_id);
        self.on_frame(link_id, frame);
    }

    /// Whether a link on which nobody has said anything in time may be the one on which a server is going to write
    /// that writes only on sockets it dialled: one for each such server that we dialled.
    pub(super) fn may_be_dial_back(&self, link: LinkId) -> bool {
        let is_silent = |link: &&Link| {
            matches!(link.state, LinkState::Greeting) && !self.timers.is_set(&Timer::Greeting(link.id))
        };
        let is_dialled = |link: &Link| link.is_dialled() && self.profile(link.id).one_way;
        let expected = self.links.values().filter(|link| match &link.state {
            LinkState::Joining(joining) => joining.introduced && is_dialled(link),
            LinkState::Server(server) => {
                let others =
                    self.peers.get(&server.server).map(|peer| peer.links.as_slice()).unwrap_or_default();
                let mut others = others.iter().filter_map(|other| self.links.get(other));
                is_dialled(link) && others.all(Link::is_dialled)
            }
            LinkState::Greeting | LinkState::Login(_) | LinkState::User(_) => false,
        });
        let silent = self.links.values().filter(is_silent);
        self.links.get(&link).as_ref().is_some_and(is_silent) && silent.count() <= expected.count()
    }

    // What users send.

    /// Passes a user's frame on that the standard does not wrap, in the form that its next hop takes. `Err`: what to
    /// tell its author.
    pub(super) fn pass_to(
        &mut self,
        came_by: LinkId,
        to: LinkId,
        author: &UserId,
        recipient: &UserId,
        frame: &Frame,
    ) -> Result<(), (ErrorCode, String)> {
        let by_author = frame.from().is_none_or(|from| from == author.id());
        let (takes, public) =
            (self.profile(to).user_frames, matches!(frame.payload(), Payload::MsgPublicChannel(_)));
        let dressed = match (takes, public) {
            (UserFrames::Relayed, true) if !by_author => self.wrapped(to, author, recipient, frame),
            (UserFrames::Relayed, _) => {
                self.relay_own(to, author, recipient, frame);
                return Ok(());
            }
            (UserFrames::Wrapped, _) => self.wrapped(to, author, recipient, frame),
            // What they have instead of a public channel is not ours to imitate: a direct message is read by all.
            (UserFrames::Unknown, true) => self.as_direct(to, author, recipient, frame),
            (UserFrames::Unknown, false) => {
                let detail = format!("the server of {recipient} takes no files from other servers");
                return Err((ErrorCode::UserNotFound, detail));
            }
        };
        let Some(dressed) = dressed else { return Ok(()) };
        if dressed.encoded_len() > self.config.limits.frame_out_bytes {
            return Err((ErrorCode::UnknownType, "the frame is too long".to_owned()));
        }
        // It costs us a signature.
        match frame.payload() {
            Payload::FileChunk(_) => self.charge_chunk(came_by),
            _ => self.charge_message(came_by),
        }
        self.send_to(vec![to], dressed);
        Ok(())
    }

    /// A user's own frame with its own text; what it left out of the envelope is filled in, since nobody further on
    /// could.
    fn relay_own(&mut self, to: LinkId, author: &UserId, recipient: &UserId, frame: &Frame) {
        let bulk = matches!(frame.payload(), Payload::FileChunk(_) | Payload::FileEnd(_));
        let text = match frame.from() {
            Some(_) => frame.text().clone(),
            None => frame.completed(author.id(), recipient.id(), Timestamp(self.now.unix_ms)),
        };
        // Chunks stay in their order, and FILE_END behind them; all else goes before.
        let frame = if bulk { Outgoing::Bulk(text) } else { Outgoing::Relay(text) };
        self.out.push(Action::Send { to: vec![to], frame });
    }

    /// A user's frame in our name: with `sender` and `ts`, which such peers cannot take from the envelope.
    fn wrapped(&self, link: LinkId, author: &UserId, recipient: &UserId, frame: &Frame) -> Option<Unsigned> {
        let server = self.links.get(&link)?.server().map(|link| link.server.clone());
        let ts = frame.ts().unwrap_or(Timestamp(self.now.unix_ms));
        let to = Some(recipient.as_str().into());
        let by_author = frame.from().is_none_or(|from| from == author.id());
        // Of a file that another server wrapped nobody knows the sender.
        let sender = by_author.then(|| author.clone());
        let payload = match (frame.payload().clone(), &server) {
            (Payload::MsgPublicChannel(message), server) => Payload::MsgPublicChannel(Message {
                user_id: server.is_some().then(|| recipient.clone()),
                to: None,
                sender: Some(author.clone()),
                ts: Some(message.ts.or(message.original_ts).unwrap_or(ts)),
                original_ts: None,
                ..message
            }),
            // A manifest that is signed stays as it is.
            (Payload::FileStart(start), server) => {
                let start = match start.content_sig {
                    Some(_) => start,
                    None => {
                        FileStart { to, sender: start.sender.or(sender), ts: start.ts.or(Some(ts)), ..start }
                    }
                };
                if server.is_some() { Payload::FileStart(start) } else { Payload::FileStartDeliver(start) }
            }
            (Payload::FileChunk(chunk), server) => {
                let chunk = FileChunk { to, sender: chunk.sender.or(sender), ..chunk };
                if server.is_some() { Payload::FileChunk(chunk) } else { Payload::FileChunkDeliver(chunk) }
            }
            (Payload::FileEnd(end), server) => {
                let end = FileEnd { to, sender: end.sender.or(sender), ..end };
                if server.is_some() { Payload::FileEnd(end) } else { Payload::FileEndDeliver(end) }
            }
            // They know of no acknowledgements between users.
            _ => return None,
        };
        let next = server.as_ref().map_or_else(|| Recipient::from(recipient), Recipient::from);
        Some(Unsigned::new(self.id.id().clone(), next, ts, SharedPayload::new(&payload)))
    }

    fn as_direct(
        &self,
        link: LinkId,
        author: &UserId,
        recipient: &UserId,
        frame: &Frame,
    ) -> Option<Unsigned> {
        let server = self.links.get(&link)?.server()?.server.clone();
        let Payload::MsgPublicChannel(message) = frame.payload().clone() else { return None };
        let ts = message.ts.or(frame.ts()).unwrap_or(Timestamp(self.now.unix_ms));
        let (user_id, sender) = (Some(recipient.clone()), Some(author.clone()));
        let message = Message { user_id, sender, to: None, ts: Some(ts), ..message };
        let payload = SharedPayload::new(&Payload::ServerDeliver(message));
        Some(Unsigned::new(self.id.id().clone(), Recipient::from(&server), ts, payload))
    }

    /// One ciphertext of a user here for the whole channel, to those who take users' frames only in a server's name: one
    /// frame for each of them, so it must be as short as a message is, and there must not be too many.
    pub(super) fn wrap_for_channel(&mut self, came_by: LinkId, author: &UserId, frame: &Frame) {
        if self.dialects.is_empty() {
            return;
        }
        let Payload::MsgPublicChannel(message) = frame.payload() else { return };
        if message.ciphertext.bytes().len() > RSA_BYTES {
            return self.dropped("public message is too long to be wrapped", author.to_string());
        }
        let wrapped =
            self.users.keys().filter(|user| *user != author).filter_map(|user| match self.route(user) {
                Route::Local(to) | Route::Server { hop: to, direct: true, .. } => {
                    (self.profile(to).user_frames == UserFrames::Wrapped).then(|| (user.clone(), to))
                }
                Route::Server { .. } | Route::Unreachable | Route::Unknown => None,
            });
        let wrapped: Vec<(UserId, LinkId)> = wrapped.take(MAX_WRAPPED).collect();
        for (member, to) in wrapped {
            // Whoever cannot be reached misses a message that was addressed to nobody.
            let _ = self.pass_to(came_by, to, author, &member, frame);
        }
    }

    /// The link that carries a server's traffic. One that writes only on sockets it dialled reads only what we write
    /// on those that we dialled, whatever name it had then.
    pub(super) fn carrier(&self, peer: &Peer) -> Option<LinkId> {
        let dialled = match peer.record.dialect.profile().one_way {
            true => self.dialled_link_of(&peer.record.key),
            false => None,
        };
        dialled.or_else(|| peer.link())
    }

    /// A link that we dialled to the holder of a key, whatever name it goes by.
    fn dialled_link_of(&self, key: &PublicKey) -> Option<LinkId> {
        let named = self.peers.values().filter(|peer| peer.record.key == *key);
        let mut links = named.flat_map(|peer| peer.links.iter().copied());
        links.find(|link| self.links.get(link).is_some_and(Link::is_dialled))
    }

    /// A server that greeted nobody has written: on the link that we dialled, or, one-way, on its own. The address
    /// where we dialled is worth keeping from now on.
    pub(super) fn note_answer(&mut self, link: LinkId) {
        let Some(server) = self.links.get(&link).and_then(Link::server) else { return };
        let dialled = match self.profile(link).one_way {
            true => self.dialled_link_of(&server.key),
            false => Some(link),
        };
        let dialect = self.dialect(link);
        let Some(Link { state: LinkState::Server(server), .. }) =
            dialled.and_then(|dialled| self.links.get_mut(&dialled))
        else {
            return;
        };
        if !std::mem::replace(&mut server.answered, true)
            && let Some(address) = server.address.clone()
        {
            self.dial_succeeded(&address, dialect);
        }
    }

    /// The server whose word a frame on a server link is: its `from`. But what the peer of an unproven link signed is
    /// its own, whatever unpinned id it names (decisions §7).
    pub(super) fn speaker(&self, link: &ServerLink, frame: &Frame) -> Option<ServerId> {
        let from = ServerId::from(frame.from()?.clone());
        let theirs = link.nonces.is_none() && !self.is_known_server(from.id());
        Some(if theirs { link.server.clone() } else { from })
    }

    /// The same of a link by its name.
    pub(super) fn speaker_on(&self, link: LinkId, frame: &Frame) -> Option<ServerId> {
        self.speaker(self.links.get(&link).and_then(Link::server)?, frame)
    }

    /// Asks a server for the key of one of its users, which its advert did not bring.
    pub(super) fn ask_for_key(&mut self, link: LinkId, server: &ServerId, user: &UserId) {
        let is_known = self.users.get(user).is_some_and(|entry| entry.key.is_some());
        let direct = self.links.get(&link).and_then(Link::server).is_some_and(|link| link.server == *server);
        if !is_known && direct && self.profile(link).asks_for_keys {
            let hop = self.peers.get(server).and_then(|peer| peer.link()).unwrap_or(link);
            let request = UserKeyRequest { recipient_uuid: user.clone() };
            self.send(hop, Recipient::from(server), &Payload::UserKeyRequest(request));
        }
    }

    /// A server asks for the key of one of our users, or of whomever we know.
    pub(super) fn on_user_key_request(
        &mut self,
        link: LinkId,
        server: &ServerId,
        frame: &Frame,
        user: &UserId,
    ) {
        self.charge_request(link);
        match self.users.get(user).and_then(|entry| entry.key.clone()) {
            Some(key) => {
                let answer =
                    UserKeyAnswer { recipient_pub: KeyField::from(key), recipient_uuid: user.clone() };
                self.send(link, Recipient::from(server), &Payload::UserKeyAnswer(answer));
            }
            None => {
                let detail = format!("no key is known for {user}");
                self.undelivered(link, ErrorCode::UserNotFound, &detail, frame.reference());
            }
        }
    }

    /// The key of a user of that server whose advert brought none. Others are not its business.
    pub(super) fn on_user_key_answer(&mut self, link: LinkId, server: &ServerId, answer: &UserKeyAnswer) {
        let user = &answer.recipient_uuid;
        let claim = self.peers.get(server).and_then(|peer| peer.table.claims.get(user));
        let (Some(claim), Ok(key)) = (claim.filter(|claim| claim.key.is_none()), answer.recipient_pub.key())
        else {
            return self.dropped("key that nobody asked for", user.to_string());
        };
        let claim = Claim { key: Some(key.clone()), ..claim.clone() };
        self.take_claim(link, server, user, claim, &[]);
    }
}

/// How a server probably speaks of which somebody tells: like the teller, unless its key is written otherwise.
pub(super) fn written_by(teller: Dialect, form: KeyForm) -> Dialect {
    match teller.profile().keys == form {
        true => teller,
        false => Dialect::by_key(form).unwrap_or(Dialect::Standard),
    }
}
