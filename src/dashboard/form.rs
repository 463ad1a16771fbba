//! The fields of a submitted form, and of a page's query string.

use crate::http::{error::ApiError, extract::Call};
use actix_web::web;

/// The largest form. Provider keys and lists of models are the largest things in one.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Names and values in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a POST.
    pub async fn read(call: &mut Call) -> Result<Self, ApiError> {
        let body = call.bytes(FORM_BYTES_MAX).await?;
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        Self::parse(text).ok_or_else(unreadable)
    }

    pub fn parse(text: &str) -> Option<Self> {
        web::Query::<Vec<(String, String)>>::from_query(text).ok().map(|query| Self(query.into_inner()))
    }

    /// A field's value without surrounding space; empty when it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// A field that says something.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// A field as it was typed: a password may begin with a space.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Every value of a field that may occur several times.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// Every field with its value, without surrounding space.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.trim()))
    }

    /// A form without fields: what was submitted is done.
    pub fn cleared(&self) -> Form {
        Form(Vec::new())
    }

    /// Other fields in place of these.
    pub fn of(&self, fields: &[(&str, &str)]) -> Form {
        Form(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The same fields with one replaced, or left out, as a query string.
    pub fn with(&self, name: &str, value: Option<&str>) -> String {
        let kept = self.0.iter().filter(|(key, value)| key != name && !value.is_empty());
        let pairs =
            kept.map(|(key, value)| (key.as_str(), value.as_str())).chain(value.map(|value| (name, value)));
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        pairs.map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect::<Vec<_>>().join("&")
    }
}

fn unreadable() -> ApiError {
    ApiError::new(crate::http::error::Code::InvalidRequest, "The form could not be read; reload the page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_a_replaced_field_keeps_the_others() {
        let form = Form::parse("model=gpt%2D5&status=&key=a+b&key=c").unwrap();
        assert_eq!(form.get("model"), "gpt-5");
        assert_eq!(form.given("status"), None);
        assert_eq!(form.all("key").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(form.with("model", None), "key=a%20b&key=c");
        assert_eq!(Form::parse("x=1").unwrap().with("before", Some("é&")), "x=1&before=%C3%A9%26");
    }
}
