//! The response cache: who may find which answer, what is never stored, what a hit costs and reports, and Redis, which
//! may be poisoned or unreachable.

use crate::harness::{Client, Customer, Reply, Stack, hello, wait_until};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tokio::task::JoinSet;

const CHAT: &str = "/v1/chat/completions";
const MODEL: &str = "openai/gpt-5.4-mini";

fn cached(reply: &Reply) -> String {
    reply.header("x-kairosroute-cache").to_owned()
}

fn calls(stack: &Stack) -> usize {
    stack.simulator.bill().len()
}

/// A question that states whether the cache is used.
fn question(text: &str, cache: Value) -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": text }], "cache": cache })
}

async fn ask(client: &Client, key: &str, body: &Value) -> Reply {
    let reply = client.chat(key, body).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply
}

/// Sends requests until the answer has been stored, which happens in the background.
async fn ask_until_hit(client: &Client, key: &str, body: &Value) -> Reply {
    let mut hit = None;
    wait_until("the answer to be stored", async || {
        let reply = ask(client, key, body).await;
        let is_hit = cached(&reply) == "hit";
        hit = Some(reply);
        is_hit
    })
    .await;
    hit.unwrap()
}

async fn set_cache(stack: &Stack, customer: &Customer, cache: Value) -> Reply {
    stack.patch_key(&customer.session, &customer.key_id, &json!({ "cache": cache })).await
}

#[tokio::test]
async fn a_hit_costs_nothing_and_says_where_it_comes_from() {
    let stack = Stack::start().await;
    let customer = stack.customer("1").await;
    let body = question("once", json!(true));
    let first = ask(&stack, &customer.key, &body).await;
    assert_eq!((cached(&first).as_str(), first.header("age")), ("miss", ""), "{first}");
    let hit = ask_until_hit(&stack, &customer.key, &body).await;
    let before = (calls(&stack), stack.account(&customer.organization_id).await);
    let again = ask(&stack, &customer.key, &body).await;
    assert_eq!(before, (calls(&stack), stack.account(&customer.organization_id).await));
    for reply in [&hit, &again] {
        assert_eq!(reply.header("x-kairosroute-cost"), "0");
        assert!(reply.header("age").parse::<u64>().is_ok(), "{reply}");
        assert_eq!(reply.header("x-kairosroute-attempts"), "0");
        assert_eq!(reply.header("x-kairosroute-byok"), "false");
        for name in ["x-kairosroute-provider", "x-kairosroute-model", "content-type"] {
            assert_eq!(reply.header(name), first.header(name), "{name}");
        }
        assert_eq!(reply.json()["choices"], first.json()["choices"]);
        assert_eq!(reply.json()["usage"], first.json()["usage"]);
        assert_ne!(reply.receipt_id(), first.receipt_id());
        let note = &reply.json()["x_kairosroute"];
        assert_eq!(note["charged_usd"].to_string(), "0", "{note}");
        assert_eq!(note["cache"]["saved_usd"], first.json()["x_kairosroute"]["charged_usd"]);
    }
    let receipt = stack.receipt(&customer.key, again.receipt_id()).await;
    assert!(receipt["cache"]["original_receipt_id"].as_str().is_some_and(|id| id.starts_with("rcpt_")));
    assert_eq!(receipt["charged_nano_usd"], 0);
    assert_eq!((&receipt["attempts"], &receipt["execution"]["status"]), (&json!([]), &json!("completed")));
    assert!(receipt["cache"]["saved_nano_usd"].as_i64().is_some_and(|saved| saved > 0), "{receipt}");
    let rows =
        "SELECT count(*) FROM usage WHERE cache_saved > 0 AND charge = 0 AND cost = 0 AND input_tokens = 0";
    wait_until("the usage of the hits to be written", async || stack.database.number(rows).await >= 2).await;
    stack.finish().await;
}

#[tokio::test]
async fn key_and_request_say_together_whether_the_cache_is_used() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let plain = hello(MODEL);
    for _ in 0..2 {
        assert_eq!(cached(&ask(&stack, &customer.key, &plain).await), "off");
    }
    for wrong in
        [json!({ "ttlSeconds": 0 }), json!({ "ttlSeconds": 2_592_001 }), json!({ "ttlSeconds": 9, "x": 1 })]
    {
        assert_eq!(set_cache(&stack, &customer, wrong.clone()).await.status, 400, "{wrong}");
    }
    let set = set_cache(&stack, &customer, json!({ "ttlSeconds": 600 })).await;
    assert_eq!(set.json()["cache"], json!({ "ttlSeconds": 600, "scope": "organization" }), "{set}");
    ask_until_hit(&stack, &customer.key, &plain).await;
    // The request's setting has priority over the key's.
    let off = question("Hello", json!(false));
    assert_eq!(cached(&ask(&stack, &customer.key, &off).await), "off");
    let brief = question("Hello", json!({ "ttl_seconds": 600 }));
    assert_eq!(cached(&ask(&stack, &customer.key, &brief).await), "hit");
    let send = async |directives: &str| {
        let request = stack.request("POST", CHAT).bearer(&customer.key);
        let reply = request.header("Cache-Control", directives).json(&plain).send().await;
        assert_eq!(reply.status, 200, "{reply}");
        cached(&reply)
    };
    assert_eq!(send("no-store").await, "off");
    assert_eq!(send("max-age=600").await, "hit");
    assert_eq!(send("something, MAX-AGE=600").await, "hit");
    assert_eq!(send("max-age=0").await, "miss");
    assert_eq!(send("no-cache").await, "miss");
    // The new answer has replaced the old one.
    assert_eq!(cached(&ask_until_hit(&stack, &customer.key, &plain).await), "hit");
    let bad = stack.chat(&customer.key, &question("Hello", json!({ "ttl_seconds": 0 }))).await;
    assert_eq!((bad.status, bad.json()["error"]["param"].clone()), (400, json!("cache")), "{bad}");
    assert_eq!(set_cache(&stack, &customer, Value::Null).await.json()["cache"], Value::Null);
    wait_until("the key to be read anew", async || {
        cached(&ask(&stack, &customer.key, &plain).await) == "off"
    })
    .await;
    stack.finish().await;
}

#[tokio::test]
async fn an_answer_is_found_within_its_scope_alone() {
    let stack = Stack::start().await;
    let (customer, stranger) = (stack.customer("10").await, stack.customer("10").await);
    let shared = json!({ "name": "shared", "cache": { "ttlSeconds": 600 } });
    let private = json!({ "name": "private", "cache": { "ttlSeconds": 600, "scope": "key" } });
    let (one, _) = stack.create_key(&customer.session, &shared).await;
    let (other, _) = stack.create_key(&customer.session, &shared).await;
    let (alone, _) = stack.create_key(&customer.session, &private).await;
    let (foreign, _) = stack.create_key(&stranger.session, &shared).await;
    ask_until_hit(&stack, &one, &hello(MODEL)).await;
    assert_eq!(cached(&ask(&stack, &other, &hello(MODEL)).await), "hit");
    assert_eq!(cached(&ask(&stack, &foreign, &hello(MODEL)).await), "miss");
    assert_eq!(cached(&ask(&stack, &alone, &hello(MODEL)).await), "miss");
    ask_until_hit(&stack, &alone, &hello(MODEL)).await;
    let (alone_too, _) = stack.create_key(&customer.session, &private).await;
    assert_eq!(cached(&ask(&stack, &alone_too, &hello(MODEL)).await), "miss");
    // Another model is another question, under any name.
    assert_eq!(cached(&ask(&stack, &one, &hello("gpt-5.4-mini")).await), "hit");
    assert_eq!(cached(&ask(&stack, &one, &hello("openai/gpt-5.4")).await), "miss");
    stack.finish().await;
}

#[tokio::test]
async fn what_must_not_be_kept_is_not() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    // An error.
    let body = question("error", json!(true));
    stack.simulator.enqueue("openai", Script::failing(400));
    assert_eq!(stack.chat(&customer.key, &body).await.status, 400);
    assert_eq!(cached(&ask(&stack, &customer.key, &body).await), "miss");
    // A request-scoped key.
    let mut scoped = question("scoped", json!(true));
    for _ in 0..2 {
        let request =
            stack.request("POST", CHAT).bearer(&customer.key).header("X-Provider-Key", "sk-own-0123456789");
        let reply = request.json(&scoped).send().await;
        assert_eq!((reply.status, cached(&reply).as_str()), (200, "off"), "{reply}");
    }
    // It also does not get an answer that another key received.
    scoped = question("error", json!(true));
    ask_until_hit(&stack, &customer.key, &scoped).await;
    scoped["byok_api_key"] = json!("sk-own-0123456789abcdef");
    assert_eq!(cached(&ask(&stack, &customer.key, &scoped).await), "off");
    // A stream that breaks off.
    let mut broken = question("broken", json!(true));
    stack.simulator.enqueue("openai", Script { error_after: Some(2), ..Script::default() });
    let before = calls(&stack);
    let frames = stack.stream(&customer.key, &broken).await.rest().await;
    assert!(!frames.last().unwrap().is_done());
    broken["stream"] = json!(false);
    assert_eq!(cached(&ask(&stack, &customer.key, &broken).await), "miss");
    assert_eq!(calls(&stack), before + 2);
    // Objects that a provider stores for the customer, and other kinds of requests.
    let stored = json!({ "model": MODEL, "input": "Hello", "store": true, "cache": true });
    let embedding = json!({ "model": "openai/text-embedding-3-small", "input": "Hello", "cache": true });
    for (path, body) in [("/v1/responses", stored), ("/v1/embeddings", embedding)] {
        for _ in 0..2 {
            let reply = stack.post(path, &customer.key, &body).await;
            assert!(matches!(reply.status, 200 | 400), "{reply}");
            assert_eq!(cached(&reply), "off", "{path}: {reply}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn equal_requests_at_once_call_the_provider_once_where_that_is_wanted() {
    let stack = Stack::builder().env("KAIROSROUTE_CACHE_COALESCE", "on").start().await;
    let customer = stack.customer("10").await;
    stack.simulator.set_default("openai", Script::default().gated());
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let (client, key) = (Client::clone(&stack), customer.key.clone());
        asking.spawn(async move { client.chat(&key, &question("together", json!(true))).await });
    }
    wait_until("the provider to be called", async || stack.simulator.waiting() > 0).await;
    stack.simulator.release();
    let mut misses = 0;
    while let Some(reply) = asking.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        misses += usize::from(cached(&reply) == "miss");
    }
    assert_eq!((misses, calls(&stack)), (1, 1));
    stack.finish().await;
}

/// A separate Redis server; it ends with this value.
struct RedisServer {
    child: Child,
    directory: PathBuf,
}

impl RedisServer {
    async fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("kairosroute-redis-{name}"));
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "redis.sock"]);
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("redis-server: ./test installs it");
        let mut server = Self { child, directory };
        wait_until("Redis to listen", async || {
            assert!(server.child.try_wait().unwrap().is_none(), "Redis ended");
            tokio::net::UnixStream::connect(server.directory.join("redis.sock")).await.is_ok()
        })
        .await;
        server
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("redis.sock").display())
    }

    async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn redis_is_shared_sealed_and_may_be_poisoned_or_away() {
    let mut redis =
        RedisServer::start(&kairosroute::domain::ambient::Ambient::system().uuid().simple().to_string())
            .await;
    let stack = Stack::builder().env("REDIS_URL", &redis.url()).start().await;
    let second = stack.second_node().await;
    let customer = stack.customer("10").await;
    let body = question("a canary in the prompt", json!(true));
    let mut script = Script::text(&["a canary in the answer"]);
    script.completion_tokens = Some(5);
    stack.simulator.set_default("openai", script);
    ask_until_hit(&stack, &customer.key, &body).await;
    assert_eq!(cached(&ask(&second, &customer.key, &body).await), "hit");

    let mut connection = redis.connect().await;
    let names: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    let value: Vec<u8> = redis::cmd("GET").arg(&names[0]).query_async(&mut connection).await.unwrap();
    assert!(!String::from_utf8_lossy(&value).contains("canary") && !names[0].contains("canary"));
    let left: i64 = redis::cmd("PTTL").arg(&names[0]).query_async(&mut connection).await.unwrap();
    assert!((1..=300_000).contains(&left), "{left}");
    // Another value, a damaged one, and one that belongs to another question.
    let mut damaged = value.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for poison in [b"{}".to_vec(), Vec::new(), damaged] {
        let set: String =
            redis::cmd("SET").arg(&names[0]).arg(&poison).query_async(&mut connection).await.unwrap();
        assert_eq!(set, "OK");
        let reply = ask(&stack, &customer.key, &body).await;
        assert_eq!(cached(&reply), "miss", "{poison:?}");
        ask_until_hit(&stack, &customer.key, &body).await;
    }
    let other = question("another question", json!(true));
    ask_until_hit(&stack, &customer.key, &other).await;
    let both: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let moved = both.iter().find(|name| **name != names[0]).unwrap();
    let _: bool = redis::cmd("COPY")
        .arg(&names[0])
        .arg(moved)
        .arg("REPLACE")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(cached(&ask(&stack, &customer.key, &other).await), "miss");

    // Money is not affected, and no request waits: the cache is off, and on again when Redis is back.
    redis.stop();
    let reply = ask(&stack, &customer.key, &body).await;
    assert_eq!(cached(&reply), "off");
    assert_ne!(reply.header("x-kairosroute-cost"), "0");
    stack.finish().await;
}
