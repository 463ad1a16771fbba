//! Text from speech, in the formats a transcript comes in. Each chunk of the script is a segment, and all segments
//! last equally long.

use super::{
    super::{json::quoted, request::Asked},
    Amounts, Answer, Kind, Verdict, count, is_true, joined, list, member, one_of, refuse_if, text,
};
use serde_json::Value;

pub(super) fn judge(provider: &str, body: &Value) -> Verdict {
    let audio: &[&str] = match provider {
        "mistral" => &["file", "file_url", "file_id"],
        "groq" | "xai" => &["file", "url"],
        _ => &["file"],
    };
    let given = audio.iter().filter(|name| member(body, name).is_some()).count();
    refuse_if(given != 1, "file", &format!("exactly one of {} is needed", audio.join(", ")))?;
    let file = member(body, "file");
    refuse_if(file.is_some_and(|file| file.get("filename").is_none()), "file", "must be a file")?;
    refuse_if(file.is_some_and(|file| file["bytes"] == 0), "file", "is empty")?;
    let reads_on = file.is_some_and(|file| file["last"] == false);
    refuse_if(
        ["cohere", "xai"].contains(&provider) && reads_on,
        "file",
        "must be the last field of the form",
    )?;
    let whisper = text(body, "model").starts_with("whisper");
    let formats: &[&str] = match provider {
        "openai" if whisper => &["json", "text", "srt", "vtt", "verbose_json"],
        "openai" => &["json", "text", "diarized_json"],
        "groq" => &["json", "text", "verbose_json"],
        _ => &["json", "verbose_json"],
    };
    one_of(body, "response_format", formats)?;
    let fine = !list(body, "timestamp_granularities[]").is_empty();
    let plain = text(body, "response_format") != "verbose_json";
    let openai_or_groq = provider == "openai" || provider == "groq";
    refuse_if(openai_or_groq && fine && plain, "timestamp_granularities[]", "needs the format verbose_json")
}

pub(super) fn answer(kind: Kind, asked: &Asked<'_>, body: &Value) -> Answer {
    let script = asked.script;
    let amounts = Amounts { audio_ms: script.kinds.audio_ms, ..Amounts::default() };
    let (prompt, completion) =
        if script.kinds.by_tokens { (script.prompt_tokens, completion(asked)) } else { (0, 0) };
    let heard = Heard { asked, translated: kind == Kind::Translation };
    let answer = match (asked.row.id, text(body, "response_format")) {
        ("openai", _) if is_true(body, "stream") => heard.events(),
        ("mistral", _) => Answer::json(heard.mistral()),
        ("cohere", _) => Answer::json(format!(r#"{{"text":{}}}"#, heard.text())),
        ("xai", _) => Answer::json(heard.xai()),
        (_, "text") => {
            Answer::bytes("text/plain; charset=utf-8", vec![format!("{}\n", heard.plain()).into()])
        }
        (_, "srt") => Answer::bytes("text/plain; charset=utf-8", vec![heard.srt().into()]),
        (_, "vtt") => Answer::bytes("text/plain; charset=utf-8", vec![heard.vtt().into()]),
        (_, "verbose_json") => Answer::json(heard.verbose()),
        ("groq", _) => {
            let id = asked.serial;
            Answer::json(format!(r#"{{"text":{},"x_groq":{{"id":"req_simulated{id}"}}}}"#, heard.text()))
        }
        ("openai", _) => Answer::json(format!(r#"{{"text":{},"usage":{}}}"#, heard.text(), heard.usage())),
        _ => Answer::json(format!(r#"{{"text":{}}}"#, heard.text())),
    };
    answer.tokens(prompt, completion).amounts(amounts)
}

fn completion(asked: &Asked<'_>) -> u64 {
    asked.script.completion_tokens.unwrap_or_else(|| count(asked.script.chunks.len()))
}

struct Heard<'a> {
    asked: &'a Asked<'a>,
    translated: bool,
}

impl Heard<'_> {
    fn plain(&self) -> String {
        self.asked.script.chunks.concat()
    }

    fn text(&self) -> String {
        quoted(&self.plain())
    }

    fn audio_ms(&self) -> u64 {
        self.asked.script.kinds.audio_ms
    }

    /// Start, end and text.
    fn segments(&self) -> Vec<(u64, u64, &str)> {
        let chunks = &self.asked.script.chunks;
        let at = |index: usize| self.audio_ms() * count(index) / count(chunks.len()).max(1);
        chunks.iter().enumerate().map(|(index, chunk)| (at(index), at(index + 1), chunk.as_str())).collect()
    }

    fn language(&self, unknown: &'static str) -> String {
        if self.translated {
            return "english".to_owned();
        }
        self.asked.script.kinds.language.clone().unwrap_or_else(|| unknown.to_owned())
    }

    /// By whole seconds, the last one begun counted.
    fn usage(&self) -> String {
        let script = self.asked.script;
        if !script.kinds.by_tokens {
            return format!(r#"{{"type":"duration","seconds":{}}}"#, self.audio_ms().div_ceil(1000));
        }
        let (prompt, audio) = (script.prompt_tokens, script.audio_prompt_tokens.min(script.prompt_tokens));
        let completion = completion(self.asked);
        format!(
            r#"{{"type":"tokens","input_tokens":{prompt},"input_token_details":{{"text_tokens":{},"audio_tokens":{audio}}},"output_tokens":{completion},"total_tokens":{}}}"#,
            prompt - audio,
            prompt + completion,
        )
    }

    fn events(&self) -> Answer {
        let (delta, done) = ("transcript.text.delta", "transcript.text.done");
        let deltas = self.asked.script.chunks.iter();
        let deltas =
            deltas.map(|chunk| (delta, format!(r#"{{"type":"{delta}","delta":{}}}"#, quoted(chunk))));
        let last = format!(r#"{{"type":"{done}","text":{},"usage":{}}}"#, self.text(), self.usage());
        Answer::events(deltas.chain([(done, last)]).collect())
    }

    fn mistral(&self) -> String {
        let language = self.asked.script.kinds.language.as_deref().map_or_else(|| "null".to_owned(), quoted);
        let segments = self.segments().into_iter().map(|(start, end, text)| {
            let (start, end) = (seconds(start), seconds(end));
            format!(
                r#"{{"type":"transcription_segment","text":{},"start":{start},"end":{end}}}"#,
                quoted(text)
            )
        });
        let (prompt, completion) = (self.asked.script.prompt_tokens, completion(self.asked));
        format!(
            r#"{{"model":{},"text":{},"language":{language},"segments":[{}],"usage":{{"prompt_audio_seconds":{},"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{}}}}}"#,
            quoted(&self.asked.model),
            self.text(),
            joined(segments),
            self.audio_ms().div_ceil(1000),
            prompt + completion,
        )
    }

    fn xai(&self) -> String {
        let words = self.segments().into_iter().map(|(start, end, text)| {
            let (start, end) = (seconds(start), seconds(end));
            format!(r#"{{"text":{},"start":{start},"end":{end}}}"#, quoted(text.trim()))
        });
        let duration = seconds(self.audio_ms());
        let language = quoted(&self.language(""));
        format!(
            r#"{{"text":{},"language":{language},"duration":{duration},"words":[{}]}}"#,
            self.text(),
            joined(words)
        )
    }

    fn verbose(&self) -> String {
        let segments = self.segments().into_iter().enumerate().map(|(id, (start, end, text))| {
            format!(
                r#"{{"id":{id},"seek":0,"start":{},"end":{},"text":{},"tokens":[{id}],"temperature":0.0,"avg_logprob":-0.25,"compression_ratio":1.0,"no_speech_prob":0.01}}"#,
                seconds(start),
                seconds(end),
                quoted(text)
            )
        });
        let tail = match self.asked.row.id {
            "openai" => format!(r#","usage":{}"#, self.usage()),
            "groq" => format!(r#","x_groq":{{"id":"req_simulated{}"}}"#, self.asked.serial),
            _ => String::new(),
        };
        format!(
            r#"{{"task":"{}","language":{},"duration":{},"text":{},"segments":[{}]{tail}}}"#,
            if self.translated { "translate" } else { "transcribe" },
            quoted(&self.language("english")),
            seconds(self.audio_ms()),
            self.text(),
            joined(segments)
        )
    }

    fn srt(&self) -> String {
        let segment = |(index, (start, end, text)): (usize, (u64, u64, &str))| {
            format!("{}\n{} --> {}\n{}\n\n", index + 1, clock(start, ','), clock(end, ','), text.trim())
        };
        self.segments().into_iter().enumerate().map(segment).collect()
    }

    fn vtt(&self) -> String {
        let segment = |(start, end, text): (u64, u64, &str)| {
            format!("{} --> {}\n{}\n\n", clock(start, '.'), clock(end, '.'), text.trim())
        };
        format!("WEBVTT\n\n{}", self.segments().into_iter().map(segment).collect::<String>())
    }
}

/// As a JSON number.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn clock(ms: u64, mark: char) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{:03}", ms % 1000)
}
