//! Private-key work of a client: on all threads of its pool, and in nobody's way. No clock is looked at: while the threads
//! are held, what waits for them is what runs at once as soon as they are free.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server_support;

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use server_support::{Peer, address, key, pubkey, server, soon};
use socp_core::client::{Command, FileNotice, Notice, SentTo};
use socp_core::wire::Meta;
use socp_transport::client::{Client, ClientConfig, Notices};
use socp_transport::pool::{Job, Lane, Pool};
use socp_transport::server::Server;
use tokio::time::sleep;

const THREADS: usize = 2;

fn pool() -> Arc<Pool> {
    Arc::new(Pool::with_threads(NonZeroUsize::new(THREADS).unwrap()).unwrap())
}

/// A thread of a pool that does nothing, until dropped.
type Held = (mpsc::SyncSender<()>, Job<()>);

/// Holds all threads of a pool.
fn hold(pool: &Pool) -> Vec<Held> {
    let (started, running) = mpsc::sync_channel(THREADS);
    let hold = |_| {
        let (go, wait) = mpsc::sync_channel(1);
        let started = started.clone();
        let job = pool.try_spawn(Lane::Chat, move || {
            started.send(()).unwrap();
            // Until the other end is dropped.
            let _ = wait.recv();
        });
        (go, job.unwrap())
    };
    let held = (0..THREADS).map(hold).collect();
    (0..THREADS).for_each(|_| running.recv().unwrap());
    held
}

async fn client(server: &Server, name: &str, change: impl FnOnce(&mut ClientConfig)) -> (Client, Notices) {
    let mut config = ClientConfig::new(address(server), key(name));
    config.meta = Meta::named(name);
    change(&mut config);
    let (client, mut notices) = Client::start(config).await.unwrap();
    until(&mut notices, |notice| matches!(notice, Notice::Ready { .. })).await;
    (client, notices)
}

async fn until(notices: &mut Notices, wanted: impl Fn(&Notice) -> bool) -> Notice {
    soon(async {
        loop {
            let notice = notices.next().await.expect("the client stopped");
            if wanted(&notice) {
                return notice;
            }
        }
    })
    .await
}

/// Waits until more than one job waits for the threads; gives how many.
async fn several_wait(pool: &Pool, lane: Lane) -> usize {
    soon(async {
        while pool.waiting(lane) < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    pool.waiting(lane)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_all_is_sealed_on_all_threads_and_commands_are_answered_meanwhile() {
    const MEMBERS: usize = 100;
    let server = server().await;
    let pubkey = pubkey("bob");
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let name: &str = Box::leak(format!("member-{number}").into_boxed_str());
        let mut member = Peer { name, ..Peer::connect(&server).await };
        let hello = serde_json::json!({"client": "raw", "pubkey": pubkey, "enc_pubkey": pubkey});
        member.send("USER_HELLO", server.id().as_str(), hello).await;
        members.push(member);
    }
    let pool = pool();
    let (alice, mut notices) = client(&server, "alice", |config| config.pool = Some(pool.clone())).await;
    soon(async {
        while alice.users().await.len() < MEMBERS {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let held = hold(&pool);
    let text = Command::All { text: "hi".into() };
    alice.command(1, text).await.unwrap();
    assert!(several_wait(&pool, Lane::Chat).await <= MEMBERS);
    alice.command(2, Command::Whois { user: "member-7".into() }).await.unwrap();
    let answer = until(&mut notices, |notice| notice.ends().is_some()).await;
    assert!(matches!(answer, Notice::Whois { reference: 2, .. }), "{answer:?}");
    drop(held);
    let answer = until(&mut notices, |notice| notice.ends().is_some()).await;
    let to = SentTo::Everyone { recipients: MEMBERS, failed: 0 };
    assert_eq!(answer, Notice::Sent { reference: 1, to });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_of_a_file_are_opened_on_all_threads() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let pool = pool();
    let (_bob, mut notices) = client(&server, "bob", |config| {
        config.pool = Some(pool.clone());
        config.downloads = Some(folder.path().join("downloads"));
        config.auto_accept = true;
    })
    .await;
    let (alice, mut alices) = client(&server, "alice", |_| {}).await;
    soon(async {
        while alice.users().await.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let path = folder.path().join("cat.zip");
    // More than goes before the threads are held.
    fs::write(&path, vec![7; 32 << 20]).unwrap();
    let sending = tokio::spawn(async move { alice.send_file("bob", path).await });
    // Somebody must read them.
    let reading = tokio::spawn(async move { while alices.next().await.is_some() {} });
    until(&mut notices, |notice| matches!(notice, Notice::File(FileNotice::Progress { .. }))).await;
    let held = hold(&pool);
    several_wait(&pool, Lane::Bulk).await;
    drop(held);
    until(&mut notices, |notice| matches!(notice, Notice::File(FileNotice::Progress { .. }))).await;
    sending.abort();
    reading.abort();
}
