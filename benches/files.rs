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

/// Processor time that this process has used, where the system tells: other work on the machine does not change it.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything: user and system time are the 12th and 13th field, in hundredths.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

/// What something took: by the clock, and of the processor.
async fn measured<T>(what: impl Future<Output = Result<T>>) -> Result<(Duration, f64, T)> {
    let (started, before) = (Instant::now(), processor_time());
    let outcome = what.await?;
    let used = processor_time().zip(before).map_or(f64::NAN, |(after, before)| after - before);
    Ok((started.elapsed(), used, outcome))
}

/// All blocks of the file, opened on a pool of as many threads as cores.
async fn decryption_alone(pool: &Pool, key: &Arc<PrivateKey>, blocks: &[Arc<[u8]>]) -> Result<()> {
    let mut jobs = std::collections::VecDeque::new();
    for block in blocks {
        let (key, block) = (key.clone(), block.clone());
        jobs.push_back(pool.spawn(Lane::Bulk, move || key.open(&block)).await?);
    }
    for job in jobs {
        job.await??;
    }
    Ok(())
}

async fn client(server: &Server, name: &str, downloads: Option<PathBuf>) -> Result<(Client, Notices)> {
    let mut config = ClientConfig::new(address(server)?, key(name)?);
    config.meta = Meta::named(name);
    config.auto_accept = downloads.is_some();
    config.downloads = downloads;
    Ok(Client::start(config).await?)
}

/// From `/file` to the recipient's word that the file is complete and verified. With `chat` messages are sent
/// meanwhile: what the slowest took.
async fn transfer(
    alice: &Client,
    to_bob: &mut Notices,
    path: &std::path::Path,
    chat: bool,
) -> Result<Duration> {
    let sending = alice.send_file("bob", path);
    tokio::pin!(sending);
    let mut slowest = Duration::ZERO;
    loop {
        tokio::select! {
            sent = &mut sending => {
                sent?;
                return Ok(slowest);
            }
            took = message(alice, to_bob), if chat => slowest = slowest.max(took?),
        }
    }
}

async fn message(alice: &Client, to_bob: &mut Notices) -> Result<Duration> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    alice.tell("bob", "are you there?").await?;
    loop {
        match to_bob.next().await.ok_or("bob has stopped")? {
            Notice::Message { .. } => return Ok(started.elapsed()),
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
    second.bootstrap = vec![Introducer::new(address(&a)?, key("server-a")?.public_key().clone())];
    let b = Server::start(second).await?;
    let (alice, _unread) = client(&a, "alice", None).await?;
    let (_bob, mut to_bob) = client(&b, "bob", Some(folder.path().join("downloads"))).await?;
    while alice.users().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (mut by_clock, mut by_processor, mut slowest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for round in 1..=rounds {
        let (alone, alone_used, ()) = measured(decryption_alone(&pool, &bobs_key, &blocks)).await?;
        let (took, used, _) = measured(transfer(&alice, &mut to_bob, &path, false)).await?;
        println!(
            "round {round}: decryption alone {alone:.2?} ({alone_used:.2} s of processor time), the file {took:.2?} ({used:.2} s)"
        );
        by_clock.push(took.as_secs_f64() / alone.as_secs_f64());
        by_processor.push(used / alone_used);
        slowest = slowest.max(transfer(&alice, &mut to_bob, &path, true).await?);
    }
    println!(
        "1 MiB between two servers: {:.2} times its decryption, {:.2} times by processor time (medians of {rounds}); \
         slowest message meanwhile {slowest:.0?}",
        median(by_clock),
        median(by_processor),
    );
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
