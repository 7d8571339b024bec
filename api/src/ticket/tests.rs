use std::time::Duration;

use proptest::prelude::*;
use schemas::{outcome::Disposition, time::Instant};

use super::{
    CancelReason, CloseReason, HeldReason, PendingReason, RejectReason, Resolution, State, Status,
    rules::{self, Facts, Refusal, Step},
};

fn resolution(disposition: Disposition) -> Resolution {
    Resolution {
        disposition,
        failure_mode: None,
        failure_mechanism: None,
        failure_cause: None,
        detection_method: None,
        maintenance_activity: None,
        part_replaced: None,
        failure_time: None,
    }
}

fn step_to(status: Status) -> Option<Step> {
    Some(match status {
        Status::Acknowledged => return None,
        Status::InProgress => Step::Work,
        Status::Pending => Step::Wait(PendingReason::NoAnswer),
        Status::Held => Step::Hold(HeldReason::Parts),
        Status::Resolved => Step::Resolve(resolution(Disposition::RemoteFixed)),
        Status::Closed => Step::Close(CloseReason::CustomerConfirmed),
        Status::Cancelled => Step::Cancel(CancelReason::CustomerWithdrew),
        Status::Rejected => Step::Reject(RejectReason::FalseAlarm),
    })
}

fn state(status: Status) -> State {
    let (at, by) = (Instant::EPOCH, "ann".to_owned());
    match status {
        Status::Acknowledged => State::Acknowledged { at, owner: Some(by) },
        Status::InProgress => State::InProgress { by, since: at },
        Status::Pending => State::Pending { by, since: at, reason: PendingReason::NoAnswer },
        Status::Held => State::Held { by, since: at, reason: HeldReason::Lab },
        Status::Resolved => State::Resolved { by, at, resolution: resolution(Disposition::RemoteFixed) },
        Status::Closed => State::Closed {
            by: Some(by),
            at,
            resolution: resolution(Disposition::RemoteFixed),
            reason: CloseReason::Verified,
        },
        Status::Cancelled => State::Cancelled { by: Some(by), at, reason: CancelReason::DeviceRetired },
        Status::Rejected => State::Rejected { by: Some(by), at, reason: RejectReason::Duplicate },
    }
}

fn facts() -> Facts {
    Facts {
        now: Instant::from_millis(1_000),
        owner: Some("ann".into()),
        contacted: true,
        alarm_active: false,
        verify_after: Duration::from_secs(7 * 86_400),
    }
}

#[test]
fn the_table_of_steps_is_that_of_the_service_domain() {
    let mut table = String::new();
    for from in Status::ALL {
        let to: Vec<&str> = Status::ALL
            .iter()
            .filter(|to| step_to(**to).is_some_and(|step| rules::step(state(*from), step, &facts()).is_ok()))
            .map(|to| to.as_str())
            .collect();
        table.push_str(&format!("{from}: {}\n", to.join(" ")));
    }
    let expected = [
        "acknowledged: rejected inProgress cancelled",
        "rejected: ",
        "pending: inProgress cancelled",
        "held: inProgress cancelled",
        "inProgress: pending held cancelled resolved",
        "cancelled: ",
        "closed: ",
        "resolved: inProgress cancelled closed",
    ];
    assert_eq!(table, expected.map(|line| format!("{line}\n")).concat());
}

#[test]
fn guards_say_what_is_missing() {
    let late = Facts { now: Instant::EPOCH.plus(facts().verify_after), ..facts() };
    let close = |reason| Step::Close(reason);
    let due = late.now;
    for (from, step, facts, refusal) in [
        (Status::Acknowledged, Step::Work, Facts { owner: None, ..facts() }, Some(Refusal::NoOwner)),
        (Status::Acknowledged, Step::Work, Facts { contacted: false, ..facts() }, Some(Refusal::NoContact)),
        (Status::Pending, Step::Work, Facts { contacted: false, ..facts() }, None),
        (Status::InProgress, Step::Resolve(resolution(Disposition::PartReplaced)), facts(), Some(Refusal::NoPart)),
        (
            Status::Resolved,
            close(CloseReason::Verified),
            facts(),
            Some(Refusal::TooEarly { reason: CloseReason::Verified, from: due, wait: facts().verify_after }),
        ),
        (Status::Resolved, close(CloseReason::CustomerConfirmed), facts(), None),
        (Status::Resolved, close(CloseReason::Verified), late.clone(), None),
        (
            Status::Resolved,
            close(CloseReason::Verified),
            Facts { alarm_active: true, ..late.clone() },
            Some(Refusal::AlarmActive),
        ),
        (Status::Resolved, close(CloseReason::Unverified), Facts { alarm_active: true, ..late.clone() }, None),
    ] {
        assert_eq!(rules::step(state(from), step.clone(), &facts).err(), refusal, "{from} {step:?}");
    }
    let refusal = rules::step(state(Status::Closed), Step::Work, &facts()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "a ticket that is closed cannot become inProgress; legal is nothing: open a new ticket"
    );
}

proptest! {
    #[test]
    fn whatever_is_tried_time_goes_on_an_owner_stays_and_the_end_is_the_end(
        tries in proptest::collection::vec((0..Status::ALL.len(), any::<bool>(), any::<bool>(), 0_u64..10), 1..40)
    ) {
        let mut now = Instant::EPOCH;
        let mut current = State::Acknowledged { at: now, owner: None };
        for (to, owned, contacted, days) in tries {
            let Some(step) = step_to(Status::ALL[to]) else { continue };
            now = now.plus(Duration::from_secs(86_400 * days));
            let owner = current.owner().map(str::to_owned).or(owned.then(|| "ann".to_owned()));
            let facts = Facts { now, owner, contacted, ..facts() };
            let before = current.clone();
            if let Ok(next) = rules::step(current.clone(), step, &facts) {
                prop_assert!(before.status().is_open(), "{before:?} -> {next:?}");
                prop_assert!(next.since() >= before.since());
                prop_assert!(before.owner().is_none() || next.owner() == before.owner());
                let working = !matches!(next.status(), Status::Cancelled | Status::Rejected);
                prop_assert!(!working || next.owner().is_some());
                prop_assert_eq!(next.resolution().is_some(), matches!(next.status(), Status::Resolved | Status::Closed));
                current = next;
            }
        }
    }
}
