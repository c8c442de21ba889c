//! The terminal as we found it, and the signals that come from it.

use tokio_util::sync::CancellationToken;

use crate::progress::give_back;

#[cfg(unix)]
use nix::sys::{
    signal::{SigSet, Signal},
    termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
};

/// Gives the terminal its settings back when dropped: the prompt's thread may be in the middle of a line
/// when the program ends.
pub(crate) struct Restore {
    #[cfg(unix)]
    was: Option<Termios>,
}

impl Restore {
    /// Remembers the settings.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(unix)]
            was: tcgetattr(std::io::stdin()).ok(),
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        give_back();
        #[cfg(unix)]
        if let Some(was) = &self.was {
            use std::io::Write;
            if tcgetattr(std::io::stdin()).is_ok_and(|now| now.local_flags == was.local_flags) {
                return;
            }
            // The terminal may be gone, and then all is well.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, was);
            // The line that was being edited goes, and so does bracketed paste.
            let _ = std::io::stdout().write_all(b"\x1b[?2004l\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
    }
}

/// While it lives, the terminal does not show what is typed.
pub(crate) struct Hidden {
    #[cfg(unix)]
    was: Option<Termios>,
}

impl Hidden {
    /// From now on.
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        {
            let was = tcgetattr(std::io::stdin()).ok();
            if let Some(was) = &was {
                let mut hidden = was.clone();
                hidden.local_flags.remove(LocalFlags::ECHO);
                // It is but a precaution.
                let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &hidden);
            }
            Self { was }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(was) = &self.was {
            // The terminal may be gone, and then all is well.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, was);
        }
    }
}

/// From now on only threads that call [`suspend_here`] are told to suspend the program. The prompt's must
/// be the one: the editor gives the terminal back, suspends, and takes it again, in this order.
pub(crate) fn suspend_elsewhere() {
    #[cfg(unix)]
    // Without it Ctrl-Z may leave the terminal in a bad mood, no more.
    let _ = SigSet::from(Signal::SIGTSTP).thread_block();
}

/// This thread is told to suspend the program.
pub(crate) fn suspend_here() {
    #[cfg(unix)]
    // As above.
    let _ = SigSet::from(Signal::SIGTSTP).thread_unblock();
}

/// SIGINT and SIGTERM hurry us; the second one ends us.
///
/// # Errors
/// If the system does not tell us of them.
pub(crate) fn hurry_on_signals(hurry: CancellationToken) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            for status in [None, Some(130)] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                match status {
                    None => hurry.cancel(),
                    Some(status) => {
                        give_back();
                        std::process::exit(status)
                    }
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            hurry.cancel();
        }
    });
    Ok(())
}
