//! The server for embedders: a machine, its links, its threads and its store behind one handle.
//!
//! ```text
//! listener ─▶ link task ─▶ inbox ─▶ hub: machine ─▶ actions ─▶ outbox of each link ─▶ link task
//!             parse, verify                          ├▶ pool: signatures
//!                                                    └▶ store: commits
//! ```

mod actions;
mod channel_key;
mod config;
mod hub;
mod link;
mod listen;
mod password;
mod reports;
mod stats;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use socp_core::server::{self as machine, Report, Snapshot};
use socp_core::wire::{HostPort, Id, ServerId, UserId};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use config::{ListenAddress, ListenAddressError, ServerConfig};
pub use listen::BoundAddress;
pub use reports::Reports;
pub use stats::Stats;

use crate::Scheme;
use crate::driver::{Clock, Failure, MAX_UNSIGNED, OwnWork, Signing};
use crate::pool::Pool;
use crate::scheme::PlainRefused;
use crate::store::{StoreError, StoreWriter};
use crate::ws::Dialler;
use channel_key::ChannelKey;
use hub::{Hub, INBOX, Input, Question};
use link::Context;
use listen::Listener;
use reports::Reporter;
use stats::Counters;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// A port is to speak TLS, and there is no certificate.
    #[error("cannot listen on {address}: wss:// needs a certificate and its key")]
    NoCertificate {
        /// As configured.
        address: ListenAddress,
    },
    /// A plain port beyond this machine, which nobody has allowed.
    #[error("cannot listen: {0}")]
    PlainListener(PlainRefused),
    /// A listed server would be dialled plainly beyond this machine, which nobody has allowed.
    #[error("cannot dial: {0}")]
    PlainDial(PlainRefused),
    /// The stored state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no threads or no randomness to give.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// A running server. Dropping it ends it at once; [`Server::shutdown`] says goodbye first.
pub struct Server {
    addresses: Vec<BoundAddress>,
    id: watch::Receiver<ServerId>,
    inbox: mpsc::Sender<Input>,
    reports: broadcast::WeakSender<Report>,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    outcome: watch::Receiver<Option<Result<(), Failure>>>,
    _ends_everything: DropGuard,
}

impl Server {
    /// Loads the state, listens and runs.
    ///
    /// # Errors
    /// If the address cannot be listened on, the state cannot be read, or the system is out of something.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let ServerConfig {
            listen,
            tls,
            roots,
            allow_plain,
            signer,
            verifier,
            sealer,
            store,
            pool,
            server_id,
            advertise,
            reachable_at,
            bootstrap,
            dial_as,
            strict_ids,
            require_proof,
            password_logins,
            join,
            dial,
            limits,
            timing,
            mut links,
            max_links,
            max_handshakes,
        } = config;
        let system = |what| move |source| StartError::System { what, source };
        let key = signer.public_key().clone();
        let others = bootstrap.iter().filter(|introducer| introducer.key != key);
        let listed = others.map(|introducer| &introducer.address);
        for address in listed.filter(|address| dial_as.get(address) != Some(&Scheme::Wss)) {
            PlainRefused::unless(allow_plain, address.host(), address).map_err(StartError::PlainDial)?;
        }
        if listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for listen in &listen {
            let (listener, address) = Listener::bind(listen, tls.as_ref(), allow_plain).await?;
            listeners.push(listener);
            addresses.push(address);
        }
        let (store, snapshot) = load(store).await?;
        let store = StoreWriter::start(store).map_err(system("starting the store's thread"))?;
        let pool = match pool {
            Some(pool) => pool,
            None => Arc::new(Pool::new().map_err(system("starting worker threads"))?),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| system("randomness")(error.into()))?;
        let channel = ChannelKey::new(sealer).map_err(system("randomness"))?;

        links.frame_in_bytes = limits.frame_in_bytes;
        let config = machine::Config {
            server_id: server_id.unwrap_or_else(|| Id::derived_from(&key).into()),
            key,
            address_is_binding: advertise.is_some(),
            address: advertise
                .or(reachable_at)
                .or_else(|| reachable(&listen, &addresses, !bootstrap.is_empty())),
            bootstrap,
            strict_ids,
            require_proof,
            password_logins,
            join,
            dial,
            limits,
            timing,
            seed,
        };

        let (inbox, inputs) = mpsc::channel(INBOX);
        let (token, shutdown, tasks) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let counters = Arc::new(Counters::default());
        let signing = OwnWork::new(MAX_UNSIGNED);
        let context = Context {
            inbox: inbox.clone(),
            verifier,
            dialler: Arc::new(Dialler { limits: Arc::new(links), roots, allow_plain, said: dial_as }),
            counters: counters.clone(),
            next_link: Arc::new(AtomicU64::new(1)),
            clock: Clock::start(),
            signing: signing.clone(),
            closing: shutdown.clone(),
            token: token.child_token(),
            tasks: tasks.clone(),
        };
        let machine = machine::Server::new(config, snapshot, context.clock.now());
        let (id, own_id) = watch::channel(machine.id().clone());
        let reporter = Reporter::new(counters.clone());
        let reports = reporter.sender().downgrade();
        for address in &addresses {
            info!(%address, id = ?machine.id(), "listening");
        }
        let hub = Hub {
            machine,
            links: BTreeMap::new(),
            signing: Signing::new(signer, pool.clone(), signing, counters.signatures.clone(), tasks),
            slot: None,
            passwords: Arc::new(Semaphore::new(1)),
            pool,
            channel: Arc::new(channel),
            reporter,
            context: context.clone(),
            id,
            own: VecDeque::new(),
            batch: 0,
        };
        let (ended, outcome) = watch::channel(None);
        tokio::spawn(supervise(hub, inputs, store, shutdown.clone(), token.clone(), ended));
        tokio::spawn(listen::listen(listeners, context, max_handshakes, max_links));
        Ok(Self {
            addresses,
            id: own_id,
            inbox,
            reports,
            counters,
            shutdown,
            outcome,
            _ends_everything: token.drop_guard(),
        })
    }

    /// The first address that it listens on, with the port that the system picked if it was to.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0].address
    }

    /// All addresses that it listens on, as configured.
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// Our id at the moment: an introducer may assign another one (§8.1).
    pub fn id(&self) -> ServerId {
        self.id.borrow().clone()
    }

    /// A subscription to what happens from now on. After the server stopped it holds nothing.
    pub fn reports(&self) -> Reports {
        let sender = self.reports.upgrade().unwrap_or_else(|| broadcast::Sender::new(1));
        Reports::new(&sender, self.counters.clone())
    }

    /// Counters, and the sizes of the machine's tables; those are 0 after the server stopped.
    pub async fn stats(&self) -> Stats {
        self.counters.snapshot(self.ask(Question::Counts).await.unwrap_or_default())
    }

    /// Users known to be online and the servers they are at; empty after the server stopped.
    pub async fn users(&self) -> Vec<(UserId, ServerId)> {
        self.ask(Question::Users).await.unwrap_or_default()
    }

    /// Servers with a link that is up; empty after the server stopped.
    pub async fn servers(&self) -> Vec<ServerId> {
        self.ask(Question::Servers).await.unwrap_or_default()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Ask(question(reply))).await.ok()?;
        answer.await.ok()
    }

    /// Waits until the server stops, which only a failure or [`Server::shutdown`] makes it do.
    ///
    /// # Errors
    /// The failure.
    pub async fn wait(&self) -> Result<(), Failure> {
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await;
        // The supervisor tells before it goes, unless the runtime itself ends.
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(Failure::Panicked))
    }

    /// Takes no more links, says goodbye to everybody, writes what is queued and stops. Takes 4 s at most,
    /// unless the disk takes longer.
    ///
    /// # Errors
    /// If the server had failed, or the last commit fails.
    pub async fn shutdown(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        self.wait().await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

type Store = Box<dyn crate::store::Store<machine::Record>>;

/// Stores block.
async fn load(mut store: Store) -> Result<(Store, Snapshot), StartError> {
    let loading = tokio::task::spawn_blocking(move || store.load().map(|snapshot| (store, snapshot)));
    let lost = |error: tokio::task::JoinError| StartError::System { what: "loading", source: error.into() };
    Ok(loading.await.map_err(lost)??)
}

/// Where others can dial us, if nobody told: the first host that is not every address, with the actual port.
fn reachable(listen: &[ListenAddress], bound: &[BoundAddress], joins: bool) -> Option<HostPort> {
    let mut ports = listen.iter().zip(bound).filter(|(_, bound)| !bound.address.ip().is_unspecified());
    let reachable = ports.find_map(|(listen, bound)| HostPort::new(listen.host(), bound.address.port()).ok());
    if reachable.is_none() && joins {
        warn!("listening on every address without an advertised one: other servers will not be joined");
    }
    reachable
}

/// Runs the hub and ends everything with it, however it ends.
async fn supervise(
    hub: Hub,
    inputs: mpsc::Receiver<Input>,
    store: StoreWriter<machine::Record>,
    shutdown: CancellationToken,
    token: CancellationToken,
    ended: watch::Sender<Option<Result<(), Failure>>>,
) {
    let hub = tokio::spawn({
        let token = token.clone();
        async move { token.run_until_cancelled(hub.run(inputs, store, shutdown)).await }
    });
    let outcome = match hub.await {
        Ok(outcome) => outcome.unwrap_or(Ok(())),
        Err(_) => Err(Failure::Panicked),
    };
    token.cancel();
    match &outcome {
        Ok(()) => info!("stopped"),
        Err(failure) => error!(%failure, "stopped"),
    }
    ended.send_replace(Some(outcome));
}
