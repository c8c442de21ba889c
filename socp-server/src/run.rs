//! `socp-server run`: a server until it is told to stop.

use std::path::Path;
use std::time::Duration;

use socp_core::wire::{HostPort, PublicKey};
use socp_transport::data_dir::DataDir;
use socp_transport::server::{ListenAddress, Server, ServerConfig};
use socp_transport::store::Store;
use socp_transport::tls::ServerTls;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{Level, error, info, warn};

use crate::args::RunArgs;
use crate::config::{Configuration, is_wildcard};
use crate::data::ServerData;
use crate::error::{Fatal, Result, note, show};
use crate::mistake::{Gravity, Mistake};
use crate::signals::{Signal, Signals};
use crate::{block_on, hints, logging};

/// The transport says goodbye within 4 s; a disk may take longer than anybody waits.
const GOODBYE: Duration = Duration::from_millis(4500);

/// Runs a server until SIGINT or SIGTERM, or a failure.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    let file = args.config.clone();
    let configuration = Configuration::gather(args).map_err(|mistakes| first(mistakes, file.as_deref()))?;
    logging::start(&configuration.settings.log_level);
    if let Some(file) = &configuration.file {
        info!(file = %file.display(), "configured");
    }
    let data_dir = configuration.settings.data_dir.clone().map_or_else(DataDir::default_for_server, Ok)?;
    let data = ServerData::open(&data_dir)?;
    let key = data.key()?;
    let reachable_at = configuration.reachable_at(Some(key.public_key()))?;
    for warning in configuration.warnings.iter().chain(&configuration.judge(Some(key.public_key()))) {
        warn!("{warning}");
    }
    let mut store = data.store()?;
    let assigned = store.load()?.own_id;
    let wanted = configuration.settings.server_id.as_ref();
    let server_id = data.settle_id(wanted, key.public_key(), assigned.as_ref())?;

    let mut config = ServerConfig::new(ListenAddress::default(), key.clone());
    configuration.configure(&mut config);
    config.store = Box::new(store);
    config.server_id = Some(server_id);
    config.reachable_at = reachable_at;
    block_on(serve(config, key.public_key()))
}

/// Of what is wrong, the first thing that keeps the server from starting.
fn first(mistakes: Vec<Mistake>, file: Option<&Path>) -> Fatal {
    let mut errors = mistakes.into_iter().filter(|mistake| mistake.gravity == Gravity::Error);
    match (errors.next(), errors.count()) {
        (Some(first), 0) => first.into(),
        (Some(first), more) => {
            let file = file.map(|file| format!(" {}", file.display())).unwrap_or_default();
            format!("{first} (and {more} more: see `socp-server config check{file}`)").into()
        }
        (None, _) => "the configuration cannot be used".into(),
    }
}

async fn serve(config: ServerConfig, key: &PublicKey) -> Result<()> {
    let mut signals = Signals::new(config.tls.is_some())?;
    let (listen, tls) = (config.listen.clone(), config.tls.clone());
    let advertise = config.advertise.clone().or_else(|| config.reachable_at.clone());
    let server = Server::start(config).await?;
    for (listen, bound) in listen.iter().zip(server.addresses()) {
        let (host, port) = (bracketed(listen.host()), bound.address.port());
        // Scripts wait for this line.
        show(format_args!("listening {}://{host}:{port} server_id={}", bound.scheme, server.id()));
    }
    if let (true, Some(listen), Some(bound)) =
        (tracing::enabled!(Level::INFO), listen.first(), server.addresses().first())
    {
        let port = bound.address.port();
        let reachable = if is_wildcard(listen) { None } else { HostPort::new(listen.host(), port).ok() };
        let server = advertise.or(reachable);
        // From this machine a server that listens everywhere is reached over loopback.
        let client = server.as_ref().map_or_else(|| format!("127.0.0.1:{port}"), ToString::to_string);
        note(hints::how_to_join(bound.scheme, &client, server.as_ref(), key));
    }
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop(signal) => {
                    info!(signal, "stopping");
                    break;
                }
                Signal::Reload => reload(tls.clone()).await,
            },
            outcome = server.wait() => return Ok(outcome?),
        }
    }
    // Whoever asks twice, as timeout(1) does, gets the same: it is quick enough.
    let Ok(outcome) = timeout(GOODBYE, server.shutdown()).await else {
        error!("the disk takes too long; going without its answer");
        return Ok(());
    };
    Ok(outcome?)
}

/// Reads certificate and key again. Links that are open keep the ones that they began with.
async fn reload(tls: Option<ServerTls>) {
    let Some(tls) = tls else { return };
    match spawn_blocking(move || tls.reload()).await {
        Ok(Ok(())) => info!("certificate and key were read again"),
        Ok(Err(error)) => error!(%error, "the old certificate stays in use"),
        Err(error) => error!(%error, "the old certificate stays in use"),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}
