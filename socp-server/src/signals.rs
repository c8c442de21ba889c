//! Signals of the system.

use crate::error::Result;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To stop; its name.
    Stop(&'static str),
    /// To read certificates again.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has a signal for it"))]
    Reload,
}

/// Signals from the moment this is made.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// Without it SIGHUP ends the process: its terminal is gone.
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// From now on SIGINT and SIGTERM do not end the process by themselves, nor SIGHUP if there is something to
    /// read again. Within a runtime.
    #[cfg(unix)]
    pub(crate) fn new(reloads: bool) -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| format!("listening for signals: {error}"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if reloads { Some(listen(SignalKind::hangup())?) } else { None },
        })
    }

    /// From now on Ctrl-C does not end the process by itself. Within a runtime.
    #[cfg(not(unix))]
    pub(crate) fn new(_reloads: bool) -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Signal {
        let hung_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = hung_up => Signal::Reload,
        }
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop("Ctrl-C")
    }

    /// Waits until it is asked to stop, and says by what.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let Signal::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
