//! The two machines in one process: everything between them is what would be on the sockets.
#![cfg(feature = "aws-lc")]

use std::collections::VecDeque;
use std::time::Duration;

use socp_core::Now;
use socp_core::client::{self, Client, Command, MessageKind, Notice};
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::server::{self, LinkId, LinkOrigin, Outgoing, Server};
use socp_core::wire::{Frame, HostPort, Id, Meta, UserId};

const NOW: Now = Now { instant: Duration::from_secs(1), unix_ms: 1_800_000_000_000 };

fn key(name: &str) -> PrivateKey {
    let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    PrivateKey::from_pem(&std::fs::read_to_string(path).expect("a fixture")).expect("a good key")
}

fn frame(text: &str) -> Frame {
    Frame::parse(text, 1 << 20).expect("a frame")
}

struct User {
    client: Client,
    key: PrivateKey,
    notices: Vec<Notice>,
}

/// One server and its users; user n has link n.
struct World {
    provider: Provider,
    server: Server,
    key: PrivateKey,
    users: Vec<User>,
}

/// What is on its way.
enum Work {
    ToServer(server::Event),
    FrameToServer(LinkId, Frame),
    ToClient(usize, client::Event),
    FrameToClient(usize, Frame),
}

impl World {
    fn new(names: &[&str]) -> Self {
        let key = key("server-a");
        let address: HostPort = "localhost:8765".parse().expect("an address");
        let id = Id::derived_from(key.public_key()).into();
        let config = server::Config::new(id, key.public_key().clone(), Some(address.clone()), [1; 32]);
        let server = Server::new(config, server::Snapshot::default(), NOW);
        let users = names.iter().map(|name| user(name, address.clone())).collect();
        Self { provider: Provider::new(), server, key, users }
    }

    fn run(&mut self, first: Work) {
        let mut work = VecDeque::from([first]);
        while let Some(next) = work.pop_front() {
            match next {
                Work::ToServer(event) => {
                    let actions = self.server.handle(NOW, event);
                    self.serve(actions, &mut work);
                }
                Work::FrameToServer(link, frame) => {
                    let actions = self.server.receive(NOW, link, frame, &self.provider);
                    self.serve(actions, &mut work);
                }
                Work::ToClient(user, event) => {
                    let actions = self.users[user].client.handle(NOW, event);
                    self.act(user, actions, &mut work);
                }
                Work::FrameToClient(user, frame) => {
                    let actions = self.users[user].client.receive(NOW, frame, &self.provider);
                    self.act(user, actions, &mut work);
                }
            }
        }
    }

    fn serve(&mut self, actions: Vec<server::Action>, work: &mut VecDeque<Work>) {
        for action in actions {
            if let server::Action::Send { to, frame: outgoing } = action {
                let text = match outgoing {
                    Outgoing::Own(unsigned) => unsigned.sign(&self.key).expect("randomness").into_text(),
                    Outgoing::Relay(text) => text,
                };
                work.extend(to.iter().map(|link| Work::FrameToClient(link.0 as usize, frame(text.as_str()))));
            }
        }
    }

    fn act(&mut self, at: usize, actions: Vec<client::Action>, work: &mut VecDeque<Work>) {
        let link = LinkId(at as u64);
        let user = &mut self.users[at];
        for action in actions {
            match action {
                client::Action::Dial(_) => {
                    work.push_back(Work::ToServer(server::Event::LinkOpened {
                        link,
                        origin: LinkOrigin::Accepted,
                    }));
                    work.push_back(Work::ToClient(at, client::Event::LinkOpened));
                }
                client::Action::Send(unsigned) => {
                    let signed = unsigned.sign(&user.key).expect("randomness");
                    work.push_back(Work::FrameToServer(link, frame(signed.text().as_str())));
                }
                client::Action::Seal(draft) => {
                    let signed = draft.seal(&self.provider, &user.key).expect("randomness");
                    work.push_back(Work::FrameToServer(link, frame(signed.text().as_str())));
                    work.push_back(Work::ToClient(at, client::Event::Written(draft.id())));
                }
                client::Action::Open(sealed) => {
                    let opened = sealed.open(&user.key, &self.provider);
                    work.push_back(Work::ToClient(at, client::Event::Opened(opened)));
                }
                client::Action::Close { reason, .. } => {
                    let why = reason.into();
                    work.push_back(Work::ToServer(server::Event::LinkClosed { link, why }));
                }
                client::Action::Notify(notice) => user.notices.push(notice),
                client::Action::Persist(_) | client::Action::Ping => {}
            }
        }
    }

    fn notices(&mut self, user: usize) -> Vec<Notice> {
        std::mem::take(&mut self.users[user].notices)
    }
}

fn user(name: &str, address: HostPort) -> User {
    let key = key(name);
    let user_id = UserId::from(Id::derived_from(key.public_key()));
    let config = client::Config::new(user_id, key.public_key().clone(), address, [2; 32]);
    let config = client::Config { meta: Meta::named(name), ..config };
    User { client: Client::new(config, client::Snapshot::default(), NOW), key, notices: Vec::new() }
}

#[test]
fn users_of_one_server_meet_and_talk() {
    let mut world = World::new(&["alice", "bob"]);
    world.run(Work::ToClient(0, client::Event::Wakeup));
    assert!(matches!(world.notices(0)[..], [Notice::Ready { proven: true, .. }]));
    world.run(Work::ToClient(1, client::Event::Wakeup));
    let met = world.notices(1);
    assert!(
        matches!(&met[..], [Notice::UserAdded { label, .. }, Notice::Ready { .. }] if &**label == "alice")
    );
    assert!(matches!(&world.notices(0)[..], [Notice::UserAdded { label, .. }] if &**label == "bob"));

    let direct = Command::Tell { to: "bob".into(), text: "hi bob".into() };
    let public = Command::All { text: "hi all".into() };
    for (reference, command) in [direct, public, Command::List].into_iter().enumerate() {
        world.run(Work::ToClient(0, client::Event::Command { reference: reference as u64, command }));
    }
    let shown = world.notices(1);
    let shown: Vec<_> = shown
        .iter()
        .map(|notice| match notice {
            Notice::Message { kind, label, text, verified, .. } => {
                (*kind, &**label, text.as_str(), *verified)
            }
            other => panic!("a message, not {other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [(MessageKind::Direct, "alice", "hi bob", Ok(())), (MessageKind::Public, "alice", "hi all", Ok(()))]
    );
    let answers = world.notices(0);
    let [
        Notice::Sent { reference: 0, .. },
        Notice::Sent { reference: 1, .. },
        Notice::List { reference: 2, users },
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(users.iter().map(|user| &*user.label).collect::<Vec<_>>(), ["alice", "bob"]);

    world.run(Work::ToClient(1, client::Event::Shutdown));
    assert!(matches!(world.notices(1)[..], [Notice::Stopped]));
    assert!(matches!(&world.notices(0)[..], [Notice::UserRemoved { label, .. }] if &**label == "bob"));
}
