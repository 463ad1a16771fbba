//! Events of a payment provider that are worked on at the same time.

use super::*;
use crate::{
    billing::payments::apply,
    books::stripe::{Event, Money, MoneyMovement},
};

fn event(scope: OrgScope, movement: MoneyMovement, amount: i64) -> Event {
    let is_payment = movement == MoneyMovement::Paid;
    Event::Money(vec![Money {
        movement,
        amount: NanoUsd(amount),
        external_id: if is_payment { "stripe:pi_1".to_owned() } else { "stripe:refund:re_1".to_owned() },
        payment_intent: "pi_1".to_owned(),
        organization: is_payment.then(|| scope.org_id().to_string()),
        saved: None,
    }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_comes_while_its_payment_is_being_booked_is_booked_too() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let mut paying = test.db.begin().await.unwrap();
    apply(&mut paying, &test.ambient, &event(scope, MoneyMovement::Paid, 2_500)).await.unwrap();
    let (db, ambient) = (test.db.clone(), test.ambient.clone());
    let refunding = tokio::spawn(async move {
        let mut transaction = db.begin().await.unwrap();
        apply(&mut transaction, &ambient, &event(scope, MoneyMovement::Refunded, 500)).await.unwrap();
        transaction.commit().await.unwrap();
    });
    // It waits for the payment's transaction; one that did not wait would end here.
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while !refunding.is_finished() && test.number(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    paying.commit().await.unwrap();
    refunding.await.unwrap();
    assert_eq!(balance(&test, scope).await, (2_000, 0));
    assert_eq!(test.number("SELECT count(*) FROM payment_pending").await, 0);
    assert_clean(&test).await;
}
