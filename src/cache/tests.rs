//! Keys, entries and the memory cache; integration tests cover Redis.

use super::*;
use crate::{
    dialect::{Dialect, canonical::Answer},
    domain::{
        ids::{ApiKeyId, RequestId},
        money::NanoUsd,
        provider::ProviderId,
        usage::Usage,
    },
    store::testing,
    vault::KeyRing,
};
use uuid::Uuid;

fn installation() -> Arc<Installation> {
    let key = || KeyedHash::new([7; 32]);
    let ring = KeyRing::parse("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    Arc::new(Installation {
        ring,
        pepper: key(),
        tokens: key(),
        fingerprints: key(),
        signing: key(),
        cookies: key(),
        webhooks: key(),
    })
}

fn cache(memory_bytes_max: u64, coalesces: bool) -> ResponseCache {
    let limits = CacheLimits {
        memory_bytes_max,
        memory_bytes_per_organization_max: memory_bytes_max,
        entry_bytes_max: 4_096,
        ttl: Duration::from_secs(300),
        coalesces,
        coalesce_wait: Duration::from_secs(60),
    };
    ResponseCache::new(limits, None, installation(), Ambient::system())
}

fn entry(cache: &ResponseCache, text: &str) -> Entry {
    Entry {
        request_id: RequestId(Uuid::nil()),
        created_at_ms: cache.now_ms() - 5_500,
        expires_at_ms: cache.now_ms() + 60_000,
        provider: ProviderId::by_id("openai").unwrap(),
        model_id: "openai/m".to_owned(),
        model_name: "m".to_owned(),
        upstream_model: "m".to_owned(),
        usage: Usage { input: 3, ..Usage::default() },
        worth: NanoUsd(12),
        dropped: vec!["seed".to_owned()],
        answer: Answer::default(),
        verbatim: Verbatim::new(Dialect::Chat, text.as_bytes()),
    }
}

fn question(org: u128, api_key: Option<u128>) -> Question<'static> {
    Question {
        scope: testing::scope(org),
        api_key: api_key.map(|id| ApiKeyId(Uuid::from_u128(id))),
        model_id: "openai/m",
        base_url: None,
        request: [1; 32],
    }
}

#[test]
fn every_part_of_a_question_makes_another_key() {
    let cache = cache(1 << 20, false);
    let plain = question(1, None);
    let keys = [
        plain,
        question(2, None),
        question(1, Some(1)),
        question(1, Some(2)),
        Question { model_id: "groq/m", ..plain },
        Question { base_url: Some("https://a.test"), ..plain },
        Question { request: [2; 32], ..plain },
    ]
    .map(|question| cache.key(&question).name);
    for (at, key) in keys.iter().enumerate() {
        assert!(keys.iter().skip(at + 1).all(|other| other != key), "{at}");
    }
    assert_eq!(cache.key(&plain), cache.key(&question(1, None)));
}

#[test]
fn an_entry_is_read_back_and_anything_else_is_not() {
    let cache = cache(1 << 20, false);
    let entry = entry(&cache, r#"{"id":"a"}"#);
    let bytes = entry.to_bytes();
    assert_eq!(Entry::from_bytes(&bytes), Some(entry.clone()));
    assert_eq!(entry.age_s(cache.now_ms()), 5);
    for bad in [&b""[..], b"{}", b"null", bytes.get(1..).unwrap()] {
        assert_eq!(Entry::from_bytes(bad), None);
    }
    let later = String::from_utf8(bytes).unwrap().replacen("\"form\":1", "\"form\":2", 1);
    assert_eq!(Entry::from_bytes(later.as_bytes()), None);
    assert_eq!(Verbatim::new(Dialect::Responses, b"{}"), None);
}

#[tokio::test]
async fn an_answer_is_found_until_its_end_and_only_if_it_is_small_enough() {
    let cache = cache(1 << 20, false);
    let key = cache.key(&question(1, None));
    assert!(matches!(cache.get(&key).await, Found::Miss));
    cache.put(key, &entry(&cache, &"x".repeat(5_000))).await;
    assert!(matches!(cache.get(&key).await, Found::Miss));
    let over = Entry { expires_at_ms: cache.now_ms() - 1, ..entry(&cache, "{}") };
    cache.put(key, &over).await;
    assert!(matches!(cache.get(&key).await, Found::Miss));
    cache.put(key, &entry(&cache, "{}")).await;
    assert!(matches!(cache.get(&key).await, Found::Hit(_)));
    assert!(matches!(cache.get(&cache.key(&question(2, None))).await, Found::Miss));
}

#[tokio::test]
async fn without_memory_there_is_no_cache() {
    let cache = cache(0, false);
    assert!(!cache.is_on());
    assert!(matches!(cache.get(&cache.key(&question(1, None))).await, Found::Off));
}

#[tokio::test]
async fn the_first_of_equal_requests_goes_alone_and_the_others_wait_for_it() {
    let waiting = cache(1 << 20, true);
    let key = waiting.key(&question(1, None));
    let first = waiting.take_off(key).await;
    assert!(first.is_some());
    let mut second = Box::pin(waiting.take_off(key));
    assert!(futures_util::future::poll_immediate(second.as_mut()).await.is_none());
    assert!(
        waiting.take_off(waiting.key(&question(2, None))).await.is_some(),
        "another question is not held up"
    );
    drop(first);
    assert!(second.await.is_none());
    assert!(waiting.take_off(key).await.is_some());
    assert!(cache(1 << 20, false).take_off(key).await.is_none());
}
