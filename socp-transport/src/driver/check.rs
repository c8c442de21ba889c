//! From text to checked frame, on the link's own task. One frame of a link is on its way at a time, which
//! keeps the link's order, lets links verify in parallel, and has a flood burn its own link's share.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use socp_core::crypto::{Admission, Refusal, Verified, Verifier};
use socp_core::wire::Frame;
use tokio::time::Instant;

use crate::ws::{Incoming, Receive};

/// Signs of life that a machine is told of are at least so far apart: a peer's pings cost it nothing.
const ALIVE_EVERY: Duration = Duration::from_millis(200);

/// A link's way to its machine. Once the machine's owner is gone, nothing needs to be answered any more.
pub(crate) trait Desk: Send + Sync {
    /// Asks what a frame must prove.
    fn admit(&self, frame: Frame) -> impl Future<Output = Option<Admission>> + Send;
    /// Hands over a frame, or what is wrong with it.
    fn deliver(&self, frame: Result<Verified, Refusal>) -> impl Future<Output = ()> + Send;
    /// Tells that the peer lives.
    fn alive(&self) -> impl Future<Output = ()> + Send;
    /// Waits while the link is not to be read.
    fn paused(&self) -> impl Future<Output = ()> + Send;
}

/// Parses, has admitted, verifies and delivers what a link reads.
pub(crate) struct Checker<'a, D> {
    desk: D,
    verifier: &'a dyn Verifier,
    alive: Option<Instant>,
}

impl<'a, D: Desk> Checker<'a, D> {
    pub(crate) fn new(desk: D, verifier: &'a dyn Verifier) -> Self {
        Self { desk, verifier, alive: None }
    }

    async fn text(&self, text: Bytes) {
        let checked = match Frame::parse_bytes(text) {
            Ok(frame) => match self.desk.admit(frame).await {
                Some(Admission::Accept(frame)) => Ok(frame),
                Some(Admission::Verify(frame)) => frame.verify(self.verifier),
                Some(Admission::Refuse(refusal)) => Err(refusal),
                None => return,
            },
            Err(error) => Err(error.into()),
        };
        // The frame before this one may have cost the link a pause.
        self.desk.paused().await;
        self.desk.deliver(checked).await;
    }
}

impl<D: Desk> Receive for Checker<'_, D> {
    async fn receive(&mut self, incoming: Incoming) {
        match incoming {
            // Boxed: frames pass through many hands here, and an idle link need not keep room for them.
            Incoming::Text(text) => Box::pin(self.text(text)).await,
            Incoming::Alive => {
                let now = Instant::now();
                if self.alive.is_none_or(|last| now.duration_since(last) >= ALIVE_EVERY) {
                    self.alive = Some(now);
                    self.desk.alive().await;
                }
            }
        }
        self.desk.paused().await;
    }
}
