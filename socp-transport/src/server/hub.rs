//! The hub: one task that owns the machine, feeds it and does what it says. It never waits for a peer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socp_core::crypto::Admission;
use socp_core::server::{Counts, Event, LinkId, LinkOrigin, Record, Server};
use socp_core::wire::{Frame, ServerId, UserId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

use super::channel_key::ChannelKey;
use super::link::{Context, LinkHandle};
use super::reports::Reporter;
use crate::driver::{Failure, Signing};
use crate::pool::Pool;
use crate::store::{Slot, StoreWriter};

/// Messages of link tasks that wait for the hub. Each link has at most two, so this is about
/// batching; links that find it full wait their turn, and TCP makes their peers wait.
pub(super) const INBOX: usize = 1024;

/// Messages taken in one turn, before deadlines and shutdown are looked at again.
const BUDGET: usize = 64;

/// How long a shutdown may take: the writers' flushes, and 2 s for the peers' close frames.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// What reaches the hub.
#[expect(clippy::large_enum_variant, reason = "nearly every message is the large one")]
pub(super) enum Input {
    /// A link came up.
    Opened { link: LinkId, origin: LinkOrigin, handle: LinkHandle },
    /// What must a frame prove?
    Admit { link: LinkId, frame: Box<Frame>, reply: oneshot::Sender<Admission> },
    /// Something happened.
    Event(Event),
    /// An embedder asks.
    Ask(Question),
}

/// What an embedder may ask. Answers go nowhere if it has lost interest.
pub(super) enum Question {
    Counts(oneshot::Sender<Counts>),
    Users(oneshot::Sender<Vec<(UserId, ServerId)>>),
    Servers(oneshot::Sender<Vec<ServerId>>),
}

/// The machine and everything its actions touch.
pub(super) struct Hub {
    pub(super) machine: Server,
    pub(super) links: BTreeMap<LinkId, LinkHandle>,
    pub(super) signing: Signing,
    /// Room in the store's queue for what the next event makes durable: nothing is handled without.
    pub(super) slot: Option<Slot<Record>>,
    pub(super) pool: Arc<Pool>,
    pub(super) channel: Arc<ChannelKey>,
    /// One password is checked at a time: each keeps a thread from signing for 50 ms.
    pub(super) passwords: Arc<Semaphore>,
    pub(super) reporter: Reporter,
    pub(super) context: Context,
    pub(super) id: watch::Sender<ServerId>,
    /// Events that follow from actions.
    pub(super) own: VecDeque<Event>,
    /// Numbers batches of actions.
    pub(super) batch: u64,
}

impl Hub {
    /// Runs until shutdown or failure.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        store: StoreWriter<Record>,
        shutdown: CancellationToken,
    ) -> Result<(), Failure> {
        let signing = self.signing.work().clone();
        let clock = self.context.clock;
        // A new machine may have something to say at once.
        self.own.push_back(Event::Wakeup);
        {
            let (store_failed, signing_failed) = (store.failure(), signing.failed());
            tokio::pin!(store_failed, signing_failed);
            loop {
                if self.slot.is_none() {
                    self.slot = Some(store.reserve().await?);
                }
                // Own work, deadlines, new input.
                if let Some(event) = self.own.pop_front() {
                    self.handle(event);
                    continue;
                }
                let deadline = self.machine.poll_timeout();
                let busy = signing.busy();
                tokio::select! {
                    biased;
                    failure = &mut store_failed => return Err(failure.into()),
                    failure = &mut signing_failed => return Err(failure),
                    () = shutdown.cancelled() => break,
                    () = clock.until(deadline) => {
                        trace!(reason = deadline.map(|deadline| deadline.reason), "deadline");
                        self.handle(Event::Wakeup);
                    }
                    () = signing.relieved(), if busy => {}
                    // The hub's own context holds a sender: there is always a next one.
                    Some(input) = inbox.recv(), if !busy => self.turn(input, &mut inbox, &store),
                }
            }
        }
        self.shut_down(inbox, store).await
    }

    /// Takes input until the budget is spent or something else is to be done first.
    fn turn(&mut self, first: Input, inbox: &mut mpsc::Receiver<Input>, store: &StoreWriter<Record>) {
        self.take(first);
        for _ in 1..BUDGET {
            if self.slot.is_none() {
                self.slot = store.reserve().now_or_never().and_then(Result::ok);
            }
            if self.slot.is_none() || !self.own.is_empty() || self.signing.work().busy() {
                break;
            }
            match inbox.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => break,
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { link, origin, handle } => {
                self.links.insert(link, handle);
                self.handle(Event::LinkOpened { link, origin });
            }
            Input::Admit { link, frame, reply } => {
                trace!(link = link.0, kind = frame.kind().as_str(), "frame");
                // Without a taker the link ended meanwhile.
                let _ = reply.send(self.machine.admit(link, *frame));
            }
            Input::Event(Event::LinkClosed { link, why }) => {
                // The machine has forgotten links that it closed itself.
                if self.links.remove(&link).is_some() {
                    self.handle(Event::LinkClosed { link, why });
                }
            }
            Input::Event(event) => self.handle(event),
            Input::Ask(question) => self.answer(question),
        }
    }

    fn answer(&self, question: Question) {
        match question {
            Question::Counts(reply) => {
                let _ = reply.send(self.machine.counts());
            }
            Question::Users(reply) => {
                let users = self.machine.user_locations();
                let _ = reply.send(users.map(|(user, server)| (user.clone(), server.clone())).collect());
            }
            Question::Servers(reply) => {
                let _ = reply.send(self.machine.linked_servers().map(|(server, _)| server.clone()).collect());
            }
        }
    }

    /// Tells the machine, and does what it says.
    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.context.clock.now(), event);
        self.execute(actions);
    }

    /// Lets the machine close every link, gives what is queued time to leave, then sees to it that the last
    /// commit happens.
    async fn shut_down(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        store: StoreWriter<Record>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + SHUTDOWN;
        self.handle(Event::Shutdown);
        // What the machine did not close, it does not know.
        self.links.clear();
        self.context.tasks.close();
        let tasks = self.context.tasks.clone();
        let ended = async {
            let ended = tasks.wait();
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    () = &mut ended => break,
                    // Link tasks must not hang on their last words, nor new links on their first.
                    _ = inbox.recv() => {}
                }
            }
        };
        if timeout_at(deadline, ended).await.is_err() {
            debug!("some peers took too long to say goodbye");
        }
        // Of the links, not of this task.
        self.context.token.cancel();
        Ok(store.close().await?)
    }
}
