//! Seeds of `store_model`: the promises of a store, one each.

use crate::store_model::step::{
    COMMIT, COMMIT_SYNC, COMPARE, CRASH, ENSURE, FAIL, GET, LAST, REOPEN, RESTART, SCAN, SCAN_FLOOR, SYNC,
};

/// `log`, and the embedder's two families.
const LOG: u8 = 0;
const META: u8 = 9;
const VIEW: u8 = 10;
const VIEW_2: u8 = 11;

/// A put of one byte that is the number itself.
const fn put(family: u8, key: [u8; 2], value: u8) -> [u8; 5] {
    [family, 2, key[0], key[1], value]
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let puts = |how: u8, puts: &[[u8; 5]]| {
        let mut step = vec![how, u8::try_from(puts.len()).expect("a few")];
        for [family, length, first, second, value] in puts {
            step.extend([*family, *length, *first, *second, 0, *value]);
        }
        step
    };
    let delete = |how: u8, family: u8, key: [u8; 2]| vec![how, 1, family, 2, key[0], key[1], 3];
    let two = [put(LOG, [0, 1], 5), put(META, [0, 3], 255)];
    let all_over: Vec<u8> =
        (0..6).flat_map(|n| puts(COMMIT, &[put(LOG, [n, n % 3], 1), put(LOG, [2, n], 2)])).collect();
    let relaxed = |n| puts(COMMIT, &[put(LOG, [n, 0], 1), put(META, [0, 0], n)]);
    let scans: Vec<u8> =
        (0..5).flat_map(|n| [SCAN, LOG, 1, n, 2, 2, 2, 0, LAST, LOG, 1, n, SCAN, LOG, 0, 0, 1]).collect();
    let seeds = vec![
        ("a-batch-is-whole", [puts(COMMIT_SYNC, &two), vec![CRASH, 0, GET, LOG, 2, 0, 1]].concat()),
        (
            "a-crash-leaves-a-prefix",
            [relaxed(1), relaxed(2), vec![SYNC], relaxed(3), relaxed(4), vec![CRASH, 1]].concat(),
        ),
        ("a-sync-carries", [relaxed(1), relaxed(2), puts(COMMIT_SYNC, &[]), vec![CRASH, 0, COMPARE]].concat()),
        (
            "deleted-and-put-again",
            [
                puts(COMMIT, &two),
                delete(COMMIT, LOG, [0, 1]),
                puts(COMMIT, &two[..1]),
                delete(COMMIT_SYNC, META, [0, 3]),
                vec![RESTART],
            ]
            .concat(),
        ),
        ("prefixes-of-0xff", [all_over, scans, vec![LAST, LOG, 2, 2, 2, LAST, LOG, 0]].concat()),
        (
            "floors",
            [
                puts(COMMIT, &[put(LOG, [0, 1], 1), put(LOG, [2, 0], 2)]),
                vec![SCAN_FLOOR, LOG, 1, 0, 0, SCAN_FLOOR, LOG, 2, 0, 4, 1, 0, SCAN_FLOOR, LOG, 1, 2, 1, 0],
                vec![SCAN_FLOOR, LOG, 0, 0, SCAN_FLOOR, VIEW, 0, 0],
            ]
            .concat(),
        ),
        ("no-such-family", [puts(COMMIT, &[put(LOG, [0, 0], 1), put(VIEW, [0, 0], 1)]), vec![GET, VIEW, 0]].concat()),
        (
            "a-made-family",
            [
                vec![ENSURE, 0],
                puts(COMMIT_SYNC, &[put(VIEW, [1, 1], 2)]),
                vec![
                    CRASH, 0, RESTART, ENSURE, 0, GET, VIEW, 2, 1, 1, GET, VIEW_2, 1, 0, SCAN, VIEW_2, 0, 0, LAST,
                    VIEW_2, 0,
                ],
            ]
            .concat(),
        ),
        (
            "two-made-families",
            [
                vec![ENSURE, 1, ENSURE, 0],
                puts(COMMIT, &[put(VIEW, [1, 1], 2), put(VIEW_2, [1, 1], 3)]),
                vec![REOPEN, COMPARE],
            ]
            .concat(),
        ),
        ("a-failed-commit-took-effect", [vec![FAIL, 0, 0], puts(COMMIT, &two)[1..].to_vec(), vec![CRASH, 0]].concat()),
        ("a-failed-commit-did-not", [vec![FAIL, 1, 1], puts(COMMIT, &two)[1..].to_vec(), relaxed(2)].concat()),
        ("a-failure-after-misuse", [vec![FAIL, 0, 0], puts(COMMIT, &[put(VIEW, [0, 0], 1)])[1..].to_vec()].concat()),
        ("the-empty-key", vec![COMMIT_SYNC, 1, LOG, 0, 0, 7, GET, LOG, 0, SCAN, LOG, 0, 0, 0, LAST, LOG, 0, RESTART]),
        (
            "one-key-twice-in-a-batch",
            puts(COMMIT_SYNC, &[put(LOG, [0, 1], 5), put(LOG, [0, 1], 6), put(LOG, [0, 1], 7)]),
        ),
    ];
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}
