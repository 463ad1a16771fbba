//! The shape of the source tree: layers point one way, files stay short, and what is dangerous stays where it
//! belongs. These tests read the source; they know no exception that is not written here.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From the bottom up; modules of one line do not import each other.
const LAYERS: &[&[&str]] = &[
    &["classifier", "limits"],
    &["domain"],
    &["dialect", "books"],
    &["store", "vault"],
    &["providers", "mail"],
    &["routing", "mcp", "quotas"],
    &["billing"],
    &["credentials"],
    &["accounts"],
    &["idempotency", "cache", "alerts"],
    &["gateway"],
    &["http"],
    // Its pages read bodies and answer errors as the JSON API does.
    &["dashboard"],
    &["jobs"],
    &["app"],
    &["commands"],
];

/// Beside the layers: they may be used by the modules named, and use those named.
const ASIDE: &[(&str, &[&str], &[&str])] = &[
    // Bounds are settings: account services and gateway are handed them as they were read.
    (
        "config",
        &["accounts", "cache", "gateway", "jobs", "app", "commands"],
        &["domain", "mail", "providers", "store"],
    ),
    ("telemetry", &["commands"], &[]),
    ("local_postgres", &["commands"], &["domain"]),
    // The oracle of the money tests: it must know nothing of ours.
    ("simulator", &["commands"], &[]),
];

const LINES_MAX: usize = 500;

struct Source {
    path: PathBuf,
    /// The top-level module it belongs to; empty for the crate's own files.
    module: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the gateway's own crate, and of the crates beside it: there the crate's name is the module.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    gather(&root().join("src"), &mut found);
    assert!(found.len() > 50);
    let mut sources: Vec<Source> = found
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(root().join("src")).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
            let module = first.trim_end_matches(".rs");
            let module = if ["main", "lib"].contains(&module) { "" } else { module };
            Source { module: module.to_owned(), text: fs::read_to_string(&path).unwrap(), path }
        })
        .collect();
    for member in fs::read_dir(root().join("crates")).unwrap() {
        let member = member.unwrap();
        let module = member.file_name().into_string().unwrap();
        let mut found = Vec::new();
        gather(&member.path().join("src"), &mut found);
        assert!(!found.is_empty(), "{module} has no sources");
        sources.extend(found.into_iter().map(|path| Source {
            module: module.clone(),
            text: fs::read_to_string(&path).unwrap(),
            path,
        }));
    }
    sources
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules a text names after `crate::`, groups opened.
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut modules = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(group_heads(group)),
            None => modules.push(identifier(rest)),
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

/// The first path segments of a braced list, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0_usize, Vec::new(), true);
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            other if at_head && depth == 0 && !other.is_whitespace() => {
                heads.push(identifier(&group[index..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with `from` using `to`.
fn wrong_arrow(from: &str, to: &str) -> Option<&'static str> {
    if from == to || from.is_empty() {
        return None;
    }
    let aside = |name: &str| ASIDE.iter().find(|(module, ..)| *module == name);
    match (aside(from), aside(to), rank(from), rank(to)) {
        (Some((_, _, uses)), ..) => (!uses.contains(&to)).then_some("is beside the layers"),
        (None, Some((_, users, _)), ..) => (!users.contains(&from)).then_some("may not use this"),
        (None, None, Some(from), Some(to)) if from > to => None,
        (None, None, Some(from), Some(to)) if from == to => Some("is a sibling"),
        (None, None, Some(_), Some(_)) => Some("points up"),
        _ => Some("is in no layer"),
    }
}

#[test]
fn layers_point_one_way() {
    let mut wrong = Vec::new();
    // The borders between the crates are held by the compiler; here are those inside the gateway's own.
    for source in sources().into_iter().filter(|source| source.path.starts_with(root().join("src"))) {
        for to in imports(product(&source)) {
            if let Some(problem) = wrong_arrow(&source.module, &to) {
                wrong.push(format!("{}: {} -> {to} {problem}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_arrow_is_noticed() {
    let text = "use crate::{\n    domain::{ids, money},\n    http::error::ApiError, // crate::commands\n};\nfn f() { crate::app::g() }";
    assert_eq!(imports(text), ["domain", "http", "app"]);
    assert_eq!(wrong_arrow("store", "http"), Some("points up"));
    assert_eq!(wrong_arrow("store", "vault"), Some("is a sibling"));
    assert_eq!(wrong_arrow("simulator", "domain"), Some("is beside the layers"));
    assert_eq!(wrong_arrow("http", "simulator"), Some("may not use this"));
    assert_eq!(wrong_arrow("utils", "domain"), Some("is in no layer"));
    assert_eq!(wrong_arrow("http", "store"), None);
}

#[test]
fn files_stay_short() {
    let mut long: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|source| source.text.lines().count() > LINES_MAX)
        .map(|source| source.path)
        .collect();
    let mut tests = Vec::new();
    gather(&root().join("tests/it"), &mut tests);
    long.extend(
        tests.into_iter().filter(|path| fs::read_to_string(path).unwrap().lines().count() > LINES_MAX),
    );
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

/// Functions that are longer than [`FUNCTION_LINES_MAX`] today. None is added.
const LONG_FUNCTIONS: &[&str] = &[
    "messages/turns.rs part",
    "openai_chat/messages.rs message",
    "responses/items.rs item",
    "server.rs serve",
    "app.rs gateway",
];
const FUNCTION_LINES_MAX: usize = 70;

/// Each function of a formatted file with its number of lines: it ends at the brace below its first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words: Vec<&str> = code.split([' ', '(', '<']).collect();
        let Some(place) = words.iter().take(6).position(|word| *word == "fn") else { continue };
        let is_item =
            words[..place].iter().all(|word| ["pub", "async", "const"].contains(word) || word.ends_with(')'));
        if !is_item && !code.starts_with("pub(") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let length = lines[at..].iter().position(|line| **line == end).map_or(1, |last| last + 1);
        let is_one_line = line.ends_with('}') || line.ends_with(';');
        found.push((words[place + 1].to_owned(), if is_one_line { 1 } else { length }));
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let text = "pub fn a() {\n    b();\n}\nimpl X {\n    pub(super) async fn c<'a>(\n        d: &'a str,\n    ) {\n    }\n    fn e() {}\n}\n// fn f()\n";
    let found: Vec<(String, usize)> = functions(text);
    assert_eq!(found, [("a".to_owned(), 3), ("c".to_owned(), 4), ("e".to_owned(), 1)]);
    let is_listed = |place: &str| LONG_FUNCTIONS.iter().any(|listed| place.ends_with(listed));
    // The laws of cost are tests; a statement in SQL is as long as it is.
    let is_product = |source: &&Source| {
        source.module != "store" && !source.path.components().any(|part| part.as_os_str() == "law")
    };
    let mut long = Vec::new();
    for source in sources().iter().filter(is_product) {
        let functions =
            functions(product(source)).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        let places = functions.map(|(name, _)| format!("{} {name}", source.path.display()));
        long.extend(places.filter(|place| !is_listed(place)));
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES_MAX} lines: {long:#?}");
}

/// The product's part of a file: tests in it may do what the product may not.
fn product(source: &Source) -> &str {
    let is_test = source.path.components().any(|part| {
        part.as_os_str().to_str().is_some_and(|part| part.starts_with("tests") || part == "testing.rs")
    });
    if is_test { "" } else { source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default() }
}

fn holders(needles: &[&str], allowed: &[&str]) -> Vec<String> {
    sources()
        .iter()
        .filter(|source| !allowed.contains(&source.module.as_str()))
        .filter(|source| needles.iter().any(|needle| product(source).contains(needle)))
        .map(|source| source.path.display().to_string())
        .collect()
}

#[test]
fn http_clients_live_where_providers_are_called() {
    let homes = ["providers", "mcp", "credentials", "app", "commands"];
    // Settings hold URLs, and account services and alerts hold clients that were made for them; none makes one.
    let named = [
        ("config", "use reqwest::Url;"),
        ("accounts", "use reqwest::Url;"),
        ("dashboard", "use reqwest::Url;"),
        ("accounts", "reqwest::Client,"),
        ("alerts", "reqwest::Client,"),
        ("mail", "use reqwest::Url;"),
    ];
    let is_named = |source: &Source, line: &str| {
        named.iter().any(|(module, text)| source.module == *module && line.trim().ends_with(text))
    };
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !homes.contains(&source.module.as_str())) {
        let lines = product(source).lines().filter(|line| line.contains("reqwest::"));
        found.extend(
            lines
                .filter(|line| !is_named(source, line))
                .map(|line| format!("{}: {}", source.path.display(), line.trim())),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn sql_lives_in_the_store() {
    let macros = ["query!(", "query_as!(", "query_scalar!(", "sqlx::query", "sqlx::raw_sql", "QueryBuilder"];
    // The private cluster's own set-up runs before there is a store.
    let found = holders(&macros, &["store", "local_postgres"]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn routes_are_registered_in_one_place() {
    let registering = ["web::resource(", "web::scope(", ".default_service("];
    let found = holders(&registering, &["simulator"]);
    let tables = ["src/http/routes/register.rs", "src/dashboard/routes.rs"];
    let elsewhere: Vec<_> =
        found.iter().filter(|path| !tables.iter().any(|table| path.ends_with(table))).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn a_file_opens_with_what_it_is_for() {
    let bare: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .filter(|path| {
            !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
        })
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
}

/// Names, model output and error messages are text: a page escapes whatever it shows. `style-src 'self'` refuses inline
/// style, and `script-src 'self'` inline script.
#[test]
fn templates_escape_everything_and_carry_no_inline_script_or_style() {
    let templates = fs::read_dir(root().join("templates")).unwrap().map(|file| file.unwrap().path());
    let mut found = Vec::new();
    for path in templates {
        let text = fs::read_to_string(&path).unwrap();
        let forbidden =
            ["|safe", "| safe", "|escape(", " style=", "<style", " onclick=", " onerror=", "javascript:"];
        found.extend(forbidden.iter().filter(|word| text.contains(**word)).map(|word| (path.clone(), *word)));
        let scripts = text.matches("<script").count();
        if scripts != text.matches("<script src=").count() {
            found.push((path.clone(), "<script>"));
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

/// Two migrations of one version cannot both be recorded: nothing starts with them.
#[test]
fn every_migration_has_a_version_of_its_own() {
    let names = fs::read_dir(root().join("migrations")).unwrap();
    let mut versions: Vec<String> = names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split_once('_').unwrap().0.to_owned())
        .collect();
    versions.sort_unstable();
    let twice: Vec<_> = versions.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(!versions.is_empty() && twice.is_empty(), "{twice:?}");
}
