//! The server's tables (§15): `users`, `groups` and `group_members` with the standard's columns and a few
//! of ours, and what else a server must not forget.

use rusqlite::{Connection, Row, params};
use rusqlite_migration::M;
use socp_core::server::{
    AccountRecord, DeliveryRecord, MemberRecord, PinRank, Record, ServerRecord, Snapshot, UserRecord,
};
use socp_core::wire::{Binary, PublicKey, Timestamp};

use super::StoreError;
use super::sqlite::{RowError, Schema, Tables, signed, unsigned};

/// Keys are DER SubjectPublicKeyInfo, times are Unix milliseconds. `proven` is not the standard's.
const TABLES: &str = "
    CREATE TABLE users (
        user_id       TEXT PRIMARY KEY NOT NULL,
        pubkey        BLOB NOT NULL,
        privkey_store TEXT,
        pake_password TEXT,
        meta          TEXT NOT NULL,
        version       INTEGER NOT NULL,
        proven        INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE groups (
        group_id   TEXT PRIMARY KEY NOT NULL,
        creator_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        meta       TEXT NOT NULL,
        version    INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE group_members (
        group_id    TEXT NOT NULL REFERENCES groups (group_id),
        member_id   TEXT NOT NULL REFERENCES users (user_id),
        role        TEXT NOT NULL,
        wrapped_key TEXT NOT NULL,
        added_at    INTEGER NOT NULL,
        PRIMARY KEY (group_id, member_id)
    ) STRICT;
    INSERT INTO groups VALUES ('public', 'system', CAST(unixepoch('subsec') * 1000 AS INTEGER), '{}', 1);
    CREATE TABLE servers (
        server_id TEXT PRIMARY KEY NOT NULL,
        pubkey    BLOB NOT NULL,
        rank      INTEGER NOT NULL,
        native    INTEGER NOT NULL,
        address   TEXT,
        matched   INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE server_state (
        only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
        own_id    TEXT,
        issued_at INTEGER NOT NULL
    ) STRICT;
    INSERT INTO server_state VALUES (1, NULL, 0);
";

/// How a server speaks.
const DIALECTS: &str = "ALTER TABLE servers ADD COLUMN dialect TEXT NOT NULL DEFAULT 'standard'";
/// How a user's key follows from the first one: JSON, as it travels.
const ROTATIONS: &str = "ALTER TABLE users ADD COLUMN rotations TEXT NOT NULL DEFAULT '[]'";

/// Messages that came from elsewhere, so that they do not come again.
const DELIVERED: &str = "
    CREATE TABLE delivered (
        key    BLOB PRIMARY KEY NOT NULL,
        author TEXT NOT NULL,
        ts     INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX delivered_of ON delivered (author, ts);
    CREATE TABLE delivered_until (
        author TEXT PRIMARY KEY NOT NULL,
        until  INTEGER NOT NULL
    ) STRICT;
";

impl Schema for Record {
    const KIND: &'static str = "server";
    const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SOCS");
    const MIGRATIONS: &'static [M<'static>] =
        &[M::up(TABLES), M::up(DIALECTS), M::up(ROTATIONS), M::up(DELIVERED)];

    fn load(tables: &Tables<'_>) -> Result<Snapshot, StoreError> {
        let state = tables.read("server_state", "SELECT own_id, issued_at FROM server_state", |row| {
            let own_id = row.get::<_, Option<String>>("own_id")?.map(|id| id.parse()).transpose()?;
            Ok((own_id, unsigned(row, "issued_at")?))
        })?;
        let (own_id, issued_at) = state.into_iter().next().unwrap_or_default();
        let servers = tables.read("servers", "SELECT * FROM servers ORDER BY server_id", server)?;
        let users = tables.read("users", "SELECT * FROM users ORDER BY user_id", user)?;
        let sql = "SELECT user_id, privkey_store, pake_password FROM users
                   WHERE pake_password IS NOT NULL AND privkey_store IS NOT NULL ORDER BY user_id";
        let accounts = tables.read("users", sql, account)?;
        let version =
            tables.read("groups", "SELECT version FROM groups WHERE group_id = 'public'", |row| {
                unsigned(row, "version")
            })?;
        let channel_version = version.into_iter().next().unwrap_or(1);
        let sql = "SELECT * FROM group_members WHERE group_id = 'public' ORDER BY member_id";
        let members = tables.read("group_members", sql, member)?;
        let delivered = tables.read("delivered", "SELECT * FROM delivered ORDER BY key", delivery)?;
        let sql = "SELECT * FROM delivered_until ORDER BY author";
        let delivered_until = tables.read("delivered_until", sql, |row| {
            Ok((row.get_ref("author")?.as_str()?.parse()?, Timestamp(unsigned(row, "until")?)))
        })?;
        Ok(Snapshot {
            own_id,
            issued_at,
            servers,
            users,
            accounts,
            channel_version,
            members,
            delivered,
            delivered_until,
        })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::OwnId(id) => {
                let sql = "INSERT INTO server_state VALUES (1, ?1, 0)
                           ON CONFLICT (only_row) DO UPDATE SET own_id = excluded.own_id";
                connection.prepare_cached(sql)?.execute([id.as_str()])
            }
            Self::IssuedAt(issued_at) => {
                let sql = "INSERT INTO server_state VALUES (1, NULL, ?1)
                           ON CONFLICT (only_row) DO UPDATE SET issued_at = max(issued_at, excluded.issued_at)";
                connection.prepare_cached(sql)?.execute([signed(*issued_at)])
            }
            Self::Server(record) => put_server(record, connection),
            Self::ForgetServer(id) => {
                connection.prepare_cached("DELETE FROM servers WHERE server_id = ?1")?.execute([id.as_str()])
            }
            Self::User(record) => put_user(record, connection),
            Self::ForgetUser(id) => {
                // The members' table refers to this one.
                let sql = "DELETE FROM group_members WHERE member_id = ?1";
                connection.prepare_cached(sql)?.execute([id.as_str()])?;
                connection.prepare_cached("DELETE FROM users WHERE user_id = ?1")?.execute([id.as_str()])
            }
            Self::Account(AccountRecord { user_id, privkey_store, pake_password }) => {
                let sql = "UPDATE users SET privkey_store = ?2, pake_password = ?3 WHERE user_id = ?1";
                let record = [user_id.as_str(), &**privkey_store, &**pake_password];
                connection.prepare_cached(sql)?.execute(record)
            }
            Self::ChannelVersion(version) => {
                let sql = "UPDATE groups SET version = max(version, ?1) WHERE group_id = 'public'";
                connection.prepare_cached(sql)?.execute([signed(*version)])
            }
            Self::Member(record) => put_member(record, connection),
            Self::Delivered(DeliveryRecord { key, author, ts }) => {
                let sql = "INSERT INTO delivered (key, author, ts) VALUES (?1, ?2, ?3)
                           ON CONFLICT (key) DO UPDATE SET author = excluded.author, ts = excluded.ts";
                connection.prepare_cached(sql)?.execute(params![key, author.as_str(), signed(ts.0)])
            }
            Self::DeliveredUntil { author, until } => {
                let until = params![author.as_str(), signed(until.0)];
                let sql = "DELETE FROM delivered WHERE author = ?1 AND ts <= ?2";
                connection.prepare_cached(sql)?.execute(until)?;
                let sql = "INSERT INTO delivered_until VALUES (?1, ?2)
                           ON CONFLICT (author) DO UPDATE SET until = excluded.until";
                connection.prepare_cached(sql)?.execute(until)
            }
            Self::ForgetAuthor(author) => {
                let sql = "DELETE FROM delivered_until WHERE author = ?1";
                connection.prepare_cached(sql)?.execute([author.as_str()])
            }
        }
        .map(drop)
    }

    fn prune(_: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }
}

fn put_server(record: &ServerRecord, connection: &Connection) -> rusqlite::Result<usize> {
    let ServerRecord { server_id, key, rank, native, dialect, address, matched } = record;
    let sql = "INSERT INTO servers (server_id, pubkey, rank, native, address, matched, dialect)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (server_id) DO UPDATE SET pubkey = excluded.pubkey, rank = excluded.rank,
                   native = excluded.native, address = excluded.address, matched = excluded.matched,
                   dialect = excluded.dialect";
    connection.prepare_cached(sql)?.execute(params![
        server_id.as_str(),
        key.spki(),
        *rank as i64,
        native,
        address.as_ref().map(ToString::to_string),
        signed(*matched),
        dialect.as_str(),
    ])
}

/// Leaves `privkey_store` and `pake_password` of a known user as they are.
fn put_user(record: &UserRecord, connection: &Connection) -> rusqlite::Result<usize> {
    let UserRecord { user_id, key, rotations, proven, meta, version } = record;
    let sql = "INSERT INTO users (user_id, pubkey, meta, version, proven, rotations)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (user_id) DO UPDATE SET pubkey = excluded.pubkey, meta = excluded.meta,
                   version = excluded.version, proven = excluded.proven, rotations = excluded.rotations";
    connection.prepare_cached(sql)?.execute(params![
        user_id.as_str(),
        key.spki(),
        meta.as_str(),
        signed(*version),
        proven,
        serde_json::to_string(rotations).expect("rotations are plain data"),
    ])
}

/// Members are users: of nobody else there is anything to keep. Without a wrap, `wrapped_key` is empty (§15 has no other way to say so).
fn put_member(record: &MemberRecord, connection: &Connection) -> rusqlite::Result<usize> {
    let MemberRecord { member_id, wrapped_key, added_at } = record;
    let sql = "INSERT INTO group_members (group_id, member_id, role, wrapped_key, added_at)
               SELECT 'public', user_id, 'member', ?2, ?3 FROM users WHERE user_id = ?1
               ON CONFLICT (group_id, member_id) DO UPDATE SET wrapped_key = excluded.wrapped_key,
                   added_at = excluded.added_at";
    let wrapped = wrapped_key.as_ref().map(Binary::text).unwrap_or_default();
    connection.prepare_cached(sql)?.execute(params![member_id.as_str(), wrapped, signed(*added_at)])
}

fn member(row: &Row<'_>) -> Result<MemberRecord, RowError> {
    let wrapped = row.get_ref("wrapped_key")?.as_str()?;
    let wrapped_key = (!wrapped.is_empty()).then(|| Binary::parse(wrapped)).transpose()?;
    Ok(MemberRecord {
        member_id: row.get_ref("member_id")?.as_str()?.parse()?,
        wrapped_key,
        added_at: unsigned(row, "added_at")?,
    })
}

fn server(row: &Row<'_>) -> Result<ServerRecord, RowError> {
    Ok(ServerRecord {
        server_id: row.get_ref("server_id")?.as_str()?.parse()?,
        key: PublicKey::from_der(row.get_ref("pubkey")?.as_blob()?)?,
        rank: rank(row.get("rank")?)?,
        native: row.get("native")?,
        dialect: row.get_ref("dialect")?.as_str()?.parse()?,
        address: row.get::<_, Option<String>>("address")?.map(|address| address.parse()).transpose()?,
        matched: unsigned(row, "matched")?,
    })
}

fn user(row: &Row<'_>) -> Result<UserRecord, RowError> {
    Ok(UserRecord {
        user_id: row.get_ref("user_id")?.as_str()?.parse()?,
        key: PublicKey::from_der(row.get_ref("pubkey")?.as_blob()?)?,
        rotations: serde_json::from_str(row.get_ref("rotations")?.as_str()?)?,
        proven: row.get("proven")?,
        meta: serde_json::from_str(row.get_ref("meta")?.as_str()?)?,
        version: unsigned(row, "version")?,
    })
}

fn account(row: &Row<'_>) -> Result<AccountRecord, RowError> {
    Ok(AccountRecord {
        user_id: row.get_ref("user_id")?.as_str()?.parse()?,
        privkey_store: row.get_ref("privkey_store")?.as_str()?.into(),
        pake_password: row.get_ref("pake_password")?.as_str()?.into(),
    })
}

fn delivery(row: &Row<'_>) -> Result<DeliveryRecord, RowError> {
    Ok(DeliveryRecord {
        key: row.get("key")?,
        author: row.get_ref("author")?.as_str()?.parse()?,
        ts: Timestamp(unsigned(row, "ts")?),
    })
}

fn rank(number: i64) -> Result<PinRank, RowError> {
    let ranks = [PinRank::Claimed, PinRank::Introduced, PinRank::Proven, PinRank::Bootstrap];
    ranks
        .into_iter()
        .find(|rank| *rank as i64 == number)
        .ok_or_else(|| format!("no such rank: {number}").into())
}
