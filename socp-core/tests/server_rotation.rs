//! Key rotation (decisions §4): a chain from the first key on moves the pin, everywhere, and nothing else does.

mod support;

use socp_core::crypto::{MAX_ROTATIONS, Signer as _};
use socp_core::server::UserRecord;
use socp_core::wire::*;
use support::{FakeSigner, World, key};

/// The id that derives from the first key.
fn alice() -> UserId {
    Id::derived_from(&key(1)).into()
}

/// A chain through these keys, each step signed by the key before it.
fn chain(user: &UserId, seeds: &[u64]) -> Vec<Rotation> {
    let steps = seeds.windows(2).zip(1..);
    steps
        .map(|(pair, version)| {
            let (old, new) = (key(pair[0]), key(pair[1]));
            let mut step = Rotation {
                user_id: user.clone(),
                old: old.clone().into(),
                new: new.into(),
                version,
                sig: Binary::new(Vec::new()),
            };
            let sig = FakeSigner::new(old).sign(step.signed_text().as_bytes()).expect("fake");
            step.sig = Binary::new(sig);
            step
        })
        .collect()
}

/// A login under Alice's id with a key and what is to lead to it.
fn login(world: &mut World, node: usize, seed: u64, rotations: Vec<Rotation>) -> usize {
    let user = world.connect(node, seed);
    world.users[user].id = alice();
    let hello = UserHello {
        client: None,
        pubkey: Some(key(seed).into()),
        enc_pubkey: None,
        auth: vec!["pss".into()],
        ext: Vec::new(),
        meta: Some(Meta::named("alice")),
        rotations,
    };
    world.user_sends(user, Recipient::Named("server".into()), &Payload::UserHello(hello));
    world.run();
    user
}

fn pin(world: &World, node: usize) -> &UserRecord {
    let users = &world.nodes[node].snapshot.users;
    users.iter().find(|user| user.user_id == alice()).expect("pinned")
}

#[test]
fn a_signed_rotation_moves_the_pin_everywhere_and_the_old_key_opens_nothing() {
    let mut world = World::started(2);
    let bob = world.login(1, "bob", 50);
    let before = login(&mut world, 0, 1, Vec::new());
    world.log_out(before);
    let after = login(&mut world, 0, 2, chain(&alice(), &[1, 2]));
    assert!(world.users[after].online, "{:?}", world.errors(after));
    for node in 0..2 {
        let pin = pin(&world, node);
        assert_eq!((&pin.key, pin.rotations.len(), pin.proven), (&key(2), 1, true), "server {node}");
        assert_eq!(world.location(node, &alice()), Some(world.id(0)));
    }
    // Clients get the chain, to see for themselves.
    let told = world.users[bob].inbox.iter().rev().find_map(|frame| match frame.payload() {
        Payload::UserAdded(entry) if entry.user_id == alice() => Some(entry.clone()),
        _ => None,
    });
    assert_eq!(told.expect("told").rotations, chain(&alice(), &[1, 2]));
    world.log_out(after);
    // The id derives from the old key, and the pin outlives the process.
    world.kill(1);
    world.start(1);
    world.advance(5_000);
    for node in 0..2 {
        let thief = login(&mut world, node, 1, Vec::new());
        assert_eq!(world.errors(thief)[0].0, "BAD_KEY");
        // Who has logged in with the chain need not show it again.
        let again = login(&mut world, node, 2, Vec::new());
        assert!(world.users[again].online);
        assert_eq!(pin(&world, node).rotations.len(), 1);
        world.log_out(again);
    }
}

#[test]
fn a_chain_that_the_old_key_did_not_sign_is_none() {
    let good = chain(&alice(), &[1, 2]);
    let mut forged = good.clone();
    forged[0].sig =
        Binary::new(FakeSigner::new(key(2)).sign(good[0].signed_text().as_bytes()).expect("fake"));
    let mut renumbered = good.clone();
    renumbered[0].version = 2;
    let of_another = chain(&"bob".parse().expect("an id"), &[1, 2]);
    let gap = vec![chain(&alice(), &[1, 3]).remove(0), chain(&alice(), &[1, 4, 2]).remove(1)];
    let circle = chain(&alice(), &[1, 3, 1, 2]);
    let seeds: Vec<u64> = (1..).take(MAX_ROTATIONS + 1).chain([2_000, 2]).collect();
    let endless = chain(&alice(), &seeds);
    for (what, rotations) in [
        ("forged", forged),
        ("renumbered", renumbered),
        ("of another", of_another),
        ("with a gap", gap),
        ("in a circle", circle),
        ("too long", endless),
        ("not there", Vec::new()),
    ] {
        let mut world = World::started(1);
        let before = login(&mut world, 0, 1, Vec::new());
        world.log_out(before);
        let thief = login(&mut world, 0, 2, rotations);
        assert_eq!(world.errors(thief)[0].0, "BAD_KEY", "{what}");
        assert_eq!(pin(&world, 0).key, key(1), "{what}");
    }
}

#[test]
fn the_longest_chain_wins_and_a_fork_of_the_same_length_is_a_conflict() {
    let mut world = World::started(2);
    for (seeds, taken) in [
        (&[1][..], true),
        (&[1, 2], true),
        (&[1, 3], false),
        (&[1, 3, 4], true),
        (&[1, 2, 5], false),
        (&[1, 2, 5, 6], true),
    ] {
        let user = login(&mut world, 0, *seeds.last().expect("a key"), chain(&alice(), seeds));
        assert_eq!(world.users[user].online, taken, "{seeds:?}");
        world.log_out(user);
    }
    assert_eq!((&pin(&world, 0).key, &pin(&world, 1).key), (&key(6), &key(6)));
}

#[test]
fn a_rotation_elsewhere_ends_the_session_of_the_old_key() {
    let mut world = World::started(2);
    let before = login(&mut world, 0, 1, Vec::new());
    world.advance(1_000);
    let after = login(&mut world, 1, 2, chain(&alice(), &[1, 2]));
    assert!(world.users[after].online && !world.users[before].online);
    assert_eq!(world.errors(before).last().expect("told").0, "BAD_KEY");
    for node in 0..2 {
        assert_eq!(world.location(node, &alice()), Some(world.id(1)), "server {node}");
    }
}

#[test]
fn a_key_that_the_id_derives_from_beats_others_and_so_does_its_rotation() {
    let mut world = World::started(2);
    // Somebody else's claim to the id comes first.
    let squatter = world.connect(0, 9);
    world.users[squatter].id = alice();
    world.hello(squatter, "not alice", false);
    assert_eq!(pin(&world, 0).key, key(9));
    let owner = login(&mut world, 1, 2, chain(&alice(), &[1, 2]));
    assert!(world.users[owner].online && !world.users[squatter].online);
    assert_eq!((&pin(&world, 0).key, &pin(&world, 1).key), (&key(2), &key(2)));
}
