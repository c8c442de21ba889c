//! M's server: it writes only on sockets that it dialled and reads only on those that it accepted, and cuts a
//! link for what is missing in a payload. Its introducer is a program of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::foreign::{Foreign, Users};
use super::frame::{Dumps, Envelope, Fields, Received, now_ms};
use super::keys::{Key, Salts, b64u, holds, seal, sha256, un_b64u};
use super::{Got, Known, LinkId, Net, Peer, StandIn};

/// M's server, or its introducer, and what it knows.
pub(crate) struct MServer {
    pub(crate) id: String,
    key: Key,
    port: u16,
    pub(crate) salts: Salts,
    is_introducer: bool,
    intents: BTreeMap<String, Intent>,
    /// Sockets that it dialled to introducers.
    joining: Vec<LinkId>,
    /// Sockets that it dialled, by server: what it writes on.
    out: BTreeMap<String, LinkId>,
    /// Sockets that it accepted, with the server that said HELLO_LINK on it.
    accepted: BTreeMap<LinkId, Option<String>>,
    pub(crate) servers: BTreeMap<String, Other>,
    users: Users,
    /// What it has relayed: type, user, time.
    seen: BTreeSet<(String, String, String)>,
    members: Vec<String>,
    version: u64,
    /// Types of frames that came on sockets that it dialled, where it does not read.
    pub(crate) unread: Vec<String>,
    /// Types that it knows nothing of.
    pub(crate) ignored: Vec<String>,
}

/// Another server.
#[derive(Clone)]
pub(crate) struct Other {
    host: String,
    port: u64,
    pubkey: String,
}

#[derive(Clone)]
enum Intent {
    Join,
    /// Introduce ourselves there.
    Link {
        id: String,
    },
    /// To whoever said HELLO_LINK; nobody needs to be told who we are.
    DialBack {
        id: String,
    },
}

impl MServer {
    pub(crate) fn new(id: &str, key: &str, port: u16) -> Self {
        Self {
            id: id.to_owned(),
            key: Key::fixture(key),
            port,
            salts: Salts::Any,
            is_introducer: false,
            intents: BTreeMap::new(),
            joining: Vec::new(),
            out: BTreeMap::new(),
            accepted: BTreeMap::new(),
            servers: BTreeMap::new(),
            users: Users::default(),
            seen: BTreeSet::new(),
            members: Vec::new(),
            version: 0,
            unread: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// The program that introduces servers to each other, and does nothing else.
    pub(crate) fn introducer(key: &str, port: u16) -> Self {
        Self { is_introducer: true, ..Self::new("introducer-0000-0000", key, port) }
    }

    pub(crate) fn start(self) -> StandIn<Self> {
        StandIn::listen(self.port, self)
    }

    /// Its key as it writes it.
    pub(crate) fn pubkey(&self) -> String {
        b64u(self.key.spki())
    }

    /// Asks an introducer for servers, and links to each.
    pub(crate) fn join(&mut self, net: &mut Net, address: &str) {
        self.intents.insert(address.to_owned(), Intent::Join);
        net.dial(address);
    }

    /// Links to a server that an introducer would have listed.
    pub(crate) fn link_to(&mut self, net: &mut Net, id: &str, host: &str, port: u64, pubkey: &str) {
        let other = Other { host: host.to_owned(), port, pubkey: pubkey.to_owned() };
        self.servers.insert(id.to_owned(), other);
        let address = format!("{host}:{port}");
        self.intents.insert(address.clone(), Intent::Link { id: id.to_owned() });
        net.dial(&address);
    }

    fn frame(&self, from: &str, kind: &str, to: &str, ts: Value, payload: &Fields) -> String {
        let sig = self.key.sign(Dumps::CANONICAL_ASCII.fields(payload).as_bytes());
        let payload = Some(Dumps::DEFAULT.fields(payload));
        let frame = Envelope { kind, from: Some(from), to: Some(to), ts, payload, sig: Some(b64u(&sig)) };
        frame.text(Dumps::DEFAULT)
    }

    fn signed(&self, kind: &str, to: &str, payload: &Fields) -> String {
        self.frame(&self.id, kind, to, json!(now_ms()), payload)
    }

    /// Signed anew for every one of them.
    fn to_servers(&self, net: &mut Net, kind: &str, payload: &Fields) {
        for link in self.out.values() {
            net.send(*link, self.signed(kind, "*", payload));
        }
    }

    fn hello(&self) -> Fields {
        vec![("host", json!("127.0.0.1")), ("port", json!(self.port)), ("pubkey", json!(self.pubkey()))]
    }

    fn advert(&self, user: &str) -> Fields {
        let local = &self.users.local[user];
        let meta = json!({"username": local.name, "pubkey": b64u(local.key.spki())});
        vec![("user_id", json!(user)), ("server_id", json!(self.id)), ("meta", meta)]
    }

    fn check(&self, pubkey: &str, frame: &Received) -> Result<(), &'static str> {
        let key = un_b64u(pubkey).filter(|key| key.len() == 550).ok_or("the key is not base64 of DER")?;
        let sig = un_b64u(frame.field("sig")).filter(|sig| !sig.is_empty()).ok_or("not signed")?;
        let message = Dumps::CANONICAL_ASCII.value(frame.payload());
        holds(&key, self.salts, message.as_bytes(), &sig).then_some(()).ok_or("the signature does not hold")
    }

    fn on_introduction(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        if frame.kind() != "SERVER_HELLO_JOIN" {
            return self.ignored.push(frame.kind().to_owned());
        }
        if let Err(why) = self.check(frame.payload_field("pubkey"), frame) {
            return net.reject(frame, format!("JOIN: {why}"));
        }
        let id = frame.from().to_owned();
        let entry = |(id, other): (&String, &Other)| json!({"server_id": id, "host": other.host, "port": other.port, "pubkey": other.pubkey});
        let clients: Vec<_> = self.servers.iter().filter(|(other, _)| **other != id).map(entry).collect();
        let welcome = vec![("assigned_id", json!(id)), ("clients", json!(clients))];
        let frame_out = Envelope {
            kind: "SERVER_WELCOME",
            from: Some(&self.id),
            to: Some(&id),
            ts: json!(now_ms()),
            payload: Some(Dumps::DEFAULT.fields(&welcome)),
            sig: Some(String::new()),
        };
        net.send(link, frame_out.text(Dumps::DEFAULT));
        self.servers.insert(id, other_of(frame.payload()));
    }

    fn on_welcome(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        if frame.kind() != "SERVER_WELCOME" {
            return self.ignored.push(frame.kind().to_owned());
        }
        // It has what it wanted.
        net.close(link, 1000, "");
        for entry in frame.payload()["clients"].as_array().cloned().unwrap_or_default() {
            let (Some(id), Some(host), Some(port), Some(pubkey)) = (
                entry["server_id"].as_str(),
                entry["host"].as_str(),
                entry["port"].as_u64(),
                entry["pubkey"].as_str(),
            ) else {
                net.reject(frame, format!("WELCOME.clients: {entry}"));
                continue;
            };
            self.link_to(net, id, host, port, pubkey);
        }
    }

    fn on_frame(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        if self.is_introducer {
            return self.on_introduction(net, link, frame);
        }
        let payload = frame.payload();
        match frame.kind() {
            "SERVER_HELLO_LINK" => {
                if let Err(why) = self.check(frame.payload_field("pubkey"), frame) {
                    return net.reject(frame, why);
                }
                let (id, other) = (frame.from().to_owned(), other_of(payload));
                self.accepted.insert(link, Some(id.clone()));
                if !self.out.contains_key(&id) {
                    let address = format!("{}:{}", other.host, other.port);
                    self.intents.insert(address.clone(), Intent::DialBack { id: id.clone() });
                    net.dial(&address);
                }
                return drop(self.servers.insert(id, other));
            }
            "SERVER_ANNOUNCE" | "USER_ADVERTISE" | "USER_REMOVE" | "SERVER_DELIVER" => {}
            "PUBLIC_CHANNEL_ADD" | "PUBLIC_CHANNEL_UPDATED" => {}
            other => return self.ignored.push(other.to_owned()),
        }
        if frame.kind() == "USER_ADVERTISE" && !self.has_link(frame.payload_field("server_id")) {
            net.reject(frame, "an advert for a server that it has no link to");
            return net.close(link, 1011, "no link");
        }
        let pubkey = self.servers.get(frame.from()).map(|other| other.pubkey.clone());
        let Some(pubkey) = pubkey else {
            return net.reject(frame, "its `from` is nobody whose key is known");
        };
        if let Err(why) = self.check(&pubkey, frame) {
            return net.reject(frame, why);
        }
        match frame.kind() {
            "SERVER_ANNOUNCE" => drop(self.servers.insert(frame.from().to_owned(), other_of(payload))),
            "USER_ADVERTISE" => self.on_advert(net, link, frame),
            "USER_REMOVE" => {
                self.users.remote.remove(frame.payload_field("user_id"));
                self.relay(net, frame);
            }
            "PUBLIC_CHANNEL_ADD" => {
                for member in payload["add"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    self.add_member(member);
                }
            }
            "PUBLIC_CHANNEL_UPDATED" => {
                self.version = self.version.max(payload["version"].as_u64().unwrap_or_default());
            }
            "SERVER_DELIVER" => self.on_deliver(net, link, frame),
            _ => {}
        }
    }

    fn has_link(&self, server: &str) -> bool {
        self.out.contains_key(server) || self.accepted.values().flatten().any(|id| id == server)
    }

    fn on_advert(&mut self, net: &mut Net, _: LinkId, frame: &Received) {
        let (user, server) = (frame.payload_field("user_id"), frame.payload_field("server_id"));
        let meta = &frame.payload()["meta"];
        let spki = meta["pubkey"].as_str().and_then(un_b64u).filter(|key| key.len() == 550);
        if spki.is_none() || !meta["username"].is_string() {
            net.reject(
                frame,
                "an advert without meta.pubkey and meta.username: its users cannot write there",
            );
        }
        let known = Known { server: server.to_owned(), spki, meta: meta.clone() };
        self.users.remote.insert(user.to_owned(), known);
        if frame.payload()["origin"] != "backfill"
            && let Some(link) = self.out.get(server)
        {
            for own in self.users.local.keys() {
                let mut advert = self.advert(own);
                advert.push(("origin", json!("backfill")));
                net.send(*link, self.signed("USER_ADVERTISE", user, &advert));
            }
        }
        self.relay(net, frame);
    }

    /// Once, under its origin's name, with a signature of its own.
    fn relay(&mut self, net: &mut Net, frame: &Received) {
        let user = frame.payload_field("user_id").to_owned();
        if !self.seen.insert((frame.kind().to_owned(), user, frame.ts().to_string())) {
            return;
        }
        const FIELDS: [&str; 4] = ["user_id", "server_id", "meta", "origin"];
        let payload = frame.payload().as_object().into_iter().flatten();
        let payload = payload.filter_map(|(name, value)| {
            let name = FIELDS.into_iter().find(|field| *field == name)?;
            Some((name, value.clone()))
        });
        let payload: Fields = payload.collect();
        for (server, link) in self.out.iter().filter(|(server, _)| *server != frame.from()) {
            let text = self.frame(frame.from(), frame.kind(), frame.to(), frame.ts().clone(), &payload);
            net.log.push(format!("   relayed to {server}"));
            net.send(*link, text);
        }
    }

    fn on_deliver(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        let payload = frame.payload();
        if payload["inner_type"].is_null() || payload["public"].is_null() {
            net.reject(frame, "a delivery without inner_type or public");
            return net.close(link, 1011, "inner_type");
        }
        let [user, sender] = ["user_id", "sender"].map(|name| frame.payload_field(name));
        let Some(local) = self.users.local.get_mut(user) else {
            return net.reject(frame, format!("{user:?} is not here"));
        };
        let ciphertext = un_b64u(frame.payload_field("ciphertext")).unwrap_or_default();
        let Some(text) = local.key.open(&ciphertext).and_then(|text| String::from_utf8(text).ok()) else {
            return net.reject(frame, "cannot be decrypted");
        };
        let signed = content(&ciphertext, sender, user, frame.ts());
        let bytes = |name: &str| un_b64u(frame.payload_field(name)).unwrap_or_default();
        let verified = holds(&bytes("sender_pub"), self.salts, &signed, &bytes("content_sig"));
        let public = payload["public"] == true;
        local.got.push(Got { public, sender: sender.to_owned(), text, verified });
    }

    fn add_member(&mut self, member: &str) {
        if !self.members.iter().any(|known| known == member) {
            self.members.push(member.to_owned());
        }
    }
}

/// What M signs as a message's content: a digest, which is hashed again.
fn content(ciphertext: &[u8], from: &str, to: &str, ts: &Value) -> Vec<u8> {
    sha256(&[ciphertext, format!("{from}{to}{ts}").as_bytes()].concat())
}

fn other_of(hello: &Value) -> Other {
    Other {
        host: hello["host"].as_str().unwrap_or_default().to_owned(),
        port: hello["port"].as_u64().unwrap_or_default(),
        pubkey: hello["pubkey"].as_str().unwrap_or_default().to_owned(),
    }
}

impl Peer for MServer {
    fn opened(&mut self, net: &mut Net, link: LinkId, dialled: Option<&str>) {
        let Some(address) = dialled else {
            self.accepted.insert(link, None);
            return;
        };
        match self.intents.remove(address) {
            Some(Intent::Join) => {
                net.send(link, self.signed("SERVER_HELLO_JOIN", address, &self.hello()));
                self.joining.push(link);
            }
            Some(Intent::Link { id }) => {
                net.send(link, self.signed("SERVER_HELLO_LINK", &id, &self.hello()));
                net.send(link, self.signed("SERVER_ANNOUNCE", &id, &self.hello()));
                self.out.insert(id, link);
            }
            Some(Intent::DialBack { id }) => drop(self.out.insert(id, link)),
            None => {}
        }
    }

    fn heard(&mut self, net: &mut Net, link: LinkId, frame: Received) {
        if self.joining.contains(&link) {
            self.on_welcome(net, link, &frame);
        } else if self.accepted.contains_key(&link) {
            self.on_frame(net, link, &frame);
        } else {
            self.unread.push(frame.kind().to_owned());
        }
    }

    fn closed(&mut self, _: &mut Net, link: LinkId) {
        self.joining.retain(|joining| *joining != link);
        self.accepted.remove(&link);
        self.out.retain(|_, out| *out != link);
    }
}

impl Foreign for MServer {
    fn users(&mut self) -> &mut Users {
        &mut self.users
    }

    fn arrive(&mut self, net: &mut Net, user: &str, name: &str) {
        self.users.add(user, name);
        self.to_servers(net, "USER_ADVERTISE", &self.advert(user));
        self.add_member(user);
        self.version += 1;
        let add = vec![("add", json!([user])), ("if_version", json!(self.version))];
        self.to_servers(net, "PUBLIC_CHANNEL_ADD", &add);
        let wrap = |member: &String| json!({"member_id": member, "wrapped_key": "fake_key_for_demo"});
        let wraps: Vec<_> = self.members.iter().map(wrap).collect();
        let updated = vec![("version", json!(self.version)), ("wraps", json!(wraps))];
        self.to_servers(net, "PUBLIC_CHANNEL_UPDATED", &updated);
    }

    fn leave(&mut self, net: &mut Net, user: &str) {
        self.users.local.remove(user);
        let removal = vec![("user_id", json!(user)), ("server_id", json!(self.id))];
        self.to_servers(net, "USER_REMOVE", &removal);
    }

    fn tell(&mut self, net: &mut Net, from: &str, to: &str, text: &str) {
        let (local, known) = (&self.users.local[from], &self.users.remote[to]);
        let Some(key) = &known.spki else { return net.log.push(format!("   no key of {to}")) };
        let (ciphertext, ts) = (seal(key, text.as_bytes()).unwrap(), json!(now_ms()));
        let content_sig = local.key.sign(&content(&ciphertext, from, to, &ts));
        let payload = vec![
            ("inner_type", json!("MSG_DIRECT")),
            ("user_id", json!(to)),
            ("public", json!(false)),
            ("ciphertext", json!(b64u(&ciphertext))),
            ("sender", json!(from)),
            ("sender_pub", json!(b64u(local.key.spki()))),
            ("content_sig", json!(b64u(&content_sig))),
        ];
        if let Some(link) = self.out.get(&known.server) {
            net.send(*link, self.frame(&self.id, "SERVER_DELIVER", &known.server, ts, &payload));
        }
    }

    fn is_linked(&self, server: &str) -> bool {
        self.out.contains_key(server)
    }
}
