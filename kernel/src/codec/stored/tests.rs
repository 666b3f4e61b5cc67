use super::*;

#[test]
fn every_value_reads_back() {
    let clock = VClock::from_sorted(&[(Origin::from_bytes([1; 24]), 4)]).unwrap();
    let start = ChainStart { digest: Digest::of(b"start"), key: PublicKey::from_bytes([8; 32]) };
    let (digest, last_id) = (Digest::of(b"y"), EventId::from_parts(1, 1));
    let chain = StoredChain { counter: 9, digest, last_id, clock: clock.clone(), start };
    assert_eq!(decode_chain(&encode_chain(&chain)).unwrap(), chain);
    let end = |counter| GroupEnd { counter, digest, clock: [7; 32], seal: Signature::from_bytes([9; 64]) };
    let ends = vec![end(3), end(70_000)];
    assert_eq!(decode_group_ends(&encode_group_ends(&ends)).unwrap(), ends);
    for wrong in [vec![], vec![end(3), end(3)], vec![end(4), end(3)]] {
        assert!(decode_group_ends(&encode_group_ends(&wrong)).is_err());
    }
    let cursor = Cursor { epoch: Epoch::new(1), seq: Seq::new(2), last_event: EventId::from_parts(3, 4) };
    assert_eq!(decode_cursor(&encode_cursor(&cursor)).unwrap(), cursor);
    let time = Timestamp::from_micros(-5);
    assert_eq!(decode_timestamp(&encode_timestamp(time)).unwrap(), time);
    let pin = Pin {
        cortex_id: CortexId::from_bytes([7; 16]),
        root: Some(PublicKey::from_bytes([8; 32])),
        statement: 300,
        since: time,
    };
    assert_eq!(decode_pin(&encode_pin(&pin)).unwrap(), pin);
    let mut health = PeerHealth { version: Some("1".into()), ..PeerHealth::default() };
    health.succeeded(time);
    health.failed(time, ErrorCategory::Dns);
    assert_eq!(decode_health(&encode_health(&health)).unwrap(), health);
    let identity = LocalIdentity::new(pin.cortex_id, Epoch::new(8), "alpha".into());
    assert_eq!(decode_identity(&encode_identity(&identity)).unwrap(), identity);
    let change = EpochChange { from: Epoch::new(3), why: EpochEnd::Restored, at: time };
    assert_eq!(decode_epoch_change(&encode_epoch_change(&change)).unwrap(), change);
    let bravo = PeerName::new("bravo").unwrap();
    let of = encode_epoch_peer(Epoch::new(3), &bravo);
    assert_eq!(decode_epoch_peer(&of).unwrap(), (Epoch::new(3), bravo.clone()));
    assert_eq!(decode_brought(&encode_brought(&bravo, time)).unwrap(), (bravo, time));
    let lineage = vec![(Epoch::new(3), Seq::new(4)), (Epoch::new(u64::MAX), Seq::ZERO)];
    assert_eq!(decode_lineage(&encode_lineage(&lineage)).unwrap(), lineage);
    let mut noted = encode_noted_head(Epoch::new(3), Seq::new(4));
    assert_eq!(decode_noted_head(&noted), Some((Epoch::new(3), Seq::new(4))));
    noted[9] ^= 1;
    assert_eq!(decode_noted_head(&noted), None);
    let position = decode_replay_position(&encode_replay_position(Seq::new(6), &clock)).unwrap();
    assert_eq!(position, (Seq::new(6), clock.clone()));
    let dot = Dot::new(Origin::from_bytes([2; 24]), 7).unwrap();
    let marks = vec![Mark { dot, id: EventId::from_parts(1, 2), weight: 300 }];
    assert_eq!(decode_frontier(&encode_frontier(&marks)).unwrap(), marks);
    let parked = (Some("s".to_owned()), 3, "why".to_owned(), clock);
    assert_eq!(decode_parked(&encode_parked(&parked)).unwrap(), parked);
    let skipped = (EventId::from_parts(1, 2), None, "why".to_owned(), time);
    assert_eq!(decode_skipped(&encode_skipped(&skipped)).unwrap(), skipped);
    assert_eq!(decode_conflicts(&encode_conflicts(7)).unwrap(), 7);
    assert_eq!(decode_tries(&encode_tries(Seq::new(4), 2)).unwrap(), (Seq::new(4), 2));
    let entry = [&encode_log_entry(time)[..], b"record"].concat();
    assert_eq!(decode_log_entry(&entry).unwrap(), (time, &b"record"[..]));
}

#[test]
fn damage_and_newer_versions_are_errors() {
    let good = encode_timestamp(Timestamp::from_micros(5));
    assert!(decode_timestamp(&[]).is_err());
    assert!(decode_timestamp(&[&good[..], &[0]].concat()).is_err());
    assert!(decode_timestamp(&[3, 5]).unwrap_err().to_string().contains("version 3 wrote it"));
    assert!(decode_timestamp(&[1, 5]).unwrap_err().to_string().contains("version 1 wrote it"));
    assert!(decode_log_entry(&[2, 2]).is_err());
    assert!(decode_timestamp(&[3, 5]).unwrap_err().is_newer());
    for damaged in [&[][..], &[0, 5], &[1, 5], &[200, 5], &[1], &[2]] {
        assert!(!decode_timestamp(damaged).unwrap_err().is_newer(), "{damaged:?}");
    }
}
