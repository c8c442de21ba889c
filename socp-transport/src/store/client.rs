//! The client's tables: whom it met, and what it has shown.

use rusqlite::{Connection, Row, params};
use rusqlite_migration::M;
use socp_core::client::{MAX_SHOWN, Record, ServerPin, Snapshot, UserPin};
use socp_core::wire::{PublicKey, Timestamp};

use super::StoreError;
use super::sqlite::{RowError, Schema, Tables, signed, unsigned};

/// Keys are DER SubjectPublicKeyInfo. `seq` of `shown` has no gaps: rows leave only at the old end.
const TABLES: &str = "
    CREATE TABLE server_pins (
        address   TEXT PRIMARY KEY NOT NULL,
        server_id TEXT NOT NULL,
        pubkey    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE user_pins (
        user_id TEXT PRIMARY KEY NOT NULL,
        pubkey  BLOB NOT NULL
    ) STRICT;
    CREATE TABLE shown (
        seq    INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE
    ) STRICT;
";

/// Since when a key is pinned, and when it was verified in person, in Unix milliseconds where that is known; and
/// what others see of us, once we changed it.
const PEOPLE: &str = "
    ALTER TABLE user_pins ADD COLUMN since INTEGER;
    ALTER TABLE user_pins ADD COLUMN verified INTEGER;
    CREATE TABLE profile (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        meta     TEXT NOT NULL
    ) STRICT;
";

/// How a user's key follows from the first one, in JSON, as it travels; and whether a key that was verified signed
/// for it.
const ROTATIONS: &str = "
    ALTER TABLE user_pins ADD COLUMN rotations TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE user_pins ADD COLUMN vouched INTEGER NOT NULL DEFAULT 0;
";

/// What a user was called last.
const NAMES: &str = "ALTER TABLE user_pins ADD COLUMN name TEXT;";

impl Schema for Record {
    const KIND: &'static str = "client";
    const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SOCC");
    const MIGRATIONS: &'static [M<'static>] = &[M::up(TABLES), M::up(PEOPLE), M::up(ROTATIONS), M::up(NAMES)];

    fn load(tables: &Tables<'_>) -> Result<Snapshot, StoreError> {
        let mut servers =
            tables.read("server_pins", "SELECT * FROM server_pins ORDER BY address", |row| {
                Ok(ServerPin {
                    address: row.get_ref("address")?.as_str()?.parse()?,
                    server_id: row.get_ref("server_id")?.as_str()?.parse()?,
                    key: PublicKey::from_der(row.get_ref("pubkey")?.as_blob()?)?,
                })
            })?;
        // By host, then port as a number, which is not the order of their text.
        servers.sort_by(|one, other| one.address.cmp(&other.address));
        let users = tables.read("user_pins", "SELECT * FROM user_pins ORDER BY user_id", |row| {
            Ok(UserPin {
                user_id: row.get_ref("user_id")?.as_str()?.parse()?,
                key: PublicKey::from_der(row.get_ref("pubkey")?.as_blob()?)?,
                since: time(row, "since")?,
                verified: time(row, "verified")?,
                vouched: row.get("vouched")?,
                rotations: serde_json::from_str(row.get_ref("rotations")?.as_str()?)?,
                name: row.get_ref("name")?.as_str_or_null()?.map(Into::into),
            })
        })?;
        let shown = tables.read("shown", "SELECT digest FROM shown ORDER BY seq", |row| Ok(row.get(0)?))?;
        let meta = tables.read("profile", "SELECT meta FROM profile", |row| {
            Ok(serde_json::from_str(row.get_ref("meta")?.as_str()?)?)
        })?;
        Ok(Snapshot { servers, users, shown, meta: meta.into_iter().next() })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::ServerPin(ServerPin { address, server_id, key }) => {
                let sql = "INSERT INTO server_pins (address, server_id, pubkey) VALUES (?1, ?2, ?3)
                           ON CONFLICT (address) DO UPDATE SET
                               server_id = excluded.server_id, pubkey = excluded.pubkey";
                let row = params![address.to_string(), server_id.as_str(), key.spki()];
                connection.prepare_cached(sql)?.execute(row)
            }
            Self::UserPin(UserPin { user_id, key, since, verified, vouched, rotations, name }) => {
                let sql = "INSERT INTO user_pins (user_id, pubkey, since, verified, vouched, rotations, name)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                           ON CONFLICT (user_id) DO UPDATE SET pubkey = excluded.pubkey,
                               since = excluded.since, verified = excluded.verified,
                               vouched = excluded.vouched, rotations = excluded.rotations,
                               name = excluded.name";
                let time = |time: &Option<Timestamp>| time.map(|Timestamp(ms)| signed(ms));
                let rotations = serde_json::to_string(rotations).expect("rotations are plain data");
                connection.prepare_cached(sql)?.execute(params![
                    user_id.as_str(),
                    key.spki(),
                    time(since),
                    time(verified),
                    vouched,
                    rotations,
                    name
                ])
            }
            Self::Meta(meta) => {
                let sql = "INSERT INTO profile VALUES (1, ?1)
                           ON CONFLICT (only_row) DO UPDATE SET meta = excluded.meta";
                connection.prepare_cached(sql)?.execute([meta.as_str()])
            }
            Self::Shown(digest) => {
                let sql = "INSERT INTO shown (digest) VALUES (?1) ON CONFLICT (digest) DO NOTHING";
                connection.prepare_cached(sql)?.execute([digest])
            }
        }
        .map(drop)
    }

    /// Keeps the newest [`MAX_SHOWN`]. Costs a look at both ends of the table.
    fn prune(connection: &Connection) -> rusqlite::Result<()> {
        let sql = "DELETE FROM shown WHERE seq <= (SELECT max(seq) FROM shown) - ?1";
        connection.prepare_cached(sql)?.execute([MAX_SHOWN as i64]).map(drop)
    }
}

fn time(row: &Row<'_>, column: &'static str) -> Result<Option<Timestamp>, RowError> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => unsigned(row, column).map(|ms| Some(Timestamp(ms))),
        None => Ok(None),
    }
}
