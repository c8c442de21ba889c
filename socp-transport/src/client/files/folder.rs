//! The folder that files of others go to. A file lies there under a hidden name until it is complete; what a killed
//! process leaves behind is removed at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socp_core::client::split_name;

/// Before and behind the random part of a hidden name.
const HIDDEN: (&str, &str) = (".socp-", ".part");

/// Names that are tried for one file: `cat.jpg`, `cat (1).jpg`, …
const MAX_NAMES: u32 = 1000;

/// A file that is not complete. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Part {
    folder: PathBuf,
    path: PathBuf,
    /// Locked, so that nobody takes it for debris.
    file: Arc<File>,
}

impl Part {
    /// Creates one, and the folder if it is not there. Blocks.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{}{random}{}", HIDDEN.0, HIDDEN.1));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let part = Self { folder: folder.to_owned(), file: Arc::new(options.open(&path)?), path };
        // A file system without locks is no reason to refuse a file.
        let _ = part.file.try_lock();
        Ok(part)
    }

    /// The file itself, for reading and writing elsewhere.
    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Cuts it to its length and gives it a name that nothing has yet. Blocks until it is on disk.
    pub(super) fn publish(self, name: &str, size: u64) -> io::Result<PathBuf> {
        self.file.set_len(size)?;
        self.file.sync_all()?;
        let (stem, ending) = split_name(name);
        for number in 0..MAX_NAMES {
            let name = match number {
                0 => name.to_owned(),
                number => format!("{stem} ({number}){ending}"),
            };
            let path = self.folder.join(name);
            match self.link(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are {MAX_NAMES} files called so")))
    }

    /// Another name for the file, which nothing may have. The hidden one goes when this is dropped.
    fn link(&self, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                Err(error)
            }
            // Some file systems know no links: the name is claimed with an empty file, which is then replaced.
            Err(_) => {
                OpenOptions::new().write(true).create_new(true).open(path)?;
                fs::rename(&self.path, path)
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has another name by now, or none is wanted.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what killed processes left in a folder. Blocks.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(HIDDEN.0) && name.ends_with(HIDDEN.1)) {
            continue;
        }
        // Somebody else's that is being written is locked.
        if OpenOptions::new().write(true).open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads exactly so many bytes from somewhere in a file. One reader or writer at a time.
pub(super) fn read_at(mut file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut buffer)?;
    Ok(buffer)
}

/// Writes to somewhere in a file. One reader or writer at a time.
pub(super) fn write_at(mut file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn publish(folder: &Path, name: &str, text: &str) -> PathBuf {
        let part = Part::create(folder).unwrap();
        write_at(&part.file, 0, format!("{text}and more").as_bytes()).unwrap();
        part.publish(name, text.len() as u64).unwrap()
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("a/b");
        for (text, name) in [("one", "cat.jpg"), ("two", "cat (1).jpg"), ("three", "cat (2).jpg")] {
            let path = publish(&folder, "cat.jpg", text);
            assert_eq!(
                (path, fs::read_to_string(folder.join(name)).unwrap()),
                (folder.join(name), text.into())
            );
        }
        // Not even through a link that leads nowhere.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(directory.path().join("elsewhere"), folder.join("dog")).unwrap();
            assert_eq!(publish(&folder, "dog", "four"), folder.join("dog (1)"));
            assert!(!directory.path().join("elsewhere").exists());
        }
        assert!(names(&folder).iter().all(|name| !name.starts_with('.')), "nothing hidden is left");
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::create(folder.path()).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(part);
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn debris_is_swept_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".socp-0011223344556677.part", "mine.part", ".socp-x"] {
            fs::write(folder.path().join(name), "debris?").unwrap();
        }
        let part = Part::create(folder.path()).unwrap();
        sweep(folder.path());
        let hidden = part.path.file_name().unwrap().to_str().unwrap();
        let mut kept = [".socp-x", "mine.part", hidden];
        kept.sort_unstable();
        assert_eq!(names(folder.path()), kept);
        sweep(Path::new("/nowhere/at/all"));
    }
}
