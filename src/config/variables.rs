//! The table of settings: every variable of the environment, its default and its meaning.

/// One environment variable: its name, its default (empty: unset) and what it means.
pub struct Variable {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable but the providers' (`<PROVIDER>_API_KEY`, `<PROVIDER>_BASE_URL`).
pub static VARIABLES: &[Variable] = &[
    variable("KAIROSROUTE_LISTEN", "127.0.0.1:8080", "address of the API"),
    variable(
        "KAIROSROUTE_PUBLIC_URL",
        "",
        "address at which browsers reach the dashboard, such as https://gateway.example.com; unset: plain http",
    ),
    variable("DATABASE_URL", "", "PostgreSQL; unset: a private local cluster under the data directory"),
    variable("KAIROSROUTE_DATA_DIR", "./.kairosroute", "state of the local mode"),
    variable(
        "KAIROSROUTE_MASTER_KEYS",
        "",
        "id:base64(32 bytes), comma-separated; the first encrypts, all decrypt. Required with DATABASE_URL",
    ),
    variable("KAIROSROUTE_MARGIN_BPS", "500", "margin on calls with a platform key, in basis points"),
    variable(
        "KAIROSROUTE_BYOK_MARGIN_BPS",
        "0",
        "margin on calls with the customer's own key: only 0 is accepted",
    ),
    variable(
        "KAIROSROUTE_CATALOG",
        "",
        "file in the built-in catalogue's format, laid over it and re-read on change",
    ),
    variable(
        "KAIROSROUTE_REFERENCE_MODEL",
        "openai/gpt-5.5",
        "model of the catalogue by which `auto` measures quality (as a share of its own) and savings",
    ),
    variable("KAIROSROUTE_SIGNUP", "open", "open | closed"),
    variable(
        "KAIROSROUTE_OPERATOR_SECOND_FACTOR",
        "optional",
        "required | optional: whether operators must switch two-factor sign-in on before anything else",
    ),
    variable(
        "KAIROSROUTE_OIDC_GOOGLE_CLIENT_ID",
        "",
        "with its secret: people may sign in by Google; needs KAIROSROUTE_PUBLIC_URL",
    ),
    variable("KAIROSROUTE_OIDC_GOOGLE_CLIENT_SECRET", "", "secret of the client at Google"),
    variable(
        "KAIROSROUTE_OIDC_GITHUB_CLIENT_ID",
        "",
        "with its secret: people may sign in by GitHub; needs KAIROSROUTE_PUBLIC_URL",
    ),
    variable("KAIROSROUTE_OIDC_GITHUB_CLIENT_SECRET", "", "secret of the client at GitHub"),
    variable("KAIROSROUTE_OIDC_GITHUB_URL", "https://github.com", "another address for GitHub Enterprise"),
    variable("KAIROSROUTE_OIDC_GITHUB_API_URL", "https://api.github.com", "the same for its API"),
    variable(
        "KAIROSROUTE_OIDC_ISSUER",
        "",
        "issuer of any OpenID Connect provider that people may sign in by",
    ),
    variable("KAIROSROUTE_OIDC_TITLE", "single sign-on", "what the log-in page calls that provider"),
    variable("KAIROSROUTE_OIDC_CLIENT_ID", "", "client at that provider; needs KAIROSROUTE_PUBLIC_URL"),
    variable("KAIROSROUTE_OIDC_CLIENT_SECRET", "", "secret of the client at that provider"),
    variable(
        "KAIROSROUTE_SIGNUPS_PER_ADDRESS_DAY_MAX",
        "100",
        "new organizations that one address (IPv6: one /64 network) may sign up on one day (UTC)",
    ),
    variable(
        "KAIROSROUTE_SIGNUPS_PER_DAY_MAX",
        "10000",
        "new organizations that may sign up on one day (UTC), from all addresses together",
    ),
    variable(
        "KAIROSROUTE_ORGANIZATIONS_PER_PERSON_MAX",
        "100",
        "organizations that one person may belong to",
    ),
    variable("KAIROSROUTE_MEMBERS_MAX", "1000", "members and open invitations of one organization"),
    variable("KAIROSROUTE_API_KEYS_MAX", "1000", "live API keys of one organization"),
    variable(
        "KAIROSROUTE_PROVIDER_KEYS_MAX",
        "1000",
        "stored provider keys of one organization; one API key holds up to 100 of them",
    ),
    variable(
        "KAIROSROUTE_FREE_RECEIPTS_PER_DAY_MAX",
        "1000000",
        "receipts of uncharged requests (own keys, cache) of one organization that a process keeps for one day (UTC)",
    ),
    variable("KAIROSROUTE_WEBHOOKS_MAX", "10", "webhooks for alerts of one organization"),
    variable(
        "KAIROSROUTE_IDEMPOTENCY_BYTES_PER_ORGANIZATION_MAX",
        "67108864",
        "bytes of answers to requests with an Idempotency-Key that one organization may have stored; past it new ones are not kept",
    ),
    variable(
        "KAIROSROUTE_REFUSALS_PER_KEY_MINUTE_MAX",
        "600",
        "requests of one API key that may be refused in a minute before any provider is called; then 429",
    ),
    variable(
        "KAIROSROUTE_REFUSALS_PER_ADDRESS_MINUTE_MAX",
        "600",
        "requests without a valid credential that may come from one address in a minute; then 429",
    ),
    variable(
        "KAIROSROUTE_REFUSAL_RETENTION_HOURS",
        "24",
        "how long receipts of requests that were refused before any provider was called are kept",
    ),
    variable(
        "KAIROSROUTE_ENDED_RETENTION_HOURS",
        "720",
        "how long ended sessions, used or expired invitations and revoked API keys are kept",
    ),
    variable(
        "KAIROSROUTE_AUDIT_RETENTION_HOURS",
        "9600",
        "how long lines of the audit log are kept; whole months are dropped",
    ),
    variable(
        "KAIROSROUTE_RECEIPT_RETENTION_DAYS",
        "",
        "how long receipts and the list of requests are kept, in whole months of at least 62 days. Unset: for ever",
    ),
    variable(
        "KAIROSROUTE_USAGE_RETENTION_DAYS",
        "",
        "the same of usage rows; sums in steps of 15 minutes, ledger entries and statements stay. Unset: for ever",
    ),
    variable("KAIROSROUTE_MIGRATE", "on", "on: serve applies pending migrations first | off"),
    variable("KAIROSROUTE_ALLOW_PRIVATE_NETS", "", "CIDR list that customer-given URLs may reach"),
    variable("KAIROSROUTE_TRUSTED_PROXIES", "", "CIDR list of proxies whose X-Forwarded-For counts"),
    variable("KAIROSROUTE_METRICS_LISTEN", "127.0.0.1:9464", "address of /metrics (Prometheus); off: none"),
    variable(
        "KAIROSROUTE_UNSAFE_DATABASE",
        "",
        "1: accept a database with fsync or synchronous_commit off (tests only)",
    ),
    variable(
        "KAIROSROUTE_LOG",
        "warn,kairosroute=info",
        "error | warn | info | debug | trace, or target=level pairs; kairosroute::access=off: no line for each request",
    ),
    variable(
        "KAIROSROUTE_OTLP_ENDPOINT",
        "",
        "where traces go, as OTLP in JSON over HTTP, such as http://collector:4318/v1/traces; unset: none are made",
    ),
    variable(
        "KAIROSROUTE_OTLP_HEADERS",
        "",
        "name=value, comma-separated: headers for it, such as a key of the collector",
    ),
    variable(
        "KAIROSROUTE_TRACE_PERCENT",
        "100",
        "requests of which traces are made, of those whose `traceparent` does not say",
    ),
    variable(
        "KAIROSROUTE_CORS_ORIGINS",
        "",
        "origins whose scripts may call /v1 from a browser, comma-separated, such as https://app.example.com, or *",
    ),
    variable("KAIROSROUTE_LOG_FORMAT", "text", "text | json, one line each"),
    variable("KAIROSROUTE_WORKERS", "", "HTTP worker threads; unset: one per core"),
    variable(
        "KAIROSROUTE_DATABASE_CONNECTIONS_MAX",
        "12",
        "pooled database connections of one process, at least 10 and those of reports: 8 are reserved, accounts get the rest",
    ),
    variable(
        "KAIROSROUTE_DATABASE_REPORT_CONNECTIONS_MAX",
        "2",
        "pooled database connections for usage reports and pages of the account API",
    ),
    variable("KAIROSROUTE_REPORT_TIMEOUT_MS", "10000", "longest database query of a report or page"),
    variable(
        "KAIROSROUTE_DATABASE_POOLER",
        "none",
        "none | transaction: a pooler in transaction mode, such as PgBouncer, stands before the database",
    ),
    variable(
        "KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX",
        "10240",
        "requests served at a time; more are refused with 503",
    ),
    variable(
        "KAIROSROUTE_REQUESTS_PER_ORGANIZATION_MAX",
        "",
        "of these, those of one organization; more are refused with 429. Unset: a tenth, at least 16",
    ),
    variable(
        "KAIROSROUTE_REQUESTS_PER_KEY_MAX",
        "",
        "and those of one API key. Unset: as of the organization",
    ),
    variable(
        "KAIROSROUTE_REQUESTS_WITHOUT_CREDIT_MAX",
        "",
        "requests at a time of an organization without credit. Unset: a quarter of the others', at least 16",
    ),
    variable(
        "KAIROSROUTE_MEMORY_BYTES_MAX",
        "1073741824",
        "memory for request bodies, whole answers, frames and fetched media beyond 64 KiB each",
    ),
    variable(
        "KAIROSROUTE_MEMORY_BYTES_PER_ORGANIZATION_MAX",
        "",
        "of this, what one organization may use; more is refused with 429. Unset: an eighth",
    ),
    variable(
        "KAIROSROUTE_BODIES_READ_MAX",
        "4096",
        "request bodies that are being received at a time; one organization may have an eighth of them",
    ),
    variable(
        "KAIROSROUTE_BODY_BYTES_PER_SECOND_MIN",
        "1024",
        "slowest pace at which a request body may arrive, over ten seconds",
    ),
    variable("KAIROSROUTE_BODY_TIMEOUT_MS", "300000", "longest time that a request body may take to arrive"),
    variable(
        "KAIROSROUTE_LARGE_BODY_BYTES",
        "262144",
        "a request with a larger body is read on a thread for such requests instead of an HTTP worker",
    ),
    variable("KAIROSROUTE_LARGE_REQUEST_THREADS", "2", "threads for large requests and for counting tokens"),
    variable(
        "KAIROSROUTE_NAME_LOOKUPS_MAX",
        "64",
        "look-ups at a time of host names that customers choose (base URLs, images, MCP servers)",
    ),
    variable("KAIROSROUTE_NAME_LOOKUPS_PER_ORGANIZATION_MAX", "8", "of these, those of one organization"),
    variable("KAIROSROUTE_NAME_LOOKUP_TIMEOUT_MS", "2000", "time for one of them"),
    variable(
        "KAIROSROUTE_CONNECTIONS_MAX",
        "",
        "connections of clients at a time. Unset: half of the files that the process may open, at most 65536",
    ),
    variable(
        "KAIROSROUTE_CONNECTIONS_PER_ADDRESS_MAX",
        "",
        "of these, those of one address (IPv6: one /64) but a trusted proxy's. Unset: half",
    ),
    variable("KAIROSROUTE_BODY_BYTES_MAX", "33554432", "largest request body"),
    variable("KAIROSROUTE_BODY_DEPTH_MAX", "128", "deepest nesting of a request body"),
    variable(
        "KAIROSROUTE_REPLY_BYTES_MAX",
        "67108864",
        "largest unary answer of a provider, and largest turn of an answer with MCP servers",
    ),
    variable("KAIROSROUTE_FRAME_BYTES_MAX", "8388608", "largest frame of a streamed answer"),
    variable(
        "KAIROSROUTE_STREAM_HELD_BYTES_MAX",
        "262144",
        "frames of a streamed answer that are kept back until its bill is known",
    ),
    variable(
        "KAIROSROUTE_ATTEMPTS_MAX",
        "3",
        "provider calls per request that end in overload, rate or time-out",
    ),
    variable(
        "KAIROSROUTE_MEDIA_BYTES_MAX",
        "20971520",
        "largest total of images and documents fetched by URL for one request",
    ),
    variable("KAIROSROUTE_MEDIA_TIMEOUT_MS", "10000", "time to fetch them"),
    variable(
        "REDIS_URL",
        "",
        "redis://… or rediss://…: response cache shared by all processes; unset: each has one in its memory",
    ),
    variable(
        "KAIROSROUTE_CACHE_REDIS_TIMEOUT_MS",
        "100",
        "longest wait for Redis; past it the request goes on without the cache",
    ),
    variable(
        "KAIROSROUTE_CACHE_MEMORY_BYTES_MAX",
        "67108864",
        "answers of the response cache in the memory of a process; 0: none",
    ),
    variable(
        "KAIROSROUTE_CACHE_MEMORY_BYTES_PER_ORGANIZATION_MAX",
        "",
        "of these, those of one organization; its oldest go first. Unset: an eighth",
    ),
    variable("KAIROSROUTE_CACHE_ENTRY_BYTES_MAX", "1048576", "largest answer that the response cache stores"),
    variable(
        "KAIROSROUTE_CACHE_TTL_SECONDS",
        "300",
        "how long a stored answer may be used where neither the API key nor the request sets it",
    ),
    variable(
        "KAIROSROUTE_CACHE_COALESCE",
        "off",
        "on | off: equal requests of one process that use the cache wait for the first one's answer",
    ),
    variable("KAIROSROUTE_CACHE_COALESCE_WAIT_MS", "30000", "longest such wait"),
    variable(
        "KAIROSROUTE_MCP_SERVERS",
        "",
        "slug=url, comma-separated: MCP servers that requests may name by slug; these may be private addresses",
    ),
    variable(
        "KAIROSROUTE_MCP_ACCESS",
        "credited",
        "which organizations may name them: granted (by `kairosroute admin mcp grant`) | credited (also those that the operator gave or sold credit) | everyone",
    ),
    variable(
        "KAIROSROUTE_MCP_CREDENTIALS_KEY",
        "",
        "RSA private key that opens credentials which clients seal for MCP servers; made by `kairosroute mcp-key`",
    ),
    variable("KAIROSROUTE_MCP_SERVERS_MAX", "8", "MCP servers of one request"),
    variable(
        "KAIROSROUTE_MCP_TURNS_MAX",
        "32",
        "largest max_turns; 10, or this if less, when it is not said",
    ),
    variable(
        "KAIROSROUTE_MCP_TOOLS_MAX",
        "128",
        "tools of one request with MCP servers, the caller's own included",
    ),
    variable(
        "KAIROSROUTE_MCP_RESULT_BYTES_MAX",
        "65536",
        "bytes of one MCP tool's result that the model gets; the rest is cut off and the model told",
    ),
    variable(
        "KAIROSROUTE_MCP_TOOLS_BYTES_MAX",
        "1048576",
        "bytes of names, descriptions and schemas of MCP tools in one request, of all servers together",
    ),
    variable("KAIROSROUTE_MCP_MESSAGE_BYTES_MAX", "4194304", "largest message of an MCP server"),
    variable(
        "KAIROSROUTE_MCP_SESSION_BYTES_MAX",
        "67108864",
        "bytes that one MCP server may send in one request, all messages together",
    ),
    variable("KAIROSROUTE_MCP_CONNECT_TIMEOUT_MS", "15000", "time to reach an MCP server and list its tools"),
    variable("KAIROSROUTE_MCP_CALL_TIMEOUT_MS", "60000", "time for one call of an MCP tool"),
    variable(
        "KAIROSROUTE_MCP_TOTAL_TIMEOUT_MS",
        "600000",
        "time after which a request with MCP servers begins no further turn and no further call",
    ),
    variable(
        "KAIROSROUTE_MCP_MEMORY_BYTES_MAX",
        "67108864",
        "what MCP servers said, kept in memory while callers run their own tools; 0: nothing is kept",
    ),
    variable("KAIROSROUTE_MCP_MEMORY_MS", "600000", "how long that is kept after it was last asked for"),
    variable(
        "KAIROSROUTE_STRIPE_SECRET_KEY",
        "",
        "secret key of Stripe, by which customers buy credit; unset: credit is not sold. Needs the two below",
    ),
    variable(
        "KAIROSROUTE_STRIPE_WEBHOOK_SECRET",
        "",
        "signing secret of Stripe's webhook to /webhooks/stripe; several, comma-separated, while it is changed",
    ),
    variable("KAIROSROUTE_STRIPE_BASE_URL", "https://api.stripe.com", "address of Stripe's API"),
    variable("KAIROSROUTE_STRIPE_PAYMENT_USD_MIN", "5", "smallest payment in USD"),
    variable("KAIROSROUTE_STRIPE_PAYMENT_USD_MAX", "5000", "largest payment in USD"),
    variable(
        "KAIROSROUTE_SMTP_URL",
        "",
        "mail server, such as smtps://user:password@mail.example.com, or smtp://…:587?tls=required; needs KAIROSROUTE_PUBLIC_URL; unset: no e-mail",
    ),
    variable("KAIROSROUTE_SMTP_FROM", "", "sender of e-mail, such as KairosRoute <noreply@example.com>"),
    variable("KAIROSROUTE_SMTP_TIMEOUT_MS", "20000", "time for one command of the mail server"),
    variable("KAIROSROUTE_CONNECT_TIMEOUT_MS", "5000", "time to connect to a provider"),
    variable("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS", "300000", "time to the first content of an answer"),
    variable(
        "KAIROSROUTE_FAILOVER_FIRST_BYTE_TIMEOUT_MS",
        "30000",
        "the same while another model or provider is left to try: longer at high reasoning effort, and for an answer \
         that comes whole; a request sets its own by X-KairosRoute-First-Content-Timeout-Ms",
    ),
    variable("KAIROSROUTE_IDLE_TIMEOUT_MS", "120000", "longest silence inside a stream"),
    variable("KAIROSROUTE_TOTAL_TIMEOUT_MS", "900000", "longest request, every attempt included"),
    variable("KAIROSROUTE_HEARTBEAT_MS", "15000", "silence after which a stream's client is sent a comment"),
    variable(
        "KAIROSROUTE_DRAIN_TIMEOUT_MS",
        "60000",
        "how long an abandoned answer is read on for its usage",
    ),
    variable("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "30000", "how long running requests may take after SIGTERM"),
    variable(
        "KAIROSROUTE_SHUTDOWN_NOTICE_MS",
        "1000",
        "how long new requests are still taken after SIGTERM while /readyz says no, for load balancers to see it",
    ),
];
