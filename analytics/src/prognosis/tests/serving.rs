//! The service at a midnight.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use foresight::daily;
use prometheus_client::registry::Registry as Counters;
use schemas::{
    advisory::{Advisory, Costs, Decision, Method},
    alarm::Alarm,
    door::{Append, Awaited, DeviceSeen, DoorError, Frame, ServiceDesk, SpokenFor},
    id::{LogOffset, TenantId},
    profile::Profiles,
    table::{self, TableName},
    time::{Clock, EventClock, Instant},
};

use super::{DAY, Fleet, begin, clock_at, profile};
use crate::prognosis::{
    Metrics, Settings,
    feature::Features,
    frame::Known,
    in_force::Models,
    registry::{Key, Registry, Standing},
    service::Service,
    train,
};

fn service(fleet: &Fleet, data: &std::path::Path, counters: &mut Counters) -> Service {
    let mut profiles = Profiles::default();
    profiles.insert((*profile()).clone());
    let metrics = Metrics::register(counters);
    Service::open(fleet.tables(), Arc::new(profiles), data, clock_at(begin()), Settings::default(), metrics)
}

fn counted(counters: &Counters) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, counters).unwrap();
    text
}

/// What the first eighty days of the fleet taught.
async fn taught(fleet: &Fleet, data: &std::path::Path) -> Vec<train::Report> {
    let (registry, until) = (Registry::new(data), Some(begin().plus(DAY * 80)));
    let settings = Settings::default();
    train::profile(&fleet.tables(), &registry, &profile(), Known::Arrival, until, begin(), &settings).await.unwrap()
}

async fn days(service: &mut Service, range: std::ops::Range<u32>) -> Vec<Advisory> {
    let mut said = Vec::new();
    for day in range {
        let landmark = begin().days() + day as i32;
        said.extend(service.score(landmark, &HashSet::new()).await.unwrap().advisories);
        service.scored(landmark, Instant::EPOCH);
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_midnight_before_counts_though_nobody_scored_it() {
    let fleet = Fleet::new(7, 80, 60);
    let folder = tempfile::tempdir().unwrap();
    let mut cheap = (*profile()).clone();
    // No failure is worth going for without asking.
    let costs = Costs { visit: 1.0, failure: 1.6, false_alarm: 0.5 };
    cheap.components.iter_mut().for_each(|component| component.costs = costs);
    let mut profiles = Profiles::default();
    profiles.insert(cheap);
    let profiles = Arc::new(profiles);
    let new = || {
        let (metrics, clock) = (Metrics::register(&mut Counters::default()), clock_at(begin()));
        Service::open(fleet.tables(), profiles.clone(), folder.path(), clock, Settings::default(), metrics)
    };
    let asked = |said: &[Advisory]| -> BTreeSet<String> {
        let asked = said.iter().filter(|it| it.decision == Decision::Assist);
        asked.map(|it| it.device_id.to_string()).collect()
    };
    let (mut at_once, mut after_a_gap) = (BTreeSet::new(), BTreeSet::new());
    for day in 30..45 {
        // Who scores each midnight asks at the second of two.
        let second = days(&mut new(), day - 1..day + 1).await;
        let of_this = second.iter().filter(|it| it.event_time == begin().plus(DAY * day)).cloned();
        let expected = asked(&of_this.collect::<Vec<_>>());
        let first = asked(&days(&mut new(), day..day + 1).await);
        assert!(expected.is_subset(&first), "day {day}: {first:?} of a first midnight, {expected:?} of a second");
        at_once.extend(first);
        let mut late = new();
        let before = days(&mut late, day - 4..day - 3).await;
        let said: BTreeSet<String> = before.iter().map(|it| it.device_id.to_string()).collect();
        let gap = asked(&days(&mut late, day..day + 1).await);
        assert!(expected.iter().all(|device| gap.contains(device) || said.contains(device)), "day {day}: {gap:?}");
        after_a_gap.extend(gap);
    }
    assert!(at_once.len() >= 3 && after_a_gap.len() >= 3, "{at_once:?} {after_a_gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_the_trend_speaks_once_per_escalation_and_before_the_failure() {
    let fleet = Fleet::new(6, 20, 40);
    let folder = tempfile::tempdir().unwrap();
    let said = days(&mut service(&fleet, folder.path(), &mut Counters::default()), 20..40).await;
    assert!(said.iter().all(|advisory| advisory.method == Method::Trend && advisory.model.version == "trend"));
    let auto: Vec<&Advisory> = said.iter().filter(|advisory| advisory.decision == Decision::Auto).collect();
    let devices: BTreeSet<&str> = auto.iter().map(|advisory| advisory.device_id.as_str()).collect();
    assert_eq!(devices.len(), auto.len(), "one fault, one ticket");
    let due: Vec<_> =
        fleet.failures.iter().filter(|(_, at)| *at > begin().plus(DAY * 26) && *at < begin().plus(DAY * 40)).collect();
    assert!(due.len() >= 2, "{}", due.len());
    let foretold = due.iter().filter(|(device, at)| {
        auto.iter().any(|advisory| advisory.device_id.as_str() == device && advisory.event_time < *at)
    });
    assert!(foretold.count() * 10 >= due.len() * 8, "{due:?}");
    let first = auto[0];
    assert!(first.reason.contains("Drum bearing fails within 14 days"), "{}", first.reason);
    assert!(first.evidence[0].words.contains("mm/s a day towards 7.1 mm/s"), "{:?}", first.evidence);
    assert!(!first.parts.is_empty() && !first.skills.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_speaks_in_the_profiles_words_and_a_damaged_one_is_not_believed() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    let reports = taught(&fleet, folder.path()).await;
    assert_eq!(reports[0].standing.map(|it| it.as_str()), Some("champion"), "{}", reports[0].reason);
    let mut counters = Counters::default();
    let said = days(&mut service(&fleet, folder.path(), &mut counters), 85..90).await;
    let spoke = said.iter().find(|advisory| advisory.method == Method::Model).unwrap();
    assert_eq!((spoke.model.version.as_str(), spoke.component.as_str()), ("v1", "drum_bearing"));
    assert!(spoke.evidence.iter().any(|part| part.words.contains("vibration_mm_s") && !part.unit.is_empty()));
    let again = days(&mut service(&fleet, folder.path(), &mut Counters::default()), 85..90).await;
    let ids = |said: &[Advisory]| said.iter().map(|it| it.advisory_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&said), ids(&again), "the same midnights give the same ids");
    assert!(
        counted(&counters).contains("forewarn_prognosis_model_version{model=\"washing_machine.drum_bearing/wear\"} 1")
    );

    let path = folder.path().join("models/dev/washing_machine/drum_bearing/wear/v1/model.json");
    fs::write(&path, b"{}").unwrap();
    let mut counters = Counters::default();
    let said = days(&mut service(&fleet, folder.path(), &mut counters), 85..90).await;
    assert!(said.iter().all(|advisory| advisory.method == Method::Trend));
    let text = counted(&counters);
    assert!(
        text.contains("fall_backs_total{model=\"washing_machine.drum_bearing/wear\",reason=\"damaged\"}"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_another_horizon_is_not_believed_and_the_next_one_is_not_held_against_it() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    taught(&fleet, folder.path()).await;
    let mut week = (*profile()).clone();
    week.components.iter_mut().for_each(|component| component.horizon = DAY * 7);
    let week = Arc::new(week);
    let mut profiles = Profiles::default();
    profiles.insert((*week).clone());
    let profiles = Arc::new(profiles);
    let open = |counters: &mut Counters| {
        let (metrics, clock) = (Metrics::register(counters), clock_at(begin()));
        Service::open(fleet.tables(), profiles.clone(), folder.path(), clock, Settings::default(), metrics)
    };
    let mut counters = Counters::default();
    let mut service = open(&mut counters);
    let said = days(&mut service, 85..90).await;
    assert!(!said.is_empty() && said.iter().all(|advisory| advisory.method == Method::Trend));
    let none = service.score(begin().days() + 90, &HashSet::new()).await.unwrap();
    assert!(none.spoken_for.is_empty(), "rules do not wait for it");
    let text = counted(&counters);
    let fell = "fall_backs_total{model=\"washing_machine.drum_bearing/wear\",reason=\"profile_changed\"}";
    assert!(text.contains(fell), "{text}");

    let (registry, until) = (Registry::new(folder.path()), Some(begin().plus(DAY * 80)));
    let settings = Settings::default();
    let tables = fleet.tables();
    let trained = train::profile(&tables, &registry, &week, Known::Arrival, until, begin(), &settings).await.unwrap();
    let report = &trained[0];
    assert_eq!((report.version.as_deref(), report.standing.map(|it| it.as_str())), (Some("v2"), Some("champion")));
    assert!(report.reason.contains("no champion") && report.champion_later.is_none(), "{}", report.reason);
    let said = days(&mut open(&mut Counters::default()), 85..90).await;
    let spoke = said.iter().find(|advisory| advisory.method == Method::Model).unwrap();
    assert_eq!((spoke.model.version.as_str(), spoke.horizon_hours), ("v2", 168.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_of_other_indicators_is_not_asked() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    taught(&fleet, folder.path()).await;
    let key = Key {
        tenant: "dev".parse().unwrap(),
        profile: "washing_machine".parse().unwrap(),
        fault_key: "drum_bearing/wear".parse().unwrap(),
    };
    Registry::new(folder.path()).stand(&key, "v1", Standing::Challenger, begin(), "a test").unwrap();
    let mut fewer = (*profile()).clone();
    fewer.indicators.retain(|indicator| indicator.metric != "vibration_mm_s");
    let mut profiles = Profiles::default();
    profiles.insert(fewer);
    let (metrics, clock) = (Metrics::register(&mut Counters::default()), clock_at(begin()));
    let settings = Settings::default();
    let mut service = Service::open(fleet.tables(), Arc::new(profiles), folder.path(), clock, settings, metrics);
    let run = service.score(begin().days() + 85, &HashSet::new()).await.unwrap();
    assert!(run.devices > 0 && run.shadow.is_empty(), "trends speak, and nobody beside them");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_told_nothing_new_is_not_scored() {
    let fleet = Fleet::new(8, 10, 20);
    let folder = tempfile::tempdir().unwrap();
    let mut service = service(&fleet, folder.path(), &mut Counters::default());
    let landmark = begin().days() + 15;
    assert_eq!(service.score(landmark, &HashSet::new()).await.unwrap().devices, 10);
    // From here on only three devices are heard of.
    let midnight = Instant::from_micros(daily::landmark_micros(landmark));
    service.scored(landmark, midnight);
    fleet.show(|row| row.arrived < midnight || row.device.as_str() < "wm-0003");
    assert_eq!(service.score(landmark + 1, &HashSet::new()).await.unwrap().devices, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_alarm_waits_the_champion_says_what_it_finds() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    let mut service = service(&fleet, folder.path(), &mut Counters::default());
    let landmark = begin().days() + 85;
    let none = service.score(landmark, &HashSet::new()).await.unwrap();
    assert!(none.spoken_for.is_empty(), "trends are not waited for");
    let of = |device: &str| Awaited { device_id: device.parse().unwrap(), component: "drum_bearing".into() };
    let all: HashSet<Awaited> = (0..80).map(|nth| of(&format!("wm-{nth:04}"))).collect();
    let trend = service.score(landmark + 1, &all).await.unwrap();
    assert!(trend.advisories.iter().all(|it| it.decision != Decision::Watch), "nor asked");

    taught(&fleet, folder.path()).await;
    let run = service.score(landmark + 2, &HashSet::new()).await.unwrap();
    assert_eq!(run.spoken_for, [(profile().name.clone(), "drum_bearing".to_owned())]);
    let silent = run.advisories.len();
    let asked = service.score(landmark + 3, &all).await.unwrap();
    // One word a device, but for those that stand broken; what was said before is said again.
    assert!(asked.advisories.len() > 60 && silent < 20, "{silent} {}", asked.advisories.len());
    let decided = |decision| asked.advisories.iter().filter(|it| it.decision == decision).count();
    assert!(decided(Decision::Watch) > 40, "{}", decided(Decision::Watch));
    assert!(asked.advisories.iter().all(|it| it.costs.decide(it.probability) == it.decision));
    assert!(asked.advisories.iter().all(|it| it.method == Method::Model && !it.reason.is_empty()));
    let again = service.score(landmark + 3, &HashSet::from([of("wm-0001")])).await.unwrap();
    let same = asked.advisories.iter().find(|it| it.device_id.as_str() == "wm-0001").unwrap();
    assert_eq!(again.advisories.iter().find(|it| it.device_id == same.device_id), Some(same), "the same id each time");
}

/// A desk and a log that take everything, or refuse everything.
#[derive(Default)]
struct Doors {
    shut: AtomicBool,
    said: Mutex<Vec<Advisory>>,
    spoken_for: Mutex<Vec<SpokenFor>>,
    awaited: Vec<Awaited>,
}

#[async_trait]
impl ServiceDesk for Doors {
    async fn devices(&self, _: &[DeviceSeen]) -> Result<(), DoorError> {
        Ok(())
    }
    async fn alarms(&self, _: &[Alarm]) -> Result<(), DoorError> {
        Ok(())
    }
    async fn advisories(&self, advisories: &[Advisory]) -> Result<(), DoorError> {
        if self.shut.load(Ordering::Relaxed) {
            return Err("the door is shut".into());
        }
        self.said.lock().unwrap().extend_from_slice(advisories);
        Ok(())
    }
    async fn spoken_for(&self, spoken_for: &SpokenFor) -> Result<(), DoorError> {
        self.spoken_for.lock().unwrap().push(spoken_for.clone());
        Ok(())
    }
    async fn awaited(&self, _: &TenantId) -> Result<Vec<Awaited>, DoorError> {
        Ok(self.awaited.clone())
    }
}

#[async_trait]
impl Append for Doors {
    async fn append(&self, _: Frame) -> Result<LogOffset, DoorError> {
        Ok(LogOffset(1))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_desk_did_not_take_is_said_again_and_a_replay_is_waited_for_by_nobody() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    taught(&fleet, folder.path()).await;
    let mut profiles = Profiles::default();
    profiles.insert((*profile()).clone());
    let (profiles, now) = (Arc::new(profiles), begin().plus(DAY * 86));
    let awaited = vec![Awaited { device_id: "wm-0001".parse().unwrap(), component: "drum_bearing".into() }];
    let new = |clock: Arc<dyn Clock>, name: &str| {
        let data = folder.path().join(name);
        fs::create_dir_all(data.join("state")).unwrap();
        let link = std::os::unix::fs::symlink(folder.path().join("models"), data.join("models"));
        link.unwrap();
        let metrics = Metrics::register(&mut Counters::default());
        Service::open(fleet.tables(), profiles.clone(), &data, clock, Settings::default(), metrics)
    };

    let (mut plain, open) = (new(clock_at(now), "plain"), Doors { awaited: awaited.clone(), ..Doors::default() });
    plain.turn(&open, &open).await.unwrap();
    let expected = open.said.lock().unwrap().clone();
    assert!(expected.iter().any(|it| it.decision == Decision::Auto), "{expected:?}");
    let asked = expected.iter().find(|it| it.device_id.as_str() == "wm-0001").unwrap();
    assert_eq!(asked.decision, Decision::Watch, "a device that does not wear");
    let spoken_for = open.spoken_for.lock().unwrap().clone();
    assert_eq!(spoken_for.len(), 1);
    assert_eq!(spoken_for[0].components, [(profile().name.clone(), "drum_bearing".to_owned())]);
    assert_eq!(spoken_for[0].until, now.plus(DAY * 2));

    let (mut unlucky, shut) = (new(clock_at(now), "unlucky"), Doors { awaited: awaited.clone(), ..Doors::default() });
    shut.shut.store(true, Ordering::Relaxed);
    unlucky.turn(&shut, &shut).await.unwrap_err();
    shut.shut.store(false, Ordering::Relaxed);
    unlucky.turn(&shut, &shut).await.unwrap();
    assert_eq!(*shut.said.lock().unwrap(), expected);

    let (mut replay, past) = (new(Arc::new(EventClock::at(now)), "replay"), Doors { awaited, ..Doors::default() });
    replay.turn(&past, &past).await.unwrap();
    assert!(past.spoken_for.lock().unwrap().iter().all(|it| it.components.is_empty()));
    assert!(past.said.lock().unwrap().iter().all(|it| it.decision != Decision::Watch));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_one_kind_of_device_does_not_wait_for_the_next() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    taught(&fleet, folder.path()).await;
    let mut other = (*profile()).clone();
    other.name = "wringer".parse().unwrap();
    let mut profiles = Profiles::default();
    profiles.insert((*profile()).clone());
    profiles.insert(other.clone());
    let (metrics, clock) = (Metrics::register(&mut Counters::default()), clock_at(begin().plus(DAY * 86)));
    fs::create_dir_all(folder.path().join("state")).unwrap();
    let mut service =
        Service::open(fleet.tables(), Arc::new(profiles), folder.path(), clock, Settings::default(), metrics);
    let doors = Doors::default();
    // There is no table of the second kind: the midnight fails there.
    let error = service.turn(&doors, &doors).await.unwrap_err().to_string();
    assert!(error.contains("telemetry_wringer"), "{error}");
    let told = doors.said.lock().unwrap().clone();
    assert!(told.iter().any(|it| it.decision == Decision::Auto), "{told:?}");
    let table = (TableName::Telemetry(other.name.clone()), (table::telemetry(&other), Vec::new()));
    fleet.hot.0.lock().unwrap().extend([table]);
    service.turn(&doors, &doors).await.unwrap();
    assert_eq!(doors.said.lock().unwrap()[told.len()..], told, "with the same ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn champion_and_challenger_are_read_once() {
    let fleet = Fleet::new(7, 80, 100);
    let folder = tempfile::tempdir().unwrap();
    taught(&fleet, folder.path()).await;
    let tenant: TenantId = "dev".parse().unwrap();
    let fault_key = "drum_bearing/wear".parse().unwrap();
    let key = Key { tenant: tenant.clone(), profile: profile().name.clone(), fault_key };
    let registry = Registry::new(folder.path());
    let (model, card) = registry.model(&key, "v1").unwrap();
    let second = registry.add(&key, &model, card).unwrap();
    registry.stand(&key, &second.version, Standing::Challenger, begin(), "a test").unwrap();
    let mut models = Models::new(tenant, registry.clone(), Metrics::register(&mut Counters::default()));
    let mut both = || {
        let none = Default::default();
        let all = models.in_force(&profile(), &Features::of(&profile()), &none, &Default::default());
        let bearing = all.into_iter().find(|of| of.target.component == "drum_bearing").unwrap();
        (bearing.champion, bearing.challenger)
    };
    let ((champion, challenger), again) = (both(), both());
    let same = |one: Option<Arc<_>>, other: Option<Arc<_>>| Arc::ptr_eq(&one.unwrap(), &other.unwrap());
    assert!(same(champion.clone(), again.0) && same(challenger, again.1), "from memory");
    registry.stand(&key, &second.version, Standing::Candidate, begin(), "a test").unwrap();
    let (still, none) = both();
    assert!(same(champion, still) && none.is_none());
}
