//! The simulated world: every scenario on many seeds, and what it once found.

use std::time::Duration;

use socp_core::sim::{Faults, Life, Mesh, Scenario, Sim, scenarios};

/// Seeds of each scenario. Nights are for `examples/simulate.rs`.
const SEEDS: u64 = 200;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn scenario(name: &str) -> Scenario {
    *scenarios().iter().find(|scenario| scenario.name == name).expect("a scenario of that name")
}

fn holds(name: &str, seeds: impl IntoIterator<Item = u64>) {
    let scenario = scenario(name);
    for seed in seeds {
        if let Err(failure) = scenario.run(seed) {
            panic!("{failure}");
        }
    }
}

/// A test for each scenario, so that they run side by side.
macro_rules! scenario_tests {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            holds($name, 0..SEEDS);
        })*

        #[test]
        fn every_scenario_has_a_test() {
            let tested = [$($name),*];
            let names: Vec<&str> = scenarios().iter().map(|scenario| scenario.name).collect();
            assert_eq!(names, tested);
        }
    };
}

scenario_tests! {
    calm: "calm";
    cuts: "cuts";
    splits: "splits";
    crashes: "crashes";
    clocks: "clocks";
    years_ahead: "years-ahead";
    slow: "slow";
    storm: "storm";
    roaming: "roaming";
    two_addresses: "two-addresses";
    one_introducer: "one-introducer";
    introducers_down: "introducers-down";
    many_servers: "many-servers";
    sparse: "sparse";
    rotations: "rotations";
    liars: "liars";
    liars_calm: "liars-calm";
    tight_limits: "tight-limits";
    everything: "everything";
}

#[test]
fn the_same_seed_is_the_same_world_to_the_last_byte() {
    let mut hashes = Vec::new();
    for scenario in scenarios() {
        for seed in [3, 4] {
            let hash = |result: Result<socp_core::sim::Settled, _>| result.map(|settled| settled.trace_hash);
            let first = hash(scenario.run(seed)).expect("holds");
            assert_eq!(hash(scenario.run(seed)), Ok(first), "{} {seed}", scenario.name);
            hashes.push(first);
        }
    }
    let worlds = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), worlds, "every other world is another one");
}

#[test]
fn a_failure_says_what_broke_and_how_to_see_it_again() {
    // Nobody can settle in no time.
    let failure = Sim::new(5)
        .named("hasty")
        .faults(Faults { crash_every: Some(secs(5)), ..Faults::none() })
        .run_for(secs(30))
        .and_then(|mut world| world.settle(secs(0)))
        .expect_err("too hasty");
    assert_eq!(failure.invariant, "everybody knows the truth in time");
    let report = failure.to_string();
    assert!(report.contains("everything is mended"), "{report}");
    assert!(report.contains("BROKEN hasty, seed 5, at 3"), "{report}");
    assert!(report.ends_with("--example simulate -- --scenario hasty --seed 5"), "{report}");
}

/// Seeds that once broke an invariant, and what the fault was. The worlds may have changed since: what each
/// found has a test of its own besides, where the fault can be named.
#[test]
fn what_was_found_stays_found() {
    for (name, seed) in [
        // Servers that joined one introducer at the same moment never learnt of each other.
        ("one-introducer", 1),
        ("many-servers", 5),
        ("sparse", 0),
        // A neighbour was read slowly for adverts of a server that only it knew.
        ("liars-calm", 2),
        // An attestation from the future never counted, not even once the clock was right.
        ("everything", 0),
        // A proof from a clock ten minutes ahead locked its own user out elsewhere.
        ("everything", 74),
        // A liar came first under the id that derives from a listed key.
        ("everything", 225),
        // A late USER_NOT_FOUND undid a newer advert, and the duplicate cache kept it undone.
        ("roaming", 185),
        // Neighbours asked each other in a chain, and each waited a minute for nothing.
        ("sparse", 254),
        // A server's announcement under a liar's name: its neighbour was read slowly for what the liar said.
        ("liars-calm", 41_955),
    ] {
        holds(name, [seed]);
    }
}

/// The same world with real keys: what is fake elsewhere is fake for speed alone.
#[cfg(feature = "aws-lc")]
#[test]
fn real_keys_make_the_same_promises() {
    use socp_core::crypto::aws_lc::{PrivateKey, Provider};
    use socp_core::sim::{KeyPair, Keys};
    use std::sync::Arc;

    const FIXTURES: [&str; 4] = ["server-a", "server-b", "alice", "bob"];
    // The world numbers its people from 1 and its servers from a million.
    let pair = |number: u64| {
        let name = FIXTURES[(number as usize % 1_000_000 + if number < 1_000_000 { 1 } else { 0 }) % 4];
        let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let key =
            PrivateKey::from_pem(&std::fs::read_to_string(path).expect("a fixture")).expect("a good key");
        let key = Arc::new(key);
        KeyPair { signer: key.clone(), opener: key }
    };
    let provider = Arc::new(Provider::new());
    let keys = Keys { pair: Arc::new(pair), verifier: provider.clone(), sealer: provider };
    let life = Life { act_every: secs(8), ..Life::ordinary() };
    let mut world = Sim::new(1)
        .servers(2)
        .users(2)
        .life(life)
        .faults(Faults { cut_every: Some(secs(20)), ..Faults::none() })
        .keys(keys)
        .run_for(secs(60))
        .unwrap_or_else(|failure| panic!("{failure}"));
    let settled = world.settle(secs(240)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(settled.online > 0);
}

/// The laws of `docs/gossip-cost.md`.
#[test]
fn gossip_costs_no_more_than_its_laws() {
    for servers in [3, 8] {
        let n = servers as u64;
        let cost = socp_core::sim::Cost::measure(servers);
        for (what, frames, most) in [
            ("login", cost.login.frames, n * n),
            ("logout", cost.logout.frames, n * n),
            ("message", cost.message.frames, 1),
            ("join", cost.join.frames, 7 * n * n + 10 * n),
            ("a quiet minute", cost.minute.frames, 5 * n * n),
        ] {
            assert!(0 < frames && frames <= most, "{what} with {n} servers: {frames} of {most}");
        }
    }
}

/// They learn of each other from the introducer, though neither was there yet when it welcomed the other.
#[test]
fn who_joins_at_the_same_moment_is_linked_within_seconds() {
    for seed in 0..30 {
        let together = Faults { start_within: Duration::from_millis(30), ..Faults::none() };
        let mut world = Sim::new(seed)
            .servers(6)
            .mesh(Mesh::Introducers(1))
            .faults(together)
            .life(Life::idle())
            .run_for(secs(20))
            .unwrap_or_else(|failure| panic!("{failure}"));
        assert!(world.is_meshed(), "seed {seed}");
        world.settle(secs(1)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_large_sparse_network_agrees() {
    let life = Life { act_every: secs(60), ..Life::ordinary() };
    let mut world = Sim::new(1)
        .servers(40)
        .users(60)
        .mesh(Mesh::Sparse(3))
        .life(life)
        .run_for(secs(60))
        .unwrap_or_else(|failure| panic!("{failure}"));
    let settled = world.settle(secs(300)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(settled.online > 30 && settled.probes > 100, "{settled:?}");
}
