use schemas::{door::DeviceSeen, time::Instant};

use super::*;
use crate::device;

async fn world() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let db = crate::store::open(&folder.path().join("service.db")).await.unwrap();
    let seen = |tenant: &str, device_id: &str| DeviceSeen {
        tenant: tenant.parse().unwrap(),
        device_id: device_id.parse().unwrap(),
        profile: "washing_machine".parse().unwrap(),
        firmware: Some("1.2".into()),
        last_seen: Instant::from_micros(1),
    };
    device::store::seen(&db, &[seen("acme", "d1"), seen("acme", "d2"), seen("globex", "g1")]).await.unwrap();
    (folder, db)
}

#[tokio::test]
async fn a_tenant_reads_its_own_devices_in_the_schema() {
    let (_folder, db) = world().await;
    let tables = Tables::new(db);
    for (tenant, devices) in [("acme", 2), ("globex", 1), ("nobody", 0)] {
        let batch = tables.rows(&tenant.parse().unwrap(), ServiceTable::Device).await.unwrap();
        assert_eq!((batch.num_rows(), batch.schema()), (devices, ServiceTable::Device.schema()));
        let tickets = tables.rows(&tenant.parse().unwrap(), ServiceTable::Ticket).await.unwrap();
        assert_eq!((tickets.num_rows(), tickets.schema()), (0, ServiceTable::Ticket.schema()));
    }
}

#[tokio::test]
async fn a_table_over_the_limit_is_an_error_and_not_a_part() {
    let (_folder, db) = world().await;
    let tables = Tables { db, rows_max: 1 };
    let error = tables.rows(&"acme".parse().unwrap(), ServiceTable::Device).await.unwrap_err();
    assert!(matches!(error, SqlError::Limit(text) if text.contains("more than 1 rows")));
}
