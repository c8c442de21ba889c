//! The listeners.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use socp_core::server::LinkOrigin;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::link::Context;
use super::password::caller;
use super::{ListenAddress, StartError};
use crate::scheme::PlainRefused;
use crate::tls::ServerTls;
use crate::{Scheme, ws};

/// Pause after an error that is not one connection's, out of file descriptors for example.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How long new links wait, in their own interest, before the hub's queues are looked at again.
const LAG: Duration = Duration::from_millis(5);

/// An address that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// How it is dialled.
    pub scheme: Scheme,
    /// Where, with the port that the system picked if it was to.
    pub address: SocketAddr,
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}

/// An open port.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<ServerTls>,
}

impl Listener {
    /// Opens a port, if it is one that may be opened.
    pub(super) async fn bind(
        listen: &ListenAddress,
        tls: Option<&ServerTls>,
        allow_plain: bool,
    ) -> Result<(Self, BoundAddress), StartError> {
        let scheme = listen.scheme().unwrap_or(if tls.is_some() { Scheme::Wss } else { Scheme::Ws });
        let tls = match (scheme, tls) {
            (Scheme::Wss, Some(tls)) => Some(tls.clone()),
            (Scheme::Wss, None) => return Err(StartError::NoCertificate { address: listen.clone() }),
            (Scheme::Ws, _) => {
                PlainRefused::unless(allow_plain, listen.host(), listen)
                    .map_err(StartError::PlainListener)?;
                None
            }
        };
        let bound = TcpListener::bind((listen.host(), listen.port())).await;
        let bound = bound.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) =
            bound.map_err(|source| StartError::Bind { address: listen.clone(), source })?;
        Ok((Self { socket, tls }, BoundAddress { scheme, address }))
    }
}

/// Accepts links until the server closes. At most `max_handshakes` sockets shake hands at once;
/// beyond `max_links` sockets are closed unheard.
pub(super) async fn listen(
    listeners: Vec<Listener>,
    context: Context,
    max_handshakes: usize,
    max_links: usize,
) {
    let handshakes = Arc::new(Semaphore::new(max_handshakes));
    let links = Arc::new(Semaphore::new(max_links));
    let mut turn = 0;
    let accept = async {
        loop {
            // Who is let in while nobody has time for it only runs into the timeout for greetings.
            while context.lags() {
                sleep(LAG).await;
            }
            let handshaking =
                handshakes.clone().acquire_owned().await.expect("this semaphore is never closed");
            turn += 1;
            let (accepted, tls) = next(&listeners, turn).await;
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if of_one_connection(&error) => continue,
                Err(error) => {
                    warn!(%error, "cannot accept links at the moment");
                    sleep(BACK_OFF).await;
                    continue;
                }
            };
            let Ok(linked) = links.clone().try_acquire_owned() else {
                debug!(%peer, "too many links");
                context.counters.refused_links.fetch_add(1, Relaxed);
                continue;
            };
            let (task, tls) = (context.clone(), tls.cloned());
            context.tasks.spawn(async move {
                let opened = Box::pin(ws::accept(stream, tls.as_ref(), &task.dialler.limits));
                match task.closing.run_until_cancelled(opened).await {
                    Some(Ok(socket)) => {
                        drop(handshaking);
                        task.counters.accepted.fetch_add(1, Relaxed);
                        let caller = caller(peer, tls.is_some());
                        task.serve(Box::new(socket), LinkOrigin::AcceptedFrom(caller)).await;
                    }
                    Some(Err(error)) => {
                        debug!(%peer, %error, "no link");
                        task.counters.refused_links.fetch_add(1, Relaxed);
                    }
                    None => {}
                }
                drop(linked);
            });
        }
    };
    context.closing.run_until_cancelled(accept).await;
}

type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// Whoever comes next at any port. The port that is asked first changes with every turn, so that a flood at
/// one does not keep the others waiting.
async fn next(listeners: &[Listener], turn: usize) -> (Accepted, Option<&ServerTls>) {
    poll_fn(|cx| {
        let (late, early) = listeners.split_at(turn % listeners.len().max(1));
        for listener in early.iter().chain(late) {
            if let Poll::Ready(accepted) = listener.socket.poll_accept(cx) {
                return Poll::Ready((accepted, listener.tls.as_ref()));
            }
        }
        Poll::Pending
    })
    .await
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
