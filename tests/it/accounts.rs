//! Signing up, logging in and out, roles, members, and the platform API keys of an organization.

use crate::harness::{Stack, hello};

#[tokio::test]
async fn a_new_organization_can_be_served_as_soon_as_it_has_credit() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let reply = stack.chat(&customer.key, &hello("openai/gpt-4o-mini")).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(stack.simulator.bill().len(), 1);
    stack.finish().await;
}
