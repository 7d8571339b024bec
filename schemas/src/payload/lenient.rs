//! What serde reads of a message before anything of it is checked: any value in any field.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{MAX_METRICS, MAX_READINGS, Value};

/// Any value: a scalar, a column of scalars, metrics by name, or something deeper that is passed over.
pub(super) enum Field<'a> {
    Scalar(Value<'a>),
    Column(Vec<Value<'a>>),
    Metrics(Vec<(Cow<'a, str>, Field<'a>)>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Null))
            }
            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Null))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Bool(v)))
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Nested))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Integer(v)))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(super::unsigned(v)))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Number(v)))
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Text(Cow::Borrowed(v))))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Value::Text(Cow::Owned(v.to_owned()))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut column = Vec::new();
                while let Some(Scalar(value)) = seq.next_element()? {
                    if column.len() <= MAX_READINGS {
                        column.push(value);
                    }
                }
                Ok(Field::Column(column))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut metrics = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let value = map.next_value::<Leaf>()?.0;
                    if metrics.len() <= MAX_METRICS {
                        metrics.push((name, value));
                    }
                }
                Ok(Field::Metrics(metrics))
            }
        }
        from.deserialize_any(Any)
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(v.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

macro_rules! scalar_visits {
    ($wrap:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
            Ok($wrap(Value::Bool(v)))
        }
        fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
            Ok($wrap(Value::Nested))
        }
        fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Integer(v)))
        }
        fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
            Ok($wrap(super::unsigned(v)))
        }
        fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(v)))
        }
        fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
            Ok($wrap(Value::Text(Cow::Borrowed(v))))
        }
        fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
            Ok($wrap(Value::Text(Cow::Owned(v.to_owned()))))
        }
    };
}

/// A scalar; anything deeper, and bytes, are [`Value::Nested`].
pub(super) struct Scalar<'a>(pub(super) Value<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;
            scalar_visits!(Scalar);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Nested))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(Value::Nested))
            }
        }
        from.deserialize_any(Any)
    }
}

/// A metric's value: a scalar or a column of scalars.
struct Leaf<'a>(Field<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Leaf<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        fn leaf(value: Value<'_>) -> Leaf<'_> {
            Leaf(Field::Scalar(value))
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Leaf<'de>;
            scalar_visits!(leaf);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut column = Vec::new();
                while let Some(Scalar(value)) = seq.next_element()? {
                    if column.len() <= MAX_READINGS {
                        column.push(value);
                    }
                }
                Ok(Leaf(Field::Column(column)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(leaf(Value::Nested))
            }
        }
        from.deserialize_any(Any)
    }
}

/// The fields of any message of ours, unread; `R` holds what becomes JSON text.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a, R: Deserialize<'de>"))]
pub(super) struct Object<'a, R> {
    #[serde(borrow)]
    pub(super) profile: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) boot: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) seq: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) ts: Option<Field<'a>>,
    #[serde(borrow)]
    pub(super) firmware: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) m: Option<Field<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) active: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) state: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) id: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(super) ok: Option<Scalar<'a>>,
    pub(super) freeze: Option<R>,
    pub(super) result: Option<R>,
}
