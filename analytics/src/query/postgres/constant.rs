//! Functions of PostgreSQL that clients call on its catalog and that have one answer here: nothing is described, no
//! function is shown, and sizes are not told, since files hold rows of all tenants.

use datafusion::{
    arrow::datatypes::DataType,
    error::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
    scalar::ScalarValue,
};

/// Text that is not there.
const NONE: ScalarValue = ScalarValue::Utf8(None);

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Constant> {
    let view = "select definition from information_schema.views";
    let told = [
        ("col_description", NONE),
        ("obj_description", NONE),
        ("shobj_description", NONE),
        ("pg_function_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_get_function_arguments", NONE),
        ("pg_get_function_identity_arguments", NONE),
        ("pg_get_function_result", NONE),
        ("pg_get_function_sqlbody", NONE),
        ("pg_get_indexdef", NONE),
        ("pg_get_ruledef", NONE),
        ("pg_get_serial_sequence", NONE),
        ("pg_get_triggerdef", NONE),
        // By a number nothing can be looked up in a function: it tells where the text stands.
        ("pg_get_viewdef", ScalarValue::Utf8(Some(view.into()))),
        ("pg_operator_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_size_pretty", NONE),
        ("pg_table_size", ScalarValue::Int64(None)),
        ("pg_indexes_size", ScalarValue::Int64(None)),
        ("pg_database_size", ScalarValue::Int64(None)),
        ("pg_tablespace_size", ScalarValue::Int64(None)),
        ("pg_type_is_visible", ScalarValue::Boolean(Some(true))),
    ];
    told.into_iter().map(|(name, value)| {
        let signature = Signature::variadic_any(Volatility::Stable);
        Constant { name, value, signature }
    })
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
