//! The three servers.

use std::net::SocketAddr;
use std::sync::Arc;

use socp_core::server::Introducer;
use socp_core::wire::ServerId;
use socp_transport::pool::Pool;
use socp_transport::server::{ListenAddress, Server, ServerConfig};
use tokio::time::{Instant, timeout_at};

use super::keys::Keys;
use crate::error::{Result, show};

const NAMES: [&str; 3] = ["server A", "server B", "server C"];

/// Three servers, all linked with each other.
pub(super) struct Mesh {
    pub(super) servers: [Server; 3],
    /// Threads for everybody's private-key work.
    pub(super) pool: Arc<Pool>,
}

impl Mesh {
    /// Starts A; B, which knows A; C, which knows both. Done when everybody is linked with everybody.
    pub(super) async fn start(keys: &Keys, deadline: Instant) -> Result<Self> {
        let pool = Arc::new(Pool::new().map_err(|error| format!("starting threads: {error}"))?);
        let listen: ListenAddress = "127.0.0.1:0".parse()?;
        let mut known = Vec::new();
        let mut servers = Vec::new();
        for (name, key) in NAMES.iter().zip(&keys.servers) {
            let mut config = ServerConfig::new(listen.clone(), key.clone());
            config.bootstrap = known.clone();
            config.pool = Some(pool.clone());
            let server = Server::start(config).await?;
            let address = server.local_addr();
            show(format_args!("{name} | listening ws://{address} server_id={}", server.id()));
            known.push(Introducer::new(address.to_string().parse()?, key.public_key().clone()));
            servers.push(server);
        }
        let [a, b, c] = <[Server; 3]>::try_from(servers).map_err(|_| "demo: a server is missing")?;
        let mesh = Self { servers: [a, b, c], pool };
        for (name, server) in NAMES.iter().zip(&mesh.servers) {
            let linked = timeout_at(deadline, linked(server, NAMES.len() - 1)).await;
            let linked =
                linked.map_err(|_| format!("demo: {name} was not linked with both others in time"))?;
            let mut names: Vec<_> = linked.iter().map(|id| mesh.name(id)).collect();
            names.sort_unstable();
            show(format_args!("{name} | linked with {}", names.join(" and ")));
        }
        Ok(mesh)
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> [SocketAddr; 3] {
        self.servers.each_ref().map(Server::local_addr)
    }

    /// Everybody is told, everything is closed.
    pub(super) async fn stop(self) {
        let [a, b, c] = self.servers.map(Server::shutdown);
        // What they kept was in memory: nothing can be lost.
        let _ = tokio::join!(a, b, c);
    }

    fn name(&self, id: &ServerId) -> &'static str {
        let known = NAMES.iter().zip(&self.servers).find(|(_, server)| server.id() == *id);
        known.map_or("an unknown server", |(name, _)| name)
    }
}

/// Waits until a server has so many links that are up.
async fn linked(server: &Server, count: usize) -> Vec<ServerId> {
    let mut reports = server.reports();
    loop {
        let servers = server.servers().await;
        if servers.len() >= count {
            return servers;
        }
        if reports.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
