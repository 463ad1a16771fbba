//! Who may open which page. The test reads the dashboard's table as it reads the JSON API's: without a login, as every
//! role that the row does not admit, from another organization with this one's ids, and with forms that no page of ours
//! sent.

use super::check::World;
use crate::harness::Stack;
use kairosroute::{
    accounts::roles::Role,
    dashboard::routes::{Endpoint, PAGES, Page},
};

/// Everyone who must be refused, with the status.
fn refused(world: &World<'_>, page: &Page) -> Vec<(String, String, u16)> {
    let mut list = Vec::new();
    let mut add = |who: &str, token: &str, status| list.push((who.to_owned(), token.to_owned(), status));
    match page.endpoint {
        Endpoint::File(_) | Endpoint::Anyone(_) => return list,
        Endpoint::SignedIn(_) => add("nobody", "", 303),
        Endpoint::Member(capability, _) => {
            add("nobody", "", 303);
            add("another organization", &world.stranger.session, 404);
            add("the operator", &world.operator, 404);
            for (role, session) in &world.roles {
                if capability.is_some_and(|capability| !role.can(capability)) {
                    add(&format!("a {}", role.as_str()), session, 403);
                }
            }
        }
        Endpoint::Operator(_) => {
            add("nobody", "", 303);
            for (role, session) in &world.roles {
                add(&format!("a {}", role.as_str()), session, 404);
            }
        }
    }
    list
}

fn path(world: &World<'_>, page: &Page) -> String {
    let id = match page.path {
        path if path.contains("/requests/") => &world.receipt,
        path if path.contains("/team/") => &world.member_id,
        _ => &world.victim.key_id,
    };
    page.path
        .replace("{org}", &world.victim.organization_id)
        .replace("{id}", id)
        .replace("{provider_key}", &world.shared_key)
        .replace("{month}", "2026-01")
        .replace("{token}", "kri_none")
        .replace("{hash}", "x")
        .replace("{name}", "x")
        .replace("{page}", "x")
}

#[tokio::test]
async fn no_page_opens_for_whom_it_is_not_and_a_refused_form_changes_nothing() {
    let stack = Stack::start().await;
    let world = World::make(&stack).await;
    let mut found = Vec::new();
    let before = world.rows().await;
    for page in PAGES {
        let path = path(&world, page);
        for (who, token, expected) in refused(&world, page) {
            let cookie = format!("kr={token}");
            let request = stack.request(page.method.as_str(), &path).header("cookie", &cookie);
            let reply = request.header("sec-fetch-site", "same-origin").send().await;
            if reply.status != expected {
                found.push(format!(
                    "{} {} by {who}: {} instead of {expected}",
                    page.method, page.path, reply.status
                ));
            }
            if reply.text().contains(&world.victim.email) {
                found.push(format!("{} {} by {who}: tells the victim's address", page.method, page.path));
            }
        }
        // The owner's own browser, sent by another site or without the page's token.
        let cookie = format!("kr={}", world.victim.session);
        let is_form = page.method.as_str() == "POST" && !matches!(page.endpoint, Endpoint::Operator(_));
        for site in ["cross-site", "same-origin"].into_iter().filter(|_| is_form) {
            let request =
                stack.request("POST", &path).header("cookie", &cookie).header("sec-fetch-site", site);
            let status = request.body("action=remove&confirm=test").send().await.status;
            if status != 403 {
                found.push(format!("{} {} sent {site} without a token: {status}", page.method, page.path));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let after = world.rows().await;
    assert_eq!(before, after, "a refused page changed something");
}

#[tokio::test]
async fn a_member_s_pages_show_its_own_api_keys_alone() {
    let stack = Stack::start().await;
    let world = World::make(&stack).await;
    let member =
        world.roles.iter().find(|(role, _)| *role == Role::Member).map(|(_, session)| session.as_str());
    let (org, owner) = (&world.victim.organization_id, world.victim.session.as_str());
    let open = async |session: &str, path: &str| {
        let request =
            stack.request("GET", &format!("/o/{org}{path}")).header("cookie", &format!("kr={session}"));
        request.send().await
    };
    for path in ["/requests", "/requests.csv", "/usage?group_by=model"] {
        assert!(open(owner, path).await.text().contains("gpt-4o-mini"), "{path} shows the owner nothing");
        let reply = open(member.unwrap(), path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.text().contains("gpt-4o-mini"), "{path} shows a member the requests of others");
    }
    let request = format!("/requests/{}", world.receipt);
    assert_eq!(open(member.unwrap(), &request).await.status, 404);
    assert_eq!(open(owner, &request).await.status, 200);
}
