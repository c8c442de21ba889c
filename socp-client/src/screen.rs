//! Everything that is shown: lines on stdout, or above the prompt.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use socp_core::client::{Notice, escape_label};
use socp_core::wire::{ErrorCode, PublicKey, ServerId, UserId};
use socp_transport::client::line;
use terminal_size::{Height, Width, terminal_size};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::commands::COMMANDS;
use crate::editor::Printer;
use crate::progress::{Bar, Change, Progress, Region};

/// Lines that wait for whoever reads stdout; then nothing more is taken from the server.
const QUEUE: usize = 256;

/// How long the last lines may take to get out.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long the prompt gets to show what was printed above it last.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people and scripts.
    Plain,
    /// The same with colour.
    Coloured,
    /// For programs.
    Json,
}

/// What goes to stdout.
pub(crate) enum Output {
    /// A line, with its end.
    Line(String),
    /// Bars at the bottom of the terminal, in the place of those before.
    Bars(Vec<Bar>),
}

/// The way to stdout.
pub(crate) struct Screen {
    style: Style,
    me: UserId,
    has_prompt: bool,
    progress: Progress,
    lines: mpsc::Sender<Output>,
    /// Nobody reads stdout any more.
    gone: CancellationToken,
    /// Somebody is in a hurry: what cannot be written at once is not.
    hurry: CancellationToken,
    written: oneshot::Receiver<()>,
}

/// Lines of ours, beside the client's notices.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Own<'a> {
    Whoami {
        user_id: &'a str,
        server: &'a str,
        server_id: Option<&'a str>,
        fingerprint: String,
        #[serde(rename = "ref")]
        number: u64,
    },
    PasswordChanged {
        #[serde(rename = "ref")]
        number: u64,
    },
    Help {
        commands: Vec<String>,
        #[serde(rename = "ref")]
        number: u64,
    },
}

impl Screen {
    /// Starts the thread that writes: nothing else waits for a stdout that is not read.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(style: Style, me: UserId, printer: Option<Printer>) -> io::Result<Self> {
        let (lines, queue) = mpsc::channel(QUEUE);
        let (gone, hurry) = (CancellationToken::new(), CancellationToken::new());
        let (done, written) = oneshot::channel();
        let has_prompt = printer.is_some();
        let printer = printer.unwrap_or_else(|| Box::new(|line| write(&line).is_ok()));
        let token = gone.clone();
        thread::Builder::new().name("stdout".into()).spawn(move || {
            write_all(queue, printer);
            token.cancel();
            // Nobody may be waiting for it.
            let _ = done.send(());
        })?;
        let progress = Progress::default();
        Ok(Self { style, me, has_prompt, progress, lines, gone, hurry, written })
    }

    /// Who we are at this server.
    pub(crate) fn set_me(&mut self, me: UserId) {
        self.me = me;
    }

    /// Where lines go.
    pub(crate) fn lines(&self) -> &mpsc::Sender<Output> {
        &self.lines
    }

    /// Returns once nobody reads stdout any more.
    pub(crate) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// From its cancelling on nothing waits for stdout.
    pub(crate) fn hurry(&self) -> &CancellationToken {
        &self.hurry
    }

    /// Shows what the client has to tell.
    pub(crate) async fn notice(&self, notice: &Notice) {
        match self.style {
            Style::Json => self.json(line::json(notice)).await,
            Style::Plain | Style::Coloured => {
                for line in line::plain(notice, &self.me) {
                    self.plain(&line).await;
                }
            }
        }
    }

    /// Shows what the client has to tell of its own accord: files that move have bars at a prompt, and a line now and
    /// then elsewhere; programs are told all.
    pub(crate) async fn news(&mut self, notice: &Notice) {
        let change = self.progress.note(Instant::now(), notice);
        let has_line = match (self.style, change) {
            (Style::Json, _) | (_, Change::None | Change::Bars) => true,
            (Style::Plain | Style::Coloured, Change::Moved { is_due }) => is_due && !self.has_prompt,
        };
        if has_line {
            self.notice(notice).await;
        }
        if self.has_prompt && change != Change::None {
            let bars = Output::Bars(self.progress.bars());
            match change {
                // The next drawing is not far.
                Change::Moved { .. } => drop(self.lines.try_send(bars)),
                Change::None | Change::Bars => self.output(bars).await,
            }
        }
    }

    /// Shows that a line came to nothing.
    pub(crate) async fn failed(&self, number: u64, code: ErrorCode, detail: &str) {
        self.notice(&Notice::Failed { reference: Some(number), code, detail: detail.into() }).await;
    }

    /// Shows who we are.
    pub(crate) async fn whoami(&self, number: u64, server: &str, id: Option<&ServerId>, key: &PublicKey) {
        let fingerprint = key.id().fingerprint();
        if self.style == Style::Json {
            let (user_id, server_id) = (self.me.as_str(), id.map(ServerId::as_str));
            return self.own(&Own::Whoami { user_id, server, server_id, fingerprint, number }).await;
        }
        let id = id.map_or("not met yet".into(), |id| escape_label(id.as_str()));
        self.plain(&format!("[whoami] id {}", escape_label(self.me.as_str()))).await;
        self.plain(&format!("[whoami] server {id} at {server}")).await;
        self.plain(&format!("[whoami] fingerprint {fingerprint}")).await;
    }

    /// Shows that the key has another password.
    pub(crate) async fn password_changed(&self, number: u64) {
        if self.style == Style::Json {
            return self.own(&Own::PasswordChanged { number }).await;
        }
        self.plain("[password] your key has its new password").await;
    }

    /// Shows the commands.
    pub(crate) async fn help(&self, number: u64) {
        let commands: Vec<_> = COMMANDS
            .iter()
            .map(|(command, rest, does)| format!("{:<16} {does}", format!("{command} {rest}")))
            .collect();
        if self.style == Style::Json {
            return self.own(&Own::Help { commands, number }).await;
        }
        for command in commands {
            self.plain(&format!("[help] {command}")).await;
        }
    }

    /// Greets who sits at a prompt.
    pub(crate) async fn greet(&self, server: &str) {
        if self.has_prompt {
            self.plain(&format!("connecting to {server}; /help shows the commands, Ctrl-D leaves")).await;
        }
    }

    /// Tells who sits at a prompt how to log in.
    pub(crate) async fn ask_for_login(&self) {
        if self.has_prompt {
            self.plain("[login] type /login: you are asked for it, and it does not show").await;
        }
    }

    /// Tells who leaves that it takes a moment.
    pub(crate) async fn finishing(&self) {
        if self.has_prompt {
            self.plain("finishing what is under way; Ctrl-C leaves at once").await;
        }
    }

    async fn own(&self, own: &Own<'_>) {
        self.json(serde_json::to_string(own).ok()).await;
    }

    async fn json(&self, line: Option<String>) {
        if let Some(line) = line {
            self.line(line).await;
        }
    }

    async fn plain(&self, line: &str) {
        self.line(if self.style == Style::Coloured { coloured(line) } else { line.into() }).await;
    }

    async fn line(&self, mut line: String) {
        line.push('\n');
        self.output(Output::Line(line)).await;
    }

    async fn output(&self, output: Output) {
        tokio::select! {
            biased;
            // Without anybody who reads it there is nobody to tell.
            _ = self.lines.send(output) => {}
            () = self.hurry.cancelled() => {}
        }
    }

    /// Waits a moment for the last lines to get out.
    pub(crate) async fn finish(self) {
        let Self { lines, written, has_prompt, .. } = self;
        drop(lines);
        let _ = timeout(LAST_LINES, written).await;
        if has_prompt {
            sleep(LAST_LOOK).await;
        }
    }
}

fn write_all(mut queue: mpsc::Receiver<Output>, mut printer: Printer) {
    let mut region = Region::default();
    while let Some(output) = queue.blocking_recv() {
        let is_written = match output {
            Output::Line(line) => printer(line),
            Output::Bars(bars) => {
                let size = terminal_size().map_or((0, 0), |(Width(columns), Height(rows))| (columns, rows));
                write(&region.draw(size, &bars)).is_ok()
            }
        };
        if !is_written {
            return;
        }
    }
}

fn write(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// The tag in front gets a colour by what it stands for.
fn coloured(line: &str) -> String {
    let Some((tag, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else {
        return line.into();
    };
    let colour = match tag {
        "dm" => "1;36",
        "public" => "1;34",
        "user added" | "ready" | "registered" | "reconnected" => "32",
        "user removed" | "user renamed" | "sent" => "2",
        "disconnected" => "33",
        file if file.starts_with("file") => "35",
        "login" => "33",
        "error" | "login refused" | "replaced" => "31",
        "KEY CHANGED" | "KEY CONFLICT" | "SERVER CHANGED" => "1;37;41",
        _ => "1",
    };
    format!("\x1b[{colour}m[{tag}]\x1b[0m{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_is_coloured() {
        assert_eq!(coloured("[dm] bob: [x] hi"), "\x1b[1;36m[dm]\x1b[0m bob: [x] hi");
        assert_eq!(coloured("hello"), "hello");
    }
}
