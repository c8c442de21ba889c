//! R's server: keys are padded base64 of PEM text, signatures are padded, adverts have no keys, and a link that
//! begins with anything but an introduction is cut.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::foreign::{Foreign, Users};
use super::frame::{Dumps, Envelope, Fields, Received, now_ms, now_seconds};
use super::keys::{
    Key, Salts, b64_standard, b64u_padded, holds, pem_of, seal, spki_of_pem, un_b64_standard, un_b64u_padded,
};
use super::{Got, Known, LinkId, Net, Peer, StandIn};

/// R's server, and what it knows.
pub(crate) struct RServer {
    pub(crate) id: String,
    key: Key,
    port: u16,
    pub(crate) salts: Salts,
    links: BTreeMap<LinkId, Role>,
    /// What it dials addresses for.
    intents: BTreeMap<String, Intent>,
    pub(crate) servers: BTreeMap<String, Other>,
    users: Users,
    /// What it has relayed.
    seen: BTreeSet<String>,
    /// Messages that wait for their recipient's key: from, to, text.
    waiting: Vec<(String, String, String)>,
    /// Entries of WELCOME.clients that are no servers: it has dialled them all the same.
    pub(crate) broken_welcome: usize,
    /// Types that it knows nothing of.
    pub(crate) ignored: Vec<String>,
}

/// Another server.
#[derive(Clone)]
pub(crate) struct Other {
    host: String,
    port: u64,
    pubkey: String,
    spki: Vec<u8>,
    link: Option<LinkId>,
}

#[derive(Clone)]
enum Intent {
    /// To an introducer, whose key it has.
    Join { pubkey: String },
    /// To a server that a WELCOME listed.
    Announce { id: String },
}

enum Role {
    Fresh,
    Joining { pubkey: String, address: String },
    Server { id: String },
}

impl RServer {
    pub(crate) fn new(id: &str, key: &str, port: u16) -> Self {
        Self {
            id: id.to_owned(),
            key: Key::fixture(key),
            port,
            salts: Salts::Any,
            links: BTreeMap::new(),
            intents: BTreeMap::new(),
            servers: BTreeMap::new(),
            users: Users::default(),
            seen: BTreeSet::new(),
            waiting: Vec::new(),
            broken_welcome: 0,
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

    /// Joins by an introducer, whose key is given as it reads keys.
    pub(crate) fn join(&mut self, net: &mut Net, address: &str, spki: &[u8]) {
        self.intents.insert(address.to_owned(), Intent::Join { pubkey: key_field(spki) });
        net.dial(address);
    }

    fn signed(&self, kind: &str, to: &str, ts: Value, payload: &Fields) -> String {
        let sig = self.key.sign(Dumps::CANONICAL_ASCII.fields(payload).as_bytes());
        let frame = Envelope {
            kind,
            from: Some(&self.id),
            to: Some(to),
            ts,
            payload: Some(Dumps::DEFAULT.fields(payload)),
            sig: Some(b64u_padded(&sig)),
        };
        frame.text(Dumps::DEFAULT)
    }

    fn hello(&self) -> Fields {
        vec![("host", json!("127.0.0.1")), ("port", json!(self.port)), ("pubkey", json!(self.pubkey()))]
    }

    fn announce(&self, net: &mut Net, link: LinkId) {
        net.send(link, self.signed("SERVER_ANNOUNCE", "*", json!(now_ms()), &self.hello()));
    }

    fn to_servers(&self, net: &mut Net, kind: &str, payload: &Fields) {
        let text = self.signed(kind, "*", json!(now_seconds()), payload);
        for link in self.servers.values().filter_map(|other| other.link) {
            net.send(link, text.clone());
        }
    }

    fn check(&self, spki: &[u8], frame: &Received) -> Result<(), &'static str> {
        let sig = un_b64u_padded(frame.field("sig")).filter(|sig| !sig.is_empty());
        let sig = sig.ok_or("sig is not padded base64")?;
        let message = Dumps::CANONICAL_ASCII.value(frame.payload());
        holds(spki, self.salts, message.as_bytes(), &sig).then_some(()).ok_or("the signature does not hold")
    }

    /// A hello's sender, if its key can be read and its signature holds.
    fn introduced(&self, frame: &Received, link: LinkId) -> Result<Other, &'static str> {
        let pubkey = frame.payload_field("pubkey");
        let spki = key_of(pubkey).ok_or("the key is not padded base64 of PEM")?;
        self.check(&spki, frame)?;
        let host = frame.payload_field("host").to_owned();
        let port = frame.payload()["port"].as_u64().ok_or("no port")?;
        Ok(Other { host, port, pubkey: pubkey.to_owned(), spki, link: Some(link) })
    }

    fn on_first(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        match frame.kind() {
            kind @ ("SERVER_HELLO_JOIN" | "SERVER_ANNOUNCE") => {
                let other = match self.introduced(frame, link) {
                    Ok(other) => other,
                    Err(why) => return net.reject(frame, why),
                };
                let id = frame.from().to_owned();
                if kind == "SERVER_HELLO_JOIN" {
                    // Servers, under a name that says otherwise.
                    let entry = |(id, other): (&String, &Other)| json!({"user_id": id, "host": other.host, "port": other.port, "pubkey": other.pubkey});
                    let clients: Vec<_> =
                        self.servers.iter().filter(|(other, _)| **other != id).map(entry).collect();
                    let welcome = vec![("assigned_id", json!(id)), ("clients", json!(clients))];
                    net.send(link, self.signed("SERVER_WELCOME", &id, json!(now_ms()), &welcome));
                }
                self.servers.insert(id.clone(), other);
                self.links.insert(link, Role::Server { id });
            }
            "SERVER_DELIVER" | "USER_ADVERTISE" => {
                net.reject(frame, "the first frame is of an unknown server");
                net.close(link, 1011, "unknown server");
            }
            other => self.ignored.push(other.to_owned()),
        }
    }

    fn on_welcome(&mut self, net: &mut Net, link: LinkId, frame: &Received, pubkey: &str, address: &str) {
        if frame.kind() != "SERVER_WELCOME" {
            return self.ignored.push(frame.kind().to_owned());
        }
        let spki = key_of(pubkey).unwrap();
        if let Err(why) = self.check(&spki, frame) {
            net.reject(frame, format!("WELCOME: {why}"));
            return net.close(link, 1000, "bad welcome");
        }
        let id = frame.from().to_owned();
        let (host, port) = address.rsplit_once(':').unwrap();
        let (host, port) = (host.to_owned(), port.parse().unwrap());
        let other = Other { host, port, pubkey: pubkey.to_owned(), spki, link: Some(link) };
        self.servers.insert(id.clone(), other);
        self.links.insert(link, Role::Server { id });
        self.announce(net, link);
        for entry in frame.payload()["clients"].as_array().cloned().unwrap_or_default() {
            let (Some(id), Some(host), Some(port), Some(pubkey)) = (
                entry["user_id"].as_str(),
                entry["host"].as_str(),
                entry["port"].as_u64(),
                entry["pubkey"].as_str(),
            ) else {
                self.broken_welcome += 1;
                net.reject(frame, format!("WELCOME.clients: {entry}"));
                continue;
            };
            let at = format!("{host}:{port}");
            // A user is where its server is.
            self.broken_welcome += usize::from(at == address);
            let Some(spki) = key_of(pubkey) else {
                net.reject(frame, "WELCOME.clients: a key is not padded base64 of PEM");
                continue;
            };
            let other = Other { host: host.to_owned(), port, pubkey: pubkey.to_owned(), spki, link: None };
            self.servers.insert(id.to_owned(), other);
            self.intents.insert(at.clone(), Intent::Announce { id: id.to_owned() });
            net.dial(&at);
        }
    }

    fn on_server_frame(&mut self, net: &mut Net, link: LinkId, id: &str, frame: &Received) {
        const KNOWN: [&str; 7] = [
            "SERVER_ANNOUNCE",
            "USER_ADVERTISE",
            "USER_REMOVE",
            "SERVER_DELIVER",
            "PUB_KEY_REQUEST",
            "PUB_KEY",
            "MSG_PUBLIC_CHANNEL",
        ];
        if !KNOWN.contains(&frame.kind()) {
            return self.ignored.push(frame.kind().to_owned());
        }
        let Some(spki) = self.servers.get(frame.from()).map(|other| other.spki.clone()) else {
            if frame.kind() == "USER_ADVERTISE" {
                net.reject(frame, "an advert for an unknown server");
                return net.close(link, 1011, "unknown server");
            }
            return net.reject(frame, "its `from` is nobody whose key is known");
        };
        if let Err(why) = self.check(&spki, frame) {
            return net.reject(frame, why);
        }
        match frame.kind() {
            "SERVER_ANNOUNCE" => match self.introduced(frame, link) {
                Ok(other) => drop(self.servers.insert(frame.from().to_owned(), other)),
                Err(why) => net.reject(frame, why),
            },
            "USER_ADVERTISE" => {
                let known = Known {
                    server: frame.payload_field("server_id").to_owned(),
                    spki: None,
                    meta: frame.payload()["meta"].clone(),
                };
                self.users.remote.insert(frame.payload_field("user_id").to_owned(), known);
                self.relay(net, frame);
            }
            "USER_REMOVE" => {
                self.users.remote.remove(frame.payload_field("user_id"));
                self.relay(net, frame);
            }
            "PUB_KEY_REQUEST" => {
                let user = frame.payload_field("recipient_uuid");
                let Some(local) = self.users.local.get(user) else { return };
                let answer = vec![
                    ("recipient_pub", json!(key_field(local.key.spki()))),
                    ("recipient_uuid", json!(user)),
                ];
                net.send(link, self.signed("PUB_KEY", id, json!(now_seconds()), &answer));
            }
            "PUB_KEY" => {
                let user = frame.payload_field("recipient_uuid");
                let Some(spki) = key_of(frame.payload_field("recipient_pub")) else {
                    return net.reject(frame, "PUB_KEY: not padded base64 of PEM");
                };
                if let Some(known) = self.users.remote.get_mut(user) {
                    known.spki = Some(spki);
                }
                let waiting = std::mem::take(&mut self.waiting);
                for (from, to, text) in waiting {
                    match to == user {
                        true => self.deliver(net, &from, &to, &text),
                        false => self.waiting.push((from, to, text)),
                    }
                }
            }
            "SERVER_DELIVER" => self.on_deliver(net, frame),
            _ => {}
        }
    }

    /// Once, as it stands, to all but its origin, even to who sent it.
    fn relay(&mut self, net: &mut Net, frame: &Received) {
        if !self.seen.insert(frame.text.clone()) {
            return;
        }
        for (_, other) in self.servers.iter().filter(|(id, _)| *id != frame.from()) {
            if let Some(link) = other.link {
                net.send(link, frame.text.clone());
            }
        }
    }

    fn on_deliver(&mut self, net: &mut Net, frame: &Received) {
        let [user, sender, text, sender_pub, content_sig] =
            ["user_id", "sender", "ciphertext", "sender_pub", "content_sig"]
                .map(|name| frame.payload_field(name));
        let Some(local) = self.users.local.get_mut(user) else {
            return net.reject(frame, format!("{user:?} is not here"));
        };
        let Some(ciphertext) = un_b64_standard(text) else {
            return net.reject(frame, "the ciphertext is not padded standard base64");
        };
        let Some(plaintext) = local.key.open(&ciphertext).and_then(|text| String::from_utf8(text).ok())
        else {
            return net.reject(frame, "cannot be decrypted");
        };
        // The envelope's time goes on to the user.
        let ts = frame.ts().as_f64().unwrap_or_default();
        let signed = format!("{text}|{sender}|{user}|{ts:.6}");
        let verified = match (key_of(sender_pub), un_b64u_padded(content_sig)) {
            (Some(key), Some(sig)) => holds(&key, self.salts, signed.as_bytes(), &sig),
            _ => return net.reject(frame, "sender_pub or content_sig is not in its form"),
        };
        local.got.push(Got { public: false, sender: sender.to_owned(), text: plaintext, verified });
    }

    fn deliver(&self, net: &mut Net, from: &str, to: &str, text: &str) {
        let (local, known) = (&self.users.local[from], &self.users.remote[to]);
        let ciphertext = b64_standard(&seal(known.spki.as_ref().unwrap(), text.as_bytes()).unwrap());
        let ts = now_ms();
        let content_sig = local.key.sign(format!("{ciphertext}|{from}|{to}|{ts}.000000").as_bytes());
        let payload = vec![
            ("ciphertext", json!(ciphertext)),
            ("sender_pub", json!(key_field(local.key.spki()))),
            ("content_sig", json!(b64u_padded(&content_sig))),
            ("sender", json!(from)),
            ("user_id", json!(to)),
            ("original_ts", json!(ts)),
        ];
        if let Some(link) = self.servers.get(&known.server).and_then(|other| other.link) {
            net.send(link, self.signed("SERVER_DELIVER", &known.server, json!(ts), &payload));
        }
    }
}

/// A key as R writes it.
fn key_field(spki: &[u8]) -> String {
    b64u_padded(pem_of(spki).as_bytes())
}

/// A key as R reads it.
fn key_of(field: &str) -> Option<Vec<u8>> {
    spki_of_pem(&un_b64u_padded(field)?)
}

impl Peer for RServer {
    fn opened(&mut self, net: &mut Net, link: LinkId, dialled: Option<&str>) {
        let intent = dialled.and_then(|address| Some((address, self.intents.remove(address)?)));
        let role = match intent {
            Some((address, Intent::Join { pubkey })) => {
                net.send(link, self.signed("SERVER_HELLO_JOIN", address, json!(now_ms()), &self.hello()));
                Role::Joining { pubkey, address: address.to_owned() }
            }
            Some((_, Intent::Announce { id })) => {
                if let Some(other) = self.servers.get_mut(&id) {
                    other.link = Some(link);
                }
                self.announce(net, link);
                Role::Server { id }
            }
            None => Role::Fresh,
        };
        self.links.insert(link, role);
    }

    fn heard(&mut self, net: &mut Net, link: LinkId, frame: Received) {
        match self.links.get(&link) {
            Some(Role::Fresh) => self.on_first(net, link, &frame),
            Some(Role::Joining { pubkey, address }) => {
                let (pubkey, address) = (pubkey.clone(), address.clone());
                self.on_welcome(net, link, &frame, &pubkey, &address);
            }
            Some(Role::Server { id }) => {
                let id = id.clone();
                self.on_server_frame(net, link, &id, &frame);
            }
            None => {}
        }
    }

    fn closed(&mut self, _: &mut Net, link: LinkId) {
        self.links.remove(&link);
        for other in self.servers.values_mut().filter(|other| other.link == Some(link)) {
            other.link = None;
        }
    }
}

impl Foreign for RServer {
    fn users(&mut self) -> &mut Users {
        &mut self.users
    }

    fn arrive(&mut self, net: &mut Net, user: &str, name: &str) {
        self.users.add(user, name);
        let advert = vec![("user_id", json!(user)), ("server_id", json!(self.id)), ("meta", json!({}))];
        self.to_servers(net, "USER_ADVERTISE", &advert);
    }

    fn leave(&mut self, net: &mut Net, user: &str) {
        self.users.local.remove(user);
        let removal = vec![("user_id", json!(user)), ("server_id", json!(self.id))];
        self.to_servers(net, "USER_REMOVE", &removal);
    }

    /// Asks for the key every time, and writes when it comes.
    fn tell(&mut self, net: &mut Net, from: &str, to: &str, text: &str) {
        let server = self.users.remote[to].server.clone();
        self.waiting.push((from.to_owned(), to.to_owned(), text.to_owned()));
        let request = vec![("recipient_uuid", json!(to))];
        if let Some(link) = self.servers.get(&server).and_then(|other| other.link) {
            net.send(link, self.signed("PUB_KEY_REQUEST", &server, json!(now_seconds()), &request));
        }
    }

    fn is_linked(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|other| other.link.is_some())
    }
}
