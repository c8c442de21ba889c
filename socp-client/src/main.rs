//! `socp-client`: SOCP chat in the terminal, and for scripts.

mod args;
mod commands;
mod editor;
mod fatal;
mod identity;
mod input;
mod logging;
mod password;
mod progress;
mod reach;
mod run;
mod screen;
mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use socp_core::client::Record;
use socp_transport::data_dir::DataDir;
use socp_transport::store::SqliteStore;

use args::{Args, KeyTask, Task};
use fatal::Fatal;
use identity::{Identity, Rotated};

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
        Ok(code) => code,
        Err(fatal) => {
            say(&format!("socp-client: {fatal}"));
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<ExitCode, Fatal> {
    logging::start(args.log_level);
    if let Some(Task::Key(KeyTask::Rotate { new_key })) = &args.task {
        return rotate_key(args, new_key.as_deref());
    }
    let server = reach::Server::of(args)?;
    let dir = data_dir(args)?;
    if let Some(file) = &args.export_key {
        identity::must_be_new(file)?;
    }
    let identity = Identity::open(&dir, args)?;
    if let Some(file) = &args.export_key {
        identity.export(file)?;
        say(&format!("socp-client: wrote the private key to {}; it has no password", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let password = password::at_server(args, identity.keyring())?;
    let store = SqliteStore::<Record>::open(dir.file("client.db"))?;
    // Before there are threads that would inherit it.
    terminal::suspend_elsewhere();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(format!("starting threads: {error}")))?;
    let code = runtime.block_on(run::run(args, server, &dir, identity, store, password));
    // Whatever still blocks has nothing to say any more.
    runtime.shutdown_background();
    code
}

fn data_dir(args: &Args) -> Result<DataDir, Fatal> {
    let path = match &args.data_dir {
        Some(path) => path.clone(),
        None => DataDir::default_for_client(&args.user)?,
    };
    Ok(DataDir::open(path)?)
}

fn rotate_key(args: &Args, new_key: Option<&Path>) -> Result<ExitCode, Fatal> {
    let Rotated { user_id, was, now, left } = Identity::rotate(&data_dir(args)?, args, new_key)?;
    let mut out = std::io::stdout();
    let shown = writeln!(out, "old key {}", was.fingerprint())
        .and_then(|()| writeln!(out, "new key {}", now.fingerprint()))
        .and_then(|()| writeln!(out, "your id stays {user_id}; others learn of the new key when you log in"))
        .and_then(|()| writeln!(out, "the key can be replaced {left} times more"));
    // The key is replaced, seen or not.
    Ok(if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line on stderr. Without anybody who reads it there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
