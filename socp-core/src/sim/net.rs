//! The network: links that keep order and lose nothing but their ends, in virtual time.

use std::collections::VecDeque;
use std::fmt;

use crate::server::LinkId;
use crate::wire::{HostPort, WireText};

/// A node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// A server, from 0.
    Server(usize),
    /// A client: one person's program for one server, from 0 in the order in which they are first started.
    Device(usize),
    /// A hostile peer, from 0.
    Liar(usize),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Server(index) => format!("s{index}"),
            Self::Device(index) => format!("d{index}"),
            Self::Liar(index) => format!("l{index}"),
        })
    }
}

/// What travels on a link.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The answer to a dial: the link is open.
    Opened(HostPort),
    Text(WireText),
    Ping,
    Pong,
    /// The other end has closed, or the link is dead.
    Closed(&'static str),
}

/// One end of a link, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) site: Site,
    /// Which life of the site opened it.
    pub(super) life: u32,
    /// Whether the site still holds it.
    pub(super) open: bool,
    /// Arrival times and what arrives, in order.
    pub(super) inbound: VecDeque<(u64, Item)>,
    /// An arrival is scheduled.
    pub(super) scheduled: bool,
    /// The site does not read until then.
    pub(super) paused_until: u64,
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ends: [Endpoint; 2],
}

/// The ends of wire `n` are the links `2n`, who dialled, and `2n + 1`, who accepted.
pub(super) fn link_of(wire: u64, side: usize) -> LinkId {
    LinkId(wire * 2 + side as u64)
}

pub(super) fn wire_of(link: LinkId) -> (u64, usize) {
    (link.0 / 2, (link.0 % 2) as usize)
}

impl Endpoint {
    pub(super) fn new(site: Site, life: u32) -> Self {
        Self { site, life, open: true, inbound: VecDeque::new(), scheduled: false, paused_until: 0 }
    }
}
