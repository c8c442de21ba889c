//! The whole scenario between real processes: three servers from one list, people on each of them, and
//! nobody refreshes anything. Order must not matter.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use support::authority::Authority;
use support::client::ClientProcess;
use support::{Process, ServerProcess, free_ports, import, server_command};
use tempfile::TempDir;

const KEYS: [&str; 3] = ["server-a", "server-b", "server-c"];

/// Three servers that are to be, with fixture keys, fixed ports and one bootstrap list; people's homes.
struct Plan {
    folder: TempDir,
    ports: [u16; 3],
    /// Who issues the servers' certificates, if their links are private.
    authority: Option<Authority>,
}

impl Plan {
    fn new() -> Self {
        Self::with(None)
    }

    fn over_tls() -> Self {
        Self::with(Some(Authority::new()))
    }

    fn with(authority: Option<Authority>) -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), free_ports());
        let tls = if authority.is_some() { "    tls: true\n" } else { "" };
        let mut list = "bootstrap_servers:\n".to_owned();
        for (name, port) in KEYS.iter().zip(ports) {
            let key = import(&folder.path().join(name), name);
            list += &format!("  - host: 127.0.0.1\n    port: {port}\n    pubkey: {key}\n{tls}");
        }
        std::fs::write(folder.path().join("mesh.yaml"), list).unwrap();
        if let Some(authority) = &authority {
            std::fs::copy(authority.file(), folder.path().join("ca.pem")).unwrap();
        }
        Self { folder, ports, authority }
    }

    fn home(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self, index: usize) -> ServerProcess {
        let data = self.home().join(KEYS[index]);
        let (data, list) = (data.to_str().unwrap(), self.home().join("mesh.yaml"));
        let listen = format!("127.0.0.1:{}", self.ports[index]);
        let mut command = server_command(&["--listen", &listen, "--data-dir", data, "--bootstrap"]);
        command.arg(list);
        if let Some(authority) = &self.authority {
            let certificate = authority.issue(KEYS[index], &["127.0.0.1"]);
            command.arg("--tls-cert").arg(certificate.chain).arg("--tls-key").arg(certificate.key);
            command.arg("--ca").arg(authority.file());
        }
        ServerProcess::of(command)
    }

    /// Starts all three in this order, and returns them as A, B, C.
    fn servers(&self, order: [usize; 3]) -> [ServerProcess; 3] {
        let mut started: Vec<_> = order.iter().map(|index| (*index, self.server(*index))).collect();
        started.sort_by_key(|(index, _)| *index);
        let servers: Vec<_> = started.into_iter().map(|(_, server)| server).collect();
        servers.try_into().unwrap_or_else(|_| unreachable!("three were started"))
    }

    fn log_in(&self, name: &'static str, server: &ServerProcess) -> ClientProcess {
        ClientProcess::log_in(name, server, self.home())
    }
}

/// The seed's scenario, from start to logout.
fn play(order: [usize; 3], alice_first: bool) {
    play_in(&Plan::new(), order, alice_first);
}

fn play_in(plan: &Plan, order: [usize; 3], alice_first: bool) {
    let [a, b, c] = &plan.servers(order);
    let (mut alice, mut bob) = if alice_first {
        let alice = plan.log_in("alice", a);
        (alice, plan.log_in("bob", b))
    } else {
        let bob = plan.log_in("bob", b);
        (plan.log_in("alice", a), bob)
    };
    alice.about("user_added", "bob");
    bob.about("user_added", "alice");

    bob.types("/tell alice hello across servers!");
    assert_eq!(bob.event("sent")["to"], "alice");
    alice.reads("dm", "bob", "hello across servers!");
    alice.types("/tell bob hello");
    bob.reads("dm", "alice", "hello");
    alice.types("/all hello mesh!");
    bob.reads("public", "alice", "hello mesh!");
    bob.types("/all hello mesh!");
    alice.reads("public", "bob", "hello mesh!");
    assert_eq!(alice.lists(), ["alice", "bob"]);
    assert_eq!(bob.lists(), ["alice", "bob"]);

    // The third server has nobody so far; somebody comes.
    let mut carol = plan.log_in("carol", c);
    for label in ["alice", "bob"] {
        carol.about("user_added", label);
    }
    alice.about("user_added", "carol");
    bob.about("user_added", "carol");
    carol.types("/all hello both");
    alice.reads("public", "carol", "hello both");
    bob.reads("public", "carol", "hello both");
    carol.lists_at_last(&["alice", "bob", "carol"]);

    // Bob leaves well, carol by `kill -9`.
    bob.quit();
    alice.about("user_removed", "bob");
    carol.about("user_removed", "bob");
    drop(carol);
    alice.about("user_removed", "carol");
    assert_eq!(alice.lists(), ["alice"]);
    alice.has_not_seen("error");
    alice.has_not_seen("disconnected");
    alice.quit();
}

#[test]
fn servers_may_start_in_any_order_and_alice_logs_in_first() {
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        play(order, true);
    }
}

#[test]
fn servers_may_start_in_any_order_and_bob_logs_in_first() {
    for order in [[0, 2, 1], [1, 0, 2], [2, 1, 0]] {
        play(order, false);
    }
}

#[test]
fn it_plays_over_tls_too() {
    let plan = Plan::over_tls();
    play_in(&plan, [1, 2, 0], true);
}

#[test]
fn who_logs_in_before_the_servers_know_each_other_is_known_later() {
    let plan = Plan::new();
    let a = plan.server(0);
    let mut alice = plan.log_in("alice", &a);
    let b = plan.server(1);
    let mut bob = plan.log_in("bob", &b);
    alice.about("user_added", "bob");
    bob.about("user_added", "alice");
    // A late third server knows who is online already.
    let c = plan.server(2);
    let mut carol = plan.log_in("carol", &c);
    for label in ["alice", "bob"] {
        carol.about("user_added", label);
    }
    alice.about("user_added", "carol");
    bob.about("user_added", "carol");
    carol.types("/tell alice I am new here");
    alice.reads("dm", "carol", "I am new here");
    carol.types("/tell bob me too");
    bob.reads("dm", "carol", "me too");
}

#[test]
fn a_killed_server_comes_back_and_every_directory_heals() {
    let plan = Plan::new();
    let [a, mut b, c] = plan.servers([0, 1, 2]);
    let mut alice = plan.log_in("alice", &a);
    let mut bob = plan.log_in("bob", &b);
    let mut carol = plan.log_in("carol", &c);
    for person in [&mut alice, &mut bob, &mut carol] {
        person.lists_at_last(&["alice", "bob", "carol"]);
    }

    b.process.kill();
    bob.event("disconnected");
    // What is typed meanwhile is sent later.
    bob.types("/tell alice typed while the server was away");
    alice.types("/tell carol we go on");
    carol.reads("dm", "alice", "we go on");

    let b = plan.server(1);
    bob.event("reconnected");
    alice.reads("dm", "bob", "typed while the server was away");
    for person in [&mut alice, &mut bob, &mut carol] {
        person.lists_at_last(&["alice", "bob", "carol"]);
    }
    alice.tells_at_last(&mut bob, "welcome back");
    carol.tells_at_last(&mut bob, "welcome back from me");
    bob.tells_at_last(&mut carol, "thanks");
    // Nobody is thought to be gone who is not. (They may have been for a moment: a server that is back before
    // its users are says so.)
    for person in [&mut alice, &mut bob, &mut carol] {
        let me = person.name;
        for label in ["alice", "bob", "carol"].into_iter().filter(|label| *label != me) {
            person.knows(label);
        }
    }
    // And somebody new is seen by all at once.
    carol.quit();
    alice.about("user_removed", "carol");
    bob.about("user_removed", "carol");
    let mut carol = plan.log_in("carol", &b);
    alice.about("user_added", "carol");
    bob.about("user_added", "carol");
    carol.lists_at_last(&["alice", "bob", "carol"]);
}

#[test]
fn a_server_that_says_goodbye_takes_its_users_with_it() {
    let plan = Plan::new();
    let [a, b, c] = plan.servers([0, 1, 2]);
    let mut alice = plan.log_in("alice", &a);
    let mut bob = plan.log_in("bob", &b);
    alice.about("user_added", "bob");
    b.stop();
    alice.about("user_removed", "bob");
    bob.event("disconnected");
    let b = plan.server(1);
    bob.event("reconnected");
    alice.about("user_added", "bob");
    bob.tells_at_last(&mut alice, "back again");
    for server in [a, b, c] {
        server.stop();
    }
}

#[test]
fn a_new_name_and_a_long_text_cross_servers() {
    let plan = Plan::new();
    let [a, b, _c] = plan.servers([0, 1, 2]);
    let mut alice = plan.log_in("alice", &a);
    let mut bob = plan.log_in("bob", &b);
    alice.about("user_added", "bob");
    bob.about("user_added", "alice");
    alice.types("/me name Alice in Chains");
    assert_eq!(alice.event("me")["meta"]["display_name"], "Alice in Chains");
    assert_eq!(bob.about("user_renamed", "Alice in Chains")["was"], "alice");
    assert_eq!(bob.lists(), ["Alice in Chains", "bob"]);
    let long = "a long way, ".repeat(400);
    alice.types(&format!("/tell bob {long}."));
    bob.reads("dm", "Alice in Chains", &format!("{long}."));
    // Everybody agrees: nobody asks again, and who comes later learns the new name.
    let mut carol = plan.log_in("carol", &b);
    carol.about("user_added", "Alice in Chains");
}

/// Somebody who is killed may come back at once, elsewhere: the id is free again or the new login wins.
#[test]
fn somebody_may_move_to_another_server() {
    let plan = Plan::new();
    let [a, b, _c] = plan.servers([0, 1, 2]);
    let mut alice = plan.log_in("alice", &a);
    let mut bob = plan.log_in("bob", &a);
    alice.about("user_added", "bob");
    bob.process.kill();
    alice.about("user_removed", "bob");
    let mut bob = plan.log_in("bob", &b);
    alice.about("user_added", "bob");
    alice.tells_at_last(&mut bob, "there you are");
    drop::<Process>(bob.process);
    alice.about("user_removed", "bob");
}
