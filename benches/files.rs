//! What a file of 1 MiB between two servers costs beyond its decryption, which nothing can make cheaper: the
//! standard has one RSA block per 446 bytes. And how long a message takes meanwhile.
//!
//! Everything runs on this machine: two servers and both clients share its cores with the decryption. Compare the
//! ratio, and run it on a quiet machine.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socp_core::client::Notice;
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::crypto::{MAX_PLAINTEXT_BYTES, Opener, Sealer};
use socp_core::server::Introducer;
use socp_core::wire::{HostPort, Meta};
use socp_transport::client::{Client, ClientConfig, Notices};
use socp_transport::pool::{Lane, Pool};
use socp_transport::server::{Server, ServerConfig};

const BYTES: usize = 1024 * 1024;
const ROUNDS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn key(name: &str) -> Result<Arc<PrivateKey>> {
    let path = format!("{}/../socp-core/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    Ok(Arc::new(PrivateKey::from_pem(&std::fs::read_to_string(path)?)?))
}

fn address(server: &Server) -> Result<HostPort> {
    Ok(server.local_addr().to_string().parse()?)
}

/// All blocks of the file, opened on a pool of as many threads as cores.
async fn decryption_alone(pool: &Pool, key: &Arc<PrivateKey>, blocks: &[Arc<[u8]>]) -> Result<Duration> {
    let started = Instant::now();
    let mut jobs = std::collections::VecDeque::new();
    for block in blocks {
        let (key, block) = (key.clone(), block.clone());
        jobs.push_back(pool.spawn(Lane::Bulk, move || key.open(&block)).await?);
    }
    for job in jobs {
        job.await??;
    }
    Ok(started.elapsed())
}

async fn client(server: &Server, name: &str, downloads: Option<PathBuf>) -> Result<(Client, Notices)> {
    let mut config = ClientConfig::new(address(server)?, key(name)?);
    config.meta = Meta::named(name);
    config.auto_accept = downloads.is_some();
    config.downloads = downloads;
    Ok(Client::start(config).await?)
}

/// From `/file` to the recipient's word that the file is complete and verified; and the slowest message of those that were
/// sent meanwhile, if there were any.
async fn transfer(
    alice: &Client,
    to_bob: &mut Notices,
    path: &std::path::Path,
    chat: bool,
) -> Result<(Duration, Duration)> {
    let started = Instant::now();
    let sending = alice.send_file("bob", path);
    tokio::pin!(sending);
    let mut slowest = Duration::ZERO;
    loop {
        let typed = Instant::now();
        tokio::select! {
            sent = &mut sending => {
                sent?;
                return Ok((started.elapsed(), slowest));
            }
            heard = message(alice, to_bob), if chat => {
                heard?;
                slowest = slowest.max(typed.elapsed());
            }
        }
    }
}

async fn message(alice: &Client, to_bob: &mut Notices) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    alice.tell("bob", "are you there?").await?;
    loop {
        match to_bob.next().await.ok_or("bob has stopped")? {
            Notice::Message { .. } => return Ok(()),
            _ => continue,
        }
    }
}

fn main() -> Result<()> {
    // `cargo test` runs benches once, without an interest in their times.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run(rounds))
}

async fn run(rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file: Vec<u8> = (0..BYTES).map(|at| (at * at / 7) as u8).collect();
    let path = folder.path().join("file");
    std::fs::write(&path, &file)?;

    let bobs_key = key("bob")?;
    let sealed =
        file.chunks(MAX_PLAINTEXT_BYTES).map(|block| Provider::new().seal(bobs_key.public_key(), block));
    let blocks = sealed.map(|block| Ok(block?.into())).collect::<Result<Vec<Arc<[u8]>>>>()?;
    let pool = Pool::new()?;

    let a = Server::start(ServerConfig::new("127.0.0.1:0".parse()?, key("server-a")?)).await?;
    let mut second = ServerConfig::new("127.0.0.1:0".parse()?, key("server-b")?);
    second.bootstrap = vec![Introducer { address: address(&a)?, key: key("server-a")?.public_key().clone() }];
    let b = Server::start(second).await?;
    let (alice, _unread) = client(&a, "alice", None).await?;
    let (_bob, mut to_bob) = client(&b, "bob", Some(folder.path().join("downloads"))).await?;
    while alice.users().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (mut ratios, mut slowest) = (Vec::new(), Duration::ZERO);
    for round in 1..=rounds {
        let alone = decryption_alone(&pool, &bobs_key, &blocks).await?;
        let (took, _) = transfer(&alice, &mut to_bob, &path, false).await?;
        let ratio = took.as_secs_f64() / alone.as_secs_f64();
        println!("round {round}: decryption alone {alone:.2?}, the file {took:.2?}, ratio {ratio:.2}");
        ratios.push(ratio);
        let (_, message) = transfer(&alice, &mut to_bob, &path, true).await?;
        slowest = slowest.max(message);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "1 MiB between two servers: {:.2} times its decryption (median of {rounds}); slowest message meanwhile {slowest:.0?}",
        ratios[ratios.len() / 2],
    );
    Ok(())
}
