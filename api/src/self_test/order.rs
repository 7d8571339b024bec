//! From what is wanted to the device's line.

use crate::{
    app::App,
    command::{rules, store::Once},
    device,
};

use super::{Wanted, store};

/// Ordered in one go.
const BATCH: u32 = 100;

/// Orders what is wanted, oldest first.
pub(crate) async fn all(app: &App) -> Result<(), sqlx::Error> {
    loop {
        let batch = store::waiting(&app.db, app.clock.arrival(), BATCH).await?;
        for wanted in &batch {
            let order = order(app, wanted).await?;
            match store::order(&app.db, wanted, order, app.clock.arrival()).await? {
                Some(Once::Waiting) => {
                    app.commands.came_to("pending", 1);
                    let Wanted { command_id, device_id, fault_key, name, .. } = wanted;
                    tracing::info!(command_id, %device_id, %fault_key, name, "ordered a self-test");
                }
                Some(Once::Full) => {
                    app.commands.queue_full.inc();
                }
                Some(Once::Known) | None => {}
            }
        }
        if !batch.is_empty() {
            app.events.wake();
            if let Some(courier) = &app.courier {
                courier.ordered();
            }
        }
        if batch.len() < BATCH as usize {
            return Ok(());
        }
    }
}

/// The order, or why it cannot be.
async fn order(app: &App, wanted: &Wanted) -> Result<Result<rules::Order, String>, sqlx::Error> {
    let Some(device) = device::store::get(&app.db, &wanted.tenant, &wanted.device_id).await? else {
        return Ok(Err("the device was never heard of".into()));
    };
    let Some(profile) = app.profiles.get(device.profile.as_str()) else {
        return Ok(Err(format!("profile {} is not loaded", device.profile)));
    };
    Ok(rules::order(profile, wanted.name.clone(), None, None).map_err(|problem| problem.to_string()))
}
