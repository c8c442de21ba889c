//! Who speaks which dialect, by what a peer sends first.

use super::Dialect;
use crate::crypto::{SaltLength, SignatureForm};
use crate::wire::{Frame, FrameType, KeyForm, Payload};

/// Something that a peer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A JOIN or WELCOME with a `nonce`: one of ours.
    Nonce,
    /// The frame is a SERVER_HELLO_JOIN.
    Join,
    /// The frame is a SERVER_HELLO_LINK.
    HelloLinkFirst,
    /// The frame is a SERVER_WELCOME.
    Welcome,
    /// `to` is a `ws://` or `wss://` URL.
    ToUrl,
    /// WELCOME names its sender as `introducer`.
    Introducer,
    /// An entry of WELCOME's `clients` has a `server_id`.
    ServersAmongClients,
    /// `sig` is there and empty.
    EmptySig,
    /// `sig` is padded.
    PaddedSig,
    /// Keys are written like this.
    Key(KeyForm),
    /// The signature holds with this salt.
    Salt(SaltLength),
    /// `from` is a UUID v4.
    Uuid,
    /// `from` is something else.
    FreeId,
}

/// A peer's first frame, and how its signature held.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The frame.
    pub frame: &'a Frame,
    /// The form in which its `sig` held, if it did.
    pub signature: Option<SignatureForm>,
}

impl Observed<'_> {
    fn shows(&self, mark: Mark) -> bool {
        let kind = self.frame.kind();
        let uuid = self.frame.from().is_some_and(crate::wire::Id::is_uuid_v4);
        match (mark, self.frame.payload()) {
            (Mark::Nonce, Payload::ServerHelloJoin(hello)) => hello.nonce.is_some(),
            (Mark::Nonce, Payload::ServerWelcome(welcome)) => welcome.nonce.is_some(),
            (Mark::Join, _) => *kind == FrameType::ServerHelloJoin,
            (Mark::HelloLinkFirst, _) => *kind == FrameType::ServerHelloLink,
            (Mark::Welcome, _) => *kind == FrameType::ServerWelcome,
            (Mark::ToUrl, _) => self.frame.to().as_str().contains("://"),
            (Mark::Introducer, Payload::ServerWelcome(welcome)) => welcome.introducer.is_some(),
            (Mark::ServersAmongClients, Payload::ServerWelcome(welcome)) => {
                welcome.clients.iter().any(|entry| entry.server_id.is_some())
            }
            (Mark::EmptySig, _) => self.frame.has_empty_sig(),
            (Mark::PaddedSig, _) => self.frame.sig().is_some_and(|sig| sig.text().ends_with('=')),
            (Mark::Key(form), payload) => key_form(payload) == Some(form),
            (Mark::Salt(salt), _) => self.signature.is_some_and(|form| form.salt == salt),
            (Mark::Uuid, _) => uuid,
            (Mark::FreeId, _) => self.frame.from().is_some() && !uuid,
            (Mark::Nonce | Mark::Introducer | Mark::ServersAmongClients, _) => false,
        }
    }
}

/// How the keys are written that a hello or WELCOME brings.
fn key_form(payload: &Payload) -> Option<KeyForm> {
    match payload {
        Payload::ServerHelloJoin(hello)
        | Payload::ServerHelloLink(hello)
        | Payload::ServerAnnounce(hello) => Some(hello.pubkey.form()),
        Payload::ServerWelcome(welcome) => {
            let entries = welcome.introducer.iter().chain(&welcome.servers).chain(&welcome.clients);
            entries.filter_map(|entry| entry.pubkey.as_ref()).map(crate::wire::KeyField::form).next()
        }
        // Other frames introduce nobody.
        _ => None,
    }
}

impl Dialect {
    /// The first dialect one of whose sets of marks a peer shows; `None` if it shows nothing of the kind.
    pub fn of(observed: &Observed<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| {
            let mut sets = dialect.profile().recognised_by.iter();
            sets.any(|marks| marks.iter().all(|mark| observed.shows(*mark)))
        })
    }
}
