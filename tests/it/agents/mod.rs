//! The coding agents Claude Code and Codex, unmodified, against a real gateway: a shell command, an edited file, a
//! second turn, with models of three wire formats, on own keys and on platform keys. The simulated provider follows a
//! plan of answers and refuses what the real one would refuse. `./test` installs the agents.

mod claude_code;
mod codex;
mod workplace;

use crate::harness::{Customer, Stack};
use kairosroute::simulator::{Script, ToolCall};
use serde_json::{Value, json};
use workplace::Workplace;

/// A model of each wire format, with the provider whose plan it follows.
const MODELS: [(&str, &str); 3] = [
    ("openai", "openai/gpt-5.5"),
    ("anthropic", "anthropic/claude-sonnet-4-6"),
    ("google", "google/gemini-3.8-flash"),
];

/// The owner of the provider keys that an agent uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Own,
    Platform,
}

impl Keys {
    fn prefix(self) -> &'static str {
        match self {
            Self::Own => "own-",
            Self::Platform => "platform-",
        }
    }

    /// A customer whose requests use only these keys.
    async fn customer(self, stack: &Stack) -> Customer {
        if self == Self::Platform {
            return stack.customer("10").await;
        }
        let customer = stack.customer("0").await;
        let own = |(provider, _): &(&str, &str)| {
            ((*provider).to_owned(), json!(format!("{}{provider}", self.prefix())))
        };
        let keys: Value = MODELS.iter().map(own).collect::<serde_json::Map<_, _>>().into();
        stack.set_provider_keys(&customer, &keys).await;
        let never = json!({ "byokFallback": "never" });
        assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &never).await.status, 200);
        customer
    }
}

/// An answer that calls one tool.
fn calls(id: &str, name: &str, arguments: &Value) -> Script {
    let quoted = json!(arguments.to_string()).to_string();
    Script::tools(vec![ToolCall::new(id, name, &[&quoted[1..quoted.len() - 1]])])
}

fn says(text: &str) -> Script {
    Script::text(&[text])
}

/// All calls to the provider were answered, on the expected key, and none by another provider.
fn check_calls(stack: &Stack, provider: &str, keys: Keys, at_least: usize) {
    let bill = stack.simulator.bill();
    assert!(bill.len() >= at_least, "{} calls", bill.len());
    for call in &bill {
        assert_eq!((call.provider.as_str(), call.status), (provider, 200), "{call:?}");
        assert_eq!(call.authorization, format!("{}{provider}", keys.prefix()));
        assert_eq!(call.leaked, Vec::<String>::new());
    }
}
