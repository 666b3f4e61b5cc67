//! A first contact: a new connection on loopback until the peer has said who it is.
//!
//! `proof` is what both sides do in addition to TLS, in one process and without a socket: two signatures, four verifications, the proof of
//! the shared key.

use std::time::{Duration, Instant};

use antiphon_benches::logs::{writer_keys, written};
use antiphon_benches::stores::Kind;
use antiphon_benches::transports::{Medium, Opened, key};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::proof::{Channel, Introduction};
use antiphon_kernel::service::Credential;
use antiphon_kernel::testing::seeded_identity;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let source = Kind::Memory.fresh();
    drop(written(source.store(), 1));
    let writer = Cortex::builder(source.store()).keys(writer_keys()).shared_key(key()).start();
    let writer = runtime.block_on(writer).expect("the store holds a log");
    let own = seeded_identity(1, "asker");
    let mut group = c.benchmark_group("connect");
    group.sample_size(20);
    for medium in Medium::ALL {
        let opened = runtime.block_on(Opened::start(medium, writer.service()));
        let (peer, transport) = (opened.peer(), opened.transport());
        group.bench_function(medium.name(), |b| {
            b.iter_custom(|n| {
                let mut took = Duration::ZERO;
                for _ in 0..n {
                    let began = Instant::now();
                    let link = transport.link(&peer, &own).expect("the endpoint is valid");
                    let identified = runtime.block_on(link.identify(PATIENCE)).expect("it answers");
                    took += began.elapsed();
                    assert!(identified.is_proven());
                }
                took
            });
        });
        let asking = Introduction::new(&own, &peer, key());
        if medium == Medium::Memory {
            group.bench_function("proof", |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let (connect, service) = (asking.connect(), writer.service());
                        let proof = service.prove(&connect, Channel::None).await.expect("it signs");
                        let greeted = asking.hello(&connect, &proof, Channel::None).await.expect("it is proved");
                        let credential = Credential::Hello { hello: &greeted.0, channel: Channel::None };
                        service.admit(&credential).expect("it is let in");
                    });
                });
            });
        }
    }
    group.finish();
    runtime.block_on(writer.stop());
}

criterion_group!(benches, connect);
criterion_main!(benches);
