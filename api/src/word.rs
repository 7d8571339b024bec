//! Closed sets of words: one spelling for columns, JSON, the OpenAPI document and messages.

macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $kind:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $type {
            /// Every legal word.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in columns and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::word::WordError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|word| word.as_str() == text);
                found.ok_or_else(|| $crate::word::WordError {
                    kind: $kind,
                    text: text.chars().take(60).collect(),
                    legal: [$($word),*].join(", "),
                })
            }
        }
    };
}

/// A word outside its set; says which are legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not legal: {legal}")]
pub struct WordError {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) legal: String,
}
