//! The client for embedders and for the terminal: a machine, its link, its threads and its store behind one
//! handle.

mod config;
mod driver;
mod files;
pub mod line;
mod link;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use socp_core::client::{
    self as machine, Command, FileCommand, FileNotice, KnownUser, Notice, OfferPolicy, Record, SentTo,
    Snapshot, Text, TransferId,
};
use socp_core::wire::{ErrorCode, Id, UserId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, error};
use zeroize::Zeroizing;

pub use config::ClientConfig;

use crate::Scheme;
use crate::driver::{Clock, Failure, MAX_UNSIGNED, OwnWork, Signing};
use crate::pool::Pool;
use crate::scheme::PlainRefused;
use crate::store::{Store, StoreError, StoreWriter};
use crate::ws::{Dialler, LinkCounters};
use driver::{Driver, INBOX, Input, MAX_WORK, NOTICES};
use files::Files;
use link::Context;

/// References of [`Client::command`] lie below; those above are the handle's own.
pub const MAX_REFERENCE: u64 = 1 << 63;

/// Why a client did not start. That the server cannot be reached is no reason: the client keeps trying.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The link would be plain and leave this machine, which nobody has allowed.
    #[error(transparent)]
    Plain(#[from] PlainRefused),
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

/// A command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The server or the machine refused it, or it could not be sent.
    #[error("{code}: {detail}")]
    Failed {
        /// §9.
        code: ErrorCode,
        /// In words; escaped.
        detail: Box<str>,
    },
    /// The client has stopped; [`Client::wait`] says why.
    #[error("the client has stopped")]
    Stopped,
}

/// A running client. Dropping it ends it at once; [`Client::quit`] says goodbye first.
pub struct Client {
    user_id: UserId,
    inbox: mpsc::Sender<Input>,
    next_reference: AtomicU64,
    congested: watch::Receiver<bool>,
    outcome: watch::Receiver<Option<Result<(), Failure>>>,
    _ends_everything: DropGuard,
}

impl Client {
    /// Loads the state and runs; it dials and logs in by itself. Read the notices: while their queue is
    /// full, the link is not read.
    ///
    /// # Errors
    /// If the state cannot be read or the system is out of something.
    pub async fn start(config: ClientConfig) -> Result<(Self, Notices), StartError> {
        let ClientConfig {
            address,
            scheme,
            roots,
            allow_plain,
            key,
            user_id,
            dialect,
            server_key,
            seed_id,
            password,
            rotations,
            meta,
            downloads,
            auto_accept,
            program,
            store,
            pool,
            limits,
            timing,
            mut link,
        } = config;
        if scheme == Scheme::Ws {
            PlainRefused::unless(allow_plain, address.host(), &address)?;
        }
        let system = |what| move |source| StartError::System { what, source };
        let (store, snapshot) = load(store).await?;
        let store = StoreWriter::start(store).map_err(system("starting the store's thread"))?;
        let pool = match pool {
            Some(pool) => pool,
            None => Arc::new(Pool::new().map_err(system("starting worker threads"))?),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| system("randomness")(error.into()))?;

        let public = key.public_key().clone();
        let rotated = || rotations.first().map(|step| step.user_id.clone());
        let user_id = user_id.or_else(rotated).unwrap_or_else(|| Id::derived_from(&public).into());
        link.frame_in_bytes = limits.frame_in_bytes;
        let said = BTreeMap::from([(address.clone(), scheme)]);
        let defaults = machine::Config::new(user_id.clone(), public, address, seed);
        let program = program.unwrap_or_else(|| defaults.program.clone());
        let files = match (&downloads, auto_accept) {
            (None, _) => OfferPolicy::Refuse,
            (Some(_), false) => OfferPolicy::Ask,
            (Some(_), true) => OfferPolicy::Accept,
        };
        let config = machine::Config {
            rotations,
            meta,
            program,
            files,
            limits,
            timing,
            dialect,
            server_key,
            seed_id,
            password: password.is_some(),
            ..defaults
        };
        files::sweep(downloads.clone()).await;

        let (inbox, inputs) = mpsc::channel(INBOX);
        let (notices, received) = mpsc::channel(NOTICES);
        let (congested, is_congested) = watch::channel(false);
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let clock = Clock::start();
        let context = Context {
            inbox: inbox.clone(),
            dialler: Arc::new(Dialler { limits: Arc::new(link), roots, allow_plain, said }),
            counters: Arc::new(LinkCounters::default()),
            congested: is_congested.clone(),
            closing: token.child_token(),
            token: token.child_token(),
            tasks: tasks.clone(),
        };
        let driver = Driver {
            machine: machine::Client::new(config, snapshot, clock.now()),
            files: Files::new(downloads, pool.clone(), key.clone(), tasks.clone()),
            key: key.clone(),
            password: password.map(Arc::new),
            pool: pool.clone(),
            signing: Signing::new(key, pool, OwnWork::new(MAX_UNSIGNED), Arc::default(), tasks),
            sealing: OwnWork::new(MAX_WORK),
            clock,
            context,
            congested,
            slot: None,
            link: None,
            number: 0,
            written: VecDeque::new(),
            own: VecDeque::new(),
            batch: 0,
            notices,
            backlog: VecDeque::new(),
            outcomes: BTreeMap::new(),
        };
        let (ended, outcome) = watch::channel(None);
        tokio::spawn(supervise(driver, inputs, store, token.clone(), ended));
        let client = Self {
            user_id,
            inbox,
            next_reference: AtomicU64::new(MAX_REFERENCE),
            congested: is_congested,
            outcome,
            _ends_everything: token.drop_guard(),
        };
        Ok((client, Notices(received)))
    }

    /// Our id; at a server that knows users by names, [`ClientConfig::seed_id`] may be another.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Starts a command. What becomes of it is told by a notice with this reference, which must be
    /// lower than [`MAX_REFERENCE`]; so this waits while the notices are not read.
    ///
    /// # Errors
    /// If the client has stopped.
    pub async fn command(&self, reference: u64, command: Command) -> Result<(), CommandError> {
        debug_assert!(reference < MAX_REFERENCE, "references from there on are the handle's own");
        let mut congested = self.congested.clone();
        congested.wait_for(|congested| !congested).await.map_err(|_| CommandError::Stopped)?;
        let input = Input::Command { reference, command, outcome: None };
        self.inbox.send(input).await.map_err(|_| CommandError::Stopped)
    }

    /// Gives the client a password for this server, or another one. It is for servers that log users in by
    /// password, and crosses the link.
    ///
    /// # Errors
    /// If the client has stopped.
    pub async fn give_password(&self, password: Zeroizing<String>) -> Result<(), CommandError> {
        self.inbox.send(Input::Password(password)).await.map_err(|_| CommandError::Stopped)
    }

    /// Sends a text to one user, named by label or id, and waits until it is written to the socket. A
    /// refusal by the server that comes later is a notice.
    ///
    /// # Errors
    /// If it is not sent.
    pub async fn tell(&self, to: &str, text: &str) -> Result<SentTo, CommandError> {
        self.sent(Command::Tell { to: to.into(), text: Text::from(text) }).await
    }

    /// Sends a text to everybody online and waits until it is written to the socket.
    ///
    /// # Errors
    /// If it is sent to nobody.
    pub async fn all(&self, text: &str) -> Result<SentTo, CommandError> {
        self.sent(Command::All { text: Text::from(text) }).await
    }

    /// Sends a file to one user, named by label or id, or to `public`: everybody online. Waits until it has
    /// arrived, or, at clients that have no way to say so, is written to the socket.
    ///
    /// # Errors
    /// If it has reached nobody.
    pub async fn send_file(&self, to: &str, path: impl Into<PathBuf>) -> Result<SentTo, CommandError> {
        let command = FileCommand::Send { to: to.into(), path: path.into() };
        match self.outcome_of(Command::File(command)).await? {
            Notice::File(FileNotice::Sent { to, .. }) => Ok(to),
            other => Err(refusal(other)),
        }
    }

    /// Takes a file that a notice offers.
    ///
    /// # Errors
    /// If it is offered no more.
    pub async fn accept_file(&self, transfer: TransferId) -> Result<(), CommandError> {
        self.decide(FileCommand::Accept(Some(transfer))).await
    }

    /// Refuses a file that a notice offers.
    ///
    /// # Errors
    /// If it is offered no more.
    pub async fn reject_file(&self, transfer: TransferId) -> Result<(), CommandError> {
        self.decide(FileCommand::Reject(Some(transfer))).await
    }

    /// Ends a transfer in either direction, one of a file to everybody with all others of it. The other ends are told.
    ///
    /// # Errors
    /// If it is over already.
    pub async fn cancel_file(&self, transfer: TransferId) -> Result<(), CommandError> {
        self.decide(FileCommand::Cancel(Some(transfer))).await
    }

    async fn decide(&self, command: FileCommand) -> Result<(), CommandError> {
        match self.outcome_of(Command::File(command)).await? {
            Notice::File(_) => Ok(()),
            other => Err(refusal(other)),
        }
    }

    async fn sent(&self, command: Command) -> Result<SentTo, CommandError> {
        match self.outcome_of(command).await? {
            Notice::Sent { to, .. } => Ok(to),
            other => Err(refusal(other)),
        }
    }

    /// Asks the server who is online; we are in it.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn list(&self) -> Result<Vec<KnownUser>, CommandError> {
        match self.outcome_of(Command::List).await? {
            Notice::List { users, .. } => Ok(users),
            other => Err(refusal(other)),
        }
    }

    async fn outcome_of(&self, command: Command) -> Result<Notice, CommandError> {
        let reference = self.next_reference.fetch_add(1, Relaxed);
        let (sender, outcome) = oneshot::channel();
        let input = Input::Command { reference, command, outcome: Some(sender) };
        self.inbox.send(input).await.map_err(|_| CommandError::Stopped)?;
        outcome.await.map_err(|_| CommandError::Stopped)
    }

    /// Everybody known to be online but ourselves, without asking the server; nobody after the client stopped.
    pub async fn users(&self) -> Vec<KnownUser> {
        let (reply, users) = oneshot::channel();
        if self.inbox.send(Input::Users(reply)).await.is_err() {
            return Vec::new();
        }
        users.await.unwrap_or_default()
    }

    /// Waits until the client stops for good: after [`Client::quit`], because it was replaced or another
    /// server answered (notices tell), or because something failed.
    ///
    /// # Errors
    /// What failed.
    pub async fn wait(&self) -> Result<(), Failure> {
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await;
        // The supervisor tells before it goes, unless the runtime itself ends.
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(Failure::Panicked))
    }

    /// Lets what is under way be written or fail visibly, closes the link and stops.
    ///
    /// # Errors
    /// If the client had failed, or the last commit fails.
    pub async fn quit(self) -> Result<(), Failure> {
        // Behind the commands that were given before. If nobody takes it, the client has stopped.
        let _ = self.inbox.send(Input::Event(machine::Event::Shutdown)).await;
        self.wait().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// What the user is told. Bounded: while it is full the client takes commands, but nothing from the server.
#[derive(Debug)]
pub struct Notices(mpsc::Receiver<Notice>);

impl Notices {
    /// The next notice; none once the client has stopped and everything was told. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        self.0.recv().await
    }

    /// The next notice, if it is there already.
    pub fn try_next(&mut self) -> Option<Notice> {
        self.0.try_recv().ok()
    }
}

fn refusal(notice: Notice) -> CommandError {
    match notice {
        Notice::Failed { code, detail, .. } => CommandError::Failed { code, detail },
        Notice::File(FileNotice::Failed { code, detail, .. }) => CommandError::Failed { code, detail },
        Notice::File(FileNotice::Cancelled { .. }) => {
            CommandError::Failed { code: ErrorCode::Other("CANCELLED".into()), detail: "cancelled".into() }
        }
        // No other notice ends a command of this kind.
        _ => CommandError::Stopped,
    }
}

type ClientStore = Box<dyn Store<Record>>;

/// Stores block.
async fn load(mut store: ClientStore) -> Result<(ClientStore, Snapshot), StartError> {
    let loading = tokio::task::spawn_blocking(move || store.load().map(|snapshot| (store, snapshot)));
    let lost = |error: tokio::task::JoinError| StartError::System { what: "loading", source: error.into() };
    Ok(loading.await.map_err(lost)??)
}

/// Runs the driver and ends everything with it, however it ends.
async fn supervise(
    driver: Driver,
    inputs: mpsc::Receiver<Input>,
    store: StoreWriter<Record>,
    token: CancellationToken,
    ended: watch::Sender<Option<Result<(), Failure>>>,
) {
    let driver = tokio::spawn({
        let token = token.clone();
        async move { token.run_until_cancelled(driver.run(inputs, store)).await }
    });
    let outcome = match driver.await {
        Ok(outcome) => outcome.unwrap_or(Ok(())),
        Err(_) => Err(Failure::Panicked),
    };
    token.cancel();
    match &outcome {
        Ok(()) => debug!("stopped"),
        Err(failure) => error!(%failure, "stopped"),
    }
    ended.send_replace(Some(outcome));
}
