//! The prompt: a line editor with history and completion, on a thread of its own.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, Helper, KeyEvent, RepeatCount,
};
use socp_core::wire::MetaField;
use tokio::sync::mpsc;

use crate::commands::{self, COMMANDS, Line};
use crate::identity::{Keyring, ask_for_change};
use crate::input::Input;
use crate::password::ask_for_server;
use crate::progress;
use crate::say;
use crate::terminal::suspend_here;

/// How long the next prompt waits for the user's new name, so that it is its first.
const NEW_NAME: Duration = Duration::from_millis(300);

/// Lines of history that are kept.
const HISTORY: usize = 1000;

/// How long completion waits for names: a key press is not to be felt.
const NAMES: Duration = Duration::from_millis(300);

/// Entries of a folder that are looked at for completion, whether they fit or not: a key press is not to be felt, and a
/// folder may hold millions.
const MAX_ENTRIES: usize = 10_000;

/// Paths that are offered: each is asked whether it is a folder.
const MAX_PATHS: usize = 1000;

/// Writes lines above the prompt.
pub(crate) type Printer = Box<dyn FnMut(String) -> bool + Send>;

/// What the user is called, at the prompt. Whoever learns of another name sets it.
#[derive(Clone, Debug)]
pub(crate) struct OwnName(Arc<(Mutex<String>, Condvar)>);

impl OwnName {
    /// An escaped name.
    pub(crate) fn new(name: String) -> Self {
        Self(Arc::new((Mutex::new(name), Condvar::new())))
    }

    /// From the next prompt on.
    pub(crate) fn set(&self, name: String) {
        // A thread that panicked while it held a name left one.
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.0.1.notify_all();
    }

    /// As it stands before what is typed.
    pub(crate) fn prompt(&self) -> String {
        format!("{}> ", self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits a moment for somebody to set another one.
    fn await_news(&self) {
        let name = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without news the prompt stays as it is.
        let _ = self.0.1.wait_timeout(name, NEW_NAME);
    }
}

/// The prompt and what is typed at it, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed(Arc<Mutex<(String, String, usize)>>);

impl Typed {
    /// As it stands on the screen.
    pub(crate) fn line(&self) -> String {
        let typed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}{}", typed.0, typed.1)
    }

    fn begin(&self, prompt: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (prompt.into(), String::new(), 0);
    }

    fn note(&self, line: &str, cursor: usize) {
        let mut typed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (typed.1, typed.2) = (line.into(), cursor);
    }

    /// What stands left and right of the cursor.
    fn halves(&self) -> (String, String) {
        let typed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, right) = typed.1.split_at_checked(typed.2).unwrap_or((&typed.1, ""));
        (left.into(), right.into())
    }
}

/// A prompt that does not run yet.
pub(crate) struct Prompt {
    editor: Editor<Names, DefaultHistory>,
    history: PathBuf,
    name: OwnName,
    typed: Typed,
}

impl Prompt {
    /// A prompt, and who writes above it; none if the terminal cannot do that.
    pub(crate) fn new(
        name: OwnName,
        history: PathBuf,
        colour: bool,
        inputs: mpsc::Sender<Input>,
    ) -> Option<(Self, Printer)> {
        let config = Config::builder()
            .max_history_size(HISTORY)
            .ok()?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).ok()?;
        let mut printer = editor.create_external_printer().ok()?;
        let typed = Typed::default();
        editor.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Conditional(Box::new(Suspend)));
        editor.set_helper(Some(Names { inputs, colour, typed: typed.clone() }));
        // There is none yet, or it cannot be read: then it starts anew.
        let _ = editor.load_history(&history);
        Some((Self { editor, history, name, typed }, Box::new(move |line| printer.print(line).is_ok())))
    }

    /// What is typed at it.
    pub(crate) fn typed(&self) -> Typed {
        self.typed.clone()
    }

    /// Reads lines until the user leaves. Nobody waits for the thread.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(mut self, keyring: Keyring, inputs: mpsc::Sender<Input>) -> io::Result<()> {
        thread::Builder::new().name("prompt".into()).spawn(move || {
            suspend_here();
            let mut number = 0;
            let mut going = true;
            let mut begun = (String::new(), String::new());
            while going {
                let prompt = self.name.prompt();
                self.typed.begin(&prompt);
                let (left, right) = std::mem::take(&mut begun);
                let line = match self.editor.readline_with_initial(&prompt, (&left, &right)) {
                    Ok(line) => line,
                    // Ctrl-C empties the line.
                    Err(ReadlineError::Interrupted) => continue,
                    // A window that changes its size is no news, but at times the editor gives up its line.
                    Err(ReadlineError::Signal(_)) => {
                        begun = self.typed.halves();
                        continue;
                    }
                    // Ctrl-D, or the terminal is gone.
                    Err(_) => break,
                };
                number += 1;
                let meant = commands::parse(&line);
                let renames = matches!(&meant, Ok(Some(Line::Me(Some(change)))) if change.field == MetaField::DisplayName);
                let input = match meant {
                    Ok(Some(Line::Password(None))) => match ask_for_change(&keyring) {
                        Ok((old, new)) => Input::Password { number, old, new },
                        Err(error) => {
                            say(&format!("The password stays as it is: {error}"));
                            continue;
                        }
                    },
                    Ok(Some(Line::Login)) => match ask_for_server() {
                        Ok(password) => Input::ServerPassword { number, password },
                        Err(error) => {
                            say(&format!("No login: {error}"));
                            continue;
                        }
                    },
                    Ok(Some(Line::Password(Some(_)))) => {
                        say("Type /password alone: you are asked for it, and it does not show.");
                        continue;
                    }
                    meant => {
                        self.remember(&line);
                        going = meant != Ok(Some(Line::Quit));
                        Input::Line { number, text: Ok(line) }
                    }
                };
                if inputs.blocking_send(input).is_err() {
                    return;
                }
                if renames {
                    self.name.await_news();
                }
            }
            // The main loop may be gone.
            let _ = inputs.blocking_send(Input::End);
        })?;
        Ok(())
    }

    /// At once, so that a killed program has lost nothing.
    fn remember(&mut self, line: &str) {
        if self.editor.add_history_entry(line).unwrap_or(false) {
            // A full disk is no reason to stop talking.
            let _ = self.editor.append_history(&self.history);
        }
    }
}

/// Ctrl-Z, before the editor acts on it: it knows nothing of the bars.
struct Suspend;

impl ConditionalEventHandler for Suspend {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        progress::lay_aside();
        // What it would do without us.
        None
    }
}

/// What is followed by a user's name.
const TO_A_USER: [&str; 5] = ["/tell ", "/file ", "/whois ", "/verify ", "/unverify "];

/// Completes commands, and names of users after those that need one.
struct Names {
    inputs: mpsc::Sender<Input>,
    colour: bool,
    typed: Typed,
}

impl Names {
    /// Who is online; nobody if the main loop has no time to say.
    fn online(&self) -> Vec<String> {
        let (reply, names) = sync_channel(1);
        let asked = self.inputs.try_send(Input::Names(reply));
        asked.ok().and_then(|()| names.recv_timeout(NAMES).ok()).unwrap_or_default()
    }
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        if let Some((start, path)) = commands::path_typed(typed) {
            return Ok((start, paths_for(path)));
        }
        let named = TO_A_USER.iter().find_map(|command| Some((command.len(), typed.strip_prefix(command)?)));
        Ok(match named {
            Some((start, name)) => (start, names_for(name, self.online())),
            None if typed.contains(' ') => (0, Vec::new()),
            None => (0, commands_for(typed)),
        })
    }
}

fn commands_for(typed: &str) -> Vec<Pair> {
    let starts = |(command, _, _): &&(&str, _, _)| command.starts_with(typed);
    let pair = |(command, rest, _): &(&str, &str, _)| Pair {
        display: (*command).into(),
        replacement: if rest.is_empty() { (*command).into() } else { format!("{command} ") },
    };
    COMMANDS.iter().filter(starts).map(pair).collect()
}

/// Files and folders that the path may go on with. It is the rest of the line: spaces need no quotes.
fn paths_for(typed: &str) -> Vec<Pair> {
    let (folder, name) = commands::unfinished(typed);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    paths_among(entries, typed, name)
}

/// `name` is the part of `typed` behind the folder.
fn paths_among(entries: impl Iterator<Item = std::fs::DirEntry>, typed: &str, name: &str) -> Vec<Pair> {
    let before = &typed[..typed.len() - name.len()];
    let pair = |entry: std::fs::DirEntry| {
        // A name that is no text cannot be typed; what is hidden is shown to who asks for it.
        let mut display = entry.file_name().into_string().ok()?;
        let is_hidden = display.starts_with('.') && !name.starts_with('.');
        if !display.starts_with(name) || is_hidden || display.chars().any(char::is_control) {
            return None;
        }
        // Through links, too.
        if std::fs::metadata(entry.path()).is_ok_and(|data| data.is_dir()) {
            display.push('/');
        }
        Some(Pair { replacement: format!("{before}{display}"), display })
    };
    let mut pairs: Vec<_> = entries.take(MAX_ENTRIES).filter_map(pair).take(MAX_PATHS).collect();
    pairs.sort_by(|a, b| a.display.cmp(&b.display));
    pairs
}

fn names_for(typed: &str, online: Vec<String>) -> Vec<Pair> {
    let wanted = typed.strip_prefix('"').unwrap_or(typed).to_lowercase();
    let pair = |name: String| Pair { replacement: format!("{} ", commands::quoted(&name)), display: name };
    online.into_iter().filter(|name| name.to_lowercase().starts_with(&wanted)).map(pair).collect()
}

impl Highlighter for Names {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> std::borrow::Cow<'b, str> {
        if self.colour { format!("\x1b[1m{prompt}\x1b[0m").into() } else { prompt.into() }
    }
}

impl Hinter for Names {
    type Hint = String;

    /// Gives none: it is asked whenever the line changes, which is how we know what is typed, and when the program goes on
    /// after Ctrl-Z.
    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<String> {
        progress::take_up();
        self.typed.note(line, cursor);
        None
    }
}

impl Validator for Names {}
impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacements(pairs: Vec<Pair>) -> Vec<String> {
        pairs.into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn commands_and_names_are_completed() {
        assert_eq!(replacements(commands_for("/l")), ["/list", "/login"]);
        assert_eq!(replacements(commands_for("/t")), ["/tell "]);
        assert_eq!(commands_for("/").len(), COMMANDS.len());
        assert_eq!(commands_for("hello").len(), 0);
        let online = || vec!["Alice".to_owned(), "alice smith".to_owned(), "bob".to_owned()];
        assert_eq!(replacements(names_for("al", online())), ["Alice ", "\"alice smith\" "]);
        assert_eq!(replacements(names_for("\"alice s", online())), ["\"alice smith\" "]);
        assert_eq!(replacements(names_for("bob h", online())), [""; 0]);
    }

    #[test]
    fn paths_are_completed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cat one.jpg", "cat two.jpg", ".cat", "dog"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("cats")).unwrap();
        let base = folder.path().to_str().unwrap();
        let all = |names: &[&str]| names.iter().map(|name| format!("{base}/{name}")).collect::<Vec<_>>();
        let typed = |rest: &str| replacements(paths_for(&format!("{base}/{rest}")));
        assert_eq!(typed("cat"), all(&["cat one.jpg", "cat two.jpg", "cats/"]));
        assert_eq!(typed("cat t"), all(&["cat two.jpg"]));
        assert_eq!(typed("."), all(&[".cat"]));
        assert_eq!(replacements(paths_for(&format!("\"{base}/d"))), [format!("\"{base}/dog")]);
        assert_eq!(typed("nowhere/x"), [""; 0]);
    }

    #[test]
    fn no_folder_is_too_long_to_look_for_a_path_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dog"), "").unwrap();
        let mut looked_at = 0;
        let endless =
            std::iter::repeat_with(|| std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap());
        let counted = endless.inspect(|_| looked_at += 1);
        assert_eq!(replacements(paths_among(counted, "cat", "cat")), [""; 0]);
        assert_eq!(looked_at, MAX_ENTRIES);
    }
}
