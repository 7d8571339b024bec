//! What technicians reported held against the table `outcome`: whether every finding has come back as a label.
//!
//! In: outcomes as the API took them; the rows of the table, asked by SQL. Out: [`Labels`]. Promise: an outcome counts as a
//! row only with its own id and disposition. Never: a row counted that nobody in the live part reported.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use schemas::outcome::Disposition;
use serde::Serialize;

use super::technician::Reported;
use crate::client::Client;

/// What was reported is in the table within this time, or something is wrong.
const ROWS_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(100);

/// Outcomes of the live part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Labels {
    /// Outcomes that technicians reported: labels.
    pub(super) outcomes: u64,
    /// Of these, those that confirm a fault.
    pub(super) outcomes_confirmed: u64,
    /// Of these, those that say that there was none.
    pub(super) outcomes_no_fault_found: u64,
    /// Of these, those that tell neither: somebody had been there before.
    pub(super) outcomes_undecided: u64,
    /// Of these, those that are rows of the table `outcome`.
    pub(super) outcome_rows: u64,
}

impl Labels {
    /// Counts what was reported, and what of it is a row: outcome id and disposition.
    fn count(reported: &[Reported], rows: &HashMap<String, String>) -> Self {
        let mut labels = Self::default();
        for Reported { outcome_id, disposition } in reported {
            labels.outcomes += 1;
            match disposition.confirms_fault() {
                Some(true) => labels.outcomes_confirmed += 1,
                Some(false) => labels.outcomes_no_fault_found += 1,
                None => labels.outcomes_undecided += 1,
            }
            let row = rows.get(outcome_id).and_then(|word| Disposition::parse(word));
            labels.outcome_rows += u64::from(row == Some(*disposition));
        }
        labels
    }

    /// Asks until all that was reported is a row, or it should be.
    pub(super) async fn gather(client: &Client, reported: &[Reported]) -> anyhow::Result<Self> {
        let late = tokio::time::Instant::now() + ROWS_WITHIN;
        loop {
            let labels = Self::count(reported, &rows(client).await?);
            if labels.outcome_rows == labels.outcomes || tokio::time::Instant::now() > late {
                return Ok(labels);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Every outcome must be a row.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.outcome_rows == self.outcomes,
            "technicians reported {} outcomes, but {} of them are rows of the table outcome",
            self.outcomes,
            self.outcome_rows
        );
        Ok(())
    }
}

async fn rows(client: &Client) -> anyhow::Result<HashMap<String, String>> {
    // Those of the past end no ticket.
    let (_, batches) = client.sql("select outcome_id, disposition from outcome where ticket_id is not null").await?;
    let mut rows = HashMap::new();
    for batch in batches {
        let (ids, words) = (texts(&batch, "outcome_id")?, texts(&batch, "disposition")?);
        rows.extend(ids.into_iter().zip(words));
    }
    Ok(rows)
}

fn texts(batch: &RecordBatch, name: &str) -> anyhow::Result<Vec<String>> {
    let column = cast(batch.column_by_name(name).with_context(|| format!("column {name}"))?, &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_row_with_its_own_id_and_disposition() {
        use Disposition::{Duplicate, NoFaultFound, PartReplaced};
        let reported = [("a.0", PartReplaced), ("a.1", NoFaultFound), ("b.0", Duplicate)]
            .map(|(id, disposition)| Reported { outcome_id: id.into(), disposition });
        let all = [("a.0", "part_replaced"), ("a.1", "no_fault_found"), ("b.0", "duplicate"), ("c.0", "duplicate")];
        for (rows, found) in
            [(&all[..], 3), (&all[..2], 2), (&[("a.0", "part_replaced"), ("a.1", "part_replaced")], 1), (&[], 0)]
        {
            let rows = rows.iter().map(|(id, word)| ((*id).to_owned(), (*word).to_owned())).collect();
            let labels = Labels::count(&reported, &rows);
            let said = (labels.outcomes, labels.outcomes_confirmed, labels.outcomes_no_fault_found);
            assert_eq!((said, labels.outcomes_undecided, labels.outcome_rows), ((3, 1, 1), 1, found), "{rows:?}");
            assert_eq!(labels.check().is_ok(), found == 3);
        }
    }
}
