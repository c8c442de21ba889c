//! Keys for everybody who takes part, made on all cores.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use socp_core::crypto::aws_lc::PrivateKey;

use crate::error::{Result, note};

/// Servers and people.
const KEYS: usize = 5;

/// One for each.
pub(super) struct Keys {
    pub(super) servers: [Arc<PrivateKey>; 3],
    pub(super) alice: Arc<PrivateKey>,
    pub(super) bob: Arc<PrivateKey>,
}

impl Keys {
    /// Takes some seconds; tells on stderr how far it is.
    pub(super) fn make() -> Result<Self> {
        let (start, terminal) = (Instant::now(), stderr().is_terminal());
        let workers = thread::available_parallelism().map_or(1, usize::from).min(KEYS);
        let (made, keys) = sync_channel(KEYS);
        let taken = AtomicUsize::new(0);
        let keys: Vec<_> = thread::scope(|scope| {
            for _ in 0..workers {
                let (made, taken) = (made.clone(), &taken);
                scope.spawn(move || {
                    while taken.fetch_add(1, Relaxed) < KEYS {
                        // There is room for all, and the receiver waits for all.
                        let _ = made.send(PrivateKey::generate().map(Arc::new));
                    }
                });
            }
            if !terminal {
                note(format_args!("making {KEYS} RSA-4096 keys; that takes a few seconds …"));
            }
            let mut all = Vec::new();
            while all.len() < KEYS {
                if terminal {
                    let mut err = stderr();
                    // A progress line that cannot be shown is no reason to stop.
                    let _ = write!(err, "\rmaking RSA-4096 keys: {} of {KEYS} …", all.len())
                        .and_then(|()| err.flush());
                }
                let Ok(key) = keys.recv() else { break };
                all.push(key);
            }
            all
        });
        let clear = if terminal { "\r\x1b[K" } else { "" };
        note(format_args!("{clear}made {KEYS} RSA-4096 keys in {:.1} s", start.elapsed().as_secs_f32()));
        let keys = keys.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        let [a, b, c, alice, bob] = <[_; KEYS]>::try_from(keys).map_err(|_| "demo: a key is missing")?;
        Ok(Self { servers: [a, b, c], alice, bob })
    }
}
