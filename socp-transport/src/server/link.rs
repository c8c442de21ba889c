//! The task of one link, and what it shares with the hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use socp_core::crypto::{Admission, Refusal, Verified, Verifier};
use socp_core::server::{Event, LinkId, LinkOrigin, Reach};
use socp_core::wire::{Frame, HostPort};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::hub::{INBOX, Input};
use super::stats::Counters;
use crate::driver::{Checker, Clock, Desk, MAX_UNSIGNED, OwnWork};
use crate::ws::{self, Dialler, Outbox, Socket, Stop};

/// What every task of a server needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) verifier: Arc<dyn Verifier>,
    pub(super) dialler: Arc<Dialler>,
    pub(super) counters: Arc<Counters>,
    pub(super) next_link: Arc<AtomicU64>,
    pub(super) clock: Clock,
    /// The hub's signatures under way.
    pub(super) signing: OwnWork,
    /// No more links: ends handshakes and dials.
    pub(super) closing: CancellationToken,
    /// Ends every link at once.
    pub(super) token: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The hub's end of a link.
#[derive(Debug)]
pub(super) struct LinkHandle {
    pub(super) outbox: Outbox,
    pub(super) stop: Stop,
    pause: Arc<AtomicU64>,
}

impl LinkHandle {
    /// Makes the link read nothing until then.
    pub(super) fn pause(&self, until: Duration) {
        self.pause.fetch_max(until.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
    }
}

impl Context {
    /// Whether the hub has more to do than it should have before new links are let in.
    pub(super) fn lags(&self) -> bool {
        self.signing.unfinished() > MAX_UNSIGNED / 4 || self.inbox.capacity() < INBOX * 3 / 4
    }

    /// Runs a link until it ends. The socket comes boxed, as a link's task would keep room for every hand that it
    /// passes through.
    pub(super) async fn serve(self, socket: Box<Socket>, origin: LinkOrigin) {
        let link = LinkId(self.next_link.fetch_add(1, Relaxed));
        let (outbox, queue) = ws::outbox(&self.dialler.limits);
        let (stop, pause) = (Stop::default(), Arc::default());
        let handle = LinkHandle { outbox, stop: stop.clone(), pause: Arc::clone(&pause) };
        debug!(link = link.0, ?origin, "link open");
        if Box::pin(self.inbox.send(Input::Opened { link, origin, handle })).await.is_err() {
            return;
        }
        let mut receiver = Checker::new(HubDesk { link, pause, context: &self }, &*self.verifier);
        // Boxed, as a future that is handed on is kept room for twice.
        let run = Box::pin(ws::run(
            *socket,
            queue,
            stop,
            &mut receiver,
            &self.dialler.limits,
            &self.counters.links,
        ));
        let Some(ended) = self.token.run_until_cancelled(run).await else { return };
        debug!(link = link.0, %ended, "link ended");
        self.tell(Event::LinkClosed { link, why: ended.to_string().into() }).await;
    }

    /// Opens a link and runs it, or tells the hub why there is none.
    pub(super) async fn dial(self, address: HostPort, reach: Reach) {
        let Some(opened) =
            self.closing.run_until_cancelled(self.dialler.connect_within(&address, reach)).await
        else {
            return;
        };
        match opened {
            Ok(socket) => self.serve(Box::new(socket), LinkOrigin::Dialled(address)).await,
            Err(error) => {
                debug!(%address, %error, "dial failed");
                self.tell(Event::DialFailed { address, why: error.to_string().into() }).await;
            }
        }
    }

    /// Tells the hub. Once it is gone nobody needs to know.
    pub(super) fn tell(&self, event: Event) -> BoxFuture<'_, ()> {
        // Boxed before anybody awaits it: events are large, and a link's task would keep room for several.
        self.inbox.send(Input::Event(event)).map(drop).boxed()
    }
}

/// A link's way to the hub.
struct HubDesk<'a> {
    link: LinkId,
    /// In microseconds since the start.
    pause: Arc<AtomicU64>,
    context: &'a Context,
}

impl Desk for HubDesk<'_> {
    async fn admit(&self, frame: Frame) -> Option<Admission> {
        let (reply, admission) = oneshot::channel();
        let admit = Input::Admit { link: self.link, frame: Box::new(frame), reply };
        self.context.inbox.send(admit).await.ok()?;
        let admission = admission.await.ok()?;
        if matches!(admission, Admission::Verify(_)) {
            self.context.counters.verified.fetch_add(1, Relaxed);
        }
        Some(admission)
    }

    async fn deliver(&self, frame: Result<Verified, Refusal>) {
        let link = self.link;
        self.context
            .tell(match frame {
                Ok(frame) => Event::Frame { link, frame },
                Err(refusal) => Event::Refused { link, refusal },
            })
            .await;
    }

    async fn alive(&self) {
        self.context.tell(Event::LinkAlive { link: self.link }).await;
    }

    async fn paused(&self) {
        let until = self.context.clock.at(Duration::from_micros(self.pause.load(Relaxed)));
        if until > Instant::now() {
            sleep_until(until).await;
        }
    }
}
