//! How a client is set up.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use socp_core::client::{Limits, Record, Timing};
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::dialect::Dialect;
use socp_core::wire::{HostPort, Meta, PublicKey, Rotation, UserId};
use zeroize::Zeroizing;

use crate::pool::Pool;
use crate::store::{MemoryStore, Store};
use crate::tls::Roots;
use crate::{LinkLimits, Scheme};

/// Everything that makes a client what it is; [`ClientConfig::new`] has defaults for all but the server's
/// address and the key.
pub struct ClientConfig {
    /// The server. The login proof names it as it stands here (decisions §4).
    pub address: HostPort,
    /// Whether it is dialled plainly or over TLS; plainly unless said.
    pub scheme: Scheme,
    /// Who vouches for the server's certificate.
    pub roots: Roots,
    /// Whether a plain link may leave this machine.
    pub allow_plain: bool,
    /// Our key.
    pub key: Arc<PrivateKey>,
    /// Our id; that of the rotations, or the key's own (decisions §4), unless given.
    pub user_id: Option<UserId>,
    /// How the server speaks, if that is not to be found out.
    pub dialect: Option<Dialect>,
    /// The server's key, if it is known: servers that log users in by password show none.
    pub server_key: Option<PublicKey>,
    /// Our id at a server that knows users by names, if it is another one there.
    pub seed_id: Option<UserId>,
    /// Our password for this server, if it is one that logs users in by password. It crosses the link.
    pub password: Option<Zeroizing<String>>,
    /// How our key follows from our first one, for those who know an earlier one (decisions §4):
    /// [`rotate`](socp_core::crypto::rotate) makes it.
    pub rotations: Vec<Rotation>,
    /// What others see of us (§15.1).
    pub meta: Meta,
    /// Where files of others go. Without it none is taken.
    pub downloads: Option<PathBuf>,
    /// Take every file whose manifest is proven to be its sender's, without being told.
    pub auto_accept: bool,
    /// The program, as USER_HELLO names it, if it is another one.
    pub program: Option<Box<str>>,
    /// Where pins and shown messages are kept; in memory unless replaced.
    pub store: Box<dyn Store<Record>>,
    /// Threads for private-key work, shared with others if given.
    pub pool: Option<Arc<Pool>>,
    /// The machine's bounds.
    pub limits: Limits,
    /// The machine's intervals and timeouts.
    pub timing: Timing,
    /// Bounds and timeouts of the link; `frame_in_bytes` is taken from `limits`.
    pub link: LinkLimits,
}

impl ClientConfig {
    /// A configuration with defaults for everything but the server's address and the key.
    pub fn new(address: HostPort, key: Arc<PrivateKey>) -> Self {
        Self {
            address,
            scheme: Scheme::Ws,
            roots: Roots::default(),
            allow_plain: false,
            key,
            user_id: None,
            dialect: None,
            server_key: None,
            seed_id: None,
            password: None,
            rotations: Vec::new(),
            meta: Meta::empty(),
            downloads: None,
            auto_accept: false,
            program: None,
            store: Box::new(MemoryStore::default()),
            pool: None,
            limits: Limits::default(),
            timing: Timing::default(),
            link: LinkLimits::default(),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("address", &self.address)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}
