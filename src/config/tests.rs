use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn defaults_are_valid_and_the_example_file_says_the_same() {
    assert!(read(&[]).is_ok());
    assert_eq!(include_str!("../../.env.example"), example(), "run `kairosroute example-env > .env.example`");
    let lines = example();
    let pairs: Vec<(&str, &str)> =
        lines.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    assert!(read(&pairs).is_ok());
}

#[test]
fn every_problem_is_told_at_once_and_no_value_is_repeated() {
    let errors = read(&[
        ("KAIROSROUTE_LISTEN", "s3cret"),
        ("KAIROSROUTE_LISTENS", "x"),
        ("KAIROSROUTE_MARGIN_BPS", "-1"),
        ("KAIROSROUTE_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("KAIROSROUTE_BODY_BYTES_MAX", "1"),
        ("OPENAI_BASE_URL", "https://u:s3cret@h/"),
        ("DATABASE_URL", "postgres://x"),
    ])
    .err()
    .unwrap();
    assert_eq!(errors.0.len(), 7, "{errors}");
    assert!(!errors.to_string().contains("s3cret"));
}

#[test]
fn provider_variables_follow_the_table() {
    let config =
        read(&[("TOGETHER_AI_API_KEY", "k"), ("GROQ_BASE_URL", "http://127.0.0.1:1/openai/v1/")]).unwrap();
    let of = |id| config.provider(ProviderId::by_id(id).unwrap()).unwrap();
    assert!(of("together_ai").api_key.is_some());
    assert_eq!(of("groq").base_url.as_str(), "http://127.0.0.1:1/openai/v1");
    assert!(of("openai").api_key.is_none());
}

#[test]
fn mcp_servers_are_slugs_with_urls() {
    let servers = |text: &str| read(&[("KAIROSROUTE_MCP_SERVERS", text)]).map(|config| config.mcp_servers);
    let told = servers("acme/weather=http://10.0.0.7:9000/mcp, notes=https://notes.example.com/mcp?team=a=b")
        .unwrap();
    let told: Vec<_> = told.iter().map(|(slug, url)| (slug.as_str(), url.as_str())).collect();
    assert_eq!(
        told,
        [("acme/weather", "http://10.0.0.7:9000/mcp"), ("notes", "https://notes.example.com/mcp?team=a=b")]
    );
    for wrong in ["x", "=http://h/", "a=ftp://h/", "a=http://h/,a=http://i/", "http://h/?a=http://h/"] {
        assert!(servers(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn each_purpose_has_its_database_connections_or_the_setting_is_refused() {
    let read_with = |connections: &str, reports: &str| {
        read(&[
            ("KAIROSROUTE_DATABASE_CONNECTIONS_MAX", connections),
            ("KAIROSROUTE_DATABASE_REPORT_CONNECTIONS_MAX", reports),
        ])
    };
    for (connections, reports) in [("12", "2"), ("11", "1"), ("20", "10"), ("1000", "100")] {
        assert!(read_with(connections, reports).is_ok(), "{connections} {reports}");
    }
    for (connections, reports) in [("4", "2"), ("11", "2"), ("19", "10")] {
        let errors = read_with(connections, reports).err().unwrap();
        assert_eq!(errors.0.len(), 1, "{errors}");
    }
    let error = read_with("4", "2").err().unwrap().to_string();
    assert!(error.contains("KAIROSROUTE_DATABASE_CONNECTIONS_MAX: 12 or more are needed: 8 for"), "{error}");
    assert!(error.contains("2 for reports") && error.contains("2 for accounts"), "{error}");
}

#[test]
fn origins_are_origins() {
    let config =
        read(&[("KAIROSROUTE_CORS_ORIGINS", "https://app.example.com, http://localhost:3000")]).unwrap();
    assert_eq!(config.cors_origins, ["https://app.example.com", "http://localhost:3000"]);
    assert!(read(&[("KAIROSROUTE_CORS_ORIGINS", "*")]).is_ok());
    for wrong in
        ["app.example.com", "https://app.example.com/", "https://a.example/path", "null", "*.example.com"]
    {
        assert!(read(&[("KAIROSROUTE_CORS_ORIGINS", wrong)]).is_err(), "{wrong}");
    }
}

#[test]
fn a_mail_server_needs_a_sender_and_an_address_for_links() {
    let (url, from) =
        (("KAIROSROUTE_SMTP_URL", "smtps://u:s3cret@h"), ("KAIROSROUTE_SMTP_FROM", "noreply@h.example"));
    let public = ("KAIROSROUTE_PUBLIC_URL", "https://h.example");
    assert!(read(&[url, from, public]).unwrap().smtp.is_some());
    let open = ("KAIROSROUTE_SMTP_URL", "smtp://u:s3cret@h");
    for pairs in [&[url, public][..], &[from, public], &[open, from, public], &[url, from]] {
        let errors = read(pairs).err().unwrap();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert!(!errors.to_string().contains("s3cret"));
    }
}
