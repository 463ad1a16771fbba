//! Moves images that a model generated, for wire formats whose assistant messages cannot contain images: a user message
//! contains them instead, after the turn that generated them. Nothing else in the conversation changes.

use super::{Part, Request, Role, Turn};
use std::borrow::Cow;

/// The request without images in the assistant's turns.
pub fn move_images_to_user<'r, 'a>(request: &'r Request<'a>) -> Cow<'r, Request<'a>> {
    let drawn = |turn: &Turn<'_>| turn.role == Role::Assistant && turn.parts.iter().any(is_picture);
    if !request.turns.iter().any(drawn) {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    let mut turns = Vec::with_capacity(request.turns.len());
    let mut pictures = Vec::new();
    for mut turn in std::mem::take(&mut request.turns) {
        match turn.role {
            Role::Assistant => {
                let (drawn, said) = turn.parts.into_iter().partition(is_picture);
                pictures.extend::<Vec<Part<'a>>>(drawn);
                turn.parts = said;
                if turn.parts.is_empty() {
                    continue;
                }
            }
            Role::User => {
                // The results of a call must follow it directly.
                let results =
                    turn.parts.iter().take_while(|part| matches!(part, Part::ToolResult(_))).count();
                turn.parts.splice(results..results, pictures.drain(..));
            }
            Role::System | Role::Developer => {}
        }
        turns.push(turn);
    }
    if !pictures.is_empty() {
        turns.push(Turn { role: Role::User, name: None, parts: pictures });
    }
    request.turns = turns;
    Cow::Owned(request)
}

fn is_picture(part: &Part<'_>) -> bool {
    matches!(part, Part::Image { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canonical::{Source, ToolResult},
        json::Escaped,
    };

    fn picture() -> Part<'static> {
        let source = Source::Url(Escaped::from_inner("https://x.test"));
        Part::Image { source, detail: None, cache: None }
    }

    fn text() -> Part<'static> {
        Part::Text { text: Escaped::from_inner("x"), cache: None }
    }

    fn result() -> Part<'static> {
        let call_id = Escaped::from_inner("c");
        Part::ToolResult(ToolResult { call_id, content: Vec::new(), is_error: false, cache: None })
    }

    fn request(turns: &[(Role, &[Part<'static>])]) -> Request<'static> {
        let turn = |(role, parts): &(Role, &[Part<'static>])| Turn {
            role: *role,
            name: None,
            parts: parts.to_vec(),
        };
        Request { turns: turns.iter().map(turn).collect(), ..Request::default() }
    }

    #[test]
    fn a_picture_of_the_models_is_shown_by_the_user_after_the_results_of_its_calls() {
        use Role::{Assistant, System, User};
        for (case, given, wanted) in [
            (
                "in the next turn of the user's",
                request(&[(User, &[text()]), (Assistant, &[text(), picture()]), (User, &[text()])]),
                request(&[(User, &[text()]), (Assistant, &[text()]), (User, &[picture(), text()])]),
            ),
            (
                "results stay next to their calls",
                request(&[(Assistant, &[picture(), text()]), (User, &[result(), text()])]),
                request(&[(Assistant, &[text()]), (User, &[result(), picture(), text()])]),
            ),
            (
                "a turn of pictures alone goes, and the last ones make a turn",
                request(&[
                    (User, &[text()]),
                    (Assistant, &[picture()]),
                    (Assistant, &[picture()]),
                    (System, &[text()]),
                ]),
                request(&[(User, &[text()]), (System, &[text()]), (User, &[picture(), picture()])]),
            ),
        ] {
            assert_eq!(*move_images_to_user(&given), wanted, "{case}");
        }
        let plain = request(&[(User, &[picture()]), (Assistant, &[text()])]);
        assert!(matches!(move_images_to_user(&plain), Cow::Borrowed(_)));
    }
}
