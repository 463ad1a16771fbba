//! Results of servers' tools from before the model called a tool of the client. The client answers that call in a new
//! request, which does not contain the turns before it. Without them the model would not have the earlier results, and
//! might repeat calls and actions. The results are kept in this process's memory for a limited time and size, and never
//! written elsewhere; if they are missing, the request continues without them.

use crate::{
    config::Limits,
    dialect::json::{Cursor, DEPTH_LIMIT, Member, ObjectWriter, Raw},
    domain::ids::ApiKeyId,
};
use moka::{future::Cache, policy::EvictionPolicy};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Maximum share of the memory for one answer.
const ONE_OF: usize = 16;
/// Calls of one message that are examined: a message with more was not written by a model.
const CALLS_MAX: usize = 128;

/// The stored part of a turn that ended with calls of the client's tools.
#[derive(Debug)]
pub struct Kept {
    /// The messages before those calls, which the client never received; JSON.
    said: Vec<String>,
    /// The calls, by id, JSON.
    calls: Vec<(String, String)>,
}

/// The key of an entry: the API key of the request and the id of any of the calls.
pub struct ToolHistoryCache {
    kept: Cache<(ApiKeyId, String), Arc<Kept>>,
    bytes_each_max: usize,
}

impl ToolHistoryCache {
    /// Within these limits. Messages that are larger than a request may be, or than their share, are not kept.
    pub fn new(limits: &Limits) -> Self {
        let kept = Cache::builder()
            .max_capacity(u64::try_from(limits.mcp.memory_bytes_max).unwrap_or(u64::MAX))
            .weigher(|key: &(ApiKeyId, String), kept: &Arc<Kept>| {
                // Each call has an entry, and all entries of a turn share the same content.
                let bytes = key.1.len().saturating_add(kept.bytes() / kept.calls.len().max(1));
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_idle(limits.mcp.memory)
            // The newest entry is the one that the next request needs.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let bytes_each_max = limits.body_bytes_max.min(limits.mcp.memory_bytes_max / ONE_OF);
        Self { kept, bytes_each_max }
    }

    /// Keeps the messages before these calls.
    pub async fn keep(&self, api_key: ApiKeyId, said: Vec<String>, asked: &str) {
        let calls = calls_of(asked);
        let kept = Arc::new(Kept { said, calls });
        if kept.bytes() <= self.bytes_each_max {
            for (id, _) in &kept.calls {
                self.kept.insert((api_key, id.clone()), kept.clone()).await;
            }
        }
    }

    /// The messages of a request, an array without its brackets, with the kept messages inserted before the calls that
    /// they precede; `None` if there is nothing to add.
    pub async fn recall(&self, api_key: ApiKeyId, messages: &str) -> Option<String> {
        let array = format!("[{messages}]");
        let elements = Cursor::new(array.as_bytes(), DEPTH_LIMIT).ok()?.value().ok()?.elements();
        let room = self.bytes_each_max.saturating_add(messages.len()).saturating_add(elements.len());
        let mut out = Recalled { text: String::with_capacity(messages.len()), told: HashSet::new() };
        let mut rest = elements.as_slice();
        while let Some((message, after)) = rest.split_first() {
            rest = after;
            let groups = self.groups(api_key, *message).await;
            if groups.iter().all(|group| group.kept.is_none()) {
                out.push(message.get());
                continue;
            }
            let results = after.iter().take_while(|next| is_result(**next)).count();
            let (results, after) = after.split_at_checked(results).unwrap_or((after, &[]));
            rest = after;
            out.tell(*message, &groups, results);
            if out.text.len() > room {
                return None;
            }
        }
        (!out.told.is_empty()).then_some(out.text)
    }

    /// The calls of a message; neighbouring calls of the same turn form one group.
    async fn groups<'m>(&self, api_key: ApiKeyId, message: Raw<'m>) -> Vec<Group<'m>> {
        let mut groups: Vec<Group<'m>> = Vec::new();
        let calls = message.member("tool_calls").map(Raw::elements).unwrap_or_default();
        let ids: HashSet<_> = calls.iter().filter_map(|call| call.member("id")?.text()).collect();
        if calls.len() > CALLS_MAX || ids.len() < calls.len() {
            return groups;
        }
        for call in calls {
            let id = call.member("id").and_then(Raw::text);
            let kept = match &id {
                Some(id) => self.kept.get(&(api_key, id.clone().into_owned())).await,
                None => None,
            };
            let call = (id.unwrap_or_default(), call);
            match groups.last_mut().filter(|group| same(&group.kept, &kept)) {
                Some(group) => group.calls.push(call),
                None => groups.push(Group { kept, calls: vec![call] }),
            }
        }
        groups
    }
}

/// Calls of one turn.
struct Group<'m> {
    kept: Option<Arc<Kept>>,
    calls: Vec<(Cow<'m, str>, Raw<'m>)>,
}

struct Recalled {
    /// Messages, with commas between them.
    text: String,
    /// Turns that are already written: a conversation may contain a call twice.
    told: HashSet<*const Kept>,
}

impl Recalled {
    fn push(&mut self, message: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(message);
    }

    /// A message with calls, and the results after it: for each group the messages before it, its calls, its results.
    fn tell(&mut self, message: Raw<'_>, groups: &[Group<'_>], results: &[Raw<'_>]) {
        let members = message.members();
        let owners = groups
            .iter()
            .enumerate()
            .flat_map(|(at, group)| group.calls.iter().map(move |(id, _)| (id.as_ref(), at)));
        let owners: HashMap<&str, usize> = owners.collect();
        // Results that belong to none of the calls stay at the end.
        let last = groups.len().saturating_sub(1);
        let mut of: Vec<Vec<&str>> = groups.iter().map(|_| Vec::new()).collect();
        for result in results {
            let id = result.member("tool_call_id").and_then(Raw::text).unwrap_or_default();
            let at = owners.get(id.as_ref()).copied().unwrap_or(last);
            of.get_mut(at).into_iter().for_each(|results| results.push(result.get()));
        }
        for (at, (group, results)) in groups.iter().zip(of).enumerate() {
            let kept = group.kept.iter().filter(|kept| self.told.insert(Arc::as_ptr(kept)));
            let said: Vec<&String> = kept.flat_map(|kept| &kept.said).collect();
            said.into_iter().for_each(|said| self.push(said));
            self.push(&asking(&members, group, at == 0));
            results.into_iter().for_each(|result| self.push(result));
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        let said = self.said.iter().map(String::len);
        said.chain(self.calls.iter().map(|(id, call)| id.len().saturating_add(call.len()))).sum()
    }
}

/// The message with the calls of one group; its other members are written once.
fn asking(members: &[Member<'_>], group: &Group<'_>, is_first: bool) -> String {
    let mut out = ObjectWriter::new();
    for member in members {
        match member.key.as_ref() {
            "tool_calls" => {
                let calls: Vec<Cow<'_, str>> = group.calls.iter().map(|call| group.call(call)).collect();
                out.raw("tool_calls", &format!("[{}]", calls.join(",")));
            }
            "role" => out.raw("role", member.value.get()),
            "thinking_blocks" if is_first => {
                let said = |block: &Raw<'_>| {
                    group.kept.iter().flat_map(|kept| &kept.said).any(|said| said.contains(block.get()))
                };
                // Signed reasoning of the earlier turns stands with their calls, and only there.
                let blocks = member.value.elements().into_iter().filter(|block| !said(block));
                let blocks: Vec<&str> = blocks.map(Raw::get).collect();
                out.raw(&member.key, &format!("[{}]", blocks.join(",")));
            }
            _ if is_first => out.raw_key(member.raw_key).extend(member.value.get().as_bytes()),
            _ => {}
        }
    }
    String::from_utf8(out.end()).unwrap_or_default()
}

impl Group<'_> {
    /// The call as the client sent it, or as the model made it if the client has lost its arguments.
    fn call<'c>(&'c self, (id, call): &'c (Cow<'_, str>, Raw<'_>)) -> Cow<'c, str> {
        let arguments = call.member("function").and_then(|function| function.member("arguments"));
        let is_bare = arguments.and_then(Raw::text).is_none_or(|arguments| arguments == "{}");
        let made = self.kept.iter().flat_map(|kept| &kept.calls).find(|(made, _)| made == id);
        match made.filter(|_| is_bare) {
            Some((_, made)) => Cow::Borrowed(made),
            None => Cow::Borrowed(call.get()),
        }
    }
}

fn same(one: &Option<Arc<Kept>>, other: &Option<Arc<Kept>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn is_result(message: Raw<'_>) -> bool {
    message.member("role").is_some_and(|role| role.text().as_deref() == Some("tool"))
}

/// The calls of an assistant message, by id.
fn calls_of(message: &str) -> Vec<(String, String)> {
    let message = Cursor::new(message.as_bytes(), DEPTH_LIMIT).and_then(|mut cursor| cursor.value());
    let calls = message.ok().and_then(|message| message.member("tool_calls")).map(Raw::elements);
    let named = |call: Raw<'_>| Some((call.member("id")?.text()?.into_owned(), call.get().to_owned()));
    calls.unwrap_or_default().into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests;
