//! `socp-server run`: a server until it is told to stop.

use std::net::IpAddr;
use std::time::Duration;

use socp_core::wire::{HostPort, PublicKey};
use socp_transport::server::{ListenAddress, Server, ServerConfig};
use socp_transport::store::Store;
use tokio::time::timeout;
use tracing::{Level, error, info, warn};

use crate::args::RunArgs;
use crate::bootstrap::ENOUGH;
use crate::config::Settings;
use crate::data::ServerData;
use crate::error::{Result, note, show};
use crate::signals::StopSignals;
use crate::{block_on, hints, logging};

/// The transport says goodbye within 4 s; a disk may take longer than anybody waits.
const GOODBYE: Duration = Duration::from_millis(4500);

/// Runs a server until SIGINT or SIGTERM, or a failure.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    let settings = Settings::gather(args)?;
    logging::start(&settings.log_level);
    let data = ServerData::open(&settings.data_dir)?;
    let key = data.key()?;
    let reachable_at = reachable_at(&settings, key.public_key())?;
    warn_about_the_list(&settings, key.public_key());
    let mut store = data.store()?;
    let assigned = store.load()?.own_id;
    let server_id = data.settle_id(settings.server_id.as_ref(), key.public_key(), assigned.as_ref())?;

    let mut config = ServerConfig::new(settings.listen.clone(), key.clone());
    config.store = Box::new(store);
    config.server_id = Some(server_id);
    let shown = settings.advertise.clone().or_else(|| reachable_at.clone());
    config.advertise = settings.advertise;
    config.reachable_at = reachable_at;
    config.bootstrap = settings.introducers;
    config.strict_ids = settings.strict_ids;
    config.require_proof = settings.require_proof;
    config.join = settings.join;
    config.dial = settings.dial;
    block_on(serve(config, &settings.listen, shown.as_ref(), key.public_key()))
}

async fn serve(
    config: ServerConfig,
    listen: &ListenAddress,
    advertise: Option<&HostPort>,
    key: &PublicKey,
) -> Result<()> {
    let mut signals = StopSignals::new()?;
    let server = Server::start(config).await?;
    let port = server.local_addr().port();
    let host =
        if listen.host().contains(':') { format!("[{}]", listen.host()) } else { listen.host().into() };
    // Scripts wait for this line.
    show(format_args!("listening ws://{host}:{port} server_id={}", server.id()));
    if tracing::enabled!(Level::INFO) {
        // From this machine a server that listens everywhere is reached over loopback.
        let client = if is_wildcard(listen) { format!("127.0.0.1:{port}") } else { format!("{host}:{port}") };
        let reachable = if is_wildcard(listen) { None } else { HostPort::new(listen.host(), port).ok() };
        let client = advertise.map_or(client, ToString::to_string);
        note(hints::how_to_join(&client, advertise.or(reachable.as_ref()), key));
    }
    tokio::select! {
        signal = signals.next() => info!(signal, "stopping"),
        outcome = server.wait() => return Ok(outcome?),
    }
    // Whoever asks twice, as timeout(1) does, gets the same: it is quick enough.
    let Ok(outcome) = timeout(GOODBYE, server.shutdown()).await else {
        error!("the disk takes too long; going without its answer");
        return Ok(());
    };
    Ok(outcome?)
}

/// Where the bootstrap list says that we are, if we listen everywhere and nobody said more. Without an
/// address of our own we cannot join others (decisions §7).
fn reachable_at(settings: &Settings, key: &PublicKey) -> Result<Option<HostPort>> {
    let Settings { listen, introducers, advertise, .. } = settings;
    if advertise.is_some() || !is_wildcard(listen) {
        return Ok(None);
    }
    let own = introducers.iter().find(|introducer| introducer.key == *key);
    if let Some(own) = own {
        return Ok(Some(own.address.clone()));
    }
    if introducers.is_empty() {
        return Ok(None);
    }
    Err(format!(
        "listening on {listen}, every address of this machine, it cannot join other servers: they would not \
         know where to dial it; add --advertise HOST:PORT, or an entry with its own key to the bootstrap list"
    )
    .into())
}

fn warn_about_the_list(settings: &Settings, key: &PublicKey) {
    let Settings { listen, introducers, advertise, .. } = settings;
    if !introducers.is_empty() && introducers.len() < ENOUGH {
        let count = introducers.len();
        warn!("fewer trusted introducers than the {ENOUGH} that the standard asks for: {count}");
    }
    let Some(own) = introducers.iter().find(|introducer| introducer.key == *key) else { return };
    match advertise {
        Some(advertise) if *advertise != own.address => warn!(
            "the bootstrap list has this server at {}, --advertise says {advertise}: others that dial what \
             the list says are refused",
            own.address
        ),
        None if listen.port() != own.address.port() => {
            warn!("the bootstrap list has this server at {}, but it listens on {listen}", own.address);
        }
        Some(_) | None => {}
    }
}

fn is_wildcard(listen: &ListenAddress) -> bool {
    listen.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}
