//! Small files that only their owner may read, replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

/// Longest file that [`read_private`] reads; keys have 3.5 KiB.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Writes a file with mode 0600. Afterwards it has the new content, or an error was returned and it has
/// its old one; a crash or power cut leaves one of both, too.
///
/// # Errors
/// Whatever the file system says; the message does not name the file.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("not a path of a file"))?;
    let mut tag = [0; 8];
    aws_lc_rs::rand::fill(&mut tag).map_err(|_| io::Error::other("the system has no randomness to give"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}.tmp", u64::from_ne_bytes(tag)));
    let temporary = path.with_file_name(temporary);
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_directory(path)
}

/// Reads a file of text. Others' right to read it is taken away, with a warning.
///
/// # Errors
/// Whatever the file system says, or that the file is too long or not text.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    tighten(path, &file)?;
    // Enough room from the start: growing would leave copies of the secret behind.
    let room = file.metadata()?.len().min(MAX_FILE_BYTES) + 1;
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(room).unwrap_or_default()));
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(io::Error::other("too long")) } else { Ok(text) }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the rename durable. Elsewhere than on Unix a directory cannot be synced.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(unix)]
fn tighten(path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:03o}", mode & 0o777), "a private key that others could read; now its owner alone");
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn tighten(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn files_are_replaced_whole_and_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!((read_private(&path).unwrap().as_str(), mode(&path)), ("two", 0o600));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
        assert!(write_private(&directory.path().join("absent/key"), b"").is_err());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        read_private(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        write_private(&path, &vec![b'x'; 65 * 1024]).unwrap();
        assert!(read_private(&path).is_err());
    }
}
