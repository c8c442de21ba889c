//! Hostile peers: they hold keys of their own, overhear what crosses the links, connect wherever they like as whatever
//! they like, and send what nobody should believe.

use serde_json::Value;

use super::keys::KeyPair;
use super::net::Site;
use super::node::{EPOCH_MS, LIAR_KEYS, server_address};
use super::world::{Next, World};
use crate::crypto::{SharedPayload, Unsigned};
use crate::server::LinkId;
use crate::wire::{
    Attestation, Binary, Empty, ErrorCode, ErrorReport, Frame, FrameRef, HostPort, Id, LinkProof, LinkRole,
    LoginProof, Message, Meta, Nonce, Payload, Presence, PresenceList, PublicKey, Recipient, Rotation,
    ServerHello, ServerId, ServerWelcome, Timestamp, UserAdvertise, UserHello, UserId, UserRemove,
    WelcomeEntry, WireText,
};

/// A hostile peer.
pub(super) struct Liar {
    pair: KeyPair,
    server_id: ServerId,
    user_id: UserId,
    pub(super) address: HostPort,
    pub(super) links: Vec<LinkId>,
    /// What it says it is on links that it dialled, until it has said so.
    plan: Option<Role>,
    /// Links on which it has been taken for a server.
    server_links: Vec<LinkId>,
    /// Links on which it says that it is a person, with a key that the person has given up.
    old_keys: Vec<(LinkId, KeyPair)>,
    pub(super) gone: bool,
}

/// As what a liar introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A server of its own, with nonce and proof.
    NativeServer,
    /// A server as the standard has it.
    StandardServer,
    /// A server under an honest one's id, with its own key.
    Impostor,
    /// The same, with the honest one's key, for which it cannot sign.
    KeylessImpostor,
    /// A user of its own.
    User,
    /// A person's id, with its own key, or with one that the person has given up and that was found since.
    FalseUser,
    /// A person's id and key, without `auth`.
    BareUser,
    /// A frame that it overheard.
    Replayer,
}

const ROLES: [Role; 8] = [
    Role::NativeServer,
    Role::StandardServer,
    Role::Impostor,
    Role::KeylessImpostor,
    Role::User,
    Role::FalseUser,
    Role::BareUser,
    Role::Replayer,
];

/// The nonce of every liar: they have no need of good ones.
const NONCE: Nonce = Nonce([7; 32]);

/// Links that a liar holds at one time.
const MAX_LINKS: usize = 12;

impl Liar {
    pub(super) fn forget(&mut self, link: LinkId) {
        self.links.retain(|other| *other != link);
        self.server_links.retain(|other| *other != link);
        self.old_keys.retain(|(other, _)| *other != link);
    }
}

impl World {
    pub(super) fn make_liars(&mut self) {
        for liar in 0..self.setup.liars {
            let pair = (self.setup.keys.pair)(LIAR_KEYS + liar as u64);
            let id = Id::derived_from(pair.signer.public_key());
            self.trace.name(id.as_str(), format!("l{liar}"));
            let address =
                HostPort::new(&format!("198.51.100.{}", liar % 250 + 1), 8_000).expect("an address");
            self.liars.push(Liar {
                pair,
                server_id: id.clone().into(),
                user_id: id.into(),
                address,
                links: Vec::new(),
                plan: None,
                server_links: Vec::new(),
                old_keys: Vec::new(),
                gone: false,
            });
        }
    }

    pub(super) fn schedule_liars(&mut self) {
        for liar in 0..self.liars.len() {
            let at = self.below(10_000_000) as u64;
            self.schedule(at, Next::Lie(liar));
        }
    }

    pub(super) fn lie(&mut self, liar: usize) {
        if !self.restless || self.liars[liar].gone {
            return;
        }
        let after = 50_000 + self.below(2_000_000) as u64;
        self.schedule(self.time + after, Next::Lie(liar));
        let links = self.liars[liar].links.clone();
        if links.is_empty() || (links.len() < MAX_LINKS && self.chance(0.2)) {
            self.liars[liar].plan = Some(ROLES[self.below(ROLES.len())]);
            let server = self.below(self.servers.len());
            return self.dial(Site::Liar(liar), server_address(server));
        }
        let believed = self.liars[liar].server_links.clone();
        let link = match believed.is_empty() || self.chance(0.2) {
            true => links[self.below(links.len())],
            false => believed[self.below(believed.len())],
        };
        if self.chance(0.03) {
            self.liars[liar].forget(link);
            return self.close(link, "a liar leaves");
        }
        match self.chance(0.5) {
            true => self.twist(liar, link),
            false => self.invent(liar, link),
        }
    }

    pub(super) fn liar_connected(&mut self, liar: usize, link: LinkId, address: &HostPort) {
        self.liars[liar].links.push(link);
        let role = self.liars[liar].plan.take().unwrap_or(Role::Replayer);
        self.note(Site::Liar(liar), format!("comes as {role:?}"));
        let own = self.liars[liar].pair.signer.public_key().clone();
        let to = Recipient::Named(address.to_string().into());
        match role {
            Role::NativeServer | Role::StandardServer => {
                let nonce = (role == Role::NativeServer).then_some(NONCE);
                let from = self.liars[liar].server_id.id().clone();
                let hello = self.liar_hello(liar, &own, nonce);
                self.utter(liar, link, &from, to, &Payload::ServerHelloJoin(hello));
                self.liars[liar].server_links.push(link);
            }
            Role::Impostor | Role::KeylessImpostor => {
                let victim = self.some_server();
                let key = match role {
                    Role::Impostor => own,
                    _ => self.servers[victim].config.key.clone(),
                };
                let nonce = self.chance(0.7).then_some(NONCE);
                let from = self.servers[victim].id.id().clone();
                let hello = self.liar_hello(liar, &key, nonce);
                self.liars[liar].server_links.push(link);
                match self.chance(0.5) {
                    true => self.utter(liar, link, &from, to, &Payload::ServerHelloJoin(hello)),
                    false => self.utter_unsigned(link, &from, to, &Payload::ServerHelloJoin(hello)),
                }
            }
            Role::User | Role::FalseUser | Role::BareUser => {
                let found = if role == Role::FalseUser { self.found_key() } else { None };
                if let Some((id, old, rotations)) = found {
                    let key = old.signer.public_key().clone();
                    self.liars[liar].old_keys.push((link, old));
                    let hello = user_hello(key, rotations, true);
                    return self.utter_unsigned(link, id.id(), Recipient::Named("server".into()), &hello);
                }
                let (id, key) = match (role, self.people.is_empty()) {
                    (Role::User, _) | (_, true) => (self.liars[liar].user_id.clone(), own),
                    (Role::FalseUser, _) => (self.some_person(), own),
                    _ => {
                        let person = self.below(self.people.len());
                        let person = &self.people[person];
                        (person.id.clone(), person.pair.signer.public_key().clone())
                    }
                };
                let hello = user_hello(key, Vec::new(), role != Role::BareUser);
                self.utter_unsigned(link, id.id(), Recipient::Named("server".into()), &hello);
            }
            Role::Replayer => {
                if let Some(text) = self.overhear() {
                    self.write(link, &text);
                }
            }
        }
    }

    /// A liar answers challenges and proofs as well as it can, and dials that reach it with poison.
    pub(super) fn liar_gets(&mut self, liar: usize, link: LinkId, text: &WireText) {
        let Ok(frame) = Frame::parse(text.as_str(), text.len()) else { return };
        match frame.payload() {
            Payload::ServerWelcome(welcome) => {
                if let (Some(nonce), Some(from)) = (welcome.nonce, frame.from()) {
                    let (to, dialled) = (ServerId::from(from.clone()), self.server_of(&from.clone().into()));
                    let address = server_address(dialled.unwrap_or(0));
                    self.liar_proves(liar, link, to, nonce, LinkRole::Dial, &address);
                }
            }
            Payload::ServerHelloJoin(hello) => {
                let poison = self.poisoned_welcome(liar);
                let from = self.liars[liar].server_id.id().clone();
                self.utter(liar, link, &from, Recipient::Unnamed, &Payload::ServerWelcome(poison));
                self.liars[liar].server_links.push(link);
                if let (Some(nonce), Some(from)) = (hello.nonce, frame.from()) {
                    let address = self.liars[liar].address.clone();
                    self.liar_proves(liar, link, from.clone().into(), nonce, LinkRole::Accept, &address);
                }
            }
            Payload::LoginChallenge(challenge) => {
                let (id, nonce, server_id) =
                    (self.liars[liar].user_id.clone(), challenge.nonce, challenge.server_id.clone());
                let host = self
                    .server_of(&server_id)
                    .map_or_else(String::new, |server| server_address(server).to_string());
                let user_id = frame.to().id().map_or_else(|| id.clone(), UserId::from);
                let issued_at = EPOCH_MS + self.time / 1000;
                let proof =
                    LoginProof { nonce, user_id: user_id.clone(), server_id, host: host.into(), issued_at };
                let old = self.liars[liar].old_keys.iter().find(|(other, _)| *other == link);
                let pair = old.map_or(&self.liars[liar].pair, |(_, old)| old).clone();
                let proof = Payload::LoginProof(proof);
                self.utter_with(&pair, link, user_id.id(), Recipient::Unnamed, &proof);
            }
            Payload::UserAdvertise(_) | Payload::UserRemove(_) | Payload::ServerDeliver(_)
                if self.chance(0.3) =>
            {
                // A twin whose signature does not hold, faster than the real one.
                let Some(twin) = twisted(text, |frame| spoil(frame, "sig")) else { return };
                for other in self.liars[liar].links.clone() {
                    if other != link {
                        self.write(other, &twin);
                    }
                }
            }
            _ => {}
        }
    }

    fn liar_proves(
        &mut self,
        liar: usize,
        link: LinkId,
        to: ServerId,
        nonce: Nonce,
        role: LinkRole,
        dialled: &HostPort,
    ) {
        // Under the id that it gave, which may be another's.
        let from = self.liars[liar].server_id.clone();
        let from = if self.chance(0.2) { self.servers[self.server_of_the_moment()].id.clone() } else { from };
        let (host, port) = (dialled.host().into(), Some(dialled.port()));
        let proof =
            LinkProof { nonce, own_nonce: NONCE, from: from.clone(), to: to.clone(), role, host, port };
        self.utter(liar, link, from.id(), Recipient::from(&to), &Payload::LinkProof(proof));
    }

    /// One that chance did not pick: it would need `&mut self`.
    fn server_of_the_moment(&self) -> usize {
        (self.time as usize) % self.servers.len()
    }

    fn liar_hello(&self, liar: usize, key: &PublicKey, nonce: Option<Nonce>) -> ServerHello {
        let address = &self.liars[liar].address;
        let (host, port) = (address.host().into(), Some(address.port()));
        ServerHello { host, port, pubkey: key.clone().into(), nonce, ext: Vec::new() }
    }

    /// Wrong keys and addresses for honest servers, and an id for whoever asked.
    fn poisoned_welcome(&mut self, liar: usize) -> ServerWelcome {
        let key = self.liars[liar].pair.signer.public_key().clone();
        let address = self.liars[liar].address.clone();
        let entry = |server: &ServerId| WelcomeEntry {
            user_id: None,
            server_id: Some(server.clone()),
            host: address.host().into(),
            port: Some(address.port()),
            pubkey: Some(key.clone().into()),
        };
        let servers = self.servers.iter().map(|node| entry(&node.id)).collect();
        let assigned_id = self.servers[self.server_of_the_moment()].id.clone();
        ServerWelcome {
            assigned_id,
            clients: self
                .people
                .iter()
                .map(|person| WelcomeEntry {
                    user_id: Some(person.id.clone()),
                    server_id: None,
                    ..entry(&self.servers[0].id)
                })
                .collect(),
            servers,
            introducer: None,
            nonce: Some(NONCE),
            ext: Vec::new(),
        }
    }

    fn some_server(&mut self) -> usize {
        self.below(self.servers.len())
    }

    fn some_person(&mut self) -> UserId {
        let person = self.below(self.people.len());
        self.people[person].id.clone()
    }

    fn overhear(&mut self) -> Option<WireText> {
        let index = self.below(self.overheard.len());
        self.overheard.get(index).cloned()
    }

    /// Sends what it overheard, as it was or altered somewhere.
    fn twist(&mut self, liar: usize, link: LinkId) {
        let Some(text) = self.overhear() else { return };
        let (server, now) = (self.some_server(), EPOCH_MS + self.time / 1000);
        let (honest, own) = (self.servers[server].id.to_string(), self.liars[liar].server_id.to_string());
        let way = self.below(9);
        let (twisted, how) = match way {
            0 | 1 => (Some(text), "replays"),
            2 => (twisted(&text, |frame| set(frame, "/ts", now.into())), "replays, with a new ts,"),
            3 => (twisted(&text, relabel), "relabels"),
            4 => (twisted(&text, |frame| set(frame, "/from", own.into())), "claims to have made"),
            5 => (twisted(&text, |frame| set(frame, "/from", honest.into())), "ascribes to another"),
            6 => (twisted(&text, |frame| set(frame, "/to", honest.into())), "redirects"),
            7 => (twisted(&text, |frame| spoil(frame, "payload")), "alters"),
            _ => (
                twisted(&text, |frame| frame.as_object_mut().and_then(|frame| frame.remove("sig")).is_some()),
                "strips",
            ),
        };
        if let Some(twisted) = twisted {
            self.note(Site::Liar(liar), format!("{how} a frame"));
            self.write(link, &twisted);
        }
    }

    /// Sends something of its own making.
    fn invent(&mut self, liar: usize, link: LinkId) {
        let now = EPOCH_MS + self.time / 1000;
        let own_key = self.liars[liar].pair.signer.public_key().clone();
        let (own, server) = (self.liars[liar].server_id.clone(), self.some_server());
        let honest = self.servers[server].id.clone();
        if self.people.is_empty() {
            return;
        }
        if let Some(advert) = self.advert_of_old_key(liar) {
            self.note(Site::Liar(liar), "advertises under an old key");
            return self.utter(liar, link, own.id(), Recipient::Everyone, &advert);
        }
        let person = self.below(self.people.len());
        let (user, key) =
            (self.people[person].id.clone(), self.people[person].pair.signer.public_key().clone());
        let advert = |user: &UserId, server: &ServerId, key: &PublicKey, attestation| {
            Payload::UserAdvertise(UserAdvertise {
                user_id: user.clone(),
                server_id: server.clone(),
                pubkey: Some(key.clone().into()),
                meta: Some(Meta::named("liar")),
                issued_at: Some(now),
                attestation,
                rotations: Vec::new(),
                event: None,
            })
        };
        let way = self.below(13);
        self.note(Site::Liar(liar), format!("invents something ({way})"));
        let (from, payload) = match way {
            // Another server's id, in every place where it could be believed.
            0 => (honest.clone(), advert(&user, &honest, &key, None)),
            1 => (own.clone(), advert(&user, &honest, &key, None)),
            2 => (own.clone(), advert(&user, &own, &key, None)),
            3 => (own.clone(), advert(&user, &own, &own_key, None)),
            4 => {
                let stolen = self.stolen_attestation();
                (own.clone(), advert(&user, &own, &key, stolen))
            }
            5 => {
                for _ in 0..30 {
                    let made_up = super::keys::fake_key(LIAR_KEYS * 2 + self.below(1_000_000) as u64);
                    let made_up_id = UserId::from(Id::derived_from(&made_up));
                    let flood = advert(&made_up_id, &own, &made_up, None);
                    self.utter(liar, link, own.id(), Recipient::Everyone, &flood);
                }
                return;
            }
            6 => {
                let removal = UserRemove {
                    user_id: user,
                    server_id: honest.clone(),
                    issued_at: Some(now),
                    meta: None,
                    event: None,
                };
                (if self.chance(0.5) { honest } else { own.clone() }, Payload::UserRemove(removal))
            }
            7 => {
                let server_id = if self.chance(0.5) { honest.clone() } else { own.clone() };
                let digest = Binary::new([9; 32]);
                (
                    server_id.clone(),
                    Payload::Presence(Presence {
                        server_id,
                        issued_at: now,
                        count: 1,
                        digest,
                        links: Vec::new(),
                    }),
                )
            }
            8 => {
                let users = vec![(user, now)];
                let list = PresenceList { server_id: honest, issued_at: now, users, page: 1, pages: 1 };
                (own.clone(), Payload::PresenceList(list))
            }
            9 => {
                let from = if self.chance(0.5) { honest } else { own.clone() };
                return self.utter_unsigned(
                    link,
                    from.id(),
                    Recipient::Everyone,
                    &Payload::CtrlClose(Empty {}),
                );
            }
            10 => {
                let reference = FrameRef {
                    kind: "SERVER_DELIVER".into(),
                    to: Some(user.as_str().into()),
                    ts: Some(Timestamp(now)),
                };
                let (code, detail) = (ErrorCode::UserNotFound, "gone".into());
                (own.clone(), Payload::Error(ErrorReport { code, detail, reference: Some(reference) }))
            }
            _ => {
                let message = self.forged_message(&user);
                (if way == 11 { honest } else { own.clone() }, Payload::ServerDeliver(message))
            }
        };
        self.utter(liar, link, from.id(), Recipient::Everyone, &payload);
    }

    /// A message as if from one person to another, which the author never signed.
    fn forged_message(&mut self, author: &UserId) -> Message {
        let recipient = self.below(self.people.len());
        let recipient = &self.people[recipient];
        let sealed = self.setup.keys.sealer.seal(recipient.pair.signer.public_key(), b"m0");
        Message {
            user_id: Some(recipient.id.clone()),
            to: None,
            ciphertext: Binary::new(sealed.unwrap_or_default()),
            sender: Some(author.clone()),
            sender_pub: None,
            content_sig: self.setup.liars.is_multiple_of(2).then(|| Binary::new([3; 512])),
            ts: Some(Timestamp(EPOCH_MS + self.time / 1000)),
            original_ts: None,
            part: None,
            parts_sig: None,
        }
    }

    fn stolen_attestation(&mut self) -> Option<Attestation> {
        self.overheard.iter().find_map(|text| match Frame::parse(text.as_str(), text.len()).ok()?.payload() {
            Payload::UserAdvertise(advert) => advert.attestation.clone(),
            _ => None,
        })
    }

    /// A key that a person has given up, and that was not destroyed, with a chain that leads to it, or to the next.
    fn found_key(&mut self) -> Option<(UserId, KeyPair, Vec<Rotation>)> {
        let rotated: Vec<usize> =
            (0..self.people.len()).filter(|person| !self.people[*person].old_pairs.is_empty()).collect();
        if rotated.is_empty() || self.chance(0.3) {
            return None;
        }
        let person = rotated[self.below(rotated.len())];
        let number = self.below(self.people[person].old_pairs.len());
        let steps = number + self.below(2);
        let person = &self.people[person];
        Some((person.id.clone(), person.old_pairs[number].clone(), person.rotations[..steps].to_vec()))
    }

    /// What somebody's old key says: that its owner is at the liar's, by a login of today.
    fn advert_of_old_key(&mut self, liar: usize) -> Option<Payload> {
        let (user_id, old, rotations) = self.found_key()?;
        let (server_id, issued_at) = (self.liars[liar].server_id.clone(), EPOCH_MS + self.time / 1000);
        let (nonce, host) = (NONCE, self.liars[liar].address.to_string().into());
        let proof =
            LoginProof { nonce, user_id: user_id.clone(), server_id: server_id.clone(), host, issued_at };
        let text = SharedPayload::new(&Payload::LoginProof(proof.clone()));
        let sig = Binary::new(old.signer.sign(text.canonical().as_bytes()).ok()?);
        Some(Payload::UserAdvertise(UserAdvertise {
            user_id,
            server_id,
            pubkey: Some(old.signer.public_key().clone().into()),
            meta: Some(Meta::named("liar")),
            issued_at: Some(issued_at),
            attestation: Some(Attestation { payload: proof, sig }),
            rotations,
            event: None,
        }))
    }

    fn utter(&mut self, liar: usize, link: LinkId, from: &Id, to: Recipient, payload: &Payload) {
        let pair = self.liars[liar].pair.clone();
        self.utter_with(&pair, link, from, to, payload);
    }

    fn utter_with(&mut self, pair: &KeyPair, link: LinkId, from: &Id, to: Recipient, payload: &Payload) {
        let ts = Timestamp(EPOCH_MS + self.time / 1000);
        let frame = Unsigned::new(from.clone(), to, ts, SharedPayload::new(payload));
        if let Ok(signed) = frame.sign(&*pair.signer) {
            self.write(link, signed.text());
        }
    }

    fn utter_unsigned(&mut self, link: LinkId, from: &Id, to: Recipient, payload: &Payload) {
        let ts = EPOCH_MS + self.time / 1000;
        let payload = SharedPayload::new(payload);
        let kind = Unsigned::new(from.clone(), to.clone(), Timestamp(ts), payload.clone()).kind().clone();
        let head =
            format!(r#"{{"type":"{}","from":"{from}","to":"{}","ts":{ts}"#, kind.as_str(), to.as_str());
        self.write(link, &format!(r#"{head},"payload":{}}}"#, payload.canonical()).into());
    }
}

fn user_hello(key: PublicKey, rotations: Vec<Rotation>, auth: bool) -> Payload {
    Payload::UserHello(UserHello {
        client: None,
        pubkey: Some(key.into()),
        enc_pubkey: None,
        auth: if auth { vec!["pss".into()] } else { Vec::new() },
        ext: Vec::new(),
        meta: Some(Meta::named("liar")),
        rotations,
        nonce: None,
    })
}

fn twisted(text: &WireText, how: impl FnOnce(&mut Value) -> bool) -> Option<WireText> {
    let mut frame: Value = serde_json::from_str(text.as_str()).ok()?;
    how(&mut frame).then(|| frame.to_string().into())
}

fn set(frame: &mut Value, pointer: &str, value: Value) -> bool {
    frame.pointer_mut(pointer).map(|field| *field = value).is_some()
}

/// The same payload and signature as something else.
fn relabel(frame: &mut Value) -> bool {
    let kind = frame.get("type").and_then(Value::as_str).unwrap_or_default();
    let other = match kind {
        "USER_ADVERTISE" => "USER_REMOVE",
        "USER_REMOVE" | "USER_ADDED" => "USER_ADVERTISE",
        "USER_REMOVED" => "USER_REMOVE",
        "SERVER_HELLO_JOIN" => "SERVER_HELLO_LINK",
        "SERVER_ANNOUNCE" | "SERVER_HELLO_LINK" => "SERVER_HELLO_JOIN",
        "SERVER_DELIVER" => "USER_DELIVER",
        "USER_DELIVER" | "MSG_DIRECT" => "SERVER_DELIVER",
        "HEARTBEAT" => "CTRL_CLOSE",
        _ => "PRESENCE",
    };
    set(frame, "/type", other.into())
}

/// Changes one character of a field, or of the first text in it.
fn spoil(frame: &mut Value, field: &str) -> bool {
    fn first_text(value: &mut Value) -> Option<&mut String> {
        match value {
            Value::String(text) if text.len() > 8 => Some(text),
            Value::Object(fields) => fields.values_mut().find_map(first_text),
            _ => None,
        }
    }
    let Some(text) = frame.get_mut(field).and_then(first_text) else { return false };
    let last = if text.ends_with('A') { 'Q' } else { 'A' };
    let middle = text.len() / 2;
    if text.is_char_boundary(middle) && text.is_char_boundary(middle + 1) {
        text.replace_range(middle..=middle, if text[middle..].starts_with(last) { "B" } else { "A" });
    }
    true
}
