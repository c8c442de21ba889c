//! Files over loopback sockets, by the handles that embedders use.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use server_support::{Peer, address, config, key, server, soon};
use sha2::{Digest, Sha256};
use socp_core::client::{FileCommand, FileNotice, Notice, SentTo, Transfer, TransferId};
use socp_core::crypto::Sealer;
use socp_core::crypto::aws_lc::Provider;
use socp_core::server::Introducer;
use socp_core::wire::{ErrorCode, Id, Meta, encode_base64};
use socp_transport::client::{Client, ClientConfig, CommandError, Notices};
use socp_transport::server::Server;
use tempfile::TempDir;

/// Somebody with a client and a folder for files.
struct Person {
    client: Client,
    notices: Notices,
    folder: TempDir,
}

impl Person {
    async fn new(server: &Server, name: &str, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ClientConfig::new(address(server), key(name));
        config.meta = Meta::named(name);
        config.downloads = Some(folder.path().join("downloads"));
        change(&mut config);
        let (client, notices) = Client::start(config).await.unwrap();
        let mut person = Self { client, notices, folder };
        person.until(|notice| matches!(notice, Notice::Ready { .. })).await;
        person
    }

    async fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        soon(async {
            loop {
                let notice = self.notices.next().await.expect("the client stopped");
                if wanted(&notice) {
                    return notice;
                }
            }
        })
        .await
    }

    async fn knows(&mut self, name: &str) {
        soon(async {
            while !self.client.users().await.iter().any(|user| &*user.label == name) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn offered(&mut self) -> TransferId {
        match self.until(|notice| matches!(notice, Notice::File(FileNotice::Offered { .. }))).await {
            Notice::File(FileNotice::Offered { transfer, .. }) => transfer.id,
            _ => unreachable!(),
        }
    }

    async fn saved(&mut self) -> PathBuf {
        match self.until(|notice| matches!(notice, Notice::File(FileNotice::Saved { .. }))).await {
            Notice::File(FileNotice::Saved { path, .. }) => path,
            _ => unreachable!(),
        }
    }

    async fn failed(&mut self) -> (Transfer, String) {
        match self.until(|notice| matches!(notice, Notice::File(FileNotice::Failed { .. }))).await {
            Notice::File(FileNotice::Failed { transfer, detail, .. }) => (transfer, detail.into()),
            _ => unreachable!(),
        }
    }

    /// A file in this person's folder.
    fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content(bytes)).unwrap();
        path
    }

    /// What lies in the download folder.
    fn downloads(&self) -> Vec<String> {
        names(&self.folder.path().join("downloads"))
    }

    /// Waits until nothing hidden lies there any more.
    async fn tidy(&self) {
        soon(async {
            while self.downloads().iter().any(|name| name.starts_with('.')) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * at / 32) as u8).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Two servers that are linked.
async fn two_servers() -> (Server, Server) {
    let a = server().await;
    let mut second = config("server-b");
    second.bootstrap = vec![Introducer::new(address(&a), key("server-a").public_key().clone())];
    let b = Server::start(second).await.unwrap();
    soon(async {
        while a.servers().await.is_empty() || b.servers().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    (a, b)
}

fn accepting(config: &mut ClientConfig) {
    config.auto_accept = true;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_cross_servers_whatever_their_length_and_nothing_is_overwritten() {
    let (a, b) = two_servers().await;
    let mut alice = Person::new(&a, "alice", |_| {}).await;
    let mut bob = Person::new(&b, "bob", accepting).await;
    alice.knows("bob").await;
    bob.knows("alice").await;
    // Nothing, one block, one more, a window and some.
    let mut expected = Vec::new();
    for (number, bytes) in [0, 446, 447, 300_000].into_iter().enumerate() {
        let path = alice.file("cat.jpg", bytes);
        let sent = soon(alice.client.send_file("bob", path)).await;
        assert!(matches!(sent, Ok(SentTo::User { .. })), "{sent:?}");
        let saved = bob.saved().await;
        assert_eq!(fs::read(&saved).unwrap(), content(bytes));
        expected.push(if number == 0 { "cat.jpg".to_owned() } else { format!("cat ({number}).jpg") });
        assert_eq!(saved.file_name().unwrap().to_str(), expected.last().map(String::as_str));
    }
    expected.sort();
    assert_eq!(bob.downloads(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_says_why() {
    let server = server().await;
    let mut alice = Person::new(&server, "alice", |config| config.limits.file_bytes = 1 << 20).await;
    let mut bob = Person::new(&server, "bob", |config| config.downloads = None).await;
    alice.knows("bob").await;
    bob.knows("alice").await;
    let folder = alice.folder.path().to_owned();
    let big = alice.file("big", (1 << 20) + 1);
    for (path, why) in [
        (folder.join("absent"), "absent: No such file"),
        (folder.clone(), "not a file"),
        (big, "a file has at most 1 MiB"),
        (alice.file("small", 10), "bob does not take it: takes no files"),
    ] {
        let Err(CommandError::Failed { detail, .. }) = soon(alice.client.send_file("bob", path)).await else {
            panic!("sent")
        };
        assert!(detail.contains(why), "{detail}");
    }
    // A pipe that nobody writes is not waited for.
    let fifo = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    if made.is_ok_and(|made| made.success()) {
        assert!(soon(alice.client.send_file("bob", fifo)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_decides_and_may_think_better_of_it() {
    let server = server().await;
    let mut alice = Person::new(&server, "alice", |_| {}).await;
    let mut bob = Person::new(&server, "bob", |_| {}).await;
    alice.knows("bob").await;
    bob.knows("alice").await;
    let path = alice.file("cat.jpg", 200_000);

    // Refused.
    let (sent, ()) = tokio::join!(alice.client.send_file("bob", &path), async {
        let offered = bob.offered().await;
        bob.client.reject_file(offered).await.unwrap();
        assert_eq!(
            bob.client
                .accept_file(offered)
                .await
                .map_err(|error| error.to_string().contains("nobody offers a file")),
            Err(true)
        );
    });
    assert_eq!(
        sent,
        Err(CommandError::Failed {
            code: ErrorCode::Other("REFUSED".into()),
            detail: "bob does not take it".into(),
        })
    );

    // Cancelled by its recipient, half way.
    let (sent, ()) = tokio::join!(alice.client.send_file("bob", &path), async {
        let offered = bob.offered().await;
        bob.client.accept_file(offered).await.unwrap();
        soon(async {
            while bob.downloads().is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await;
        bob.client.cancel_file(offered).await.unwrap();
    });
    assert!(sent.unwrap_err().to_string().contains("bob has cancelled it"));
    bob.tidy().await;

    // Cancelled by its sender.
    alice
        .client
        .command(
            7,
            socp_core::client::Command::File(FileCommand::Send { to: "bob".into(), path: path.clone() }),
        )
        .await
        .unwrap();
    let offered = bob.offered().await;
    bob.client.accept_file(offered).await.unwrap();
    soon(async {
        while bob.downloads().is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mine = match alice.until(|notice| matches!(notice, Notice::File(FileNotice::Offering(_)))).await {
        // The first two offers were told of as well.
        Notice::File(FileNotice::Offering(transfer)) => TransferId(transfer.id.0 + 2),
        _ => unreachable!(),
    };
    alice.client.cancel_file(mine).await.unwrap();
    assert_eq!(bob.failed().await.1, "alice has cancelled it");
    bob.tidy().await;
    assert_eq!(bob.downloads(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_vanishes_leaves_a_word_at_the_other_end_and_no_debris() {
    let (a, b) = two_servers().await;
    let mut alice = Person::new(&a, "alice", |_| {}).await;
    let mut bob = Person::new(&b, "bob", accepting).await;
    alice.knows("bob").await;
    bob.knows("alice").await;
    let path = alice.file("cat.jpg", 2_000_000);
    let (sent, ()) = tokio::join!(alice.client.send_file("bob", &path), async {
        soon(async {
            while bob.downloads().is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await;
        let Person { client, .. } = bob;
        drop(client);
    });
    assert_eq!(sent.unwrap_err().to_string(), "USER_NOT_FOUND: bob has gone");

    // And the other way round.
    let mut carol = Person::new(&b, "carol", accepting).await;
    alice.knows("carol").await;
    carol.knows("alice").await;
    let command = FileCommand::Send { to: "carol".into(), path: path.clone() };
    alice.client.command(1, socp_core::client::Command::File(command)).await.unwrap();
    soon(async {
        while carol.downloads().is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
    drop(alice);
    let (transfer, why) = carol.failed().await;
    assert_eq!((&*transfer.name, why.as_str()), ("cat.jpg", "alice has gone"));
    carol.tidy().await;
    assert_eq!(carol.downloads(), [""; 0]);

    // The server goes: both ends are told by their own client.
    let mut alice = Person::new(&a, "alice", |_| {}).await;
    alice.knows("carol").await;
    carol.knows("alice").await;
    let path = alice.file("cat.jpg", 2_000_000);
    let (sent, ()) = tokio::join!(alice.client.send_file("carol", &path), async {
        soon(async {
            while carol.downloads().is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await;
        soon(a.shutdown()).await.unwrap();
    });
    assert!(sent.is_err(), "{sent:?}");
    carol.failed().await;
    carol.tidy().await;
    assert_eq!(carol.downloads(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_client_left_is_removed_at_its_next_start() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let debris = folder.path().join(".socp-0123456789abcdef.part");
    fs::write(&debris, "half a cat").unwrap();
    fs::write(folder.path().join("cat.jpg"), "a cat").unwrap();
    let downloads = folder.path().to_owned();
    let _alice = Person::new(&server, "alice", |config| config.downloads = Some(downloads)).await;
    assert_eq!(names(folder.path()), ["cat.jpg"]);
}

/// A client of the standard sends at once, whether or not anybody wants it, and signs nothing but its frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_standard_needs_no_acknowledgement() {
    let server = server().await;
    let mut alice = Person::new(&server, "alice", accepting).await;
    let mut bob = Peer::login(&server, "bob").await;
    alice.knows("bob").await;
    let to = Id::derived_from(key("alice").public_key()).to_string();
    let file = content(1_000);
    let hash: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    let send = async |bob: &mut Peer, file_id: &str, hash: &str| {
        let start = json!({"file_id": file_id, "name": "../../.cat.jpg", "size": 1_000, "sha256": hash, "mode": "dm"});
        bob.send("FILE_START", &to, start).await;
        // Blocks of another length than ours are blocks all the same.
        for (index, block) in file.chunks(190).enumerate() {
            let sealed = Provider::new().seal(key("alice").public_key(), block).unwrap();
            let chunk = json!({"file_id": file_id, "index": index, "ciphertext": encode_base64(&sealed)});
            bob.send("FILE_CHUNK", &to, chunk).await;
        }
        bob.send("FILE_END", &to, json!({"file_id": file_id})).await;
    };
    send(&mut bob, "one", &hash).await;
    let offered = alice.offered().await;
    // It is not proven to be bob's, so somebody must say yes; meanwhile it waits on disk, sealed.
    soon(async {
        while alice.downloads().is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(alice.downloads()[0].starts_with(".socp-"));
    alice.client.accept_file(offered).await.unwrap();
    let saved = alice.saved().await;
    assert_eq!(saved, alice.folder.path().join("downloads/_cat.jpg"));
    assert_eq!(fs::read(&saved).unwrap(), file);

    // What does not hash to what was announced never gets a name.
    send(&mut bob, "two", &"00".repeat(32)).await;
    let offered = alice.offered().await;
    alice.client.accept_file(offered).await.unwrap();
    assert!(alice.failed().await.1.contains("its hash is another one"));
    alice.tidy().await;
    assert_eq!(alice.downloads(), ["_cat.jpg"]);

    // One that ends too soon, and one that nobody wants.
    let start = json!({"file_id": "three", "name": "dog", "size": 1_000, "sha256": hash, "mode": "dm"});
    bob.send("FILE_START", &to, start).await;
    bob.send("FILE_END", &to, json!({"file_id": "three"})).await;
    let offered = alice.offered().await;
    alice.client.accept_file(offered).await.unwrap();
    assert_eq!(alice.failed().await.1, "a part of it is missing");
    send(&mut bob, "four", &hash).await;
    let offered = alice.offered().await;
    soon(async {
        while alice.downloads().len() < 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    alice.client.reject_file(offered).await.unwrap();
    alice.tidy().await;
    assert_eq!(alice.downloads(), ["_cat.jpg"]);
}

/// Whoever does not read gets neither the chunks nor closed for them, and chat goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_chunks_closes_nobody() {
    let mut config = config("server-a");
    config.links.queue_bytes = 256 * 1024;
    config.limits.chunks_per_second = 1_000_000;
    let server = Server::start(config).await.unwrap();
    let mut alice = Peer::login(&server, "alice").await;
    let mut bob = Peer::login(&server, "bob").await;
    let ciphertext = "A".repeat(100_000);
    let dropped = "chunk for a slow consumer";
    soon(async {
        for index in 0.. {
            let chunk = json!({"file_id": "f", "index": index, "ciphertext": ciphertext});
            alice.send("FILE_CHUNK", "bob", chunk).await;
            if index % 16 == 0 && server.stats().await.dropped.get(dropped).is_some_and(|count| *count > 20) {
                break;
            }
        }
    })
    .await;
    alice.tell("bob", 7, 16).await;
    assert_eq!(bob.numbers(1).await, [7]);
    assert_eq!(server.stats().await.slow_consumers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_talk_while_a_file_moves() {
    let (a, b) = two_servers().await;
    let mut alice = Person::new(&a, "alice", |_| {}).await;
    let mut bob = Person::new(&b, "bob", accepting).await;
    alice.knows("bob").await;
    bob.knows("alice").await;
    let path = alice.file("cat.jpg", 2_000_000);
    let (sent, ()) = tokio::join!(alice.client.send_file("bob", &path), async {
        soon(async {
            while bob.downloads().is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await;
        for number in 0..5 {
            alice.client.tell("bob", &format!("message {number}")).await.unwrap();
            bob.until(|notice| matches!(notice, Notice::Message { .. })).await;
        }
        // Thousands of chunks are still to come, and none of them went first.
        assert!(bob.downloads()[0].starts_with(".socp-"), "the file has arrived already");
    });
    sent.unwrap();
    assert_eq!(fs::read(bob.saved().await).unwrap(), content(2_000_000));
}
