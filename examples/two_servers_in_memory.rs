//! How do the machines of `socp-core` work without sockets, runtime or clock?
//!
//! Two servers and two clients in one thread. This program is their whole world: it carries texts from one
//! to the other, does the private-key work that they ask for, and prints what goes in and comes out.
//!
//! `cargo run -p socp-examples --example two_servers_in_memory`

use std::collections::VecDeque;
use std::time::Duration;

use socp_core::Now;
use socp_core::client::{self, Client, Command, Notice};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::server::{self, Introducer, LinkId, LinkOrigin, Outgoing, Server};
use socp_core::wire::{Frame, HostPort, Id, Meta, WireText};

/// Somebody with a machine and a private key.
struct Party<M> {
    name: &'static str,
    machine: M,
    key: PrivateKey,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Server(usize, LinkId),
    Client(usize),
}

struct World {
    servers: Vec<Party<Server>>,
    clients: Vec<Party<Client>>,
    wires: Vec<(End, End)>,
    under_way: VecDeque<(End, WireText)>,
    provider: Provider,
    ms: u64,
}

fn main() {
    let keys = |name: &str| match name {
        "A" => include_str!("../socp-core/tests/fixtures/keys/server-a.pem"),
        "B" => include_str!("../socp-core/tests/fixtures/keys/server-b.pem"),
        "alice" => include_str!("../socp-core/tests/fixtures/keys/alice.pem"),
        _ => include_str!("../socp-core/tests/fixtures/keys/bob.pem"),
    };
    // Keys from the project's fixtures: making one takes about a second.
    let key = |name| PrivateKey::from_pem(keys(name)).expect("a fixture key");
    let address = |port| HostPort::new("127.0.0.1", port).expect("a good address");
    let start = Now { instant: Duration::ZERO, unix_ms: 1_795_000_000_000 };

    let server = |name: &'static str, port, seed, bootstrap| {
        let key = key(name);
        let public = key.public_key().clone();
        let id = Id::derived_from(&public).into();
        let config =
            server::Config { bootstrap, ..server::Config::new(id, public, Some(address(port)), [seed; 32]) };
        Party { name, machine: Server::new(config, server::Snapshot::default(), start), key }
    };
    let client = |name: &'static str, port, seed| {
        let key = key(name);
        let public = key.public_key().clone();
        let id = Id::derived_from(&public).into();
        let config = client::Config::new(id, public, address(port), [seed; 32]);
        let config = client::Config { meta: Meta::named(name), ..config };
        Party { name, machine: Client::new(config, client::Snapshot::default(), start), key }
    };
    let introducer = Introducer::new(address(1), key("A").public_key().clone());
    let mut world = World {
        servers: vec![server("A", 1, 1, Vec::new()), server("B", 2, 2, vec![introducer])],
        clients: vec![client("alice", 1, 3), client("bob", 2, 4)],
        wires: Vec::new(),
        under_way: VecDeque::new(),
        provider: Provider::new(),
        ms: 0,
    };

    println!("== B dials A; alice dials A; bob dials B");
    world.server(1, server::Event::Wakeup);
    world.client(0, client::Event::Wakeup);
    world.client(1, client::Event::Wakeup);
    world.run();
    println!("== bob writes to alice");
    let command = Command::Tell { to: "alice".into(), text: "hello across servers!".into() };
    world.client(1, client::Event::Command { reference: 1, command });
    world.run();
    println!("== alice writes to everybody");
    let command = Command::All { text: "hello mesh!".into() };
    world.client(0, client::Event::Command { reference: 1, command });
    world.run();
}

impl World {
    fn now(&self) -> Now {
        Now { instant: Duration::from_millis(self.ms), unix_ms: 1_795_000_000_000 + self.ms }
    }

    /// Carries texts until nothing is under way.
    fn run(&mut self) {
        while let Some((to, text)) = self.under_way.pop_front() {
            self.ms += 1;
            let frame = Frame::parse(text.as_str(), 1 << 20).expect("machines write frames");
            match to {
                End::Server(index, link) => {
                    println!("      → {:5} {}", self.servers[index].name, frame.kind());
                    let now = self.now();
                    let actions = self.servers[index].machine.receive(now, link, frame, &self.provider);
                    self.serve(index, actions);
                }
                End::Client(index) => {
                    println!("      → {:5} {}", self.clients[index].name, frame.kind());
                    let now = self.now();
                    let actions = self.clients[index].machine.receive(now, frame, &self.provider);
                    self.attend(index, actions);
                }
            }
        }
    }

    fn server(&mut self, index: usize, event: server::Event) {
        let now = self.now();
        let actions = self.servers[index].machine.handle(now, event);
        self.serve(index, actions);
    }

    fn client(&mut self, index: usize, event: client::Event) {
        let now = self.now();
        let actions = self.clients[index].machine.handle(now, event);
        self.attend(index, actions);
    }

    /// Does what a server machine asks for.
    fn serve(&mut self, index: usize, actions: Vec<server::Action>) {
        let name = self.servers[index].name;
        for action in actions {
            match action {
                server::Action::Send { to, frame } => {
                    let text = match frame {
                        Outgoing::Own(frame) => {
                            println!("{name:5} sends {} to {} links", frame.kind(), to.len());
                            frame.sign(&self.servers[index].key).expect("a good key").into_text()
                        }
                        Outgoing::Relay(text) | Outgoing::Bulk(text) => {
                            println!("{name:5} relays a frame untouched");
                            text
                        }
                    };
                    for link in to {
                        self.carry(End::Server(index, link), text.clone());
                    }
                }
                server::Action::Dial { address, .. } => {
                    let target = usize::from(address.port() - 1);
                    self.connect(End::Server(index, LinkId(0)), target, address);
                }
                server::Action::Report(report) => println!("{name:5} reports {report:?}"),
                // A world without a store, silence or enemies has no use for the rest.
                other => println!("{name:5} wants {other:?}"),
            }
        }
    }

    /// Does what a client machine asks for.
    fn attend(&mut self, index: usize, actions: Vec<client::Action>) {
        let name = self.clients[index].name;
        for action in actions {
            match action {
                client::Action::Dial(address) => {
                    let target = usize::from(address.port() - 1);
                    self.connect(End::Client(index), target, address);
                }
                client::Action::Send(frame) => {
                    let text = frame.sign(&self.clients[index].key).expect("a good key").into_text();
                    self.carry(End::Client(index), text);
                }
                client::Action::Seal(draft) => {
                    let key = &self.clients[index].key;
                    let text = draft.seal(&self.provider, key).expect("a good key").into_text();
                    self.carry(End::Client(index), text);
                    self.client(index, client::Event::Written(draft.id()));
                }
                client::Action::Open(sealed) => {
                    let opened = sealed.open(&self.clients[index].key, &self.provider);
                    self.client(index, client::Event::Opened(opened));
                }
                client::Action::Notify(Notice::Message { label, text, verified, .. }) => {
                    println!("{name:5} reads “{text}” from {label}, verified: {}", verified.is_ok());
                }
                client::Action::Notify(notice) => println!("{name:5} is told {notice:?}"),
                other => println!("{name:5} wants {other:?}"),
            }
        }
    }

    /// Opens a link to a server.
    fn connect(&mut self, from: End, target: usize, address: HostPort) {
        let accepted = End::Server(target, LinkId(self.wires.len() as u64 * 2 + 1));
        let dialled = match from {
            End::Server(index, _) => End::Server(index, LinkId(self.wires.len() as u64 * 2 + 2)),
            End::Client(index) => End::Client(index),
        };
        self.wires.push((dialled, accepted));
        for end in [accepted, dialled] {
            match end {
                End::Server(index, link) if end == accepted => {
                    let origin = LinkOrigin::Accepted;
                    self.server(index, server::Event::LinkOpened { link, origin });
                }
                End::Server(index, link) => {
                    let origin = LinkOrigin::Dialled(address.clone());
                    self.server(index, server::Event::LinkOpened { link, origin });
                }
                End::Client(index) => self.client(index, client::Event::LinkOpened),
            }
        }
    }

    /// Puts a text on its way to the other end.
    fn carry(&mut self, from: End, text: WireText) {
        let other = self.wires.iter().find_map(|(a, b)| match from {
            end if end == *a => Some(*b),
            end if end == *b => Some(*a),
            _ => None,
        });
        if let Some(other) = other {
            self.under_way.push_back((other, text));
        }
    }
}
