//! Which letters may be sent again, and what one is.

use std::borrow::Cow;

use schemas::{
    id::TenantId,
    payload::{Payload, Reading},
    reject::RejectReason,
    topic::{Channel, Topic},
};
use sha2::{Digest, Sha256};

use super::{LetterId, Stored};

/// What a mended profile, or time, can cure: sent again unless the caller says otherwise.
pub const MENDABLE: [RejectReason; 4] =
    [RejectReason::UnknownProfile, RejectReason::WrongType, RejectReason::OutOfRange, RejectReason::FutureTimestamp];

/// Refused for what the sender is or may: sending it again would get around that.
pub const NEVER: [RejectReason; 6] = [
    RejectReason::BadTopic,
    RejectReason::ForeignTopic,
    RejectReason::OversizePacket,
    RejectReason::BadCredentials,
    RejectReason::ProtocolError,
    RejectReason::TooManyConnections,
];

/// Who a letter is.
pub fn id(letter: &Stored) -> LetterId {
    let mut hash = Sha256::new();
    for part in
        [letter.topic.as_bytes(), letter.content_type.as_deref().unwrap_or_default().as_bytes(), &letter.payload]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([u8::from(letter.content_type.is_some())]);
    hash.update(letter.arrival.micros().to_le_bytes());
    hash.finalize().into()
}

/// The letter's topic, where a device of this tenant may publish there. None for Sparkplug: a message without the births
/// around it means nothing, and a birth out of its turn would change what the next ones mean.
pub fn topic(tenant: &TenantId, letter: &Stored) -> Option<Topic> {
    let topic: Topic = letter.topic.parse().ok()?;
    (topic.tenant == *tenant && topic.channel.from_device()).then_some(topic)
}

/// The kind of device that the message names, if it names one.
pub fn profile(topic: &Topic, letter: &Stored) -> Option<String> {
    let payload = Payload::open(letter.content_type.as_deref(), &letter.payload).ok()?;
    let text = |name: Option<Cow<'_, str>>| name.map(Cow::into_owned);
    match topic.channel {
        Channel::Telemetry => {
            let (mut named, mut rejects) = (None, Vec::new());
            let each = |reading: &Reading<'_>| {
                named = named.take().or_else(|| text(reading.profile.clone()));
                Ok(())
            };
            payload.readings(&mut rejects, each).ok()?;
            named
        }
        Channel::Fault => text(payload.fault().ok()?.profile),
        Channel::Status => text(payload.status().ok()?.profile),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::time::Instant;

    use super::*;

    fn letter(topic: &str, content_type: Option<&str>, payload: &'static str, arrival: i64) -> Stored {
        Stored {
            topic: topic.into(),
            content_type: content_type.map(str::to_owned),
            payload: Bytes::from_static(payload.as_bytes()),
            arrival: Instant::from_micros(arrival),
        }
    }

    #[test]
    fn letters_that_differ_anywhere_are_others() {
        let all = [
            letter("a", None, "b", 1),
            letter("a", None, "b", 2),
            letter("a", None, "c", 1),
            letter("b", None, "b", 1),
            letter("a", Some(""), "b", 1),
            letter("ab", None, "", 1),
        ];
        let ids: std::collections::HashSet<LetterId> = all.iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(id(&all[0]), id(&all[0].clone()));
    }

    #[test]
    fn only_what_a_device_of_the_tenant_may_say_is_sent() {
        let tenant = "acme".parse().unwrap();
        for (name, legal) in [
            ("fw/v1/acme/wm-1/telemetry", true),
            ("fw/v1/acme/wm-1/reply", true),
            ("fw/v1/acme/wm-1/command", false),
            ("fw/v1/acme/wm-1/outcome", false),
            ("fw/v1/other/wm-1/telemetry", false),
            ("$SYS/broker", false),
        ] {
            assert_eq!(topic(&tenant, &letter(name, None, "{}", 1)).is_some(), legal, "{name}");
        }
        assert!(NEVER.iter().all(|reason| !MENDABLE.contains(reason)));
    }

    #[test]
    fn a_message_tells_its_profile() {
        let tenant = "acme".parse().unwrap();
        for (channel, payload, expected) in [
            ("telemetry", r#"[{"ts":1,"m":{}},{"profile":"kettle","ts":1,"m":{}}]"#, Some("kettle")),
            ("telemetry", r#"{"ts":1,"m":{}}"#, None),
            ("fault", r#"{"profile":"kettle","ts":1,"code":"E"}"#, Some("kettle")),
            ("status", r#"{"profile":"kettle","state":"online"}"#, Some("kettle")),
            ("telemetry", "nonsense", None),
        ] {
            let letter = letter(&format!("fw/v1/acme/wm-1/{channel}"), None, payload, 1);
            let topic = topic(&tenant, &letter).unwrap();
            assert_eq!(profile(&topic, &letter).as_deref(), expected, "{payload}");
        }
    }
}
