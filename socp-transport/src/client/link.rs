//! The task of the client's link.

use std::sync::Arc;

use socp_core::client::Event;
use socp_core::crypto::{Admission, Refusal, Verified, aws_lc};
use socp_core::wire::{Frame, HostPort};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::driver::Input;
use crate::driver::{Checker, Desk};
use crate::ws::{self, Dialler, LinkCounters, Outbox, Stop};

/// Counts the links of a client: what a former one still says is ignored.
pub(super) type LinkNumber = u64;

/// What every task of a client needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) dialler: Arc<Dialler>,
    pub(super) counters: Arc<LinkCounters>,
    /// Whether the link is not to be read for the time being.
    pub(super) congested: watch::Receiver<bool>,
    /// Ends dials.
    pub(super) closing: CancellationToken,
    /// Ends the link at once.
    pub(super) token: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The driver's end of the link.
#[derive(Debug)]
pub(super) struct LinkHandle {
    pub(super) number: LinkNumber,
    pub(super) outbox: Outbox,
    pub(super) stop: Stop,
}

impl Context {
    /// Opens a link and runs it until it ends.
    pub(super) async fn dial(self, number: LinkNumber, address: HostPort) {
        let Some(opened) = self.closing.run_until_cancelled(self.dialler.connect(&address)).await else {
            return;
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%address, %error, "dial failed");
                return self.tell(number, Event::DialFailed { why: error.to_string().into() }).await;
            }
        };
        debug!(%address, "link open");
        let (outbox, queue) = ws::outbox(&self.dialler.limits);
        let stop = Stop::default();
        let handle = LinkHandle { number, outbox, stop: stop.clone() };
        if self.inbox.send(Input::Opened(handle)).await.is_err() {
            return;
        }
        let verifier = aws_lc::Provider::new();
        let mut receiver = Checker::new(ClientDesk { number, context: &self }, &verifier);
        let run = ws::run(socket, queue, stop, &mut receiver, &self.dialler.limits, &self.counters);
        let Some(ended) = self.token.run_until_cancelled(run).await else { return };
        debug!(%ended, "link ended");
        self.tell(number, Event::LinkClosed { why: ended.to_string().into() }).await;
    }

    /// Once the driver is gone nobody needs to know.
    async fn tell(&self, number: LinkNumber, event: Event) {
        let _ = self.inbox.send(Input::Link(number, event)).await;
    }
}

/// The link's way to the driver.
struct ClientDesk<'a> {
    number: LinkNumber,
    context: &'a Context,
}

impl Desk for ClientDesk<'_> {
    async fn admit(&self, frame: Frame) -> Option<Admission> {
        let (reply, admission) = oneshot::channel();
        self.context.inbox.send(Input::Admit { frame: Box::new(frame), reply }).await.ok()?;
        admission.await.ok()
    }

    async fn deliver(&self, frame: Result<Verified, Refusal>) {
        let event = match frame {
            Ok(frame) => Event::Frame(frame),
            Err(refusal) => Event::Refused(refusal),
        };
        self.context.tell(self.number, event).await;
    }

    async fn alive(&self) {
        self.context.tell(self.number, Event::LinkAlive).await;
    }

    async fn paused(&self) {
        // An error means that the driver is gone, and the link with it.
        let _ = self.context.congested.clone().wait_for(|congested| !congested).await;
    }
}
