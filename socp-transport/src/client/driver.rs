//! The task that owns the client machine, feeds it and does what it says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt;
use socp_core::client::{
    Action, Client, Command, Event, KnownUser, Notice, PasswordFrame, Record, Registration, SealedMessage,
};
use socp_core::close_code;
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::crypto::{Admission, CryptoError, Signed};
use socp_core::wire::Frame;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Duration, timeout};
use tracing::debug;
use zeroize::Zeroizing;

use super::files::Files;
use super::link::{Context, LinkHandle, LinkNumber};
use crate::driver::{Clock, Failure, OwnWork, Signing};
use crate::password;
use crate::pool::{Lane, Pool};
use crate::store::{Slot, StoreWriter};
use crate::ws::{Entry, Failed, Gate, Item, PendingText};

/// Messages of other tasks that wait for the driver.
pub(super) const INBOX: usize = 256;

/// Notices that wait for the embedder before the link is no longer read.
pub(super) const NOTICES: usize = 1024;

/// Messages that are being sealed or opened before no more input is taken. The machine's own limits are
/// lower.
pub(super) const MAX_WORK: usize = 1024;

/// How long the last frames and the close frame may take.
const GOODBYE: Duration = Duration::from_secs(4);

/// What we leave at a seed's server where its own clients leave their private key: the server sees the password, so
/// it could open it.
const NO_KEY: &str = "socp-client keeps its private key to itself";

/// What reaches the driver.
pub(super) enum Input {
    /// A link came up.
    Opened(LinkHandle),
    /// What must a frame prove?
    Admit { frame: Box<Frame>, reply: oneshot::Sender<Admission> },
    /// Something happened on a link, or in place of one.
    Link(LinkNumber, Event),
    /// Something else happened.
    Event(Event),
    /// The user wants something. With `outcome` the notice that ends it goes there, else to all.
    Command { reference: u64, command: Command, outcome: Option<oneshot::Sender<Notice>> },
    /// The user's password for this server.
    Password(Zeroizing<String>),
    /// Who is online?
    Users(oneshot::Sender<Vec<KnownUser>>),
}

/// What to tell once a frame is on the socket.
pub(super) type Written<T> = (T, oneshot::Receiver<()>);

/// The machine and everything its actions touch.
pub(super) struct Driver {
    pub(super) machine: Client,
    pub(super) key: Arc<PrivateKey>,
    /// For this server.
    pub(super) password: Option<Arc<Zeroizing<String>>>,
    pub(super) pool: Arc<Pool>,
    pub(super) signing: Signing,
    pub(super) sealing: OwnWork,
    pub(super) clock: Clock,
    pub(super) context: Context,
    pub(super) congested: watch::Sender<bool>,
    /// Room in the store's queue for what the next event makes durable: nothing is handled without.
    pub(super) slot: Option<Slot<Record>>,
    pub(super) link: Option<LinkHandle>,
    /// The link that the machine waits for or has.
    pub(super) number: LinkNumber,
    /// What is in the link's queue and to be told of, in its order.
    pub(super) written: VecDeque<Written<Event>>,
    pub(super) files: Files,
    /// Events that follow from actions.
    pub(super) own: VecDeque<Event>,
    pub(super) batch: u64,
    pub(super) notices: mpsc::Sender<Notice>,
    /// Notices that found no room. The link is not read meanwhile.
    pub(super) backlog: VecDeque<Notice>,
    pub(super) outcomes: BTreeMap<u64, oneshot::Sender<Notice>>,
}

impl Driver {
    /// Runs until the machine has stopped, or something fails.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        store: StoreWriter<Record>,
    ) -> Result<(), Failure> {
        let (clock, notices) = (self.clock, self.notices.clone());
        let (signing, sealing) = (self.signing.work().clone(), self.sealing.clone());
        let keeping = self.files.keeping().clone();
        {
            let (store_failed, signing_failed, sealing_failed) =
                (store.failure(), signing.failed(), sealing.failed());
            tokio::pin!(store_failed, signing_failed, sealing_failed);
            while !self.machine.is_stopped() {
                if self.slot.is_none() {
                    self.slot = Some(store.reserve().await?);
                }
                if let Some(event) = self.own.pop_front() {
                    self.handle(event);
                    continue;
                }
                let deadline = self.machine.poll_timeout();
                let busy = signing.busy() || sealing.busy() || keeping.busy();
                tokio::select! {
                    biased;
                    failure = &mut store_failed => return Err(failure.into()),
                    failure = &mut signing_failed => return Err(failure),
                    failure = &mut sealing_failed => return Err(failure),
                    () = clock.until(deadline) => self.handle(Event::Wakeup),
                    event = next_written(&mut self.written) => if let Some(event) = event {
                        self.handle(event);
                    },
                    heard = self.files.next() => self.on_file(heard),
                    room = notices.reserve(), if !self.backlog.is_empty() => {
                        // Without anybody who reads them there is nobody to tell.
                        match (room, self.backlog.pop_front()) {
                            (Ok(room), Some(notice)) => room.send(notice),
                            (Ok(_), None) => {}
                            (Err(_), _) => self.backlog.clear(),
                        }
                        self.hold_or_read();
                    }
                    () = signing.relieved(), if signing.busy() => {}
                    () = sealing.relieved(), if sealing.busy() => {}
                    () = keeping.relieved(), if keeping.busy() => {}
                    // The driver's own context holds a sender: there is always a next one.
                    Some(input) = inbox.recv(), if !busy => self.take(input),
                }
            }
        }
        self.say_goodbye(inbox, store).await
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened(handle) => {
                // A dial whose machine has changed its mind ends by being dropped here.
                if handle.number == self.number {
                    self.link = Some(handle);
                    self.handle(Event::LinkOpened);
                }
            }
            Input::Admit { frame, reply } => {
                // Without a taker the link has ended meanwhile.
                let _ = reply.send(self.machine.admit(*frame));
            }
            Input::Link(number, event) => {
                if number != self.number {
                    return;
                }
                if matches!(event, Event::LinkClosed { .. }) {
                    self.last_written();
                    self.files.on_link_gone();
                    self.link = None;
                    self.own.push_back(event);
                } else {
                    self.handle(event);
                }
            }
            Input::Event(event) => self.handle(event),
            Input::Command { reference, command, outcome } => {
                if let Some(outcome) = outcome {
                    self.outcomes.insert(reference, outcome);
                }
                self.handle(Event::Command { reference, command });
            }
            Input::Password(password) => {
                self.password = Some(Arc::new(password));
                self.handle(Event::Password);
            }
            Input::Users(reply) => {
                let _ = reply.send(self.machine.users());
            }
        }
    }

    /// What the ended link has written comes before its end; what it has not, never will be.
    fn last_written(&mut self) {
        for (event, mut written) in self.written.drain(..) {
            if written.try_recv().is_ok() {
                self.own.push_back(event);
            }
        }
    }

    pub(super) fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.clock.now(), event);
        self.batch += 1;
        let gate = self.persist(&actions);
        for action in actions {
            match action {
                Action::Persist(_) => {}
                Action::Dial(address) => {
                    self.number += 1;
                    self.context.tasks.spawn(self.context.clone().dial(self.number, address));
                }
                Action::Send(unsigned) => {
                    let item = self.signing.item(unsigned, 1);
                    self.push(Entry { item, gate: gate.clone(), written: None });
                }
                Action::Password(frame) => self.log_in(frame),
                Action::Seal(draft) => {
                    let (id, key) = (draft.id(), self.key.clone());
                    let failed = move |error| Event::DraftFailed(id, error);
                    let work = move || draft.seal(&Provider::new(), &*key);
                    self.seal(Event::Written(id), failed, work, gate.clone());
                }
                Action::File(action) => self.on_file_action(action, gate.clone()),
                Action::Open(message) => self.open(message),
                Action::Ping => self.push(Item::Ping.into()),
                Action::Close { code, reason } => self.close(code, reason),
                Action::Notify(notice) => self.notify(notice),
            }
        }
        self.hold_or_read();
    }

    fn persist(&mut self, actions: &[Action]) -> Option<Gate> {
        let record = |action: &Action| match action {
            Action::Persist(record) => Some(record.clone()),
            Action::Dial(_)
            | Action::Send(_)
            | Action::Password(_)
            | Action::Seal(_)
            | Action::Open(_)
            | Action::File(_)
            | Action::Ping
            | Action::Close { .. }
            | Action::Notify(_) => None,
        };
        let records: Vec<Record> = actions.iter().filter_map(record).collect();
        if records.is_empty() {
            return None;
        }
        let slot = self.slot.take().expect("no event is handled without a slot");
        let committed = slot.submit(records);
        Some(async move { committed.await.map_err(|_| Failed) }.boxed().shared())
    }

    /// Seals on the pool, several at once, while the queue keeps their order.
    pub(super) fn seal(
        &mut self,
        on_written: Event,
        failed: impl FnOnce(CryptoError) -> Event + Send + 'static,
        work: impl FnOnce() -> Result<Signed, CryptoError> + Send + 'static,
        gate: Option<Gate>,
    ) {
        /// A sealed message, with its keys and signatures in base64.
        const BYTES: usize = 4096;
        // The machine will have it sealed again.
        if self.link.is_none() {
            return;
        }
        let ticket = self.sealing.begin();
        let (pool, inbox) = (self.pool.clone(), self.context.inbox.clone());
        let sealing = self.context.tasks.spawn(async move {
            let sealed = pool.run(Lane::Chat, work).await;
            let (sealed, outcome) = match sealed {
                Ok(sealed) => (Some(sealed), Ok(())),
                Err(error) => (None, Err(error.into())),
            };
            ticket.finish(outcome)?;
            match sealed {
                Some(Ok(sealed)) => Ok(Some(sealed.into_text())),
                Some(Err(error)) => {
                    let _: Result<(), _> = inbox.send(Input::Event(failed(error))).await;
                    Ok(None)
                }
                None => Err(Failed),
            }
        });
        let text: PendingText = async move { sealing.await.unwrap_or(Err(Failed)) }.boxed().shared();
        let (written, was_written) = oneshot::channel();
        self.written.push_back((on_written, was_written));
        self.push(Entry { item: Item::Pending { text, bytes: BYTES }, gate, written: Some(written) });
    }

    /// Writes a frame with the user's password, or what is derived from it.
    fn log_in(&mut self, frame: PasswordFrame) {
        /// With a sealed text and its key in base64.
        const BYTES: usize = 2048;
        // The machine was told that there is one.
        let Some(password) = self.password.clone() else { return };
        let ticket = self.sealing.begin();
        let pool = self.pool.clone();
        let writing = self.context.tasks.spawn(async move {
            let work = move || match frame.registers() {
                false => Ok(frame.login(&password)),
                true => {
                    let privkey_store = &password::seal(&password, NO_KEY)?;
                    let pake_password = &password::verifier(&password)?;
                    Ok(frame.registration(Registration { privkey_store, pake_password }))
                }
            };
            let written = pool.run(Lane::Chat, work).await;
            ticket.finish(match &written {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(Failure::Signer(*error)),
                Err(error) => Err((*error).into()),
            })?;
            written.map_err(|_| Failed)?.map(Some).map_err(|_: CryptoError| Failed)
        });
        let text: PendingText = async move { writing.await.unwrap_or(Err(Failed)) }.boxed().shared();
        self.push(Item::Pending { text, bytes: BYTES }.into());
    }

    fn open(&mut self, message: SealedMessage) {
        let ticket = self.sealing.begin();
        let (pool, key, inbox) = (self.pool.clone(), self.key.clone(), self.context.inbox.clone());
        self.context.tasks.spawn(async move {
            match pool.run(Lane::Chat, move || message.open(&*key, &Provider::new())).await {
                Ok(opened) => {
                    // Counted as finished before it is told: the driver must be free to listen.
                    drop(ticket);
                    let _ = inbox.send(Input::Event(Event::Opened(opened))).await;
                }
                Err(error) => {
                    let _ = ticket.finish(Err(error.into()));
                }
            }
        });
    }

    fn push(&mut self, entry: Entry) {
        let Some(link) = &mut self.link else { return };
        if link.outbox.push(self.batch, entry).is_err() {
            // The server does not take what we write; the link's end will tell the machine.
            debug!("the link's queue is full");
            link.stop.now(close_code::POLICY, "slow server");
        }
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        debug!(code, reason, "closing");
        self.written.clear();
        self.files.on_link_gone();
        // Whatever the link still says comes too late.
        self.number += 1;
        let Some(mut link) = self.link.take() else { return };
        if link.outbox.push(self.batch, Item::Close { code, reason }.into()).is_err() {
            link.stop.now(code, reason);
        }
    }

    fn notify(&mut self, notice: Notice) {
        if let Some(outcome) = notice.ends().and_then(|reference| self.outcomes.remove(&reference)) {
            // Whoever waited may have stopped waiting.
            let _ = outcome.send(notice);
            return;
        }
        if let Notice::Dropped { why, detail } = &notice {
            debug!(why, %detail, "dropped");
        }
        if !self.backlog.is_empty() {
            self.backlog.push_back(notice);
        } else if let Err(mpsc::error::TrySendError::Full(notice)) = self.notices.try_send(notice) {
            self.backlog.push_back(notice);
        }
    }

    /// The link is read while the machine and the embedder keep up.
    fn hold_or_read(&self) {
        let congested = !self.backlog.is_empty() || self.machine.is_congested();
        self.congested.send_if_modified(|was| std::mem::replace(was, congested) != congested);
    }

    /// Lets the link write what is queued and close, and sees to it that the last commit happens.
    async fn say_goodbye(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        store: StoreWriter<Record>,
    ) -> Result<(), Failure> {
        self.link = None;
        self.files.close();
        self.context.closing.cancel();
        self.congested.send_replace(false);
        self.context.tasks.close();
        let tasks = self.context.tasks.clone();
        let ended = async {
            let ended = tasks.wait();
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    () = &mut ended => break,
                    // Nobody may hang on last words to us.
                    _ = inbox.recv() => {}
                }
            }
        };
        let _ = timeout(GOODBYE, ended).await;
        self.context.token.cancel();
        // The last notices wait as long as somebody may read them.
        let last_words = async {
            while let Some(notice) = self.backlog.pop_front() {
                if self.notices.send(notice).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(GOODBYE, last_words).await;
        Ok(store.close().await?)
    }
}

/// What is at the front of the link's queue, once it is written; `None` if it never will be.
pub(super) async fn next_written<T>(written: &mut VecDeque<Written<T>>) -> Option<T> {
    let Some((_, was_written)) = written.front_mut() else { return std::future::pending().await };
    let outcome = was_written.await;
    let (told, _) = written.pop_front()?;
    outcome.ok().map(|()| told)
}
