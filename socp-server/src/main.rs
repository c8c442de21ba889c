//! `socp-server`: a SOCP server for the command line. Everything that an embedder would want is in
//! `socp-transport`; here are arguments, files and screens.

mod args;
mod bootstrap;
mod config;
mod data;
mod demo;
mod error;
mod hints;
mod identity;
mod inspect;
mod logging;
mod mistake;
mod page;
mod parsed;
mod pins;
mod probe;
mod run;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use args::{Cli, Command};
use clap::Parser;
use error::Result;

/// How long tasks that do not end by themselves, a name look-up for example, may keep the process.
const LAST_TASKS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(args),
        Command::Identity(args) => identity::identity(&args),
        Command::Pins(args) => pins::pins(&args),
        Command::Forget(args) => pins::forget(&args),
        Command::Config(command) => config::config(command),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Probe(args) => return probe::probe(args),
        Command::Demo(args) => demo::demo(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error::tell(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting threads: {error}"))?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_TASKS);
    outcome
}
