//! Who may call what. Walks the route table and tries every row with no credentials, with the wrong kind, with
//! too little role, and from another organization with this one's ids; after each try every row of every table
//! must be as before. A checker that finds nothing proves nothing, so it is also shown unguarded routes.

mod check;
mod pages;
mod planted;

use crate::harness::Stack;
use check::{Tried, World, problems, rows_of_the_table};
use kairosroute::{
    accounts::roles::{Capability, Role},
    http::routes::{Access, ROUTES},
};

#[tokio::test]
async fn no_route_is_open_to_whom_it_is_not_for_and_a_refusal_changes_nothing() {
    let stack = Stack::start().await;
    let world = World::make(&stack).await;
    let found = problems(&world, &stack, &rows_of_the_table()).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_these_routes_are_open_to_anyone() {
    let open: Vec<String> = ROUTES
        .iter()
        .filter(|route| route.access() == Access::Public)
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(
        open,
        [
            "GET /",
            "GET /healthz",
            "GET /health",
            "GET /readyz",
            "GET /openapi.json",
            "GET /.well-known/jwks.json",
            "POST /api/v1/auth/token",
            "POST /api/auth/signup",
            "POST /api/auth/login",
            "POST /webhooks/stripe",
            "POST /api/auth/password-reset",
            "POST /api/auth/password-reset/confirm",
            "POST /api/auth/email/confirm"
        ]
    );
}

#[tokio::test]
async fn an_unguarded_route_and_a_half_guarded_one_are_noticed() {
    let stack = Stack::start().await;
    let world = World::make(&stack).await;
    let planted = planted::start(stack.database.options()).await;
    let row = |path| Tried {
        method: "DELETE".into(),
        path,
        access: Access::Session(Capability::WriteKeys),
        body: None,
        names_victim: true,
        takes_tokens: false,
    };
    let found = problems(&world, &planted, &[row("/planted/open/{key}")]).await.join("\n");
    for problem in ["no credentials: 200", "an API key: 200", "a viewer: 200", "another organization: 200"] {
        assert!(found.contains(problem), "{problem} is missing in\n{found}");
    }
    assert!(found.contains("changed api_key"), "{found}");
    let found = problems(&world, &planted, &[row("/planted/foreign/{key}")]).await.join("\n");
    assert!(found.contains("another organization: 200"), "{found}");
    assert!(!found.contains("no credentials: 200"), "{found}");
}

#[test]
fn every_role_is_refused_something_or_is_the_owner() {
    let refused = |role: Role| {
        ROUTES.iter().any(|route| match route.access() {
            Access::Session(capability) => !role.can(capability),
            _ => false,
        })
    };
    for role in Role::ALL {
        assert_eq!(refused(role), role != Role::Owner, "{}", role.as_str());
    }
}
