//! `forewarn model`: train, look at, put in force, and test on history. Works on the data folder, with or without a
//! running server; what is still hot in a running server is not seen.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, sync::Arc};

use analytics::{
    evaluate::Failure,
    prognosis::{
        self,
        backtest::{self, Month, Report, Ticket},
        frame::Known,
        history::History,
        registry::{Key, Registry, Standing},
        store::Tables,
        train,
    },
    query::ColdTables,
};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use foresight::plot::{self, Series};
use schemas::{
    id::TenantId,
    profile::{Profile, Profiles},
    time::{Clock, Instant, SystemClock},
};
use serde_json::json;

use super::Config;
use crate::dev;

/// Models that foretell failures.
#[derive(Debug, Args)]
pub(super) struct Model {
    /// Settings in TOML.
    #[arg(long, global = true, env = "FOREWARN_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: forewarn-data].
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Whose devices.
    #[arg(long, global = true, default_value = dev::TENANT)]
    tenant: TenantId,
    /// One JSON object last on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Learns from the tables; a version that is better on later data comes into force.
    Train(Train),
    /// Every version and where it stands.
    List,
    /// One version: what it was learnt from and how good it is.
    Show {
        /// Such as washing_machine.drum_bearing/wear.
        name: String,
        /// Such as v3; the one in force unless given.
        version: Option<String>,
    },
    /// Puts a version in force.
    Promote {
        /// Such as washing_machine.drum_bearing/wear.
        name: String,
        /// Such as v3.
        version: String,
    },
    /// Puts the version before back in force.
    Rollback {
        /// Such as washing_machine.drum_bearing/wear.
        name: String,
    },
    /// Replays history month by month: what would have been said, and what it would have cost.
    Backtest(Backtest),
}

/// When a reading counts as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AsOf {
    /// When it arrived: live data.
    Arrival,
    /// When it happened, late readings left out: replayed years.
    Event,
}

impl From<AsOf> for Known {
    fn from(as_of: AsOf) -> Self {
        match as_of {
            AsOf::Arrival => Self::Arrival,
            AsOf::Event => Self::Event,
        }
    }
}

#[derive(Debug, Args)]
struct Past {
    /// One kind of device; all unless given.
    #[arg(long)]
    profile: Option<String>,
    /// When a reading counts as known.
    #[arg(long, value_enum, default_value = "arrival")]
    as_of: AsOf,
}

#[derive(Debug, Args)]
struct Train {
    #[command(flatten)]
    past: Past,
    /// Nothing after this instant is looked at, such as 2026-11-01T00:00:00Z.
    #[arg(long)]
    until: Option<Instant>,
}

#[derive(Debug, Args)]
struct Backtest {
    #[command(flatten)]
    past: Past,
    /// Scores from here on; the first third of the history only teaches unless given.
    #[arg(long)]
    from: Option<Instant>,
    /// Nothing after this instant is looked at.
    #[arg(long)]
    to: Option<Instant>,
    /// Draws precision, recall and cost by month.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Model {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Both may stand behind the sub-command, as they do where there is none.
        let config = Config { config: self.config.clone(), data: self.data.clone() };
        let settings = config.load(Vec::new())?.settings;
        let registry = Registry::new(&settings.data);
        let now = SystemClock.now();
        match &self.command {
            Command::Train(train) => {
                let (tables, profiles) = open(&settings, &self.tenant).await?;
                let mut reports = Vec::new();
                for profile in train.past.profiles(&profiles)? {
                    let known = train.past.as_of.into();
                    reports.extend(
                        train::profile(&tables, &registry, &profile, known, train.until, now, &settings.prognosis)
                            .await?,
                    );
                }
                match self.json {
                    true => println!("{}", json!({ "trained": reports })),
                    false => reports.iter().for_each(say_trained),
                }
            }
            Command::List => {
                let mut models = Vec::new();
                for key in registry.keys(&self.tenant)? {
                    for entry in registry.register(&key)?.versions {
                        if !self.json {
                            let standing = entry.standing.as_str();
                            println!(
                                "{:<40} {:<5} {standing:<10} {} {}",
                                key.name(),
                                entry.version,
                                entry.since,
                                entry.reason
                            );
                        }
                        models.push(json!({ "name": key.name(), "entry": entry }));
                    }
                }
                if self.json {
                    println!("{}", json!({ "models": models }));
                }
            }
            Command::Show { name, version } => {
                let key = key(&self.tenant, name)?;
                let register = registry.register(&key)?;
                let version = version.as_deref().or(register.champion());
                let version = version.with_context(|| format!("{name} has no version in force; name one"))?;
                // Reading the model too tells whether its file is whole.
                let (_, card) = registry.model(&key, version)?;
                match self.json {
                    true => println!("{}", serde_json::to_string(&card)?),
                    false => println!("{}", serde_json::to_string_pretty(&card)?),
                }
            }
            Command::Promote { name, version } => {
                let key = key(&self.tenant, name)?;
                // A damaged file must not come into force.
                registry.model(&key, version)?;
                registry.stand(&key, version, Standing::Champion, now, "by hand")?;
                self.say_changed(name, version);
            }
            Command::Rollback { name } => {
                let version = registry.roll_back(&key(&self.tenant, name)?, now, "by hand")?;
                self.say_changed(name, &version);
            }
            Command::Backtest(backtest) => {
                let (tables, profiles) = open(&settings, &self.tenant).await?;
                let mut reports = BTreeMap::new();
                for profile in backtest.past.profiles(&profiles)? {
                    if let Some(report) = backtest.run(&tables, &profile, &settings.prognosis).await? {
                        if !self.json {
                            say_backtest(profile.name.as_str(), &report);
                        }
                        reports.insert(profile.name.to_string(), report);
                    }
                }
                anyhow::ensure!(!reports.is_empty(), "no profile asked for has readings of tenant {}", self.tenant);
                if let Some(path) = &backtest.svg {
                    std::fs::write(path, draw(&reports)?).with_context(|| format!("write {}", path.display()))?;
                }
                if self.json {
                    println!("{}", serde_json::to_string(&reports)?);
                }
            }
        }
        Ok(())
    }

    fn say_changed(&self, name: &str, version: &str) {
        match self.json {
            true => println!("{}", json!({ "name": name, "champion": version })),
            false => println!("{name} {version} is in force; a running server takes it at the next midnight"),
        }
    }
}

impl Past {
    fn profiles(&self, all: &Profiles) -> anyhow::Result<Vec<Arc<Profile>>> {
        match &self.profile {
            Some(name) => {
                Ok(vec![all.get(name).with_context(|| format!("--profile {name}: no such profile"))?.clone()])
            }
            None => Ok(all.iter().cloned().collect()),
        }
    }
}

impl Backtest {
    async fn run(
        &self,
        tables: &Tables,
        profile: &Arc<Profile>,
        settings: &prognosis::Settings,
    ) -> anyhow::Result<Option<Report>> {
        let history = History::gather(tables, profile, self.past.as_of.into(), self.to, settings).await?;
        let Some(history) = history else { return Ok(None) };
        let from = self.from.unwrap_or(history.begin.plus(history.end.since(history.begin) / 3));
        let rules = tables.rule_alarms(profile, history.end).await?;
        let settings = settings.clone();
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let report = tokio::task::spawn_blocking(move || -> anyhow::Result<Report> {
            let replay = backtest::replay(&history, from, threads, &settings)?;
            let failures: Vec<Failure> = history
                .failures()
                .map(|(device, component, at)| Failure {
                    device_id: device.to_owned(),
                    fault_key: Some(component.to_owned()),
                    at,
                })
                .collect();
            let components: BTreeMap<_, _> =
                history.profile.components.iter().map(|it| (it.name.clone(), it.clone())).collect();
            let rules: Vec<Ticket> = rules
                .into_iter()
                .filter_map(|(device, component, at)| {
                    let horizon = components.get(&component)?.horizon;
                    Some(Ticket { device, component, at, horizon })
                })
                .collect();
            Ok(backtest::report(&replay, &rules, &failures, &components, from, history.end)?)
        });
        Ok(Some(report.await??))
    }
}

/// The tables of a data folder, and the profiles in force.
pub(crate) async fn open(
    settings: &crate::settings::Settings,
    tenant: &TenantId,
) -> anyhow::Result<(Tables, Profiles)> {
    let mut profiles = Profiles::builtin();
    if let Some(folder) = &settings.profiles {
        profiles = profiles.with_folder(folder)?;
    }
    let lake = settings.data.join("lake");
    anyhow::ensure!(lake.is_dir(), "{} holds no tables: no such folder as {}", settings.data.display(), lake.display());
    let engine = prognosis::engine(Arc::new(ColdTables::open(&lake).await?), Arc::new(SystemClock))?;
    Ok((Tables::new(engine, tenant.clone()), profiles))
}

fn key(tenant: &TenantId, name: &str) -> anyhow::Result<Key> {
    let parsed = name.split_once('.').and_then(|(profile, fault_key)| {
        Some(Key { tenant: tenant.clone(), profile: profile.parse().ok()?, fault_key: fault_key.parse().ok()? })
    });
    parsed.with_context(|| format!("{name:?} is no model's name such as washing_machine.drum_bearing/wear"))
}

fn say_trained(report: &train::Report) {
    let version = report.version.as_deref().unwrap_or("none");
    let standing = report.standing.map_or("", Standing::as_str);
    println!("{}.{} {version} {standing}: {}", report.profile, report.fault_key, report.reason);
}

fn say_backtest(profile: &str, report: &Report) {
    let share = |share: Option<f64>| share.map_or("    -".into(), |share| format!("{:>4.0} %", share * 100.0));
    let row = |who: &str, month: &Month| {
        println!(
            "{:<20} {who:<7} {:>8} {:>8} {:>6} {:>6}  {}  {}  {:>6} {:>8.1}",
            month.month,
            month.failures,
            month.predicted,
            month.tickets,
            month.false_tickets,
            share(month.precision),
            share(month.recall),
            month.median_lead_days.map_or("-".into(), |days| format!("{days:.1} d")),
            month.cost
        );
    };
    println!("{profile}");
    println!("month                by      failures foretold tickets false  precision recall    lead     cost");
    for (who, months, all) in
        [("models", &report.months, &report.all), ("rules", &report.rules_months, &report.rules_all)]
    {
        months.iter().for_each(|month| row(who, month));
        row(who, all);
    }
    report.components.iter().filter(|it| it.failures + it.tickets > 0).for_each(|it| row("models", it));
    println!("waiting for every failure would have cost {:.1}", report.cost_of_waiting);
    if let Some(error) = report.calibration_error {
        println!("calibration error {error:.4} over {} probabilities", report.probabilities);
    }
}

/// All profiles in one picture: months in which anything happened.
fn draw(reports: &BTreeMap<String, Report>) -> anyhow::Result<String> {
    let all = reports.values().flat_map(|report| report.months.iter().chain(&report.rules_months));
    let mut months: Vec<String> = all.map(|month| month.month.clone()).collect();
    months.sort();
    months.dedup();
    let series = |name: String, of: &[Month], value: fn(&Month) -> Option<f64>| Series {
        name,
        values: months.iter().map(|name| of.iter().find(|month| month.month == *name).and_then(value)).collect(),
    };
    let (mut shares, mut costs) = (Vec::new(), Vec::new());
    for (profile, report) in reports {
        for (who, of) in [("models", &report.months), ("rules", &report.rules_months)] {
            shares.push(series(format!("{profile} {who}: precision"), of, |month| month.precision));
            shares.push(series(format!("{profile} {who}: recall"), of, |month| month.recall));
            costs.push(series(format!("{profile} {who}: cost"), of, |month| Some(month.cost)));
        }
    }
    Ok(plot::months("Backtest", &months, &shares, &costs, "cost")?)
}
