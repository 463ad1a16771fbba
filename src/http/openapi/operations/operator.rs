//! Organizations as wholes, and the operator's hand.

use super::{
    Body::{Json, None as NoBody},
    Content::{Empty, Json as Reply},
    Operation, TEXT, change, query, read,
};

const CUSTOMERS: &str = "/api/operator/organizations";
const CUSTOMER: &str = "/api/operator/organizations/{id}";
const PLATFORM_KEY: &str = "/api/operator/platform-keys/{provider}";
const DELETION: &str = "/api/organization/deletion";
const LIMIT: &str = r#"{"type":"integer","minimum":1,"maximum":200}"#;

pub static OPERATIONS: &[Operation] = &[
    read(
        "/api/organizations",
        "listOrganizations",
        "account",
        "The organizations of the person; `X-KairosRoute-Organization` chooses one for a call",
        &[],
        &[(200, Reply("OrganizationList"))],
    ),
    change(
        "POST",
        "/api/organizations",
        "createOrganization",
        "account",
        "Makes another organization with the person as its owner, where sign-up is open",
        Json("NewOrganizationRequest"),
        &[(201, Reply("OwnOrganization"))],
    )
    .also(&[404, 409]),
    change(
        "POST",
        "/api/organization/transfer",
        "transferOrganization",
        "members",
        "Makes another member the owner; the person stays as an admin",
        Json("TransferRequest"),
        &[(204, Empty)],
    )
    .also(&[404]),
    read(
        DELETION,
        "previewDeletion",
        "members",
        "What a deletion of the organization would end",
        &[],
        &[(200, Reply("DeletionPreview"))],
    ),
    change(
        "POST",
        DELETION,
        "deleteOrganization",
        "members",
        "Deletes the organization: keys and members go, the books stay",
        Json("DeletionRequest"),
        &[(204, Empty)],
    ),
    read(
        CUSTOMERS,
        "listCustomers",
        "operator",
        "All organizations with their credit and the usage of the last 30 days, oldest first",
        &[
            query("after", TEXT, "`next` of the page before"),
            query("name", TEXT, "Part of the name"),
            query("limit", LIMIT, "Organizations on the page; 50 by default"),
        ],
        &[(200, Reply("CustomerPage"))],
    ),
    change(
        "POST",
        CUSTOMERS,
        "createCustomer",
        "operator",
        "Makes an organization and invites its owner; works while sign-up is closed",
        Json("NewCustomerRequest"),
        &[(201, Reply("NewCustomer"))],
    ),
    read(
        CUSTOMER,
        "getCustomer",
        "operator",
        "One organization with its members and API keys",
        &[],
        &[(200, Reply("Customer"))],
    ),
    change(
        "PATCH",
        CUSTOMER,
        "changeCustomer",
        "operator",
        "Suspends an organization, or resumes it",
        Json("SuspensionRequest"),
        &[(200, Reply("Customer"))],
    )
    .also(&[409]),
    read(
        "/api/operator/revenue",
        "getRevenue",
        "operator",
        "Charges, provider costs and margin on platform keys",
        &[
            query("from", TEXT, "First day or time; 30 days ago by default"),
            query("to", TEXT, "Last day (included) or time; now by default"),
        ],
        &[(200, Reply("Revenue"))],
    ),
    read(
        "/api/operator/platform-keys",
        "listPlatformKeys",
        "operator",
        "The platform's key of each provider",
        &[],
        &[(200, Reply("PlatformKeyList"))],
    ),
    change(
        "PUT",
        PLATFORM_KEY,
        "setPlatformKey",
        "operator",
        "Stores the platform's key of a provider, sealed",
        Json("PlatformKeyRequest"),
        &[(200, Reply("PlatformKey"))],
    ),
    change(
        "PATCH",
        PLATFORM_KEY,
        "changePlatformKey",
        "operator",
        "Switches the platform's key of a provider on or off",
        Json("EnabledRequest"),
        &[(200, Reply("PlatformKey"))],
    ),
    change(
        "DELETE",
        PLATFORM_KEY,
        "removePlatformKey",
        "operator",
        "Removes the stored key of a provider",
        NoBody,
        &[(204, Empty)],
    ),
    change(
        "POST",
        "/api/operator/platform-keys/{provider}/test",
        "testPlatformKey",
        "operator",
        "Makes a free call at the provider with the platform's key",
        NoBody,
        &[(200, Reply("KeyTest"))],
    ),
    read(
        "/api/operator/operators",
        "listOperators",
        "operator",
        "The operators of the installation",
        &[],
        &[(200, Reply("OperatorList"))],
    ),
    change(
        "DELETE",
        "/api/operator/operators/{id}",
        "removeOperator",
        "operator",
        "Removes an operator and ends its sessions; the last one stays",
        NoBody,
        &[(204, Empty)],
    )
    .also(&[409]),
];
