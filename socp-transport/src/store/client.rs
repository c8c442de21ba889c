//! The client's tables: whom it met, and what it has shown.

use rusqlite::{Connection, Row, params};
use rusqlite_migration::M;
use socp_core::client::{Forgotten, MAX_DOUBTFUL, Record, ServerPin, Shown, Snapshot, UserPin};
use socp_core::wire::{PublicKey, Timestamp};

use super::StoreError;
use super::sqlite::{RowError, Schema, Tables, signed, unsigned};

/// Keys are DER SubjectPublicKeyInfo. `shown` is what versions before [`AUTHORS`] remembered, 20,000 rows at most: it is
/// read, and nothing is added to it.
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

/// What was shown, by author and time, and until when nothing of an author is new; and what was not proven. `seq` of
/// `doubtful` has no gaps: rows leave only at the old end.
const AUTHORS: &str = "
    CREATE TABLE shown_of (
        user_id TEXT NOT NULL,
        ts      INTEGER NOT NULL,
        digest  BLOB NOT NULL,
        PRIMARY KEY (user_id, ts, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE forgotten (
        user_id TEXT PRIMARY KEY NOT NULL,
        until   INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE doubtful (
        seq    INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE
    ) STRICT;
";

/// Whether a server has shown that it is no recording.
const ECHOES: &str = "ALTER TABLE server_pins ADD COLUMN echoes INTEGER NOT NULL DEFAULT 0;";

impl Schema for Record {
    const KIND: &'static str = "client";
    const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SOCC");
    const MIGRATIONS: &'static [M<'static>] =
        &[M::up(TABLES), M::up(PEOPLE), M::up(ROTATIONS), M::up(NAMES), M::up(AUTHORS), M::up(ECHOES)];

    fn load(tables: &Tables<'_>) -> Result<Snapshot, StoreError> {
        let mut servers =
            tables.read("server_pins", "SELECT * FROM server_pins ORDER BY address", |row| {
                Ok(ServerPin {
                    address: row.get_ref("address")?.as_str()?.parse()?,
                    server_id: row.get_ref("server_id")?.as_str()?.parse()?,
                    key: PublicKey::from_der(row.get_ref("pubkey")?.as_blob()?)?,
                    echoes: row.get("echoes")?,
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
        let shown =
            tables.read("shown_of", "SELECT * FROM shown_of ORDER BY user_id, ts, digest", |row| {
                Ok(Shown {
                    from: row.get_ref("user_id")?.as_str()?.parse()?,
                    ts: Timestamp(unsigned(row, "ts")?),
                    digest: row.get("digest")?,
                })
            })?;
        let forgotten = tables.read("forgotten", "SELECT * FROM forgotten ORDER BY user_id", |row| {
            let until = Timestamp(unsigned(row, "until")?);
            Ok(Forgotten { from: row.get_ref("user_id")?.as_str()?.parse()?, until })
        })?;
        let digest = |row: &Row<'_>| Ok(row.get(0)?);
        let doubtful = tables.read("doubtful", "SELECT digest FROM doubtful ORDER BY seq", digest)?;
        let shown_before = tables.read("shown", "SELECT digest FROM shown ORDER BY seq", digest)?;
        let meta = tables.read("profile", "SELECT meta FROM profile", |row| {
            Ok(serde_json::from_str(row.get_ref("meta")?.as_str()?)?)
        })?;
        let meta = meta.into_iter().next();
        Ok(Snapshot { servers, users, shown, forgotten, doubtful, shown_before, meta })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::ServerPin(ServerPin { address, server_id, key, echoes }) => {
                let sql =
                    "INSERT INTO server_pins (address, server_id, pubkey, echoes) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (address) DO UPDATE SET server_id = excluded.server_id,
                               pubkey = excluded.pubkey, echoes = excluded.echoes";
                let row = params![address.to_string(), server_id.as_str(), key.spki(), echoes];
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
            Self::Shown(Shown { from, ts: Timestamp(ts), digest }) => {
                let sql = "INSERT INTO shown_of VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                connection.prepare_cached(sql)?.execute(params![from.as_str(), signed(*ts), digest])
            }
            Self::Forgotten(Forgotten { from, until: Timestamp(until) }) => {
                let row = params![from.as_str(), signed(*until)];
                let sql = "DELETE FROM shown_of WHERE user_id = ?1 AND ts <= ?2";
                connection.prepare_cached(sql)?.execute(row)?;
                let sql = "INSERT INTO forgotten VALUES (?1, ?2)
                           ON CONFLICT (user_id) DO UPDATE SET until = excluded.until";
                connection.prepare_cached(sql)?.execute(row)
            }
            Self::Doubtful(digest) => {
                let sql = "INSERT INTO doubtful (digest) VALUES (?1) ON CONFLICT (digest) DO NOTHING";
                connection.prepare_cached(sql)?.execute([digest])
            }
        }
        .map(drop)
    }

    /// Keeps the newest [`MAX_DOUBTFUL`]; of the rest the machine says what may go. Costs a look at both ends of the table.
    fn prune(connection: &Connection) -> rusqlite::Result<()> {
        let sql = "DELETE FROM doubtful WHERE seq <= (SELECT max(seq) FROM doubtful) - ?1";
        connection.prepare_cached(sql)?.execute([MAX_DOUBTFUL as i64]).map(drop)
    }
}

fn time(row: &Row<'_>, column: &'static str) -> Result<Option<Timestamp>, RowError> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => unsigned(row, column).map(|ms| Some(Timestamp(ms))),
        None => Ok(None),
    }
}
