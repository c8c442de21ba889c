//! Properties of the server machine under any sequence of events.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use socp_core::Now;
use socp_core::server::{Action, Config, Event, LinkId, LinkOrigin, Outgoing, Server, Snapshot};
use socp_core::wire::*;
use support::{FakeSigner, FakeVerifier, START_MS, address, introducer, key, parse, signed};

const SERVERS: u64 = 3;
const USERS: u64 = 4;

/// One thing that happens. Numbers are folded into what there is.
#[derive(Clone, Debug)]
enum Happening {
    Accept,
    DialSucceeds,
    DialFails,
    Close(u8),
    Alive(u8),
    Wait(u32),
    Garbage(u8),
    /// A user's hello, with or without `auth`; the proof follows with `Prove`.
    UserHello {
        link: u8,
        user: u8,
        auth: bool,
    },
    Prove {
        link: u8,
        spoiled: bool,
    },
    Join {
        link: u8,
        server: u8,
        nonce: bool,
    },
    LinkProof {
        link: u8,
        spoiled: bool,
    },
    Welcome {
        link: u8,
        server: u8,
    },
    Advert {
        link: u8,
        origin: u8,
        user: u8,
        at: u8,
        forged: bool,
    },
    Removal {
        link: u8,
        origin: u8,
        user: u8,
        at: u8,
    },
    Presence {
        link: u8,
        origin: u8,
        at: u8,
    },
    PresenceRequest {
        link: u8,
        origin: u8,
    },
    Tell {
        link: u8,
        user: u8,
    },
    Deliver {
        link: u8,
        origin: u8,
        from: u8,
        to: u8,
    },
    File {
        link: u8,
        from: u8,
        to: u8,
        chunk: bool,
    },
    List {
        link: u8,
    },
    CtrlClose {
        link: u8,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        4 => Just(H::Accept),
        1 => Just(H::DialSucceeds),
        1 => Just(H::DialFails),
        1 => any::<u8>().prop_map(H::Close),
        1 => any::<u8>().prop_map(H::Alive),
        2 => (0_u32..100_000).prop_map(H::Wait),
        1 => any::<u8>().prop_map(H::Garbage),
        4 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(link, user, auth)| H::UserHello { link, user, auth }),
        4 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(link, spoiled)| H::Prove { link, spoiled }),
        3 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(link, server, nonce)| H::Join { link, server, nonce }),
        3 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(link, spoiled)| H::LinkProof { link, spoiled }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(link, server)| H::Welcome { link, server }),
        6 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(link, origin, user, at, forged)| H::Advert { link, origin, user, at, forged }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(link, origin, user, at)| H::Removal { link, origin, user, at }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(link, origin, at)| H::Presence { link, origin, at }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(link, origin)| H::PresenceRequest { link, origin }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(link, user)| H::Tell { link, user }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(link, origin, from, to)| H::Deliver { link, origin, from, to }),
        2 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(link, from, to, chunk)| H::File { link, from, to, chunk }),
        1 => any::<u8>().prop_map(|link| H::List { link }),
        1 => any::<u8>().prop_map(|link| H::CtrlClose { link }),
    ]
}

/// Two machines that get the same events, and what a driver knows of their links.
struct Pair {
    machines: [Server; 2],
    signer: FakeSigner,
    ms: u64,
    next_link: u64,
    open: BTreeMap<LinkId, Peer>,
    dialling: Vec<HostPort>,
    /// Which link each advert's text first came by.
    came_by: BTreeMap<WireText, LinkId>,
}

#[derive(Default)]
struct Peer {
    dialled: bool,
    user: Option<u64>,
    server: Option<u64>,
    /// The nonce that we were sent: in LOGIN_CHALLENGE or WELCOME.
    nonce: Option<Nonce>,
    greeted: bool,
}

fn user_signer(user: u64) -> FakeSigner {
    FakeSigner::new(key(user))
}

fn user_id(user: u64) -> UserId {
    Id::derived_from(&key(user)).into()
}

fn server_signer(server: u64) -> FakeSigner {
    FakeSigner::new(key(1_000 + server))
}

fn server_id(server: u64) -> ServerId {
    Id::derived_from(&key(1_000 + server)).into()
}

const PEER_NONCE: Nonce = Nonce([9; 32]);

impl Pair {
    fn new() -> Self {
        let mut config = Config::new(server_id(0), key(1_000), Some(address(9_000)), [3; 32]);
        config.bootstrap = (0..SERVERS as usize).map(introducer).collect();
        config.limits.users_per_origin = 3;
        config.limits.greeting_links = 8;
        let machine = || Server::new(config.clone(), Snapshot::default(), support::now(0));
        Self {
            machines: [machine(), machine()],
            signer: server_signer(0),
            ms: 0,
            next_link: 0,
            open: BTreeMap::new(),
            dialling: Vec::new(),
            came_by: BTreeMap::new(),
        }
    }

    fn link(&self, pick: u8) -> Option<LinkId> {
        self.open.keys().nth(usize::from(pick) % self.open.len().max(1)).copied()
    }

    fn happens(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        let server = |pick: u8| u64::from(pick) % SERVERS;
        let user = |pick: u8| 1 + u64::from(pick) % USERS;
        let issued = |at: u8| START_MS + u64::from(at) * 500;
        match happening {
            Happening::Accept => {
                let link = self.opened();
                self.event(Event::LinkOpened { link, origin: LinkOrigin::Accepted })
            }
            Happening::DialSucceeds => match self.dialling.pop() {
                Some(address) => {
                    let link = self.opened();
                    self.open.entry(link).or_default().dialled = true;
                    self.event(Event::LinkOpened { link, origin: LinkOrigin::Dialled(address) })
                }
                None => Ok(()),
            },
            Happening::DialFails => match self.dialling.pop() {
                Some(address) => self.event(Event::DialFailed { address, why: "refused".into() }),
                None => Ok(()),
            },
            Happening::Close(pick) => match self.link(*pick) {
                Some(link) => {
                    self.open.remove(&link);
                    self.event(Event::LinkClosed { link, why: "gone".into() })
                }
                None => Ok(()),
            },
            Happening::Alive(pick) => match self.link(*pick) {
                Some(link) => self.event(Event::LinkAlive { link }),
                None => Ok(()),
            },
            Happening::Wait(ms) => {
                self.ms += u64::from(*ms);
                self.event(Event::Wakeup)
            }
            Happening::Garbage(link) => self.text(*link, r#"{"type":"WHAT","payload":{"a":1}}"#),
            Happening::UserHello { link, user: pick, auth } => {
                let signer = user_signer(user(*pick));
                let hello = UserHello {
                    client: None,
                    pubkey: Some(signer.key.clone().into()),
                    enc_pubkey: None,
                    auth: if *auth { vec!["pss".into()] } else { Vec::new() },
                    ext: Vec::new(),
                    // On the session's own link it is a change of name.
                    meta: (pick % 3 > 0).then(|| Meta::named(&pick.to_string())),
                    rotations: Vec::new(),
                    nonce: None,
                };
                let Some(id) = self.link(*link) else { return Ok(()) };
                let fresh = |peer: &&mut Peer| peer.user.is_none() && peer.server.is_none() && !peer.dialled;
                if let Some(peer) = self.open.get_mut(&id).filter(fresh) {
                    peer.user = Some(user(*pick));
                    // Bare, it is the whole login, unless the answer says otherwise.
                    peer.greeted = !auth;
                }
                let to = Recipient::Named("server".into());
                self.frame(*link, user_id(user(*pick)).id(), to, &Payload::UserHello(hello), &signer)
            }
            Happening::Prove { link, spoiled } => {
                let Some((user, nonce)) = self.peer(*link).and_then(|peer| Some((peer.user?, peer.nonce?)))
                else {
                    return Ok(());
                };
                let proof = LoginProof {
                    nonce: if *spoiled { Nonce([1; 32]) } else { nonce },
                    user_id: user_id(user),
                    server_id: self.machines[0].id().clone(),
                    host: "127.0.0.1:9000".into(),
                    issued_at: START_MS + self.ms,
                };
                let payload = Payload::LoginProof(proof);
                self.frame(*link, user_id(user).id(), Recipient::Unnamed, &payload, &user_signer(user))
            }
            Happening::Join { link, server: pick, nonce } => {
                let signer = server_signer(server(*pick));
                let hello = ServerHello {
                    host: "127.0.0.1".into(),
                    port: Some(9_000 + server(*pick) as u16),
                    pubkey: signer.key.clone().into(),
                    nonce: nonce.then_some(PEER_NONCE),
                    ext: Vec::new(),
                };
                let Some(id) = self.link(*link) else { return Ok(()) };
                if let Some(peer) =
                    self.open.get_mut(&id).filter(|peer| peer.user.is_none() && peer.server.is_none())
                {
                    peer.server = Some(server(*pick));
                }
                let to = Recipient::Named("127.0.0.1:9000".into());
                self.frame(
                    *link,
                    server_id(server(*pick)).id(),
                    to,
                    &Payload::ServerHelloJoin(hello),
                    &signer,
                )
            }
            Happening::LinkProof { link, spoiled } => {
                let Some((server, nonce)) =
                    self.peer(*link).and_then(|peer| Some((peer.server?, peer.nonce?)))
                else {
                    return Ok(());
                };
                let proof = LinkProof {
                    nonce: if *spoiled { Nonce([1; 32]) } else { nonce },
                    own_nonce: PEER_NONCE,
                    from: server_id(server),
                    to: self.machines[0].id().clone(),
                    role: LinkRole::Dial,
                    host: "127.0.0.1".into(),
                    port: Some(9_000),
                };
                let to = Recipient::Unnamed;
                let payload = Payload::LinkProof(proof);
                self.frame(*link, server_id(server).id(), to, &payload, &server_signer(server))
            }
            Happening::Welcome { link, server: pick } => {
                let welcome = ServerWelcome {
                    assigned_id: self.machines[0].id().clone(),
                    clients: Vec::new(),
                    servers: Vec::new(),
                    introducer: None,
                    nonce: None,
                    ext: Vec::new(),
                };
                let server = server(*pick);
                let payload = Payload::ServerWelcome(welcome);
                self.frame(
                    *link,
                    server_id(server).id(),
                    Recipient::Unnamed,
                    &payload,
                    &server_signer(server),
                )
            }
            Happening::Advert { link, origin, user: pick, at, forged } => {
                let origin = server(*origin);
                let advert = UserAdvertise {
                    user_id: user_id(user(*pick)),
                    server_id: server_id(origin),
                    pubkey: Some(key(user(*pick)).into()),
                    meta: Some(Meta::empty()),
                    issued_at: Some(issued(*at)),
                    attestation: None,
                    rotations: Vec::new(),
                    event: None,
                };
                let signer = if *forged { user_signer(77) } else { server_signer(origin) };
                let payload = Payload::UserAdvertise(advert);
                self.frame(*link, server_id(origin).id(), Recipient::Everyone, &payload, &signer)
            }
            Happening::Removal { link, origin, user: pick, at } => {
                let origin = server(*origin);
                let removal = UserRemove {
                    user_id: user_id(user(*pick)),
                    server_id: server_id(origin),
                    issued_at: Some(issued(*at)),
                    meta: None,
                    event: None,
                };
                let payload = Payload::UserRemove(removal);
                self.frame(
                    *link,
                    server_id(origin).id(),
                    Recipient::Everyone,
                    &payload,
                    &server_signer(origin),
                )
            }
            Happening::Presence { link, origin, at } => {
                let origin = server(*origin);
                let presence = Presence {
                    server_id: server_id(origin),
                    issued_at: issued(*at),
                    count: 0,
                    digest: Binary::new([0; 32]),
                    links: Vec::new(),
                };
                let payload = Payload::Presence(presence);
                self.frame(
                    *link,
                    server_id(origin).id(),
                    Recipient::Everyone,
                    &payload,
                    &server_signer(origin),
                )
            }
            Happening::PresenceRequest { link, origin } => {
                let Some(from) = self.peer(*link).and_then(|peer| peer.server) else { return Ok(()) };
                let request = PresenceRequest { server_id: server_id(server(*origin)) };
                let payload = Payload::PresenceRequest(request);
                self.frame(*link, server_id(from).id(), Recipient::Unnamed, &payload, &server_signer(from))
            }
            Happening::Tell { link, user: pick } => {
                let Some(from) = self.peer(*link).and_then(|peer| peer.user) else { return Ok(()) };
                let (author, to) = (user_id(from), user_id(user(*pick)));
                let ts = Timestamp(START_MS + self.ms);
                let message = support::message(&author, &to, "hello", ts, &user_signer(from));
                self.frame(
                    *link,
                    author.id(),
                    Recipient::from(&to),
                    &Payload::MsgDirect(message),
                    &user_signer(from),
                )
            }
            Happening::Deliver { link, origin, from, to } => {
                let origin = server(*origin);
                let (author, recipient) = (user_id(user(*from)), user_id(user(*to)));
                let ts = Timestamp(START_MS + self.ms);
                let message = support::message(&author, &recipient, "hi", ts, &user_signer(user(*from)));
                let message = Message { user_id: Some(recipient), to: None, ..message };
                let payload = Payload::ServerDeliver(message);
                self.frame(
                    *link,
                    server_id(origin).id(),
                    Recipient::Unnamed,
                    &payload,
                    &server_signer(origin),
                )
            }
            Happening::File { link, from, to, chunk } => {
                let (from, to) = (user(*from), user_id(user(*to)));
                let (file_id, recipient) = (Box::from("f"), Some(to.as_str().into()));
                let payload = match chunk {
                    true => Payload::FileChunk(FileChunk {
                        file_id,
                        index: 0,
                        ciphertext: Binary::new([7; 512]),
                        to: recipient,
                        sender: None,
                        ts: None,
                    }),
                    false => Payload::FileEnd(FileEnd { file_id, to: recipient, sender: None, ts: None }),
                };
                let signer = user_signer(from);
                self.frame(*link, user_id(from).id(), Recipient::from(&to), &payload, &signer)
            }
            Happening::List { link } => {
                let Some(from) = self.peer(*link).and_then(|peer| peer.user) else { return Ok(()) };
                let payload = Payload::ListRequest(Empty {});
                self.frame(*link, user_id(from).id(), Recipient::Unnamed, &payload, &user_signer(from))
            }
            Happening::CtrlClose { link } => self.text(*link, r#"{"type":"CTRL_CLOSE"}"#),
        }
    }

    fn opened(&mut self) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.open.insert(link, Peer::default());
        link
    }

    fn peer(&self, pick: u8) -> Option<&Peer> {
        self.open.get(&self.link(pick)?)
    }

    fn frame(
        &mut self,
        link: u8,
        from: &Id,
        to: Recipient,
        payload: &Payload,
        signer: &FakeSigner,
    ) -> Result<(), TestCaseError> {
        let frame = signed(from, to, START_MS + self.ms, payload, signer);
        let text = frame.text().as_str().to_owned();
        self.text(link, &text)
    }

    fn text(&mut self, pick: u8, text: &str) -> Result<(), TestCaseError> {
        let Some(link) = self.link(pick) else { return Ok(()) };
        let frame = parse(text);
        if *frame.kind() == FrameType::UserAdvertise {
            self.came_by.entry(frame.text().clone()).or_insert(link);
        }
        let now = self.now();
        let verifier = FakeVerifier::default();
        let [a, b] =
            self.machines.each_mut().map(|machine| machine.receive(now, link, frame.clone(), &verifier));
        self.check(a, b)
    }

    fn event(&mut self, event: Event) -> Result<(), TestCaseError> {
        let now = self.now();
        let woken = matches!(event, Event::Wakeup);
        let [a, b] = self.machines.each_mut().map(|machine| machine.handle(now, event.clone()));
        if woken && let Some(deadline) = self.machines[0].poll_timeout() {
            prop_assert!(deadline.at > now.instant, "{deadline:?} is not after {now:?}");
        }
        self.check(a, b)
    }

    fn now(&self) -> Now {
        Now { instant: Duration::from_millis(self.ms), unix_ms: START_MS + self.ms }
    }

    /// Equal inputs gave equal actions; and the actions keep the rules.
    fn check(&mut self, actions: Vec<Action>, twin: Vec<Action>) -> Result<(), TestCaseError> {
        prop_assert_eq!(&actions, &twin);
        for action in actions {
            match action {
                Action::Send { to, frame: Outgoing::Relay(text) | Outgoing::Bulk(text) } => {
                    let came_by = self.came_by.get(&text).copied();
                    prop_assert!(
                        came_by.is_none_or(|link| !to.contains(&link)),
                        "an advert went back to {came_by:?}"
                    );
                }
                Action::Send { to, frame: Outgoing::Own(frame) } => {
                    prop_assert!(frame.encoded_len() < 600 * 1024);
                    let signed = frame.sign(&self.signer).expect("fake");
                    let frame = parse(signed.text().as_str());
                    for link in to {
                        prop_assert!(self.open.contains_key(&link), "a send to a closed link");
                        let Some(peer) = self.open.get_mut(&link) else { continue };
                        match frame.payload() {
                            Payload::LoginChallenge(challenge) => peer.nonce = Some(challenge.nonce),
                            Payload::ServerWelcome(welcome) => peer.nonce = welcome.nonce.or(peer.nonce),
                            Payload::UserLoggedIn(_) => peer.greeted = true,
                            _ => {}
                        }
                    }
                }
                Action::Close { link, .. } => {
                    prop_assert!(self.open.remove(&link).is_some(), "closed twice");
                }
                Action::Dial { address, .. } => self.dialling.push(address),
                Action::Persist(_)
                | Action::Ping { .. }
                | Action::Pause { .. }
                | Action::WrapChannelKey { .. }
                | Action::CheckPassword(_)
                | Action::Report(_) => {}
            }
        }
        let greeted: BTreeSet<LinkId> =
            self.open.iter().filter(|(_, peer)| peer.greeted).map(|(link, _)| *link).collect();
        let local: Vec<LinkId> = self.machines[0].local_users().map(|(_, link)| link).collect();
        prop_assert_eq!(local.len(), local.iter().collect::<BTreeSet<_>>().len(), "two users on one link");
        prop_assert_eq!(&greeted, &local.into_iter().collect::<BTreeSet<_>>());
        let counts = self.machines[0].counts();
        prop_assert!(counts.online_users <= USERS as usize && counts.known_servers <= SERVERS as usize + 1);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_keeps_the_rules(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut pair = Pair::new();
        for happening in &happenings {
            pair.happens(happening)?;
        }
    }
}
