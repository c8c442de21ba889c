//! The seed's server, as its recorded sessions show it: the first frame decides who somebody is, a link is
//! its peer's alone, nothing is dialled twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::frame::{Dumps, Envelope, Fields, Received, now_ms};
use super::keys::{Key, Salts, b64u, holds, un_b64u};
use super::{Known, LinkId, Net, Peer, StandIn};

/// How long a dialled server may take to send SERVER_WELCOME.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);

/// The seed's server, and what it knows.
pub(crate) struct SeedServer {
    pub(crate) id: String,
    key: Key,
    port: u16,
    /// Addresses that it joins once, at its start.
    bootstrap: Vec<String>,
    started: bool,
    /// Which signatures its library takes.
    pub(crate) salts: Salts,
    /// A link as silent as that is closed; never dialled again.
    pub(crate) silence: Duration,
    pub(crate) heartbeat: Duration,
    next_heartbeat: Instant,
    /// Whether it takes the users of a WELCOME. The published one does not: users already online are unknown to
    /// a late server.
    pub(crate) takes_welcomed_clients: bool,
    roles: BTreeMap<LinkId, Role>,
    /// Other servers, with the link that is written to.
    pub(crate) servers: BTreeMap<String, Other>,
    accounts: BTreeMap<String, Account>,
    /// Users logged in here.
    pub(crate) local: BTreeMap<String, LinkId>,
    /// Users elsewhere. Those of a dead server stay for ever.
    pub(crate) remote: BTreeMap<String, Known>,
    members: Vec<String>,
    version: u64,
    /// Frames whose `from` was not the link's peer, dropped in silence: type and `from`.
    pub(crate) foreign: Vec<(String, String)>,
    /// Types from servers that it knows nothing of.
    pub(crate) ignored: Vec<String>,
}

/// Another server.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) host: String,
    pub(crate) port: u64,
    pub(crate) pubkey: String,
    pub(crate) link: Option<LinkId>,
}

struct Account {
    pubkey: String,
    privkey_store: String,
    pake_password: String,
}

enum Role {
    /// Accepted, and nothing said yet.
    Fresh,
    /// Dialled; SERVER_WELCOME has to come first.
    Joining {
        since: Instant,
    },
    Server {
        id: String,
        heard: Instant,
    },
    User {
        name: Option<String>,
        hello_key: Option<String>,
    },
}

impl SeedServer {
    pub(crate) fn new(id: &str, key: &str, port: u16, bootstrap: &[String]) -> Self {
        let heartbeat = Duration::from_secs(15);
        Self {
            id: id.to_owned(),
            key: Key::fixture(key),
            port,
            bootstrap: bootstrap.to_vec(),
            started: false,
            salts: Salts::Any,
            silence: Duration::from_secs(45),
            heartbeat,
            next_heartbeat: Instant::now() + heartbeat,
            takes_welcomed_clients: false,
            roles: BTreeMap::new(),
            servers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
            members: Vec::new(),
            version: 1,
            foreign: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// Starts it; it joins the bootstrap addresses.
    pub(crate) fn start(self) -> StandIn<Self> {
        StandIn::listen(self.port, self)
    }

    /// Its key as others write it down.
    pub(crate) fn pubkey(&self) -> String {
        b64u(self.key.spki())
    }

    /// What a user left here under the password.
    pub(crate) fn store_of(&self, user: &str) -> String {
        self.accounts[user].privkey_store.clone()
    }

    /// Whether it has a link to write to.
    pub(crate) fn is_linked(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|other| other.link.is_some())
    }

    fn signed(&self, kind: &str, to: &str, payload: &Fields) -> String {
        let canonical = Dumps::CANONICAL_RAW.fields(payload);
        let frame = Envelope {
            kind,
            from: Some(&self.id),
            to: Some(to),
            ts: json!(now_ms()),
            payload: Some(Dumps::DEFAULT.fields(payload)),
            sig: Some(b64u(&self.key.sign(canonical.as_bytes()))),
        };
        frame.text(Dumps::DEFAULT)
    }

    fn send(&self, net: &mut Net, link: LinkId, kind: &str, to: &str, payload: &Fields) {
        net.send(link, self.signed(kind, to, payload));
    }

    fn error(&self, net: &mut Net, link: LinkId, to: &str, code: &str, detail: &str) {
        self.send(net, link, "ERROR", to, &vec![("code", json!(code)), ("detail", json!(detail))]);
    }

    fn server_links(&self) -> Vec<LinkId> {
        self.servers.values().filter_map(|other| other.link).collect()
    }

    fn to_servers(&self, net: &mut Net, kind: &str, payload: &Fields) {
        let text = self.signed(kind, "*", payload);
        for link in self.server_links() {
            net.send(link, text.clone());
        }
    }

    fn to_local(&self, net: &mut Net, kind: &str, payload: &Fields) {
        let text = self.signed(kind, "", payload);
        for link in self.local.values() {
            net.send(*link, text.clone());
        }
    }

    fn hello(&self) -> Fields {
        vec![("host", json!("127.0.0.1")), ("port", json!(self.port)), ("pubkey", json!(self.pubkey()))]
    }

    fn is_signed_by(&self, pubkey: &str, frame: &Received) -> Result<(), &'static str> {
        let key = un_b64u(pubkey).ok_or("pubkey is no base64")?;
        let sig = Some(frame.field("sig")).filter(|sig| !sig.is_empty()).ok_or("not signed")?;
        let sig = un_b64u(sig).ok_or("sig is no base64")?;
        let message = Dumps::CANONICAL_RAW.value(frame.payload());
        holds(&key, self.salts, message.as_bytes(), &sig).then_some(()).ok_or("the signature does not hold")
    }

    fn on_join(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        let pubkey = frame.payload_field("pubkey");
        if let Err(why) = self.is_signed_by(pubkey, frame) {
            net.reject(frame, format!("JOIN: {why}"));
            return net.close(link, 1000, "bad join");
        }
        let id = frame.from().to_owned();
        self.register(&id, frame.payload(), pubkey, link);
        let entry = |id: &str, host: &str, port: u64, pubkey: &str| json!({"server_id": id, "host": host, "port": port, "pubkey": pubkey});
        let own = entry(&self.id, "127.0.0.1", self.port.into(), &self.pubkey());
        let others = self.servers.iter().map(|(id, other)| entry(id, &other.host, other.port, &other.pubkey));
        let servers: Vec<_> = std::iter::once(own.clone()).chain(others).collect();
        let online = self.local.keys().filter_map(|user| Some((user, self.accounts.get(user)?)));
        let clients: Vec<_> = online
            .map(|(user, account)| {
                json!({"user_id": user, "host": "127.0.0.1", "port": self.port, "pubkey": account.pubkey})
            })
            .collect();
        let welcome = vec![
            ("assigned_id", json!(id)),
            ("servers", json!(servers)),
            ("clients", json!(clients)),
            ("introducer", own),
        ];
        self.send(net, link, "SERVER_WELCOME", &id, &welcome);
        self.send(net, link, "SERVER_ANNOUNCE", "*", &self.hello());
    }

    fn register(&mut self, id: &str, hello: &Value, pubkey: &str, link: LinkId) {
        let host = hello["host"].as_str().unwrap_or_default().to_owned();
        let port = hello["port"].as_u64().unwrap_or_default();
        let other = Other { host, port, pubkey: pubkey.to_owned(), link: Some(link) };
        self.servers.insert(id.to_owned(), other);
        self.roles.insert(link, Role::Server { id: id.to_owned(), heard: Instant::now() });
    }

    fn on_welcome(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        if frame.kind() != "SERVER_WELCOME" {
            net.reject(frame, "the first frame back is no SERVER_WELCOME");
            return net.close(link, 1000, "no welcome");
        }
        let introducer = &frame.payload()["introducer"];
        let Some(pubkey) = introducer["pubkey"].as_str() else {
            net.reject(frame, "WELCOME without introducer.pubkey");
            return net.close(link, 1000, "no introducer");
        };
        if let Err(why) = self.is_signed_by(pubkey, frame) {
            net.reject(frame, format!("WELCOME: {why}"));
            return net.close(link, 1000, "bad welcome");
        }
        let id = frame.from().to_owned();
        self.register(&id, introducer, pubkey, link);
        self.send(net, link, "SERVER_HELLO_LINK", &id, &self.hello());
        self.to_servers(net, "SERVER_ANNOUNCE", &self.hello());
        if !self.takes_welcomed_clients {
            return;
        }
        for client in frame.payload()["clients"].as_array().cloned().unwrap_or_default() {
            let (Some(user), Some(pubkey)) = (client["user_id"].as_str(), client["pubkey"].as_str()) else {
                net.reject(frame, format!("WELCOME.clients: {client}"));
                continue;
            };
            let known = Known { server: id.clone(), spki: un_b64u(pubkey), meta: Value::Null };
            self.remote.insert(user.to_owned(), known);
        }
    }

    fn on_server_frame(&mut self, net: &mut Net, link: LinkId, id: &str, frame: &Received) {
        if frame.from() != id {
            net.log.push("   dropped: foreign from".into());
            return self.foreign.push((frame.kind().to_owned(), frame.from().to_owned()));
        }
        let pubkey = self.servers.get(id).map(|other| other.pubkey.clone()).unwrap_or_default();
        if let Err(why) = self.is_signed_by(&pubkey, frame) {
            return net.reject(frame, why);
        }
        let payload = frame.payload().clone();
        match frame.kind() {
            "SERVER_HELLO_LINK" | "SERVER_ANNOUNCE" | "HEARTBEAT" => {}
            "USER_ADVERTISE" => {
                let (user, server) = (frame.payload_field("user_id"), frame.payload_field("server_id"));
                let known = Known {
                    server: server.to_owned(),
                    spki: payload["pubkey"].as_str().and_then(un_b64u),
                    meta: payload["meta"].clone(),
                };
                match &known.spki {
                    Some(key) => {
                        let added = added(user, &b64u(key));
                        self.to_local(net, "USER_ADDED", &added);
                    }
                    None => net.reject(frame, "no payload.pubkey: its clients are never told"),
                }
                self.remote.insert(user.to_owned(), known);
                self.relay(net, link, frame);
            }
            "USER_REMOVE" => {
                let user = frame.payload_field("user_id");
                if self.remote.get(user).is_some_and(|known| known.server == frame.payload_field("server_id"))
                {
                    self.remote.remove(user);
                    self.to_local(net, "USER_REMOVED", &vec![("user_id", json!(user))]);
                }
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
            "SERVER_DELIVER" => self.deliver(net, frame, "USER_DELIVER", "user_id", &MESSAGE),
            "MSG_PUBLIC_CHANNEL" => self.deliver(net, frame, "MSG_PUBLIC_CHANNEL", "user_id", &MESSAGE),
            "FILE_START" => self.deliver(net, frame, "FILE_START_DELIVER", "to", &FILE_START),
            "FILE_CHUNK" => self.deliver(net, frame, "FILE_CHUNK_DELIVER", "to", &FILE_CHUNK),
            "FILE_END" => self.deliver(net, frame, "FILE_END_DELIVER", "to", &FILE_END),
            "ERROR" => net.log.push(format!("   error from {id}")),
            other => self.ignored.push(other.to_owned()),
        }
    }

    fn add_member(&mut self, member: &str) {
        if !self.members.iter().any(|known| known == member) {
            self.members.push(member.to_owned());
        }
    }

    /// As it stands, to every other server; those drop it.
    fn relay(&self, net: &mut Net, from: LinkId, frame: &Received) {
        for link in self.server_links().into_iter().filter(|link| *link != from) {
            net.send(link, frame.text.clone());
        }
    }

    /// To a user here, whom one field of the payload names.
    fn deliver(&self, net: &mut Net, frame: &Received, kind: &str, whom: &str, fields: &[&'static str]) {
        let user = frame.payload_field(whom);
        let Some(link) = self.local.get(user) else {
            return net.reject(frame, format!("{user:?}, in payload.{whom}, is not here"));
        };
        let missing: Vec<_> = fields.iter().filter(|name| frame.payload()[**name].is_null()).collect();
        if !missing.is_empty() {
            net.reject(frame, format!("payload lacks {missing:?}"));
        }
        self.send(net, *link, kind, user, &picked(frame.payload(), fields));
    }

    fn on_user_frame(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        let Some(Role::User { name, hello_key }) = self.roles.get_mut(&link) else { return };
        let payload = frame.payload().clone();
        let name = name.clone();
        match (frame.kind(), &name) {
            ("USER_REGISTER", _) => self.on_register(net, link, frame),
            ("USER_HELLO", _) => {
                *hello_key = payload["pubkey"].as_str().map(Into::into);
                self.send(net, link, "USER_HELLO_ACK", frame.from(), &vec![("status", json!("ok"))]);
            }
            ("USER_LOGIN", _) => {
                let hello_key = hello_key.clone();
                self.on_login(net, link, frame, hello_key);
            }
            ("LIST_REQUEST", Some(name)) => {
                let entry = |user: &String, pubkey: String, local: bool| json!({"user_id": user, "pubkey": pubkey, "online_local": local});
                let mut users: Vec<_> = Vec::new();
                for user in self.local.keys() {
                    users.push(entry(user, self.accounts[user].pubkey.clone(), true));
                }
                for (user, known) in &self.remote {
                    users.extend(known.spki.as_ref().map(|key| entry(user, b64u(key), false)));
                }
                self.send(net, link, "LIST_RESPONSE", name, &vec![("users", json!(users))]);
            }
            ("MSG_DIRECT", Some(name)) => {
                let to = frame.payload_field("to").to_owned();
                // It believes whatever sender is named.
                let mut message = picked(&payload, &MESSAGE[..4]);
                message.push(("ts", frame.ts().clone()));
                self.route(net, link, name, &to, ("USER_DELIVER", "SERVER_DELIVER"), &message);
            }
            ("MSG_PUBLIC_CHANNEL", Some(name)) => {
                let mut message = vec![
                    ("ciphertext", payload["ciphertext"].clone()),
                    ("sender", json!(name)),
                    ("sender_pub", payload["sender_pub"].clone()),
                    ("content_sig", payload["content_sig"].clone()),
                ];
                message.push(("ts", frame.ts().clone()));
                let kinds = ("MSG_PUBLIC_CHANNEL", "MSG_PUBLIC_CHANNEL");
                let to = match frame.to() {
                    "public" | "*" => {
                        let everybody = self.local.keys().chain(self.remote.keys());
                        everybody.filter(|user| *user != name).cloned().collect()
                    }
                    one => vec![one.to_owned()],
                };
                for to in to {
                    self.route(net, link, name, &to, kinds, &message);
                }
            }
            (kind @ ("FILE_START" | "FILE_CHUNK" | "FILE_END"), Some(name)) => {
                let fields = match kind {
                    "FILE_START" => &FILE_START[..],
                    "FILE_CHUNK" => &FILE_CHUNK,
                    _ => &FILE_END,
                };
                let kinds = (&*format!("{kind}_DELIVER"), kind);
                self.route(net, link, name, frame.payload_field("to"), kinds, &picked(&payload, fields));
            }
            (kind, _) => {
                let reason = match kind.starts_with("SERVER_") {
                    true => "the first frame was no JOIN: taken for a user".to_owned(),
                    false => format!("{kind} from a user"),
                };
                net.reject(frame, reason);
            }
        }
    }

    fn route(
        &self,
        net: &mut Net,
        link: LinkId,
        name: &str,
        to: &str,
        (here, there): (&str, &str),
        payload: &Fields,
    ) {
        if let Some(link) = self.local.get(to) {
            return self.send(net, *link, here, to, payload);
        }
        let server = self.remote.get(to).map(|known| known.server.clone());
        let hop = server.as_ref().and_then(|server| self.servers.get(server)?.link);
        let (Some(server), Some(hop)) = (server, hop) else {
            return self.error(net, link, name, "USER_NOT_FOUND", to);
        };
        let mut payload = payload.clone();
        if !there.starts_with("FILE_") {
            payload.insert(0, ("user_id", json!(to)));
        }
        self.send(net, hop, there, &server, &payload);
    }

    fn on_register(&mut self, net: &mut Net, link: LinkId, frame: &Received) {
        let user = frame.payload_field("user_id").to_owned();
        if self.accounts.contains_key(&user) {
            return self.error(net, link, &user, "NAME_IN_USE", "user already exists");
        }
        let account = Account {
            pubkey: frame.payload_field("pubkey").to_owned(),
            privkey_store: frame.payload_field("privkey_store").to_owned(),
            pake_password: frame.payload_field("pake_password").to_owned(),
        };
        if un_b64u(&account.pubkey).is_none_or(|key| key.len() != 550) {
            return self.error(net, link, &user, "BAD_KEY", "pubkey invalid");
        }
        self.accounts.insert(user.clone(), account);
        self.send(net, link, "USER_REGISTERED", &user, &vec![("user_id", json!(user))]);
    }

    fn on_login(&mut self, net: &mut Net, link: LinkId, frame: &Received, hello_key: Option<String>) {
        let user = frame.payload_field("user_id").to_owned();
        let Some(account) = self.accounts.get(&user) else {
            return self.error(net, link, &user, "USER_NOT_FOUND", "no such user");
        };
        if !super::seed_client::is_password(&account.pake_password, frame.payload_field("password")) {
            return self.error(net, link, &user, "BAD_KEY", "password invalid");
        }
        if hello_key.is_some_and(|key| key != account.pubkey) {
            return self.error(net, link, &user, "BAD_KEY", "HELLO pubkey mismatch");
        }
        let (pubkey, store) = (account.pubkey.clone(), account.privkey_store.clone());
        // Whoever was logged in before hears nothing of it, and nothing ever again.
        self.local.insert(user.clone(), link);
        self.roles.insert(link, Role::User { name: Some(user.clone()), hello_key: None });
        self.add_member(&user);
        self.version += 1;
        let logged_in = vec![("user_id", json!(user)), ("privkey_store", json!(store))];
        self.send(net, link, "USER_LOGGED_IN", &user, &logged_in);
        for (user, known) in &self.remote {
            if let Some(key) = &known.spki {
                self.send(net, link, "USER_ADDED", "", &added(user, &b64u(key)));
            }
        }
        let snapshot = vec![("version", json!(self.version)), ("members", json!(self.members))];
        self.send(net, link, "PUBLIC_CHANNEL_SNAPSHOT", &user, &snapshot);
        let add = vec![("add", json!([user])), ("if_version", json!(self.version - 1))];
        self.to_servers(net, "PUBLIC_CHANNEL_ADD", &add);
        let updated = vec![("version", json!(self.version)), ("wraps", json!([]))];
        self.to_servers(net, "PUBLIC_CHANNEL_UPDATED", &updated);
        let advert = vec![
            ("user_id", json!(user)),
            ("server_id", json!(self.id)),
            ("pubkey", json!(pubkey)),
            ("meta", json!({})),
        ];
        self.to_servers(net, "USER_ADVERTISE", &advert);
    }
}

const MESSAGE: [&str; 5] = ["ciphertext", "sender", "sender_pub", "content_sig", "ts"];
const FILE_START: [&str; 6] = ["file_id", "name", "size", "sha256", "mode", "to"];
const FILE_CHUNK: [&str; 4] = ["file_id", "index", "ciphertext", "to"];
const FILE_END: [&str; 2] = ["file_id", "to"];

fn picked(payload: &Value, names: &[&'static str]) -> Fields {
    names.iter().map(|name| (*name, payload[*name].clone())).collect()
}

fn added(user: &str, pubkey: &str) -> Fields {
    vec![("user_id", json!(user)), ("pubkey", json!(pubkey)), ("online_local", json!(false))]
}

impl Peer for SeedServer {
    fn opened(&mut self, net: &mut Net, link: LinkId, dialled: Option<&str>) {
        let role = match dialled {
            None => Role::Fresh,
            Some(address) => {
                self.send(net, link, "SERVER_HELLO_JOIN", &format!("ws://{address}"), &self.hello());
                Role::Joining { since: Instant::now() }
            }
        };
        self.roles.insert(link, role);
    }

    fn heard(&mut self, net: &mut Net, link: LinkId, frame: Received) {
        match self.roles.get_mut(&link) {
            Some(Role::Fresh) if frame.kind() == "SERVER_HELLO_JOIN" => self.on_join(net, link, &frame),
            Some(Role::Fresh) => {
                self.roles.insert(link, Role::User { name: None, hello_key: None });
                self.on_user_frame(net, link, &frame);
            }
            Some(Role::Joining { .. }) => self.on_welcome(net, link, &frame),
            Some(Role::Server { id, heard }) => {
                *heard = Instant::now();
                let id = id.clone();
                self.on_server_frame(net, link, &id, &frame);
            }
            Some(Role::User { .. }) => self.on_user_frame(net, link, &frame),
            None => {}
        }
    }

    fn closed(&mut self, net: &mut Net, link: LinkId) {
        match self.roles.remove(&link) {
            Some(Role::Server { id, .. }) => {
                // Whichever of several links it was: it writes to none of them any more.
                if let Some(other) = self.servers.get_mut(&id) {
                    other.link = None;
                }
            }
            Some(Role::User { name: Some(name), .. }) if self.local.get(&name) == Some(&link) => {
                self.local.remove(&name);
                let removal = vec![("user_id", json!(name)), ("server_id", json!(self.id))];
                self.to_servers(net, "USER_REMOVE", &removal);
            }
            Some(Role::Fresh | Role::Joining { .. } | Role::User { .. }) | None => {}
        }
    }

    fn tick(&mut self, net: &mut Net) {
        if !std::mem::replace(&mut self.started, true) {
            for address in &self.bootstrap {
                net.dial(address);
            }
        }
        let now = Instant::now();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.heartbeat;
            for (id, other) in &self.servers {
                if let Some(link) = other.link {
                    self.send(net, link, "HEARTBEAT", id, &Fields::new());
                }
            }
        }
        for (link, role) in &self.roles {
            match role {
                Role::Server { heard, .. } if now - *heard > self.silence => {
                    net.close(*link, 1000, "silent");
                }
                Role::Joining { since } if now - *since > WELCOME_PATIENCE => {
                    net.close(*link, 1000, "no welcome");
                }
                Role::Fresh | Role::Joining { .. } | Role::Server { .. } | Role::User { .. } => {}
            }
        }
    }
}
