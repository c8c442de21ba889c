//! Everything that is shown: lines on stdout, or above the prompt.

use std::collections::VecDeque;
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
use crate::editor::{Printer, Typed};
use crate::progress::{Bar, Change, Progress, Region};

/// Lines that wait for whoever reads stdout; then nothing more is taken from the server.
const QUEUE: usize = 256;

/// How long the last lines may take to get out.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long the prompt gets to show what was printed above it last.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Lines that are kept to be shown again: more than a screen has.
const KEPT: usize = 200;

/// How long a window must have kept its size before it is drawn again: who drags its edge changes it many times.
const STEADY: Duration = Duration::from_millis(100);

/// What goes to the screen.
pub(crate) enum Shown {
    /// A line, with its end.
    Line(String),
    /// A line that stands there already, since the user typed it.
    Typed(String),
    /// The last lines once more: the terminal has moved them about.
    Again,
    /// Bars at the bottom of the terminal, in the place of those before.
    Bars(Vec<Bar>),
}

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

/// The way to stdout.
pub(crate) struct Screen {
    style: Style,
    me: UserId,
    has_prompt: bool,
    progress: Progress,
    lines: mpsc::Sender<Shown>,
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
            write_all(queue, printer, has_prompt);
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
    pub(crate) fn lines(&self) -> &mpsc::Sender<Shown> {
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
            let bars = Shown::Bars(self.progress.bars());
            match change {
                // The next drawing is not far.
                Change::Moved { .. } => drop(self.lines.try_send(bars)),
                Change::None | Change::Bars => self.show(bars).await,
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
        self.show(Shown::Line(line)).await;
    }

    async fn show(&self, shown: Shown) {
        tokio::select! {
            biased;
            // Without anybody who reads it there is nobody to tell.
            _ = self.lines.send(shown) => {}
            () = self.hurry.cancelled() => {}
        }
    }

    /// Notes what the user typed at the prompt.
    pub(crate) async fn typed(&self, line: String) {
        if self.has_prompt {
            // Without anybody who reads it there is nobody to tell.
            let _ = self.lines.send(Shown::Typed(line)).await;
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

fn write_all(mut queue: mpsc::Receiver<Shown>, mut printer: Printer, keeps: bool) {
    let mut region = Region::default();
    let mut kept = VecDeque::new();
    while let Some(shown) = queue.blocking_recv() {
        let size = || terminal_size().map_or((0, 0), |(Width(columns), Height(rows))| (columns, rows));
        let is_written = match &shown {
            Shown::Line(line) => printer(line.clone()),
            Shown::Bars(bars) => region.show(size(), bars, write).is_ok(),
            Shown::Typed(_) => true,
            Shown::Again => {
                let (columns, rows) = size();
                last_lines(&kept, usize::from(columns.max(1)), usize::from(rows)).is_none_or(&mut printer)
            }
        };
        if let (Shown::Line(line) | Shown::Typed(line), true) = (shown, keeps) {
            kept.push_back(line);
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
        if !is_written {
            return;
        }
    }
}

/// An empty screen and as many of the last lines as fit above the prompt.
fn last_lines(kept: &VecDeque<String>, columns: usize, rows: usize) -> Option<String> {
    // The other half is for a long line that is being typed.
    let mut room = rows / 2;
    let mut from = kept.len();
    for line in kept.iter().rev() {
        let Some(left) = room.checked_sub(width(line).div_ceil(columns).max(1)) else { break };
        room = left;
        from -= 1;
    }
    let lines: String = kept.iter().skip(from).map(String::as_str).collect();
    (!lines.is_empty()).then(|| format!("\x1b[H\x1b[J{lines}"))
}

/// At most so many columns.
fn width(line: &str) -> usize {
    line.trim_end().chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum()
}

/// Draws the last lines again after the window has another size. The editor clears as many rows as its line had before:
/// where the terminal has wrapped it anew, a row of what stands above goes with it, or one of it stays.
#[cfg(unix)]
pub(crate) fn redraw_on_resize(lines: &mpsc::Sender<Shown>, typed: Typed) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let columns = || terminal_size().map_or(usize::MAX, |(width, _)| usize::from(width.0));
    let mut resized = signal(SignalKind::window_change())?;
    let lines = lines.downgrade();
    tokio::spawn(async move {
        let mut before = columns();
        while resized.recv().await.is_some() {
            while timeout(STEADY, resized.recv()).await.is_ok_and(|more| more.is_some()) {}
            let now = columns();
            let wraps = width(&typed.line()) >= now.min(before);
            before = now;
            if now == usize::MAX || !wraps {
                continue;
            }
            let Some(lines) = lines.upgrade() else { return };
            // A full queue is about to change the screen anyway.
            let _ = lines.try_send(Shown::Again);
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn redraw_on_resize(_: &mpsc::Sender<Shown>, _: Typed) -> io::Result<()> {
    Ok(())
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
        "KEY CHANGED" | "KEY CONFLICT" | "SERVER CHANGED" | "SERVER NOT FRESH" => "1;37;41",
        _ => "1",
    };
    format!("\x1b[{colour}m[{tag}]\x1b[0m{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_are_shown_again_as_fit() {
        let kept = ["one\n", "two is long\n", "three\n"].map(String::from).into();
        let again = |columns, rows| last_lines(&kept, columns, rows);
        let shown = |lines: &str| Some(format!("\x1b[H\x1b[J{lines}"));
        assert_eq!(again(80, 24), shown("one\ntwo is long\nthree\n"));
        assert_eq!(again(80, 4), shown("two is long\nthree\n"));
        assert_eq!(again(6, 6), shown("two is long\nthree\n"), "a long one takes more rows");
        assert_eq!(again(6, 4), shown("three\n"));
        assert_eq!(again(80, 1), None);
    }

    #[test]
    fn only_the_tag_is_coloured() {
        assert_eq!(coloured("[dm] bob: [x] hi"), "\x1b[1;36m[dm]\x1b[0m bob: [x] hi");
        assert_eq!(coloured("hello"), "hello");
    }
}
