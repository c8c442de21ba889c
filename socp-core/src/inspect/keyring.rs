//! Keys that signatures are tried under: those of the keys file, and those that the frames themselves brought.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::crypto::{CryptoError, Opener};
use crate::wire::{Frame, KeyField, KeyId, Payload, PublicKey, WelcomeEntry};

/// Ids whose keys, brought by frames, are remembered; 0.7 KiB each.
pub const MAX_BROUGHT: usize = 4096;

/// Keys that one signature is tried under at most, at 0.1 ms each: those brought last and all of the file.
pub const MAX_TRIED: usize = 256;

/// Parties that a keys file may have.
pub const MAX_PARTIES: usize = 1024;

/// Makes an [`Opener`] of a private key in PEM, which is a provider's business.
pub type OpenPem<'a> = &'a dyn Fn(&str) -> Result<Arc<dyn Opener>, CryptoError>;

/// A party of the keys file.
#[derive(Clone)]
pub struct Party {
    /// What it is called in findings.
    pub label: Box<str>,
    /// Its id, which may be another one than its frames say.
    pub id: Box<str>,
    /// Its key.
    pub key: PublicKey,
    /// Its private key, for ciphertexts.
    pub opener: Option<Arc<dyn Opener>>,
}

impl std::fmt::Debug for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Party({}, {:?})", self.label, self.key)
    }
}

/// Why a keys file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not JSON, or not of the form `{"parties":[{…}]}`.
    #[error("expected {{\"parties\":[{{\"label\":…,\"id\":…,\"public_key\":…}}]}}: {0}")]
    Form(#[from] serde_json::Error),
    /// More parties than [`MAX_PARTIES`].
    #[error("{0} parties; at most 1024 are read")]
    TooMany(usize),
    /// A party has no key that can be read.
    #[error("party {0:?}: neither spki nor public_key is an RSA-4096 key (base64 or PEM)")]
    NoKey(Box<str>),
    /// A private key cannot be read.
    #[error("party {0:?}: private_key_pem: {1}")]
    PrivateKey(Box<str>, CryptoError),
}

#[derive(Deserialize)]
struct File {
    parties: Vec<FileParty>,
}

#[derive(Deserialize)]
struct FileParty {
    label: Option<Box<str>>,
    id: Option<Box<str>>,
    spki: Option<Box<str>>,
    public_key: Option<Box<str>>,
    private_key_pem: Option<Box<str>>,
}

/// What is known of keys so far.
#[derive(Debug, Default)]
pub struct Keyring {
    file: Vec<Party>,
    /// The first key that the frames brought for an id.
    pinned: BTreeMap<Box<str>, PublicKey>,
    /// Every key that they brought, the newest last, with the id that it was brought for first.
    brought: VecDeque<(Box<str>, PublicKey)>,
}

impl Keyring {
    /// Reads a keys file. Public keys are read as base64 of DER or PEM, or as PEM itself.
    ///
    /// # Errors
    /// [`KeysError`] says which party is wrong.
    pub fn read(text: &str, open: OpenPem<'_>) -> Result<Self, KeysError> {
        let File { parties } = serde_json::from_str(text)?;
        if parties.len() > MAX_PARTIES {
            return Err(KeysError::TooMany(parties.len()));
        }
        let mut ring = Self::default();
        for (index, party) in parties.into_iter().enumerate() {
            let label = party.label.or_else(|| party.id.clone());
            let label = label.unwrap_or_else(|| format!("#{}", index + 1).into());
            let key = [&party.spki, &party.public_key].into_iter().flatten().find_map(|text| any_key(text));
            let key = key.ok_or_else(|| KeysError::NoKey(label.clone()))?;
            let opener = party.private_key_pem.map(|pem| open(&pem)).transpose();
            let opener = opener.map_err(|error| KeysError::PrivateKey(label.clone(), error))?;
            let id = party.id.unwrap_or_else(|| label.clone());
            ring.file.push(Party { label, id, key, opener });
        }
        Ok(ring)
    }

    /// The parties of the file.
    pub fn parties(&self) -> &[Party] {
        &self.file
    }

    /// How many keys the frames brought.
    pub fn brought(&self) -> usize {
        self.brought.len()
    }

    /// What a key is called: the party's label, else the id that a frame first brought it for.
    pub fn label_of(&self, key: KeyId) -> Box<str> {
        let party = self.file.iter().find(|party| party.key.id() == key).map(|party| party.label.clone());
        let brought =
            || self.brought.iter().find(|(_, brought)| brought.id() == key).map(|(id, _)| id.clone());
        party.or_else(brought).unwrap_or_else(|| format!("{key:?}").into())
    }

    /// The key of an id: the file's, else the one that a frame brought for it first.
    pub(super) fn key_of(&self, id: &str) -> Option<&PublicKey> {
        let party = self.file.iter().find(|party| *party.id == *id).map(|party| &party.key);
        party.or_else(|| self.pinned.get(id))
    }

    /// The key of a party of the record that the file calls by its name or id.
    pub(super) fn key_called(&self, name: &str) -> Option<&PublicKey> {
        let called = |party: &&Party| party.label.eq_ignore_ascii_case(name) || *party.id == *name;
        self.file.iter().find(called).map(|party| &party.key)
    }

    /// The private key that belongs to an id.
    pub(super) fn opener_of(&self, id: &str) -> Option<(&Party, &dyn Opener)> {
        let key = self.key_of(id).or_else(|| self.key_called(id))?;
        let party = self.file.iter().find(|party| party.key == *key && party.opener.is_some())?;
        Some((party, party.opener.as_deref()?))
    }

    /// In this order: `likely`, what the frames brought, what the file has; each key once.
    pub(super) fn candidates<'a>(
        &'a self,
        likely: impl Iterator<Item = &'a PublicKey>,
    ) -> impl Iterator<Item = &'a PublicKey> {
        let newest = self.brought.iter().rev().map(|(_, key)| key);
        let file = self.file.iter().map(|party| &party.key);
        let room = MAX_TRIED.saturating_sub(self.file.len());
        let mut tried: BTreeSet<KeyId> = BTreeSet::new();
        likely.chain(newest.take(room)).chain(file).filter(move |key| tried.insert(key.id()))
    }

    /// Takes the keys that a frame brings. With `pin`, an id without a key gets the first of them. Returns the ids
    /// that have another key already.
    pub(super) fn learn(&mut self, brought: Vec<Brought>, pin: bool) -> Vec<Box<str>> {
        let mut changed = Vec::new();
        for Brought { id, key } in brought {
            if self.key_of(&id).is_some_and(|known| *known != key) {
                changed.push(id.clone());
            }
            if self.brought.iter().all(|(_, known)| *known != key) {
                if self.brought.len() >= MAX_BROUGHT {
                    self.brought.pop_front();
                }
                self.brought.push_back((id.clone(), key.clone()));
            }
            if pin && self.pinned.len() < MAX_BROUGHT {
                self.pinned.entry(id).or_insert(key);
            }
        }
        changed
    }
}

/// A key for an id.
#[derive(Debug)]
pub(super) struct Brought {
    id: Box<str>,
    key: PublicKey,
}

impl Brought {
    pub(super) fn is_for(&self, id: &str) -> bool {
        *self.id == *id
    }

    pub(super) fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// The keys that a frame says somebody has.
pub(super) fn brought_by(frame: &Frame, payload: &Value) -> Vec<Brought> {
    let from = frame.from().map(|from| from.as_str());
    let mut all = Vec::new();
    let mut add = |id: Option<&str>, field: Option<&KeyField>| {
        if let (Some(id), Some(Ok(key))) = (id, field.map(KeyField::key)) {
            all.push(Brought { id: id.into(), key: key.clone() });
        }
    };
    match frame.payload() {
        Payload::ServerHelloJoin(hello)
        | Payload::ServerAnnounce(hello)
        | Payload::ServerHelloLink(hello) => add(from, Some(&hello.pubkey)),
        Payload::ServerWelcome(welcome) => {
            let entries = welcome.servers.iter().chain(&welcome.clients).chain(&welcome.introducer);
            for WelcomeEntry { user_id, server_id, pubkey, .. } in entries {
                let server = server_id.as_ref().map(|id| id.as_str());
                add(server.or_else(|| Some(user_id.as_ref()?.as_str())), pubkey.as_ref());
            }
        }
        Payload::UserAdvertise(advert) => add(Some(advert.user_id.as_str()), advert.key_field().as_ref()),
        Payload::UserHello(hello) => add(from, hello.pubkey.as_ref()),
        Payload::LoginChallenge(challenge) => {
            add(Some(challenge.server_id.as_str()), Some(&challenge.pubkey));
        }
        Payload::UserAdded(entry) => add(Some(entry.user_id.as_str()), entry.pubkey.as_ref()),
        Payload::Directory(list) | Payload::ListResponse(list) => {
            for entry in &list.users {
                add(Some(entry.user_id.as_str()), entry.pubkey.as_ref());
            }
        }
        Payload::Pubkey(answer) => add(Some(answer.user_id.as_str()), Some(&answer.pubkey)),
        Payload::UserRegister(registration) => {
            add(Some(registration.user_id.as_str()), Some(&registration.pubkey));
        }
        Payload::MsgDirect(message)
        | Payload::MsgPublicChannel(message)
        | Payload::ServerDeliver(message)
        | Payload::UserDeliver(message) => {
            let sender = message.sender.as_ref().map(|sender| sender.as_str());
            let own = matches!(frame.payload(), Payload::MsgDirect(_) | Payload::MsgPublicChannel(_));
            add(sender.or(from.filter(|_| own)), message.sender_pub.as_ref());
        }
        // Other dialects' ways to say the same.
        Payload::Unknown(_) | Payload::Misfit(_) => {
            let text = |name: &str| payload.get(name).and_then(Value::as_str);
            let id = text("user_id").or_else(|| text("recipient_uuid")).or(from);
            let field = text("pubkey").or_else(|| text("recipient_pub")).or_else(|| text("server_pub_key"));
            if let (Some(id), Some(Ok(key))) = (id, field.map(PublicKey::from_field)) {
                all.push(Brought { id: id.into(), key });
            }
        }
        _ => {}
    }
    all
}

fn any_key(text: &str) -> Option<PublicKey> {
    PublicKey::from_field(text.trim()).or_else(|_| PublicKey::from_pem(text)).ok()
}
