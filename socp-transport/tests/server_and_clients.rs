//! Clients at work, by the handle that embedders use.

mod server_support;

use std::time::Duration;

use server_support::{address, config, key, server, soon};
use socp_core::client::{Notice, SentTo};
use socp_core::wire::Meta;
use socp_transport::client::{Client, ClientConfig, CommandError, Notices};
use socp_transport::server::Server;
use tokio::time::sleep;

async fn client(server: &Server, name: &str) -> (Client, Notices) {
    let mut config = ClientConfig::new(address(server), key(name));
    config.meta = Meta::named(name);
    config.timing.redial_first = Duration::from_millis(20);
    let (client, mut notices) = Client::start(config).await.expect("it starts");
    until(&mut notices, |notice| matches!(notice, Notice::Ready { proven: true, .. })).await;
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

async fn message(notices: &mut Notices) -> String {
    match until(notices, |notice| matches!(notice, Notice::Message { .. })).await {
        Notice::Message { text, verified, .. } => {
            assert_eq!(verified, Ok(()));
            text.to_string()
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn people_talk() {
    let server = server().await;
    let (alice, mut to_alice) = client(&server, "alice").await;
    let (bob, mut to_bob) = client(&server, "bob").await;
    until(&mut to_alice, |notice| matches!(notice, Notice::UserAdded { .. })).await;

    for number in 0..20 {
        alice.tell("bob", &format!("message {number}")).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(message(&mut to_bob).await, format!("message {number}"));
    }
    let long = "wörter ".repeat(200);
    assert!(matches!(bob.tell("alice", &long).await, Ok(SentTo::User { .. })));
    assert_eq!(message(&mut to_alice).await, long, "joined again");
    assert_eq!(bob.all("to all").await, Ok(SentTo::Everyone { recipients: 1, failed: 0 }));
    assert_eq!(message(&mut to_alice).await, "to all");
    assert_eq!(alice.list().await.unwrap().len(), 2);
    assert_eq!(alice.users().await.len(), 1);
    assert!(matches!(alice.tell("nobody", "?").await, Err(CommandError::Failed { .. })));

    soon(bob.quit()).await.unwrap();
    until(&mut to_alice, |notice| matches!(notice, Notice::UserRemoved { .. })).await;
    soon(alice.quit()).await.unwrap();
    soon(server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn what_was_sent_before_quitting_arrives() {
    let server = server().await;
    let (alice, _to_alice) = client(&server, "alice").await;
    let (_bob, mut to_bob) = client(&server, "bob").await;
    soon(async {
        while alice.users().await.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for number in 0..10 {
        let command = socp_core::client::Command::Tell { to: "bob".into(), text: format!("{number}").into() };
        alice.command(number, command).await.unwrap();
    }
    soon(alice.quit()).await.unwrap();
    for number in 0..10 {
        assert_eq!(message(&mut to_bob).await, number.to_string());
    }
}

#[tokio::test]
async fn a_client_comes_back_with_its_server() {
    let server = server().await;
    let mut again = config("server-a");
    again.listen = vec![server.local_addr().to_string().parse().unwrap()];
    let (alice, mut to_alice) = client(&server, "alice").await;
    soon(server.shutdown()).await.unwrap();
    until(&mut to_alice, |notice| matches!(notice, Notice::Disconnected { .. })).await;
    let server = Server::start(again).await.unwrap();
    until(&mut to_alice, |notice| matches!(notice, Notice::Reconnected)).await;
    soon(alice.quit()).await.unwrap();
    soon(server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn who_reads_no_notices_still_sends() {
    let server = server().await;
    let (alice, _unread) = client(&server, "alice").await;
    let (_bob, mut to_bob) = client(&server, "bob").await;
    soon(async {
        while alice.users().await.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for number in 0..50 {
        soon(alice.tell("bob", &number.to_string())).await.unwrap();
    }
    for number in 0..50 {
        assert_eq!(message(&mut to_bob).await, number.to_string());
    }
}
