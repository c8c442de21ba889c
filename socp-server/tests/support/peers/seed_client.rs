//! The seed's client, as its recorded sessions show it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};

use super::frame::{Dumps, Envelope, Fields, Received, now_ms};
use super::keys::{Key, Salts, b64u, hex, holds, seal, sha256, un_b64u};
use super::{Got, LinkId, Net, Peer, StandIn};

/// What it cuts files into; one OAEP block holds 446, so that longer files fail after FILE_START.
const BLOCK_BYTES: usize = 32 * 1024;

/// The seed's client, and what its user sees.
pub(crate) struct SeedClient {
    pub(crate) id: String,
    password: String,
    key: Key,
    link: Option<LinkId>,
    /// Whether it has logged in, with a key store that opens.
    pub(crate) logged_in: bool,
    pub(crate) closed: bool,
    /// Everybody it has keys of: from USER_ADDED and LIST_RESPONSE.
    pub(crate) pubkeys: BTreeMap<String, Vec<u8>>,
    /// `online_local` of the last USER_ADDED about a user.
    pub(crate) told: BTreeMap<String, bool>,
    /// How often USER_ADDED came about a user.
    pub(crate) added: BTreeMap<String, usize>,
    pub(crate) removed: BTreeSet<String>,
    pub(crate) members: Vec<String>,
    /// The last LIST_RESPONSE: `users` of the top level, which alone the published client reads; else those of
    /// the payload, and whether it was so.
    pub(crate) listed: Option<(Vec<Value>, bool)>,
    pub(crate) got: Vec<Got>,
    files: BTreeMap<String, Incoming>,
    /// Whole files whose hash was right: name and bytes.
    pub(crate) received: Vec<(String, Vec<u8>)>,
    /// Codes and details of ERRORs.
    pub(crate) errors: Vec<(String, String)>,
    /// Types it knows nothing of.
    pub(crate) ignored: Vec<String>,
    pub(crate) replies: BTreeSet<String>,
}

struct Incoming {
    start: Value,
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl SeedClient {
    /// Connects the client of a user with a fixture's key.
    pub(crate) fn connect(id: &str, key: &str, address: impl ToString) -> StandIn<Self> {
        let client = Self {
            id: id.to_owned(),
            password: format!("pässwörd of {id}"),
            key: Key::fixture(key),
            link: None,
            logged_in: false,
            closed: false,
            pubkeys: BTreeMap::new(),
            told: BTreeMap::new(),
            added: BTreeMap::new(),
            removed: BTreeSet::new(),
            members: Vec::new(),
            listed: None,
            got: Vec::new(),
            files: BTreeMap::new(),
            received: Vec::new(),
            errors: Vec::new(),
            ignored: Vec::new(),
            replies: BTreeSet::new(),
        };
        let client = StandIn::start(None, client);
        client.act(|_, net| net.dial(&address.to_string()));
        client.wait("a connection", |client, _| client.link);
        client
    }

    /// The same, registered and logged in.
    pub(crate) fn log_in(id: &str, key: &str, address: impl ToString) -> StandIn<Self> {
        let client = Self::connect(id, key, address);
        client.register();
        client.hello();
        client.login();
        client
    }

    fn say(&self, net: &mut Net, kind: &str, from: Option<&str>, to: Option<&str>, payload: Option<&Fields>) {
        self.say_at(net, now_ms(), kind, from, to, payload);
    }

    fn say_at(
        &self,
        net: &mut Net,
        ts: u64,
        kind: &str,
        from: Option<&str>,
        to: Option<&str>,
        payload: Option<&Fields>,
    ) {
        let payload = payload.map(|payload| Dumps::DEFAULT.fields(payload));
        let frame = Envelope { kind, from, to, ts: json!(ts), payload, sig: None };
        net.send(self.link.unwrap(), frame.text(Dumps::DEFAULT));
    }

    /// `content_sig` over the raw ciphertext ‖ from ‖ \[to ‖\] ts.
    fn content(&self, ciphertext: &[u8], to: Option<&str>, ts: u64) -> String {
        let tail = format!("{}{}{ts}", self.id, to.unwrap_or_default());
        b64u(&self.key.sign(&[ciphertext, tail.as_bytes()].concat()))
    }

    fn on_message(&mut self, net: &mut Net, frame: &Received, public: bool) {
        let payload = frame.payload();
        let bytes = |name: &str| payload[name].as_str().and_then(un_b64u);
        let (Some(ciphertext), Some(sender), Some(ts)) =
            (bytes("ciphertext"), payload["sender"].as_str(), payload["ts"].as_u64())
        else {
            return net.reject(frame, "a message without ciphertext, sender or integer ts in the payload");
        };
        let Some(text) = self.key.open(&ciphertext).and_then(|text| String::from_utf8(text).ok()) else {
            return net.reject(frame, "cannot be decrypted");
        };
        let to = if public { "" } else { &self.id };
        let signed = [&ciphertext[..], format!("{sender}{to}{ts}").as_bytes()].concat();
        let verified = match (bytes("sender_pub"), bytes("content_sig")) {
            (Some(key), Some(sig)) => holds(&key, Salts::Any, &signed, &sig),
            _ => false,
        };
        self.got.push(Got { public, sender: sender.to_owned(), text, verified });
    }

    fn on_file_end(&mut self, net: &mut Net, frame: &Received) {
        let Some(file) = self.files.remove(frame.payload_field("file_id")) else {
            return net.reject(frame, "the end of no file");
        };
        let bytes: Vec<_> = file.chunks.into_values().flatten().collect();
        if file.start["sha256"] != *hex(&sha256(&bytes)) || file.start["size"] != bytes.len() {
            return net.reject(frame, format!("{} bytes are not the file {}", bytes.len(), file.start));
        }
        let name = file.start["name"].as_str().unwrap_or_default().to_owned();
        self.received.push((name, bytes));
    }
}

impl Peer for SeedClient {
    fn opened(&mut self, _: &mut Net, link: LinkId, _: Option<&str>) {
        self.link = Some(link);
    }

    fn heard(&mut self, net: &mut Net, _: LinkId, frame: Received) {
        let payload = frame.payload().clone();
        let user = frame.payload_field("user_id").to_owned();
        self.replies.insert(frame.kind().to_owned());
        match frame.kind() {
            "USER_REGISTERED" | "USER_HELLO_ACK" => {}
            "USER_LOGGED_IN" => match opened_store(&self.password, frame.payload_field("privkey_store")) {
                Some(pem) if pem == self.key.pem() => self.logged_in = true,
                _ => net.reject(&frame, "privkey_store does not open"),
            },
            "PUBLIC_CHANNEL_SNAPSHOT" => {
                let members = payload["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
                self.members = members.map(Into::into).collect();
            }
            "USER_ADDED" => {
                let (Some(key), Some(local)) =
                    (un_b64u(frame.payload_field("pubkey")), payload["online_local"].as_bool())
                else {
                    return net.reject(&frame, "USER_ADDED without pubkey or online_local");
                };
                self.pubkeys.insert(user.clone(), key);
                self.told.insert(user.clone(), local);
                *self.added.entry(user.clone()).or_default() += 1;
                self.removed.remove(&user);
            }
            "USER_REMOVED" => {
                self.pubkeys.remove(&user);
                self.removed.insert(user);
            }
            "LIST_RESPONSE" => {
                let (users, at_top) = match frame.frame.get("users").and_then(Value::as_array) {
                    Some(users) => (users.clone(), true),
                    None => (payload["users"].as_array().cloned().unwrap_or_default(), false),
                };
                for user in &users {
                    if let (Some(id), Some(key)) = (user["user_id"].as_str(), user["pubkey"].as_str()) {
                        self.pubkeys.insert(id.to_owned(), un_b64u(key).unwrap_or_default());
                    }
                }
                self.listed = Some((users, at_top));
            }
            "USER_DELIVER" => self.on_message(net, &frame, false),
            "MSG_PUBLIC_CHANNEL" => self.on_message(net, &frame, true),
            "FILE_START_DELIVER" => {
                let id = frame.payload_field("file_id").to_owned();
                self.files.insert(id, Incoming { start: payload, chunks: BTreeMap::new() });
            }
            "FILE_CHUNK_DELIVER" => {
                let Some(file) = self.files.get_mut(frame.payload_field("file_id")) else {
                    return net.reject(&frame, "a chunk of no file");
                };
                let block =
                    un_b64u(frame.payload_field("ciphertext")).and_then(|block| self.key.open(&block));
                match (payload["index"].as_u64(), block) {
                    (Some(index), Some(block)) => drop(file.chunks.insert(index, block)),
                    _ => net.reject(&frame, "a chunk that cannot be read"),
                }
            }
            "FILE_END_DELIVER" => self.on_file_end(net, &frame),
            "ERROR" => {
                let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
                self.errors.push((text("code"), text("detail")));
            }
            other => self.ignored.push(other.to_owned()),
        }
    }

    fn closed(&mut self, _: &mut Net, _: LinkId) {
        self.closed = true;
    }
}

/// What its user types, and what the test waits for.
impl StandIn<SeedClient> {
    /// `register`; waits for the answer.
    pub(crate) fn register(&self) {
        self.act(|client, net| {
            let registration = vec![
                ("user_id", json!(client.id)),
                ("pubkey", json!(b64u(client.key.spki()))),
                ("privkey_store", json!(sealed_store(&client.password, client.key.pem()))),
                ("pake_password", json!(verifier_of(&client.password))),
            ];
            client.say(net, "USER_REGISTER", None, None, Some(&registration));
        });
        self.wait("USER_REGISTERED", |client, _| client.replies.contains("USER_REGISTERED").then_some(()));
    }

    /// USER_HELLO, as it goes before every login.
    pub(crate) fn hello(&self) {
        self.act(|client, net| {
            let key = b64u(client.key.spki());
            let hello = vec![("client", json!("cli-v1")), ("pubkey", json!(key)), ("enc_pubkey", json!(key))];
            client.say(net, "USER_HELLO", Some(&client.id), Some(""), Some(&hello));
        });
        self.wait("USER_HELLO_ACK", |client, _| client.replies.contains("USER_HELLO_ACK").then_some(()));
    }

    /// `login`; waits until it is, and the channel is known.
    pub(crate) fn login(&self) {
        self.act(|client, net| {
            let login = vec![("user_id", json!(client.id)), ("password", json!(client.password))];
            client.say(net, "USER_LOGIN", None, None, Some(&login));
        });
        self.wait("the login", |client, _| {
            (client.logged_in && client.replies.contains("PUBLIC_CHANNEL_SNAPSHOT")).then_some(())
        });
    }

    /// `list`: who is shown, and whether the published client can read it.
    pub(crate) fn list(&self) -> (Vec<String>, bool) {
        self.act(|client, net| {
            client.listed = None;
            client.say(net, "LIST_REQUEST", None, None, None);
        });
        let (users, at_top) = self.wait("LIST_RESPONSE", |client, _| client.listed.clone());
        let users = users.iter().filter_map(|user| user["user_id"].as_str().map(Into::into));
        (users.collect(), at_top)
    }

    /// Waits until it has somebody's key from USER_ADDED or a list.
    pub(crate) fn knows(&self, user: &str) {
        let what = format!("{} knows {user}", self.act(|client, _| client.id.clone()));
        self.wait(&what, |client, _| client.pubkeys.contains_key(user).then_some(()));
    }

    /// Waits until somebody is gone.
    pub(crate) fn forgets(&self, user: &str) {
        self.wait(&format!("{user} is removed"), |client, _| client.removed.contains(user).then_some(()));
    }

    /// `tell`, to somebody whose key it has.
    pub(crate) fn tell(&self, to: &str, text: &str) {
        self.knows(to);
        self.act(|client, net| {
            let (ciphertext, ts) = (seal(&client.pubkeys[to], text.as_bytes()).unwrap(), now_ms());
            let message = vec![
                ("to", json!(to)),
                ("ciphertext", json!(b64u(&ciphertext))),
                ("sender", json!(client.id)),
                ("sender_pub", json!(b64u(client.key.spki()))),
                ("content_sig", json!(client.content(&ciphertext, Some(to), ts))),
            ];
            client.say_at(net, ts, "MSG_DIRECT", None, None, Some(&message));
        });
    }

    /// `all`: one frame for everybody whose key it has.
    pub(crate) fn all(&self, text: &str) {
        self.act(|client, net| {
            let ts = now_ms();
            for (to, key) in client.pubkeys.iter().filter(|(to, _)| **to != client.id) {
                let ciphertext = seal(key, text.as_bytes()).unwrap();
                let message = vec![
                    ("ciphertext", json!(b64u(&ciphertext))),
                    ("sender_pub", json!(b64u(client.key.spki()))),
                    ("content_sig", json!(client.content(&ciphertext, None, ts))),
                ];
                client.say_at(net, ts, "MSG_PUBLIC_CHANNEL", Some(&client.id), Some(to), Some(&message));
            }
        });
    }

    /// `file`. Whether it could be sent: blocks over 446 bytes fail when FILE_START is out.
    pub(crate) fn file(&self, to: &str, name: &str, bytes: &[u8]) -> bool {
        self.knows(to);
        self.act(|client, net| {
            let id = format!("file-{}", now_ms());
            let start = vec![
                ("file_id", json!(id)),
                ("name", json!(name)),
                ("size", json!(bytes.len())),
                ("sha256", json!(hex(&sha256(bytes)))),
                ("mode", json!("dm")),
                ("to", json!(to)),
            ];
            client.say(net, "FILE_START", None, None, Some(&start));
            for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                let Some(ciphertext) = seal(&client.pubkeys[to], block) else { return false };
                let chunk = vec![
                    ("file_id", json!(id)),
                    ("index", json!(index)),
                    ("ciphertext", json!(b64u(&ciphertext))),
                    ("to", json!(to)),
                ];
                client.say(net, "FILE_CHUNK", None, None, Some(&chunk));
            }
            client.say(net, "FILE_END", None, None, Some(&vec![("file_id", json!(id)), ("to", json!(to))]));
            true
        })
    }

    /// Waits for a message, whose signature must hold.
    pub(crate) fn reads(&self, public: bool, from: &str, text: &str) {
        let wanted = Got { public, sender: from.to_owned(), text: text.to_owned(), verified: true };
        self.wait(&format!("{wanted:?}"), |client, _| client.got.contains(&wanted).then_some(()));
    }

    /// Whether a message comes in that time.
    pub(crate) fn reads_in(&self, patience: Duration, from: &str, text: &str) -> bool {
        let is = |got: &Got| got.sender == from && got.text == text && got.verified;
        self.wait_for(patience, |client, _| client.got.iter().any(is).then_some(())).is_some()
    }

    /// Waits for a file.
    pub(crate) fn receives(&self, name: &str, bytes: &[u8]) {
        let wanted = (name.to_owned(), bytes.to_vec());
        self.wait(&format!("the file {name}"), |client, _| client.received.contains(&wanted).then_some(()));
    }
}

/// scrypt, as all of the seed derives keys and verifiers.
fn derived(password: &str, salt: &[u8]) -> [u8; 32] {
    let parameters = scrypt::Params::new(14, 8, 1).unwrap();
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut key).unwrap();
    key
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// `b64u(salt).b64u(scrypt(password, salt))`.
fn verifier_of(password: &str) -> String {
    let salt = random::<16>();
    format!("{}.{}", b64u(&salt), b64u(&derived(password, &salt)))
}

/// Whether a password is the one of a verifier.
pub(crate) fn is_password(verifier: &str, password: &str) -> bool {
    let parts = verifier.split_once('.').and_then(|(salt, hash)| Some((un_b64u(salt)?, un_b64u(hash)?)));
    parts.is_some_and(|(salt, hash)| derived(password, &salt)[..] == hash[..])
}

/// `privkey_store`: AES-256-GCM without AAD over the PEM, as JSON text.
fn sealed_store(password: &str, pem: &str) -> String {
    let (salt, nonce) = (random::<16>(), random::<12>());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived(password, &salt)).unwrap());
    let mut blob = pem.as_bytes().to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut blob).unwrap();
    let store =
        vec![("salt", json!(b64u(&salt))), ("nonce", json!(b64u(&nonce))), ("blob", json!(b64u(&blob)))];
    Dumps::DEFAULT.fields(&store)
}

/// What a `privkey_store` holds, if the password is right.
pub(crate) fn opened_store(password: &str, store: &str) -> Option<String> {
    let store: Value = serde_json::from_str(store).ok()?;
    let part = |name: &str| un_b64u(store[name].as_str()?);
    let (salt, nonce, mut blob) = (part("salt")?, part("nonce")?, part("blob")?);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived(password, &salt)).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
    let pem = key.open_in_place(nonce, Aad::empty(), &mut blob).ok()?;
    String::from_utf8(pem.to_vec()).ok()
}
