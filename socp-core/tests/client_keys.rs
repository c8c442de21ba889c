//! Two clients with real keys, and a server of which there is nothing but its key.
#![cfg(feature = "aws-lc")]

use std::time::Duration;

use socp_core::Now;
use socp_core::client::{Action, Client, Command, Config, Event, MessageKind, Notice, SentTo, Snapshot};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::crypto::{Opener, SharedPayload, Signer, Unsigned, Verifier};
use socp_core::wire::{
    Directory, DirectoryEntry, Frame, FrameType, Id, LoginChallenge, Message, Meta, Nonce, Payload,
    Recipient, ServerId, Timestamp, UserId, UserLoggedIn,
};

const NOW: Now = Now { instant: Duration::from_secs(1), unix_ms: 1_800_000_000_000 };

struct Peer {
    client: Client,
    key: PrivateKey,
}

fn key(name: &str) -> PrivateKey {
    let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    PrivateKey::from_pem(&std::fs::read_to_string(path).expect("a fixture")).expect("a good key")
}

fn peer(name: &str) -> Peer {
    let key = key(name);
    let user_id = UserId::from(Id::derived_from(key.public_key()));
    let address = "localhost:8765".parse().expect("an address");
    let config = Config::new(user_id, key.public_key().clone(), address, [1; 32]);
    let config = Config { meta: Meta::named(name), ..config };
    Peer { client: Client::new(config, Snapshot::default(), NOW), key }
}

fn entry(peer: &Peer, name: &str) -> DirectoryEntry {
    DirectoryEntry {
        content_form: None,
        user_id: peer.client.user_id().clone(),
        pubkey: Some(peer.key.public_key().clone().into()),
        server_id: None,
        online_local: Some(true),
        meta: Some(Meta::named(name)),
        rotations: Vec::new(),
        event: None,
    }
}

fn from_server(server: &PrivateKey, payload: &Payload) -> Frame {
    let from = Id::derived_from(server.public_key());
    let frame = Unsigned::new(from, Recipient::Everyone, Timestamp(NOW.unix_ms), SharedPayload::new(payload));
    let signed = frame.sign(server).expect("the system has randomness");
    Frame::parse(signed.text().as_str(), 1 << 20).expect("a frame")
}

impl Peer {
    fn log_in(&mut self, server: &PrivateKey, provider: &dyn Verifier, online: DirectoryEntry) {
        let server_id = ServerId::from(Id::derived_from(server.public_key()));
        let pubkey = server.public_key().clone().into();
        let (nonce, server_id_too) = (Nonce([3; 32]), server_id.clone());
        let challenge =
            LoginChallenge { nonce, server_id: server_id_too, pubkey, after: None, client_nonce: None };
        let session = UserLoggedIn {
            user_id: self.client.user_id().clone(),
            server_id: Some(server_id),
            pubkey: Some(self.key.public_key().clone().into()),
            privkey_store: None,
        };
        self.client.handle(NOW, Event::Wakeup);
        self.client.handle(NOW, Event::LinkOpened);
        let actions =
            self.client.receive(NOW, from_server(server, &Payload::LoginChallenge(challenge)), provider);
        let Some(Action::Send(proof)) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(*proof.kind(), FrameType::LoginProof);
        self.client.receive(NOW, from_server(server, &Payload::UserLoggedIn(session)), provider);
        let directory = Directory { users: vec![online], page: None, pages: None };
        self.client.receive(NOW, from_server(server, &Payload::Directory(directory)), provider);
        assert!(self.client.is_ready());
    }

    /// Gives a command, has its one draft sealed, and returns what is on the wire.
    fn send(&mut self, provider: &Provider, command: Command) -> Message {
        let actions = self.client.handle(NOW, Event::Command { reference: 1, command });
        let [Action::Seal(draft)] = &actions[..] else { panic!("{actions:?}") };
        let signed = draft.seal(provider, &self.key).expect("the system has randomness");
        let actions = self.client.handle(NOW, Event::Written(draft.id()));
        assert!(matches!(
            actions[..],
            [Action::Notify(Notice::Sent {
                reference: 1,
                to: SentTo::User { .. } | SentTo::Everyone { recipients: 1, failed: 0 },
            })]
        ));
        let frame = Frame::parse(signed.text().as_str(), 1 << 20).expect("a frame");
        match frame.payload() {
            Payload::MsgDirect(message) | Payload::MsgPublicChannel(message) => message.clone(),
            other => panic!("a message, not {other:?}"),
        }
    }

    fn read(&mut self, provider: &Provider, frame: Frame) -> Notice {
        let mut actions = self.client.receive(NOW, frame, provider);
        let Some(Action::Open(sealed)) = actions.pop() else { panic!("a message to open") };
        let opener: &dyn Opener = &self.key;
        match self.client.handle(NOW, Event::Opened(sealed.open(opener, provider))).pop() {
            Some(Action::Notify(notice)) => notice,
            other => panic!("a notice, not {other:?}"),
        }
    }
}

#[test]
fn a_message_passes_between_two_clients_with_real_keys() {
    let provider = Provider::new();
    let server = key("server-a");
    let (mut alice, mut bob) = (peer("alice"), peer("bob"));
    alice.log_in(&server, &provider, entry(&bob, "bob"));
    bob.log_in(&server, &provider, entry(&alice, "alice"));

    let text = "x".repeat(444) + "é";
    let direct = alice.send(&provider, Command::Tell { to: "bob".into(), text: text.as_str().into() });
    let public = alice.send(&provider, Command::All { text: text.as_str().into() });
    for (kind, payload) in [
        (MessageKind::Direct, Payload::UserDeliver(direct)),
        (MessageKind::Public, Payload::MsgPublicChannel(public)),
    ] {
        let Notice::Message { kind: shown_kind, from, label, text: shown, verified, ts } =
            bob.read(&provider, from_server(&server, &payload))
        else {
            panic!("a message")
        };
        assert_eq!(
            (shown_kind, &from, &*label, shown.as_str()),
            (kind, alice.client.user_id(), "alice", &*text)
        );
        assert_eq!(verified, Ok(()));
        assert!(ts >= Timestamp(NOW.unix_ms));
    }
}

#[test]
fn a_signer_with_another_key_seals_nothing() {
    let provider = Provider::new();
    let server = key("server-a");
    let (mut alice, bob) = (peer("alice"), peer("bob"));
    alice.log_in(&server, &provider, entry(&bob, "bob"));
    let command = Command::Tell { to: "bob".into(), text: "hi".into() };
    let actions = alice.client.handle(NOW, Event::Command { reference: 1, command });
    let [Action::Seal(draft)] = &actions[..] else { panic!("{actions:?}") };
    let other: &dyn Signer = &bob.key;
    assert!(draft.seal(&provider, other).is_err());
}
