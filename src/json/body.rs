//! Bodies with a list that may be long: its rows are made one after the other while the body is written, so that memory
//! never holds them all.

use std::ops::Range;

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use serde_json::{Map, Value};

use crate::error::Result;

/// A JSON object, perhaps with a list at its end.
pub struct Body {
    fields: Map<String, Value>,
    list: Option<List>,
}

struct List {
    name: &'static str,
    numbers: Range<usize>,
    row: Box<dyn Fn(usize) -> Result<Value> + Send + Sync>,
}

impl Body {
    /// The fields of `head`, and behind them a list of so many rows, each made by `row` from its number.
    pub(super) fn with(
        head: Value,
        name: &'static str,
        count: usize,
        row: impl Fn(usize) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        let list = List { name, numbers: 0..count, row: Box::new(row) };
        Self { list: Some(list), ..Self::from(head) }
    }

    /// The same with another field.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The same with these rows of the list only, and the link to the next ones if there are any.
    #[must_use]
    pub fn page(mut self, rows: Range<usize>, next: Option<String>) -> Self {
        if let Some(list) = &mut self.list {
            list.numbers = rows.start.min(list.numbers.end)..rows.end.min(list.numbers.end);
        }
        match next {
            Some(next) => self.and("nextLink", next),
            None => self,
        }
    }
}

impl From<Value> for Body {
    /// An object as it is. Nothing else is ever the body of an answer.
    fn from(value: Value) -> Self {
        let fields = if let Value::Object(fields) = value { fields } else { Map::new() };
        Self { fields, list: None }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.list.as_ref().map_or(0, |list| list.numbers.len());
        write!(f, "{} and {rows} rows", Value::Object(self.fields.clone()))
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(None)?;
        for (name, value) in &self.fields {
            body.serialize_entry(name, value)?;
        }
        if let Some(list) = &self.list {
            body.serialize_entry(list.name, list)?;
        }
        body.end()
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut rows = serializer.serialize_seq(Some(self.numbers.len()))?;
        for number in self.numbers.clone() {
            rows.serialize_element(&(self.row)(number).map_err(|error| S::Error::custom(error.chain()))?)?;
        }
        rows.end()
    }
}
