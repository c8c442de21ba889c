//! Where passwords come from. That of the key: a file that was named, the user, or a file of our own. That for a
//! server: a file or the user.

use std::io::{self, IsTerminal};
use std::path::Path;

use socp_core::wire::encode_base64;
use socp_transport::vault::{VaultError, read_private};
use zeroize::Zeroizing;

use crate::args::{Args, Spoken};
use crate::fatal::Fatal;
use crate::identity::{Keyring, read_text, unusable};
use crate::say;
use crate::terminal::Hidden;

/// How often a password may be mistyped.
const TRIES: usize = 3;

/// Bytes of chance in a password that nobody types.
const MADE_BYTES: usize = 32;

/// The places where a password may be.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// `--password-file`.
    pub(crate) file: Option<&'a Path>,
    /// Our own file.
    pub(crate) unlock: &'a Path,
}

/// A password for a new key.
pub(crate) enum Password {
    /// The user knows it.
    Given(Zeroizing<String>),
    /// Nobody does: it is to be written to our own file.
    Made(Zeroizing<String>),
}

impl Password {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Given(password) | Self::Made(password) => password,
        }
    }
}

impl Source<'_> {
    /// A password for a new key.
    ///
    /// # Errors
    /// If there is none to be had.
    pub(crate) fn new_password(&self) -> Result<Password, Fatal> {
        if let Some(file) = self.file {
            return first_line(file).map(Password::Given);
        }
        if io::stdin().is_terminal() {
            say("A password protects your private key. There is no way to recover it.");
            return ask_twice().map(Password::Given).map_err(no_password);
        }
        let mut bytes = Zeroizing::new([0; MADE_BYTES]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|error| Fatal::new(format!("making a password: {error}")))?;
        Ok(Password::Made(Zeroizing::new(encode_base64(bytes.as_slice()))))
    }

    /// Opens the key in `file` with the password that was given, with our own, or with what the user types.
    ///
    /// # Errors
    /// If there is no password or none that fits, or the key's file is damaged.
    pub(crate) fn unlock_with<T>(
        &self,
        file: &Path,
        open: impl Fn(&str) -> Result<T, VaultError>,
    ) -> Result<T, Fatal> {
        if let Some(password_file) = self.file {
            let password = first_line(password_file)?;
            return open(&password).map_err(|error| {
                let from = password_file.display();
                unusable(file, format!("{error} (the password is from {from})"))
            });
        }
        let own = match read_private(self.unlock) {
            Ok(password) => Some(open(password.trim_end())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(self.unlock, error)),
        };
        match own {
            Some(Ok(key)) => return Ok(key),
            Some(Err(error)) if !io::stdin().is_terminal() => {
                let from = self.unlock.display();
                return Err(unusable(file, format!("{error} (the password is from {from})")));
            }
            // The user may know better.
            Some(Err(_)) | None => {}
        }
        if !io::stdin().is_terminal() {
            let why = "has a password, and stdin is no terminal to ask for it; give --password-file";
            return Err(unusable(file, why));
        }
        for left in (0..TRIES).rev() {
            let password = ask("Password of your key: ").map_err(no_password)?;
            match open(&password) {
                Err(VaultError::WrongPasswordOrDamaged) if left > 0 => say("That is not it."),
                opened => return opened.map_err(|error| unusable(file, error)),
            }
        }
        Err(unusable(file, VaultError::WrongPasswordOrDamaged))
    }
}

/// Asks on the terminal; what is typed does not show.
///
/// # Errors
/// If the terminal cannot be read, or the user gave up.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    // It hides what is typed only after its prompt, and somebody may be quicker.
    let _hidden = Hidden::new();
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// Asks for a new password until it was typed twice the same.
///
/// # Errors
/// If the terminal cannot be read, or the user gave up.
pub(crate) fn ask_twice() -> io::Result<Zeroizing<String>> {
    for _ in 0..TRIES {
        let password = ask("New password: ")?;
        if password.is_empty() {
            say("An empty password protects nothing.");
        } else if ask("Again: ")? == password {
            return Ok(password);
        } else {
            say("These are two different ones.");
        }
    }
    Err(io::Error::other("no new password in three tries"))
}

/// The user's password at a server that wants one, from the file that was named or asked for on the terminal; none
/// while nobody knows that it wants one.
///
/// # Errors
/// If there is none to be had, or it is that of the key.
pub(crate) fn at_server(args: &Args, keyring: &Keyring) -> Result<Option<Zeroizing<String>>, Fatal> {
    let password = match &args.server_password_file {
        Some(file) => first_line(file)?,
        None if args.dialect != Some(Spoken::Seed) => return Ok(None),
        None if io::stdin().is_terminal() => ask_for_server().map_err(no_password)?,
        None => {
            let why = "a seed's server wants a password, and stdin is no terminal to ask for it; give \
                       --server-password-file";
            return Err(Fatal::new(why));
        }
    };
    for_server(keyring, password).map(Some)
}

/// A password that a server may see: the key's it may not.
///
/// # Errors
/// If it is that.
pub(crate) fn for_server(keyring: &Keyring, password: Zeroizing<String>) -> Result<Zeroizing<String>, Fatal> {
    match keyring.is_password(&password)? {
        true => {
            Err(Fatal::new("that is the password of your key; choose another one, since the server sees it"))
        }
        false => Ok(password),
    }
}

/// Asks for the password at a server, which the user may be about to choose.
///
/// # Errors
/// If the terminal cannot be read, or the user gave up.
pub(crate) fn ask_for_server() -> io::Result<Zeroizing<String>> {
    for _ in 0..TRIES {
        let password = ask("Password for this server: ")?;
        if password.is_empty() {
            return Err(io::Error::other("no password"));
        }
        let again = ask("Again, if you are new there, else Enter: ")?;
        if again.is_empty() || again == password {
            return Ok(password);
        }
        say("These are two different ones.");
    }
    Err(io::Error::other("no password in three tries"))
}

/// The password on the first line of a file.
///
/// # Errors
/// If the file cannot be read, or there is none in it.
pub(crate) fn first_line(path: &Path) -> Result<Zeroizing<String>, Fatal> {
    let text = read_text(path)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        Some(_) | None => Err(unusable(path, "no password on its first line")),
    }
}

fn no_password(error: io::Error) -> Fatal {
    Fatal::new(format!("no password: {error}"))
}
