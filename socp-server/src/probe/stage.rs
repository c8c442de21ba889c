//! The scene: the target, the probe's sockets, everything that went over them, and what is known so far.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use socp_core::close_code;
use socp_core::crypto::aws_lc::Provider;
use socp_core::crypto::{SharedPayload, SignatureForm, Unsigned, check_payload};
use socp_core::dialect::Dialect;
use socp_core::wire::{
    Empty, Frame, FrameType, HostPort, Id, Payload, PublicKey, Recipient, ServerHello, ServerWelcome,
    Timestamp, UserKeyAnswer, UserRemove, WelcomeEntry,
};
use socp_transport::raw::{RawDialler, RawHeard, RawLink, RawListener};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::cast::{Cast, Who};
use super::clause::Need;
use crate::parsed::ProbeUrl;

/// Frames a second, once the first few are written: what a person's client would write.
const PACE: Duration = Duration::from_millis(100);

/// Frames that may be written at once.
const BURST: usize = 20;

/// The standard asks for 15 s.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Frames that are kept: several times what any clause looks for. More are counted and forgotten.
const MAX_ENTRIES: usize = 5000;

/// A longer frame is nothing that a clause looks for.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Frames that wait between a socket and the stage.
const QUEUE: usize = 256;

/// For all of the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Counts the probe's sockets.
pub(super) type LinkNo = usize;

/// A place in the record.
pub(super) type Mark = usize;

/// What happened on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Sent,
    Came,
    /// A message that is no text.
    CameBinary,
    /// The end, and whether a close frame said so.
    Ended {
        closed: bool,
    },
}

/// A line of the record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: Instant,
    pub(super) link: LinkNo,
    /// Whose socket it is, of the probe's.
    pub(super) who: Who,
    pub(super) what: What,
    pub(super) text: Box<str>,
    pub(super) frame: Option<Box<Frame>>,
}

impl Entry {
    /// The frame, if one came.
    pub(super) fn came(&self) -> Option<&Frame> {
        let came = matches!(self.what, What::Came | What::CameBinary);
        self.frame.as_deref().filter(|_| came)
    }

    /// The frame, if one of that type came.
    pub(super) fn is(&self, kind: &FrameType) -> Option<&Frame> {
        self.came().filter(|frame| frame.kind() == kind)
    }
}

enum Out {
    Text(String),
    Close(u16),
}

enum Event {
    Accepted(Who, Box<RawLink>),
    Heard(LinkNo, RawHeard),
}

/// One of the probe's sockets.
struct Socket {
    who: Who,
    /// Whether the target opened it.
    accepted: bool,
    out: Option<mpsc::Sender<Out>>,
}

/// What was found out about the target.
#[derive(Default)]
pub(super) struct Target {
    pub(super) id: Option<Id>,
    pub(super) key: Option<PublicKey>,
    pub(super) dialect: Option<Dialect>,
    /// Why it is taken for that.
    pub(super) reasons: Vec<String>,
    /// How users log in.
    pub(super) login: Login,
}

/// How users log in at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Login {
    /// In no way that the probe knows.
    #[default]
    Unknown,
    /// By USER_HELLO alone.
    Hello,
    /// By USER_REGISTER and USER_LOGIN, as the seed has it.
    Password,
}

/// Everything that a clause can see and do.
pub(super) struct Stage {
    pub(super) url: ProbeUrl,
    pub(super) quick: bool,
    /// How long an answer may take that has to come.
    pub(super) patience: Duration,
    pub(super) cast: Cast,
    pub(super) target: Target,
    pub(super) provider: Provider,
    pub(super) password: String,
    dialler: RawDialler,
    addresses: [HostPort; 2],
    listeners: [Option<RawListener>; 2],
    sockets: Vec<Socket>,
    /// The socket on which each of the cast writes.
    main: BTreeMap<Who, LinkNo>,
    pub(super) log: Vec<Entry>,
    /// Frames that came when the record was full.
    pub(super) forgotten: usize,
    /// What the clause of the moment is about.
    pub(super) cited: BTreeSet<usize>,
    /// Where interesting things happened, for later clauses.
    pub(super) marks: BTreeMap<&'static str, Mark>,
    /// Whose adverts were sent, by whom, and were not taken back.
    advertised: BTreeMap<Who, Who>,
    heard_of_rob: bool,
    sent_at: VecDeque<Instant>,
    next_heartbeat: Instant,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
}

impl Stage {
    /// Nothing is dialled yet. Within a runtime.
    pub(super) fn new(
        url: ProbeUrl,
        quick: bool,
        patience: Duration,
        cast: Cast,
        password: String,
        dialler: RawDialler,
        listeners: [(RawListener, HostPort); 2],
    ) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let [(one, at_one), (two, at_two)] = listeners;
        Self {
            url,
            quick,
            patience,
            cast,
            target: Target::default(),
            provider: Provider::new(),
            password,
            dialler,
            addresses: [at_one, at_two],
            listeners: [Some(one), Some(two)],
            sockets: Vec::new(),
            main: BTreeMap::new(),
            log: Vec::new(),
            forgotten: 0,
            cited: BTreeSet::new(),
            marks: BTreeMap::new(),
            advertised: BTreeMap::new(),
            heard_of_rob: false,
            sent_at: VecDeque::new(),
            next_heartbeat: Instant::now() + HEARTBEAT,
            events,
            sender,
        }
    }

    /// Takes links from whoever dials back, from now on.
    pub(super) fn listen(&mut self) {
        for (who, listener) in [Who::One, Who::Two].into_iter().zip(&mut self.listeners) {
            let (Some(listener), sender) = (listener.take(), self.sender.clone()) else { continue };
            tokio::spawn(async move {
                while let Ok(link) = listener.accept().await {
                    if let Some(link) = link
                        && sender.send(Event::Accepted(who, Box::new(link))).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    }

    pub(super) fn has(&self, need: Need) -> bool {
        match need {
            Need::Welcome => self.marks.contains_key("welcome"),
            Need::Link => self.is_open(Who::One),
            Need::Second => self.is_open(Who::Two),
            Need::Ann => self.is_open(Who::Ann),
            Need::Ben => self.is_open(Who::Ben),
            Need::Ear => self.heard_of_rob,
        }
    }

    pub(super) fn has_heard_of_rob(&mut self) {
        self.heard_of_rob = true;
    }

    /// How long an answer may take that perhaps nobody gives.
    pub(super) fn short_patience(&self) -> Duration {
        self.patience / 2
    }

    /// How long the probe listens for what is not to come: several times what a server takes that is not
    /// busy, and no longer, since it does so often.
    pub(super) fn silence(&self) -> Duration {
        self.patience / 6
    }

    /// How frames for the target are written.
    pub(super) fn dialect(&self) -> Dialect {
        self.target.dialect.unwrap_or(Dialect::Standard)
    }

    pub(super) fn mark(&self) -> Mark {
        self.log.len()
    }

    // ---- sockets

    /// Opens a socket to the target.
    pub(super) async fn dial(&mut self, who: Who) -> Result<LinkNo, String> {
        let ProbeUrl { server, path } = &self.url;
        let opened = self.dialler.dial(server.scheme, &server.address, path).await;
        opened.map(|link| self.adopt(who, link, false)).map_err(|error| error.to_string())
    }

    fn adopt(&mut self, who: Who, link: RawLink, accepted: bool) -> LinkNo {
        let (out, to_send) = mpsc::channel(QUEUE);
        let number = self.sockets.len();
        self.sockets.push(Socket { who, accepted, out: Some(out) });
        tokio::spawn(run(number, link, to_send, self.sender.clone()));
        number
    }

    /// From now on `who` writes there.
    pub(super) fn use_link(&mut self, who: Who, link: LinkNo) {
        self.main.insert(who, link);
    }

    pub(super) fn link_of(&self, who: Who) -> Option<LinkNo> {
        self.main.get(&who).copied()
    }

    /// Whether somebody else opened it.
    pub(super) fn is_accepted(&self, link: LinkNo) -> bool {
        self.sockets[link].accepted
    }

    /// Whether the target has dialled one of the probe's servers.
    pub(super) fn has_dialled_back(&self, who: Who) -> bool {
        self.sockets.iter().any(|socket| socket.who == who && socket.accepted)
    }

    pub(super) fn is_live(&self, link: LinkNo) -> bool {
        self.sockets[link].out.is_some()
    }

    fn is_open(&self, who: Who) -> bool {
        self.link_of(who).is_some_and(|link| self.is_live(link))
    }

    /// Sends a close frame.
    pub(super) fn close(&self, link: LinkNo) {
        if let Some(out) = &self.sockets[link].out {
            // A full queue means that nobody reads there.
            let _ = out.try_send(Out::Close(close_code::NORMAL));
        }
    }

    // ---- frames

    pub(super) fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// A frame of one of the cast, signed, in a dialect. None if its speakers are better spared it, or if signing
    /// fails.
    pub(super) fn write_in(
        &self,
        dialect: Dialect,
        who: Who,
        to: Recipient,
        ts: Timestamp,
        payload: &Payload,
    ) -> Option<String> {
        let frame = Unsigned::new(self.cast.id(who), to, ts, SharedPayload::new(payload));
        let signed = frame.dressed(dialect)?.sign(self.cast.signer(who)).ok()?;
        Some(signed.text().as_str().to_owned())
    }

    /// The same in the target's dialect, now.
    pub(super) fn write(&self, who: Who, to: Recipient, payload: &Payload) -> Option<String> {
        self.write_in(self.dialect(), who, to, Self::now(), payload)
    }

    /// Whom server frames name.
    pub(super) fn to_target(&self) -> Recipient {
        match &self.target.id {
            Some(id) => Recipient::parse(id.as_str()),
            None => Recipient::Unnamed,
        }
    }

    /// What one of the probe's servers says of itself.
    pub(super) fn hello(&self, who: Who) -> ServerHello {
        let address = &self.addresses[usize::from(who == Who::Two)];
        ServerHello {
            host: address.host().into(),
            port: Some(address.port()),
            pubkey: self.cast.key_field(who),
            nonce: None,
            ext: Vec::new(),
        }
    }

    /// Remembers to take an advert back.
    pub(super) fn advertises(&mut self, server: Who, user: Who) {
        self.advertised.insert(user, server);
    }

    /// It was taken back.
    pub(super) fn removes(&mut self, user: Who) {
        self.advertised.remove(&user);
    }

    /// Writes on a socket, at the pace of a person.
    pub(super) async fn send_on(&mut self, link: LinkNo, text: String) -> Mark {
        if let Some(oldest) = self.sent_at.front().copied()
            && self.sent_at.len() >= BURST
        {
            let burst = PACE * u32::try_from(BURST).unwrap_or(u32::MAX);
            sleep_until(oldest + burst).await;
            self.sent_at.pop_front();
        }
        self.sent_at.push_back(Instant::now());
        self.say(link, text)
    }

    /// Writes on the socket of one of the cast.
    pub(super) async fn send(&mut self, who: Who, text: String) -> Mark {
        match self.link_of(who) {
            Some(link) => self.send_on(link, text).await,
            None => self.mark(),
        }
    }

    /// Writes at once; returns the frame's place in the record.
    fn say(&mut self, link: LinkNo, text: String) -> Mark {
        let place = self.mark();
        self.note(link, What::Sent, &text);
        self.cited.insert(place);
        if let Some(out) = &self.sockets[link].out {
            // A full queue means that nobody reads there: the clause will see that nothing comes.
            let _ = out.try_send(Out::Text(text));
        }
        place
    }

    // ---- what comes

    fn note(&mut self, link: LinkNo, what: What, text: &str) {
        if self.log.len() >= MAX_ENTRIES && !matches!(what, What::Sent | What::Ended { .. }) {
            self.forgotten += 1;
            return;
        }
        let frame = match what {
            What::Ended { .. } => None,
            What::Sent | What::Came | What::CameBinary => Frame::parse(text, MAX_FRAME_BYTES).ok(),
        };
        let who = self.sockets[link].who;
        let entry =
            Entry { at: Instant::now(), link, who, what, text: text.into(), frame: frame.map(Box::new) };
        self.log.push(entry);
    }

    /// Takes what comes until then. False once it is over.
    async fn pump(&mut self, until: Instant) -> bool {
        tokio::select! {
            event = self.events.recv() => {
                match event {
                    Some(Event::Accepted(who, link)) => drop(self.adopt(who, *link, true)),
                    Some(Event::Heard(link, heard)) => self.on_heard(link, heard),
                    // We hold a sender.
                    None => {}
                }
                true
            }
            () = sleep_until(until.min(self.next_heartbeat)) => {
                if Instant::now() >= self.next_heartbeat {
                    self.heartbeat();
                }
                Instant::now() < until
            }
        }
    }

    fn heartbeat(&mut self) {
        self.next_heartbeat = Instant::now() + HEARTBEAT;
        for who in [Who::One, Who::Two] {
            let text = self.write(who, self.to_target(), &Payload::Heartbeat(Empty {}));
            if let (Some(link), Some(text)) = (self.link_of(who).filter(|link| self.is_live(*link)), text) {
                let place = self.say(link, text);
                self.cited.remove(&place);
            }
        }
    }

    fn on_heard(&mut self, link: LinkNo, heard: RawHeard) {
        match heard {
            RawHeard::Text(text) => {
                self.note(link, What::Came, &text);
                self.answer(link);
            }
            RawHeard::Binary(bytes) => {
                self.note(link, What::CameBinary, &String::from_utf8_lossy(&bytes));
            }
            RawHeard::Closed(code, reason) => {
                let code = code.map_or_else(String::new, |code| format!(" {code}"));
                self.ended(link, true, &format!("closed{code} {reason}"));
            }
            RawHeard::Lost(why) => self.ended(link, false, &why),
        }
    }

    fn ended(&mut self, link: LinkNo, closed: bool, why: &str) {
        if self.sockets[link].out.take().is_some() {
            self.note(link, What::Ended { closed }, why.trim());
        }
    }

    /// What any server answers at once: greetings of who dials back, and questions for keys (dialect R).
    fn answer(&mut self, link: LinkNo) {
        let who = self.sockets[link].who;
        let Some(frame) = self.log.last().and_then(Entry::came).filter(|_| who.is_server()) else { return };
        let Some(from) = frame.from().cloned() else { return };
        let to = Recipient::parse(from.as_str());
        let answers = match frame.payload() {
            Payload::ServerHelloJoin(_) => {
                let hello = self.hello(who);
                let own = WelcomeEntry {
                    user_id: None,
                    server_id: Some(self.cast.server(who)),
                    host: hello.host.clone(),
                    port: hello.port,
                    pubkey: Some(hello.pubkey.clone()),
                };
                let welcome = ServerWelcome {
                    assigned_id: from.into(),
                    clients: Vec::new(),
                    servers: vec![own],
                    // The standard knows of none; who names one is taken for a seed.
                    introducer: None,
                    nonce: None,
                    ext: Vec::new(),
                };
                vec![
                    self.write(who, to, &Payload::ServerWelcome(welcome)),
                    self.write(who, Recipient::Everyone, &Payload::ServerAnnounce(hello)),
                ]
            }
            Payload::UserKeyRequest(request) => {
                let asked =
                    Who::ALL.into_iter().find(|who| self.cast.id(*who) == *request.recipient_uuid.id());
                let Some(asked) = asked else { return };
                let answer = UserKeyAnswer {
                    recipient_pub: self.cast.key_field(asked),
                    recipient_uuid: request.recipient_uuid.clone(),
                };
                vec![self.write(who, to, &Payload::UserKeyAnswer(answer))]
            }
            // Nothing that wants an answer at once.
            _ => return,
        };
        for text in answers.into_iter().flatten() {
            let place = self.say(link, text);
            self.cited.remove(&place);
        }
    }

    /// Waits for the first entry from `since` on that is as wanted, and cites it.
    pub(super) async fn wait(
        &mut self,
        since: Mark,
        patience: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Mark> {
        let deadline = Instant::now() + patience;
        let mut next = since;
        loop {
            if let Some(place) = (next..self.log.len()).find(|place| wanted(&self.log[*place])) {
                self.cited.insert(place);
                return Some(place);
            }
            next = self.log.len();
            if !self.pump(deadline).await {
                return None;
            }
        }
    }

    /// Listens for a while, whatever comes.
    pub(super) async fn listen_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.pump(deadline).await {}
    }

    /// The first entry from `since` on that is as wanted, without waiting; cited.
    pub(super) fn find(&mut self, since: Mark, wanted: impl Fn(&Entry) -> bool) -> Option<Mark> {
        let place = (since..self.log.len()).find(|place| wanted(&self.log[*place]))?;
        self.cited.insert(place);
        Some(place)
    }

    // ---- signatures

    /// Whether and how the frame there is signed by the target.
    pub(super) fn signed(&self, place: Mark) -> Sig {
        let Some(frame) = &self.log[place].frame else { return Sig::None };
        match (&self.target.key, frame.sig()) {
            (_, None) => Sig::None,
            (None, Some(_)) => Sig::KeyUnknown,
            (Some(key), Some(_)) => {
                check_payload(&self.provider, key, frame, None).map_or(Sig::Wrong, Sig::Holds)
            }
        }
    }

    // ---- the end

    /// Takes back whatever the probe has left, and says goodbye. Bounded, whatever the target does.
    pub(super) async fn goodbye(&mut self) {
        let left = std::mem::take(&mut self.advertised);
        for (user, server) in left {
            if let (Some(text), Some(link)) = (self.removal(server, user), self.link_of(server)) {
                self.say(link, text);
            }
        }
        let bye = Payload::CtrlClose(Empty {});
        for (who, link) in self.main.clone() {
            if let Some(text) = self.write(who, self.to_target(), &bye) {
                self.say(link, text);
            }
        }
        for link in 0..self.sockets.len() {
            self.close(link);
        }
        let open = async {
            while self.sockets.iter().any(|socket| socket.out.is_some()) {
                self.pump(Instant::now() + GOODBYE).await;
            }
        };
        // Who does not answer is left.
        let _ = timeout(GOODBYE, open).await;
    }

    /// A USER_REMOVE.
    pub(super) fn removal(&self, server: Who, user: Who) -> Option<String> {
        let removal = UserRemove {
            user_id: self.cast.user(user),
            server_id: self.cast.server(server),
            issued_at: None,
            meta: None,
            event: None,
        };
        self.write(server, Recipient::Everyone, &Payload::UserRemove(removal))
    }
}

/// How a frame of the target is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sig {
    None,
    /// It is, but the target's key is not known.
    KeyUnknown,
    Holds(SignatureForm),
    Wrong,
}

/// A socket's task.
async fn run(number: LinkNo, mut link: RawLink, mut out: mpsc::Receiver<Out>, events: mpsc::Sender<Event>) {
    loop {
        tokio::select! {
            heard = link.next() => {
                let over = matches!(heard, RawHeard::Closed(..) | RawHeard::Lost(_));
                if over && matches!(heard, RawHeard::Closed(..)) {
                    // The answer to a close frame is written while the end is read.
                    let _ = timeout(GOODBYE, link.next()).await;
                }
                if events.send(Event::Heard(number, heard)).await.is_err() || over {
                    return;
                }
            }
            said = out.recv() => {
                let done = match said {
                    Some(Out::Text(text)) => link.send(&text).await,
                    Some(Out::Close(code)) => link.close(code).await,
                    None => return,
                };
                if let Err(error) = done {
                    let _ = events.send(Event::Heard(number, RawHeard::Lost(error.to_string()))).await;
                    return;
                }
            }
        }
    }
}
