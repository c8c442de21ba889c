//! How does a program take part in the chat?
//!
//! A bot that answers every verified direct message with its length, and greets whoever comes.
//!
//! `cargo run -p socp-examples --example bot [HOST:PORT]`

use std::error::Error;
use std::sync::Arc;

use socp_core::client::{MessageKind, Notice};
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::Meta;
use socp_transport::client::{Client, ClientConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8765".to_owned());
    println!("making a key …");
    let key = tokio::task::spawn_blocking(PrivateKey::generate).await??;
    let config =
        ClientConfig { meta: Meta::named("bot"), ..ClientConfig::new(address.parse()?, Arc::new(key)) };

    // It dials, logs in and reconnects by itself; what happens comes as notices.
    let (client, mut notices) = Client::start(config).await?;
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::UserAdded { user_id, label } => {
                println!("{label} is here");
                if let Err(error) = client.tell(user_id.as_str(), "hello, I am a bot").await {
                    println!("{label} was not greeted: {error}");
                }
            }
            Notice::Message { kind: MessageKind::Direct, from, label, text, verified: Ok(()), .. } => {
                println!("{label} wrote {} bytes", text.as_str().len());
                let answer = format!("that was {} characters", text.as_str().chars().count());
                if let Err(error) = client.tell(from.as_str(), &answer).await {
                    println!("{label} was not answered: {error}");
                }
            }
            other => println!("{other:?}"),
        }
    }
    client.wait().await?;
    Ok(())
}
