//! The public channel's tables (§9.3, §15.1, decisions §6): who is a member, and what liars make of it.

mod support;

use socp_core::wire::*;
use support::hostile::*;
use support::{FakeSigner, START_MS, World, key, signed, wrap};

const SECOND: u64 = 1_000;

fn members(world: &World, node: usize) -> Vec<UserId> {
    world.nodes[node].machine.channel().1.cloned().collect()
}

fn version(world: &World, node: usize) -> u64 {
    world.nodes[node].machine.channel().0
}

/// The wrap that a server has stored of a member.
fn stored_wrap(world: &World, node: usize, member: &UserId) -> Option<Binary> {
    let records = &world.nodes[node].snapshot.members;
    records.iter().find(|record| record.member_id == *member).expect("a member").wrapped_key.clone()
}

fn ids(world: &World, users: &[usize]) -> Vec<UserId> {
    let mut ids: Vec<UserId> = users.iter().map(|user| world.users[*user].id.clone()).collect();
    ids.sort();
    ids
}

/// Frames of a type that crossed server links.
fn crossed(world: &World, kind: &str) -> usize {
    let name = format!(r#"{{"type":"{kind}""#);
    world.traffic.iter().filter(|(.., text)| text.as_str().starts_with(&name)).count()
}

#[test]
fn everyone_is_a_member_from_the_moment_they_join_and_stays_one() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let both = ids(&world, &[alice, bob]);
    for node in 0..2 {
        assert_eq!(members(&world, node), both, "server {node}");
    }
    world.log_out(bob);
    world.advance(3 * SECOND);
    let carol = world.login(0, "carol", 3);
    let all = ids(&world, &[alice, bob, carol]);
    let snapshots: Vec<&PublicChannelSnapshot> = world.users[carol]
        .inbox
        .iter()
        .filter_map(|frame| match frame.payload() {
            Payload::PublicChannelSnapshot(snapshot) => Some(snapshot),
            _ => None,
        })
        .collect();
    assert_eq!((snapshots.len(), &snapshots[0].members), (1, &all));
    // After the directory (decisions §4).
    let kinds: Vec<&FrameType> = world.users[carol].inbox.iter().map(Frame::kind).collect();
    let at = |kind: &FrameType| kinds.iter().position(|other| *other == kind).expect("sent");
    assert!(at(&FrameType::UserLoggedIn) < at(&FrameType::Directory));
    assert!(at(&FrameType::Directory) < at(&FrameType::PublicChannelSnapshot));
}

#[test]
fn each_server_wraps_for_its_own_and_stores_what_others_wrapped() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.advance(3 * SECOND);
    let id = world.users[alice].id.clone();
    let expected = wrap(&id, &key(1)).wrapped_key;
    assert_eq!(stored_wrap(&world, 0, &id), Some(expected.clone()));
    assert_eq!(stored_wrap(&world, 1, &id), Some(expected));
    assert_eq!((crossed(&world, "PUBLIC_CHANNEL_ADD"), crossed(&world, "PUBLIC_CHANNEL_UPDATED")), (1, 1));
    assert_eq!((version(&world, 0), version(&world, 1)), (3, 3), "one change for ADD, one for the wrap");
    // Coming back changes nothing; a restart makes a new key and so a new wrap.
    world.log_out(alice);
    world.login(0, "alice", 1);
    world.advance(3 * SECOND);
    assert_eq!((version(&world, 0), crossed(&world, "PUBLIC_CHANNEL_UPDATED")), (3, 1));
    world.kill(0);
    world.start(0);
    world.advance(10 * SECOND);
    assert_eq!((members(&world, 0), version(&world, 0)), (vec![id], 3), "it survives");
    world.login(0, "alice", 1);
    world.advance(3 * SECOND);
    assert_eq!((version(&world, 0), crossed(&world, "PUBLIC_CHANNEL_UPDATED")), (4, 2));
}

#[test]
fn a_hundred_joiners_are_told_of_once_a_second() {
    let mut world = World::started(2);
    world.traffic.clear();
    let before = world.nodes[0].signer.count();
    for seed in 0..100 {
        world.login(0, "user", 10_000 + seed);
    }
    let logins = world.nodes[0].signer.count() - before;
    world.advance(4 * SECOND);
    assert_eq!((crossed(&world, "PUBLIC_CHANNEL_ADD"), crossed(&world, "PUBLIC_CHANNEL_UPDATED")), (1, 1));
    assert_eq!(members(&world, 1).len(), 100);
    let meanwhile = world.nodes[0].signer.count() - before - logins;
    assert_eq!(meanwhile, 2, "ADD and UPDATED");
    // The heartbeat's and the snapshot's signature are shared by all who see the same.
    let cost = world.nodes[0].signer.count();
    world.login(0, "user", 10_000);
    world.login(0, "user", 10_001);
    let again = world.nodes[0].signer.count() - cost;
    // LOGIN_CHALLENGE, USER_LOGGED_IN, DIRECTORY, USER_ADVERTISE, NAME_IN_USE each, and the snapshot once.
    assert_eq!(again, 2 * 5 + 1);
}

/// A server with a signed ADD or UPDATED of its own.
fn gossip(world: &mut World, mallory: usize, seed: u64, from: &str, payload: &Payload) {
    let ts = world.unix_ms();
    let frame = signed(server_id(from).id(), Recipient::Everyone, ts, payload, &FakeSigner::new(key(seed)));
    world.user_sends_text(mallory, frame.text().clone());
    world.run();
}

fn add(users: &[&UserId]) -> Payload {
    let add = users.iter().copied().cloned().collect();
    Payload::PublicChannelAdd(PublicChannelAdd { add, if_version: Some(1) })
}

fn updated(version: u64, wraps: Vec<Wrap>) -> Payload {
    Payload::PublicChannelUpdated(PublicChannelUpdated { version, wraps })
}

#[test]
fn an_add_for_another_servers_user_is_not_believed() {
    let mut world = World::started(2);
    let mallory = standard_server(&mut world, "evil", 66);
    let alice = world.login(1, "alice", 1);
    let (id, ghost) = (world.users[alice].id.clone(), user_id("ghost"));
    world.advance(3 * SECOND);
    world.traffic.clear();
    let before = (members(&world, 0), version(&world, 0));
    gossip(&mut world, mallory, 66, "evil", &add(&[&id, &ghost]));
    // Under another server's name the signature does not hold.
    let victim = world.id(1);
    gossip(&mut world, mallory, 66, victim.as_str(), &add(&[&ghost]));
    assert_eq!((members(&world, 0), version(&world, 0)), before);
    assert_eq!(crossed(&world, "PUBLIC_CHANNEL_ADD"), 0, "nor relayed");
}

#[test]
fn wraps_for_foreign_users_change_no_wrap() {
    let mut world = World::started(2);
    let mallory = standard_server(&mut world, "evil", 66);
    let (alice, bob) = (world.login(0, "alice", 1), world.login(1, "bob", 2));
    world.advance(3 * SECOND);
    let ids = [world.users[alice].id.clone(), world.users[bob].id.clone()];
    let before: Vec<_> = ids.iter().map(|id| stored_wrap(&world, 0, id)).collect();
    assert!(before.iter().all(Option::is_some));
    let wraps = ids.iter().map(|id| wrap(id, &key(66))).collect();
    let next = version(&world, 0) + 1;
    gossip(&mut world, mallory, 66, "evil", &updated(next, wraps));
    assert_eq!(ids.iter().map(|id| stored_wrap(&world, 0, id)).collect::<Vec<_>>(), before);
    // A version is a number of the whole group's: that much is believed.
    assert_eq!(version(&world, 0), next);
}

#[test]
fn a_version_bomb_is_refused_and_versions_never_fall() {
    let mut world = World::started(2);
    let mallory = standard_server(&mut world, "evil", 66);
    for bomb in [u64::MAX, version(&world, 0) + 1_000_001] {
        gossip(&mut world, mallory, 66, "evil", &updated(bomb, Vec::new()));
        assert_eq!(version(&world, 0), 1);
    }
    gossip(&mut world, mallory, 66, "evil", &updated(1_000_001, Vec::new()));
    assert_eq!((version(&world, 0), crossed(&world, "PUBLIC_CHANNEL_UPDATED")), (1_000_001, 1), "relayed");
    gossip(&mut world, mallory, 66, "evil", &updated(5, Vec::new()));
    assert_eq!(version(&world, 0), 1_000_001);
}

#[test]
fn a_flood_of_channel_gossip_is_bounded_and_replays_go_nowhere() {
    let mut world = World::started(2);
    let mallory = standard_server(&mut world, "evil", 66);
    world.traffic.clear();
    let burst = u64::from(world.nodes[0].config.limits.channel_burst);
    for flood in 2..1_000 {
        gossip(&mut world, mallory, 66, "evil", &updated(flood, Vec::new()));
    }
    assert_eq!(crossed(&world, "PUBLIC_CHANNEL_UPDATED") as u64, burst);
    assert_eq!(version(&world, 0), 1 + burst);
    world.advance(60 * SECOND);
    world.traffic.clear();
    for replay in 0..100 {
        let signer = FakeSigner::new(key(66));
        let payload = updated(1 + burst, Vec::new());
        let frame = signed(server_id("evil").id(), Recipient::Everyone, START_MS + replay, &payload, &signer);
        world.user_sends_text(mallory, frame.text().clone());
    }
    world.run();
    assert_eq!(crossed(&world, "PUBLIC_CHANNEL_UPDATED"), 0, "the signature does not cover `ts`");
}

fn key_share(creator: &FakeSigner, members: &[&UserId]) -> PublicChannelKeyShare {
    use socp_core::crypto::Signer as _;
    let share = |member: &&UserId| KeyShare {
        member: (*member).clone(),
        wrapped_public_channel_key: wrap(member, &key(7)).wrapped_key,
    };
    let shares = members.iter().map(share).collect();
    let creator_pub = creator.key.clone().into();
    let mut share = PublicChannelKeyShare { shares, creator_pub, content_sig: None };
    let signature = creator.sign(share.signed_text().as_bytes()).expect("fake");
    share.content_sig = Some(Binary::new(signature));
    share
}

#[test]
fn key_shares_go_to_the_members_they_name_and_only_once() {
    let mut world = World::started(3);
    let users: Vec<usize> = (0..3).map(|node| world.login(node, "user", 1 + node as u64)).collect();
    let bystander = world.login(1, "bystander", 9);
    let named: Vec<UserId> = users.iter().map(|user| world.users[*user].id.clone()).collect();
    let share = key_share(&world.users[users[0]].signer, &[&named[1], &named[2]]);
    let mut forged = share.clone();
    forged.shares.reverse();
    let kind = FrameType::PublicChannelKeyShare;
    for (payload, arrives) in [(forged, 0), (share.clone(), 1), (share, 1)] {
        let payload = Payload::PublicChannelKeyShare(payload);
        world.advance(SECOND);
        world.user_sends(users[0], Recipient::Named("public".into()), &payload);
        world.run();
        assert_eq!(world.received(users[1], &kind), arrives);
        assert_eq!(world.received(users[2], &kind), arrives);
        assert_eq!(world.received(bystander, &kind) + world.received(users[0], &kind), 0);
    }
    assert_eq!(world.errors(users[0])[0].0, "INVALID_SIG");
}

#[test]
fn the_table_is_bounded_and_half_of_it_is_kept_for_logins_here() {
    let mut world = World::with_servers(2);
    world.nodes[0].config.limits.channel_members = 4;
    world.start(0);
    world.start(1);
    world.advance(5 * SECOND);
    for seed in 0..5 {
        world.login(1, "far", 100 + seed);
    }
    assert_eq!(members(&world, 0).len(), 2);
    for seed in 0..5 {
        world.login(0, "near", 200 + seed);
    }
    world.advance(5 * SECOND);
    assert_eq!(members(&world, 0).len(), 4);
    assert_eq!(world.online(0).len(), 10, "being online does not depend on it");
}
