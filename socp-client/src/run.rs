//! The session: the client, the user and the screen brought together.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use socp_core::client::{
    Command, Direction, FileCommand, FileNotice, Notice, PasswordNotice, Record, Text, escape_label,
};
use socp_core::wire::{ErrorCode, Meta, ServerId};
use socp_transport::Failure;
use socp_transport::client::{Client, ClientConfig, Notices};
use socp_transport::data_dir::DataDir;
use socp_transport::store::SqliteStore;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::args::Args;
use crate::commands::{self, Line};
use crate::editor::{OwnName, Prompt};
use crate::fatal::Fatal;
use crate::identity::Identity;
use crate::input::{self, Input};
use crate::logging;
use crate::password::for_server;
use crate::progress;
use crate::reach::Server;
use crate::screen::{self, Screen, Style};
use crate::terminal::{self, Restore};

/// A question of ours; lines are numbered from 1.
const OWN_QUESTION: u64 = 0;

/// Lines that wait for a session or for being sent, before no more are read.
const MAX_PENDING: usize = 256;

/// After the user left, what is queued has this long to be sent.
const PATIENCE: Duration = Duration::from_secs(15);

/// Slowest redial. A person waits at the screen, so it is less than a program's.
const REDIAL_SLOWEST: Duration = Duration::from_secs(15);

/// When the session ends, what is half written has this long.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs until the user leaves or it cannot go on.
///
/// # Errors
/// Why it cannot go on.
pub(crate) async fn run(
    args: &Args,
    server: Server,
    dir: &DataDir,
    identity: Identity,
    store: SqliteStore<Record>,
    password: Option<Zeroizing<String>>,
) -> Result<ExitCode, Fatal> {
    let system = |error: io::Error| Fatal::new(format!("starting threads: {error}"));
    let shown = server.to_string();
    let mut config = ClientConfig::new(server.address, identity.key.clone());
    (config.scheme, config.roots, config.allow_plain) = (server.scheme, server.roots, server.allow_plain);
    config.user_id = Some(identity.user_id.clone());
    config.dialect = args.dialect.map(Into::into);
    config.server_key = args.server_key.clone();
    config.seed_id = identity.named(&args.user);
    config.password = password;
    config.rotations = identity.rotations.clone();
    config.meta = Meta::named(&args.user);
    config.store = Box::new(store);
    config.downloads = Some(downloads(args, dir));
    config.auto_accept = args.auto_accept;
    if !args.json {
        // Programs are told every second.
        config.timing.progress = progress::TICK;
    }
    config.timing.redial_slowest = REDIAL_SLOWEST;
    config.timing.flush = FLUSH;
    let me = identity.user_id.clone();

    let restore = Restore::new();
    let colour = !args.plain
        && !args.json
        && io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let style = match (args.json, colour) {
        (true, _) => Style::Json,
        (false, true) => Style::Coloured,
        (false, false) => Style::Plain,
    };
    let (to_us, inputs) = mpsc::channel(input::QUEUE);
    let own_name = OwnName::new(escape_label(&args.user));
    let wants_prompt = !args.plain && !args.json && io::stdin().is_terminal();
    let prompt = wants_prompt
        .then(|| Prompt::new(own_name.clone(), dir.file("history"), colour, to_us.clone()))
        .flatten();
    let (prompt, printer) = prompt.unzip();
    let screen = Screen::start(style, me, printer).map_err(system)?;
    let (client, notices) = Client::start(config).await?;
    screen.greet(&shown).await;
    let holds = prompt.is_none();
    match prompt {
        Some(prompt) => {
            logging::beside_the_prompt(screen.lines());
            screen::redraw_on_resize(screen.lines(), prompt.typed()).map_err(system)?;
            prompt.start(identity.keyring().clone(), to_us)
        }
        None => input::read_lines(to_us),
    }
    .map_err(system)?;
    terminal::hurry_on_signals(screen.hurry().clone()).map_err(system)?;

    let (orders, given) = mpsc::channel(2 * MAX_PENDING);
    let keeper = tokio::spawn(keep(client, given));
    let session = Session {
        server: shown,
        pins: dir.file("client.db").display().to_string(),
        identity,
        screen,
        server_id: None,
        orders: Some(orders),
        holds,
        has_prompt: !holds,
        own_name,
        held: VecDeque::new(),
        pending: BTreeSet::new(),
        leaving: None,
        late: false,
        gave_up: false,
        failed: false,
        lost: None,
    };
    let outcome = session.run(inputs, notices, keeper).await;
    drop(restore);
    outcome
}

/// Where files of others go.
fn downloads(args: &Args, dir: &DataDir) -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = || absolute("HOME").map(|home| home.join("Downloads")).filter(|path| path.is_dir());
    let chosen = args.downloads.clone().or_else(|| absolute("XDG_DOWNLOAD_DIR")).or_else(usual);
    chosen.unwrap_or_else(|| dir.file("downloads"))
}

/// What the client is asked to do.
enum Order {
    Command(u64, Command),
    Password(Zeroizing<String>),
    Names(SyncSender<Vec<String>>),
}

/// Owns the client, so that nobody waits for it who has notices to read. Quits when there are no more orders.
async fn keep(client: Client, mut orders: mpsc::Receiver<Order>) -> Result<(), Failure> {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Command(number, command) => {
                if client.command(number, command).await.is_err() {
                    break;
                }
            }
            Order::Password(password) => {
                if client.give_password(password).await.is_err() {
                    break;
                }
            }
            Order::Names(reply) => {
                let names = client.users().await.into_iter().map(|user| user.label.into()).collect();
                // The editor may have stopped waiting.
                let _ = reply.try_send(names);
            }
        }
    }
    client.quit().await
}

struct Session {
    /// Its URL.
    server: String,
    /// The file with the pins.
    pins: String,
    identity: Identity,
    screen: Screen,
    server_id: Option<ServerId>,
    /// `None` once we quit.
    orders: Option<mpsc::Sender<Order>>,
    /// Whether lines wait for the directory, as they do without a prompt.
    holds: bool,
    /// Whether somebody can be asked for a password.
    has_prompt: bool,
    /// What it calls the user.
    own_name: OwnName,
    held: VecDeque<(u64, Result<Line, String>)>,
    /// Lines that are neither done nor failed.
    pending: BTreeSet<u64>,
    /// Until when what is queued may be sent.
    leaving: Option<Instant>,
    /// Whether that was not enough.
    late: bool,
    /// Whether lines were unfinished when we were told to leave at once.
    gave_up: bool,
    /// Whether a command came to nothing.
    failed: bool,
    /// Why we cannot go on.
    lost: Option<String>,
}

impl Session {
    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut notices: Notices,
        keeper: JoinHandle<Result<(), Failure>>,
    ) -> Result<ExitCode, Fatal> {
        let (gone, hurry) = (self.screen.gone().clone(), self.screen.hurry().clone());
        loop {
            let waiting = self.pending.len() + self.held.len();
            if self.leaving.is_some() && waiting == 0 {
                self.orders = None;
            }
            let going = self.orders.is_some();
            let deadline = self.leaving.filter(|_| going);
            tokio::select! {
                notice = notices.next() => match notice {
                    Some(notice) => self.on_notice(notice).await,
                    None => break,
                },
                input = inputs.recv(), if self.leaving.is_none() && waiting < MAX_PENDING => {
                    self.on_input(input.unwrap_or(Input::End)).await;
                }
                () = gone.cancelled(), if going => self.leave_now(),
                () = hurry.cancelled(), if going => self.leave_now(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.late = true;
                    self.orders = None;
                }
            }
        }
        self.end(keeper).await
    }

    async fn end(self, keeper: JoinHandle<Result<(), Failure>>) -> Result<ExitCode, Fatal> {
        let Self { screen, held, pending, leaving, late, gave_up, failed, has_prompt, lost, orders, .. } =
            self;
        drop(orders);
        let held = held.into_iter().map(|(number, _)| number);
        let unsent: Vec<_> = pending.into_iter().chain(held).collect();
        let all_sent = unsent.is_empty() && !gave_up;
        for number in unsent {
            screen.failed(number, ErrorCode::Timeout, "not sent: there is no session").await;
        }
        screen.finish().await;
        let outcome = keeper.await.unwrap_or(Err(Failure::Panicked));
        match (lost, outcome) {
            (Some(lost), _) => Err(Fatal::new(lost)),
            (None, Err(failure)) => Err(Fatal::new(failure.to_string())),
            (None, Ok(())) if leaving.is_none() => Err(Fatal::new("the client has stopped")),
            (None, Ok(())) if late => {
                let seconds = PATIENCE.as_secs();
                Err(Fatal::new(format!("not everything could be sent within {seconds} s")))
            }
            (None, Ok(())) if !all_sent => Err(Fatal::new("not everything was sent")),
            // People have seen it; scripts look at the status.
            (None, Ok(())) if failed && !has_prompt => Ok(ExitCode::FAILURE),
            (None, Ok(())) => Ok(ExitCode::SUCCESS),
        }
    }

    /// Whatever is queued.
    fn leave_now(&mut self) {
        self.leaving.get_or_insert_with(Instant::now);
        self.gave_up |= !(self.held.is_empty() && self.pending.is_empty());
        self.held.clear();
        self.orders = None;
    }

    async fn on_notice(&mut self, notice: Notice) {
        if let Some(reference) = notice.ends() {
            self.pending.remove(&reference);
        }
        self.failed |= is_failure(&notice);
        if let Notice::Me { reference, meta } = &notice {
            if let Some(name) = meta.display_name() {
                self.own_name.set(escape_label(&name));
            }
            if *reference == OWN_QUESTION {
                return;
            }
        }
        match &notice {
            // Files that move have their time, also after the user left.
            Notice::File(
                FileNotice::Progress { transfer, .. }
                | FileNotice::Started(transfer)
                | FileNotice::Arrived { transfer, .. },
            ) if transfer.direction == Direction::Out => {
                if self.leaving.is_some() {
                    self.leave();
                }
            }
            Notice::Ready { user_id, server_id, .. } => {
                self.screen.set_me(user_id.clone());
                self.server_id = Some(server_id.clone());
            }
            Notice::Password(PasswordNotice::Needed { user_id, refused }) if !self.has_prompt => {
                let why = match refused {
                    Some(why) => format!("the server refused the password: {why}"),
                    None => "the server wants a password".into(),
                };
                let user_id = escape_label(user_id.as_str());
                self.lost = Some(format!(
                    "{why}; give yours, or a new one if {user_id} is new there, with --server-password-file, or another id with --user-id"
                ));
                self.leave_now();
            }
            Notice::LoginRefused { code, detail, retrying: false } => {
                self.lost =
                    Some(format!("the server refused the login: {} {detail}", escape_label(code.as_str())));
            }
            Notice::Replaced { .. } => self.lost = Some("this user has logged in elsewhere".into()),
            Notice::ServerChanged { was, .. } => {
                self.lost = Some(format!(
                    "another server answers at {}; only if its operator confirms that, remove {}, which also holds the known keys of users",
                    was.address, self.pins
                ));
            }
            Notice::ServerNotFresh { server } => {
                self.lost = Some(format!(
                    "what answers at {} may be a recording; only if its operator confirms that the server runs an older version now, remove {}, which also holds the known keys of users",
                    server.address, self.pins
                ));
            }
            Notice::Reconnected
            | Notice::Disconnected { .. }
            | Notice::LoginRefused { retrying: true, .. }
            | Notice::Password(_)
            | Notice::Stopped
            | Notice::UserAdded { .. }
            | Notice::UserRemoved { .. }
            | Notice::UserRenamed { .. }
            | Notice::Whois { .. }
            | Notice::Verified { .. }
            | Notice::Me { .. }
            | Notice::KeyChanged { .. }
            | Notice::KeyConflict { .. }
            | Notice::Message { .. }
            | Notice::Sent { .. }
            | Notice::List { .. }
            | Notice::Failed { .. }
            | Notice::File(_)
            | Notice::Dropped { .. } => {}
        }
        self.screen.news(&notice).await;
        if matches!(notice, Notice::Password(PasswordNotice::Needed { .. })) {
            self.screen.ask_for_login().await;
        }
        if matches!(notice, Notice::Ready { .. }) {
            self.holds = false;
            if self.has_prompt {
                // The name may be another one since an earlier run.
                self.order(OWN_QUESTION, Command::Me(None)).await;
            }
            while let Some((number, line)) = self.held.pop_front() {
                self.act(number, line).await;
            }
        }
    }

    async fn on_input(&mut self, input: Input) {
        match input {
            Input::Line { number, text } => {
                if let Ok(text) = &text {
                    self.screen.typed(format!("{}{text}\n", self.own_name.prompt())).await;
                }
                let line = match text {
                    Ok(text) => commands::parse(&text),
                    Err(why) => Err(why.into()),
                };
                match line.transpose() {
                    None => {}
                    Some(Ok(Line::Quit)) => self.take_leave().await,
                    Some(line) if self.holds => self.held.push_back((number, line)),
                    Some(line) => self.act(number, line).await,
                }
            }
            Input::Password { number, old, new } => self.change_password(number, old, new).await,
            Input::ServerPassword { number, password } => self.log_in(number, password).await,
            Input::Names(reply) => {
                if let Some(orders) = &self.orders {
                    // No room, no names.
                    let _ = orders.try_send(Order::Names(reply));
                }
            }
            Input::End => self.take_leave().await,
        }
    }

    async fn take_leave(&mut self) {
        self.leave();
        if !self.pending.is_empty() {
            self.screen.finishing().await;
        }
    }

    fn leave(&mut self) {
        self.leaving = Some(Instant::now() + PATIENCE);
    }

    async fn act(&mut self, number: u64, line: Result<Line, String>) {
        match line {
            Ok(Line::Tell { to, text }) => {
                self.order(number, Command::Tell { to: to.into(), text: Text::from(text) }).await;
            }
            Ok(Line::All { text }) => self.order(number, Command::All { text: Text::from(text) }).await,
            Ok(Line::List) => self.order(number, Command::List).await,
            Ok(Line::File { to, path }) => {
                self.order(number, Command::File(FileCommand::Send { to: to.into(), path })).await;
            }
            Ok(Line::Whois(user)) => self.order(number, Command::Whois { user: user.into() }).await,
            Ok(Line::Verify(user, verified)) => {
                self.order(number, Command::Verify { user: user.into(), verified }).await;
            }
            Ok(Line::Me(change)) => self.order(number, Command::Me(change)).await,
            Ok(Line::Accept(id)) => self.order(number, Command::File(FileCommand::Accept(id))).await,
            Ok(Line::Reject(id)) => self.order(number, Command::File(FileCommand::Reject(id))).await,
            Ok(Line::Cancel(id)) => self.order(number, Command::File(FileCommand::Cancel(id))).await,
            Ok(Line::Whoami) => {
                let key = self.identity.key.public_key();
                self.screen.whoami(number, &self.server, self.server_id.as_ref(), key).await;
            }
            Ok(Line::Password(Some(new))) => {
                self.change_password(number, None, Zeroizing::new(new)).await;
            }
            Ok(Line::Login) => {
                self.bad(number, "/login asks on a terminal; start with --server-password-file").await;
            }
            Ok(Line::Password(None)) => self.bad(number, "usage: /password NEW").await,
            Ok(Line::Help) => self.screen.help(number).await,
            Ok(Line::Quit) => self.leave(),
            Err(why) => self.bad(number, &why).await,
        }
    }

    async fn order(&mut self, number: u64, command: Command) {
        let order = Order::Command(number, command);
        // There is room for more than may be pending.
        match self.orders.as_ref().map(|orders| orders.try_send(order)) {
            Some(Ok(())) => {
                self.pending.insert(number);
            }
            Some(Err(_)) | None => {
                self.fail(number, ErrorCode::Timeout, "the client has stopped").await;
            }
        }
    }

    async fn change_password(&mut self, number: u64, old: Option<Zeroizing<String>>, new: Zeroizing<String>) {
        let (keyring, key) = (self.identity.keyring().clone(), self.identity.key.clone());
        let changed = tokio::task::spawn_blocking(move || {
            if let Some(old) = old
                && !keyring.is_password(&old)?
            {
                return Ok(false);
            }
            keyring.change_password(&key, &new).map(|()| true)
        });
        let failed = |code: &str, detail: String| (ErrorCode::Other(code.into()), detail);
        let (code, detail) = match changed.await {
            Ok(Ok(true)) => return self.screen.password_changed(number).await,
            Ok(Ok(false)) => failed("WRONG_PASSWORD", "the password stays as it is".into()),
            Ok(Err(fatal)) => failed("NOT_SAVED", fatal.to_string()),
            Err(error) => failed("NOT_SAVED", error.to_string()),
        };
        self.fail(number, code, &detail).await;
    }

    /// Takes the user's password for this server.
    async fn log_in(&mut self, number: u64, password: Zeroizing<String>) {
        let keyring = self.identity.keyring().clone();
        let checked = tokio::task::spawn_blocking(move || for_server(&keyring, password)).await;
        match checked {
            Ok(Ok(password)) => {
                if let Some(orders) = &self.orders {
                    // There is room for more than anybody types.
                    let _ = orders.try_send(Order::Password(password));
                }
            }
            Ok(Err(fatal)) => self.bad_password(number, &fatal.to_string()).await,
            Err(error) => self.bad_password(number, &error.to_string()).await,
        }
    }

    async fn bad_password(&mut self, number: u64, why: &str) {
        self.fail(number, ErrorCode::Other("BAD_PASSWORD".into()), why).await;
    }

    async fn bad(&mut self, number: u64, why: &str) {
        let why = socp_core::client::escape_text(why);
        self.fail(number, ErrorCode::Other("BAD_COMMAND".into()), &why).await;
    }

    async fn fail(&mut self, number: u64, code: ErrorCode, detail: &str) {
        self.failed = true;
        self.screen.failed(number, code, detail).await;
    }
}

/// Whether a notice says that something that the user wanted came to nothing, or may have. What goes wrong with what
/// others do is their affair.
fn is_failure(notice: &Notice) -> bool {
    matches!(notice, Notice::Failed { reference: Some(_), .. })
        || matches!(notice, Notice::File(FileNotice::Failed { transfer, .. }) if transfer.direction == Direction::Out)
}
