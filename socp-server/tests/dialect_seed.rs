//! The seed's dialect in every direction, between our real binaries and stand-ins for its servers and clients.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use peers::keys::{Salts, native_id};
use peers::ours::Ours;
use peers::seed_client::{SeedClient, opened_store};
use peers::seed_server::SeedServer;
use peers::{Net, PATIENCE, StandIn};
use serde_json::json;
use support::client::ClientProcess;
use support::{ServerProcess, free_ports};

/// A name that the canonical forms spell differently.
const NAME: &str = "Zoë ✓ 𝄞";

/// A server of ours and a seed's server that is linked to it.
struct Pair {
    ours: Ours,
    server: ServerProcess,
    seed: StandIn<SeedServer>,
}

#[derive(Clone, Copy, PartialEq)]
enum Dials {
    Ours,
    Seed,
}

impl Pair {
    fn new(dials: Dials) -> Self {
        Self::with(dials, |seed| seed)
    }

    /// Whoever dials starts last.
    fn with(dials: Dials, change: impl FnOnce(SeedServer) -> SeedServer) -> Self {
        let [our_port, seed_port] = free_ports();
        let ours = Ours::new("server-a", our_port);
        let seed = |bootstrap: &[String]| SeedServer::new("srv-b", "server-b", seed_port, bootstrap);
        let (ours, server, seed) = match dials {
            Dials::Seed => {
                let server = ours.start();
                let seed = change(seed(&[ours.address()])).start();
                (ours, server, seed)
            }
            Dials::Ours => {
                let seed = change(seed(&[])).start();
                let key = seed.act(|seed, _| seed.pubkey());
                let ours = ours.trusting(seed_port, &key, None);
                let server = ours.start();
                (ours, server, seed)
            }
        };
        let pair = Self { ours, server, seed };
        pair.linked();
        pair
    }

    fn linked(&self) {
        self.seed.wait("a link", |seed, _| seed.is_linked(&self.server.id).then_some(()));
    }

    /// Somebody of ours, with a name of many scripts.
    fn alice(&self) -> ClientProcess {
        let mut alice = self.ours.log_in("alice", &self.server);
        alice.types(&format!("/me name {NAME}"));
        alice
    }

    /// Somebody of theirs.
    fn bob(&self) -> StandIn<SeedClient> {
        SeedClient::log_in("bob", "bob", self.seed.address.unwrap())
    }
}

/// Both see each other, and reach each other.
fn meet(alice: &mut ClientProcess, bob: &StandIn<SeedClient>) {
    alice.about("user_added", "bob");
    bob.knows(&native_id("alice"));
    talk(alice, bob);
}

fn talk_in_public(alice: &mut ClientProcess, bob: &StandIn<SeedClient>) {
    talk_by_name_in_public(alice, &native_id("alice"), bob);
}

fn talk_by_name_in_public(alice: &mut ClientProcess, id: &str, bob: &StandIn<SeedClient>) {
    alice.types("/all to äll");
    bob.reads(true, id, "to äll");
    bob.all("ünd back");
    alice.reads("public", "bob", "ünd back");
}

fn talk(alice: &mut ClientProcess, bob: &StandIn<SeedClient>) {
    let id = native_id("alice");
    bob.tell(&id, "grüezi");
    alice.reads("dm", "bob", "grüezi");
    alice.types("/tell bob salü ✓");
    bob.reads(false, &id, "salü ✓");
}

fn meet_in_order(dials: Dials, ours_first: bool) {
    let pair = Pair::new(dials);
    let (mut alice, bob) = match ours_first {
        true => {
            let alice = pair.alice();
            (alice, pair.bob())
        }
        false => {
            let bob = pair.bob();
            (pair.alice(), bob)
        }
    };
    meet(&mut alice, &bob);
    let named = |seed: &mut SeedServer| {
        seed.remote.get(&native_id("alice"))?.meta["display_name"].as_str().map(String::from)
    };
    pair.seed.wait("alice's name", |seed, _| (named(seed)? == NAME).then_some(()));
    let (listed, _) = bob.list();
    assert!(listed.contains(&native_id("alice")), "{listed:?}");

    // They leave, and are gone.
    alice.quit();
    bob.forgets(&native_id("alice"));
    let mut carol = pair.ours.log_in("carol", &pair.server);
    carol.about("user_added", "bob");
    drop(bob);
    carol.about("user_removed", "bob");
    pair.seed.has_refused_nothing();
}

#[test]
fn a_seed_joins_ours_and_our_user_comes_first() {
    meet_in_order(Dials::Seed, true);
}

#[test]
fn a_seed_joins_ours_and_its_user_comes_first() {
    meet_in_order(Dials::Seed, false);
}

#[test]
fn ours_joins_a_seed_and_our_user_comes_first() {
    meet_in_order(Dials::Ours, true);
}

#[test]
fn ours_joins_a_seed_and_its_user_comes_first() {
    meet_in_order(Dials::Ours, false);
}

#[test]
fn what_is_said_to_all_reaches_both_sides() {
    for dials in [Dials::Seed, Dials::Ours] {
        let pair = Pair::new(dials);
        let (mut alice, bob) = (pair.alice(), pair.bob());
        meet(&mut alice, &bob);
        talk_in_public(&mut alice, &bob);
        pair.seed.has_refused_nothing();
        bob.has_refused_nothing();
    }
}

#[test]
fn users_online_before_the_link_see_each_other() {
    let [our_port, seed_port] = free_ports();
    let seed = SeedServer::new("srv-b", "server-b", seed_port, &[]).start();
    let bob = SeedClient::log_in("bob", "bob", seed.address.unwrap());
    let ours = Ours::new("server-a", our_port);
    let server = ours.start();
    // Her name is in the advert that opens the link, then.
    let mut alice = ours.log_in("alice", &server);
    alice.types(&format!("/me name {NAME}"));
    seed.act(|_, net| net.dial(&ours.address()));
    // The seed says to nobody but whom it welcomes who is online: one of ours has to dial it, too.
    meet(&mut alice, &bob);
    seed.has_refused_nothing();
}

#[test]
fn after_our_restart_everybody_is_back() {
    restart(Dials::Ours);
}

/// Its address is known from its JOIN alone.
#[test]
fn after_our_restart_a_seed_that_had_joined_is_dialled() {
    restart(Dials::Seed);
}

fn restart(dials: Dials) {
    let mut pair = Pair::new(dials);
    let (mut alice, bob) = (pair.alice(), pair.bob());
    meet(&mut alice, &bob);
    pair.server.process.kill();
    pair.server = pair.ours.start();
    // The seed does not dial again: we do.
    pair.linked();
    alice.event("disconnected");
    alice.knows("bob");
    let deadline = Instant::now() + PATIENCE;
    for attempt in 1.. {
        assert!(Instant::now() < deadline, "alice is not reached");
        let text = format!("are you back? {attempt}");
        alice.types(&format!("/tell bob {text}"));
        if bob.reads_in(Duration::from_secs(2), &native_id("alice"), &text) {
            break;
        }
    }
    bob.tell(&native_id("alice"), "I am");
    alice.reads("dm", "bob", "I am");
    pair.seed.has_refused_nothing();
}

/// It counts frames, not pings.
#[test]
fn a_quiet_link_is_not_silent() {
    let [our_port, seed_port] = free_ports();
    let ours = Ours::new("server-a", our_port).set("[timing]\nheartbeat = \"500ms\"\n");
    let server = ours.start();
    let mut seed = SeedServer::new("srv-b", "server-b", seed_port, &[ours.address()]);
    seed.silence = Duration::from_secs(2);
    let pair = Pair { ours, server, seed: seed.start() };
    pair.linked();
    let silent = |_: &mut SeedServer, net: &mut Net| {
        net.log.iter().any(|line| line.contains("close 1000 silent")).then_some(())
    };
    let silent = pair.seed.wait_for(Duration::from_secs(4), silent);
    assert!(silent.is_none() && pair.seed.act(|seed, _| seed.is_linked(&pair.server.id)));
    pair.seed.has_refused_nothing();
}

#[test]
fn an_old_seed_reads_only_the_longest_salt() {
    for dials in [Dials::Seed, Dials::Ours] {
        let pair = Pair::with(dials, |mut seed| {
            seed.salts = Salts::MaxOnly;
            seed
        });
        let (mut alice, bob) = (pair.alice(), pair.bob());
        meet(&mut alice, &bob);
        // Whoever dials must speak first, and finds out by the silence.
        let refused = pair.seed.rejections();
        let may = usize::from(matches!(dials, Dials::Ours));
        assert!(refused.len() <= may, "refused: {refused:#?}");
        assert!(refused.iter().all(|rejection| rejection.reason.starts_with("JOIN")), "{refused:#?}");
    }
}

#[test]
fn files_of_one_block_go_both_ways() {
    let pair = Pair::new(Dials::Seed);
    let (mut alice, bob) = (pair.alice(), pair.bob());
    alice.about("user_added", "bob");
    // Its server says of no file who sent it.
    send_files(&pair.ours, &mut alice, &bob, "srv-b");
    pair.seed.has_refused_nothing();
}

/// Files of up to 446 bytes in both directions; longer ones of the seed's fail, and hurt nobody.
fn send_files(ours: &Ours, alice: &mut ClientProcess, bob: &StandIn<SeedClient>, sender: &str) {
    let id = native_id("alice");
    for size in [1, 446_usize] {
        let content: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
        let path = ours.home().join(format!("to bob {size}.bin"));
        std::fs::write(&path, &content).unwrap();
        alice.types(&format!("/file bob \"{}\"", path.display()));
        bob.receives(&format!("to bob {size}.bin"), &content);
        alice.event("file_sent");

        let name = format!("to alice {size}.bin");
        assert!(bob.file(&id, &name, &content));
        let offered =
            alice.wait("an offer", |event| event["event"] == "file_offered" && event["name"] == *name);
        assert_eq!(offered["label"], sender);
        alice.types(&format!("/accept {}", offered["transfer"]));
        let saved = alice.event("file_saved");
        assert_eq!(std::fs::read(saved["path"].as_str().unwrap()).unwrap(), content);
    }
    assert!(!bob.file(&id, "long.bin", &[7; 447]));
    talk(alice, bob);
    bob.has_refused_nothing();
}

#[test]
fn a_seeds_clients_are_at_home_on_our_server() {
    let [port] = free_ports();
    let ours = Ours::new("server-a", port);
    let server = ours.start();
    let mut alice = ours.log_in("alice", &server);
    let bob = SeedClient::log_in("bob", "bob", server.address);
    let dave = SeedClient::log_in("dave", "dave", server.address);
    alice.about("user_added", "bob");
    alice.about("user_added", "dave");

    // Whoever is there already is told at login, once, and of a later login, too.
    let id = native_id("alice");
    for (one, others) in [(&bob, [&*id, "dave"]), (&dave, [&*id, "bob"])] {
        for other in others {
            one.knows(other);
            let (added, local) =
                one.act(|client, _| (client.added.get(other).copied(), client.told.get(other).copied()));
            assert_eq!((added, local), (Some(1), Some(true)), "{other}");
        }
    }
    let (listed, at_top) = bob.list();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(at_top, "its published client reads nothing else");

    talk_in_public(&mut alice, &bob);
    bob.tell("dave", "among us");
    dave.reads(false, "bob", "among us");
    dave.all("to alle");
    bob.reads(true, "dave", "to alle");
    alice.reads("public", "dave", "to alle");
    assert!(dave.file("bob", "tiny.txt", b"tiny"));
    bob.receives("tiny.txt", b"tiny");
    send_files(&ours, &mut alice, &bob, "bob");

    drop(dave);
    bob.forgets("dave");
    alice.about("user_removed", "dave");
    bob.has_refused_nothing();
    let ignored = bob.act(|client, _| client.ignored.clone());
    assert!(ignored.is_empty(), "frames that it knows nothing of: {ignored:?}");
}

#[test]
fn two_of_ours_and_two_of_the_seeds() {
    mesh_of_four(false);
}

#[test]
fn two_of_ours_and_two_of_the_seeds_in_public() {
    mesh_of_four(true);
}

fn mesh_of_four(in_public: bool) {
    let ports: [u16; 4] = free_ports();
    let [first, second, third, fourth] = ports;
    let at = |port: u16| format!("127.0.0.1:{port}");
    // The seeds know each other and our first; our second knows our first alone.
    let ours = Ours::new("server-a", first);
    let key = ours.pubkey.clone();
    let also = Ours::new("server-c", second).trusting(first, &key, None);
    let (a, c) = (ours.start(), also.start());
    let b = SeedServer::new("srv-b", "server-b", third, &[at(first)]).start();
    let d = SeedServer::new("srv-d", "server-d", fourth, &[at(first), at(third)]).start();
    for (seed, other) in [(&b, "srv-d"), (&d, "srv-b")] {
        for server in [&*a.id, &*c.id, other] {
            seed.wait(&format!("a link to {server}"), |seed, _| seed.is_linked(server).then_some(()));
        }
    }
    let mut alice = ours.log_in("alice", &a);
    let bob = SeedClient::log_in("bob", "bob", b.address.unwrap());
    let mut carol = also.log_in("carol", &c);
    let dave = SeedClient::log_in("dave", "dave", d.address.unwrap());
    for label in ["bob", "carol", "dave"] {
        alice.about("user_added", label);
    }
    for label in ["alice", "bob", "dave"] {
        carol.about("user_added", label);
    }
    let people = [native_id("alice"), native_id("carol"), "bob".to_owned(), "dave".to_owned()];
    for (seeds, own) in [(&bob, "bob"), (&dave, "dave")] {
        for other in people.iter().filter(|person| *person != own) {
            seeds.knows(other);
        }
    }
    for (from, seeds) in [("bob", &bob), ("dave", &dave)] {
        for (name, ours) in [("alice", &mut alice), ("carol", &mut carol)] {
            let text = format!("{from} and {name}");
            seeds.tell(&native_id(name), &text);
            ours.reads("dm", from, &text);
            ours.types(&format!("/tell {from} {text}"));
            seeds.reads(false, &native_id(name), &text);
        }
    }
    bob.tell("dave", "among seeds");
    dave.reads(false, "bob", "among seeds");
    if in_public {
        carol.types("/all to all four");
        for seeds in [&bob, &dave] {
            seeds.reads(true, &native_id("carol"), "to all four");
        }
        alice.reads("public", "carol", "to all four");
        // Nobody twice.
        let got = bob.act(|bob, _| bob.got.iter().filter(|got| got.text == "to all four").count());
        assert_eq!(got, 1);
    }
    b.has_refused_nothing();
    d.has_refused_nothing();
}

/// Somebody of ours at a seed's server, by name, with a password of their own there.
fn at_seed(name: &'static str, port: u16, home: &Path, further: &[&str]) -> ClientProcess {
    let password = home.join(format!("{name}.seed"));
    std::fs::write(&password, format!("{name} likes the séa\n")).unwrap();
    let file = password.display().to_string();
    let arguments: Vec<_> = ["--server-password-file", &file].iter().chain(further).copied().collect();
    ClientProcess::start_at(name, &format!("ws://127.0.0.1:{port}"), home, &arguments)
}

/// It registers her, logs her in, and asks for the list: a seed's server tells of nobody of its own.
#[test]
fn our_client_is_at_home_on_a_seeds_server() {
    let [first, second] = free_ports();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let seed = SeedServer::new("srv-a", "server-a", first, &[]).start();
    let other = SeedServer::new("srv-b", "server-b", second, &[at(first)]).start();
    other.wait("a link", |seed, _| seed.is_linked("srv-a").then_some(()));
    let bob = SeedClient::log_in("bob", "bob", at(second));
    let dave = SeedClient::log_in("dave", "dave", at(first));
    let home = tempfile::tempdir().unwrap();
    let mut alice = at_seed("alice", first, home.path(), &["--dialect", "seed"]);
    assert_eq!(alice.event("registered")["user_id"], "alice");
    let ready = alice.event("ready");
    assert_eq!((&ready["user_id"], &ready["proven"]), (&json!("alice"), &json!(false)));
    for (name, person) in [("bob", &bob), ("dave", &dave)] {
        alice.about("user_added", name);
        alice.types(&format!("/tell {name} salü ✓"));
        person.reads(false, "alice", "salü ✓");
        person.list();
        person.tell("alice", "grüezi");
        alice.reads("dm", name, "grüezi");
        // Of one block and of several.
        for size in [446_usize, 1500] {
            let content: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
            let path = home.path().join(format!("to {name} {size}.bin"));
            std::fs::write(&path, &content).unwrap();
            alice.types(&format!("/file {name} \"{}\"", path.display()));
            assert_eq!(alice.event("file_sent")["confirmed"], false);
            person.receives(&format!("to {name} {size}.bin"), &content);
        }
        assert!(person.file("alice", "tiny.txt", b"tiny"));
        let offered = alice.event("file_offered");
        assert_eq!((&offered["label"], &offered["verified"]), (&json!("somebody at srv-a"), &json!(false)));
        alice.types(&format!("/accept {}", offered["transfer"]));
        let saved = alice.event("file_saved");
        assert_eq!(std::fs::read(saved["path"].as_str().unwrap()).unwrap(), b"tiny");
    }
    talk_by_name_in_public(&mut alice, "alice", &bob);
    // Who comes to the same server is not told of, and still known when she says something.
    let carol = SeedClient::log_in("carol", "carol", at(first));
    carol.list();
    carol.tell("alice", "just came");
    alice.reads("dm", "carol", "just came");
    alice.about("user_added", "carol");
    drop(carol);
    seed.wait("carol is gone", |seed, _| (!seed.local.contains_key("carol")).then_some(()));
    alice.types("/list");
    alice.about("user_removed", "carol");
    let list = alice.event("list");
    let listed: Vec<_> = list["users"].as_array().unwrap().iter().map(|user| &user["label"]).collect();
    assert_eq!(listed, ["alice", "bob", "dave"]);
    alice.types("/me name Alicia");
    assert_eq!(alice.event("error")["detail"], "this server shows others nothing of you but your id");
    alice.quit();
    bob.forgets("alice");
    seed.has_refused_nothing();
    other.has_refused_nothing();
}

/// It says hello as at a server of ours, and goes on as the seed's own clients do.
#[test]
fn a_seeds_server_is_found_out() {
    let [port] = free_ports();
    let seed = SeedServer::new("srv-a", "server-a", port, &[]).start();
    let home = tempfile::tempdir().unwrap();
    let mut alice = at_seed("alice", port, home.path(), &[]);
    assert_eq!(alice.event("password_server")["user_id"], "alice");
    assert_eq!(alice.event("ready")["user_id"], "alice");
    let mut bob = at_seed("bob", port, home.path(), &["--user-id", "robert"]);
    assert_eq!(bob.event("registered")["user_id"], "robert");
    bob.event("ready");
    bob.about("user_added", "alice");
    // Who knows nobody of the other is told by the server's list.
    bob.types("/tell alice salü");
    alice.reads("dm", "robert", "salü");
    alice.types("/all to äll");
    bob.reads("public", "alice", "to äll");

    // The server is away for a moment: nobody is asked for anything.
    seed.act(|seed, net| {
        let links: Vec<_> = seed.local.values().copied().collect();
        links.into_iter().for_each(|link| net.close(link, 1001, "restarting"));
    });
    for person in [&mut alice, &mut bob] {
        person.event("disconnected");
        person.event("reconnected");
        assert!(!person.has_seen("password_needed"));
    }
    // Who is back first finds nobody.
    bob.types("/list");
    bob.knows("alice");
    bob.types("/tell alice again");
    alice.reads("dm", "robert", "again");
    // And one that has forgotten everybody.
    drop(seed);
    let seed = SeedServer::new("srv-a", "server-a", port, &[]).start();
    for person in [&mut alice, &mut bob] {
        person.event("disconnected");
        person.event("registered");
        person.event("reconnected");
    }
    bob.types("/list");
    bob.knows("alice");
    bob.types("/tell alice and again");
    alice.reads("dm", "robert", "and again");
    // Their keys stay at home: what the server has opens with the password, which it sees.
    let stores = seed.act(|seed, _| [seed.store_of("alice"), seed.store_of("robert")]);
    for (store, password) in stores.iter().zip(["alice likes the séa", "bob likes the séa"]) {
        assert_eq!(opened_store(password, store).unwrap(), "socp-client keeps its private key to itself");
    }
    alice.quit();
    bob.quit();
    seed.has_refused_nothing();
}

#[test]
fn a_wrong_password_and_a_name_in_use_end_it_in_words() {
    let [port] = free_ports();
    let seed = SeedServer::new("srv-a", "server-a", port, &[]).start();
    let _bob = SeedClient::log_in("bob", "bob", seed.address.unwrap());
    let home = tempfile::tempdir().unwrap();
    let ends = |mut person: ClientProcess, why: &str| {
        assert_eq!(person.process.exit().code(), Some(1));
        let log = person.process.log();
        assert!(log.contains(why) && log.contains("--server-password-file"), "{log}");
    };
    ends(at_seed("alice", port, home.path(), &["--user-id", "bob"]), "password invalid");
    let url = format!("ws://{}", seed.address.unwrap());
    let nothing = ClientProcess::start_at("alice", &url, home.path(), &["--user-id", "alice"]);
    ends(nothing, "the server wants a password");
    let key = home.path().join("password").display().to_string();
    let key = ClientProcess::start_at("alice", &url, home.path(), &["--server-password-file", &key]);
    let mut key = key;
    assert_eq!(key.process.exit().code(), Some(1));
    assert!(key.process.log().contains("that is the password of your key"), "{}", key.process.log());
    let seen = seed.act(|_, net| net.received.iter().any(|(_, frame)| frame.text.contains("correct horse")));
    assert!(!seen, "the key's password stays at home");
}

/// One of ours at a seed's server, and one at a server of ours that is linked to it.
#[test]
fn ours_at_a_seeds_server_and_ours_at_our_own() {
    let pair = Pair::new(Dials::Ours);
    let port = pair.seed.address.unwrap().port();
    let mut alice = pair.alice();
    let mut bob = at_seed("bob", port, pair.ours.home(), &["--dialect", "seed"]);
    bob.event("ready");
    let id = native_id("alice");
    alice.about("user_added", "bob");
    bob.about("user_added", &id);
    bob.types(&format!("/tell {id} grüezi"));
    alice.reads("dm", "bob", "grüezi");
    alice.types("/tell bob salü ✓");
    bob.reads("dm", &id, "salü ✓");
    bob.types("/all to äll");
    alice.reads("public", "bob", "to äll");
    alice.types("/all ünd back");
    bob.reads("public", &id, "ünd back");
    for (from, to, server) in [(true, "bob", "somebody at srv-b"), (false, &*id, "srv-b")] {
        let content: Vec<u8> = (0..1000).map(|at| (at * 7) as u8).collect();
        let path = pair.ours.home().join(format!("{from}.bin"));
        std::fs::write(&path, &content).unwrap();
        let (sender, recipient) = if from { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        sender.types(&format!("/file {to} \"{}\"", path.display()));
        let offered = recipient.event("file_offered");
        assert_eq!((&offered["label"], &offered["verified"]), (&json!(server), &json!(false)));
        recipient.types(&format!("/accept {}", offered["transfer"]));
        let saved = recipient.event("file_saved");
        assert_eq!(std::fs::read(saved["path"].as_str().unwrap()).unwrap(), content);
        sender.event("file_sent");
    }
    bob.quit();
    alice.about("user_removed", "bob");
    pair.seed.has_refused_nothing();
}

/// Our own server takes the same login, and knows who wants it.
#[test]
fn our_client_logs_in_by_password_at_our_own_server() {
    let [port] = free_ports();
    let ours = Ours::new("server-a", port);
    let server = ours.start();
    let dave = SeedClient::log_in("dave", "dave", server.address);
    let mut alice = ours.log_in("alice", &server);
    alice.about("user_added", "dave");
    dave.tell(&native_id("alice"), "grüezi");
    alice.reads("dm", "dave", "grüezi");
    // The key behind the password opens it, too, as ever.
    drop(dave);
    alice.about("user_removed", "dave");
    let mut dave = at_seed("dave", port, ours.home(), &["--user-id", "dave"]);
    assert_eq!(dave.event("ready")["proven"], true);
    dave.types("/tell alice by key");
    alice.reads("dm", "dave", "by key");
}

/// The stand-ins do what was recorded of the seed, faults included.
#[test]
fn seeds_among_themselves() {
    let [first, second, third] = free_ports();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let a = SeedServer::new("srv-a", "server-a", first, &[]).start();
    let b = SeedServer::new("srv-b", "server-b", second, &[at(first)]).start();
    b.wait("a link", |seed, _| seed.is_linked("srv-a").then_some(()));
    let alice = SeedClient::log_in("alice", "alice", at(first));
    let bob = SeedClient::log_in("bob", "bob", at(second));
    for (one, other, name) in [(&alice, &bob, "bob"), (&bob, &alice, "alice")] {
        one.tell(name, "grüezi ✓");
        let own = one.act(|client, _| client.id.clone());
        other.reads(false, &own, "grüezi ✓");
        one.all("to äll");
        other.reads(true, &own, "to äll");
        assert!(one.file(name, "small.bin", &[7; 446]));
        other.receives("small.bin", &[7; 446]);
        assert!(!one.file(name, "large.bin", &[7; 447]));
    }
    // Whose list it cannot read.
    assert_eq!(alice.list(), (vec!["alice".to_owned(), "bob".to_owned()], false));

    // Who comes late never hears of those who were there, and what others relay to it is dropped.
    let c = SeedServer::new("srv-c", "server-c", third, &[at(first), at(second)]).start();
    for server in ["srv-a", "srv-b"] {
        c.wait("a link", |seed, _| seed.is_linked(server).then_some(()));
    }
    let carol = SeedClient::log_in("carol", "carol", at(third));
    alice.knows("carol");
    assert!(!carol.act(|carol, _| carol.pubkeys.contains_key("alice")));
    let dave = SeedClient::log_in("dave", "dave", at(first));
    carol.knows("dave");
    drop(dave);
    carol.forgets("dave");
    c.wait("a relay", |seed, _| {
        let relayed = ("USER_ADVERTISE".to_owned(), "srv-a".to_owned());
        seed.foreign.contains(&relayed).then_some(())
    });

    // Users of a dead server stay, and nobody dials again.
    drop(b);
    a.wait("the end of the link", |seed, _| (!seed.is_linked("srv-b")).then_some(()));
    assert!(a.act(|seed, _| seed.remote.contains_key("bob")));
    for seed in [&a, &c] {
        seed.has_refused_nothing();
    }
}
