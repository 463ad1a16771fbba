//! Whether calls and their results match, for the wire formats that connect them by id. It must not know the names of a
//! wire format.

/// The calls and results of one step of a conversation, in order.
pub(super) enum Step {
    Called(String),
    Answered(String),
    /// What must not come between a call and its result.
    Other,
}

/// The error in a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A result without its call.
    NotCalled(String),
    /// A call without its result.
    NotAnswered(String),
}

/// Every result needs an earlier call, and every call its result before any other content.
pub(super) fn judge(steps: &[Step]) -> Result<(), Fault> {
    let mut open: Vec<&str> = Vec::new();
    for step in steps {
        match step {
            Step::Called(id) => open.push(id),
            Step::Answered(id) => {
                let Some(place) = open.iter().position(|call| call == id) else {
                    return Err(Fault::NotCalled(id.clone()));
                };
                open.remove(place);
            }
            Step::Other => {
                if let Some(id) = open.first() {
                    return Err(Fault::NotAnswered((*id).to_owned()));
                }
            }
        }
    }
    match open.first() {
        Some(id) => Err(Fault::NotAnswered((*id).to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_results_belong_together() {
        let call = |id: &str| Step::Called(id.to_owned());
        let result = |id: &str| Step::Answered(id.to_owned());
        assert_eq!(judge(&[call("a"), call("b"), result("b"), result("a"), Step::Other]), Ok(()));
        assert_eq!(judge(&[Step::Other, result("a")]), Err(Fault::NotCalled("a".into())));
        assert_eq!(judge(&[call("a"), Step::Other]), Err(Fault::NotAnswered("a".into())));
        assert_eq!(judge(&[call("a")]), Err(Fault::NotAnswered("a".into())));
        let twice = [call("a"), result("a"), result("a")];
        assert_eq!(judge(&twice), Err(Fault::NotCalled("a".into())));
    }
}
