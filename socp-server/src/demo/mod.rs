//! `socp-server demo`: three servers, alice and bob in one process, over real sockets on loopback. They play
//! the scenario for which cross-server presence was made; what is shown is what each of them is told.

mod keys;
mod mesh;
mod person;
mod scenario;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::args::DemoArgs;
use crate::error::{Result, show};
use crate::logging::LogLevel;
use crate::signals::Signals;
use crate::{block_on, logging};
use keys::Keys;
use mesh::Mesh;
use person::Person;

/// The scenario takes less than a second. Making keys comes before and does not count.
const PATIENCE: Duration = Duration::from_secs(20);
/// Servers say goodbye within 4 s.
const GOODBYE: Duration = Duration::from_millis(4500);

/// Plays the scenario.
pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    logging::start(&LogLevel::new(tracing::Level::WARN));
    let keys = Keys::make()?;
    block_on(play(keys, args.exit))
}

async fn play(keys: Keys, exit: bool) -> Result<()> {
    let mut signals = Signals::new(false)?;
    let deadline = Instant::now() + PATIENCE;
    let mesh = Mesh::start(&keys, deadline).await?;
    let played = tokio::select! {
        played = scenario::play(&mesh, &keys, deadline) => played,
        signal = signals.stop() => Err(format!("demo: {signal} before the scenario was over").into()),
    };
    let outcome = match played {
        Ok([alice, bob]) if exit => scenario::goodbye(alice, bob, deadline).await,
        Ok([alice, bob]) => {
            tokio::select! {
                () = stay(&mesh, alice, bob) => {}
                _ = signals.stop() => show("\nThe demo is over."),
            }
            Ok(())
        }
        Err(error) => Err(error),
    };
    // Nobody waits for more than this.
    let _ = timeout(GOODBYE, mesh.stop()).await;
    if exit && outcome.is_ok() {
        show("\nEverything went as it should.");
    }
    outcome
}

/// Tells how to join and shows what alice and bob see, for ever.
async fn stay(mesh: &Mesh, mut alice: Person, mut bob: Person) {
    let [a, b, c] = mesh.addresses();
    show(format_args!(
        "\nEverything went as it should. Servers, alice and bob stay up until Ctrl-C; what the two see is\n\
         shown here. Join from another terminal:\n  \
           socp-client --server ws://{c} --user carol\n\
         and try /list, /tell alice hi, /all hi. (Server A is ws://{a}, server B ws://{b}.)\n"
    ));
    tokio::join!(alice.listen(), bob.listen());
}
