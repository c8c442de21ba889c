//! Files between real processes, on two servers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::client::ClientProcess;
use support::{PATIENCE, ServerProcess, import};
use tempfile::TempDir;

/// Two servers, the second of which joins the first; people's homes.
struct Pair {
    home: TempDir,
    a: ServerProcess,
    b: ServerProcess,
}

impl Pair {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let key = import(&home.path().join("server-a"), "server-a");
        import(&home.path().join("server-b"), "server-b");
        let a = ServerProcess::start(&["--listen", "127.0.0.1:0", "--data-dir", &data("server-a")]);
        let introducer = format!("{}#{key}", a.address);
        let listen = ["--listen", "127.0.0.1:0", "--introducer", &introducer];
        let b = ServerProcess::start(&[&listen[..], &["--data-dir", &data("server-b")]].concat());
        Self { home, a, b }
    }

    fn alice(&self) -> ClientProcess {
        ClientProcess::log_in("alice", &self.a, self.home.path())
    }

    fn bob(&self, arguments: &[&str]) -> ClientProcess {
        ClientProcess::start_with("bob", &self.b, self.home.path(), arguments).ready(&self.b)
    }

    /// A file of alice's.
    fn file(&self, bytes: usize) -> (PathBuf, Vec<u8>) {
        let content: Vec<u8> = (0..bytes).map(|at| (at * at / 64) as u8).collect();
        let path = self.home.path().join("my cat.jpg");
        std::fs::write(&path, &content).unwrap();
        (path, content)
    }

    fn downloads(&self) -> PathBuf {
        self.home.path().join("bob/downloads")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until that is what lies in a folder.
fn until(folder: &Path, what: &str, wanted: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&names(folder)) {
        assert!(Instant::now() < deadline, "{what}: {:?}", names(folder));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn meet(one: &mut ClientProcess, other: &mut ClientProcess) {
    one.about("user_added", other.name);
    other.about("user_added", one.name);
}

#[test]
fn a_file_is_offered_accepted_watched_and_arrives() {
    let pair = Pair::new();
    let (mut alice, mut bob) = (pair.alice(), pair.bob(&[]));
    meet(&mut alice, &mut bob);
    let (path, content) = pair.file(2_000_000);
    alice.types(&format!("/file bob {}", path.display()));
    let offered = bob.about("file_offered", "alice");
    assert_eq!((&offered["name"], &offered["verified"]), (&"my cat.jpg".into(), &true.into()));
    let started = Instant::now();
    bob.types(&format!("/accept {}", offered["transfer"]));
    // Chat does not wait for it.
    alice.types("/tell bob it is a cat");
    bob.reads("dm", "alice", "it is a cat");
    bob.has_not_seen("file_saved");
    let saved = bob.event("file_saved");
    // Every second both are told how far it is; a fast machine needs none.
    let took = started.elapsed();
    let file = pair.downloads().join("my cat.jpg");
    assert_eq!(saved["path"], file.to_str().unwrap());
    assert_eq!(std::fs::read(file).unwrap(), content);
    let sent = alice.event("file_sent");
    assert_eq!((&sent["confirmed"], &sent["ref"]), (&true.into(), &1.into()));
    assert_eq!(names(&pair.downloads()), ["my cat.jpg"]);
    for (person, direction) in [(&mut alice, "out"), (&mut bob, "in")] {
        assert!(person.has_seen("file_progress") || took < Duration::from_secs(3), "{took:?}");
        while person.has_seen("file_progress") {
            let progress = person.event("file_progress");
            assert_eq!((&progress["direction"], &progress["size"]), (&direction.into(), &2_000_000.into()));
            assert!(progress["done"].as_u64() <= Some(2_000_000) && progress["rate"].is_u64(), "{progress}");
        }
    }
}

#[test]
fn who_is_killed_half_way_leaves_a_word_and_in_the_end_no_debris() {
    let pair = Pair::new();
    let (mut alice, mut bob) = (pair.alice(), pair.bob(&["--auto-accept"]));
    meet(&mut alice, &mut bob);
    let (path, _) = pair.file(3_000_000);
    let is_half = |names: &[String]| matches!(names, [name] if name.starts_with(".socp-"));

    // The recipient.
    alice.types(&format!("/file bob \"{}\"", path.display()));
    until(&pair.downloads(), "half a file", is_half);
    bob.process.kill();
    assert_eq!(alice.event("error")["detail"], "\"my cat.jpg\" (file 1): bob has gone");
    until(&pair.downloads(), "debris", is_half);
    let mut bob = pair.bob(&["--auto-accept"]);
    until(&pair.downloads(), "nothing", <[String]>::is_empty);

    // The sender.
    meet(&mut alice, &mut bob);
    alice.types(&format!("/file bob {}", path.display()));
    until(&pair.downloads(), "half a file", is_half);
    alice.process.kill();
    let failed = bob.event("file_failed");
    assert_eq!((&failed["detail"], &failed["name"]), (&"alice has gone".into(), &"my cat.jpg".into()));
    until(&pair.downloads(), "nothing", <[String]>::is_empty);

    // And one that leaves well tells so.
    let mut alice = pair.alice();
    bob.about("user_added", "alice");
    alice.about("user_added", "bob");
    alice.types(&format!("/file bob {}", path.display()));
    until(&pair.downloads(), "half a file", is_half);
    bob.quit();
    let why = alice.event("error")["detail"].as_str().unwrap().to_owned();
    let why = why.strip_prefix("\"my cat.jpg\" (file 1): ").unwrap();
    assert!(["bob has gone", "bob has cancelled it: leaves"].contains(&why), "{why}");
    until(&pair.downloads(), "nothing", <[String]>::is_empty);
}
