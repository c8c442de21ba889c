//! Who we are: the key in its file, under its password, and the id.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::crypto::{MAX_ROTATIONS, rotate, rotations_to};
use socp_core::wire::{Id, KeyId, PublicKey, Rotation, UserId};
use socp_transport::data_dir::DataDir;
use socp_transport::vault::{self, MAX_FILE_BYTES, VaultError, read_private, write_private};
use zeroize::Zeroizing;

use crate::args::Args;
use crate::fatal::Fatal;
use crate::password::{self, Password, Source};
use crate::say;

/// The key, and how to change its password.
pub(crate) struct Identity {
    pub(crate) key: Arc<PrivateKey>,
    /// The first key's own, unless another was given.
    pub(crate) user_id: UserId,
    /// How the key follows from the first one.
    pub(crate) rotations: Vec<Rotation>,
    keyring: Keyring,
}

/// Where the key rests.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    /// The key, sealed.
    file: PathBuf,
    /// A password that nobody has to type, if there is one.
    unlock: PathBuf,
    /// How it follows from the first key, and maybe a step on.
    rotations: PathBuf,
}

/// What a rotation did.
pub(crate) struct Rotated {
    pub(crate) user_id: UserId,
    pub(crate) was: KeyId,
    pub(crate) now: KeyId,
    /// How many keys there can still be.
    pub(crate) left: usize,
}

impl Identity {
    /// Opens the key in the directory, or makes one, or takes the one that is to be imported.
    ///
    /// # Errors
    /// If a file is damaged, cannot be read or written, or the password is wrong.
    pub(crate) fn open(dir: &DataDir, args: &Args) -> Result<Self, Fatal> {
        let keyring = Keyring::of(dir);
        let imported = args.import_key.as_deref().map(read_key).transpose()?;
        let source = Source { file: args.password_file.as_deref(), unlock: &keyring.unlock };
        let key = match read_private(&keyring.file) {
            Ok(sealed) => {
                let key = keyring.open(&sealed, &source)?;
                if imported.is_some_and(|imported| imported.public_key() != key.public_key()) {
                    let (file, id) = (keyring.file.display(), key.public_key().id());
                    return Err(Fatal::new(format!(
                        "{file}: holds another key already ({id}); import yours into another --data-dir"
                    )));
                }
                key
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Another key would be another person, and nobody would notice.
                if imported.is_none() && dir.file("client.db").exists() {
                    let file = keyring.file.display();
                    return Err(Fatal::new(format!(
                        "{file}: the key of this directory is missing; put it back, or give it with --import-key"
                    )));
                }
                keyring.create(imported, &source)?
            }
            Err(error) => return Err(unusable(&keyring.file, error)),
        };
        let (user_id, rotations) = keyring.origin(dir, args.user_id.as_ref(), key.public_key())?;
        Ok(Self { key: Arc::new(key), user_id, rotations, keyring })
    }

    /// Replaces the key in the directory by a new one, which it signs for, under the same password. Whenever this
    /// stops, the directory holds the one or the other.
    ///
    /// # Errors
    /// If there is no key, it does not open, has been replaced as often as one can be, or a file cannot be written.
    pub(crate) fn rotate(dir: &DataDir, args: &Args, new: Option<&Path>) -> Result<Rotated, Fatal> {
        let keyring = Keyring::of(dir);
        let source = Source { file: args.password_file.as_deref(), unlock: &keyring.unlock };
        let new = new.map(read_key).transpose()?;
        let sealed = read_private(&keyring.file).map_err(|error| unusable(&keyring.file, error))?;
        let (old, password) = keyring
            .open_with(&sealed, &source, |key, password| (key, Zeroizing::new(password.to_owned())))?;
        let (user_id, rotations) = keyring.origin(dir, args.user_id.as_ref(), old.public_key())?;
        let left = MAX_ROTATIONS - rotations.len();
        if left == 0 {
            return Err(Fatal::new(format!(
                "{}: the key was replaced {MAX_ROTATIONS} times, which is as often as others follow; begin anew in \
                 another --data-dir",
                keyring.rotations.display()
            )));
        }
        let new = match new {
            Some(new) => new,
            None => generate()?,
        };
        let (was, now) = (old.public_key().id(), new.public_key().id());
        let rotations = rotate(&user_id, rotations, &old, new.public_key())
            .map_err(|error| unusable(&keyring.rotations, error))?;
        let json = serde_json::to_string(&rotations).map_err(|error| unusable(&keyring.rotations, error))?;
        // The chain before the key: of a chain that goes on, the steps up to the key count.
        write_private(&keyring.rotations, json.as_bytes())
            .map_err(|error| unusable(&keyring.rotations, error))?;
        keyring.seal(&new, &password)?;
        Ok(Rotated { user_id, was, now, left: left - 1 })
    }

    /// The id at servers that know users by names: the user's own, if no id was chosen and it can be typed there.
    pub(crate) fn named(&self, name: &str) -> Option<UserId> {
        let first = self.rotations.first().and_then(|step| step.old.key().ok());
        let first = first.unwrap_or(self.key.public_key());
        let chosen = !self.user_id.derives_from(first);
        let typed = !name.contains(char::is_whitespace);
        name.parse().ok().filter(|_| typed && !chosen)
    }

    /// Where the key rests.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Writes the key to a new file, without a password.
    ///
    /// # Errors
    /// If there is such a file, or it cannot be written.
    pub(crate) fn export(&self, path: &Path) -> Result<(), Fatal> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let pem = self.key.to_pem();
        let mut file = options.open(path).map_err(|error| unusable(path, error))?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
            // Half a key is of no use to anybody.
            let _ = fs::remove_file(path);
            unusable(path, error)
        })
    }
}

/// Asked before anything else is done.
///
/// # Errors
/// If there is such a file.
pub(crate) fn must_be_new(path: &Path) -> Result<(), Fatal> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(Fatal::new(format!("{}: exists already and is not overwritten", path.display()))),
        Err(_) => Ok(()),
    }
}

impl Keyring {
    fn of(dir: &DataDir) -> Self {
        Self { file: dir.file("key.json"), unlock: dir.file("unlock"), rotations: dir.file("rotations.json") }
    }

    /// Whose the key is, and how it follows from that user's first one.
    fn origin(
        &self,
        dir: &DataDir,
        given: Option<&UserId>,
        key: &PublicKey,
    ) -> Result<(UserId, Vec<Rotation>), Fatal> {
        let steps: Vec<Rotation> = match read_private(&self.rotations) {
            Ok(json) => serde_json::from_str(&json).map_err(|error| unusable(&self.rotations, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unusable(&self.rotations, error)),
        };
        let owner = steps.first().map(|step| step.user_id.clone());
        let rotations = owner.as_ref().map_or_else(Vec::new, |owner| rotations_to(owner, steps, key));
        let Some(owner) = owner.filter(|_| !rotations.is_empty()) else {
            let id = remembered_id(dir, given)?;
            return Ok((id.unwrap_or_else(|| Id::derived_from(key).into()), rotations));
        };
        // Asked before it is remembered.
        let is_it = |id: Option<&UserId>| id.is_none_or(|id| *id == owner);
        if is_it(given) && is_it(remembered_id(dir, given)?.as_ref()) {
            return Ok((owner, rotations));
        }
        let file = self.rotations.display();
        Err(Fatal::new(format!("{file}: your keys are those of the id {owner}, and of no other")))
    }

    fn open(&self, sealed: &str, source: &Source<'_>) -> Result<PrivateKey, Fatal> {
        self.open_with(sealed, source, |key, _| key)
    }

    /// Opens the key, and makes something of it and its password.
    fn open_with<T>(
        &self,
        sealed: &str,
        source: &Source<'_>,
        make: impl Fn(PrivateKey, &str) -> T,
    ) -> Result<T, Fatal> {
        // A damaged file is no reason to ask for a password; the empty one opens none of ours.
        if let Err(error) = vault::open(sealed, "")
            && error != VaultError::WrongPasswordOrDamaged
        {
            return Err(unusable(&self.file, error));
        }
        source
            .unlock_with(&self.file, |password| vault::open(sealed, password).map(|key| make(key, password)))
    }

    fn create(&self, imported: Option<PrivateKey>, source: &Source<'_>) -> Result<PrivateKey, Fatal> {
        let password = source.new_password()?;
        let key = match imported {
            Some(key) => key,
            None => generate()?,
        };
        if let Password::Made(password) = &password {
            // Before the key: a key without its password is lost.
            write_private(&self.unlock, password.as_bytes())
                .map_err(|error| unusable(&self.unlock, error))?;
            say(&format!(
                "socp-client: warning: your key is protected by file permissions only ({}); /password changes that",
                self.unlock.display()
            ));
        }
        self.seal(&key, password.as_str())?;
        Ok(key)
    }

    fn seal(&self, key: &PrivateKey, password: &str) -> Result<(), Fatal> {
        let sealed = vault::seal(key, password).map_err(|error| unusable(&self.file, error))?;
        write_private(&self.file, sealed.as_bytes()).map_err(|error| unusable(&self.file, error))
    }

    /// Whether the key opens without anybody's typing a password.
    pub(crate) fn is_unlocked(&self) -> bool {
        self.unlock.exists()
    }

    /// Whether this is the key's password.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn is_password(&self, password: &str) -> Result<bool, Fatal> {
        let sealed = read_private(&self.file).map_err(|error| unusable(&self.file, error))?;
        match vault::open(&sealed, password) {
            Ok(_) => Ok(true),
            Err(VaultError::WrongPasswordOrDamaged) => Ok(false),
            Err(error) => Err(unusable(&self.file, error)),
        }
    }

    /// Gives the key another password.
    ///
    /// # Errors
    /// If a file cannot be written; the key then has one of both passwords.
    pub(crate) fn change_password(&self, key: &PrivateKey, password: &str) -> Result<(), Fatal> {
        self.seal(key, password)?;
        match fs::remove_file(&self.unlock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&self.unlock, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Makes a key, which takes seconds, and shows on stderr that it is at work.
fn generate() -> Result<PrivateKey, Fatal> {
    const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    let mut stderr = io::stderr();
    let made = thread::scope(|threads| {
        let making = threads.spawn(PrivateKey::generate);
        if stderr.is_terminal() {
            for frame in FRAMES.iter().cycle() {
                if making.is_finished() {
                    break;
                }
                // Without anybody who sees it there is nobody to show it.
                let _ = write!(stderr, "\r{frame} making your key (RSA-4096), this takes some seconds");
                let _ = stderr.flush();
                thread::sleep(Duration::from_millis(80));
            }
            let _ = write!(stderr, "\r\x1b[K");
        } else {
            say("socp-client: making your key (RSA-4096), this takes some seconds");
        }
        making.join()
    });
    match made {
        Ok(made) => made.map_err(|error| Fatal::new(format!("making a key: {error}"))),
        Err(_) => Err(Fatal::new("making a key: the program has a bug")),
    }
}

/// Somebody else's file: its permissions are its owner's business.
fn read_key(path: &Path) -> Result<PrivateKey, Fatal> {
    let pem = read_text(path)?;
    PrivateKey::from_pem(&pem).map_err(|error| unusable(path, error))
}

/// A short text file.
///
/// # Errors
/// If it cannot be read, is too long or not text.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, Fatal> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => Err(unusable(path, "too long")),
        Ok(_) => Ok(text),
        Err(error) => Err(unusable(path, error)),
    }
}

/// The id that was given, this time or before.
fn remembered_id(dir: &DataDir, given: Option<&UserId>) -> Result<Option<UserId>, Fatal> {
    let file = dir.file("user_id");
    if let Some(id) = given {
        write_private(&file, id.as_str().as_bytes()).map_err(|error| unusable(&file, error))?;
        return Ok(Some(id.clone()));
    }
    match read_private(&file) {
        Ok(text) => {
            text.trim_end_matches(['\r', '\n']).parse().map(Some).map_err(|error| unusable(&file, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&file, error)),
    }
}

/// A file and what is wrong with it.
pub(crate) fn unusable(path: &Path, why: impl std::fmt::Display) -> Fatal {
    Fatal::new(format!("{}: {why}", path.display()))
}

/// Asks for another password on the terminal: the old one, if somebody had to type it, and the new one.
///
/// # Errors
/// If the terminal cannot be read, or the user gave up.
pub(crate) fn ask_for_change(
    keyring: &Keyring,
) -> io::Result<(Option<Zeroizing<String>>, Zeroizing<String>)> {
    let old = if keyring.is_unlocked() { None } else { Some(password::ask("Old password: ")?) };
    Ok((old, password::ask_twice()?))
}
