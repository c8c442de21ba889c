//! How does a server run inside another program?
//!
//! `cargo run -p socp-examples --example embed_server [HOST:PORT]`, then log in with
//! `socp-client --server ws://HOST:PORT --user NAME`; Ctrl-C ends it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::server::Report;
use socp_transport::server::{Server, ServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    println!("making a key …");
    let key = tokio::task::spawn_blocking(PrivateKey::generate).await??;

    // Everything else has a default: here the state lives in memory, nobody is joined, and links are plain, so
    // the address must be this machine's own.
    let server = Server::start(ServerConfig::new(listen.parse()?, Arc::new(key))).await?;
    println!("listening {} server_id={}", server.addresses()[0], server.id());

    let mut reports = server.reports();
    let mut every_minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            report = reports.next() => match report {
                Some(Report::UserOnline { user, server }) => println!("{user} is online at {server}"),
                Some(Report::UserOffline { user }) => println!("{user} is gone"),
                Some(other) => println!("{other:?}"),
                None => break,
            },
            _ = every_minute.tick() => println!("{:?}", server.stats().await),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    server.shutdown().await?;
    Ok(())
}
