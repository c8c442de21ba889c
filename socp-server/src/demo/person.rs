//! Somebody with a client: what they type, and what they see.

use std::sync::Arc;

use socp_core::client::Command;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::{Id, Meta, UserId};
use socp_transport::client::{Client, ClientConfig, Notices, line};
use socp_transport::server::Server;
use tokio::time::{Instant, timeout_at};

use super::mesh::Mesh;
use crate::error::{Result, show};

/// A person at a client.
pub(super) struct Person {
    name: &'static str,
    id: UserId,
    client: Client,
    notices: Notices,
    /// The number of the next line that is typed.
    typed: u64,
}

impl Person {
    /// Starts a client, which logs in by itself.
    pub(super) async fn log_in(
        name: &'static str,
        key: &Arc<PrivateKey>,
        server: &Server,
        mesh: &Mesh,
    ) -> Result<Self> {
        let mut config = ClientConfig::new(server.local_addr().to_string().parse()?, key.clone());
        config.meta = Meta::named(name);
        config.pool = Some(mesh.pool.clone());
        let (client, notices) = Client::start(config).await?;
        let id = Id::derived_from(key.public_key()).into();
        Ok(Self { name, id, client, notices, typed: 1 })
    }

    /// Types a command.
    pub(super) async fn types(&mut self, command: Command) -> Result<()> {
        match &command {
            Command::Tell { to, text } => show(format_args!("{:<5} > /tell {to} {text}", self.name)),
            Command::All { text } => show(format_args!("{:<5} > /all {text}", self.name)),
            Command::List => show(format_args!("{:<5} > /list", self.name)),
            // The scenario has no others.
            other => show(format_args!("{:<5} > {other:?}", self.name)),
        }
        self.typed += 1;
        Ok(self.client.command(self.typed, command).await?)
    }

    /// Shows what arrives until all of these lines were among it, in any order. Where one ends in `…`, its
    /// start is enough.
    pub(super) async fn sees(&mut self, expected: &[&str], deadline: Instant) -> Result<()> {
        let mut missing = expected.to_vec();
        while !missing.is_empty() {
            let arrived = timeout_at(deadline, self.notices.next()).await;
            let Some(notice) = arrived.ok().flatten() else {
                return Err(format!("demo: {} did not see in time: {}", self.name, missing.join(", ")).into());
            };
            let lines = line::plain(&notice, &self.id);
            self.show(&lines);
            missing.retain(|expected| !lines.iter().any(|line| matches(line, expected)));
        }
        Ok(())
    }

    /// Shows what arrives, for ever.
    pub(super) async fn listen(&mut self) {
        while let Some(notice) = self.notices.next().await {
            self.show(&line::plain(&notice, &self.id));
        }
    }

    /// Logs out.
    pub(super) async fn quit(self) -> Result<()> {
        show(format_args!("{:<5} > /quit", self.name));
        Ok(self.client.quit().await?)
    }

    fn show(&self, lines: &[String]) {
        for line in lines {
            show(format_args!("{:<5} | {line}", self.name));
        }
    }
}

fn matches(line: &str, expected: &str) -> bool {
    expected.strip_suffix('…').map_or(line == expected, |start| line.starts_with(start))
}
