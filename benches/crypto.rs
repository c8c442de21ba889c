//! Private- and public-key operations of both providers, to be compared with each other.

use criterion::{Criterion, criterion_group, criterion_main};
use socp_core::crypto::{Opener, SaltLength, Sealer, Signer, Verifier, aws_lc, rsa};

const PEM: &str = include_str!("../socp-core/tests/fixtures/keys/alice.pem");

fn bench(
    criterion: &mut Criterion,
    name: &str,
    key: &(impl Signer + Opener),
    provider: &(impl Verifier + Sealer),
) {
    let mut group = criterion.benchmark_group(format!("crypto/{name}"));
    // An RSA-4096 private operation of the portable provider takes about 10 ms.
    group.sample_size(20);
    let message = [7; 1_024];
    let signature = key.sign(&message).expect("a good key");
    let sealed = provider.seal(key.public_key(), b"hello").expect("short");
    group.bench_function("sign", |bencher| bencher.iter(|| key.sign(&message)));
    group.bench_function("verify", |bencher| {
        bencher.iter(|| assert!(provider.verify(key.public_key(), &message, &signature, SaltLength::Digest)));
    });
    group.bench_function("seal", |bencher| bencher.iter(|| provider.seal(key.public_key(), b"hello")));
    group.bench_function("open", |bencher| bencher.iter(|| key.open(&sealed)));
    group.finish();
}

fn crypto(criterion: &mut Criterion) {
    let key = aws_lc::PrivateKey::from_pem(PEM).expect("a fixture key");
    bench(criterion, "aws-lc", &key, &aws_lc::Provider::new());
    let key = rsa::PrivateKey::from_pem(PEM).expect("a fixture key");
    bench(criterion, "rsa", &key, &rsa::Provider::new());
}

criterion_group!(benches, crypto);
criterion_main!(benches);
