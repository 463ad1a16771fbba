//! The files for deployment, checked by the tools that will read them: Helm's library renders the chart, which is
//! checked against the schemas of Kubernetes; alert rules and dashboard are parsed as Prometheus parses them. The
//! programs are in tests/deploy; `./test` installs their packages at locked versions.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The Python that `./test` provides; a test fails without it, because a skipped one would look like a passed one.
pub fn tools_python() -> OsString {
    let value = std::env::var_os("KAIROSROUTE_TEST_TOOLS_PYTHON").filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("KAIROSROUTE_TEST_TOOLS_PYTHON is not set: run ./test, which installs the tools and sets it")
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn check(program: &str, argument: &Path) -> String {
    let output = Command::new(tools_python())
        .arg("-B")
        .arg(root().join("tests/deploy").join(program))
        .arg(argument)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_chart_renders_to_objects_that_kubernetes_accepts() {
    let told = check("chart.py", &root().join("deploy/helm/kairosroute"));
    assert!(told.contains("3 sets of values"), "{told}");
}

#[test]
fn alert_rules_and_dashboard_parse() {
    let told = check("rules.py", &root().join("deploy"));
    assert!(told.contains("rules"), "{told}");
}

#[test]
fn the_chart_has_the_version_of_the_program_and_compose_its_settings() {
    let chart = fs::read_to_string(root().join("deploy/helm/kairosroute/Chart.yaml")).unwrap();
    assert!(chart.contains(&format!("appVersion: {}", env!("CARGO_PKG_VERSION"))), "{chart}");
    let settings = kairosroute::config::example();
    let compose = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    for text in [&compose, &dockerfile] {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|word| word.starts_with("KAIROSROUTE_")) {
            // These two belong to the build and to Docker itself.
            let known = ["KAIROSROUTE_BUILD_COMMIT", "KAIROSROUTE_IMAGE"].contains(&name);
            assert!(known || settings.contains(&format!("\n{name}=")), "{name} is no setting");
        }
    }
}
