//! EXPLAIN, written by us: the operators with their filters, and how many files would be read. Not DataFusion's own
//! text, which names files of the server and estimates from rows of all tenants.

use std::{fmt::Write as _, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    datasource::{
        physical_plan::{FileSource as _, ParquetSource},
        source::DataSourceExec,
    },
    error::Result,
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, displayable},
};

/// Two rows: the logical and the physical plan.
pub(super) fn explain(logical: &LogicalPlan, physical: &Arc<dyn ExecutionPlan>) -> Result<RecordBatch> {
    let fields = ["plan_type", "plan"].map(|name| Field::new(name, DataType::Utf8, false));
    let mut tree = String::new();
    draw(physical, 0, &mut tree);
    let kinds = StringArray::from(vec!["logical_plan", "physical_plan"]);
    let plans = StringArray::from(vec![logical.display_indent().to_string(), tree]);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![Arc::new(kinds), Arc::new(plans)])?)
}

fn draw(plan: &Arc<dyn ExecutionPlan>, depth: usize, to: &mut String) {
    let line = match plan.downcast_ref::<DataSourceExec>() {
        Some(source) => parquet(source),
        None => displayable(plan.as_ref()).one_line().to_string().trim_end().to_owned(),
    };
    let _ = writeln!(to, "{:indent$}{line}", "", indent = depth * 2);
    for child in plan.children() {
        draw(child, depth + 1, to);
    }
}

fn parquet(source: &DataSourceExec) -> String {
    let Some((scan, parquet)) = source.downcast_to_file_source::<ParquetSource>() else {
        return "Source".into();
    };
    let files: usize = scan.file_groups.iter().map(|group| group.len()).sum();
    match parquet.filter() {
        Some(predicate) => format!("ParquetScan: files={files}, predicate={predicate}"),
        None => format!("ParquetScan: files={files}"),
    }
}
