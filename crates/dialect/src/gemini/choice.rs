//! One candidate of an answer: its parts become content events, its finish reason an end. Keeps the calls and sources
//! that have arrived, and no text.

use super::{logprobs, partial::Arguments, reader::Ids};
use crate::{
    Unreadable,
    canonical::{Citation, Delta, Finish, Json},
    json::{Escaped, Raw},
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// State of one candidate.
#[derive(Default)]
pub(super) struct Choice {
    /// Calls that were emitted.
    tools: u32,
    /// Emitted content other than reasoning.
    has_said: bool,
    has_finished: bool,
    /// A call whose arguments are not complete.
    open: Option<Call>,
    /// Hashes of the cited addresses: later chunks repeat them.
    cited: Vec<u64>,
    /// Web searches behind the answer.
    queries: u64,
}

struct Call {
    id: Option<Escaped<'static>>,
    name: Escaped<'static>,
    signature: Option<Escaped<'static>>,
    /// JSON that arrived in one piece.
    whole: Option<String>,
    pieces: Option<Arguments>,
}

/// The finish reason, with the provider's name.
pub(super) struct Reason<'a> {
    name: Escaped<'a>,
    /// The model failed to write its output: an error, unless some content was emitted.
    pub is_fault: bool,
}

type Say<'s> = &'s mut dyn FnMut(Delta<'_>);

/// Maximum calls of one candidate. No model makes a tenth of these; an answer with more is not read.
const CALLS_MAX: u32 = 512;

/// Maximum sources that are emitted.
const CITED_MAX: usize = 256;

impl Choice {
    pub(super) fn has_said(&self) -> bool {
        self.has_said
    }

    pub(super) fn queries(&self) -> u64 {
        self.queries
    }

    pub(super) fn has_finished(&self) -> bool {
        self.has_finished
    }

    /// Emits the content of a candidate in one chunk. Returns its finish reason if this is its last chunk.
    pub(super) fn read<'a>(
        &mut self,
        candidate: Raw<'a>,
        ids: &mut Ids,
        say: Say<'_>,
    ) -> Result<Option<Reason<'a>>, Unreadable> {
        let (mut content, mut grounding, mut logprobs, mut reason) = (None, None, None, None);
        for member in candidate.members() {
            match &*member.key {
                "content" => content = member.value.member("parts"),
                "groundingMetadata" => grounding = Some(member.value),
                "logprobsResult" => logprobs = Some(member.value),
                "finishReason" => reason = Escaped::of(member.value).filter(|reason| !reason.is_empty()),
                _ => {}
            }
        }
        for part in content.map(Raw::elements).unwrap_or_default() {
            self.part(part, ids, say)?;
        }
        if let Some(json) = logprobs.and_then(logprobs::read) {
            say(Delta::Logprobs(json));
        }
        if let Some(grounding) = grounding {
            self.cite(grounding, say);
        }
        if reason.is_some() {
            self.end_call(ids, say);
        }
        Ok(reason.map(Reason::of))
    }

    /// Marks the end; `None` if it was marked before.
    pub(super) fn finish(&mut self, reason: &Reason<'_>) -> Option<Finish> {
        let is_first = !std::mem::replace(&mut self.has_finished, true);
        is_first.then(|| reason.finish(self.tools > 0, self.has_said))
    }

    /// Marks the end of a candidate that never began; false if it did.
    pub(super) fn block(&mut self) -> bool {
        !std::mem::replace(&mut self.has_finished, true)
    }

    /// Emits the call whose arguments arrived in pieces, if there is one.
    pub(super) fn end_call(&mut self, ids: &mut Ids, say: Say<'_>) {
        let Some(call) = self.open.take() else { return };
        let tool = self.tools;
        self.tools = tool.saturating_add(1);
        self.has_said = true;
        let id = call.id.unwrap_or_else(|| ids.make());
        say(Delta::ToolStart { tool, id, name: call.name, signature: call.signature });
        if let Some(json) = call.whole.or(call.pieces.map(|pieces| pieces.json())) {
            say(Delta::ToolArguments { tool, piece: Escaped::from_text(&json) });
        }
        say(Delta::ToolEnd { tool });
    }

    fn part(&mut self, part: Raw<'_>, ids: &mut Ids, say: Say<'_>) -> Result<(), Unreadable> {
        let members = part.members();
        let get =
            |name: &str| members.iter().rev().find(|member| member.key == name).map(|member| member.value);
        let signature = get("thoughtSignature").and_then(Escaped::of).filter(|value| !value.is_empty());
        if let Some(call) = get("functionCall") {
            return self.call(call, signature, ids, say);
        }
        let is_thought = get("thought").is_some_and(|thought| thought.get() == "true");
        if let Some(text) = get("text").and_then(Escaped::of).filter(|text| !text.is_empty()) {
            self.has_said |= !is_thought;
            say(if is_thought { Delta::Reasoning(text) } else { Delta::Text(text) });
        }
        // An image in the reasoning is a draft.
        if let Some(image) = get("inlineData").filter(|_| !is_thought) {
            self.image(image, say);
        }
        let ran = [get("executableCode").and_then(code), get("codeExecutionResult").and_then(outcome)];
        for text in ran.into_iter().flatten() {
            self.has_said = true;
            say(Delta::Text(text));
        }
        if let Some(signature) = signature {
            say(Delta::Signature(signature));
        }
        Ok(())
    }

    /// A call with a name begins a new call; one without a name continues the open one. It ends unless it states that
    /// it will continue.
    fn call(
        &mut self,
        call: Raw<'_>,
        signature: Option<Escaped<'_>>,
        ids: &mut Ids,
        say: Say<'_>,
    ) -> Result<(), Unreadable> {
        let text = |name: &str| call.member(name).and_then(Escaped::of).filter(|text| !text.is_empty());
        if let Some(name) = text("name") {
            self.end_call(ids, say);
            if self.tools >= CALLS_MAX {
                return Err(Unreadable);
            }
            let (id, name) = (text("id").map(Escaped::into_owned), name.into_owned());
            self.open = Some(Call { id, name, signature: None, whole: None, pieces: None });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.signature = open.signature.take().or(signature.map(Escaped::into_owned));
        if let Some(args) = call.member("args").filter(|args| !args.is_null()) {
            open.whole = Some(args.get().to_owned());
        }
        for piece in call.member("partialArgs").map(Raw::elements).unwrap_or_default() {
            open.pieces.get_or_insert_default().absorb(piece)?;
        }
        if call.member("willContinue").is_none_or(|more| more.get() != "true") {
            self.end_call(ids, say);
        }
        Ok(())
    }

    fn image(&mut self, image: Raw<'_>, say: Say<'_>) {
        let media_type = image.member("mimeType").and_then(Escaped::of);
        let data = image.member("data").and_then(Escaped::of);
        if let (Some(media_type), Some(data)) = (media_type, data)
            && media_type.inner().starts_with("image/")
        {
            self.has_said = true;
            say(Delta::Image { media_type, data });
        }
    }

    /// The web pages that are sources of the answer. Their positions are byte offsets in the whole text, which is not
    /// kept here.
    fn cite(&mut self, grounding: Raw<'_>, say: Say<'_>) {
        let queries = grounding.member("webSearchQueries").map(Raw::elements).unwrap_or_default();
        // Frames repeat the sources so far.
        self.queries = self.queries.max(u64::try_from(queries.len()).unwrap_or(0));
        for chunk in grounding.member("groundingChunks").map(Raw::elements).unwrap_or_default() {
            let Some(web) = chunk.member("web") else { continue };
            let Some(url) = web.member("uri").and_then(Escaped::of).filter(|url| !url.is_empty()) else {
                continue;
            };
            let mut hasher = DefaultHasher::new();
            url.inner().hash(&mut hasher);
            let hash = hasher.finish();
            if self.cited.len() < CITED_MAX && !self.cited.contains(&hash) {
                self.cited.push(hash);
                let title = web.member("title").and_then(Escaped::of);
                say(Delta::Citation(Citation { url, title, span: None }));
            }
        }
    }
}

impl<'a> Reason<'a> {
    fn of(name: Escaped<'a>) -> Self {
        let is_fault = matches!(
            name.inner(),
            "MALFORMED_FUNCTION_CALL"
                | "UNEXPECTED_TOOL_CALL"
                | "TOO_MANY_TOOL_CALLS"
                | "MALFORMED_RESPONSE"
                | "MISSING_THOUGHT_SIGNATURE"
        );
        Self { name, is_fault }
    }

    /// An unknown reason is an ordinary end only if some content was emitted.
    fn finish(&self, has_calls: bool, has_said: bool) -> Finish {
        match self.name.inner() {
            "MAX_TOKENS" => Finish::Length,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "IMAGE_OTHER"
            | "NO_IMAGE"
            | "MODEL_ARMOR"
            | "OTHER" => Finish::ContentFilter,
            _ if has_calls => Finish::ToolCalls,
            "STOP" => Finish::Stop,
            _ if has_said => Finish::Stop,
            _ => Finish::ContentFilter,
        }
    }

    /// An error in the provider's own format.
    pub(super) fn error(&self, candidate: Raw<'_>) -> Json<'static> {
        let message = candidate.member("finishMessage").and_then(Escaped::of);
        let message = message.filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| Escaped::from_inner("the model's answer was malformed"));
        let (status, message) = (self.name.inner(), message.inner());
        Json::trusted(format!(
            "{{\"error\":{{\"code\":502,\"status\":\"{status}\",\"message\":\"{message}\"}}}}"
        ))
    }
}

/// Code that the provider ran, as a fenced block in the text.
fn code(part: Raw<'_>) -> Option<Escaped<'static>> {
    let code = part.member("code").and_then(Escaped::of)?;
    let language = part.member("language").and_then(Raw::text).unwrap_or_default();
    let language = if language == "PYTHON" { "python" } else { "" };
    Some(Escaped::from_inner(format!("\\n```{language}\\n{}\\n```\\n", code.inner())))
}

/// The output of the code.
fn outcome(part: Raw<'_>) -> Option<Escaped<'static>> {
    let output = part.member("output").and_then(Escaped::of).filter(|output| !output.is_empty())?;
    Some(Escaped::from_inner(format!("\\n```output\\n{}\\n```\\n", output.inner())))
}
