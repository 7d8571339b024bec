//! Prognosis in the server: when a day of the clock turns, the devices of which something new arrived are scored.
//!
//! In: tables, models, the clock; where the desk's alarms wait for a word. Out: advisories to the service desk and the log, there
//! whatever is found; what models speak for; new versions where training is due.
//! Promise: an advisory has the same id however often its midnight is scored, and what was said is on disk before the
//! next midnight, and what the desk did not take is said again; what is known of one kind of device is told before the next
//! one is looked at. Never: a device's readings from after the midnight; work on a thread of ingest.
//!
//! Memory: one block of devices ([`Settings::block_devices`]), the models in force, the faults that were spoken of.
//!
//! Under a clock that runs faster than scoring, midnights are passed over and counted: the newest one counts.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use foresight::{boost::BoostError, daily};
use schemas::{
    advisory::{Advisory, Decision, Method},
    door::{Append, Awaited, DoorError, Frame, ServiceDesk, SpokenFor},
    id::{ProfileName, TenantId},
    profile::{Profile, Profiles, indicator::LONGEST_DAYS},
    time::{Clock, ClockKind, Instant},
    topic::{Channel, Topic},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    PrognosisError, Settings,
    advisory::{self, Occasion},
    drift::Drift,
    feature::Features,
    frame::Known,
    in_force::{InForce, Models},
    label::Past,
    memory::Memory,
    metrics::Metrics,
    registry::{self, Registry},
    rows, score,
    store::{Range, Reports, Tables},
    train,
};

/// How often the clock is looked at: a scaled clock's day may pass in a few seconds.
const LOOK: Duration = Duration::from_millis(250);
/// What models speak for they speak for so long: till the next midnight, and another one may be missed.
const SPOKEN_FOR: Duration = Duration::from_secs(2 * 86_400);
/// Wait after a run that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// What is kept between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The last midnight scored.
    landmark: Option<i32>,
    /// When that run began, as arrivals are stamped: what came since is new.
    began: Option<Instant>,
    /// When training was last done.
    trained: Option<Instant>,
    #[serde(default)]
    memory: Memory,
}

/// Scores devices, and trains where that is due.
pub struct Service {
    tables: Tables,
    profiles: Arc<Profiles>,
    models: Models,
    clock: Arc<dyn Clock>,
    settings: Settings,
    metrics: Metrics,
    path: PathBuf,
    state: State,
}

/// What one run did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// Devices scored.
    pub devices: u64,
    /// To be acted upon.
    pub advisories: Vec<Advisory>,
    /// Of challengers: for the table only.
    pub shadow: Vec<Advisory>,
    /// Profiles and components for which a model spoke.
    pub spoken_for: Vec<(ProfileName, String)>,
}

impl Run {
    fn add(&mut self, part: Self) {
        self.devices += part.devices;
        self.advisories.extend(part.advisories);
        self.shadow.extend(part.shadow);
        self.spoken_for.extend(part.spoken_for);
    }
}

impl Service {
    /// Takes up where the last run stands; a state that cannot be read begins anew, which can only say things twice.
    pub fn open(
        tables: Tables,
        profiles: Arc<Profiles>,
        data: &Path,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let path = data.join("state").join(format!("prognosis-{}.state", tables.tenant()));
        let state = match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => {
                warn!(%error, "{} is damaged: what was said before may be said again", path.display());
                State::default()
            }
            Err(_) => State::default(),
        };
        let models = Models::new(tables.tenant().clone(), Registry::new(data), metrics.clone());
        Self { tables, profiles, models, clock, settings, metrics, path, state }
    }

    fn known(&self) -> Known {
        match self.clock.kind() {
            ClockKind::Event => Known::Event,
            ClockKind::System | ClockKind::Scaled | ClockKind::Manual => Known::Arrival,
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, desk: Arc<dyn ServiceDesk>, log: Arc<dyn Append>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let turn = tokio::select! {
                turn = self.turn(desk.as_ref(), log.as_ref()) => turn,
                // What was said is not on disk yet: it is said again, with the same ids, at the next start.
                () = stop.cancelled() => return,
            };
            let wait = match turn {
                Ok(()) => LOOK,
                Err(error) => {
                    self.metrics.failures.inc();
                    error!(error = error.as_ref() as &dyn std::error::Error, "prognosis failed; again in {AGAIN:?}");
                    AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks at the clock, and does what is due.
    pub(super) async fn turn(&mut self, desk: &dyn ServiceDesk, log: &dyn Append) -> Result<(), DoorError> {
        let now = self.clock.now();
        let landmark = daily::landmark_after(now.micros() + 1) - 1;
        let due = now.micros() > 0 && self.state.landmark.is_none_or(|scored| landmark > scored);
        if due {
            let (from, began) = (tokio::time::Instant::now(), self.clock.arrival());
            let before = self.state.memory.clone();
            let run = match self.midnight(landmark, desk, log).await {
                Ok(run) => run,
                Err(error) => {
                    // Nobody may have heard of it: it is said again.
                    self.state.memory = before;
                    return Err(error);
                }
            };
            if let Some(scored) = self.state.landmark {
                self.metrics.landmarks_skipped.inc_by(u64::try_from(landmark - scored - 1).unwrap_or(0));
            }
            self.scored(landmark, began);
            self.keep()?;
            self.metrics.devices.inc_by(run.devices);
            self.metrics.run_seconds.observe(from.elapsed().as_secs_f64());
            debug!(devices = run.devices, advisories = run.advisories.len(), "scored midnight {landmark}");
        }
        let interval = self.settings.train_interval;
        // A history is needed first: the interval counts from the first look.
        let since = *self.state.trained.get_or_insert(now);
        if !interval.is_zero() && now.since(since) >= interval {
            self.train(now).await?;
            self.state.trained = Some(now);
            self.keep()?;
        }
        Ok(())
    }

    /// Scores a midnight, and hands over what is to be said of it.
    async fn midnight(&mut self, landmark: i32, desk: &dyn ServiceDesk, log: &dyn Append) -> Result<Run, DoorError> {
        // A replay's alarms are over before anybody could speak of them: they wait for nobody.
        let replayed = self.clock.kind() == ClockKind::Event;
        let awaited = if replayed { Vec::new() } else { desk.awaited(self.tables.tenant()).await? };
        let awaited = awaited.into_iter().collect();
        let reports = self.reports(landmark).await?;
        let mut run = Run::default();
        for profile in self.profiles.clone().iter() {
            let part = self.score_profile(profile, landmark, &reports, &awaited).await?;
            // What is known of one kind of device does not wait for the others.
            self.hand_over(&part, desk, log).await?;
            run.add(part);
        }
        self.scored_all(landmark);
        let at = self.clock.now();
        let components = if replayed { Vec::new() } else { run.spoken_for.clone() };
        let tenant = self.tables.tenant().clone();
        desk.spoken_for(&SpokenFor { tenant, at, until: at.plus(SPOKEN_FOR), components }).await?;
        Ok(run)
    }

    /// Takes note that a midnight was scored by a run that began at `began`, as arrivals are stamped.
    pub fn scored(&mut self, landmark: i32, began: Instant) {
        (self.state.landmark, self.state.began) = (Some(landmark), Some(began));
    }

    /// Scores what is new at a midnight; changes only what was said. Where a model's word is awaited it is said whatever it
    /// is, and whether it was said before or not.
    pub async fn score(&mut self, landmark: i32, awaited: &HashSet<Awaited>) -> Result<Run, PrognosisError> {
        let reports = self.reports(landmark).await?;
        let mut run = Run::default();
        for profile in self.profiles.clone().iter() {
            run.add(self.score_profile(profile, landmark, &reports, awaited).await?);
        }
        self.scored_all(landmark);
        Ok(run)
    }

    /// What was told of components by a midnight.
    async fn reports(&self, landmark: i32) -> Result<Reports, PrognosisError> {
        self.tables.reports(None, Instant::from_micros(daily::landmark_micros(landmark))).await
    }

    fn scored_all(&mut self, landmark: i32) {
        self.state.memory.forget(landmark);
        self.metrics.developing.set(i64::try_from(self.state.memory.len()).unwrap_or(i64::MAX));
    }

    async fn score_profile(
        &mut self,
        profile: &Arc<Profile>,
        landmark: i32,
        reports: &Reports,
        awaited: &HashSet<Awaited>,
    ) -> Result<Run, PrognosisError> {
        let mut run = Run::default();
        // Of the first midnight, and of one after others that were passed over, the one before is looked at too: what was so
        // at both is told now and not a day later.
        let before = self.state.landmark.is_none_or(|scored| landmark - scored > 1).then_some(landmark - 1);
        let newest = Range::days(before.unwrap_or(landmark) - LONGEST_DAYS as i32, landmark);
        let devices = self.tables.devices(profile, &newest, self.state.began).await?;
        if devices.is_empty() {
            return Ok(run);
        }
        let features = Arc::new(Features::of(profile));
        let (told, keys, found) = reports.told(profile)?;
        let pasts: HashMap<String, BTreeMap<String, Past>> = told
            .into_iter()
            .map(|(device, told)| (device, told.into_iter().map(|(it, told)| (it, Past::new(told))).collect()))
            .collect();
        let in_force = Arc::new(self.models.in_force(profile, &features, &keys, &found));
        let speaking = in_force.iter().filter(|of| of.champion.is_some());
        run.spoken_for.extend(speaking.map(|of| (profile.name.clone(), of.target.component.clone())));
        let pasts = Arc::new(pasts);
        let mut looked_at: Vec<Option<Drift>> = vec![None; in_force.len()];
        for block in devices.chunks(self.settings.block_devices.max(1)) {
            // The range may hold devices of which nothing is new: they are read and left out.
            let wanted: HashSet<&String> = block.iter().collect();
            let (Some(first), Some(last)) = (block.first(), block.last()) else { continue };
            let range = Range { devices: Some((first.clone(), Some(format!("{last}~")))), ..newest.clone() };
            let readings = self.tables.readings(profile, features.channels(), &range).await?;
            let mut days = rows::days(&readings, features.channels(), self.known())?;
            days.retain(|device, _| wanted.contains(device));
            run.devices += days.len() as u64;
            let (profile_of, features_of, pasts, in_force_of) =
                (profile.clone(), features.clone(), pasts.clone(), in_force.clone());
            let scoring = tokio::task::spawn_blocking(move || {
                let at = |landmark| score::block(&profile_of, &features_of, &days, &pasts, &in_force_of, landmark);
                Ok::<_, BoostError>((before.map(at).transpose()?, at(landmark)?))
            });
            let (seen, scored) = scoring.await.map_err(PrognosisError::Interrupted)??;
            for (looked_at, in_force) in looked_at.iter_mut().zip(in_force.iter()) {
                let drift = in_force.champion.as_ref().and_then(|model| model.1.reference.drift(&scored.matrix));
                *looked_at = drift.or(looked_at.take());
            }
            if let (Some(seen), Some(before)) = (seen, before) {
                self.see(profile, &in_force, &seen.findings, before);
            }
            self.say(profile, &in_force, &scored.findings, landmark, awaited, &mut run);
        }
        self.models.look_at_drift(profile, &in_force, looked_at);
        Ok(run)
    }

    /// Takes note of a midnight's findings of which nothing is said.
    fn see(&mut self, profile: &Profile, in_force: &[InForce], findings: &[score::Finding], landmark: i32) {
        for finding in findings.iter().filter(|finding| !finding.shadow) {
            let target = &in_force[finding.place].target;
            let Some(component) = profile.component(&target.component) else { continue };
            self.state.memory.see(
                &finding.device,
                &target.fault_key,
                finding.probability,
                &component.costs,
                landmark,
                finding.renewed,
            );
        }
    }

    /// Decides what is said of a block's findings.
    fn say(
        &mut self,
        profile: &Profile,
        in_force: &[InForce],
        findings: &[score::Finding],
        landmark: i32,
        awaited: &HashSet<Awaited>,
        run: &mut Run,
    ) {
        let now = match self.clock.kind() {
            ClockKind::Event => Instant::from_micros(daily::landmark_micros(landmark)),
            ClockKind::System | ClockKind::Scaled | ClockKind::Manual => self.clock.now(),
        };
        let tenant = self.tables.tenant().clone();
        let occasion = Occasion { tenant: &tenant, profile, landmark, now };
        let is_awaited = |finding: &score::Finding, component: &str| {
            let Ok(device_id) = finding.device.parse() else { return false };
            awaited.contains(&Awaited { device_id, component: component.to_owned() })
        };
        for finding in findings {
            let of = &in_force[finding.place];
            let Some(component) = profile.component(&of.target.component) else { continue };
            let decision = match finding.shadow {
                // Of a challenger only what it would have acted upon is worth a row.
                true => (component.costs.decide(finding.probability) != Decision::Watch).then_some(Decision::Watch),
                false => {
                    let word = self.state.memory.hear(
                        &finding.device,
                        &of.target.fault_key,
                        finding.probability,
                        &component.costs,
                        landmark,
                        finding.renewed,
                    );
                    let speaks = || finding.method == Method::Model && is_awaited(finding, &of.target.component);
                    let again = || speaks().then(|| component.costs.decide(finding.probability));
                    word.map(|word| word.decision).or_else(again)
                }
            };
            let Some(decision) = decision else { continue };
            match advisory::word(&occasion, of, component, finding, decision) {
                Ok(advisory) if finding.shadow => run.shadow.push(advisory),
                Ok(advisory) => {
                    self.metrics.said(decision.as_str(), advisory.method.as_str());
                    info!(advisory_id = advisory.advisory_id, device = %advisory.device_id, "{}", advisory.reason);
                    run.advisories.push(advisory);
                }
                Err(error) => warn!(%error, "a device of the tables has no legal name"),
            }
        }
    }

    async fn train(&mut self, now: Instant) -> Result<(), PrognosisError> {
        let profiles: Vec<Arc<Profile>> = self.profiles.iter().cloned().collect();
        for profile in profiles {
            let trained =
                train::profile(&self.tables, self.models.registry(), &profile, self.known(), None, now, &self.settings);
            for report in trained.await? {
                self.models.learnt(&report);
            }
        }
        Ok(())
    }

    /// Advisories to the desk, then all to the log, where twice is once.
    async fn hand_over(&self, run: &Run, desk: &dyn ServiceDesk, log: &dyn Append) -> Result<(), DoorError> {
        desk.advisories(&run.advisories).await?;
        for advisory in run.advisories.iter().chain(&run.shadow) {
            log.append(self.frame(advisory)?).await?;
        }
        Ok(())
    }

    fn frame(&self, advisory: &Advisory) -> Result<Frame, DoorError> {
        let topic = Topic::new(advisory.tenant.clone(), advisory.device_id.clone(), Channel::Advisory);
        Ok(Frame {
            topic: topic.to_string(),
            content_type: None,
            payload: serde_json::to_vec(advisory)?.into(),
            arrival: self.clock.arrival(),
            refused: None,
            sender: None,
        })
    }

    fn keep(&self) -> Result<(), DoorError> {
        Ok(registry::write(&self.path, &serde_json::to_vec(&self.state)?)?)
    }

    /// Whose devices.
    pub fn tenant(&self) -> &TenantId {
        self.tables.tenant()
    }
}
