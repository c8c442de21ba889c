//! What gossip costs: frames and bytes between servers, measured in a quiet full mesh.

use std::time::Duration;

use super::setup::{Faults, Sim};
use super::world::{Traffic, World};
use crate::server::Limits;
use crate::wire::FrameType;

/// What happens in a full mesh costs so many frames between servers, all links together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// How many servers there are.
    pub servers: usize,
    /// One login: USER_ADVERTISE.
    pub login: Traffic,
    /// One logout: USER_REMOVE.
    pub logout: Traffic,
    /// One message to a user at another server.
    pub message: Traffic,
    /// One more server: everything until it is linked to all and knows all users.
    pub join: Traffic,
    /// A minute in which nothing happens: HEARTBEAT and PRESENCE.
    pub minute: Traffic,
}

impl Cost {
    /// Measures it; with hundreds of servers that takes minutes.
    ///
    /// # Panics
    /// If an invariant breaks, or the mesh does not form.
    pub fn measure(servers: usize) -> Self {
        let mut world = quiet(servers);
        let settle = |world: &mut World, seconds| {
            world.run_for(Duration::from_secs(seconds)).unwrap_or_else(|failure| panic!("{failure}"));
        };
        for server in 0..servers {
            world.start(server);
            settle(&mut world, 1);
        }
        settle(&mut world, 120);
        world.log_in(1, 1);
        settle(&mut world, 5);
        let of = |world: &World, kinds: &[FrameType]| -> Traffic {
            let kinds = kinds.iter().filter_map(|kind| world.traffic().get(kind));
            kinds.fold(Traffic::default(), |sum, one| sum.plus(*one))
        };
        let during = |world: &mut World, kinds: &[FrameType], seconds, act: &dyn Fn(&mut World)| -> Traffic {
            let before = of(world, kinds);
            act(world);
            settle(world, seconds);
            of(world, kinds).minus(before)
        };
        let minute =
            during(&mut world, &[FrameType::Heartbeat, FrameType::Presence], 60, &|_: &mut World| {});
        let login = during(&mut world, &[FrameType::UserAdvertise], 5, &|world| world.log_in(0, 0));
        let message = during(&mut world, &[FrameType::ServerDeliver], 5, &|world| world.tell(0, 1));
        let logout = during(&mut world, &[FrameType::UserRemove], 5, &|world| world.log_out(0));
        let all: Vec<FrameType> = JOINING.to_vec();
        let idle = during(&mut world, &[FrameType::Presence], 60, &|_: &mut World| {});
        let join = during(&mut world, &all, 60, &|world| world.start(servers)).minus(idle);
        assert!(world.is_meshed(), "{servers} servers and one more are linked");
        Self { servers, login, logout, message, join, minute }
    }
}

/// What a newcomer and its peers say to each other.
const JOINING: [FrameType; 8] = [
    FrameType::ServerHelloJoin,
    FrameType::ServerWelcome,
    FrameType::LinkProof,
    FrameType::ServerHelloLink,
    FrameType::ServerAnnounce,
    FrameType::Presence,
    FrameType::PresenceRequest,
    FrameType::PresenceList,
];

/// One server more than asked for, which is started last.
fn quiet(servers: usize) -> World {
    let latency = (Duration::from_millis(5), Duration::from_millis(15));
    let limits = Limits { servers: servers.max(256) + 1, ..Limits::default() };
    Sim::new(1)
        .named("cost")
        .servers(servers + 1)
        .users(2)
        .limits(limits)
        .faults(Faults { latency, queue_frames: 1 << 20, ..Faults::none() })
        .keep(0)
        .still()
}
