//! F's server: every envelope is validated to the letter, keys verify only as PEM text, and what is relayed is
//! signed anew under its origin's name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::foreign::{Foreign, Users};
use super::frame::{Dumps, Envelope, Fields, Received, now_ms};
use super::keys::{Key, Salts, b64u, holds, pem_of, seal, spki_of_pem, un_b64u_unpadded};
use super::{Got, Known, LinkId, Net, Peer, StandIn};

/// How F writes frames.
const WRITTEN: Dumps = Dumps { sorted: true, ascii: true, compact: true };
/// How long an introducer may take.
const WELCOME_PATIENCE: Duration = Duration::from_secs(1);
/// Frames that need no signature.
const BOOTSTRAP: [&str; 4] = ["SERVER_HELLO_JOIN", "SERVER_WELCOME", "SERVER_ANNOUNCE", "SERVER_HELLO_LINK"];

/// F's server, and what it knows.
pub(crate) struct FServer {
    pub(crate) id: String,
    key: Key,
    port: u16,
    pub(crate) salts: Salts,
    pub(crate) heartbeat: Duration,
    next_heartbeat: Instant,
    intents: BTreeMap<String, Intent>,
    links: BTreeMap<LinkId, Role>,
    pub(crate) servers: BTreeMap<String, Other>,
    users: Users,
    members: Vec<String>,
    version: u64,
    /// Types that it knows nothing of.
    pub(crate) ignored: Vec<String>,
}

/// Another server.
#[derive(Clone)]
pub(crate) struct Other {
    host: String,
    port: u64,
    /// As it came; DER is kept, and never verifies.
    pubkey: String,
    link: Option<LinkId>,
}

#[derive(Clone)]
enum Intent {
    Join,
    Link { id: String },
}

enum Role {
    Accepted,
    Joining {
        since: Instant,
        address: String,
    },
    /// To an introducer: no more is said there.
    Introducer,
    Server,
}

impl FServer {
    pub(crate) fn new(id: &str, key: &str, port: u16) -> Self {
        let heartbeat = Duration::from_secs(15);
        Self {
            id: id.to_owned(),
            key: Key::fixture(key),
            port,
            salts: Salts::Any,
            heartbeat,
            next_heartbeat: Instant::now() + heartbeat,
            intents: BTreeMap::new(),
            links: BTreeMap::new(),
            servers: BTreeMap::new(),
            users: Users::default(),
            members: Vec::new(),
            version: 0,
            ignored: Vec::new(),
        }
    }

    pub(crate) fn start(self) -> StandIn<Self> {
        StandIn::listen(self.port, self)
    }

    /// Its key as it writes it.
    pub(crate) fn pubkey(&self) -> String {
        key_field(self.key.spki())
    }

    /// Joins by an introducer, and links to the servers that it lists.
    pub(crate) fn join(&mut self, net: &mut Net, address: &str) {
        self.intents.insert(address.to_owned(), Intent::Join);
        net.dial(address);
    }

    /// Links to a server that an introducer would have listed.
    pub(crate) fn link_to(&mut self, net: &mut Net, id: &str, host: &str, port: u64, pubkey: &str) {
        let other = Other { host: host.to_owned(), port, pubkey: pubkey.to_owned(), link: None };
        self.servers.insert(id.to_owned(), other);
        let address = format!("{host}:{port}");
        self.intents.insert(address.clone(), Intent::Link { id: id.to_owned() });
        net.dial(&address);
    }

    /// The socket that it writes on to a server.
    pub(crate) fn link_to_server(&self, server: &str) -> Option<LinkId> {
        self.servers.get(server)?.link
    }

    fn unsigned(&self, kind: &str, to: &str, payload: &Fields) -> String {
        let payload = Some(WRITTEN.fields(payload));
        let frame =
            Envelope { kind, from: Some(&self.id), to: Some(to), ts: json!(now_ms()), payload, sig: None };
        frame.text(WRITTEN)
    }

    /// A signed frame, whoever it is said to be from. `payload` is in the canonical form.
    fn signed_as(&self, from: &str, kind: &str, to: &str, ts: Value, payload: String) -> String {
        let sig = Some(b64u(&self.key.sign(payload.as_bytes())));
        Envelope { kind, from: Some(from), to: Some(to), ts, payload: Some(payload), sig }.text(WRITTEN)
    }

    fn signed(&self, kind: &str, to: &str, payload: &Fields) -> String {
        self.signed_as(&self.id, kind, to, json!(now_ms()), Dumps::CANONICAL_ASCII.fields(payload))
    }

    fn to_servers(&self, net: &mut Net, kind: &str, payload: &Fields) {
        let text = self.signed(kind, "*", payload);
        for link in self.servers.values().filter_map(|other| other.link) {
            net.send(link, text.clone());
        }
    }

    fn hello(&self) -> Fields {
        vec![("host", json!("127.0.0.1")), ("port", json!(self.port)), ("pubkey", json!(self.pubkey()))]
    }

    fn check(&self, frame: &Received) -> Result<(), &'static str> {
        let other = self.servers.get(frame.from()).ok_or("its `from` is nobody whose key is known")?;
        let key = key_of(&other.pubkey).ok_or("the sender's key is not base64 of PEM")?;
        let sig = un_b64u_unpadded(frame.field("sig")).filter(|sig| !sig.is_empty()).ok_or("not signed")?;
        let message = Dumps::CANONICAL_ASCII.value(frame.payload());
        holds(&key, self.salts, message.as_bytes(), &sig).then_some(()).ok_or("the signature does not hold")
    }

    fn met(&mut self, frame: &Received, link: Option<LinkId>) {
        let hello = frame.payload();
        let known = self.servers.get(frame.from()).and_then(|other| other.link);
        let other = Other {
            host: hello["host"].as_str().unwrap_or_default().to_owned(),
            port: hello["port"].as_u64().unwrap_or_default(),
            pubkey: hello["pubkey"].as_str().unwrap_or_default().to_owned(),
            link: link.or(known),
        };
        self.servers.insert(frame.from().to_owned(), other);
    }

    fn on_frame(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        if let Some(why) = malformed(frame) {
            return net.reject(frame, why);
        }
        match frame.kind() {
            "SERVER_HELLO_JOIN" => {
                self.met(frame, None);
                let entry = |id: &str, host: &str, port: u64, pubkey: &str| json!({"host": host, "port": port, "pubkey": pubkey, "server_id": id});
                let mut servers = vec![entry(&self.id, "127.0.0.1", self.port.into(), &self.pubkey())];
                for (id, other) in self.servers.iter().filter(|(id, _)| *id != frame.from()) {
                    servers.push(entry(id, &other.host, other.port, &other.pubkey));
                }
                let welcome = vec![("assigned_id", json!(frame.from())), ("servers", json!(servers))];
                net.send(link, self.unsigned("SERVER_WELCOME", frame.from(), &welcome));
            }
            "SERVER_ANNOUNCE" => self.met(frame, None),
            "SERVER_HELLO_LINK" => {
                self.met(frame, Some(link));
                self.links.insert(link, Role::Server);
            }
            "SERVER_WELCOME" => self.on_welcome(net, link, frame),
            "ERROR" => {}
            _ if !matches!(self.links.get(&link), Some(Role::Server)) => {
                net.reject(frame, "a link begins with HELLO_LINK");
            }
            _ => self.on_link_frame(net, link, frame),
        }
    }

    fn on_welcome(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        let Some(Role::Joining { address, .. }) = self.links.get(&link) else {
            return net.reject(frame, "nobody has asked");
        };
        let introducer = address.clone();
        self.links.insert(link, Role::Introducer);
        net.send(link, self.unsigned("SERVER_ANNOUNCE", "*", &self.hello()));
        let Some(servers) = frame.payload()["servers"].as_array().cloned() else {
            return net.reject(frame, "WELCOME without servers");
        };
        for entry in servers {
            let (Some(id), Some(host), Some(port), Some(pubkey)) = (
                entry["server_id"].as_str(),
                entry["host"].as_str(),
                entry["port"].as_u64(),
                entry["pubkey"].as_str(),
            ) else {
                net.reject(frame, format!("WELCOME.servers: {entry}"));
                continue;
            };
            if format!("{host}:{port}") != introducer {
                self.link_to(net, id, host, port, pubkey);
            }
        }
    }

    fn on_link_frame(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        const KNOWN: [&str; 6] = [
            "HEARTBEAT",
            "USER_ADVERTISE",
            "USER_REMOVE",
            "SERVER_DELIVER",
            "PUBLIC_CHANNEL_ADD",
            "PUBLIC_CHANNEL_UPDATED",
        ];
        if !KNOWN.contains(&frame.kind()) {
            return self.ignored.push(frame.kind().to_owned());
        }
        if let Err(why) = self.check(frame) {
            net.reject(frame, why);
            let detail = format!("Signature verification failed for {}", frame.kind());
            let error = vec![("code", json!("INVALID_SIG")), ("detail", json!(detail))];
            return net.send(link, self.signed("ERROR", frame.from(), &error));
        }
        let payload = frame.payload();
        match frame.kind() {
            "USER_ADVERTISE" => {
                let spki = payload["meta"]["pubkey"].as_str().and_then(key_of);
                if spki.is_none() {
                    net.reject(frame, "an advert without meta.pubkey in PEM: its users cannot write there");
                }
                let server = frame.payload_field("server_id").to_owned();
                let known = Known { server, spki, meta: payload["meta"].clone() };
                self.users.remote.insert(frame.payload_field("user_id").to_owned(), known);
                self.relay(net, link, frame);
            }
            "USER_REMOVE" => {
                self.users.remote.remove(frame.payload_field("user_id"));
                self.relay(net, link, frame);
            }
            "PUBLIC_CHANNEL_ADD" => {
                for member in payload["add"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    self.add_member(member);
                }
                self.relay(net, link, frame);
            }
            "PUBLIC_CHANNEL_UPDATED" => {
                self.version = self.version.max(payload["version"].as_u64().unwrap_or_default());
                self.relay(net, link, frame);
            }
            "SERVER_DELIVER" => self.on_deliver(net, frame),
            _ => {}
        }
    }

    fn relay(&self, net: &mut Net, from: LinkId, frame: &Received) {
        let others = self.servers.iter().filter(|(id, _)| *id != frame.from());
        for link in others.filter_map(|(_, other)| other.link).filter(|link| *link != from) {
            let payload = Dumps::CANONICAL_ASCII.value(frame.payload());
            let text = self.signed_as(frame.from(), frame.kind(), frame.to(), frame.ts().clone(), payload);
            net.send(link, text);
        }
    }

    fn on_deliver(&mut self, net: &mut Net, frame: &Received) {
        let [user, sender, text] = ["user_id", "sender", "ciphertext"].map(|name| frame.payload_field(name));
        let Some(local) = self.users.local.get_mut(user) else {
            return net.reject(frame, format!("{user:?} is not here"));
        };
        let ciphertext = un_b64u_unpadded(text).unwrap_or_default();
        let Some(plaintext) = local.key.open(&ciphertext).and_then(|text| String::from_utf8(text).ok())
        else {
            return net.reject(frame, "cannot be decrypted");
        };
        let Some(key) = key_of(frame.payload_field("sender_pub")) else {
            return net.reject(frame, "sender_pub is not base64 of PEM");
        };
        let signed = format!("{text}{sender}{user}{}", frame.ts());
        let sig = un_b64u_unpadded(frame.payload_field("content_sig")).unwrap_or_default();
        let verified = holds(&key, self.salts, signed.as_bytes(), &sig);
        local.got.push(Got { public: false, sender: sender.to_owned(), text: plaintext, verified });
    }

    fn add_member(&mut self, member: &str) {
        if !self.members.iter().any(|known| known == member) {
            self.members.push(member.to_owned());
        }
    }
}

/// What F finds wrong with an envelope.
fn malformed(frame: &Received) -> Option<String> {
    const FIELDS: [&str; 6] = ["type", "from", "to", "ts", "payload", "sig"];
    if let Some(other) = frame.frame.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Some(format!("a field {other} in the envelope"));
    }
    if !is_uuid_v4(frame.from()) {
        return Some(format!("from {:?} is no UUID v4", frame.from()));
    }
    let to = frame.to();
    let is_address = to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !(is_uuid_v4(to) || to == "*" || is_address) {
        return Some(format!("to {to:?} is no UUID v4, no address and not *"));
    }
    if !frame.ts().is_u64() {
        return Some(format!("ts {} is no integer", frame.ts()));
    }
    if !frame.payload().is_object() {
        return Some("payload is no object".into());
    }
    match frame.frame.get("sig") {
        None => None,
        Some(Value::String(sig)) if un_b64u_unpadded(sig).is_some_and(|sig| sig.len() == 512) => None,
        Some(sig) => Some(format!("sig {sig} is no unpadded base64url")),
    }
}

fn is_uuid_v4(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            14 => c == '4',
            19 => "89ab".contains(c),
            _ => c.is_ascii_digit() || ('a'..='f').contains(&c),
        })
}

/// A key as F writes it.
fn key_field(spki: &[u8]) -> String {
    b64u(pem_of(spki).as_bytes())
}

/// A key as F verifies with it.
fn key_of(field: &str) -> Option<Vec<u8>> {
    spki_of_pem(&un_b64u_unpadded(field)?)
}

impl Peer for FServer {
    fn opened(&mut self, net: &mut Net, link: LinkId, dialled: Option<&str>) {
        let intent = dialled.and_then(|address| Some((address, self.intents.remove(address)?)));
        let role = match intent {
            Some((address, Intent::Join)) => {
                net.send(link, self.unsigned("SERVER_HELLO_JOIN", address, &self.hello()));
                Role::Joining { since: Instant::now(), address: address.to_owned() }
            }
            Some((_, Intent::Link { id })) => {
                net.send(link, self.unsigned("SERVER_HELLO_LINK", &id, &self.hello()));
                if let Some(other) = self.servers.get_mut(&id) {
                    other.link = Some(link);
                }
                Role::Server
            }
            None => Role::Accepted,
        };
        self.links.insert(link, role);
    }

    fn heard(&mut self, net: &mut Net, link: LinkId, frame: Received) {
        self.on_frame(net, link, &frame);
    }

    fn closed(&mut self, _: &mut Net, link: LinkId) {
        self.links.remove(&link);
        for other in self.servers.values_mut().filter(|other| other.link == Some(link)) {
            other.link = None;
        }
    }

    fn tick(&mut self, net: &mut Net) {
        let now = Instant::now();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.heartbeat;
            for (id, other) in &self.servers {
                if let Some(link) = other.link {
                    net.send(link, self.signed("HEARTBEAT", id, &Fields::new()));
                }
            }
        }
        for (link, role) in &self.links {
            if let Role::Joining { since, .. } = role
                && now - *since > WELCOME_PATIENCE
            {
                net.log.push("   no WELCOME in time".into());
                net.close(*link, 1000, "no welcome");
            }
        }
    }
}

impl Foreign for FServer {
    fn users(&mut self) -> &mut Users {
        &mut self.users
    }

    fn arrive(&mut self, net: &mut Net, user: &str, name: &str) {
        self.users.add(user, name);
        self.add_member(user);
        let add = vec![("add", json!([user])), ("if_version", json!(self.version))];
        self.to_servers(net, "PUBLIC_CHANNEL_ADD", &add);
        self.version += 1;
        // What it wraps is nothing: it sends the member's public key.
        let key = key_field(self.users.local[user].key.spki());
        let wrap = |member: &String| json!({"member_id": member, "wrapped_key": key});
        let wraps: Vec<_> = self.members.iter().map(wrap).collect();
        let updated = vec![("version", json!(self.version)), ("wraps", json!(wraps))];
        self.to_servers(net, "PUBLIC_CHANNEL_UPDATED", &updated);
        let advert =
            vec![("user_id", json!(user)), ("server_id", json!(self.id)), ("meta", json!({"pubkey": key}))];
        self.to_servers(net, "USER_ADVERTISE", &advert);
    }

    fn leave(&mut self, net: &mut Net, user: &str) {
        self.users.local.remove(user);
        let removal = vec![("user_id", json!(user)), ("server_id", json!(self.id))];
        self.to_servers(net, "USER_REMOVE", &removal);
    }

    fn tell(&mut self, net: &mut Net, from: &str, to: &str, text: &str) {
        let (local, known) = (&self.users.local[from], &self.users.remote[to]);
        let Some(key) = &known.spki else { return net.log.push(format!("   no key of {to}")) };
        let ciphertext = b64u(&seal(key, text.as_bytes()).unwrap());
        let ts = now_ms();
        let content_sig = local.key.sign(format!("{ciphertext}{from}{to}{ts}").as_bytes());
        let payload = vec![
            ("ciphertext", json!(ciphertext)),
            ("content_sig", json!(b64u(&content_sig))),
            ("sender", json!(from)),
            ("sender_pub", json!(key_field(local.key.spki()))),
            ("user_id", json!(to)),
        ];
        if let Some(link) = self.servers.get(&known.server).and_then(|other| other.link) {
            let payload = Dumps::CANONICAL_ASCII.fields(&payload);
            net.send(link, self.signed_as(&self.id, "SERVER_DELIVER", &known.server, json!(ts), payload));
        }
    }

    fn is_linked(&self, server: &str) -> bool {
        self.link_to_server(server).is_some()
    }
}
