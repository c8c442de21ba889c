//! The payload of every frame type: the standard's (§8, §9), those that decisions.md adds (✚), and the
//! seed dialect's. Reading is tolerant, writing is strict: fields that are `None` are left out.

use serde::{Deserialize, Deserializer, Serialize};

use super::base64::{self, Binary};
use super::canonical::canonicalise;
use super::ids::{HostPort, ServerId, UserId};
use super::keys::{KeyError, KeyField, PublicKey};
use super::value::{AckStatus, ErrorCode, Meta, Nonce, Timestamp, port};

/// Names of optional features: a hello or WELCOME lists what its sender can do (`ext` ✚).
pub type Features = Vec<Box<str>>;

/// `null` reads like an absent list.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// SERVER_HELLO_JOIN, SERVER_ANNOUNCE and SERVER_HELLO_LINK (§8.1): who a server is and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// The host that the server says it listens on.
    pub host: Box<str>,
    /// The port that the server says it listens on.
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    /// The server's key.
    pub pubkey: KeyField,
    /// ✚ Asks for a LINK_PROOF over it (decisions §4); its presence says that the sender is native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// ✚ Optional features.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub ext: Features,
}

impl ServerHello {
    /// Host and port as an address, if they make one.
    pub fn address(&self) -> Option<HostPort> {
        HostPort::new(&self.host, self.port?).ok()
    }
}

/// An entry of WELCOME's lists. In `clients` one with a `server_id` is a server (decisions §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomeEntry {
    /// The user, in `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The server, in `servers` and `introducer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<ServerId>,
    /// Where the server listens.
    #[serde(default)]
    pub host: Box<str>,
    /// Where the server listens.
    #[serde(default, deserialize_with = "port")]
    pub port: Option<u16>,
    /// The key of the user or server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<KeyField>,
}

impl WelcomeEntry {
    /// Host and port as an address, if they make one.
    pub fn address(&self) -> Option<HostPort> {
        HostPort::new(&self.host, self.port?).ok()
    }
}

/// SERVER_WELCOME (§8.1): the introducer's answer to JOIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerWelcome {
    /// The id that the newcomer is to have: its own, if that was free.
    pub assigned_id: ServerId,
    /// The welcoming server's own users.
    #[serde(default, deserialize_with = "list")]
    pub clients: Vec<WelcomeEntry>,
    /// The servers of the network.
    #[serde(default, deserialize_with = "list")]
    pub servers: Vec<WelcomeEntry>,
    /// The welcoming server itself (the seed needs it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introducer: Option<WelcomeEntry>,
    /// ✚ See [`ServerHello::nonce`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// ✚ Optional features.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub ext: Features,
}

/// Which end of a link signed a [`LinkProof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkRole {
    /// The end that opened the socket.
    Dial,
    /// The end that listened.
    Accept,
}

/// LINK_PROOF ✚ (decisions §4): a signature over the other side's nonce proves who holds the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkProof {
    /// The other side's nonce.
    pub nonce: Nonce,
    /// The signer's own nonce.
    pub own_nonce: Nonce,
    /// The signer.
    pub from: ServerId,
    /// The other side.
    pub to: ServerId,
    /// The signer's end of the link.
    pub role: LinkRole,
    /// The address that was dialled.
    pub host: Box<str>,
    /// The address that was dialled.
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
}

impl LinkProof {
    /// The address that was dialled, if it is one.
    pub fn address(&self) -> Option<HostPort> {
        HostPort::new(&self.host, self.port?).ok()
    }
}

/// A login proof as it travels in an advert ✚ (decisions §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// What the user signed.
    pub payload: LoginProof,
    /// The user's signature over the canonical payload.
    pub sig: Binary,
}

/// A step in the chain of a user's keys ✚ (decisions §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Whose key changed.
    pub user_id: UserId,
    /// The key before.
    pub old: KeyField,
    /// The key after.
    pub new: KeyField,
    /// 1, 2, … from the first key on.
    pub version: u64,
    /// By the old key, over the other fields, canonical.
    pub sig: Binary,
}

impl Rotation {
    /// What the old key signs: the other fields, canonical.
    pub fn signed_text(&self) -> String {
        #[derive(Serialize)]
        struct Signed<'a> {
            new: &'a KeyField,
            old: &'a KeyField,
            user_id: &'a UserId,
            version: u64,
        }
        let Self { user_id, old, new, version, sig: _ } = self;
        let json = serde_json::to_string(&Signed { new, old, user_id, version: *version });
        canonicalise(&json.expect("plain data"), usize::MAX).expect("a JSON writer writes JSON")
    }
}

/// USER_ADVERTISE (§8.2): a user is online at a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAdvertise {
    /// The user.
    pub user_id: UserId,
    /// The user's server: must be the signer.
    pub server_id: ServerId,
    /// The user's key (the seed's field; the standard leaves it to the directory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<KeyField>,
    /// §15.1. Its presence marks an advert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// ✚ Orders the adverts and removals of one server (decisions §3), milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<u64>,
    /// ✚ The user's own word that it logged in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// ✚ The chain of the user's keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub rotations: Vec<Rotation>,
    /// ✚ Marks USER_ADDED and USER_REMOVED; refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<str>>,
}

impl UserAdvertise {
    /// The user's key, wherever the dialect put it.
    pub fn key_field(&self) -> Option<KeyField> {
        self.pubkey.clone().or_else(|| self.meta.as_ref()?.pubkey())
    }
}

/// USER_REMOVE (§8.2): a user has left a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRemove {
    /// The user.
    pub user_id: UserId,
    /// The user's server: must be the signer.
    pub server_id: ServerId,
    /// ✚ See [`UserAdvertise::issued_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<u64>,
    /// Refused here: an advert relabelled as a removal would carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
    /// ✚ Refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<str>>,
}

/// PRESENCE ✚ (decisions §5): what a server's directory of own users amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The origin.
    pub server_id: ServerId,
    /// The origin's counter, milliseconds.
    pub issued_at: u64,
    /// Number of users.
    pub count: u64,
    /// SHA-256 over the sorted lines `user_id` NUL `issued_at` LF.
    pub digest: Binary,
    /// Servers that the origin has a proven link to, and sends its PRESENCE itself: nobody need relay it to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub links: Vec<ServerId>,
}

/// PRESENCE_REQUEST ✚: asks for the adverts of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceRequest {
    /// The origin.
    pub server_id: ServerId,
}

/// PRESENCE_LIST ✚: who an origin's users are; believed if it gives the digest of a PRESENCE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceList {
    /// The origin.
    pub server_id: ServerId,
    /// Of the PRESENCE that this list spells out.
    pub issued_at: u64,
    /// Users and the `issued_at` of their adverts.
    pub users: Vec<(UserId, u64)>,
    /// This page, from 1.
    pub page: u32,
    /// How many pages there are.
    pub pages: u32,
}

/// A piece of a long text ✚ (decisions §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Shared by the pieces.
    pub id: Box<str>,
    /// From 0.
    pub index: u32,
    /// Number of pieces.
    pub total: u32,
}

/// MSG_DIRECT, MSG_PUBLIC_CHANNEL, SERVER_DELIVER and USER_DELIVER (§8, §9): one encrypted message on
/// its way. Which of the optional fields a type carries: see the constructors of the machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The recipient, in SERVER_DELIVER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The recipient, in MSG_DIRECT (the seed reads nothing else).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// RSA-OAEP under the recipient's key.
    pub ciphertext: Binary,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<UserId>,
    /// A hint; the recipient trusts its own pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_pub: Option<KeyField>,
    /// The sender's signature over ciphertext, sender, recipient and time (§12).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "base64::lenient")]
    pub content_sig: Option<Binary>,
    /// ✚ The sender's time (decisions §6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// The same in another dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_ts: Option<Timestamp>,
    /// ✚ Set on pieces of a long text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// ✚ On the last piece, over all pieces' `content_sig`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "base64::lenient")]
    pub parts_sig: Option<Binary>,
}

/// USER_HELLO (§9): the first frame of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserHello {
    /// The program, e.g. `cli-v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<str>>,
    /// The user's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<KeyField>,
    /// A copy of `pubkey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc_pubkey: Option<KeyField>,
    /// ✚ Ways to log in that the client knows; `pss` asks for a LOGIN_CHALLENGE.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub auth: Vec<Box<str>>,
    /// ✚ Optional features.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub ext: Features,
    /// ✚ §15.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// ✚ The chain of the user's keys up to `pubkey` (decisions §4).
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub rotations: Vec<Rotation>,
    /// ✚ Made for this link: a LOGIN_CHALLENGE that carries it is no recording.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "foreign_nonce")]
    pub nonce: Option<Nonce>,
}

impl UserHello {
    /// The user's one key: `enc_pubkey`, where given, must equal it (decisions §1). `None` if the hello
    /// brings no key.
    pub fn key(&self) -> Result<Option<&PublicKey>, KeyError> {
        let Some(field) = &self.pubkey else { return Ok(None) };
        let key = field.key()?;
        match &self.enc_pubkey {
            Some(other) if other.key()? != key => Err(KeyError::SeparateEncryptionKey),
            Some(_) | None => Ok(Some(key)),
        }
    }
}

/// Others' programs may mean something else by it: what is no nonce of ours is none.
fn foreign_nonce<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Nonce>, D::Error> {
    let bytes = base64::lenient(deserializer)?;
    Ok(bytes.and_then(|bytes| bytes.bytes().try_into().ok()).map(Nonce))
}

/// LOGIN_CHALLENGE ✚ (decisions §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginChallenge {
    /// To be signed.
    pub nonce: Nonce,
    /// The server that asks.
    pub server_id: ServerId,
    /// Its key.
    pub pubkey: KeyField,
    /// `issued_at` of the user's newest proof for another server that this one knows of. A proof must be newer
    /// to take its place, whatever the clocks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// ✚ [`UserHello::nonce`], which proves that this was made for the login under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_nonce: Option<Nonce>,
}

/// LOGIN_PROOF ✚ (decisions §4): signed by the user, it names server and time, so it can be shown to
/// others as an [`Attestation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginProof {
    /// Of the challenge.
    pub nonce: Nonce,
    /// The user.
    pub user_id: UserId,
    /// The server.
    pub server_id: ServerId,
    /// `host:port` as the client dialled it.
    pub host: Box<str>,
    /// The client's clock, milliseconds.
    pub issued_at: u64,
}

/// USER_LOGGED_IN ✚: the session is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLoggedIn {
    /// The user.
    pub user_id: UserId,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<ServerId>,
    /// The user's key as the server has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<KeyField>,
    /// The seed's: the encrypted private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privkey_store: Option<Box<str>>,
}

/// One user of DIRECTORY, LIST_RESPONSE and USER_ADDED ✚.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// The user.
    pub user_id: UserId,
    /// The user's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<KeyField>,
    /// Where the user is online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<ServerId>,
    /// Whether that is the answering server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_local: Option<bool>,
    /// §15.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// ✚ The chain of the user's keys up to `pubkey`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub rotations: Vec<Rotation>,
    /// ✚ What the user's client wants signed of a direct message, where that is not the standard's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_form: Option<Box<str>>,
    /// ✚ `"added"` in USER_ADDED, absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<str>>,
}

/// DIRECTORY ✚ and LIST_RESPONSE: users known to be online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The users of this page.
    #[serde(default, deserialize_with = "list")]
    pub users: Vec<DirectoryEntry>,
    /// This page, from 1; absent means the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// How many pages there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
}

impl Directory {
    /// Whether no page follows this one.
    pub fn is_last(&self) -> bool {
        self.page.unwrap_or(1) >= self.pages.unwrap_or(1)
    }
}

/// USER_REMOVED ✚.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRemoved {
    /// The user.
    pub user_id: UserId,
    /// ✚ `"removed"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<str>>,
}

/// USER_KEY_CONFLICT ✚ (decisions §4): another key than the pinned one was seen for a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserKeyConflict {
    /// The user.
    pub user_id: UserId,
    /// The key that was refused.
    pub pubkey: KeyField,
    /// The server that advertised it.
    pub server_id: ServerId,
}

/// PUBKEY_REQUEST ✚ (§13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PubkeyRequest {
    /// Whose key is asked for.
    pub user_id: UserId,
}

/// PUBKEY ✚ (§13): the frame's `sig` is the directory's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pubkey {
    /// The user.
    pub user_id: UserId,
    /// The pinned key.
    pub pubkey: KeyField,
    /// Bumps on change.
    pub version: u64,
}

/// PUB_KEY_REQUEST of dialect R: asks a user's home server for the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserKeyRequest {
    /// The user.
    pub recipient_uuid: UserId,
}

/// PUB_KEY of dialect R.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserKeyAnswer {
    /// The key.
    pub recipient_pub: KeyField,
    /// The user.
    pub recipient_uuid: UserId,
}

/// PUBLIC_CHANNEL_ADD (§9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicChannelAdd {
    /// New members.
    #[serde(deserialize_with = "list")]
    pub add: Vec<UserId>,
    /// Ignored by us (decisions §6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

/// The channel key under one member's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// The member.
    pub member_id: UserId,
    /// RSA-OAEP under the member's key.
    pub wrapped_key: Binary,
}

/// PUBLIC_CHANNEL_UPDATED (§9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicChannelUpdated {
    /// Bumped with every change.
    pub version: u64,
    /// The wraps of that version.
    #[serde(default, deserialize_with = "list")]
    pub wraps: Vec<Wrap>,
}

/// One share of PUBLIC_CHANNEL_KEY_SHARE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShare {
    /// The member.
    pub member: UserId,
    /// The key under the member's key.
    pub wrapped_public_channel_key: Binary,
}

/// PUBLIC_CHANNEL_KEY_SHARE (§9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicChannelKeyShare {
    /// For each member.
    #[serde(deserialize_with = "list")]
    pub shares: Vec<KeyShare>,
    /// The creator's key.
    pub creator_pub: KeyField,
    /// The creator's signature over shares and key (§12).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "base64::lenient")]
    pub content_sig: Option<Binary>,
}

impl PublicChannelKeyShare {
    /// What `content_sig` covers (§12): the shares, canonical, then the creator's key as we write it.
    pub fn signed_text(&self) -> String {
        let shares = serde_json::to_string(&self.shares).expect("shares are plain data");
        let mut text = canonicalise(&shares, usize::MAX).expect("a JSON writer writes JSON");
        let key = serde_json::to_value(&self.creator_pub).expect("a key is plain data");
        text.push_str(key.as_str().unwrap_or_default());
        text
    }
}

/// PUBLIC_CHANNEL_SNAPSHOT ✚.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicChannelSnapshot {
    /// The channel's version.
    pub version: u64,
    /// Its members.
    #[serde(default, deserialize_with = "list")]
    pub members: Vec<UserId>,
    /// This page, from 1; absent means the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// How many pages there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
}

/// FILE_START (§9), and FILE_START_DELIVER of the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStart {
    /// The transfer.
    pub file_id: Box<str>,
    /// The sender's name for the file; never a path for us.
    pub name: Box<str>,
    /// Bytes.
    pub size: u64,
    /// Of the whole file, hex.
    pub sha256: Box<str>,
    /// `dm` or `public`.
    pub mode: Box<str>,
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// ✚ The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<UserId>,
    /// ✚ The sender's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// ✚ The sender's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_pub: Option<KeyField>,
    /// ✚ Over the canonical payload without this field.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "base64::lenient")]
    pub content_sig: Option<Binary>,
}

/// FILE_CHUNK (§9), and FILE_CHUNK_DELIVER of the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChunk {
    /// The transfer.
    pub file_id: Box<str>,
    /// From 0.
    pub index: u64,
    /// One block.
    pub ciphertext: Binary,
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// ✚ The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<UserId>,
    /// ✚ The sender's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
}

/// FILE_END (§9), and FILE_END_DELIVER of the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEnd {
    /// The transfer.
    pub file_id: Box<str>,
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// ✚ The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<UserId>,
    /// ✚ The sender's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
}

/// ACK (§9). Among natives it answers a FILE_START and paces its chunks: whoever receives a file says how far
/// the sender may go, so that no queue between the two ever fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// What is acknowledged: for files, the `file_id`.
    pub msg_ref: Box<str>,
    /// ✚ The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// ✚ The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<UserId>,
    /// ✚ The sender's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// ✚ How the transfer stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AckStatus>,
    /// ✚ With [`AckStatus::Ready`]: chunks of a lower index may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<u64>,
    /// ✚ In words, where something went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
}

/// Which frame an ERROR answers ✚ (decisions §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRef {
    /// The frame's type.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The frame's recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// The frame's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
}

/// ERROR (§9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub code: ErrorCode,
    /// In words.
    #[serde(default)]
    pub detail: Box<str>,
    /// ✚ The frame that is answered.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<FrameRef>,
}

/// USER_REGISTER of the seed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegister {
    /// The user.
    pub user_id: UserId,
    /// The user's key.
    pub pubkey: KeyField,
    /// The encrypted private key.
    pub privkey_store: Box<str>,
    /// The password's verifier.
    pub pake_password: Box<str>,
}

impl std::fmt::Debug for UserRegister {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserRegister({}, …)", self.user_id)
    }
}

/// USER_REGISTERED of the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    /// The user.
    pub user_id: UserId,
}

/// USER_LOGIN of the seed: the password crosses the link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLogin {
    /// The user.
    pub user_id: UserId,
    /// In clear.
    pub password: Box<str>,
}

impl std::fmt::Debug for UserLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserLogin({}, …)", self.user_id)
    }
}

/// USER_HELLO_ACK of the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserHelloAck {
    /// `ok`.
    pub status: Box<str>,
}

/// A payload without fields: HEARTBEAT, LIST_REQUEST, CTRL_CLOSE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Why a payload is not one of its frame's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    kind: FrameType,
    why: Box<str>,
}

impl Misfit {
    fn new(kind: &FrameType, error: &serde_json::Error) -> Self {
        // The position would be one in the canonical text, which nobody has seen.
        let why = error.to_string();
        Self { kind: kind.clone(), why: why.split(" at line").next().unwrap_or_default().into() }
    }

    /// What is missing or mistyped.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} payload: {}", self.kind, self.why)
    }
}

/// One table of all frame types: names, payloads, reading and writing follow from it.
macro_rules! frame_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $payload:ty,)+) => {
        /// A frame's type (§7).
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FrameType {
            $($(#[$doc])* $variant,)+
            /// A type we do not know.
            Unknown(Box<str>),
        }

        /// A frame's payload, by type.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Payload {
            $($(#[$doc])* $variant($payload),)+
            /// The payload of a type we do not know; its name.
            Unknown(Box<str>),
            /// A payload that lacks a field of its type or has a mistyped one. Its frame can be looked at and its
            /// signature checked, but no machine acts on it.
            Misfit(Misfit),
        }

        impl FrameType {
            /// Every type that we know.
            pub const KNOWN: &[FrameType] = &[$(FrameType::$variant,)+];

            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown(name) => name,
                }
            }

            /// Reads a name.
            pub fn parse(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    _ => Self::Unknown(name.into()),
                }
            }

            /// Reads a payload of this type.
            pub(crate) fn read(&self, json: &str) -> Payload {
                let read = match self {
                    $(Self::$variant => serde_json::from_str(json).map(Payload::$variant),)+
                    Self::Unknown(name) => Ok(Payload::Unknown(name.clone())),
                };
                read.unwrap_or_else(|error| Payload::Misfit(Misfit::new(self, &error)))
            }
        }

        impl Payload {
            /// The frame type this is the payload of.
            pub fn frame_type(&self) -> FrameType {
                match self {
                    $(Self::$variant(_) => FrameType::$variant,)+
                    Self::Unknown(name) => FrameType::Unknown(name.clone()),
                    Self::Misfit(misfit) => misfit.kind.clone(),
                }
            }

            pub(crate) fn write(&self) -> Result<String, serde_json::Error> {
                match self {
                    $(Self::$variant(payload) => serde_json::to_string(payload),)+
                    Self::Unknown(_) | Self::Misfit(_) => Ok("{}".to_owned()),
                }
            }
        }
    };
}

frame_types! {
    /// §8.1.
    ServerHelloJoin = "SERVER_HELLO_JOIN" => ServerHello,
    /// §8.1.
    ServerWelcome = "SERVER_WELCOME" => ServerWelcome,
    /// §8.1.
    ServerAnnounce = "SERVER_ANNOUNCE" => ServerHello,
    /// §17.
    ServerHelloLink = "SERVER_HELLO_LINK" => ServerHello,
    /// ✚ decisions §4.
    LinkProof = "LINK_PROOF" => LinkProof,
    /// §8.2.
    UserAdvertise = "USER_ADVERTISE" => UserAdvertise,
    /// §8.2.
    UserRemove = "USER_REMOVE" => UserRemove,
    /// §8.3.
    ServerDeliver = "SERVER_DELIVER" => Message,
    /// §8.4.
    Heartbeat = "HEARTBEAT" => Empty,
    /// ✚ decisions §5.
    Presence = "PRESENCE" => Presence,
    /// ✚ decisions §5.
    PresenceRequest = "PRESENCE_REQUEST" => PresenceRequest,
    /// ✚ decisions §5.
    PresenceList = "PRESENCE_LIST" => PresenceList,
    /// §9.1.
    UserHello = "USER_HELLO" => UserHello,
    /// ✚ decisions §4.
    LoginChallenge = "LOGIN_CHALLENGE" => LoginChallenge,
    /// ✚ decisions §4.
    LoginProof = "LOGIN_PROOF" => LoginProof,
    /// ✚ decisions §4.
    UserLoggedIn = "USER_LOGGED_IN" => UserLoggedIn,
    /// ✚ decisions §5.
    Directory = "DIRECTORY" => Directory,
    /// ✚ decisions §5.
    UserAdded = "USER_ADDED" => DirectoryEntry,
    /// ✚ decisions §5.
    UserRemoved = "USER_REMOVED" => UserRemoved,
    /// ✚ decisions §4.
    UserKeyConflict = "USER_KEY_CONFLICT" => UserKeyConflict,
    /// ✚ §14 `/list`.
    ListRequest = "LIST_REQUEST" => Empty,
    /// ✚ §14 `/list`.
    ListResponse = "LIST_RESPONSE" => Directory,
    /// ✚ §13.
    PubkeyRequest = "PUBKEY_REQUEST" => PubkeyRequest,
    /// ✚ §13.
    Pubkey = "PUBKEY" => Pubkey,
    /// Dialect R's.
    UserKeyRequest = "PUB_KEY_REQUEST" => UserKeyRequest,
    /// Dialect R's.
    UserKeyAnswer = "PUB_KEY" => UserKeyAnswer,
    /// §9.2. MSG_PRIVATE means the same (decisions §1).
    MsgDirect = "MSG_DIRECT" => Message,
    /// §9.2.
    UserDeliver = "USER_DELIVER" => Message,
    /// §9.3.
    MsgPublicChannel = "MSG_PUBLIC_CHANNEL" => Message,
    /// §9.3.
    PublicChannelAdd = "PUBLIC_CHANNEL_ADD" => PublicChannelAdd,
    /// §9.3.
    PublicChannelUpdated = "PUBLIC_CHANNEL_UPDATED" => PublicChannelUpdated,
    /// §9.3.
    PublicChannelKeyShare = "PUBLIC_CHANNEL_KEY_SHARE" => PublicChannelKeyShare,
    /// ✚ The seed's.
    PublicChannelSnapshot = "PUBLIC_CHANNEL_SNAPSHOT" => PublicChannelSnapshot,
    /// §9.4.
    FileStart = "FILE_START" => FileStart,
    /// §9.4.
    FileChunk = "FILE_CHUNK" => FileChunk,
    /// §9.4.
    FileEnd = "FILE_END" => FileEnd,
    /// The seed's.
    FileStartDeliver = "FILE_START_DELIVER" => FileStart,
    /// The seed's.
    FileChunkDeliver = "FILE_CHUNK_DELIVER" => FileChunk,
    /// The seed's.
    FileEndDeliver = "FILE_END_DELIVER" => FileEnd,
    /// §9.5.
    Ack = "ACK" => Ack,
    /// §9.5.
    Error = "ERROR" => ErrorReport,
    /// §6.
    CtrlClose = "CTRL_CLOSE" => Empty,
    /// The seed's.
    UserRegister = "USER_REGISTER" => UserRegister,
    /// The seed's.
    UserRegistered = "USER_REGISTERED" => UserRegistered,
    /// The seed's.
    UserLogin = "USER_LOGIN" => UserLogin,
    /// The seed's.
    UserHelloAck = "USER_HELLO_ACK" => UserHelloAck,
}

impl Payload {
    /// Whom a user's own frame names as its recipient, in the payload: some dialects read nothing else.
    pub fn named_recipient(&self) -> Option<&str> {
        match self {
            Self::MsgDirect(message) | Self::MsgPublicChannel(message) => message.to.as_deref(),
            Self::FileStart(start) => start.to.as_deref(),
            Self::FileChunk(chunk) => chunk.to.as_deref(),
            Self::FileEnd(end) => end.to.as_deref(),
            Self::Ack(ack) => ack.to.as_deref(),
            // Not a frame from user to user.
            _ => None,
        }
    }

    /// Whom a user's own frame names as its author, in the payload.
    pub fn named_sender(&self) -> Option<&UserId> {
        match self {
            Self::MsgDirect(message) | Self::MsgPublicChannel(message) => message.sender.as_ref(),
            Self::FileStart(start) => start.sender.as_ref(),
            Self::FileChunk(chunk) => chunk.sender.as_ref(),
            Self::FileEnd(end) => end.sender.as_ref(),
            Self::Ack(ack) => ack.sender.as_ref(),
            // Not a frame from user to user.
            _ => None,
        }
    }
}

impl std::fmt::Display for FrameType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
