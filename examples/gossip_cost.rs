//! What does gossip cost? Frames and bytes between servers for a login, a logout, a message, a join and a quiet minute,
//! in full meshes of growing size: the table of `docs/gossip-cost.md`.
//!
//! ```text
//! cargo run --release -p socp-examples --example gossip_cost -- 3 10 30 100
//! ```

use socp_core::sim::{Cost, Traffic};

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![3, 10, 30] } else { sizes };
    println!("| servers | login | logout | message | join | a quiet minute |");
    println!("|---|---|---|---|---|---|");
    for size in sizes {
        let Cost { servers, login, logout, message, join, minute } = Cost::measure(size);
        let [login, logout, message, join, minute] = [login, logout, message, join, minute].map(cell);
        println!("| {servers} | {login} | {logout} | {message} | {join} | {minute} |");
    }
}

fn cell(Traffic { frames, bytes }: Traffic) -> String {
    let size = match bytes {
        0..10_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    };
    format!("{frames} ({size})")
}
