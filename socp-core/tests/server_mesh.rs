//! Servers among themselves: the scenario of the project, and order that must not matter.

mod support;

use socp_core::crypto::Signer;
use socp_core::server::{
    Action, ConflictOf, Event, Introducer, JoinPolicy, KeyConflict, PinnedBy, Report, Server, Snapshot,
};
use socp_core::wire::*;
use support::{End, World, address, introducer, key, message, now};

#[test]
fn three_servers_become_a_full_mesh_of_one_link_a_pair() {
    let world = World::started(3);
    for node in 0..3 {
        assert_eq!(world.linked(node), 2, "server {node}");
        assert_eq!(world.nodes[node].machine.counts().links, 2, "server {node}");
    }
}

#[test]
fn users_on_two_servers_see_and_reach_each_other_the_moment_they_log_in() {
    let mut world = World::started(3);
    let bob = world.login(1, "bob", 2);
    let alice = world.login(0, "alice", 1);
    // No time has passed since the logins, and nobody asked for anything.
    assert_eq!(world.presence_seen(bob), ["+alice"]);
    assert_eq!(world.presence_seen(alice), ["+bob"]);
    let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
    world.tell(bob, &alice_id, "hello across servers!");
    world.tell(alice, &bob_id, "hello back");
    assert_eq!(world.messages(alice), [(bob_id.clone(), "hello across servers!".to_owned())]);
    assert_eq!(world.messages(bob), [(alice_id, "hello back".to_owned())]);
    world.log_out(bob);
    assert_eq!(world.presence_seen(alice), ["+bob", &format!("-{bob}")]);
    assert_eq!(world.online(2).len(), 1);
}

#[test]
fn a_late_server_knows_who_is_online_and_is_known() {
    let mut world = World::with_servers(3);
    world.start(0);
    world.start(1);
    world.advance(3_000);
    let alice = world.login(0, "alice", 1);
    world.login(1, "bob", 2);
    world.advance(60_000);
    world.start(2);
    world.advance(1_000);
    let carol = world.login(2, "carol", 3);
    let mut seen = world.presence_seen(carol);
    seen.sort();
    assert_eq!(seen, ["+alice", "+bob"]);
    assert_eq!(world.presence_seen(alice), ["+bob", "+carol"]);
}

#[test]
fn servers_that_start_in_any_order_with_users_first_converge() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut world = World::with_servers(3);
        let mut users = Vec::new();
        for node in order {
            world.start(node);
            users.push(world.login(node, &format!("user{node}"), 10 + node as u64));
        }
        world.advance(5_000);
        for node in 0..3 {
            assert_eq!(world.online(node).len(), 3, "server {node}, order {order:?}");
        }
        for user in users {
            let mut seen = world.presence_seen(user);
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 2, "user {user} saw {seen:?}, order {order:?}");
        }
    }
}

#[test]
fn a_killed_server_comes_back_and_everyones_directory_heals() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    world.advance(1_000);
    world.kill(1);
    // Within the grace nobody is told; a message meets TIMEOUT.
    world.advance(10_000);
    assert_eq!(world.presence_seen(alice), ["+bob"]);
    let bob_id = world.users[bob].id.clone();
    world.tell(alice, &bob_id, "are you there?");
    assert_eq!(world.errors(alice)[0].0, "TIMEOUT");
    // Then its users are gone.
    world.advance(60_000);
    assert_eq!(world.presence_seen(alice), ["+bob", &format!("-{bob}")]);
    world.start(1);
    world.advance(61_000);
    assert_eq!(world.linked(1), 2);
    let bob_again = world.login(1, "bob", 2);
    assert_eq!(world.presence_seen(bob_again), ["+alice"]);
    assert_eq!(world.presence_seen(alice).last().map(String::as_str), Some("+bob"));
    let alice_id = world.users[alice].id.clone();
    world.tell(bob_again, &alice_id, "I am back");
    assert_eq!(world.messages(alice).last().map(|(_, text)| text.as_str()), Some("I am back"));
}

#[test]
fn a_server_that_restarts_at_once_without_its_users_does_not_leave_ghosts() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    world.kill(1);
    world.start(1);
    world.advance(8_000);
    assert_eq!(world.presence_seen(alice), ["+bob", &format!("-{bob}")]);
    assert_eq!(world.online(0), [world.users[alice].id.clone()]);
    assert_eq!(world.online(1), [world.users[alice].id.clone()]);
}

#[test]
fn a_cut_link_heals_within_its_grace_and_nobody_notices() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    for _ in 0..3 {
        world.cut(0, 1);
        world.advance(5_000);
        assert_eq!(world.linked(0), 2);
    }
    assert_eq!(world.presence_seen(alice), ["+bob"]);
    assert_eq!(
        world.presence_seen(bob),
        Vec::<String>::new().into_iter().chain(["+alice".to_owned()]).collect::<Vec<_>>()
    );
}

#[test]
fn gossip_that_was_lost_is_asked_for() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    world.lose = Some(|text| text.contains("USER_ADVERTISE"));
    world.login(1, "bob", 2);
    world.lose = None;
    assert_eq!(world.presence_seen(alice), Vec::<String>::new());
    // The next PRESENCE tells the digest; two seconds later the difference is asked for.
    world.advance(65_000);
    assert_eq!(world.presence_seen(alice), ["+bob"]);
    world.lose = Some(|text| text.contains("USER_REMOVE"));
    world.log_out(1);
    world.lose = None;
    world.advance(65_000);
    assert_eq!(world.presence_seen(alice), ["+bob", "-1"]);
}

#[test]
fn an_advert_never_goes_back_to_its_sender_or_origin() {
    let mut world = World::started(4);
    world.traffic.clear();
    world.login(0, "alice", 1);
    let origin = world.id(0);
    let adverts: Vec<_> =
        world.traffic.iter().filter(|(_, _, text)| text.as_str().contains("USER_ADVERTISE")).collect();
    assert!(adverts.iter().all(|(_, to, _)| !matches!(to, End::Server(0, _))), "back to the origin");
    // 3 from the origin; each of 3 receivers relays at most once to each of the other 2.
    assert!((3..=9).contains(&adverts.len()), "{} adverts", adverts.len());
    assert!(adverts.iter().all(|(_, _, text)| text.as_str().contains(origin.as_str())));
}

#[test]
fn servers_learn_of_each_other_from_one_introducer() {
    let mut world = World::with_servers(4);
    for node in 1..4 {
        world.nodes[node].config.bootstrap.truncate(1);
    }
    world.nodes[0].config.bootstrap.clear();
    for node in 0..4 {
        world.start(node);
    }
    world.advance(20_000);
    for node in 0..4 {
        assert_eq!(world.linked(node), 3, "server {node}");
    }
}

#[test]
fn an_allowlist_also_holds_for_servers_met_before_and_never_against_the_bootstrap_list() {
    let mut world = World::with_servers(4);
    for node in 0..4 {
        world.nodes[node].config.bootstrap = if node == 3 { vec![introducer(0)] } else { Vec::new() };
        world.start(node);
    }
    for node in 1..3 {
        world.nodes[node].config.bootstrap = vec![introducer(0)];
        world.kill(node);
        world.start(node);
    }
    world.advance(10_000);
    assert_eq!(world.linked(3), 3, "open, it met all of them");
    for (introducers, allowed, linked) in [
        (vec![], vec![], vec![]),
        (vec![0], vec![], vec![0]),
        (vec![], vec![2], vec![2]),
        (vec![0], vec![2], vec![0, 2]),
    ] {
        world.kill(3);
        world.nodes[3].config.bootstrap = introducers.into_iter().map(introducer).collect();
        let allowed = allowed.into_iter().map(|node| introducer(node).key).collect();
        world.nodes[3].config.join = JoinPolicy::Allowlist(allowed);
        world.start(3);
        // The others dial it, too.
        world.advance(120_000);
        let links: Vec<usize> = (0..3).filter(|node| world.is_linked_to(3, &world.id(*node))).collect();
        assert_eq!(links, linked);
    }
}

#[test]
fn an_introducer_gives_another_id_if_it_is_in_use_under_another_key() {
    let mut world = World::with_servers(2);
    let taken: ServerId = "srv".parse().expect("an id");
    for node in 0..2 {
        world.nodes[node].config.server_id = taken.clone();
    }
    world.start(0);
    world.start(1);
    world.advance(5_000);
    assert_eq!(world.linked(0), 1);
    assert_eq!(world.linked(1), 1);
    let ids = [world.id(0), world.id(1)];
    assert_ne!(ids[0], ids[1]);
    let assigned = ids.iter().find(|id| **id != taken).expect("one was assigned");
    assert!(assigned.id().is_uuid_v4());
    let node = ids.iter().position(|id| id == assigned).expect("there");
    assert_eq!(world.nodes[node].snapshot.own_id.as_ref(), Some(assigned), "survives a restart");
}

#[test]
fn a_server_that_says_goodbye_takes_its_users_along_at_once() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    world.handle(1, socp_core::server::Event::Shutdown);
    world.nodes[1].alive = false;
    world.run();
    assert_eq!(world.presence_seen(alice), ["+bob", &format!("-{bob}")]);
    assert!(!world.users[bob].online);
}

#[test]
fn a_link_proof_for_another_address_is_refused() {
    for (advertised, links) in [(9_000, 1), (9_500, 0)] {
        let mut world = World::with_servers(2);
        // Server 0 is dialled at 9000; where it insists on another address, the dialler may be relaying.
        world.nodes[0].config.address = Some(address(advertised));
        world.nodes[0].config.address_is_binding = true;
        world.nodes[0].config.bootstrap.clear();
        world.start(0);
        world.start(1);
        world.advance(3_000);
        assert_eq!(world.linked(1), links, "advertised {advertised}");
        let refused = |report: &Report| matches!(report, Report::Dropped { why, .. } if *why == "link proof does not hold");
        assert_eq!(world.nodes[0].reports.iter().any(refused), links == 0);
    }
}

#[test]
fn a_server_back_from_a_long_outage_does_not_bring_ghosts_along() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    world.kill(1);
    world.advance(120_000);
    let gone = format!("-{bob}");
    assert_eq!(world.presence_seen(alice), ["+bob", &gone]);
    world.start(1);
    world.advance(70_000);
    assert_eq!(world.linked(0), 1);
    assert_eq!(world.presence_seen(alice), ["+bob", &gone], "bob has not come back yet");
    world.login(1, "bob", 2);
    assert_eq!(world.presence_seen(alice), ["+bob", &gone, "+bob"]);
}

#[test]
fn a_long_cut_link_brings_its_users_back_once_their_server_says_so() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let (address_0, address_1) = (world.nodes[0].listen.clone(), world.nodes[1].listen.clone());
    // Neither reaches the other for two minutes.
    world.nodes[0].listen = address(1);
    world.nodes[1].listen = address(2);
    world.cut(0, 1);
    world.advance(120_000);
    assert_eq!(world.presence_seen(alice), ["+bob".to_owned(), format!("-{bob}")]);
    world.nodes[0].listen = address_0;
    world.nodes[1].listen = address_1;
    world.advance(65_000);
    assert_eq!(world.presence_seen(alice).last().map(String::as_str), Some("+bob"));
    assert_eq!(world.presence_seen(alice).len(), 3, "told once");
}

/// The adverts are old news to the duplicate cache's age, and the set of users changed meanwhile.
#[test]
fn users_of_long_ago_come_back_after_an_outage_in_which_others_came() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    world.advance(900_000);
    let listen = [world.nodes[0].listen.clone(), world.nodes[1].listen.clone()];
    world.nodes[0].listen = address(1);
    world.nodes[1].listen = address(2);
    world.cut(0, 1);
    world.advance(60_000);
    world.login(1, "dave", 4);
    world.advance(60_000);
    let [first, second] = listen;
    world.nodes[0].listen = first;
    world.nodes[1].listen = second;
    world.advance(65_000);
    let seen = world.presence_seen(alice);
    assert_eq!(seen[..2], ["+bob".to_owned(), format!("-{bob}")]);
    let mut back = seen[2..].to_vec();
    back.sort();
    assert_eq!(back, ["+bob", "+dave"]);
}

/// Alice's last words to somebody, and whether her signature is in them: a direct message with and without it, and a
/// public one, whose signature names no recipient.
fn last_words(world: &World, alice: usize, to: &UserId) -> [(Payload, bool); 3] {
    let ts = Timestamp(world.unix_ms());
    let alice = &world.users[alice];
    let direct = message(&alice.id, to, "goodbye", ts, &alice.signer);
    let unvouched = Message { content_sig: None, ..direct.clone() };
    let content = format!("goodbye{}{ts}", alice.id);
    let content_sig = Some(Binary::new(alice.signer.sign(content.as_bytes()).expect("fake")));
    let public = Message { content_sig, ..direct.clone() };
    [
        (Payload::MsgDirect(direct), true),
        (Payload::MsgDirect(unvouched), false),
        (Payload::MsgPublicChannel(public), true),
    ]
}

#[test]
fn who_leaves_while_a_message_is_checked_has_said_it() {
    for case in 0..3 {
        let mut world = World::started(3);
        let alice = world.login(0, "alice", 1);
        let bob = world.login(2, "bob", 2);
        let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
        let (payload, _) = &last_words(&world, alice, &bob_id)[case];
        let frame = world.under_way(alice, &bob_id, payload);
        let link = world.link_from(2, 0);
        let checked = world.checked(2, link, frame).expect("it holds");
        // News of the removal is faster: it comes by way of server 1 too.
        world.log_out(alice);
        assert_eq!(world.location(2, &alice_id), None);
        world.handle(2, Event::Frame { link, frame: checked });
        world.run();
        assert_eq!(world.messages(bob), [(alice_id, "goodbye".to_owned())], "{payload:?}");
    }
}

#[test]
fn what_somebody_wrote_who_has_just_left_arrives_if_the_signature_vouches_for_it() {
    for case in 0..3 {
        let mut world = World::started(3);
        let alice = world.login(0, "alice", 1);
        let bob = world.login(2, "bob", 2);
        let (alice_id, bob_id) = (world.users[alice].id.clone(), world.users[bob].id.clone());
        let (payload, vouched) = &last_words(&world, alice, &bob_id)[case];
        let frame = world.under_way(alice, &bob_id, payload);
        let (link, other) = (world.link_from(2, 0), world.link_from(2, 1));
        world.log_out(alice);
        assert_eq!(world.location(2, &alice_id), None);
        if let Payload::MsgPublicChannel(_) = payload {
            let refused = world.checked(2, other, frame.clone());
            assert!(refused.is_err(), "she has not left that server");
        }
        let checked = world.checked(2, link, frame);
        assert_eq!(checked.is_ok(), *vouched, "{payload:?}");
        let Ok(frame) = checked else { continue };
        world.handle(2, Event::Frame { link, frame });
        world.run();
        assert_eq!(world.messages(bob), [(alice_id, "goodbye".to_owned())], "{payload:?}");
    }
}

/// What the server told alice of messages of hers: code, words, and which message.
fn told(world: &World, alice: usize) -> Vec<(String, String, Option<FrameRef>)> {
    let errors = world.users[alice].inbox.iter().filter_map(|frame| match frame.payload() {
        Payload::Error(error) => {
            Some((error.code.to_string(), error.detail.to_string(), error.reference.clone()))
        }
        _ => None,
    });
    errors.collect()
}

#[test]
fn what_was_written_to_a_server_that_fell_silent_is_told_to_its_authors() {
    let mut world = World::started(3);
    let alice = world.login(0, "alice", 1);
    let bob = world.login(1, "bob", 2);
    let carol = world.login(2, "carol", 3);
    let (bob_id, carol_id) = (world.users[bob].id.clone(), world.users[carol].id.clone());
    world.tell(alice, &bob_id, "read");
    world.advance(20_000);
    // It stands still, and its sockets stay open.
    world.nodes[1].alive = false;
    world.advance(3_000);
    world.tell(alice, &carol_id, "to a server that lives");
    world.tell(alice, &bob_id, "never read");
    let (read, ts) = (world.messages(bob).len(), Timestamp(world.unix_ms()));
    assert_eq!((read, told(&world, alice)), (1, Vec::new()), "nobody can know yet");
    world.advance(60_000);
    let kind = "MSG_DIRECT".into();
    let reference = FrameRef { kind, to: Some(bob_id.as_str().into()), ts: Some(ts) };
    let words = format!("the link to the server of {bob_id} was lost: this may not have arrived");
    assert_eq!(told(&world, alice), [("TIMEOUT".to_owned(), words, Some(reference))]);
    assert_eq!(world.messages(carol).len(), 1);
}

#[test]
fn a_link_that_is_lost_costs_an_error_for_each_message_since_its_last_word_within_a_bound() {
    let mut world = World::started(2);
    let alice = world.login(0, "alice", 1);
    let dave = world.login(0, "dave", 4);
    let bob = world.login(1, "bob", 2);
    let bob_id = world.users[bob].id.clone();
    world.nodes[1].alive = false;
    for index in 0..1_100 {
        world.tell(alice, &bob_id, &format!("{index}"));
    }
    world.tell(dave, &bob_id, "and mine");
    world.log_out(dave);
    let before = world.pauses;
    world.kill(1);
    assert_eq!(world.pauses, before, "it is not their doing");
    // The newest 1,024, of which one's author is gone.
    assert_eq!(told(&world, alice).len(), 1_023);
    // Nor is anybody told twice.
    world.start(1);
    world.advance(5_000);
    world.kill(1);
    assert_eq!(told(&world, alice).len(), 1_023);
}

/// What a machine dials when it is woken up to a moment.
fn dials(machine: &mut Server, ms: u64) -> Vec<u16> {
    let actions = machine.handle(now(ms), Event::Wakeup);
    let dialled = actions.into_iter().filter_map(|action| match action {
        Action::Dial { address, .. } => Some(address.port()),
        _ => None,
    });
    dialled.collect()
}

#[test]
fn introducers_are_tried_in_the_lists_order_and_a_mute_one_holds_the_next_up_for_a_moment() {
    let mut config = World::with_servers(1).nodes[0].config.clone();
    config.bootstrap = [4, 0, 2, 3, 1].map(introducer).into();
    let mut machine = Server::new(config, Snapshot::default(), now(0));
    // The first of the list; the entry with our own key is none.
    assert_eq!(dials(&mut machine, 0), [9_004]);
    // It says nothing. The next one does not exist: the one behind it is tried at once.
    assert_eq!(dials(&mut machine, 999), [0_u16; 0]);
    assert_eq!(dials(&mut machine, 1_000), [9_002]);
    machine.handle(now(1_001), Event::DialFailed { address: address(9_002), why: "refused".into() });
    assert_eq!(dials(&mut machine, 1_001), [9_003]);
    // From then on each is dialled by its own clock; the last one waits for its turn.
    assert!(!dials(&mut machine, 2_000).contains(&9_001));
    assert!(dials(&mut machine, 2_001).contains(&9_001));
}

#[test]
fn an_introducer_that_answers_holds_nobody_up() {
    let mut world = World::with_servers(4);
    for node in 0..3 {
        world.nodes[node].config.bootstrap.clear();
        world.start(node);
    }
    world.nodes[3].config.bootstrap = [2, 0, 1].map(introducer).into();
    world.start(3);
    assert_eq!(world.linked(3), 3, "not a moment has passed");
    let up = world.nodes[3].reports.iter().filter_map(|report| match report {
        Report::ServerUp { server, .. } => Some(server.clone()),
        _ => None,
    });
    assert_eq!(up.collect::<Vec<_>>(), [2, 0, 1].map(|node| world.id(node)));
}

/// What was said about introducers that cannot be joined.
fn troubles(world: &World, node: usize) -> Vec<String> {
    let reports = world.nodes[node].reports.iter();
    let troubles = reports.filter_map(|report| match report {
        Report::IntroducerDown { address, why } => Some(format!("{} {why}", address.port())),
        Report::IntroducerUp { address } => Some(format!("{} up", address.port())),
        _ => None,
    });
    troubles.collect()
}

#[test]
fn why_an_introducer_cannot_be_joined_is_told_and_that_it_can_again() {
    let mut world = World::with_servers(3);
    world.nodes[0].config.join = JoinPolicy::Allowlist(Vec::new());
    world.nodes[0].config.bootstrap.clear();
    world.nodes[1].config.bootstrap = vec![introducer(0), introducer(2)];
    world.nodes[2].config.bootstrap.clear();
    world.start(0);
    world.start(1);
    let refused = "9000 it refuses us: BAD_KEY this server joins only servers on its list";
    assert_eq!(troubles(&world, 1), [refused, "9002 refused"]);
    world.start(2);
    world.advance(5_000);
    let troubles = troubles(&world, 1);
    assert_eq!(troubles.iter().filter(|trouble| *trouble == "9002 up").count(), 1, "{troubles:?}");
    assert_eq!(troubles.last().map(String::as_str), Some(refused), "{troubles:?}");
}

#[test]
fn two_links_of_one_pair_are_no_trouble() {
    let mut world = World::with_servers(3);
    for node in 0..3 {
        world.nodes[node].alive = true;
    }
    world.advance(5_000);
    for node in 0..3 {
        assert_eq!(world.linked(node), 2);
        assert_eq!(troubles(&world, node), Vec::<String>::new());
    }
}

#[test]
fn an_introducer_with_another_key_than_the_lists_is_told_once_a_dial_with_both_keys() {
    let mut world = World::with_servers(2);
    let wrong = Introducer { key: key(7), ..introducer(0) };
    world.nodes[0].config.bootstrap.clear();
    world.nodes[1].config.bootstrap = vec![wrong];
    world.start(0);
    world.start(1);
    let conflicts = |world: &World| -> Vec<Report> {
        let reports = world.nodes[1].reports.iter();
        reports.filter(|report| matches!(report, Report::KeyConflict(_))).cloned().collect()
    };
    let expected = Report::KeyConflict(KeyConflict {
        of: ConflictOf::Address(address(9_000)),
        pinned: Some(key(7).id()),
        pinned_by: PinnedBy::BootstrapList,
        seen: Some(key(1_000).id()),
        replaced: false,
    });
    assert_eq!(conflicts(&world), [expected]);
    world.advance(6_000);
    assert_eq!(troubles(&world, 1)[0], "9000 another key than the pinned one answers there");
    assert!(world.nodes[1].machine.linked_servers().next().is_none());
}
