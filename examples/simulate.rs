//! Does the promise hold? Runs the worlds of `socp_core::sim`, many seeds of each, on all cores.
//!
//! ```text
//! cargo run --release -p socp-examples --example simulate                          every scenario, 300 seeds each
//! cargo run --release -p socp-examples --example simulate -- --seeds 10000 --scenario splits
//! cargo run --release -p socp-examples --example simulate -- --scenario splits --seed 42 --trace 100000
//! cargo run --release -p socp-examples --example simulate -- --scenario sparse --servers 500 --users 1000 --seeds 1
//! cargo run --release -p socp-examples --example simulate -- --list
//! ```
//!
//! Exits with 1 if an invariant broke, after printing the seed, the invariant, what happened before it, and the
//! command that plays it again. The last line is a summary.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Parser;
use socp_core::server::Limits;
use socp_core::sim::{Failure, Scenario, Settled, Sim, scenarios};

/// Runs simulated worlds of SOCP servers, clients and liars, and checks that the promises hold.
#[derive(Parser)]
struct Args {
    /// The scenario; without it, all of them.
    #[arg(long)]
    scenario: Option<String>,
    /// Seeds of each scenario.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed alone, twice: its traces must be equal.
    #[arg(long)]
    seed: Option<u64>,
    /// How many happenings a failure prints, and a single seed too.
    #[arg(long)]
    trace: Option<usize>,
    /// Another number of servers than the scenario's.
    #[arg(long)]
    servers: Option<usize>,
    /// Another number of users than the scenario's.
    #[arg(long)]
    users: Option<usize>,
    /// How many failures of a scenario are printed before it is given up.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// Names the scenarios.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        scenarios().iter().for_each(|scenario| println!("{:17} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<Scenario> = scenarios()
        .iter()
        .filter(|scenario| args.scenario.as_ref().is_none_or(|name| name == scenario.name))
        .copied()
        .collect();
    if chosen.is_empty() {
        eprintln!("no scenario of that name; --list names them");
        return ExitCode::from(2);
    }
    // A panic is a finding, reported with its seed; its backtrace would only be in the way.
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            eprintln!("{panic}");
        }
    }));
    let began = Instant::now();
    let results: Vec<Tally> = chosen.iter().map(|scenario| run(scenario, &args)).collect();
    let worlds: u64 = results.iter().map(|tally| tally.worlds).sum();
    let failed: usize = results.iter().map(|tally| tally.failed).sum();
    let happenings: u64 = results.iter().map(|tally| tally.happenings).sum();
    println!(
        "{}: {worlds} worlds, {happenings} happenings in {:.1} s, {failed} failed",
        if failed == 0 { "all promises hold" } else { "BROKEN" },
        began.elapsed().as_secs_f64(),
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What the worlds of a scenario came to.
#[derive(Default)]
struct Tally {
    worlds: u64,
    failed: usize,
    happenings: u64,
    /// The longest time to the truth, and its seed.
    slowest: (Duration, u64),
}

impl Tally {
    fn add(&mut self, seed: u64, result: &Result<Settled, Box<Failure>>) {
        self.worlds += 1;
        match result {
            Ok(settled) => {
                self.happenings += settled.happenings;
                self.slowest = self.slowest.max((settled.after, seed));
            }
            Err(_) => self.failed += 1,
        }
    }
}

fn run(scenario: &Scenario, args: &Args) -> Tally {
    let began = Instant::now();
    let tally = match args.seed {
        Some(seed) => run_twice(scenario, seed, args),
        None => run_many(scenario, args),
    };
    println!(
        "{:17} {:>6} worlds in {:>6.1} s, {} failed; truth known after {:?} at most (seed {})",
        scenario.name,
        tally.worlds,
        began.elapsed().as_secs_f64(),
        tally.failed,
        tally.slowest.0,
        tally.slowest.1,
    );
    tally
}

/// A seed's world, with the sizes that were asked for.
fn sim(scenario: &Scenario, seed: u64, args: &Args) -> Sim {
    let sim = scenario.sim(seed);
    let sim = match args.servers {
        // The bound on known servers is no part of what is tried.
        Some(servers) => {
            sim.servers(servers).limits(Limits { servers: servers.max(256), ..Limits::default() })
        }
        None => sim,
    };
    match args.users {
        Some(users) => sim.users(users),
        None => sim,
    }
}

/// One seed, with its trace; the second time it must be the same to the last byte.
fn run_twice(scenario: &Scenario, seed: u64, args: &Args) -> Tally {
    let mut tally = Tally::default();
    let kept = args.trace.unwrap_or(120);
    let result = scenario.run_sim(sim(scenario, seed, args).keep(kept));
    let again = scenario.run_sim(sim(scenario, seed, args).keep(kept));
    match (&result, &again) {
        (Ok(first), Ok(second)) if first != second => {
            println!("NOT DETERMINISTIC: seed {seed} gave {first:?}, then {second:?}");
            tally.failed += 1;
        }
        (Ok(settled), _) => println!("{settled:?}"),
        (Err(failure), _) => println!("{failure}"),
    }
    tally.add(seed, &result);
    tally
}

fn run_many(scenario: &Scenario, args: &Args) -> Tally {
    let tally = Mutex::new(Tally::default());
    let next = AtomicU64::new(args.from);
    let printed = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= args.from.saturating_add(args.seeds) || printed.load(Relaxed) >= args.failures
                    {
                        return;
                    }
                    let sim = sim(scenario, seed, args).keep(args.trace.unwrap_or(120));
                    let result = scenario.run_sim(sim);
                    let mut tally = tally.lock().expect("no thread panics while it holds this");
                    tally.add(seed, &result);
                    if let Err(failure) = result
                        && printed.fetch_add(1, Relaxed) < args.failures
                    {
                        println!("{failure}\n");
                    }
                }
            });
        }
    });
    tally.into_inner().expect("no thread panics while it holds this")
}
