//! Accounts, API keys, members and money.

use super::{
    Body::{Json, None as NoBody, OptionalJson},
    Content::{Csv, Empty, Json as Reply},
    Operation, Query, TEXT, change, query, read,
};

const DAY_OR_TIME: &str = r#"{"type":"string","examples":["2026-11-01","2026-11-01T12:00:00Z"]}"#;
const FROM: Query = query("from", DAY_OR_TIME, "First day or time; 30 days ago by default");
const TO: Query = query("to", DAY_OR_TIME, "Last day (included) or time; now by default");
const KEY_ID: Query = Query { name: "keyId", schema: TEXT, what: "The API key", required: true };
const SHARED: &str = "/api/provider-keys";
const WEBHOOK_ID: Query = Query { name: "webhookId", schema: TEXT, what: "The webhook", required: true };
const USER_ID: Query = query("userId", TEXT, "The member");
const INVITATION_ID: Query = query("invitationId", TEXT, "The invitation");
const REVOKE_KEYS: Query =
    query("revokeKeys", r#"{"type":"boolean"}"#, "true: the member's API keys are revoked, too");
const PAGE_LIMIT: &str = r#"{"type":"integer","minimum":1,"maximum":1000}"#;
const LEDGER_LIMIT: &str = r#"{"type":"integer","minimum":1,"maximum":200}"#;
const GROUPS: &str =
    r#"{"enum":["day","hour","month","model","provider","key","member","byok","category","kind","status"]}"#;
const FORMAT: Query = query("format", r#"{"enum":["json","csv"]}"#, "JSON by default");

pub static OPERATIONS: &[Operation] = &[
    change(
        "POST",
        "/api/auth/signup",
        "signUp",
        "account",
        "Makes a person with an organization, or with an invitation",
        Json("SignupRequest"),
        &[(201, Reply("Signup"))],
    )
    .also(&[401, 403, 409]),
    change(
        "POST",
        "/api/auth/login",
        "logIn",
        "account",
        "Makes a session",
        Json("LoginRequest"),
        &[(200, Reply("SessionToken"))],
    )
    .also(&[401, 403, 409]),
    change("POST", "/api/auth/logout", "logOut", "account", "Ends the session", NoBody, &[(204, Empty)]),
    change(
        "POST",
        "/api/auth/password",
        "changePassword",
        "account",
        "Changes the password and ends every other session",
        Json("PasswordRequest"),
        &[(204, Empty)],
    ),
    read(
        "/api/auth/sessions",
        "listSessions",
        "account",
        "The live sessions of the person",
        &[],
        &[(200, Reply("SessionList"))],
    ),
    change(
        "DELETE",
        "/api/auth/sessions",
        "endSessions",
        "account",
        "Ends all sessions, or all others, or one",
        NoBody,
        &[(204, Empty)],
    )
    .with_query(&[
        query("keepCurrent", r#"{"type":"boolean"}"#, "true: all others"),
        query("sessionId", TEXT, "This one"),
    ])
    .also(&[404]),
    change(
        "DELETE",
        "/api/auth/sessions/{id}",
        "endSession",
        "account",
        "Ends one session",
        NoBody,
        &[(204, Empty)],
    ),
    read(
        "/api/auth",
        "getAccount",
        "account",
        "The person, its organization and role, and a page of API keys",
        &[
            query("after", TEXT, "`next` of the page before"),
            query("limit", PAGE_LIMIT, "API keys on the page"),
        ],
        &[(200, Reply("Account"))],
    ),
    change(
        "POST",
        "/api/auth",
        "createKey",
        "keys",
        "Makes an API key; its secret is shown this once",
        Json("KeyRequest"),
        &[(201, Reply("NewKey"))],
    )
    .also(&[409]),
    change(
        "PATCH",
        "/api/auth",
        "changeKeyByQuery",
        "keys",
        "Changes rules and provider keys of an API key",
        Json("KeyRequest"),
        &[(200, Reply("Key"))],
    )
    .with_query(&[KEY_ID])
    .also(&[404, 409]),
    change(
        "DELETE",
        "/api/auth",
        "revokeKeyByQuery",
        "keys",
        "Revokes an API key",
        NoBody,
        &[(200, Reply("RevokedKey"))],
    )
    .with_query(&[KEY_ID])
    .also(&[404]),
    read(
        "/api/auth/keys/{id}",
        "getKey",
        "keys",
        "An API key with its rules and provider keys, without secrets",
        &[],
        &[(200, Reply("Key"))],
    ),
    change(
        "PATCH",
        "/api/auth/keys/{id}",
        "changeKey",
        "keys",
        "Changes rules and provider keys of an API key",
        Json("KeyRequest"),
        &[(200, Reply("Key"))],
    )
    .also(&[409]),
    change(
        "DELETE",
        "/api/auth/keys/{id}",
        "revokeKey",
        "keys",
        "Revokes an API key",
        NoBody,
        &[(200, Reply("RevokedKey"))],
    ),
    change(
        "POST",
        "/api/auth/keys/{id}/provider-keys/{provider}/test",
        "testProviderKey",
        "keys",
        "Tests a stored provider key by a free call",
        NoBody,
        &[(200, Reply("KeyTest"))],
    )
    .with_query(&[query("id", TEXT, "The provider key, where there are several")]),
    change(
        "POST",
        "/api/auth/keys/{id}/rotate",
        "rotateKey",
        "keys",
        "Gives an API key a new secret; the old one works until the grace ends",
        OptionalJson("RotateRequest"),
        &[(200, Reply("NewKey"))],
    )
    .also(&[409]),
    read(
        SHARED,
        "listSharedKeys",
        "keys",
        "The organization's provider keys, without secrets",
        &[],
        &[(200, Reply("SharedKeys"))],
    ),
    change(
        "PUT",
        SHARED,
        "replaceSharedKeys",
        "keys",
        "Sets the organization's provider keys; what is not named is removed",
        Json("SharedKeysRequest"),
        &[(200, Reply("SharedKeys"))],
    )
    .also(&[404, 409]),
    change(
        "PATCH",
        SHARED,
        "mergeSharedKeys",
        "keys",
        "Changes the organization's provider keys; what is not named stays",
        Json("SharedKeysRequest"),
        &[(200, Reply("SharedKeys"))],
    )
    .also(&[404, 409]),
    change(
        "DELETE",
        SHARED,
        "deleteSharedKeyByQuery",
        "keys",
        "Removes one of the organization's provider keys",
        NoBody,
        &[(200, Reply("DeletedKey"))],
    )
    .with_query(&[Query { name: "id", schema: TEXT, what: "The provider key", required: true }])
    .also(&[404]),
    change(
        "DELETE",
        "/api/provider-keys/{id}",
        "deleteSharedKey",
        "keys",
        "Removes one of the organization's provider keys",
        NoBody,
        &[(200, Reply("DeletedKey"))],
    ),
    change(
        "POST",
        "/api/provider-keys/{provider}/test",
        "testSharedKey",
        "keys",
        "Tests one of the organization's provider keys by a free call",
        NoBody,
        &[(200, Reply("KeyTest"))],
    )
    .with_query(&[query("id", TEXT, "The provider key, where there are several")]),
    read(
        "/api/organization",
        "getOrganization",
        "members",
        "The rules and the budget of the organization",
        &[],
        &[(200, Reply("OrganizationRules"))],
    ),
    change(
        "PATCH",
        "/api/organization",
        "changeOrganization",
        "members",
        "Changes the rules and the budget of the organization; what is not named stays",
        Json("OrganizationRequest"),
        &[(200, Reply("OrganizationRules"))],
    ),
    read(
        "/api/webhooks",
        "listWebhooks",
        "alerts",
        "The addresses that alerts are sent to",
        &[],
        &[(200, Reply("WebhookList"))],
    ),
    change(
        "POST",
        "/api/webhooks",
        "createWebhook",
        "alerts",
        "Adds an address; its secret is shown once",
        Json("WebhookRequest"),
        &[(201, Reply("NewWebhook"))],
    )
    .also(&[409]),
    change(
        "DELETE",
        "/api/webhooks",
        "deleteWebhookByQuery",
        "alerts",
        "Removes an address",
        NoBody,
        &[(200, Reply("DeletedKey"))],
    )
    .with_query(&[WEBHOOK_ID])
    .also(&[404]),
    change(
        "DELETE",
        "/api/webhooks/{id}",
        "deleteWebhook",
        "alerts",
        "Removes an address",
        NoBody,
        &[(200, Reply("DeletedKey"))],
    ),
    change(
        "POST",
        "/api/webhooks/{id}/rotate",
        "rotateWebhook",
        "alerts",
        "Gives an address a new secret; the one before it goes on signing until its grace ends",
        OptionalJson("WebhookRotation"),
        &[(200, Reply("RotatedWebhook"))],
    ),
    change(
        "POST",
        "/api/webhooks/{id}/test",
        "testWebhook",
        "alerts",
        "Sends a test message at once, in one try",
        NoBody,
        &[(200, Reply("WebhookTest"))],
    ),
    read(
        "/api/members",
        "listMembers",
        "members",
        "Members and open invitations",
        &[],
        &[(200, Reply("MemberList"))],
    ),
    change(
        "POST",
        "/api/members",
        "invite",
        "members",
        "Invites a person; the token is shown this once",
        Json("InviteRequest"),
        &[(201, Reply("NewInvitation"))],
    )
    .also(&[409]),
    change(
        "PATCH",
        "/api/members",
        "setRoleByQuery",
        "members",
        "Changes the role of a member",
        Json("RoleRequest"),
        &[(200, Reply("Member"))],
    )
    .with_query(&[USER_ID])
    .also(&[404, 409]),
    change(
        "DELETE",
        "/api/members",
        "removeByQuery",
        "members",
        "Removes a member or withdraws an invitation",
        NoBody,
        &[(204, Empty)],
    )
    .with_query(&[USER_ID, INVITATION_ID, REVOKE_KEYS])
    .also(&[404, 409]),
    change(
        "PATCH",
        "/api/members/{id}",
        "setRole",
        "members",
        "Changes the role of a member",
        Json("RoleRequest"),
        &[(200, Reply("Member"))],
    )
    .also(&[409]),
    change(
        "DELETE",
        "/api/members/{id}",
        "removeMember",
        "members",
        "Removes a member or withdraws an invitation",
        NoBody,
        &[(204, Empty)],
    )
    .with_query(&[REVOKE_KEYS])
    .also(&[409]),
    read(
        "/api/billing/balance",
        "getBalance",
        "billing",
        "Credit: posted, held and available",
        &[],
        &[(200, Reply("Balance"))],
    ),
    read(
        "/api/billing/ledger",
        "listEntries",
        "billing",
        "Ledger entries by the time of booking, newest first; as CSV all of the range",
        &[
            FROM,
            TO,
            query("before", TEXT, "`next` of the page before"),
            query("limit", LEDGER_LIMIT, "Entries on the page"),
            FORMAT,
        ],
        &[(200, Csv("EntryPage"))],
    ),
    read(
        "/api/usage",
        "getUsage",
        "billing",
        "Usage and charges, grouped",
        &[
            FROM,
            TO,
            query("group_by", GROUPS, "What a row is, or two of these with a comma; `day` by default"),
            query(
                "tz",
                r#"{"type":"string","maxLength":64}"#,
                "An IANA time zone, such as Europe/Berlin; UTC by default",
            ),
            query("compare", r#"{"enum":["previous"]}"#, "Beside the span of the same length before"),
            FORMAT,
        ],
        &[(200, Csv("UsageReport"))],
    )
    .also(&[404]),
    change(
        "POST",
        "/api/billing/topups",
        "createTopup",
        "operator",
        "Gives an organization credit; one `externalId` credits once",
        Json("TopupRequest"),
        &[(200, Reply("Topup")), (201, Reply("Topup"))],
    )
    .also(&[404, 409]),
];
