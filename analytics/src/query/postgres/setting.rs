//! Settings that PostgreSQL's clients look at, and `current_setting`.
//!
//! A connection may have set some of them anew (`analytics/src/postgres/session.rs`); the function tells what holds
//! without that.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, StringArray},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::exec_err,
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility},
};

/// What is so unless set.
pub const DEFAULTS: [(&str, &str); 19] = [
    ("application_name", ""),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, YMD"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("lc_collate", "C"),
    ("max_identifier_length", "63"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", "16.6"),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
];

/// `current_setting(name [, missing_ok])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CurrentSetting(Signature);

impl CurrentSetting {
    pub(super) fn new() -> Self {
        let forms = vec![
            TypeSignature::Exact(vec![DataType::Utf8]),
            TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]),
        ];
        Self(Signature::one_of(forms, Volatility::Stable))
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let column = |at: usize, r#type| {
            args.args
                .get(at)
                .map(|arg| Ok::<_, datafusion::error::DataFusionError>(cast(&arg.to_array(rows)?, r#type)?))
        };
        let Some(names) = column(0, &DataType::Utf8).transpose()? else {
            return exec_err!("current_setting takes the name of a setting");
        };
        let lenient = column(1, &DataType::Boolean).transpose()?;
        let lenient = |row: usize| lenient.as_ref().is_some_and(|column| column.as_boolean().value(row));
        let told = names.as_string::<i32>().iter().enumerate().map(|(row, name)| {
            let Some(name) = name else { return Ok(None) };
            let known = DEFAULTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match known {
                Some((_, value)) => Ok(Some(*value)),
                None if lenient(row) => Ok(None),
                None => exec_err!("there is no setting {name:?}"),
            }
        });
        Ok(ColumnarValue::Array(Arc::new(told.collect::<Result<StringArray>>()?)))
    }
}
