//! The folder that files of others go to. A file lies there under a hidden name until it is complete; what a killed
//! process leaves behind is removed at the next start.
//!
//! It gets its name by a link, which takes no name that something has. Some file systems know no links (FAT, many network
//! ones): there it is renamed, by a call that replaces nothing. Where that is unknown as well, the name is claimed with an
//! empty file first, and a note says so, by which the next start finds it if we are killed in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socp_core::client::split_name;

/// Before and behind the random part of a hidden name.
const HIDDEN: (&str, &str) = (".socp-", ".part");

/// The same of the note that a name was claimed.
const CLAIM: (&str, &str) = (".socp-", ".claim");

/// Longest note that is read, in bytes: a name.
const MAX_CLAIM_BYTES: u64 = 1024;

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
            Err(error) if !is_final(&error) => match rename_new(&self.path, path) {
                Err(error) if !is_final(&error) => self.claim(path),
                renamed => renamed,
            },
            linked => linked,
        }
    }

    /// Takes the name with an empty file, which is then replaced. Whoever opens that in between loses what they write: no
    /// call prevents it here.
    fn claim(&self, path: &Path) -> io::Result<()> {
        let note = self.path.with_file_name(claim_of(&self.path));
        fs::write(&note, path.file_name().unwrap_or_default().as_encoded_bytes())?;
        let claimed = OpenOptions::new().write(true).create_new(true).open(path).and_then(|claim| {
            drop(claim);
            // Nobody but us has put anything there, unless within this moment.
            fs::rename(&self.path, path).inspect_err(|_| drop_claim(path))
        });
        let _ = fs::remove_file(note);
        claimed
    }
}

/// Whether another way would fail as well: something has the name, or the folder is gone.
fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
}

/// Renames to what nothing is called yet, at once. Some systems and file systems do not know how.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The name of the note of a part.
fn claim_of(part: &Path) -> String {
    let name = part.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(HIDDEN.1).unwrap_or(&name).to_owned() + CLAIM.1
}

/// Removes a claimed name, unless somebody has put something there.
fn drop_claim(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|data| data.is_file() && data.len() == 0) {
        let _ = fs::remove_file(path);
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
    let is_ours = |name: &str, (start, end): (&str, &str)| name.starts_with(start) && name.ends_with(end);
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if is_ours(&name, CLAIM) {
            let part = name.strip_suffix(CLAIM.1).map(|stem| folder.join(format!("{stem}{}", HIDDEN.1)));
            // Without its part the note is only late: the file has its name.
            match part.filter(|part| part.exists()) {
                Some(part) => sweep_part(&part),
                None => drop(fs::remove_file(entry.path())),
            }
        } else if is_ours(&name, HIDDEN) {
            sweep_part(&entry.path());
        }
    }
}

/// With the name that was claimed for it.
fn sweep_part(part: &Path) {
    // Somebody else's that is being written is locked.
    let is_debris = OpenOptions::new().write(true).open(part).is_ok_and(|file| file.try_lock().is_ok());
    if !is_debris {
        return;
    }
    let note = part.with_file_name(claim_of(part));
    let mut claimed = String::new();
    let read = File::open(&note).and_then(|file| file.take(MAX_CLAIM_BYTES).read_to_string(&mut claimed));
    // A name and no way out of the folder.
    if read.is_ok() && Path::new(&claimed).file_name().is_some_and(|name| name == claimed.as_str()) {
        drop_claim(&part.with_file_name(&claimed));
    }
    let _ = fs::remove_file(note);
    let _ = fs::remove_file(part);
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

    fn part(folder: &Path, text: &str) -> Part {
        let part = Part::create(folder).unwrap();
        write_at(&part.file, 0, text.as_bytes()).unwrap();
        part
    }

    /// Without links.
    #[test]
    fn the_other_ways_to_a_name_replace_nothing_either() {
        type Way = fn(&Part, &Path) -> io::Result<()>;
        let ways: [Way; 2] = [|part, path| rename_new(&part.path, path), Part::claim];
        for way in ways {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cat.jpg");
            let (one, two) = (part(folder.path(), "one"), part(folder.path(), "two"));
            match way(&one, &path) {
                // Not everywhere is there such a call; then the next way is taken.
                Err(error) => assert!(!is_final(&error), "{error}"),
                Ok(()) => {
                    assert_eq!(way(&two, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
                    drop((one, two));
                    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
                    assert_eq!(names(folder.path()), ["cat.jpg"]);
                }
            }
        }
    }

    #[test]
    fn a_claim_that_comes_to_nothing_leaves_no_empty_file() {
        let folder = tempfile::tempdir().unwrap();
        let part = part(folder.path(), "one");
        fs::remove_file(&part.path).unwrap();
        assert!(part.claim(&folder.path().join("cat.jpg")).is_err());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    /// Killed between the claim and the name.
    #[test]
    fn what_was_claimed_and_not_named_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [
            (".socp-00.part", "one"),
            (".socp-00.claim", "cat.jpg"),
            ("cat.jpg", ""),
            // Somebody has put something there.
            (".socp-11.part", "two"),
            (".socp-11.claim", "dog.jpg"),
            ("dog.jpg", "mine"),
            // It was named, and then we were killed.
            (".socp-22.claim", "empty"),
            ("empty", ""),
            // Not of this folder.
            (".socp-33.part", "three"),
            (".socp-33.claim", "sub/cow"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/cow"), "").unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()), ["dog.jpg", "empty", "sub"]);
        assert_eq!(names(&at("sub")), ["cow"]);
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
