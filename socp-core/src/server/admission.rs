//! Who may say what on which link (decisions §2), and which signatures a frame needs.
//!
//! One rule answers twice: [`Server::admit`] asks it before any signature is looked at, and the
//! dispatcher asks it again when the checked frame comes back, since a pin may have moved in between. Where the author
//! was at admission counts, too: who leaves in between has said what it said, and it must not be lost.

use super::api::LinkId;
use super::link::{Joining, Link, LinkState, Login, ServerLink};
use super::peer::Peer;
use super::seen::frame_key;
use super::{Server, Session};
use crate::crypto::{
    Admission, Check, Claimed, ContentInput, Purpose, RSA_BYTES, Refusal, SharedPayload, SignatureForm,
    rotation_check,
};
use crate::crypto::{Unverified, Verified, manifest_check, share_check};
use crate::dialect::UserFrames;
use crate::wire::{
    ErrorCode, Frame, FrameType, Id, KeyField, Message, Payload, PublicChannelKeyShare, PublicKey, ServerId,
    UserAdvertise,
};
use crate::wire::{UserHello, UserId};

/// Servers that have not said their name, whose keys a frame under an unknown name is tried with.
const MAX_NAMELESS: usize = 4;

/// The carrier may well know that server by another key: its other frames are not to wait for checks that fail.
const IN_DOUBT: Rule = Rule::Ignore("carried, and not signed by the pinned key, over and over");

/// What must hold before a frame is acted on.
#[derive(Debug)]
pub(super) enum Rule {
    /// These checks; none for a frame that may come unsigned and does.
    Checks(Vec<Check>),
    /// A repeat of what was accepted before: to be dropped without paying for a check.
    Repeat,
    /// Of no use, and nobody's fault: to be dropped likewise.
    Ignore(&'static str),
}

impl Server {
    /// What a frame must prove before it may be handed to [`Server::handle`]. Changes nothing.
    pub fn admit(&self, link: LinkId, frame: Frame) -> Admission {
        let Some(link) = self.links.get(&link) else {
            // The link was closed while the frame was on its way; `handle` drops it.
            return Admission::Accept(Verified::unchecked(frame));
        };
        let author_there = self.is_author_there(link, &frame);
        match self.rule(link, &frame, author_there) {
            Ok(Rule::Checks(checks)) if !checks.is_empty() => {
                Admission::Verify(Unverified::new(frame, checks).with_author_there(author_there))
            }
            Ok(Rule::Checks(_) | Rule::Repeat | Rule::Ignore(_)) => {
                Admission::Accept(Verified::unchecked(frame).with_author_there(author_there))
            }
            Err(refusal) => Admission::Refuse(refusal),
        }
    }

    /// Whether the author of a frame that a server brings is at the server that speaks for it.
    pub(super) fn is_author_there(&self, link: &Link, frame: &Frame) -> bool {
        let Some(link) = link.server() else { return false };
        let (author, home) = match frame.payload() {
            Payload::ServerDeliver(message) => (message.sender.clone(), self.speaker(link, frame)),
            payload @ (Payload::MsgPublicChannel(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::Ack(_)
            | Payload::PublicChannelKeyShare(_)) => {
                (payload.named_sender().cloned(), Some(link.server.clone()))
            }
            // A server's own word.
            _ => return false,
        };
        let author = author.or_else(|| frame.from().cloned().map(UserId::from));
        author.zip(home).is_some_and(|(author, home)| self.is_located_at(&author, &home))
    }

    /// Whether a user's removal by a server was news a moment ago: what it wrote before may be under way on
    /// another link than the removal.
    fn has_just_left(&self, user: &UserId, server: &ServerId) -> bool {
        self.peers.get(server).is_some_and(|peer| peer.table.removed.contains_key(user))
    }

    pub(super) fn rule(&self, link: &Link, frame: &Frame, author_there: bool) -> Result<Rule, Refusal> {
        if let FrameType::Unknown(name) = frame.kind() {
            return Err(Refusal::of(frame, ErrorCode::UnknownType, format!("unknown type {name:?}")));
        }
        if let Some(refusal) = Refusal::of_misfit(frame) {
            return Err(refusal);
        }
        if self.config.strict_ids && frame.from().is_some_and(|from| !from.is_uuid_v4()) {
            let refusal = Refusal::of(frame, ErrorCode::UnknownType, "from is not a UUID v4");
            return Err(match link.is_greeting() {
                // Whoever greets with such an id has nothing else to say.
                true => refusal.closing(crate::close_code::POLICY),
                false => refusal,
            });
        }
        match &link.state {
            LinkState::Greeting => self.greeting_rule(link, frame).map(Rule::Checks),
            LinkState::Login(login) => login_rule(login, frame).map(Rule::Checks),
            LinkState::Joining(joining) => joining_rule(joining, frame).map(Rule::Checks),
            LinkState::Server(server) => self.server_rule(link.id, server, frame, author_there),
            LinkState::User(user) => self.user_rule(link, user, frame).map(Rule::Checks),
        }
    }

    /// The first frame on an accepted link says what the peer is.
    fn greeting_rule(&self, link: &Link, frame: &Frame) -> Result<Vec<Check>, Refusal> {
        let refused = |error| Refusal::bad_key(frame, error).closing(crate::close_code::POLICY);
        match frame.payload() {
            Payload::ServerHelloJoin(hello)
            | Payload::ServerHelloLink(hello)
            | Payload::ServerAnnounce(hello) => {
                sender(frame)?;
                let key = hello.pubkey.key().map_err(refused)?;
                Ok(sig_if_there(frame, key, None))
            }
            Payload::UserHello(hello) => self.user_hello_rule(frame, hello),
            Payload::CtrlClose(_) => Ok(Vec::new()),
            Payload::UserRegister(registration) => {
                let key = registration.pubkey.key().map_err(|error| Refusal::bad_key(frame, error))?;
                self.password_rule(link, frame, &registration.user_id, Some(key))
            }
            Payload::UserLogin(login) => {
                let key = self.users.get(&login.user_id).and_then(|user| user.key.as_ref());
                self.password_rule(link, frame, &login.user_id, key)
            }
            Payload::UserAdvertise(_)
            | Payload::UserRemove(_)
            | Payload::ServerDeliver(_)
            | Payload::Heartbeat(_)
            | Payload::PublicChannelAdd(_)
            | Payload::PublicChannelUpdated(_) => self.dial_back_rule(frame),
            Payload::ServerWelcome(_)
            | Payload::LinkProof(_)
            | Payload::Presence(_)
            | Payload::PresenceRequest(_)
            | Payload::PresenceList(_)
            | Payload::LoginChallenge(_)
            | Payload::LoginProof(_)
            | Payload::UserLoggedIn(_)
            | Payload::Directory(_)
            | Payload::UserAdded(_)
            | Payload::UserRemoved(_)
            | Payload::UserKeyConflict(_)
            | Payload::ListRequest(_)
            | Payload::ListResponse(_)
            | Payload::PubkeyRequest(_)
            | Payload::Pubkey(_)
            | Payload::UserKeyRequest(_)
            | Payload::UserKeyAnswer(_)
            | Payload::MsgDirect(_)
            | Payload::UserDeliver(_)
            | Payload::MsgPublicChannel(_)
            | Payload::PublicChannelKeyShare(_)
            | Payload::PublicChannelSnapshot(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::FileStartDeliver(_)
            | Payload::FileChunkDeliver(_)
            | Payload::FileEndDeliver(_)
            | Payload::Ack(_)
            | Payload::Error(_)
            | Payload::UserRegistered(_)
            | Payload::UserHelloAck(_)
            | Payload::Unknown(_)
            | Payload::Misfit(_) => Err(not_first(frame)),
        }
    }

    /// Gossip as the first frame, of a server that writes only on sockets it dialled: one that is known, or, if the
    /// name is not, one of those that we dialled and that have not said their name.
    fn dial_back_rule(&self, frame: &Frame) -> Result<Vec<Check>, Refusal> {
        let from = ServerId::from(sender(frame)?.clone());
        let one_way = |peer: &&Peer| !peer.record.native && peer.record.dialect.profile().one_way;
        if let Some(peer) = self.peers.get(&from) {
            return match one_way(&peer) {
                true => sig(frame, &peer.record.key, peer.form),
                false => Err(not_first(frame)),
            };
        }
        // Such a server may go by its key's name until it writes to us.
        let linked = self.peers.values().filter(one_way).filter(|peer| !peer.links.is_empty());
        let checks =
            linked.take(MAX_NAMELESS).flat_map(|peer| sig_if_there(frame, &peer.record.key, peer.form));
        // One of them will do, and which is seen when it has held.
        let checks: Vec<Check> = checks.map(|check| Check { required: false, ..check }).collect();
        if checks.is_empty() { Err(not_first(frame)) } else { Ok(checks) }
    }

    /// Whether an id is ours or another known server's.
    pub(super) fn is_known_server(&self, id: &Id) -> bool {
        let id = ServerId::from(id.clone());
        id == self.id || self.peers.contains_key(&id)
    }

    fn user_hello_rule(&self, frame: &Frame, hello: &UserHello) -> Result<Vec<Check>, Refusal> {
        sender(frame)?;
        let key =
            hello.key().map_err(|error| Refusal::bad_key(frame, error).closing(crate::close_code::POLICY))?;
        self.meta_rule(frame, hello)?;
        match key {
            Some(key) => {
                let mut checks = sig_if_there(frame, key, None);
                if let Some(user) = frame.from().cloned().map(UserId::from) {
                    checks.extend(rotation_check(&user, &hello.rotations, key));
                }
                Ok(checks)
            }
            None if frame.sig().is_none() => Ok(Vec::new()),
            None => Err(Refusal::of(frame, ErrorCode::InvalidSig, "signed, but without a pubkey to check")),
        }
    }

    fn meta_rule(&self, frame: &Frame, hello: &UserHello) -> Result<(), Refusal> {
        let bytes = hello.meta.as_ref().map_or(0, |meta| meta.as_str().len());
        match bytes > self.config.limits.meta_bytes {
            true => Err(Refusal::of(frame, ErrorCode::UnknownType, "meta is too long")),
            false => Ok(()),
        }
    }

    /// A hello on the session's own link may bring another `meta`, and nothing else that is new.
    fn hello_again_rule(
        &self,
        session: &Session,
        frame: &Frame,
        hello: &UserHello,
    ) -> Result<Vec<Check>, Refusal> {
        let key = hello.key().map_err(|error| Refusal::bad_key(frame, error))?;
        if key.is_some_and(|key| *key != session.key) {
            return Err(Refusal::of(frame, ErrorCode::BadKey, "another key than the session's"));
        }
        self.meta_rule(frame, hello)?;
        match session.bare {
            true => Ok(sig_if_there(frame, &session.key, session.form)),
            false => sig(frame, &session.key, session.form),
        }
    }

    fn server_rule(
        &self,
        link_id: LinkId,
        link: &ServerLink,
        frame: &Frame,
        author_there: bool,
    ) -> Result<Rule, Refusal> {
        let peer = self.peers.get(&link.server);
        let profile = self.profile(link_id);
        let of_others = |from: &Id| from != link.server.id() && self.is_known_server(from);
        if profile.resigns && is_carried(frame.kind()) && frame.from().is_some_and(of_others) {
            return Ok(Rule::Ignore("relayed with the relayer's signature"));
        }
        let own = |required: bool| -> Result<Vec<Check>, Refusal> {
            if frame.from().is_some() && self.speaker(link, frame).as_ref() != Some(&link.server) {
                return Err(foreign(frame));
            }
            let form = peer.and_then(|peer| peer.form);
            match required {
                true => sig(frame, &link.key, form),
                false => Ok(sig_if_there(frame, &link.key, form)),
            }
        };
        match frame.payload() {
            Payload::Heartbeat(_)
            | Payload::LinkProof(_)
            | Payload::PresenceRequest(_)
            | Payload::PresenceList(_)
            | Payload::Error(_) => own(true).map(Rule::Checks),
            Payload::CtrlClose(_) | Payload::ServerHelloLink(_) | Payload::ServerHelloJoin(_) => {
                own(false).map(Rule::Checks)
            }
            Payload::ServerAnnounce(hello) => self.announce_rule(link, frame, &hello.pubkey),
            Payload::UserAdvertise(advert) => {
                let repeats = advert.issued_at.is_some() || advert.server_id != link.server;
                let repeats = repeats && !self.is_missing(link_id, advert);
                let mut checks = match self.gossip_rule(link, frame, repeats)? {
                    Rule::Checks(checks) => checks,
                    needless @ (Rule::Repeat | Rule::Ignore(_)) => return Ok(needless),
                };
                checks.extend(attestation_check(advert));
                if let Some(field) = advert.key_field()
                    && let Ok(key) = field.key()
                    && self.is_news(&advert.user_id, key, &advert.rotations)
                {
                    checks.extend(rotation_check(&advert.user_id, &advert.rotations, key));
                }
                Ok(Rule::Checks(checks))
            }
            Payload::UserRemove(removal) => {
                let repeats = removal.issued_at.is_some() || removal.server_id != link.server;
                self.gossip_rule(link, frame, repeats)
            }
            Payload::Presence(_) => self.gossip_rule(link, frame, true),
            Payload::UserKeyRequest(_) | Payload::UserKeyAnswer(_) if profile.asks_for_keys => {
                own(true).map(Rule::Checks)
            }
            Payload::PublicChannelAdd(add) => self.channel_rule(link, frame, add.add.len()),
            Payload::PublicChannelUpdated(updated) => self.channel_rule(link, frame, updated.wraps.len()),
            Payload::PublicChannelKeyShare(share) => self.key_share_rule(link, frame, share, author_there),
            Payload::ServerDeliver(message) => self.deliver_rule(link, frame, message, author_there),
            Payload::MsgPublicChannel(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::Ack(_) => self.relayed_rule(link_id, link, frame, author_there),
            Payload::ServerWelcome(_)
            | Payload::UserHello(_)
            | Payload::LoginChallenge(_)
            | Payload::LoginProof(_)
            | Payload::UserLoggedIn(_)
            | Payload::Directory(_)
            | Payload::UserAdded(_)
            | Payload::UserRemoved(_)
            | Payload::UserKeyConflict(_)
            | Payload::ListRequest(_)
            | Payload::ListResponse(_)
            | Payload::PubkeyRequest(_)
            | Payload::Pubkey(_)
            | Payload::UserKeyRequest(_)
            | Payload::UserKeyAnswer(_)
            | Payload::MsgDirect(_)
            | Payload::UserDeliver(_)
            | Payload::PublicChannelSnapshot(_)
            | Payload::FileStartDeliver(_)
            | Payload::FileChunkDeliver(_)
            | Payload::FileEndDeliver(_)
            | Payload::UserRegister(_)
            | Payload::UserRegistered(_)
            | Payload::UserLogin(_)
            | Payload::UserHelloAck(_)
            | Payload::Unknown(_)
            | Payload::Misfit(_) => {
                Err(Refusal::of(frame, ErrorCode::UnknownType, "not a frame for a server link"))
            }
        }
    }

    /// SERVER_ANNOUNCE: the peer's own may come unsigned, as bootstrap frames do; a third party's is
    /// signed by its pin, or, from a stranger, by the key that it brings.
    fn announce_rule(&self, link: &ServerLink, frame: &Frame, key: &KeyField) -> Result<Rule, Refusal> {
        let from = ServerId::from(sender(frame)?.clone());
        if self.seen.contains(&frame_key(frame)) {
            return Ok(Rule::Repeat);
        }
        let claimed = key.key().map_err(|error| Refusal::bad_key(frame, error))?;
        // Everybody who links tells of everybody: what is known already is not worth a check.
        let known =
            self.peers.get(&from).filter(|peer| peer.announced.is_some() && peer.record.key == *claimed);
        if known.is_some() && from != link.server {
            return Ok(Rule::Repeat);
        }
        let checks = match self.origin_key(&from) {
            Some((pinned, form)) if from == link.server => sig_if_there(frame, pinned, form),
            // The key from which the name derives takes the place of any other.
            Some((pinned, _)) if from.derives_from(claimed) && !from.derives_from(pinned) => {
                sig(frame, claimed, None)?
            }
            Some(_) if link.is_doubted(&from, self.now.instant) => return Ok(IN_DOUBT),
            Some((pinned, form)) => sig(frame, pinned, form)?,
            None => sig(frame, claimed, None)?,
        };
        Ok(Rule::Checks(checks))
    }

    /// Gossip in transit is verified under the key pinned to its origin. Without `issued_at`, on its origin's
    /// own link, the same text may well be news (not `repeats`): who logs in, out and in again within one `ts`.
    fn gossip_rule(&self, link: &ServerLink, frame: &Frame, repeats: bool) -> Result<Rule, Refusal> {
        sender(frame)?;
        if repeats && self.seen.contains(&frame_key(frame)) {
            return Ok(Rule::Repeat);
        }
        let origin = self.speaker(link, frame);
        if origin.as_ref().is_some_and(|origin| link.is_doubted(origin, self.now.instant)) {
            return Ok(IN_DOUBT);
        }
        let Some((key, form)) = origin.and_then(|origin| self.origin_key(&origin)) else {
            return Err(Refusal::of(frame, ErrorCode::InvalidSig, "from a server that is not known here"));
        };
        Ok(Rule::Checks(sig(frame, key, form)?))
    }

    /// Whether an advert is what we asked for on this link: we may have seen it before and dropped what it
    /// claims since.
    fn is_missing(&self, link_id: LinkId, advert: &UserAdvertise) -> bool {
        let Some(peer) = self.peers.get(&advert.server_id) else { return false };
        let asked = peer.table.request.as_ref().is_some_and(|request| request.link == link_id);
        asked && !peer.table.claims.contains_key(&advert.user_id)
    }

    fn deliver_rule(
        &self,
        link: &ServerLink,
        frame: &Frame,
        message: &Message,
        author_there: bool,
    ) -> Result<Rule, Refusal> {
        sender(frame)?;
        if self.seen.contains(&frame_key(frame)) {
            return Ok(Rule::Repeat);
        }
        let Some(from) = self.speaker(link, frame) else { return Err(foreign(frame)) };
        if link.is_doubted(&from, self.now.instant) {
            return Ok(IN_DOUBT);
        }
        let Some((key, form)) = self.origin_key(&from) else {
            return Err(Refusal::of(frame, ErrorCode::InvalidSig, "from a server that is not known here"));
        };
        let mut checks = sig(frame, key, form)?;
        let (Some(sender), Some(recipient)) = (&message.sender, &message.user_id) else {
            return Err(Refusal::of(frame, ErrorCode::UnknownType, "sender or user_id is missing"));
        };
        if !author_there {
            // Not located at `from`: then the author's own signature must vouch for it.
            let key = self.users.get(sender).and_then(|user| user.key.clone());
            let check =
                key.and_then(|key| content_check(frame, message, sender.id(), Some(recipient.id()), key));
            checks.push(check.ok_or_else(|| foreign(frame))?);
        }
        Ok(Rule::Checks(checks))
    }

    /// Users' own frames relayed unwrapped (decisions §6): `from` is a user located at the link's server. What somebody
    /// wrote to the channel who has just left that server counts by the author's own signature; a file ends with
    /// its sender. Chunks are many: none is remembered, since the recipient knows them by file and index, and
    /// those that are under way when their author leaves are no fault of whoever carries them.
    fn relayed_rule(
        &self,
        link_id: LinkId,
        link: &ServerLink,
        frame: &Frame,
        author_there: bool,
    ) -> Result<Rule, Refusal> {
        let from = sender(frame)?;
        let is_chunk = matches!(frame.payload(), Payload::FileChunk(_));
        if !is_chunk && self.seen.contains(&frame_key(frame)) {
            return Ok(Rule::Repeat);
        }
        if from == link.server.id() && self.profile(link_id).user_frames != UserFrames::Relayed {
            // In the server's name: it says whose frame it is, if anybody does.
            return match frame.payload().named_sender().is_none() || author_there {
                true => Ok(Rule::Checks(sig(frame, &link.key, None)?)),
                false => Err(foreign(frame)),
            };
        }
        let author = UserId::from(from.clone());
        let key = self.users.get(&author).and_then(|user| user.key.clone());
        let is_message = matches!(frame.payload(), Payload::MsgPublicChannel(_));
        let may_speak = author_there || (is_message && self.has_just_left(&author, &link.server));
        let Some(key) = key.filter(|_| may_speak) else {
            return if is_chunk { Ok(Rule::Ignore("chunk of nobody there")) } else { Err(foreign(frame)) };
        };
        if frame.payload().named_sender().is_some_and(|sender| *sender != author) {
            return Err(foreign(frame));
        }
        let mut checks = sig_if_there(frame, &key, None);
        checks.extend(author_check(frame, from, key));
        match checks.is_empty() && !(author_there && link.is_trusted()) {
            true if is_chunk => Ok(Rule::Ignore("unsigned chunk on an unproven link")),
            true => Err(unvouched(frame)),
            false => Ok(Rule::Checks(checks)),
        }
    }

    /// Gossip about the channel: as long as what we build, and about no more users than one server has.
    fn channel_rule(&self, link: &ServerLink, frame: &Frame, entries: usize) -> Result<Rule, Refusal> {
        self.channel_size(frame, entries)?;
        self.gossip_rule(link, frame, true)
    }

    fn channel_size(&self, frame: &Frame, entries: usize) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        match entries <= limits.users_per_origin && frame.text().len() <= limits.frame_out_bytes {
            true => Ok(()),
            false => Err(Refusal::of(frame, ErrorCode::UnknownType, "too long for what it says")),
        }
    }

    /// A server's key shares are gossip; a user's are believed like its other frames that are not wrapped.
    fn key_share_rule(
        &self,
        link: &ServerLink,
        frame: &Frame,
        share: &PublicChannelKeyShare,
        author_there: bool,
    ) -> Result<Rule, Refusal> {
        let from = sender(frame)?;
        let author = UserId::from(from.clone());
        if self.peers.contains_key(&ServerId::from(from.clone())) {
            return self.channel_rule(link, frame, share.shares.len());
        }
        self.channel_size(frame, share.shares.len())?;
        if self.seen.contains(&frame_key(frame)) {
            return Ok(Rule::Repeat);
        }
        let key = self.users.get(&author).and_then(|user| user.key.clone());
        let may_speak = author_there || self.has_just_left(&author, &link.server);
        let Some(key) = key.filter(|_| may_speak) else { return Err(foreign(frame)) };
        let mut checks = sig_if_there(frame, &key, None);
        checks.extend(share_check(share, &key));
        match checks.is_empty() && !(author_there && link.is_trusted()) {
            true => Err(unvouched(frame)),
            false => Ok(Rule::Checks(checks)),
        }
    }

    fn user_rule(&self, link: &Link, user: &UserId, frame: &Frame) -> Result<Vec<Check>, Refusal> {
        let Some(session) = self.local.get(user) else { return Err(foreign(frame)) };
        if frame.from().is_some_and(|from| from != user.id()) {
            return Err(foreign(frame));
        }
        match frame.payload() {
            Payload::LoginProof(_) => sig(frame, &session.key, session.form),
            Payload::UserHello(hello) => self.hello_again_rule(session, frame, hello),
            Payload::ListRequest(_)
            | Payload::PubkeyRequest(_)
            | Payload::Error(_)
            | Payload::CtrlClose(_) => Ok(sig_if_there(frame, &session.key, session.form)),
            // What the standard wraps is routed first (decisions §6).
            Payload::MsgDirect(_) => {
                own_frame(user, frame)?;
                Ok(sig_if_there(frame, &session.key, session.form))
            }
            Payload::MsgPublicChannel(_)
            | Payload::FileStart(_)
            | Payload::FileChunk(_)
            | Payload::FileEnd(_)
            | Payload::Ack(_) => {
                own_frame(user, frame)?;
                let mut checks = sig_if_there(frame, &session.key, session.form);
                checks.extend(author_check(frame, user.id(), session.key.clone()));
                Ok(checks)
            }
            Payload::PublicChannelKeyShare(share) => {
                self.channel_size(frame, share.shares.len())?;
                if share.creator_pub.key().ok() != Some(&session.key) {
                    return Err(Refusal::of(
                        frame,
                        ErrorCode::BadKey,
                        "creator_pub is not the key of this session",
                    ));
                }
                let mut checks = sig_if_there(frame, &session.key, session.form);
                checks.extend(share_check(share, &session.key));
                Ok(checks)
            }
            Payload::UserLogin(login) if login.user_id == *user => {
                self.password_rule(link, frame, user, Some(&session.key))
            }
            Payload::UserRegister(_) | Payload::UserLogin(_) => Err(foreign(frame)),
            Payload::ServerHelloJoin(_)
            | Payload::ServerWelcome(_)
            | Payload::ServerAnnounce(_)
            | Payload::ServerHelloLink(_)
            | Payload::LinkProof(_)
            | Payload::UserAdvertise(_)
            | Payload::UserRemove(_)
            | Payload::ServerDeliver(_)
            | Payload::Heartbeat(_)
            | Payload::Presence(_)
            | Payload::PresenceRequest(_)
            | Payload::PresenceList(_)
            | Payload::LoginChallenge(_)
            | Payload::UserLoggedIn(_)
            | Payload::Directory(_)
            | Payload::UserAdded(_)
            | Payload::UserRemoved(_)
            | Payload::UserKeyConflict(_)
            | Payload::ListResponse(_)
            | Payload::Pubkey(_)
            | Payload::UserKeyRequest(_)
            | Payload::UserKeyAnswer(_)
            | Payload::UserDeliver(_)
            | Payload::PublicChannelAdd(_)
            | Payload::PublicChannelUpdated(_)
            | Payload::PublicChannelSnapshot(_)
            | Payload::FileStartDeliver(_)
            | Payload::FileChunkDeliver(_)
            | Payload::FileEndDeliver(_)
            | Payload::UserRegistered(_)
            | Payload::UserHelloAck(_)
            | Payload::Unknown(_)
            | Payload::Misfit(_) => {
                Err(Refusal::of(frame, ErrorCode::UnknownType, "not a frame for a user link"))
            }
        }
    }

    /// The key that an origin's gossip is checked under.
    fn origin_key(&self, server: &ServerId) -> Option<(&PublicKey, Option<SignatureForm>)> {
        if *server == self.id {
            return Some((&self.config.key, None));
        }
        self.peers.get(server).map(|peer| (&peer.record.key, peer.form))
    }
}

/// Before the session is open only the proof counts.
fn login_rule(login: &Login, frame: &Frame) -> Result<Vec<Check>, Refusal> {
    if frame.from().is_some_and(|from| from != login.user.id()) {
        return Err(foreign(frame));
    }
    if let Payload::CtrlClose(_) = frame.payload() {
        return Ok(Vec::new());
    }
    let Payload::LoginProof(_) = frame.payload() else {
        return Err(Refusal::of(
            frame,
            ErrorCode::UnknownType,
            "expected LOGIN_PROOF: the login is not complete",
        ));
    };
    sig(frame, &login.key, None)
}

/// On a link that we dialled everything is checked under the key that must answer there.
fn joining_rule(joining: &Joining, frame: &Frame) -> Result<Vec<Check>, Refusal> {
    match frame.payload() {
        Payload::ServerWelcome(_) => {
            sender(frame)?;
            Ok(sig_if_there(frame, &joining.key, None))
        }
        Payload::ServerAnnounce(_)
        | Payload::ServerHelloLink(_)
        | Payload::UserAdvertise(_)
        | Payload::UserRemove(_)
        | Payload::ServerDeliver(_)
        | Payload::Heartbeat(_)
        | Payload::PublicChannelAdd(_)
        | Payload::PublicChannelUpdated(_) => {
            sender(frame)?;
            sig(frame, &joining.key, None)
        }
        Payload::Error(_) | Payload::CtrlClose(_) => Ok(sig_if_there(frame, &joining.key, None)),
        _ => Err(Refusal::of(frame, ErrorCode::UnknownType, "expected SERVER_WELCOME")),
    }
}

/// `sig` is required, under this key.
fn sig(frame: &Frame, key: &PublicKey, hint: Option<SignatureForm>) -> Result<Vec<Check>, Refusal> {
    match frame.sig() {
        Some(_) => Ok(sig_if_there(frame, key, hint)),
        None => Err(Refusal::of(frame, ErrorCode::InvalidSig, "sig is missing")),
    }
}

/// `sig` may be absent; present but wrong is refused, always.
pub(super) fn sig_if_there(frame: &Frame, key: &PublicKey, hint: Option<SignatureForm>) -> Vec<Check> {
    let check = frame.sig().map(|_| Check {
        purpose: Purpose::Transport,
        key: key.clone(),
        required: true,
        claimed: Claimed::Payload { hint },
    });
    check.into_iter().collect()
}

/// A user's own word that it logged in at the advertising server; without it the advert still counts.
fn attestation_check(advert: &UserAdvertise) -> Option<Check> {
    let attestation = advert.attestation.as_ref()?;
    let proof = &attestation.payload;
    if proof.user_id != advert.user_id || proof.server_id != advert.server_id {
        return None;
    }
    let key = advert.key_field()?.key().ok()?.clone();
    let canonical = SharedPayload::new(&Payload::LoginProof(proof.clone())).canonical().to_owned();
    let claimed = Claimed::Text { canonical, signature: attestation.sig.bytes().into() };
    Some(Check { purpose: Purpose::Attestation, key, required: false, claimed })
}

/// A well-formed `content_sig` must hold; a malformed one counts as none.
fn content_check(
    frame: &Frame,
    message: &Message,
    from: &Id,
    to: Option<&Id>,
    key: PublicKey,
) -> Option<Check> {
    let signature = message.content_sig.as_ref().filter(|sig| sig.bytes().len() == RSA_BYTES)?;
    let signature = signature.bytes().into();
    let ts = message.ts.or(message.original_ts).or(frame.ts())?;
    let input =
        ContentInput { ciphertext: message.ciphertext.clone(), from: from.clone(), to: to.cloned(), ts };
    let claimed = Claimed::Content { input, signature };
    Some(Check { purpose: Purpose::Content, key, required: true, claimed })
}

/// What the author of an unwrapped frame signed in it, where such frames carry a `content_sig`.
fn author_check(frame: &Frame, author: &Id, key: PublicKey) -> Option<Check> {
    match frame.payload() {
        Payload::MsgPublicChannel(message) => content_check(frame, message, author, None, key),
        Payload::FileStart(start) => manifest_check(frame, start, key, true),
        // The rest carries none.
        _ => None,
    }
}

fn own_frame(user: &UserId, frame: &Frame) -> Result<(), Refusal> {
    match frame.payload().named_sender() {
        Some(sender) if sender != user => Err(foreign(frame)),
        Some(_) | None => Ok(()),
    }
}

fn sender(frame: &Frame) -> Result<&Id, Refusal> {
    frame.from().ok_or_else(|| Refusal::of(frame, ErrorCode::UnknownType, "envelope: `from` is missing"))
}

fn not_first(frame: &Frame) -> Refusal {
    let detail = format!("{} cannot be a first frame: say who you are", frame.kind());
    Refusal::of(frame, ErrorCode::UnknownType, detail)
}

/// A user's frame that bears no signature, where neither its server nor its link stands for it.
fn unvouched(frame: &Frame) -> Refusal {
    Refusal::of(frame, ErrorCode::InvalidSig, "unsigned user frame on an unproven link")
}

pub(super) fn foreign(frame: &Frame) -> Refusal {
    Refusal::of(frame, ErrorCode::InvalidSig, "from is not the peer of this link")
}

/// Whether servers pass frames of this type on for others.
pub(crate) fn is_carried(kind: &FrameType) -> bool {
    matches!(
        kind,
        FrameType::UserAdvertise
            | FrameType::UserRemove
            | FrameType::Presence
            | FrameType::ServerAnnounce
            | FrameType::PublicChannelAdd
            | FrameType::PublicChannelUpdated
            | FrameType::PublicChannelKeyShare
            | FrameType::ServerDeliver
            | FrameType::MsgPublicChannel
            | FrameType::FileStart
            | FrameType::FileChunk
            | FrameType::FileEnd
            | FrameType::Ack
    )
}
