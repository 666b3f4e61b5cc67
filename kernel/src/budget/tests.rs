use super::*;

const MIB: u64 = 1024 * 1024;
const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

fn pinned(n: u8) -> Account {
    Account::Pinned(CortexId::from_bytes([n; 16]))
}

fn guest(n: u8) -> Account {
    Account::Guest(CortexId::from_bytes([n; 16]))
}

async fn fill(budget: &Budget, account: &Account) -> Vec<Share> {
    let mut shares = Vec::new();
    while let Ok(share) = budget.share(account, MIB, MIB, Duration::ZERO).await {
        shares.push(share);
    }
    shares
}

#[tokio::test]
async fn shares_become_smaller_and_neither_one_account_nor_all_guests_take_everything() {
    let budget = Budget::new(256 * MIB);
    let first = budget.share(&pinned(1), MIB, 16 * MIB, MOMENT).await.unwrap();
    assert_eq!(first.bytes(), 16 * MIB);
    let second = budget.share(&pinned(1), MIB, 16 * MIB, MOMENT).await.unwrap();
    assert_eq!(second.bytes(), 12 * MIB, "a quarter of what is left of its own");
    let rest = fill(&budget, &pinned(1)).await;
    assert_eq!(budget.usage().used, 64 * MIB);
    let mut guests = Vec::new();
    for n in 0..20 {
        guests.extend(fill(&budget, &guest(n)).await);
    }
    assert_eq!(budget.usage().used, 192 * MIB, "a quarter for one, a half for all guests");
    let other = budget.share(&pinned(2), MIB, 16 * MIB, MOMENT).await.unwrap();
    assert_eq!(other.bytes(), 16 * MIB, "another one is served as if alone");
    drop((first, second, rest, guests, other));
    assert_eq!((budget.usage().used, budget.usage().waiting), (0, 0));
    assert!(budget.lock().accounts.is_empty());
}

#[tokio::test]
async fn callers_wait_in_order_up_to_their_deadline_and_give_back_when_they_are_gone() {
    let budget = Budget::new(10);
    let all = budget.share(&pinned(1), 10, 10, MOMENT).await.unwrap();
    assert_eq!(budget.share(&pinned(2), 4, 4, MOMENT).await.unwrap_err(), OverBudget { wanted: 4 });
    assert_eq!((budget.usage().refused, budget.usage().waiting), (1, 0));
    let wait = |n, bytes| {
        let budget = budget.clone();
        tokio::spawn(async move { budget.share(&pinned(n), bytes, bytes, LONG).await })
    };
    let until = async |waiting| {
        while budget.usage().waiting != waiting {
            tokio::task::yield_now().await;
        }
    };
    let large = wait(2, 9);
    until(1).await;
    let gone = wait(3, 1);
    until(2).await;
    let small = wait(4, 2);
    until(3).await;
    gone.abort();
    drop(all);
    let large = large.await.unwrap().unwrap();
    assert_eq!((large.bytes(), budget.usage().used), (9, 9), "the small one did not overtake");
    drop(large);
    assert_eq!(small.await.unwrap().unwrap().bytes(), 2);
    assert_eq!((budget.usage().used, budget.usage().waiting), (0, 0));
    let all = budget.share(&pinned(1), 10, 10, MOMENT).await.unwrap();
    let more = wait(2, 20);
    until(1).await;
    budget.set_limit(30);
    assert_eq!(more.await.unwrap().unwrap().bytes(), 20, "a larger budget serves those who wait");
    drop(all);
}

#[tokio::test]
async fn shares_of_two_accounts_become_one() {
    let budget = Budget::new(100);
    let mut share = budget.share(&guest(1), 10, 10, MOMENT).await.unwrap();
    share.join(budget.share(&pinned(1), 20, 20, MOMENT).await.unwrap());
    assert_eq!((share.bytes(), budget.usage().used), (30, 30));
    drop(share);
    assert!(budget.lock().accounts.is_empty() && budget.lock().guests == 0);
}

#[tokio::test]
async fn a_buffer_keeps_its_share_until_its_last_part_is_gone() {
    let budget = Budget::new(100);
    let mut share = budget.share(&pinned(1), 60, 60, MOMENT).await.unwrap();
    let half = share.split(30);
    let buffer = share.hold(vec![7; 20]);
    assert_eq!(budget.usage().used, 50, "a share is as large as what it holds");
    let part = buffer.slice(3..5);
    drop((half, buffer));
    assert_eq!((&part[..], budget.usage().used), (&[7, 7][..], 20));
    drop(part);
    assert_eq!(budget.usage().used, 0);
}
