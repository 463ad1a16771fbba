//! The menu beside every page: what a role may open, in groups, each with a small drawing.

use crate::{
    accounts::roles::Capability::{
        self, ReadAudit, ReadKeys, ReadMembers, ReadMoney, ReadRequests, WriteKeys,
    },
    store::members::Role,
};

/// One line of the menu.
#[derive(Clone)]
pub struct MenuItem {
    pub path: String,
    pub text: &'static str,
    pub is_here: bool,
    /// The heading above it; empty where its group has begun before.
    pub group: &'static str,
    /// The path of its drawing, in a square of 20 units.
    pub icon: &'static str,
}

/// A row of a menu: the path below its beginning, the text, who sees it (`None`: every role), the drawing.
type Row = (&'static str, &'static str, Option<Capability>, &'static str);

const HOME: &str = "M3 9.5 10 3l7 6.5M5 8v9h10V8M8.5 17v-5h3v5";
const START: &str = "M11 2 4 11h5l-1 7 7-9h-5z";
const LIST: &str = "M3 5h14M3 10h14M3 15h9";
const BARS: &str = "M4 17V9M10 17V3M16 17v-6";
const KEY: &str = "M7 13.5a3.5 3.5 0 1 1 0-7 3.5 3.5 0 0 1 0 7zM10.5 10H18v3M15 10v2";
const PLUG: &str = "M7 3v4M13 3v4M5 7h10v3a5 5 0 0 1-10 0zM10 15v3";
const CUBE: &str = "M10 2.5 17 6v8l-7 3.500L3 14V6zM3 6l7 3.500L17 6M10 9.5v8";
const CHAT: &str = "M3 4h14v10H9l-4 3v-3H3zM6.5 9h7";
const CARD: &str = "M2.5 5h15v10.5h-15zM2.5 8.5h15M5.5 12.5h3";
const PEOPLE: &str = "M7 9.500a2.75 2.75 0 1 0 0-5.5 2.75 2.75 0 0 0 0 5.5zM2 16.5c0-3 2.2-4.5 5-4.500s5 1.5 5 4.5M13 9.500a2.5 2.5 0 1 0 0-5M14.5 12c2 .5 3.5 2 3.5 4.5";
const CLOCK: &str = "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 6v4l3 2";
const GEAR: &str = "M3 6h6M13 6h4M11 4v4M3 14h3M10 14h7M8 12v4";
const PERSON: &str = "M10 10a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM3.5 17c0-3.5 3-5 6.5-5s6.5 1.5 6.5 5";

const MEMBER_MENU: &[(&str, &[Row])] = &[
    (
        "Monitor",
        &[
            ("", "Overview", None, HOME),
            ("/requests", "Requests", Some(ReadRequests), LIST),
            ("/usage", "Usage", Some(ReadRequests), BARS),
        ],
    ),
    (
        "Build",
        &[
            ("/start", "Get started", Some(WriteKeys), START),
            ("/keys", "API keys", Some(ReadKeys), KEY),
            ("/provider-keys", "Provider keys", Some(ReadKeys), PLUG),
            ("/models", "Models", None, CUBE),
            ("/playground", "Playground", Some(WriteKeys), CHAT),
        ],
    ),
    (
        "Organization",
        &[
            ("/billing", "Billing", Some(ReadMoney), CARD),
            ("/team", "Team", Some(ReadMembers), PEOPLE),
            ("/audit", "Audit log", Some(ReadAudit), CLOCK),
            ("/settings", "Settings", Some(ReadMoney), GEAR),
        ],
    ),
];

/// The menu of a member, by its role. `home` begins every path of the organization.
pub fn of_member(home: &str, role: Role, here: &str) -> Vec<MenuItem> {
    let mut items = Vec::new();
    for (group, rows) in MEMBER_MENU {
        let mut heading = *group;
        for (path, text, needs, icon) in *rows {
            let is_seen = needs.is_none_or(|capability| role.can(capability))
                && (*path != "/provider-keys" || role.has_all_keys());
            if is_seen {
                items.push(item(&format!("{home}{path}"), text, here, path.is_empty(), (heading, icon)));
                heading = "";
            }
        }
    }
    items.push(item("/me", "Your account", here, false, ("", PERSON)));
    items
}

/// The menu of the operator.
pub fn of_operator(here: &str) -> Vec<MenuItem> {
    let rows = [
        ("/operator", "Organizations", PEOPLE),
        ("/operator/providers", "Providers", PLUG),
        ("/operator/revenue", "Revenue", BARS),
        ("/operator/operators", "Operators", KEY),
        ("/operator/audit", "Audit log", CLOCK),
        ("/operator/system", "System", GEAR),
        ("/me", "Your account", PERSON),
    ];
    rows.into_iter()
        .map(|(path, text, icon)| item(path, text, here, path == "/operator", ("", icon)))
        .collect()
}

fn item(
    path: &str,
    text: &'static str,
    here: &str,
    is_exact: bool,
    (group, icon): (&'static str, &'static str),
) -> MenuItem {
    let is_below = here.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    MenuItem {
        path: path.to_owned(),
        text,
        is_here: if is_exact { here == path } else { is_below },
        group,
        icon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_sees_the_pages_it_may_open_and_the_page_it_is_on() {
        let paths = |role: Role| {
            of_member("/o/x", role, "/o/x/keys/key_1").into_iter().map(|item| item.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(Role::Owner).len(), 13);
        assert!(
            !paths(Role::Member).iter().any(|path| path.ends_with("/billing") || path.ends_with("/audit"))
        );
        assert!(!paths(Role::Billing).iter().any(|path| path.ends_with("/keys")));
        let here: Vec<_> = of_member("/o/x", Role::Owner, "/o/x/keys/key_1")
            .into_iter()
            .filter(|item| item.is_here)
            .collect();
        assert_eq!(here.iter().map(|item| item.text).collect::<Vec<_>>(), ["API keys"]);
    }
}
