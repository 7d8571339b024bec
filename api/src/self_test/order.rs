//! From what is wanted to the device's line, and what a reply says.

use crate::{
    app::App,
    command::{rules, store::Once},
    device,
};

use super::{Wanted, store};

/// Ordered in one go.
const BATCH: u32 = 100;
/// Characters of a result that a ticket's history shows; `self_tests` has all of it.
const SHOWN: usize = 400;

/// Orders what is wanted, oldest first.
pub(crate) async fn all(app: &App) -> Result<(), sqlx::Error> {
    loop {
        let batch = store::waiting(&app.db, BATCH).await?;
        for wanted in &batch {
            let order = order(app, wanted).await?;
            match store::order(&app.db, wanted, order, app.clock.arrival()).await? {
                Some(Once::Waiting) => {
                    app.commands.came_to("pending", 1);
                    let Wanted { command_id, device_id, name, ticket_id, .. } = wanted;
                    tracing::info!(command_id, %device_id, name, ticket_id, "ordered a self-test");
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

/// Whether a self-test passed: the result says so, else whether the device could do it.
pub(super) fn passed(ok: bool, result: Option<&str>) -> bool {
    let result: Option<serde_json::Value> = result.and_then(|text| serde_json::from_str(text).ok());
    result.and_then(|result| result["passed"].as_bool()).unwrap_or(ok)
}

/// The beginning of a result.
pub(super) fn shortened(result: &str) -> String {
    match result.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &result[..end]),
        None => result.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_tells_whether_it_passed_else_whether_it_was_done() {
        for (ok, result, is) in [
            (true, Some(r#"{"passed": true}"#), true),
            (true, Some(r#"{"passed": false, "vibration_mm_s": 9.1}"#), false),
            (true, Some(r#"{"drum": "turns"}"#), true),
            (true, None, true),
            (false, None, false),
            (false, Some("[1]"), false),
        ] {
            assert_eq!(passed(ok, result), is, "{ok} {result:?}");
        }
        assert_eq!(shortened(&"ü".repeat(SHOWN + 1)), format!("{} …", "ü".repeat(SHOWN)));
    }
}
