//! Writes a whole answer to a store and reads it back: as JSON text, and as the events for a writer. Text that is read
//! back is checked like untrusted input.

use super::{
    answer::{Answer, AnswerPart},
    event::{Delta, Event},
    request::Json,
};
use crate::json::{Cursor, DEPTH_LIMIT, Escaped};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

impl Answer {
    /// The answer as the events of a stream. [`Answer::absorb`] makes the same answer of them.
    pub fn emit(&self, emit: &mut dyn FnMut(Event<'_>)) {
        emit(Event::Start { id: self.id.borrowed(), model: self.model.borrowed() });
        if let Some(tier) = &self.service_tier {
            emit(Event::ServiceTier(tier.as_str().into()));
        }
        for (number, choice) in (0..).zip(&self.choices) {
            for part in &choice.parts {
                emit_part(part, &mut |delta| emit(Event::Said { choice: number, delta }));
            }
            for piece in &choice.logprobs {
                emit(Event::Said { choice: number, delta: Delta::Logprobs(piece.clone()) });
            }
            if let Some(reason) = choice.finish {
                let stop_sequence = choice.stop_sequence.as_ref().map(Escaped::borrowed);
                emit(Event::Finish { choice: number, reason, stop_sequence });
            }
        }
        if let Some(usage) = self.usage {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
    }

    /// Every choice has finished, there is at least one, and the provider reported no error.
    pub fn is_whole(&self) -> bool {
        let finished = self.choices.iter().all(|choice| choice.finish.is_some());
        self.failed.is_none() && !self.choices.is_empty() && finished
    }
}

fn emit_part(part: &AnswerPart, emit: &mut dyn FnMut(Delta<'_>)) {
    match part {
        AnswerPart::Text(text) => emit(Delta::Text(text.borrowed())),
        AnswerPart::Refusal(text) => emit(Delta::Refusal(text.borrowed())),
        AnswerPart::Redacted(data) => emit(Delta::Redacted(data.borrowed())),
        AnswerPart::Reasoning { text, signature } => {
            if !text.is_empty() || signature.is_none() {
                emit(Delta::Reasoning(text.borrowed()));
            }
            if let Some(signature) = signature {
                emit(Delta::Signature(signature.borrowed()));
            }
        }
        AnswerPart::ToolCall { tool, id, name, arguments, signature } => {
            let tool = *tool;
            emit(Delta::ToolStart {
                tool,
                id: id.borrowed(),
                name: name.borrowed(),
                signature: signature.as_ref().map(Escaped::borrowed),
            });
            if !arguments.is_empty() {
                emit(Delta::ToolArguments { tool, piece: arguments.borrowed() });
            }
            emit(Delta::ToolEnd { tool });
        }
        AnswerPart::Citation(citation) => emit(Delta::Citation(citation.clone())),
        AnswerPart::Image { media_type, data } => {
            emit(Delta::Image { media_type: media_type.borrowed(), data: data.borrowed() });
        }
    }
}

impl Serialize for Escaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.inner())
    }
}

impl<'de> Deserialize<'de> for Escaped<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let inner = String::deserialize(deserializer)?;
        let quoted = format!("\"{inner}\"");
        let checked = Cursor::new(quoted.as_bytes(), DEPTH_LIMIT).and_then(|mut cursor| {
            cursor.text()?;
            cursor.end()
        });
        checked.map_err(|_| D::Error::custom("not the inside of a JSON string"))?;
        Ok(Escaped::from_inner(inner))
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.get())
    }
}

impl<'de> Deserialize<'de> for Json<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::parse(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not a JSON value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{Choice, Citation, Finish};
    use kairosroute_domain::usage::Usage;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Escaped<'static>> {
        ".{0,12}".prop_map(|text| Escaped::from_text(&text))
    }

    fn part(tool: u32) -> impl Strategy<Value = AnswerPart> {
        prop_oneof![
            text().prop_map(AnswerPart::Text),
            text().prop_map(AnswerPart::Refusal),
            text().prop_map(AnswerPart::Redacted),
            (text(), prop::option::of(text()))
                .prop_map(|(text, signature)| AnswerPart::Reasoning { text, signature }),
            (text(), text(), text(), prop::option::of(text())).prop_map(
                move |(id, name, arguments, signature)| AnswerPart::ToolCall {
                    tool,
                    id,
                    name,
                    arguments,
                    signature
                }
            ),
            (text(), prop::option::of(text()), prop::option::of((0..9_u64, 0..9_u64)))
                .prop_map(|(url, title, span)| AnswerPart::Citation(Citation { url, title, span })),
            (text(), text()).prop_map(|(media_type, data)| AnswerPart::Image { media_type, data }),
        ]
    }

    fn parts() -> impl Strategy<Value = Vec<AnswerPart>> {
        prop::collection::vec(0..1_u32, 0..5)
            .prop_flat_map(|tools| (0..).zip(tools).map(|(number, _)| part(number)).collect::<Vec<_>>())
    }

    prop_compose! {
        fn answer()(
            id in text(),
            model in text(),
            choices in prop::collection::vec(parts(), 1..3),
            tier in prop::option::of("[a-z]{1,5}"),
            input in 0..1_000_u64,
        ) -> Answer {
            let mut answer = Answer {
                id,
                model,
                usage: Some(Usage { input, ..Usage::default() }),
                service_tier: tier,
                ..Answer::default()
            };
            answer.choices = choices
                .into_iter()
                .map(|parts| Choice { parts, finish: Some(Finish::Stop), ..Choice::default() })
                .collect();
            answer
        }
    }

    /// The answer that its events give: consecutive pieces of one kind become one.
    fn gathered(answer: &Answer) -> Answer {
        let mut gathered = Answer::default();
        answer.emit(&mut |event| gathered.absorb(event));
        gathered
    }

    proptest! {
        #[test]
        fn the_events_of_an_answer_make_the_same_answer(answer in answer()) {
            let once = gathered(&answer);
            prop_assert_eq!(&gathered(&once), &once);
            prop_assert!(once.is_whole());
        }

        #[test]
        fn what_is_stored_is_read_back(answer in answer()) {
            let stored = serde_json::to_string(&answer).unwrap();
            prop_assert_eq!(serde_json::from_str::<Answer>(&stored).unwrap(), answer);
        }
    }

    #[test]
    fn text_that_would_break_out_of_its_string_is_refused() {
        for bad in [r#"a\"b"#, "a\\\\\\", "a\\u12", "a\nb"] {
            let stored = serde_json::to_string(bad).unwrap();
            let read = serde_json::from_str::<Escaped<'_>>(&stored);
            let plain = serde_json::to_string("a").unwrap();
            assert!(serde_json::from_str::<Escaped<'_>>(&plain).is_ok());
            // An escaped quote is valid; an incomplete escape and a raw line break are not.
            assert_eq!(read.is_ok(), bad == r#"a\"b"#, "{bad}");
        }
        assert!(serde_json::from_str::<Escaped<'_>>(r#""a\"b""#).is_err());
        assert!(serde_json::from_str::<Json<'_>>(r#""{""#).is_err());
    }
}
