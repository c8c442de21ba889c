//! A file that goes: read through once for its hash, then block by block.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{self, SHA256};
use socp_core::client::{ChunkRun, FileInfo};
use socp_core::crypto::aws_lc::Provider;
use socp_core::wire::WireText;

use super::folder::read_at;
use crate::pool::{Lane, Pool};

/// A file that is being sent: several runs of it are read at a time.
pub(super) type Source = Arc<Mutex<File>>;

/// Opens a file that may be sent, and reads it through. Blocks.
///
/// # Errors
/// Why it cannot be sent, in words.
pub(super) fn read_through(path: &Path, max_bytes: u64) -> Result<(File, FileInfo), String> {
    let unreadable = |error: io::Error| format!("{}: {error}", path.display());
    // Opening a pipe or a device could wait for ever.
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_file() {
        return Err(format!("{}: not a file", path.display()));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = digest::Context::new(&SHA256);
    let (mut size, mut buffer) = (0_u64, vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
        if size > max_bytes {
            return Err(format!("{}: a file has at most {} MiB", path.display(), max_bytes >> 20));
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok((file, FileInfo { size, sha256 }))
}

/// Reads a run of blocks and seals them.
///
/// # Errors
/// Why not, in words.
pub(super) async fn seal(run: ChunkRun, file: Source, pool: Arc<Pool>) -> Result<Vec<WireText>, String> {
    let (offset, bytes) = (run.offset(), run.bytes());
    let read = move || {
        // A reader that panicked has left nothing half done.
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        read_at(&file, offset, bytes)
    };
    let read = tokio::task::spawn_blocking(read).await;
    let plaintext = read.map_err(io::Error::from).flatten().map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file has become shorter".to_owned(),
        _ => error.to_string(),
    })?;
    let sealed = pool.run(Lane::Bulk, move || run.seal(&plaintext, &Provider::new())).await;
    sealed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
