//! A question of a hundred bytes that costs a walk of the whole log: it names a fork that no node knows.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use antiphon_kernel::digest::Digest;
use antiphon_kernel::protocol::{ChainHead, FetchReply, FetchRequest, Heads, RequestId};

use super::asker::Asker;
use crate::support::{Place, event, free_port};

const EVENTS: usize = 40_000;
/// Walks that the attackers may get in all, by their number of entries: 250,000 a second, and what is allowed ahead.
const PACE: f64 = 250_000.0;

#[test]
fn made_up_forks_cost_no_more_than_their_pace_and_a_healthy_asker_is_served_meanwhile() {
    let port = free_port();
    let place =
        Place::new(&format!("node: {{ name: alpha, data_dir: data }}\nlisten: {{ https: 127.0.0.1:{port} }}\n"));
    let (code, _, err) = place.pipe(&["import"], &(0..EVENTS).map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
    let _alpha = place.serve();
    let healthy = Asker::new(port, 1);
    let to = healthy.identity().cortex_id;
    let FetchReply::Batch(batch) = healthy.ask(FetchRequest { max_events: 1, ..healthy.question(to) }) else {
        panic!("no batch")
    };
    let origin = batch.heads.iter().next().unwrap().0;
    let (done, walks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for attacker in 0..8_u32 {
            let (done, walks) = (&done, &walks);
            scope.spawn(move || {
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    number += 1;
                    // Another one each time, so that nothing is remembered.
                    let counter = u64::from(2 + attacker * 1000 + number);
                    let head = ChainHead { counter, digest: Digest::of(&counter.to_be_bytes()) };
                    let asker = Asker::new(port, u128::from(1000 + attacker * 1000 + number));
                    let request = RequestId { process: 1, number: u64::from(number) };
                    asker.ask(FetchRequest {
                        request,
                        max_events: 1,
                        withhold: Heads::new(vec![(origin, head)]),
                        ..asker.question(to)
                    });
                    walks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            let reply = healthy.ask(FetchRequest { max_events: 10, ..healthy.question(to) });
            assert!(matches!(reply, FetchReply::Batch(batch) if batch.events.len() >= 10), "a group comes whole");
            slowest = slowest.max(asked.elapsed());
        }
        let (walks, took) = (f64::from(walks.load(Ordering::Relaxed)), began.elapsed().as_secs_f64());
        done.store(true, Ordering::Relaxed);
        // Those under way, and the half second that each may be ahead.
        let most = (took + 1.0) * PACE / EVENTS as f64 + 16.0;
        assert!(walks > 0.0 && walks <= most, "{walks} walks in {took} s, at most {most}");
        assert!(slowest < Duration::from_secs(10), "a healthy asker waited {slowest:?}");
    });
}
