//! What a frame costs before any key is touched: parse, canonicalise, write.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use socp_core::crypto::{SharedPayload, Unsigned, aws_lc};
use socp_core::wire::*;

fn frames() -> Vec<(&'static str, String)> {
    let signer = aws_lc::PrivateKey::from_pem(include_str!("../socp-core/tests/fixtures/keys/alice.pem"));
    let signer = signer.expect("a fixture key");
    let (alice, bob) = ("alice".parse::<UserId>().expect("an id"), "bob".parse::<UserId>().expect("an id"));
    let key = signer.public_key().clone();
    let advert = UserAdvertise {
        user_id: alice.clone(),
        server_id: "srv-a".parse().expect("an id"),
        pubkey: Some(key.clone().into()),
        meta: Some(Meta::named("Älice 🦀")),
        issued_at: Some(1_795_000_000_000),
        attestation: None,
        rotations: Vec::new(),
        event: None,
    };
    let message = Message {
        user_id: None,
        to: Some(bob.as_str().into()),
        ciphertext: Binary::new([7; 512]),
        sender: Some(alice.clone()),
        sender_pub: Some(key.into()),
        content_sig: Some(Binary::new([9; 512])),
        ts: Some(Timestamp(1_795_000_000_000)),
        original_ts: None,
        part: None,
        parts_sig: None,
    };
    let write = |payload: &Payload| {
        let payload = SharedPayload::new(payload);
        let ts = Timestamp(1_795_000_000_000);
        let frame = Unsigned::new(alice.id().clone(), Recipient::from(&bob), ts, payload);
        frame.sign(&signer).expect("a good key").text().as_str().to_owned()
    };
    vec![
        ("heartbeat", write(&Payload::Heartbeat(Empty {}))),
        ("advert", write(&Payload::UserAdvertise(advert))),
        ("direct", write(&Payload::MsgDirect(message))),
    ]
}

fn wire(criterion: &mut Criterion) {
    for (name, text) in frames() {
        let mut group = criterion.benchmark_group(format!("wire/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("parse", |bencher| {
            bencher.iter(|| Frame::parse(&text, 1 << 20).expect("a frame"))
        });
        group.bench_function("canonicalise", |bencher| {
            bencher.iter(|| canonicalise(&text, MAX_JSON_DEPTH).expect("JSON"));
        });
        let frame = Frame::parse(&text, 1 << 20).expect("a frame");
        group.bench_function("ascii_form", |bencher| bencher.iter(|| ascii_form(frame.payload_canonical())));
        let payload = frame.payload().clone();
        group.bench_function("write", |bencher| bencher.iter(|| SharedPayload::new(&payload)));
        group.finish();
    }
}

criterion_group!(benches, wire);
criterion_main!(benches);
