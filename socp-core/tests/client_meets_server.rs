//! The two machines in one process: everything between them is what would be on the sockets.
#![cfg(feature = "aws-lc")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};
use socp_core::Now;
use socp_core::client::{
    self, Client, Command, Expected, FileAction, FileCommand, FileEvent, FileInfo, FileNotice, MessageKind,
    Notice, SentTo, SourceId, TransferId,
};
use socp_core::crypto::Opener;
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
    /// Files by name, those that were read, and those that come.
    disk: BTreeMap<String, Vec<u8>>,
    sources: BTreeMap<SourceId, Vec<u8>>,
    parts: BTreeMap<TransferId, Part>,
}

/// What the border knows of a file that comes.
struct Part {
    expected: Expected,
    kept: Vec<Vec<u8>>,
    wanted: bool,
    bytes: Vec<u8>,
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
                    Outgoing::Relay(text) | Outgoing::Bulk(text) => text,
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
                client::Action::File(action) => {
                    let frames = user.act_on_file(action, &self.provider, at, work);
                    work.extend(frames.into_iter().map(|frame| Work::FrameToServer(link, frame)));
                }
                client::Action::Password(_) => panic!("this server logs in by key"),
                client::Action::Persist(_) | client::Action::Ping => {}
            }
        }
    }

    fn notices(&mut self, user: usize) -> Vec<Notice> {
        std::mem::take(&mut self.users[user].notices)
    }
}

impl User {
    /// What a driver does with files; frames that are to be sent.
    fn act_on_file(
        &mut self,
        action: FileAction,
        provider: &Provider,
        at: usize,
        work: &mut VecDeque<Work>,
    ) -> Vec<Frame> {
        let mut tell = |event| work.push_back(Work::ToClient(at, client::Event::File(event)));
        match action {
            FileAction::Read { source, path, .. } => {
                let file = self.disk[path.to_str().expect("a name")].clone();
                let info = FileInfo { size: file.len() as u64, sha256: Sha256::digest(&file).into() };
                self.sources.insert(source, file);
                tell(FileEvent::Read { source, result: Ok(info) });
            }
            FileAction::Offer(offer) => {
                tell(FileEvent::OfferWritten(offer.transfer()));
                return vec![frame(offer.seal(&self.key).expect("randomness").text().as_str())];
            }
            FileAction::Seal(run) => {
                let offset = run.offset() as usize;
                let blocks = &self.sources[&run.source()][offset..offset + run.bytes()];
                tell(FileEvent::Written { transfer: run.transfer(), chunks: run.chunks() });
                let texts = run.seal(blocks, provider).expect("a good key");
                return texts.iter().map(|text| frame(text.as_str())).collect();
            }
            FileAction::Close(source) => drop(self.sources.remove(&source)),
            FileAction::Expect(expected) => {
                let part = Part { expected, kept: Vec::new(), wanted: false, bytes: Vec::new() };
                self.parts.insert(part.expected.transfer, part);
            }
            FileAction::Keep { transfer, ciphertext } => {
                let part = self.parts.get_mut(&transfer).expect("expected");
                part.kept.push(ciphertext.bytes().to_vec());
            }
            FileAction::Open(transfer) => {
                self.parts.get_mut(&transfer).expect("expected").wanted = true;
            }
            FileAction::End(_) => {}
            FileAction::Drop(transfer) => drop(self.parts.remove(&transfer)),
        }
        let mut saved = Vec::new();
        for (transfer, part) in self.parts.iter_mut().filter(|(_, part)| part.wanted) {
            for block in part.kept.drain(..) {
                let plaintext = self.key.open(&block).expect("for us");
                tell(FileEvent::Opened { transfer: *transfer, chunks: 1, bytes: plaintext.len() as u64 });
                part.bytes.extend(plaintext);
            }
            if part.bytes.len() as u64 == part.expected.size {
                assert_eq!(part.expected.sha256, <[u8; 32]>::from(Sha256::digest(&part.bytes)));
                let path = (&*part.expected.name).into();
                tell(FileEvent::Saved { transfer: *transfer, path });
                saved.push(*transfer);
            }
        }
        for part in saved.iter().filter_map(|transfer| self.parts.remove(transfer)) {
            self.disk.insert(part.expected.name.into(), part.bytes);
        }
        Vec::new()
    }
}

fn user(name: &str, address: HostPort) -> User {
    let key = key(name);
    let user_id = UserId::from(Id::derived_from(key.public_key()));
    let config = client::Config::new(user_id, key.public_key().clone(), address, [2; 32]);
    let config = client::Config { meta: Meta::named(name), ..config };
    let client = Client::new(config, client::Snapshot::default(), NOW);
    let (disk, sources, parts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    User { client, key, notices: Vec::new(), disk, sources, parts }
}

#[test]
fn a_file_reaches_everybody_who_accepts_it() {
    let mut world = World::new(&["alice", "bob", "carol"]);
    for user in 0..3 {
        world.run(Work::ToClient(user, client::Event::Wakeup));
    }
    let file: Vec<u8> = (0..30_000_u32).map(|at| (at * at / 8) as u8).collect();
    world.users[0].disk.insert("cat.jpg".into(), file.clone());
    let command = |world: &mut World, user, command| {
        let command = Command::File(command);
        world.run(Work::ToClient(user, client::Event::Command { reference: 9, command }));
    };
    (0..3).for_each(|user| drop(world.notices(user)));
    command(&mut world, 0, FileCommand::Send { to: "public".into(), path: "cat.jpg".into() });
    for user in [1, 2] {
        let told = world.notices(user);
        let [Notice::File(FileNotice::Offered { to_all: true, verified: Ok(()), accepted: false, .. })] =
            &told[..]
        else {
            panic!("{told:?}")
        };
    }
    command(&mut world, 1, FileCommand::Accept(None));
    command(&mut world, 2, FileCommand::Reject(None));
    let told = world.notices(1);
    let [Notice::File(FileNotice::Accepted { .. }), Notice::File(FileNotice::Saved { transfer, .. })] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((&*transfer.label, transfer.size), ("alice", 30_000));
    assert_eq!(world.users[1].disk.get("cat.jpg"), Some(&file));
    assert!(world.users[2].disk.is_empty() && world.users[2].parts.is_empty());
    let told = world.notices(0);
    let Some(Notice::File(FileNotice::Sent { to, confirmed: true, .. })) = told.last() else {
        panic!("{told:?}")
    };
    assert_eq!(*to, SentTo::Everyone { recipients: 1, failed: 1 });
    assert!(world.users[0].sources.is_empty());
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
