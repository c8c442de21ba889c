//! The listener.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socp_core::server::LinkOrigin;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::link::Context;
use crate::ws;

/// Pause after an error that is not one connection's, out of file descriptors for example.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How long new links wait, in their own interest, before the hub's queues are looked at again.
const LAG: Duration = Duration::from_millis(5);

/// Accepts links until the server closes. At most `max_handshakes` sockets shake hands at once;
/// beyond `max_links` sockets are closed unheard.
pub(super) async fn listen(listener: TcpListener, context: Context, max_handshakes: usize, max_links: usize) {
    let handshakes = Arc::new(Semaphore::new(max_handshakes));
    let links = Arc::new(Semaphore::new(max_links));
    let accept = async {
        loop {
            // Who is let in while nobody has time for it only runs into the timeout for greetings.
            while context.lags() {
                sleep(LAG).await;
            }
            let handshaking =
                handshakes.clone().acquire_owned().await.expect("this semaphore is never closed");
            let (stream, peer) = match listener.accept().await {
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
            let task = context.clone();
            context.tasks.spawn(async move {
                let opened = task.closing.run_until_cancelled(ws::accept(stream, &task.limits)).await;
                match opened {
                    Some(Ok(socket)) => {
                        drop(handshaking);
                        task.counters.accepted.fetch_add(1, Relaxed);
                        task.serve(socket, LinkOrigin::Accepted).await;
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

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
