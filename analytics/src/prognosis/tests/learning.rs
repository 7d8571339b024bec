//! From the tables to a champion.

use std::{collections::BTreeMap, fs, num::NonZeroUsize};

use foresight::daily;
use schemas::time::Instant;

use super::{DAY, Fleet, begin, profile};
use crate::{
    evaluate::Failure,
    prognosis::{
        Settings, backtest,
        frame::Known,
        history::History,
        model::{self, Model},
        promotion,
        registry::{Key, Registry, RegistryError, Standing},
        train,
    },
};

fn key() -> Key {
    Key {
        tenant: "dev".parse().unwrap(),
        profile: "washing_machine".parse().unwrap(),
        fault_key: "drum_bearing/wear".parse().unwrap(),
    }
}

async fn trained(fleet: &Fleet, registry: &Registry, made: Instant) -> Vec<train::Report> {
    let settings = Settings::default();
    train::profile(&fleet.tables(), registry, &profile(), Known::Arrival, None, made, &settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_with_the_season_on_all_devices_teaches_nothing() {
    let mut fleet = Fleet::new(1, 80, 90);
    // All spin slower from day to day.
    for reading in &mut fleet.readings {
        reading.speed = Some(1400.0 - 5.0 * reading.at.hours_since(begin()) / 24.0);
    }
    fleet.show(|_| true);
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let report = trained(&fleet, &registry, begin().plus(DAY * 90)).await.remove(0);
    assert_eq!(report.standing, Some(Standing::Champion), "{}", report.reason);
    let card = registry.card(&key(), "v1").unwrap();
    let of = |names: &[String], name: &str| names.iter().any(|other| other == name);
    assert!(of(&card.left_out, "drum_speed_rpm_mean_1d") && !of(&card.features, "drum_speed_rpm_mean_1d"), "{card:?}");
    assert!(of(&card.features, "vibration_mm_s_mean_1d"), "though wear grows with time too: {:?}", card.left_out);
    // What it looks at is what drift is judged by.
    let (model, _) = registry.model(&key(), "v1").unwrap();
    let until = Some(begin().plus(DAY * 90));
    let history = History::gather(&fleet.tables(), &profile(), Known::Arrival, until, &Settings::default())
        .await
        .unwrap()
        .unwrap();
    let matrix = history.matrix(&history.rows(i32::MIN..i32::MAX));
    let drift = card.reference.drift(&matrix).unwrap();
    assert!(drift.most.iter().all(|(name, _)| of(&card.features, name)), "{drift:?}");
    assert_eq!(model.probability(&matrix).unwrap().len(), matrix.rows());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_wears_teaches_a_champion_and_the_same_fleet_the_same() {
    let fleet = Fleet::new(1, 80, 90);
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let reports = trained(&fleet, &registry, begin().plus(DAY * 90)).await;
    assert_eq!(reports.len(), 1, "only of the bearing was a failure told: {reports:?}");
    let report = &reports[0];
    assert_eq!(report.standing, Some(Standing::Champion), "{}", report.reason);
    let later = report.later.as_ref().unwrap();
    // The horizon is two weeks, and wear shows for ten days: nobody can see all of it.
    assert!(later.auroc.unwrap() > 0.85 && later.calibration_error.unwrap() < 0.05, "{later:?}");
    assert!(report.failures >= 10 && later.failures >= 5, "{report:?}");

    // Judged after the cut by what was learnt before it, to the hour; then learnt from everything.
    let card = registry.card(&key(), "v1").unwrap();
    let judged_from = card.judged_from.unwrap();
    assert!(card.from < judged_from && judged_from <= later.from && later.to < card.until, "{card:?}");
    let settings = Settings::default();
    let history = History::gather(&fleet.tables(), &profile(), Known::Arrival, None, &settings).await.unwrap().unwrap();
    assert_eq!(card.until, history.end);
    let (target, failures) = history.targets(history.end.micros()).remove(0);
    let (judged, of) = Model::fit(&history, &target, judged_from, begin(), &settings).unwrap();
    assert!(of.failures < card.failures && card.failures == failures, "{} of {failures}", of.failures);
    let rate = model::rate(&history, &target, judged_from.micros());
    let after = daily::landmark_after(judged_from.micros())..i32::MAX;
    let figures = judged.judge(&history, &target, after, rate, history.end.micros()).unwrap();
    assert_eq!(card.later, figures, "what learnt nothing of it said of the later part");
    let again = trained(&fleet, &registry, begin().plus(DAY * 90)).await;
    let second = registry.card(&key(), again[0].version.as_deref().unwrap()).unwrap();
    assert_eq!(card.sha256, second.sha256, "the same tables, seed and settings give the same model");
    assert_eq!(again[0].standing, Some(Standing::Candidate), "{}", again[0].reason);
    assert!(
        again[0].reason.contains("no landmark after its cut"),
        "nothing is new to the champion: {}",
        again[0].reason
    );

    // By hand into force, and back.
    registry.stand(&key(), "v2", Standing::Champion, begin(), "by hand").unwrap();
    assert_eq!(registry.register(&key()).unwrap().champion(), Some("v2"));
    assert_eq!(registry.roll_back(&key(), begin(), "by hand").unwrap(), "v1");
    assert_eq!(registry.register(&key()).unwrap().champion(), Some("v1"));
    assert!(matches!(registry.roll_back(&key(), begin(), "twice"), Err(RegistryError::NothingBefore { .. })));
    assert_eq!(registry.keys(&key().tenant).unwrap(), [key()]);

    // A byte changed is a model refused.
    let path = folder.path().join("models/dev/washing_machine/drum_bearing/wear/v1/model.json");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = registry.model(&key(), "v1").unwrap_err();
    assert!(matches!(damaged, RegistryError::Damaged { .. }), "{damaged}");
    let unknown = registry.card(&key(), "v9").unwrap_err().to_string();
    assert!(unknown.contains("v1, v2"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_is_not_judged_on_what_it_was_learnt_from() {
    let fleet = Fleet::new(1, 80, 165);
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let settings = Settings::default();
    let learn = async |days, settings: &Settings| {
        let until = begin().plus(DAY * days);
        let tables = fleet.tables();
        train::profile(&tables, &registry, &profile(), Known::Arrival, Some(until), until, settings).await.unwrap();
    };
    learn(60, &Settings { min_failures: 2, ..settings.clone() }).await;
    learn(90, &settings).await;
    registry.stand(&key(), "v2", Standing::Champion, begin(), "a test").unwrap();
    learn(130, &settings).await;
    let [second, third] = ["v2", "v3"].map(|version| registry.card(&key(), version).unwrap());
    // Two thirds of 130 days are 86, which the champion knows.
    assert!(second.until > begin().plus(DAY * 86) && third.judged_from == Some(second.until), "{second:?} {third:?}");
    let later = third.later.unwrap();
    assert!(later.from >= second.until && later.failures >= 5, "{later:?}");
    let register = || registry.register(&key()).unwrap();
    let stands = |version: usize| register().versions[version - 1].standing;
    assert_ne!(stands(3), Standing::Champion, "it has to be better first");

    // Four days later nothing new is known yet: the one in the shadow stays there, and nobody takes its place, though better
    // than the champion, which knows the first 60 days only.
    registry.stand(&key(), "v1", Standing::Champion, begin(), "a test").unwrap();
    registry.stand(&key(), "v3", Standing::Challenger, begin(), "a test").unwrap();
    learn(134, &settings).await;
    assert_eq!((stands(1), stands(3), stands(4)), (Standing::Champion, Standing::Challenger, Standing::Candidate));
    assert!(register().versions[3].reason.contains("v3 is in the shadow first"), "{}", register().versions[3].reason);
    // A month later it has its word, by what neither it nor the champion was learnt from. Few bearings are left to fail.
    let settings = Settings { min_later_failures: 2, ..settings };
    let until = begin().plus(DAY * 165);
    let history =
        History::gather(&fleet.tables(), &profile(), Known::Arrival, Some(until), &settings).await.unwrap().unwrap();
    let (target, _) = history.targets(history.end.micros()).remove(0);
    let new = daily::landmark_after(third.until.micros() + 1)..i32::MAX;
    let [theirs, mine] = ["v1", "v3"].map(|version| {
        let (model, _) = registry.model(&key(), version).unwrap();
        model.judge(&history, &target, new.clone(), 0.1, history.end.micros()).unwrap().unwrap()
    });
    assert!(mine.failures >= settings.min_later_failures, "{mine:?}");
    let word = promotion::confirm(&mine, &theirs, &settings).map_or(Standing::Challenger, |word| word.standing);
    learn(165, &settings).await;
    assert_eq!(stands(3), word, "{mine:?} {theirs:?}");
    let reason = &register().versions[4].reason;
    assert!(!reason.contains("in the shadow first"), "nobody waits for it any more: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_failures_teach_nothing_and_the_reason_is_said() {
    let fleet = Fleet::new(2, 8, 40);
    let folder = tempfile::tempdir().unwrap();
    let reports = trained(&fleet, &Registry::new(folder.path()), begin()).await;
    assert_eq!(reports[0].version, None);
    assert!(reports[0].reason.contains("at least 10 are needed (prognosis.min_failures)"), "{}", reports[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_foretells_what_wears_and_costs_less_than_waiting() {
    let fleet = Fleet::new(4, 80, 120);
    let settings = Settings::default();
    let history = History::gather(&fleet.tables(), &profile(), Known::Arrival, None, &settings).await.unwrap().unwrap();
    let from = begin().plus(DAY * 30);
    let replay = backtest::replay(&history, from, NonZeroUsize::MIN, &settings).unwrap();
    let abreast = backtest::replay(&history, from, NonZeroUsize::new(3).unwrap(), &settings).unwrap();
    assert_eq!((&replay.tickets, &replay.said), (&abreast.tickets, &abreast.said), "threads change nothing");
    let failures: Vec<Failure> = history
        .failures()
        .map(|(device, component, at)| Failure { device_id: device.into(), fault_key: Some(component.into()), at })
        .collect();
    let components: BTreeMap<_, _> =
        profile().components.iter().map(|component| (component.name.clone(), component.clone())).collect();
    let report = backtest::report(&replay, &[], &failures, &components, from, history.end).unwrap();
    assert!(report.by_model > 0 && report.by_trend > 0, "first trends, then models: {report:?}");
    assert!(report.all.recall.unwrap() > 0.8 && report.all.precision.unwrap() > 0.8, "{report:?}");
    assert!(report.all.median_lead_days.unwrap() > 2.0, "{report:?}");
    assert!(report.all.cost < report.cost_of_waiting, "{report:?}");
    assert!(report.calibration_error.unwrap() < 0.05, "{report:?}");
    let sum: u64 = report.months.iter().map(|month| month.failures).sum();
    assert_eq!(sum, report.all.failures, "every failure is in one month");
}
