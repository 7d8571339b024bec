//! What may be ordered, and what the device gets. Pure.

use std::time::Duration;

use schemas::{
    profile::Profile,
    time::{Instant, span},
};
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Commands that wait for one device at most: more than anybody oversees, and a device that is offline for long does
/// not drown in orders when it comes back.
pub const QUEUE: u32 = 100;
/// Arguments are at most so long: with topic and properties within the smallest packet that devices usually take.
pub const ARGS_BYTES: usize = 8 * 1024;
/// A command that nobody fetches within a day is seldom still wanted.
pub const EXPIRES_IN: Duration = Duration::from_secs(86_400);
/// The shortest and longest time a command may wait.
pub const EXPIRES_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(90 * 86_400));

/// An order that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// As in the device's profile.
    pub name: String,
    /// A JSON object.
    pub args: String,
    /// How long it is of use.
    pub expires_in: Duration,
}

/// Checks an order against the device's profile.
pub fn order(
    profile: &Profile,
    name: String,
    args: Option<Map<String, Value>>,
    expires_in: Option<&str>,
) -> Result<Order, Problem> {
    if profile.command(&name).is_none() {
        let names: Vec<_> = profile.commands.iter().map(|command| command.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let detail = format!("profile {} has no [[command]] {name:?}; it has: {known}", profile.name);
        return Err(Problem::unprocessable(detail).at("name"));
    }
    let args = Value::Object(args.unwrap_or_default()).to_string();
    if args.len() > ARGS_BYTES {
        let detail = format!("args has {} bytes; at most {ARGS_BYTES}", args.len());
        return Err(Problem::bad_request("args", detail));
    }
    let expires_in = match expires_in {
        None => EXPIRES_IN,
        Some(text) => span::parse(text).map_err(|problem| Problem::bad_request("expires_in", problem))?,
    };
    let (least, most) = EXPIRES_RANGE;
    if !(least..=most).contains(&expires_in) {
        let detail = format!("expires_in is from {:?} to {:?}", span::text(least), span::text(most));
        return Err(Problem::bad_request("expires_in", detail));
    }
    Ok(Order { name, args, expires_in })
}

/// What the device gets.
pub(crate) fn payload(
    command_id: &str,
    name: &str,
    args: &str,
    expires: Instant,
) -> Result<Vec<u8>, serde_json::Error> {
    let args: Value = serde_json::from_str(args)?;
    serde_json::to_vec(&json!({ "id": command_id, "name": name, "args": args, "expires": expires }))
}
