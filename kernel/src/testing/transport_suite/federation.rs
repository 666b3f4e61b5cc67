//! Whole cortexes, joined by this transport.

use super::room::{log, name, peer, until};
use super::{Case, Running, TransportHarness, case, key};
use crate::config::{Config, FederationMode};
use crate::event::Draft;
use crate::log::{CausalContext, LogHandle};
use crate::machine::Phase;
use crate::service::Service;
use crate::sync::Syncer;

pub(super) const CASES: &[Case] = &[case!(a_relay_delivers), case!(a_live_mesh_sends_each_event_about_once)];

/// One of several that pull each other.
struct Member {
    log: LogHandle,
    service: Service,
    running: Box<dyn Running>,
    syncer: Syncer,
}

/// So many members, each of which pulls those that `pulls` says. They all answer before the first one asks.
async fn members(harness: &dyn TransportHarness, count: u8, pulls: impl Fn(usize, usize) -> bool) -> Vec<Member> {
    let mut answering = Vec::new();
    for n in 0..count {
        let log = log(100 + n);
        let service = Service::new(log.reader().clone(), key(), FederationMode::Sync);
        let running = harness.serve(&name("member"), service.clone()).await;
        answering.push((log, service, running));
    }
    let configs: Vec<_> = (0..answering.len())
        .map(|one| {
            let others = answering.iter().enumerate().filter(|(other, _)| pulls(one, *other));
            let peers = others.map(|(n, (_, _, running))| peer(&format!("member-{n}"), &**running)).collect();
            Config { peers, shared_key: key(), ..Config::default() }
        })
        .collect();
    let mut members = Vec::new();
    for ((log, service, running), config) in answering.into_iter().zip(configs) {
        let syncer = Syncer::new(log.clone(), vec![harness.transport()], config);
        syncer.start().await.expect("what is kept about peers in memory reads");
        members.push(Member { log, service, running, syncer });
    }
    let live = |member: &Member| member.syncer.peers().iter().all(|peer| peer.phase == Phase::Live);
    until("everyone is live", || members.iter().all(live)).await;
    members
}

async fn append(member: &Member) {
    member.log.append(vec![Draft::new("t", "x")], CausalContext::default()).await.expect("an append to memory");
}

async fn converge(members: &[Member], events: u64) {
    until("every event is everywhere", || members.iter().all(|m| m.log.reader().head().seq.get() == events)).await;
    let heads = |member: &Member| member.log.reader().heads();
    assert!(members.iter().all(|member| heads(member) == heads(&members[0])), "all hold the same");
}

async fn stop(members: Vec<Member>) {
    for member in members {
        member.syncer.stop().await;
        member.service.close();
        member.running.stop().await;
        member.log.close().await;
    }
}

/// In a row of three, the one in the middle passes on.
async fn a_relay_delivers(harness: &dyn TransportHarness) {
    let members = members(harness, 3, |one, other| one.abs_diff(other) == 1).await;
    for _ in 0..20 {
        for member in &members {
            append(member).await;
        }
    }
    converge(&members, 60).await;
    stop(members).await;
}

/// In a full mesh of eight, on a transport with runs and refreshes; where there are none, each event comes by several
/// roads, and is stored once all the same.
async fn a_live_mesh_sends_each_event_about_once(harness: &dyn TransportHarness) {
    let members = members(harness, 8, |one, other| one != other).await;
    let sent = || members.iter().map(|member| member.service.served().events).sum::<u64>();
    let round = async |rounds: u64, before: u64| {
        for _ in 0..rounds {
            for member in &members {
                append(member).await;
            }
        }
        converge(&members, before + rounds * 8).await;
    };
    // Once around, so that everyone has told everyone whom it pulls.
    round(1, 0).await;
    let (before, events) = (sent(), 15 * 8);
    round(15, 8).await;
    let sent = sent() - before;
    let runs = {
        let transport = harness.transport();
        let link = transport.link(&peer("member-0", &*members[0].running), &super::room::own()).expect("a link");
        let request =
            crate::protocol::FetchRequest { to: members[0].log.reader().local().cortex_id, ..super::room::question() };
        link.tail(&request, super::room::SOON).await.is_ok_and(|tail| tail.is_some())
    };
    let ratio = sent as f64 / (events * 7) as f64;
    assert!(!runs || ratio <= 1.1, "{ratio} transfers of each event to each cortex");
    stop(members).await;
}
