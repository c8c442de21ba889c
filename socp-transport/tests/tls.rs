//! Links over TLS, and what becomes of those that should have been.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server_support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use server_support::authority::{Authority, Certificate};
use server_support::{address, config, key, server, soon};
use socp_core::client::Notice;
use socp_core::server::Introducer;
use socp_core::wire::{HostPort, Meta};
use socp_transport::client::{self, Client, ClientConfig, Notices};
use socp_transport::server::{Server, ServerConfig, StartError};
use socp_transport::tls::{Doubt, Roots, ServerTls};
use socp_transport::{PlainRefused, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, RootCertStore};
use tokio_tungstenite::tungstenite::Message;

const HERE: &[&str] = &["127.0.0.1", "localhost"];

fn over_tls(name: &str, certificate: &Certificate) -> ServerConfig {
    let mut config = config(name);
    config.tls = Some(ServerTls::from_files(&certificate.chain, &certificate.key).unwrap());
    config.timing.redial_first = Duration::from_millis(20);
    config
}

async fn start(config: ServerConfig) -> Server {
    Server::start(config).await.unwrap()
}

fn trusting(authority: &Authority) -> Roots {
    Roots::with_files(&[authority.file()]).unwrap()
}

async fn dial(server: &Server, scheme: Scheme, roots: Roots, name: &str) -> (Client, Notices) {
    let mut config = ClientConfig::new(address(server), key(name));
    (config.scheme, config.roots, config.meta) = (scheme, roots, Meta::named(name));
    Client::start(config).await.unwrap()
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

async fn ready(notices: &mut Notices) {
    until(notices, |notice| matches!(notice, Notice::Ready { proven: true, .. })).await;
}

/// Why a client that trusts `authority` cannot log in.
async fn refused(server: &Server, scheme: Scheme, authority: &Authority) -> String {
    let (_client, mut notices) = dial(server, scheme, trusting(authority), "alice").await;
    match soon(notices.next()).await {
        Some(Notice::Disconnected { reason }) => reason.into(),
        other => panic!("{other:?}"),
    }
}

async fn linked(server: &Server, others: usize) {
    soon(async {
        while server.servers().await.len() < others {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn introducer(server: &Server, name: &str) -> Introducer {
    Introducer::new(address(server), key(name).public_key().clone())
}

#[tokio::test]
async fn people_talk_over_tls() {
    let authority = Authority::new();
    let server = start(over_tls("server-a", &authority.issue("a", HERE))).await;
    assert_eq!(server.addresses()[0].to_string(), format!("wss://{}", address(&server)));
    let (alice, mut to_alice) = dial(&server, Scheme::Wss, trusting(&authority), "alice").await;
    ready(&mut to_alice).await;
    let (_bob, mut to_bob) = dial(&server, Scheme::Wss, trusting(&authority), "bob").await;
    ready(&mut to_bob).await;
    until(&mut to_alice, |notice| matches!(notice, Notice::UserAdded { .. })).await;
    // Long enough for several records and writes.
    let long = "wörter ".repeat(500);
    alice.tell("bob", &long).await.unwrap();
    let mut received = String::new();
    while received.len() < long.len() {
        let message = until(&mut to_bob, |notice| matches!(notice, Notice::Message { .. })).await;
        let Notice::Message { text, verified: Ok(()), .. } = message else { panic!("{message:?}") };
        received.push_str(&text.to_string());
    }
    assert_eq!(received, long);
    soon(alice.quit()).await.unwrap();
    soon(server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused_with_what_is_wrong() {
    let (authority, other, namesake) = (Authority::new(), Authority::named("another"), Authority::new());
    for (certificate, trusted, words) in [
        (authority.issue("unknown", HERE), &other, &["nobody who is trusted", "--ca FILE"][..]),
        (authority.issue("anew", HERE), &namesake, &["not signed by", "made anew"]),
        (
            authority.issue("elsewhere", &["chat.example", "192.0.2.1"]),
            &authority,
            &["127.0.0.1", "chat.example"],
        ),
        (authority.issue_expired("old", HERE), &authority, &["expired on 2002-02-03", "clock"]),
        (authority.issue_authority("ca", HERE), &authority, &["CA:FALSE"]),
    ] {
        let server = start(over_tls("server-a", &certificate)).await;
        let why = refused(&server, Scheme::Wss, trusted).await;
        assert!(words.iter().all(|word| why.contains(word)) && !why.contains('\n'), "{why}");
        assert_eq!(server.stats().await.accepted, 0);
    }
}

#[tokio::test]
async fn a_certificates_faults_are_known_to_its_own_server() {
    let authority = Authority::new();
    let doubts = |certificate: Certificate, host| {
        ServerTls::from_files(&certificate.chain, &certificate.key).unwrap().doubts(host)
    };
    assert_eq!(doubts(authority.issue("a", HERE), Some("localhost")), []);
    let elsewhere = vec![Doubt::NotFor { host: "192.0.2.1".into() }];
    assert_eq!(doubts(authority.issue("a", HERE), Some("192.0.2.1")), elsewhere);
    let expired = vec![Doubt::Expired { on: "2002-02-03".into() }];
    assert_eq!(doubts(authority.issue_expired("a", HERE), None), expired);
    assert_eq!(doubts(authority.issue_authority("a", HERE), None), [Doubt::Authority]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (one, two) = (authority.issue("one", HERE), authority.issue("two", HERE));
    let absent = Path::new("absent.pem");
    for (chain, key, file, words) in [
        (absent, &*one.key, absent, "cannot be read: "),
        (&*one.chain, absent, absent, "cannot be read: "),
        (&*one.chain, &*two.key, &*two.key, "not the key of the first certificate in"),
        (&*one.key, &*one.key, &*one.key, "-----BEGIN … CERTIFICATE-----"),
        (&*one.chain, &*one.chain, &*one.chain, "-----BEGIN … PRIVATE KEY-----"),
    ] {
        let error = ServerTls::from_files(chain, key).unwrap_err();
        assert_eq!(error.path, file);
        assert!(error.why.contains(words), "{error}");
    }
    assert!(Roots::with_files(&[&one.key]).unwrap_err().why.contains("no certificate in it"));
}

#[tokio::test]
async fn servers_link_over_tls_also_those_that_learn_of_each_other() {
    let authority = Authority::new();
    let mut servers: Vec<Server> = Vec::new();
    for (name, keys) in [("a", "server-a"), ("b", "server-b"), ("c", "server-c")] {
        let mut config = over_tls(keys, &authority.issue(name, HERE));
        config.roots = trusting(&authority);
        // Of the first alone it is said how it is dialled.
        if let Some(first) = servers.first() {
            config.bootstrap = vec![introducer(first, "server-a")];
            config.dial_as.insert(address(first), Scheme::Wss);
        }
        servers.push(start(config).await);
        if servers.len() > 1 {
            linked(servers.last().unwrap(), servers.len() - 1).await;
        }
    }
    // The last two know each other from the first.
    linked(&servers[1], 2).await;
}

#[tokio::test]
async fn a_server_does_not_link_to_whom_it_cannot_verify_nor_fall_back_to_a_plain_link() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secret = start(over_tls("server-a", &authority.issue("a", HERE))).await;
    let plain = server().await;
    let mut config = over_tls("server-b", &authority.issue("b", HERE));
    config.roots = trusting(&other);
    config.bootstrap = vec![introducer(&secret, "server-a")];
    config.dial_as.insert(address(&secret), Scheme::Wss);
    let suspicious = start(config).await;
    let mut config = over_tls("server-c", &authority.issue("c", HERE));
    config.bootstrap = vec![introducer(&plain, "server-a")];
    config.dial_as.insert(address(&plain), Scheme::Wss);
    let strict = start(config).await;
    for (dialler, dialled) in [(&suspicious, &secret), (&strict, &plain)] {
        soon(async {
            while dialler.stats().await.dropped.get("dial failed").is_none_or(|failed| *failed < 3) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(dialled.stats().await.accepted, 0);
    }
}

#[tokio::test]
async fn who_dials_the_wrong_kind_of_port_is_told() {
    let authority = Authority::new();
    let secret = start(over_tls("server-a", &authority.issue("a", HERE))).await;
    let plain = server().await;
    let why = refused(&secret, Scheme::Ws, &authority).await;
    assert!(why.contains("speaks TLS") && why.contains("wss://"), "{why}");
    let why = refused(&plain, Scheme::Wss, &authority).await;
    assert!(why.contains("no TLS") && why.contains("ws://"), "{why}");

    // So are programs that are not ours.
    let mut other = TcpStream::connect(secret.local_addr()).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(other.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("wss://"), "{answer}");
    assert_eq!(secret.stats().await.accepted + plain.stats().await.accepted, 0);
}

#[tokio::test]
async fn a_stalled_tls_handshake_is_closed_and_makes_room() {
    let authority = Authority::new();
    let mut config = over_tls("server-a", &authority.issue("a", HERE));
    config.links.open_timeout = Duration::from_millis(500);
    config.max_handshakes = 1;
    let server = start(config).await;
    let begun = Instant::now();
    let mut stalled = TcpStream::connect(server.local_addr()).await.unwrap();
    // A record of a handshake that never goes on.
    stalled.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let mut rest = Vec::new();
    // However it is closed, it is closed.
    let _ = soon(stalled.read_to_end(&mut rest)).await;
    assert!(begun.elapsed() >= Duration::from_millis(450) && rest.is_empty());
    let (_alice, mut to_alice) = dial(&server, Scheme::Wss, trusting(&authority), "alice").await;
    ready(&mut to_alice).await;
}

#[tokio::test]
async fn one_server_listens_plainly_here_and_over_tls_there() {
    let authority = Authority::new();
    let mut config = over_tls("server-a", &authority.issue("a", HERE));
    config.listen = vec!["ws://127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let server = start(config).await;
    let [plain, secret] = server.addresses() else { panic!("{server:?}") };
    assert_eq!((plain.scheme, secret.scheme), (Scheme::Ws, Scheme::Wss));
    let (_alice, mut to_alice) = dial(&server, Scheme::Ws, Roots::default(), "alice").await;
    ready(&mut to_alice).await;
    let mut config = ClientConfig::new(secret.address.to_string().parse().unwrap(), key("bob"));
    (config.scheme, config.roots) = (Scheme::Wss, trusting(&authority));
    let (_bob, mut to_bob) = Client::start(config).await.unwrap();
    ready(&mut to_bob).await;
}

#[tokio::test]
async fn a_renewed_certificate_serves_the_links_to_come() {
    let authority = Authority::new();
    let certificate = authority.issue_expired("a", HERE);
    let mut config = over_tls("server-a", &certificate);
    let tls = config.tls.clone().unwrap();
    config.links.open_timeout = Duration::from_secs(5);
    let server = start(config).await;
    assert!(refused(&server, Scheme::Wss, &authority).await.contains("expired"));

    authority.issue("a", HERE);
    tls.reload().unwrap();
    let (_alice, mut to_alice) = dial(&server, Scheme::Wss, trusting(&authority), "alice").await;
    ready(&mut to_alice).await;

    // What cannot be used changes nothing.
    std::fs::write(&certificate.key, "garbage").unwrap();
    assert_eq!(tls.reload().unwrap_err().path, certificate.key);
    let (_bob, mut to_bob) = dial(&server, Scheme::Wss, trusting(&authority), "bob").await;
    ready(&mut to_bob).await;
}

#[tokio::test]
async fn nothing_leaves_this_machine_plainly_unless_asked_for() {
    let elsewhere: HostPort = "192.0.2.1:8765".parse().unwrap();
    let mut listening = config("server-a");
    listening.listen = vec!["0.0.0.0:0".parse().unwrap()];
    let error = Server::start(listening).await.unwrap_err();
    assert!(
        matches!(error, StartError::PlainListener(_)) && error.to_string().contains("0.0.0.0:0"),
        "{error}"
    );

    let mut dialling = config("server-a");
    let key_of_b = key("server-b").public_key().clone();
    dialling.bootstrap = vec![Introducer::new(elsewhere.clone(), key_of_b)];
    let error = Server::start(dialling).await.unwrap_err();
    assert!(matches!(error, StartError::PlainDial(_)) && error.to_string().contains("192.0.2.1"), "{error}");

    // One's own entry in the list is not dialled.
    let mut own = config("server-a");
    own.bootstrap = vec![Introducer::new(elsewhere.clone(), key("server-a").public_key().clone())];
    start(own).await;

    let error = Client::start(ClientConfig::new(elsewhere.clone(), key("alice"))).await.unwrap_err();
    let client::StartError::Plain(error) = error else { panic!("{error}") };
    assert_eq!(PlainRefused::unless(false, "192.0.2.1", &elsewhere), Err(error));

    let mut uncertified = config("server-a");
    uncertified.listen = vec!["wss://127.0.0.1:0".parse().unwrap()];
    let error = Server::start(uncertified).await.unwrap_err();
    assert!(matches!(error, StartError::NoCertificate { .. }), "{error}");
}

#[tokio::test]
async fn the_protocol_is_offered_by_name_and_close_codes_arrive_over_tls() {
    let authority = Authority::new();
    let server = start(over_tls("server-a", &authority.issue("a", HERE))).await;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority.file()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut socket, _) = soon(tokio_tungstenite::client_async("wss://localhost/", stream)).await.unwrap();
    // Longer than any frame may be.
    socket.send(Message::text("x".repeat(2 * 1024 * 1024))).await.unwrap();
    let closed = soon(socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
    assert_eq!(u16::from(frame.code), 1009);
}
