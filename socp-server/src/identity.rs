//! `socp-server identity`: who this server is, for the operators of others.

use std::io::{self, Write};

use serde::Serialize;
use socp_core::wire::ServerId;
use socp_transport::data_dir::{DataDir, DataDirError};

use crate::args::IdentityArgs;
use crate::data::{self, Identity, ServerData};
use crate::error::Result;

/// Shows the identity, and makes or imports it first if need be.
pub(crate) fn identity(args: &IdentityArgs) -> Result<()> {
    let folder = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => DataDir::default_for_server()?,
    };
    let identity = match (ServerData::open(&folder), &args.import) {
        (Ok(data), Some(import)) => {
            data.import(import)?;
            data.identity()?
        }
        (Ok(data), None) => {
            data.key()?;
            data.identity()?
        }
        // A server that runs can be looked at.
        (Err(DataDirError::InUse { .. }), None) if data::has_key(&folder) => data::identity_in(&folder)?,
        (Err(error), _) => return Err(error.into()),
    };
    let key = identity.key.to_field_in(args.dialect.profile().keys);
    let text = if args.json { in_json(&identity, &key)? } else { in_words(&identity, &key) };
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
}

fn in_json(Identity { server_id, .. }: &Identity, pubkey: &str) -> Result<String> {
    #[derive(Serialize)]
    struct Json<'a> {
        server_id: &'a ServerId,
        pubkey: &'a str,
    }
    Ok(serde_json::to_string(&Json { server_id, pubkey })?)
}

fn in_words(Identity { server_id, key: own }: &Identity, key: &str) -> String {
    let fingerprint = own.id().fingerprint();
    format!(
        "server id    {server_id}\n\
         fingerprint  {fingerprint}\n\
         public key   {key}\n\
         \n\
         Other servers join through this one with its address in place of HOST:PORT:\n\
         socp-server --introducer HOST:PORT#{key}\n\
         \n\
         Its entry in a bootstrap list:\n  \
           - host: HOST\n    \
             port: PORT\n    \
             pubkey: {key}\n\
         and `tls: true` if it is dialled over TLS"
    )
}
