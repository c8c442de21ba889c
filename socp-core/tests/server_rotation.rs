//! Key rotation (decisions §4): a chain from the first key on moves the pin, everywhere, and nothing else does.

mod support;

use std::net::{IpAddr, Ipv4Addr};

use socp_core::crypto::{MAX_ROTATIONS, Signer as _};
use socp_core::server::{Caller, LinkOrigin, UserRecord};
use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, World, key, password_hash};

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
    login_as(world, node, &alice(), seed, rotations)
}

fn login_as(world: &mut World, node: usize, id: &UserId, seed: u64, rotations: Vec<Rotation>) -> usize {
    let user = world.connect(node, seed);
    world.users[user].id = id.clone();
    let hello = UserHello {
        client: None,
        pubkey: Some(key(seed).into()),
        enc_pubkey: None,
        auth: vec!["pss".into()],
        ext: Vec::new(),
        meta: Some(Meta::named("alice")),
        rotations,
        nonce: None,
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
    let good = chain(&alice(), &[1, 3, 2]);
    let mut forged = chain(&alice(), &[1, 2]);
    let sig = FakeSigner::new(key(2)).sign(forged[0].signed_text().as_bytes()).expect("fake");
    forged[0].sig = Binary::new(sig);
    let mut renumbered = chain(&alice(), &[1, 2]);
    renumbered[0].version = 2;
    let mut swapped = good.clone();
    swapped.reverse();
    let mut gap = good.clone();
    gap[1] = chain(&alice(), &[1, 4, 3, 2]).remove(2);
    let endless: Vec<u64> = (1..=1).chain(100..100 + MAX_ROTATIONS as u64).chain([2]).collect();
    for (what, rotations) in [
        ("forged", forged),
        ("renumbered", renumbered),
        ("in the wrong order", swapped),
        ("with a gap in the versions", gap),
        ("with a step left out", vec![good[1].clone()]),
        ("of another user", chain(&"bob".parse().expect("an id"), &[1, 2])),
        ("to another key", chain(&alice(), &[1, 3])),
        ("in a circle", chain(&alice(), &[1, 3, 1, 2])),
        ("too long", chain(&alice(), &endless)),
        ("of somebody else's keys", chain(&alice(), &[8, 2])),
        ("not there", Vec::new()),
    ] {
        let mut world = World::started(1);
        let before = login(&mut world, 0, 1, Vec::new());
        world.log_out(before);
        let bob = world.login(0, "bob", 50);
        let thief = login(&mut world, 0, 2, rotations);
        assert_eq!(world.errors(thief)[0].0, "BAD_KEY", "{what}");
        assert_eq!(pin(&world, 0).key, key(1), "{what}");
        assert_eq!(world.received(bob, &FrameType::UserKeyConflict), 1, "{what}");
    }
    // As long as one may be.
    let mut world = World::started(1);
    let before = login(&mut world, 0, 1, Vec::new());
    world.log_out(before);
    let mut longest = endless;
    longest.remove(1);
    let user = login(&mut world, 0, 2, chain(&alice(), &longest));
    assert!(world.users[user].online, "{:?}", world.errors(user));
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

/// A step's signature does not cover the steps before it, and anybody may sign for somebody else's key.
#[test]
fn keys_put_in_front_of_anothers_chain_give_no_right_to_the_id() {
    for id in [alice(), "carol".parse().expect("an id")] {
        let as_id = |world: &mut World, seed: u64, rotations| login_as(world, 0, &id, seed, rotations);
        let mut world = World::started(1);
        let owner = as_id(&mut world, 1, Vec::new());
        world.log_out(owner);
        // Mallory's 8 signs for the owner's key, and then for one of its own; a chain alone logs nobody in.
        let feint = chain(&id, &[8, 1]);
        let mallory = as_id(&mut world, 1, feint);
        world.log_out(mallory);
        for fork in [&[8, 9][..], &[8, 9, 10], &[8, 9, 10, 11]] {
            let thief = as_id(&mut world, *fork.last().expect("a key"), chain(&id, fork));
            assert!(!world.users[thief].online, "{id} {fork:?}");
        }
        // Nor with a step of the owner's on top of its own.
        let mut grafted = chain(&id, &[8, 1, 2]);
        grafted[1] = chain(&id, &[7, 1, 2]).remove(1);
        let mallory = as_id(&mut world, 2, grafted.clone());
        if world.users[mallory].online {
            world.log_out(mallory);
        }
        for fork in [&[8, 9][..], &[8, 9, 10], &[8, 9, 10, 11]] {
            let thief = as_id(&mut world, *fork.last().expect("a key"), chain(&id, fork));
            assert!(!world.users[thief].online, "{id} {fork:?}");
        }
        let owner = as_id(&mut world, 3, chain(&id, &[1, 2, 3]));
        assert!(world.users[owner].online, "{id}: {:?}", world.errors(owner));
    }
}

#[test]
fn an_old_advert_does_not_bring_the_old_key_back() {
    let mut world = World::started(2);
    let before = login(&mut world, 0, 1, Vec::new());
    world.log_out(before);
    let after = login(&mut world, 0, 3, chain(&alice(), &[1, 2, 3]));
    let bob = world.login(0, "bob", 50);
    // A server says that Alice is with it, under her old keys, with the chains of their days.
    let mallory = native_server(&mut world, "evil", 66);
    let evil = server_id("evil");
    for (seed, rotations) in
        [(1, Vec::new()), (2, chain(&alice(), &[1, 2])), (1, chain(&alice(), &[1, 2, 3]))]
    {
        let issued_at = Some(world.unix_ms());
        let claim = advert(&alice(), &evil, &key(seed), "alice");
        says(&mut world, mallory, &Payload::UserAdvertise(UserAdvertise { issued_at, rotations, ..claim }));
        world.advance(1_000);
        for node in 0..2 {
            assert_eq!((&pin(&world, node).key, pin(&world, node).rotations.len()), (&key(3), 2));
            assert_eq!(world.location(node, &alice()), Some(world.id(0)));
        }
    }
    assert!(world.users[after].online);
    // Her own keys, given up: nobody is alarmed. Another's of the same length is a conflict, and so it is told.
    assert_eq!(world.received(bob, &FrameType::UserKeyConflict), 0);
    let issued_at = Some(world.unix_ms());
    let rotations = chain(&alice(), &[1, 8, 9]);
    let claim = advert(&alice(), &evil, &key(9), "alice");
    says(&mut world, mallory, &Payload::UserAdvertise(UserAdvertise { issued_at, rotations, ..claim }));
    assert_eq!(world.received(bob, &FrameType::UserKeyConflict), 1);
    assert_eq!(pin(&world, 0).key, key(3));
}

#[test]
fn who_comes_late_learns_the_chain_from_others() {
    let mut world = World::with_servers(3);
    world.start(0);
    world.start(1);
    world.advance(5_000);
    let user = login(&mut world, 0, 2, chain(&alice(), &[1, 2]));
    world.start(2);
    world.advance(10_000);
    assert_eq!((&pin(&world, 2).key, pin(&world, 2).rotations.len()), (&key(2), 1));
    world.log_out(user);
    let thief = login(&mut world, 2, 1, Vec::new());
    assert_eq!(world.errors(thief)[0].0, "BAD_KEY");
    assert!(world.errors(thief)[0].1.starts_with("this key was replaced"), "{:?}", world.errors(thief));
}

/// Seventeen checks an advert would be a way to make others work.
#[test]
fn a_chain_is_verified_once_and_charged_to_its_origin() {
    let mut world = World::started(1);
    let mallory = native_server(&mut world, "evil", 66);
    let evil = server_id("evil");
    let seeds: Vec<u64> = (100..=100 + MAX_ROTATIONS as u64).collect();
    let last = *seeds.last().expect("a key");
    let advertise = |world: &mut World, id: &str, rotations: Vec<Rotation>| {
        let issued_at = Some(world.unix_ms());
        let claim = advert(&user_id(id), &evil, &key(last), "dora");
        let before = world.verifier.count();
        says(world, mallory, &Payload::UserAdvertise(UserAdvertise { issued_at, rotations, ..claim }));
        world.verifier.count() - before
    };
    let full = chain(&user_id("dora"), &seeds);
    let first = advertise(&mut world, "dora", full.clone());
    world.advance(10);
    let again = advertise(&mut world, "dora", full);
    assert_eq!((first, again), (again + MAX_ROTATIONS, again), "once");
    // A chain fails at its first bad step.
    let mut bad = chain(&user_id("dave"), &seeds);
    bad[0].sig = Binary::new([0; 512]);
    let failed = advertise(&mut world, "dave", bad);
    assert!(failed <= again + 2, "{failed} checks");
    // A hundred changes a second are honest; more slow the link down.
    let paused = world.pauses;
    for index in 0..8 {
        let id = format!("user{index}");
        advertise(&mut world, &id, chain(&user_id(&id), &seeds));
    }
    assert!(world.pauses > paused, "charged by the step");
}

/// The seed's clients keep their private key at the server; of a new one it has none.
#[test]
fn a_password_opens_the_key_it_was_made_for_and_says_so_once_that_was_replaced() {
    let mut world = World::started(1);
    let private = |last| Caller { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), private: true };
    let seed = world.connect_from(0, 1, LinkOrigin::AcceptedFrom(private(1)));
    world.users[seed].id = alice();
    let (salt, hash) = (encode_base64(&[7; 16]), encode_base64(&password_hash("open sesame", &[7; 16])));
    let registration = UserRegister {
        user_id: alice(),
        pubkey: key(1).into(),
        privkey_store: "sealed".into(),
        pake_password: format!("{salt}.{hash}").into(),
    };
    says_unsigned(&mut world, seed, Recipient::Unnamed, &Payload::UserRegister(registration));
    let open = UserLogin { user_id: alice(), password: "open sesame".into() };
    let open = Payload::UserLogin(open);
    says_unsigned(&mut world, seed, Recipient::Unnamed, &open);
    assert_eq!(world.online(0), [alice()]);
    world.log_out(seed);
    let rotated = login(&mut world, 0, 2, chain(&alice(), &[1, 2]));
    assert!(world.users[rotated].online);
    world.log_out(rotated);
    for restarted in [false, true] {
        let seed = world.connect_from(0, 1, LinkOrigin::AcceptedFrom(private(1)));
        world.users[seed].id = alice();
        says_unsigned(&mut world, seed, Recipient::Unnamed, &open);
        let told = "this password was given up: log in with the key, which has been proven or replaced since";
        let told = told.to_owned();
        assert_eq!(world.errors(seed), [("BAD_KEY".to_owned(), told)], "restarted: {restarted}");
        assert!(world.online(0).is_empty());
        world.kill(0);
        world.start(0);
    }
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
