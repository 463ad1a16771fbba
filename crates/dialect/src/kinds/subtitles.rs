//! A detailed transcript written as subtitles or as plain text, for clients that requested these when the gateway
//! requested the details. Bounded by the answer; times and words are the provider's.

use super::answer::entries;
use crate::json::Raw;
use std::fmt::Write;

/// The text formats of a transcript.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Text,
    Srt,
    Vtt,
}

struct Cue {
    start_ms: u64,
    end_ms: u64,
    words: String,
}

/// The content type of a transcript in any of them: OpenAI uses one for all.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

impl Form {
    pub fn by_name(format: &str) -> Option<Form> {
        match format {
            "text" => Some(Form::Text),
            "srt" => Some(Form::Srt),
            "vtt" => Some(Form::Vtt),
            _ => None,
        }
    }

    /// Writes the transcript, whose whole text is `text`.
    pub fn write(self, transcript: Raw<'_>, text: &str) -> String {
        match self {
            Form::Text => format!("{text}\n"),
            Form::Srt => {
                let mut out = String::with_capacity(text.len().saturating_mul(2));
                for (number, cue) in (1u32..).zip(cues(transcript, text)) {
                    let _ = writeln!(out, "{number}");
                    cue.write(',', &mut out);
                }
                out
            }
            Form::Vtt => {
                let mut out = "WEBVTT\n\n".to_owned();
                cues(transcript, text).iter().for_each(|cue| cue.write('.', &mut out));
                out
            }
        }
    }
}

/// One for each segment; without segments one for the whole text.
fn cues(transcript: Raw<'_>, text: &str) -> Vec<Cue> {
    let segments = entries(transcript.member("segments")).unwrap_or_default();
    let told = segments.into_iter().filter_map(|segment| {
        Some(Cue {
            start_ms: millis(segment, "start")?,
            end_ms: millis(segment, "end")?,
            words: words(&segment.member("text").and_then(Raw::text)?),
        })
    });
    let mut cues: Vec<Cue> = told.collect();
    if cues.is_empty() && !text.trim().is_empty() {
        let end_ms = millis(transcript, "duration").unwrap_or(0);
        cues.push(Cue { start_ms: 0, end_ms, words: words(text) });
    }
    cues
}

/// Text that cannot be mistaken for the subtitle format around it.
fn words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n").replace("-->", "->")
}

/// To the nearest millisecond.
fn millis(object: Raw<'_>, name: &str) -> Option<u64> {
    let seconds: f64 = object.member(name)?.get().parse().ok()?;
    // The cast saturates.
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1_000.0).round() as u64)
}

impl Cue {
    fn write(&self, mark: char, out: &mut String) {
        let (start, end) = (clock(self.start_ms, mark), clock(self.end_ms, mark));
        let _ = write!(out, "{start} --> {end}\n{}\n\n", self.words);
    }
}

fn clock(ms: u64, mark: char) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{:03}", ms % 1_000)
}
