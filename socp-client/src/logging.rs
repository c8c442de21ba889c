//! Logs go to stderr, beside the prompt if there is one.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::args::LogLevel;
use crate::screen::Shown;

/// The screen's queue, once a prompt is on the terminal that stderr is, too.
static PROMPT: OnceLock<mpsc::WeakSender<Shown>> = OnceLock::new();

/// What `--log-level` says, else `RUST_LOG`, else warnings.
pub(crate) fn start(level: Option<LogLevel>) {
    let filter = match level {
        Some(level) => EnvFilter::new(level.as_str()),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()))
        .with_writer(|| Log)
        .init();
}

/// From now on log lines go through the screen, which does not tear the prompt.
pub(crate) fn beside_the_prompt(screen: &mpsc::Sender<Shown>) {
    if io::stderr().is_terminal() {
        // Only one prompt is ever made.
        let _ = PROMPT.set(screen.downgrade());
    }
}

struct Log;

impl Write for Log {
    /// The formatter writes whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match PROMPT.get().and_then(mpsc::WeakSender::upgrade) {
            Some(screen) => {
                // A full queue costs a log line, not a wait.
                let _ = screen.try_send(Shown::Line(String::from_utf8_lossy(line).into_owned()));
                Ok(line.len())
            }
            // There is no prompt, or no more.
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
