//! The benches of socp-rs: `cargo bench -p socp-benches [--bench fanout|wire|crypto|files|memory]`. Compare ratios within one run;
//! absolute times are the machine's, and machines are noisy.
