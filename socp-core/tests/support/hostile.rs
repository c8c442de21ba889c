//! Peers that do what they like, at server 0 of a world.

use sha2::{Digest, Sha256};
use socp_core::server::Report;
use socp_core::wire::*;

use super::{World, address, key, unsigned};

pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;

pub fn server_id(name: &str) -> ServerId {
    name.parse().expect("an id")
}

pub fn user_id(name: &str) -> UserId {
    name.parse().expect("an id")
}

pub fn hello(key: &PublicKey, address: &HostPort, nonce: Option<Nonce>) -> ServerHello {
    let (host, port) = (address.host().into(), Some(address.port()));
    ServerHello { host, port, pubkey: key.clone().into(), nonce, ext: Vec::new() }
}

/// An address where nobody listens.
pub fn nowhere(port: u16) -> HostPort {
    HostPort::new("192.0.2.7", port).expect("an address")
}

/// A stranger dials server 0 and joins, unsigned, as whatever server it likes and with whatever key.
pub fn joins_unsigned(world: &mut World, id: &ServerId, key: &PublicKey) -> usize {
    let peer = world.connect(0, 66);
    world.users[peer].id = user_id(id.as_str());
    let join = Payload::ServerHelloJoin(hello(key, &nowhere(1), None));
    says_unsigned(world, peer, Recipient::Named(address(9_000).to_string().into()), &join);
    peer
}

/// A hostile server dials server 0 and joins as the standard has it, with a key that it holds.
pub fn standard_server(world: &mut World, id: &str, seed: u64) -> usize {
    joins(world, id, seed, None)
}

/// A hostile server that joins server 0 with `nonce` and proves itself.
pub fn native_server(world: &mut World, id: &str, seed: u64) -> usize {
    let own_nonce = Nonce([7; 32]);
    let peer = joins(world, id, seed, Some(own_nonce));
    let nonce = world.users[peer].inbox.iter().find_map(|frame| match frame.payload() {
        Payload::ServerWelcome(welcome) => welcome.nonce,
        _ => None,
    });
    let (nonce, to) = (nonce.expect("a welcome with a nonce"), world.id(0));
    let (dialled, from) = (address(9_000), server_id(id));
    let (host, port) = (dialled.host().into(), Some(dialled.port()));
    let proof = LinkProof { nonce, own_nonce, from, to: to.clone(), role: LinkRole::Dial, host, port };
    world.user_sends(peer, Recipient::from(&to), &Payload::LinkProof(proof));
    world.run();
    peer
}

/// A signed JOIN at server 0; with `nonce` the proof is to follow.
pub fn joins(world: &mut World, id: &str, seed: u64, nonce: Option<Nonce>) -> usize {
    let peer = world.connect(0, seed);
    world.users[peer].id = user_id(id);
    let join = Payload::ServerHelloJoin(hello(&key(seed), &nowhere(1), nonce));
    world.user_sends(peer, Recipient::Named(address(9_000).to_string().into()), &join);
    world.run();
    assert!(world.users[peer].online, "a server with a key of its own may join");
    peer
}

pub fn says(world: &mut World, peer: usize, payload: &Payload) {
    world.user_sends(peer, Recipient::Everyone, payload);
    world.run();
}

pub fn says_unsigned(world: &mut World, peer: usize, to: Recipient, payload: &Payload) {
    let text = unsigned(world.users[peer].id.id(), to, world.unix_ms(), payload);
    world.user_sends_text(peer, text);
    world.run();
}

/// An advert as the standard has it: no `issued_at`, no attestation.
pub fn advert(user: &UserId, server: &ServerId, key: &PublicKey, name: &str) -> UserAdvertise {
    UserAdvertise {
        user_id: user.clone(),
        server_id: server.clone(),
        pubkey: Some(key.clone().into()),
        meta: Some(Meta::named(name)),
        issued_at: None,
        attestation: None,
        rotations: Vec::new(),
        event: None,
    }
}

pub fn presence(server: &ServerId, issued_at: u64, users: &[(UserId, u64)]) -> Payload {
    let mut digest = Sha256::new();
    for (user, issued_at) in users {
        digest.update(format!("{user}\0{issued_at}\n"));
    }
    let (server_id, count) = (server.clone(), users.len() as u64);
    let digest: [u8; 32] = digest.finalize().into();
    Payload::Presence(Presence {
        server_id,
        issued_at,
        count,
        digest: Binary::new(digest),
        links: Vec::new(),
    })
}

/// A message as a sender without a key of its own can make it: nothing vouches for its author.
pub fn unvouched(sender: Option<&UserId>, recipient: &UserId, text: &[u8]) -> Message {
    Message {
        user_id: Some(recipient.clone()),
        to: Some(recipient.as_str().into()),
        ciphertext: Binary::new(text),
        sender: sender.cloned(),
        sender_pub: None,
        content_sig: None,
        ts: None,
        original_ts: None,
        part: None,
        parts_sig: None,
    }
}

pub fn welcome(assigned_id: ServerId, servers: Vec<WelcomeEntry>, clients: Vec<WelcomeEntry>) -> Payload {
    let (introducer, nonce) = (None, None);
    Payload::ServerWelcome(ServerWelcome {
        assigned_id,
        clients,
        servers,
        introducer,
        nonce,
        ext: Vec::new(),
    })
}

pub fn server_entry(server: &ServerId, port: u16, key: &PublicKey) -> WelcomeEntry {
    let (host, pubkey) = ("192.0.2.7".into(), Some(key.clone().into()));
    WelcomeEntry { user_id: None, server_id: Some(server.clone()), host, port: Some(port), pubkey }
}

pub fn reports(world: &World, node: usize, matching: fn(&Report) -> bool) -> usize {
    world.nodes[node].reports.iter().filter(|report| matching(report)).count()
}

pub fn refusals(world: &World, node: usize) -> usize {
    reports(world, node, |report| matches!(report, Report::Dropped { why: "refused frame", .. }))
}
