//! Both stores, the file's faults, and the writer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};

use futures_util::FutureExt;
use proptest::prelude::*;
use rusqlite::Connection;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::dialect::Dialect;
use socp_core::wire::{HostPort, Id, Meta, PublicKey, Rotation, SPKI_BYTES, Timestamp, UserId};
use socp_core::{client, server};
use tempfile::TempDir;

use super::*;

/// No key of anybody, but of a key's form, which is all that a store looks at.
fn key(tag: u8) -> PublicKey {
    static ALICE: LazyLock<PublicKey> = LazyLock::new(|| {
        let pem = include_str!("../../../socp-core/tests/fixtures/keys/alice.pem");
        PrivateKey::from_pem(pem).unwrap().public_key().clone()
    });
    let mut spki = ALICE.spki().to_vec();
    spki[SPKI_BYTES / 2] = tag;
    PublicKey::from_der(&spki).unwrap()
}

fn user(name: &str) -> server::Record {
    server::Record::User(server::UserRecord {
        user_id: name.parse().unwrap(),
        key: key(1),
        rotations: Vec::new(),
        proven: true,
        meta: Meta::named(name),
        version: 1,
    })
}

fn server_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.db");
    (directory, file)
}

fn open(file: &Path) -> SqliteStore<server::Record> {
    SqliteStore::open(file).unwrap()
}

/// What opening the file says.
fn refusal(file: &Path) -> StoreError {
    SqliteStore::<server::Record>::open(file).map(drop).unwrap_err()
}

#[test]
fn what_was_committed_survives_the_process() {
    let (directory, file) = server_file();
    let mut store = open(&file);
    store.commit(&[user("alice"), server::Record::IssuedAt(7)]).unwrap();
    // What a killed process leaves behind: the files as they are, nothing closed.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::copy(directory.path().join("server.db-wal"), directory.path().join("copy.db-wal")).unwrap();
    let snapshot = open(&copy).load().unwrap();
    assert_eq!((snapshot.users.len(), snapshot.issued_at), (1, 7));
    assert_eq!(snapshot, store.load().unwrap());
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_it_committed() {
    const FILE: &str = "SOCP_TEST_KILLED_FILE";
    if let Some(file) = std::env::var_os(FILE) {
        let mut store = open(Path::new(&file));
        for number in 1.. {
            store.commit(&[server::Record::IssuedAt(number)]).unwrap();
            println!("committed {number}");
        }
    }
    let (_directory, file) = server_file();
    let name = "store::tests::a_process_that_is_killed_loses_nothing_that_it_committed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FILE, &file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut numbers = lines.filter_map(|line| line.rsplit_once("committed ")?.1.parse::<u64>().ok());
    let told = numbers.find(|number| *number >= 100).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let told = numbers.last().unwrap_or(told);
    let kept = open(&file).load().unwrap().issued_at;
    assert!(kept == told || kept == told + 1, "told {told}, kept {kept}");
}

#[test]
fn the_standards_tables_are_there() {
    let (_directory, file) = server_file();
    let mut store = open(&file);
    store.commit(&[user("alice")]).unwrap();
    let reader = Connection::open(&file).unwrap();
    // §15: the public channel is the system's and stands from the first start.
    let sql = "SELECT group_id, creator_id, created_at > 1700000000000, meta, version FROM groups";
    let group: (String, String, bool, String, i64) = reader.query_row(sql, [], |row| row.try_into()).unwrap();
    assert_eq!(group, ("public".into(), "system".into(), true, "{}".into(), 1));
    reader.execute("UPDATE users SET pake_password = 'verifier'", []).unwrap();
    store.commit(&[user("alice")]).unwrap();
    let sql = "SELECT pake_password, meta ->> 'display_name' FROM users";
    let row: (String, String) = reader.query_row(sql, [], |row| row.try_into()).unwrap();
    assert_eq!(row, ("verifier".into(), "alice".into()));
    reader.execute("INSERT INTO group_members VALUES ('public', 'alice', 'member', '', 0)", []).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, file) = server_file();
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = open(&file);
    store.commit(&[user("alice")]).unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn files_that_are_not_ours_are_refused_untouched() {
    let (directory, file) = server_file();
    std::fs::write(&file, "not a database, and long enough to have a header of one hundred bytes ".repeat(4))
        .unwrap();
    assert_eq!(refusal(&file), StoreError::NotADatabase { file: file.clone() });

    let other = directory.path().join("other.db");
    Connection::open(&other).unwrap().execute("CREATE TABLE mine (x)", []).unwrap();
    let state = || (std::fs::read(&other).unwrap(), std::fs::metadata(&other).unwrap().permissions());
    let before = state();
    assert_eq!(refusal(&other), StoreError::Foreign { file: other.clone(), kind: "server" });
    assert_eq!(state(), before);

    let client = directory.path().join("client.db");
    drop(SqliteStore::<client::Record>::open(&client).unwrap());
    assert_eq!(refusal(&client), StoreError::Foreign { file: client, kind: "server" });

    let absent = directory.path().join("absent/server.db");
    assert!(matches!(refusal(&absent), StoreError::Open { .. }));
}

#[test]
fn a_newer_schema_is_refused() {
    let (_directory, file) = server_file();
    drop(open(&file));
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refusal(&file);
    assert_eq!(error, StoreError::NewerSchema { file: file.clone(), found: 99, known: 4 });
    let line = format!("{}: has schema 99, this version knows up to 4; use a newer version", file.display());
    assert_eq!(error.to_string(), line);
}

#[test]
fn damage_is_found_at_the_start() {
    let (_directory, file) = server_file();
    let mut store = open(&file);
    store.commit(&(0..200).map(|n| user(&format!("user-{n}"))).collect::<Vec<_>>()).unwrap();
    store.close().unwrap();
    drop(store);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x5a);
    std::fs::write(&file, bytes).unwrap();
    let error = refusal(&file);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{}: damaged: ", file.display())), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn a_bad_row_is_named() {
    let (_directory, file) = server_file();
    let mut store = open(&file);
    store.commit(&[user("alice"), user("bob")]).unwrap();
    let writer = Connection::open(&file).unwrap();
    writer.execute("UPDATE users SET pubkey = x'00' WHERE user_id = 'bob'", []).unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, StoreError::BadRow { table: "users", row: 2, .. }), "{error:?}");
}

#[test]
fn a_failed_batch_leaves_nothing_behind() {
    let (_directory, file) = server_file();
    let mut store = open(&file);
    Connection::open(&file).unwrap().execute("DROP TABLE servers", []).unwrap();
    let server = server::Record::Server(server::ServerRecord {
        server_id: "s".parse().unwrap(),
        key: key(0),
        rank: server::PinRank::Claimed,
        native: false,
        dialect: Dialect::Standard,
        address: None,
        matched: 0,
    });
    assert!(matches!(
        store.commit(&[user("alice"), server]),
        Err(StoreError::Failed { what: "writing", .. })
    ));
    let reader = Connection::open(&file).unwrap();
    assert_eq!(reader.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)), Ok(0));
}

/// A file of the first version: pins without a time and without a mark.
#[test]
fn a_clients_older_file_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.db");
    drop(SqliteStore::<client::Record>::open(&file).unwrap());
    let older = Connection::open(&file).unwrap();
    let undo = "ALTER TABLE user_pins DROP COLUMN since; ALTER TABLE user_pins DROP COLUMN verified;
                ALTER TABLE user_pins DROP COLUMN rotations; ALTER TABLE user_pins DROP COLUMN vouched;
                ALTER TABLE user_pins DROP COLUMN name; DROP TABLE profile; DROP TABLE shown_of;
                DROP TABLE forgotten; DROP TABLE doubtful; ALTER TABLE server_pins DROP COLUMN echoes;
                PRAGMA user_version = 1;";
    older.execute_batch(undo).unwrap();
    older.execute("INSERT INTO user_pins VALUES ('bob', ?1)", [key(1).spki()]).unwrap();
    drop(older);
    let mut store = SqliteStore::<client::Record>::open(&file).unwrap();
    let mut pin = client::UserPin {
        since: None,
        ..client::UserPin::new(&"bob".parse().unwrap(), &key(1), Timestamp(0))
    };
    assert_eq!(store.load().unwrap().users, *std::slice::from_ref(&pin));
    pin.verified = Some(Timestamp(7));
    store.commit(&[client::Record::UserPin(pin.clone())]).unwrap();
    assert_eq!(store.load().unwrap().users, [pin]);
}

/// A file of the first version: servers without a dialect, users' keys without the chains that lead to them.
#[test]
fn a_servers_older_file_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.db");
    let mut store = SqliteStore::<server::Record>::open(&file).unwrap();
    store.commit(&[user("bob")]).unwrap();
    drop(store);
    let older = Connection::open(&file).unwrap();
    let undo = "ALTER TABLE users DROP COLUMN rotations; ALTER TABLE servers DROP COLUMN dialect;
                DROP TABLE delivered; DROP TABLE delivered_until; PRAGMA user_version = 1;";
    older.execute_batch(undo).unwrap();
    drop(older);
    let mut store = SqliteStore::<server::Record>::open(&file).unwrap();
    let mut users = store.load().unwrap().users;
    assert_eq!(users.iter().cloned().map(server::Record::User).collect::<Vec<_>>(), [user("bob")]);
    users[0].rotations = steps(&users[0].user_id.clone(), 1, true);
    store.commit(&[server::Record::User(users[0].clone())]).unwrap();
    assert_eq!(store.load().unwrap().users, users);
}

fn digest(number: usize) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

#[test]
fn only_the_newest_of_what_was_not_proven_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut sqlite = SqliteStore::open(directory.path().join("client.db")).unwrap();
    let mut memory = MemoryStore::default();
    let alice: UserId = "alice".parse().unwrap();
    let shown = client::Shown { from: alice.clone(), ts: Timestamp(2), digest: digest(0) };
    let proven = [client::Record::Shown(shown.clone())];
    sqlite.commit(&proven).unwrap();
    memory.commit(&proven).unwrap();
    let all: Vec<_> = (0..client::MAX_DOUBTFUL + 250).map(|n| client::Record::Doubtful(digest(n))).collect();
    for batch in all.chunks(5000) {
        sqlite.commit(batch).unwrap();
        memory.commit(batch).unwrap();
    }
    let kept = sqlite.load().unwrap();
    assert_eq!((kept.doubtful.len(), kept.doubtful[0]), (client::MAX_DOUBTFUL, digest(250)));
    assert_eq!(kept.shown, [shown], "no junk pushes out what is proven");
    assert_eq!(kept, memory.load().unwrap());
}

/// What was shown stays known over the change of its table, and the times of what is forgotten over restarts.
#[test]
fn what_was_shown_is_known_across_versions_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.db");
    drop(SqliteStore::<client::Record>::open(&file).unwrap());
    let older = Connection::open(&file).unwrap();
    let undo = "DROP TABLE shown_of; DROP TABLE forgotten; DROP TABLE doubtful;
                ALTER TABLE server_pins DROP COLUMN echoes; PRAGMA user_version = 4;";
    older.execute_batch(undo).unwrap();
    for number in 0..3 {
        older.execute("INSERT INTO shown (digest) VALUES (?1)", [digest(number)]).unwrap();
    }
    drop(older);
    let open = || SqliteStore::<client::Record>::open(&file).unwrap();
    let [alice, bob]: [UserId; 2] = ["alice", "bob"].map(|id| id.parse().unwrap());
    let shown = |from: &UserId, ts| {
        client::Record::Shown(client::Shown { from: from.clone(), ts: Timestamp(ts), digest: digest(9) })
    };
    let forgotten = client::Forgotten { from: alice.clone(), until: Timestamp(2) };
    let records = [
        shown(&alice, 1),
        shown(&alice, 2),
        shown(&alice, 3),
        shown(&bob, 1),
        client::Record::Forgotten(forgotten.clone()),
    ];
    open().commit(&records).unwrap();
    let kept = open().load().unwrap();
    assert_eq!(kept.shown_before, (0..3).map(digest).collect::<Vec<_>>());
    assert_eq!(
        kept.shown.iter().map(|kept| (&kept.from, kept.ts.0)).collect::<Vec<_>>(),
        [(&alice, 3), (&bob, 1)]
    );
    assert_eq!(kept.forgotten, [forgotten]);
}

fn address() -> impl Strategy<Value = HostPort> {
    (0..3u8, 9..11u16).prop_map(|(host, port)| {
        let host = ["a.example", "::1", "10.0.0.1"][usize::from(host)];
        HostPort::new(host, port).unwrap()
    })
}

fn id<T: From<Id> + Debug>() -> impl Strategy<Value = T> {
    "[aBé'%]{1,2}".prop_map(|id| T::from(id.parse().unwrap()))
}

/// One step of a rotation, or none.
fn steps(user_id: &UserId, tag: u8, there: bool) -> Vec<Rotation> {
    let (old, new, user_id) = (key(tag).into(), key(tag.wrapping_add(1)).into(), user_id.clone());
    let step = Rotation { user_id, old, new, version: 1, sig: socp_core::wire::Binary::new(vec![tag]) };
    there.then_some(step).into_iter().collect()
}

fn server_record() -> impl Strategy<Value = server::Record> {
    use server::{AccountRecord, DeliveryRecord, MemberRecord, PinRank, Record, ServerRecord, UserRecord};
    let rank = prop_oneof![
        Just(PinRank::Claimed),
        Just(PinRank::Introduced),
        Just(PinRank::Proven),
        Just(PinRank::Bootstrap)
    ];
    let dialect = proptest::sample::select(&Dialect::ALL);
    prop_oneof![
        id().prop_map(Record::OwnId),
        (0..1_000u64).prop_map(Record::IssuedAt),
        (
            id(),
            any::<u8>(),
            rank,
            any::<bool>(),
            dialect,
            proptest::option::of(address()),
            0..=i64::MAX as u64
        )
            .prop_map(|(server_id, tag, rank, native, dialect, address, matched)| {
                let key = key(tag);
                Record::Server(ServerRecord { server_id, key, rank, native, dialect, address, matched })
            }),
        (any::<u8>(), id(), 0..100u64).prop_map(|(tag, author, ts)| {
            Record::Delivered(DeliveryRecord { key: [tag; 32], author, ts: Timestamp(ts) })
        }),
        (id(), 0..100u64)
            .prop_map(|(author, until)| Record::DeliveredUntil { author, until: Timestamp(until) }),
        id().prop_map(Record::ForgetAuthor),
        id().prop_map(Record::ForgetServer),
        id().prop_map(Record::ForgetUser),
        (2..=i64::MAX as u64).prop_map(Record::ChannelVersion),
        (id(), "[ab]{0,2}", "[ab]{0,2}").prop_map(|(user_id, store, password)| {
            let (privkey_store, pake_password) = (store.into(), password.into());
            Record::Account(AccountRecord { user_id, privkey_store, pake_password })
        }),
        (id(), proptest::option::of(proptest::collection::vec(any::<u8>(), 1..4)), 0..1_000u64).prop_map(
            |(member_id, wrap, added_at)| {
                let wrapped_key = wrap.map(socp_core::wire::Binary::new);
                Record::Member(MemberRecord { member_id, wrapped_key, added_at })
            }
        ),
        (id(), any::<u8>(), any::<bool>(), ".{0,8}", 0..=i64::MAX as u64).prop_map(
            |(user_id, tag, proven, name, version)| {
                let (key, meta) = (key(tag), Meta::named(&name));
                let rotations = steps(&user_id, tag, proven);
                Record::User(UserRecord { user_id, key, rotations, proven, meta, version })
            }
        ),
    ]
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of((0..=i64::MAX as u64).prop_map(Timestamp))
}

fn client_record() -> impl Strategy<Value = client::Record> {
    use client::{Record, ServerPin, UserPin};
    prop_oneof![
        (address(), id(), any::<u8>(), any::<bool>()).prop_map(|(address, server_id, tag, echoes)| {
            Record::ServerPin(ServerPin { address, server_id, key: key(tag), echoes })
        }),
        (id(), any::<u8>(), time(), time(), any::<bool>(), proptest::option::of(".{0,8}")).prop_map(
            |(user_id, tag, since, verified, vouched, name)| {
                let (key, rotations) = (key(tag), steps(&user_id, tag, vouched));
                let name = name.map(Into::into);
                Record::UserPin(UserPin { user_id, key, since, verified, vouched, rotations, name })
            }
        ),
        ".{0,8}".prop_map(|name| Record::Meta(Meta::named(&name))),
        (id(), 0..8u64, 0..8u8).prop_map(|(from, ts, digest)| {
            Record::Shown(client::Shown { from, ts: Timestamp(ts), digest: [digest; 32] })
        }),
        (id(), 0..8u64).prop_map(|(from, until)| {
            Record::Forgotten(client::Forgotten { from, until: Timestamp(until) })
        }),
        (0..8u8).prop_map(|digest| Record::Doubtful([digest; 32])),
    ]
}

/// Both stores hold the same after the same batches, and the file still does when it is opened again.
fn agree<R: sqlite::Schema>(batches: &[Vec<R>]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("socp.db");
    let mut memory = MemoryStore::<R>::default();
    let mut sqlite = SqliteStore::<R>::open(&file).unwrap();
    assert_eq!(sqlite.load().unwrap(), R::Snapshot::default());
    for batch in batches {
        memory.commit(batch).unwrap();
        sqlite.commit(batch).unwrap();
    }
    let snapshot = memory.load().unwrap();
    assert_eq!(sqlite.load().unwrap(), snapshot);
    drop(sqlite);
    assert_eq!(SqliteStore::<R>::open(&file).unwrap().load().unwrap(), snapshot);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_stores_agree_on_a_servers_records(
        batches in proptest::collection::vec(proptest::collection::vec(server_record(), 0..12), 0..4)
    ) {
        agree(&batches);
    }

    #[test]
    fn both_stores_agree_on_a_clients_records(
        batches in proptest::collection::vec(proptest::collection::vec(client_record(), 0..12), 0..4)
    ) {
        agree(&batches);
    }
}

/// Notes the size of each transaction, waits for leave before each, and fails when told to.
struct Slow {
    sizes: Arc<Mutex<Vec<usize>>>,
    leave: mpsc::Receiver<Result<(), StoreError>>,
}

impl Store<client::Record> for Slow {
    fn load(&mut self) -> Result<client::Snapshot, StoreError> {
        Ok(client::Snapshot::default())
    }

    fn commit(&mut self, batch: &[client::Record]) -> Result<(), StoreError> {
        self.sizes.lock().unwrap().push(batch.len());
        self.leave.recv().unwrap_or(Ok(()))
    }
}

type Leave = mpsc::SyncSender<Result<(), StoreError>>;

fn slow_writer() -> (StoreWriter<client::Record>, Leave, Arc<Mutex<Vec<usize>>>) {
    let (leave, received) = mpsc::sync_channel(8);
    let sizes = Arc::default();
    let store = Slow { sizes: Arc::clone(&sizes), leave: received };
    (StoreWriter::start(Box::new(store)).unwrap(), leave, sizes)
}

fn shown(count: usize) -> Vec<client::Record> {
    vec![client::Record::Doubtful([0; 32]); count]
}

#[tokio::test]
async fn what_is_queued_is_one_transaction_and_resolves_all_who_wait() {
    let (writer, leave, sizes) = slow_writer();
    let first = writer.reserve().await.unwrap().submit(shown(1));
    // Once the thread sits in the first transaction, the others pile up behind it.
    while sizes.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut others = Vec::new();
    for count in [2, 3, 4] {
        others.push(writer.reserve().await.unwrap().submit(shown(count)));
    }
    assert!(others[0].clone().now_or_never().is_none());
    assert_eq!(writer.reserve().await.unwrap().submit(Vec::new()).now_or_never(), Some(Ok(())));
    drop(leave);
    assert_eq!((first.clone().await, first.await), (Ok(()), Ok(())));
    for other in others {
        assert_eq!(other.await, Ok(()));
    }
    writer.close().await.unwrap();
    assert_eq!(*sizes.lock().unwrap(), [1, 9]);
}

#[tokio::test]
async fn a_failure_is_final() {
    let (writer, leave, sizes) = slow_writer();
    let full = StoreError::Failed { file: "x".into(), what: "writing", why: "disk full".into() };
    let slot = writer.reserve().await.unwrap();
    leave.send(Err(full.clone())).unwrap();
    assert_eq!(writer.commit(shown(1)).await, Err(full.clone()));
    assert_eq!(writer.failure().await, full);
    assert_eq!(slot.submit(shown(1)).await, Err(full.clone()));
    assert_eq!(writer.reserve().await.map(drop), Err(full.clone()));
    assert_eq!(sizes.lock().unwrap().len(), 1, "nothing is tried after a failure");
    assert_eq!(writer.close().await, Err(full));
}

#[tokio::test]
async fn the_hub_waits_when_the_queue_is_full_and_closing_does_not() {
    let (writer, leave, _) = slow_writer();
    let mut slots = Vec::new();
    for _ in 0..QUEUED_BATCHES {
        slots.push(writer.reserve().await.unwrap());
    }
    assert!(writer.reserve().now_or_never().is_none());
    drop(leave);
    writer.close().await.unwrap();
    assert_eq!(slots.remove(0).submit(shown(1)).await, Err(StoreError::Stopped));
}

#[tokio::test]
async fn a_store_that_panics_leaves_nobody_waiting() {
    struct Panics;
    impl Store<client::Record> for Panics {
        fn load(&mut self) -> Result<client::Snapshot, StoreError> {
            Ok(client::Snapshot::default())
        }

        fn commit(&mut self, _: &[client::Record]) -> Result<(), StoreError> {
            panic!("on purpose")
        }
    }
    let writer = StoreWriter::start(Box::new(Panics)).unwrap();
    let slot = writer.reserve().await.unwrap();
    assert_eq!(writer.commit(shown(1)).await, Err(StoreError::Stopped));
    assert_eq!(writer.failure().await, StoreError::Stopped);
    assert_eq!(slot.submit(shown(1)).await, Err(StoreError::Stopped));
    assert_eq!(writer.reserve().await.map(drop), Err(StoreError::Stopped));
    assert_eq!(writer.close().await, Err(StoreError::Stopped));
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_leaves_one_file() {
    let (directory, file) = server_file();
    let writer = StoreWriter::start(Box::new(open(&file))).unwrap();
    let mut committed = Vec::new();
    for name in ["alice", "bob", "carol"] {
        committed.push(writer.reserve().await.unwrap().submit(vec![user(name)]));
    }
    writer.close().await.unwrap();
    assert!(committed.into_iter().all(|batch| batch.now_or_never() == Some(Ok(()))));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(open(&file).load().unwrap().users.len(), 3);
}
