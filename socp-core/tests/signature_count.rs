//! What a login costs in private- and public-key operations, counted.

mod support;

use socp_core::server::{Action, Outgoing};
use socp_core::wire::*;
use support::World;

/// An advert that reaches 1,000 local clients costs one verification, one more for its attestation, and
/// one signature; its encoded bytes are shared.
#[test]
fn an_advert_to_a_thousand_clients_is_signed_once() {
    let mut world = World::started(2);
    for user in 0..1_000 {
        world.add_to_crowd(0, 10_000 + user);
    }
    // Catch the advert on its way to server 0 and hand it over by hand.
    world.lose = Some(|text| text.contains("\"USER_ADVERTISE\""));
    let bob = world.connect(1, 2);
    let before = world.nodes[1].signer.count();
    world.hello(bob, "bob", true);
    world.lose = None;
    // LOGIN_CHALLENGE, USER_LOGGED_IN, DIRECTORY, PUBLIC_CHANNEL_SNAPSHOT, USER_ADVERTISE.
    assert_eq!(world.nodes[1].signer.count() - before, 5);
    let advert = advert_of(&mut world, bob);
    let link = world.nodes[0].machine.linked_servers().next().expect("linked").1;
    let (signatures, verifications) = (world.nodes[0].signer.count(), world.verifier.count());
    let actions = world.receive(0, link, advert);
    let mut deliveries = 0;
    for action in &actions {
        let Action::Send { to, frame: Outgoing::Own(frame) } = action else { continue };
        assert_eq!(*frame.kind(), FrameType::UserAdded);
        // One encoding for all links of the action, one signature for every encoding.
        frame.sign(&world.nodes[0].signer).expect("fake");
        frame.sign(&world.nodes[0].signer).expect("fake");
        deliveries += to.len();
    }
    assert_eq!(deliveries, 1_000);
    assert_eq!(world.nodes[0].signer.count() - signatures, 1, "one signature");
    assert_eq!(world.verifier.count() - verifications, 2, "one for the advert, one for the attestation");
}

/// The advert as server 1 would send it again, to a server that asks for its users.
fn advert_of(world: &mut World, user: usize) -> Frame {
    let id = world.users[user].id.clone();
    let link = world.nodes[1].machine.linked_servers().next().expect("linked").1;
    let request = Payload::PresenceRequest(PresenceRequest { server_id: world.id(1) });
    let asker = world.id(0);
    let request = support::signed(asker.id(), Recipient::Unnamed, 1, &request, &world.nodes[0].signer);
    let actions = world.receive(1, link, request);
    let mut adverts = actions.into_iter().filter_map(|action| match action {
        Action::Send { frame: Outgoing::Own(frame), .. } if *frame.kind() == FrameType::UserAdvertise => {
            Some(frame)
        }
        _ => None,
    });
    let advert = adverts.next().expect("the only user of server 1");
    let frame = support::parse(advert.sign(&world.nodes[1].signer).expect("fake").text().as_str());
    assert!(frame.payload_canonical().contains(id.as_str()));
    frame
}
