//! Lithium-ion cells cycled to end of life (NASA Ames): at which cycle does a cell end, seen from an earlier one?
//!
//! In: `cycle_summary.csv`, one row per discharge (`battery_id`, `cycle_number`, `capacity_ahr`, `ambient_temperature`,
//! `mean_current`). Out: a [`Report`]. A *cycle* is the ordinal of a discharge of its cell, from 1: `cycle_number` counts
//! charges and impedance measurements too, and is only used for order. *End of life* is the first cycle whose capacity
//! is below [`END_AH`]. Promise: of the cell itself only the cycles up to `from` are used; what is learnt comes from other
//! cells of the same regime (ambient temperature and mean discharge current alike). Never: an end that was not reached
//! told as one: such a cell is `censored`.
//!
//! Capacity is a robust line through the cell's newest cycles ([`crate::degrade`]), so that it does not follow the
//! recovery after a rest. From there it falls at a rate that is a precision-weighted mean of two guesses: the cell's own
//! rate so far, changed as much as the rates of its peers changed after their cycle `from`; and the rates of the peers
//! themselves. How far each of these guesses missed among the peers is its variance. Paths with drawn rates and with the
//! cell's own scatter about its line are followed until they first fall below the end: median and 80 % interval.

use std::{collections::BTreeMap, path::PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StudentT};
use serde::{Deserialize, Serialize};

use super::{EvaluateError, open};
use crate::degrade::{Shape, Trend};

/// Capacity at which a cell of 2 Ah is at its end: 30 % lost, the set's own criterion.
pub const END_AH: f64 = 1.4;
/// Cycles without which nothing is predicted.
pub const LEAST_CYCLES: u32 = 10;
/// Newest cycles that the line is drawn through: a few rests long, and short enough that fading is straight.
const NEWEST: usize = 32;
/// How far ahead a path is followed.
const HORIZON: u32 = 2000;
/// Paths drawn.
const PATHS: usize = 2000;
/// Cells of one regime: ambient temperatures differ by no more, in degrees.
const SAME_DEGREES: f64 = 5.0;
/// Cells of one regime: mean discharge currents differ by no more than this share.
const SAME_CURRENT: f64 = 0.25;
/// A spread among a handful of peers is never believed to be below this share of their rate.
const LEAST_SPREAD: f64 = 0.25;
/// Degrees of freedom of a rate: about as many as there are peers.
const FREEDOM: f64 = 4.0;
/// Cycles a running median takes: a rest recovers for a few.
const MEDIAN: usize = 9;

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct Options {
    /// `cycle_summary.csv`.
    pub file: PathBuf,
    /// Which cell.
    pub cell: String,
    /// The last cycle that is seen.
    pub from: u32,
    /// Chance.
    pub seed: u64,
}

/// What was said, and what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which cell.
    pub cell: String,
    /// The last cycle that was seen.
    pub from: u32,
    /// Predicted end of life, the median; none if half of the paths do not end within 2,000 cycles.
    pub predicted: Option<u32>,
    /// Lower end of the 80 % interval.
    pub low: Option<u32>,
    /// Upper end; none: not within 2,000 cycles.
    pub high: Option<u32>,
    /// True end of life; none if the cell never reached it.
    pub truth: Option<u32>,
    /// Whether the cell's record ends before its end of life.
    pub censored: bool,
    /// Its last recorded cycle.
    pub last_cycle: u32,
    /// Predicted less true.
    pub error: Option<i64>,
    /// Whether the interval holds the true end; for a censored cell, whether it leaves room beyond the last cycle.
    pub covered: bool,
    /// The end of life: first cycle below this.
    pub end_ah: f64,
    /// Cells learnt from.
    pub peers: Vec<String>,
    /// Capacity of the robust line at `from`.
    pub capacity_ah: f64,
    /// Expected loss per cycle from there on.
    pub rate_ah: f64,
}

#[derive(Debug, Deserialize)]
struct Discharge {
    battery_id: String,
    cycle_number: u32,
    ambient_temperature: f64,
    capacity_ahr: f64,
    mean_current: f64,
}

/// One cell's discharges, in order.
struct Cell {
    capacities: Vec<f64>,
    degrees: f64,
    current: f64,
}

/// A guess at a rate, and how far it may miss.
#[derive(Clone, Copy)]
struct Guess {
    rate: f64,
    variance: f64,
}

/// Predicts the end of life of one cell from its first cycles and from other cells.
pub fn run(options: &Options) -> Result<Report, EvaluateError> {
    let cells = cells(options)?;
    let cell = cells.get(&options.cell).ok_or_else(|| {
        let known = cells.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        EvaluateError::form(&options.file, format!("cell {} is not there; there are {known}", options.cell))
    })?;
    let last = cell.capacities.len() as u32;
    let truth = cell.end();
    // A cell that has ended needs no prediction; one that has not can be asked at its last cycle.
    let latest = truth.map_or(last, |truth| truth - 1);
    if latest < LEAST_CYCLES {
        let problem =
            format!("cell {}: {latest} cycles before its end: at least {LEAST_CYCLES} are needed", options.cell);
        return Err(EvaluateError::form(&options.file, problem));
    }
    if !(LEAST_CYCLES..=latest).contains(&options.from) {
        let problem = format!("from = {}: cycle {LEAST_CYCLES} to {latest} of cell {}", options.from, options.cell);
        return Err(EvaluateError::form(&options.file, problem));
    }
    let seen = &cell.capacities[..options.from as usize];
    let peers: Vec<(&String, &Cell)> = cells
        .iter()
        .filter(|(name, other)| **name != options.cell && other.alike(cell) && other.future(options.from).is_some())
        .collect();
    let others: Vec<&Cell> = peers.iter().map(|(_, cell)| *cell).collect();
    let own = line(seen, options.seed).map_err(|problem| EvaluateError::form(&options.file, problem))?;
    let rate = rate(&own, &others, options);
    let level = own.at(f64::from(options.from));
    let ends = ends(seen, &own, level, rate, options);
    let quantile = |share: f64| ends[((ends.len() - 1) as f64 * share).round() as usize];
    let (low, predicted, high) = (quantile(0.1), quantile(0.5), quantile(0.9));
    let told = |cycle: u32| (cycle != u32::MAX).then_some(cycle);
    Ok(Report {
        cell: options.cell.clone(),
        from: options.from,
        predicted: told(predicted),
        low: told(low),
        high: told(high),
        truth,
        censored: truth.is_none(),
        last_cycle: last,
        error: told(predicted).zip(truth).map(|(predicted, truth)| i64::from(predicted) - i64::from(truth)),
        covered: truth.map_or(high > last, |truth| (low..=high).contains(&truth)),
        end_ah: END_AH,
        peers: peers.iter().map(|(name, _)| (*name).clone()).collect(),
        capacity_ah: level,
        rate_ah: rate.rate,
    })
}

/// The rate of loss from `from` on: the cell's own, and that of its peers, each weighed by how well it did among peers.
fn rate(own: &Trend, peers: &[&Cell], options: &Options) -> Guess {
    let past = Guess { rate: -own.rate(), variance: own.rate_spread().powi(2) };
    let futures: Vec<f64> = peers.iter().filter_map(|peer| peer.future(options.from)).collect();
    if futures.is_empty() {
        // Alone: the past goes on, as uncertain as a spread among peers would at least be.
        return Guess { variance: past.variance + (LEAST_SPREAD * past.rate).powi(2), ..past };
    }
    let count = futures.len() as f64;
    let mean = futures.iter().sum::<f64>() / count;
    let least = (LEAST_SPREAD * mean).powi(2);
    let among = Guess { rate: mean, variance: spread(&futures, least) };
    let changes: Vec<f64> = peers
        .iter()
        .filter_map(|peer| {
            let before = line(peer.capacities.get(..options.from as usize)?, options.seed).ok()?;
            Some(peer.future(options.from)? + before.rate())
        })
        .collect();
    let change = changes.iter().sum::<f64>() / changes.len().max(1) as f64;
    let goes_on = Guess { rate: past.rate + change, variance: past.variance + spread(&changes, least) };
    let weight = among.variance / (among.variance + goes_on.variance);
    Guess {
        rate: (weight * goes_on.rate + (1.0 - weight) * among.rate).max(0.1 * mean.abs()),
        variance: among.variance * goes_on.variance / (among.variance + goes_on.variance),
    }
}

/// Variance of one more of these, at least `least`: of their spread and of their mean.
fn spread(values: &[f64], least: f64) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let variance = if values.len() > 1 { squares / (count - 1.0) } else { 0.0 };
    variance.max(least) * (1.0 + 1.0 / count)
}

/// First cycles below the end, one per path, ascending; `u32::MAX` is none within the horizon.
fn ends(seen: &[f64], own: &Trend, level: f64, rate: Guess, options: &Options) -> Vec<u32> {
    let mut chance = ChaCha8Rng::seed_from_u64(options.seed);
    let newest = seen.len().saturating_sub(NEWEST);
    let scatter: Vec<f64> =
        seen.iter().enumerate().skip(newest).map(|(place, capacity)| capacity - own.at(place as f64 + 1.0)).collect();
    // A reading that is no capacity (a discharge cut short) is not scatter: beyond 5 median deviations it is left out.
    let typical = median(scatter.iter().map(|residual| residual.abs()).collect());
    let scatter: Vec<f64> = scatter.into_iter().filter(|residual| residual.abs() <= 5.0 * typical + 1e-9).collect();
    // A few peers do not tell a variance well: Student's t, which has heavier tails.
    let Ok(student) = StudentT::new(FREEDOM) else { return vec![u32::MAX] };
    let mut ends: Vec<u32> = (0..PATHS)
        .map(|_| {
            // Cells do not get better for good: the slowest is a twentieth of what is expected.
            let falls = (rate.rate + rate.variance.sqrt() * student.sample(&mut chance)).max(0.05 * rate.rate.abs());
            // The scatter goes on in the order it came, from a random place: after a rest several cycles are high.
            let from = chance.random_range(0..scatter.len());
            let below = |ahead: u32| {
                let noise = scatter[(from + ahead as usize) % scatter.len()];
                level - falls * f64::from(ahead) + noise < END_AH
            };
            let end = (1..=HORIZON).find(|ahead| below(*ahead));
            end.map_or(u32::MAX, |ahead| options.from + ahead)
        })
        .collect();
    ends.sort_unstable();
    ends
}

/// The robust line through the newest cycles.
fn line(capacities: &[f64], seed: u64) -> Result<Trend, String> {
    let skipped = capacities.len().saturating_sub(NEWEST);
    let cycles: Vec<f64> = (skipped + 1..=capacities.len()).map(|cycle| cycle as f64).collect();
    match Trend::fit_shape(Shape::Linear, &cycles, &capacities[skipped..], seed) {
        Ok(Some(trend)) => Ok(trend),
        Ok(None) => Err("no line through the capacities".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl Cell {
    /// First cycle below the end.
    fn end(&self) -> Option<u32> {
        self.capacities.iter().position(|capacity| *capacity < END_AH).map(|place| place as u32 + 1)
    }

    /// Same ambient temperature and discharge current, near enough.
    fn alike(&self, other: &Self) -> bool {
        let currents = (self.current - other.current).abs();
        (self.degrees - other.degrees).abs() <= SAME_DEGREES && currents <= SAME_CURRENT * other.current.abs()
    }

    /// Loss per cycle from a cycle on until the end, or the end of the record; needs ten cycles to be told.
    fn future(&self, from: u32) -> Option<f64> {
        let smooth = |place: usize| {
            let half = MEDIAN / 2;
            median(self.capacities[place.saturating_sub(half)..(place + half + 1).min(self.capacities.len())].to_vec())
        };
        let start = from as usize - 1;
        if start >= self.capacities.len() || smooth(start) < END_AH {
            return None;
        }
        let end = (start..self.capacities.len()).find(|place| smooth(*place) < END_AH);
        let end = end.unwrap_or(self.capacities.len() - 1);
        (end >= start + LEAST_CYCLES as usize).then(|| (smooth(start) - smooth(end)) / (end - start) as f64)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cells(options: &Options) -> Result<BTreeMap<String, Cell>, EvaluateError> {
    let file = &options.file;
    let mut reader = csv::Reader::from_reader(open(file)?);
    let mut discharges: BTreeMap<String, Vec<Discharge>> = BTreeMap::new();
    for row in reader.deserialize() {
        // The error tells line and field.
        let row: Discharge = row.map_err(|error| EvaluateError::form(file, error.to_string()))?;
        if row.capacity_ahr.is_finite() {
            discharges.entry(row.battery_id.clone()).or_default().push(row);
        }
    }
    if discharges.is_empty() {
        let form =
            "empty: rows of battery_id, cycle_number, ambient_temperature, capacity_ahr, mean_current are needed";
        return Err(EvaluateError::form(file, form));
    }
    let cells = discharges.into_iter().map(|(name, mut rows)| {
        rows.sort_by_key(|row| row.cycle_number);
        let cell = Cell {
            capacities: rows.iter().map(|row| row.capacity_ahr).collect(),
            degrees: median(rows.iter().map(|row| row.ambient_temperature).collect()),
            current: median(rows.iter().map(|row| row.mean_current).collect()),
        };
        (name, cell)
    });
    Ok(cells.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(cell: &str, from: u32) -> Option<Options> {
        let root = std::env::var("FOREWARN_DATA").unwrap_or_else(|_| "../shared/data".into());
        let file = PathBuf::from(root).join("battery/cycle_summary.csv");
        if !file.is_file() {
            println!("skipped: no recorded data at {}", file.display());
            return None;
        }
        Some(Options { file, cell: cell.into(), from, seed: 1 })
    }

    /// Cells that lose 4 to 6 mAh a cycle from 1.9 Ah on, with scatter.
    fn made(folder: &std::path::Path) -> PathBuf {
        let mut chance = ChaCha8Rng::seed_from_u64(2);
        let mut text = "battery_id,cycle_number,start_time,ambient_temperature,capacity_ahr,mean_current\n".to_owned();
        for (cell, rate) in [("one", 0.004), ("two", 0.005), ("three", 0.006), ("cold", 0.02)] {
            for cycle in 0..140 {
                let capacity = 1.9 - rate * f64::from(cycle) + chance.random_range(-0.005..0.005);
                let degrees = if cell == "cold" { 4 } else { 24 };
                text += &format!("{cell},{},2008-04-02T15:25:41,{degrees},{capacity},-1.8\n", 2 * cycle + 2);
            }
        }
        let file = folder.join("cycle_summary.csv");
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn true_ends_are_those_of_the_set_and_the_intervals_hold_most_of_them() {
        let mut covered = 0;
        for (cell, truth) in [("B0005", Some(125)), ("B0006", Some(109)), ("B0007", None)] {
            for from in [40, 60, 80, 100] {
                let Some(options) = recorded(cell, from) else { return };
                let report = run(&options).unwrap();
                println!(
                    "{cell} from {from}: {:?} ({:?} to {:?}), true {:?}, learnt from {:?}",
                    report.predicted, report.low, report.high, report.truth, report.peers
                );
                assert_eq!(report.truth, truth);
                assert_eq!(report.censored, truth.is_none());
                covered += u32::from(report.covered);
            }
        }
        // Four in five of 12 are 9.6.
        assert!(covered >= 9, "{covered} of 12");
    }

    #[test]
    fn a_cell_that_fades_like_its_peers_ends_where_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { file: made(folder.path()), cell: "two".into(), from: 50, seed: 1 };
        let report = run(&options).unwrap();
        assert_eq!(report.peers, ["one", "three"], "not the one in the cold");
        assert!(report.error.unwrap().abs() <= 8 && report.covered, "{report:?}");
        assert_eq!(run(&options).unwrap(), report, "the same seed says the same");
    }

    #[test]
    fn what_comes_after_from_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { file: made(folder.path()), cell: "two".into(), from: 50, seed: 1 };
        let before = run(&options).unwrap();
        let text = std::fs::read_to_string(&options.file).unwrap();
        let changed: Vec<String> = text
            .lines()
            .map(|line| {
                let mut fields: Vec<&str> = line.split(',').collect();
                let later = fields[0] == "two" && fields[1].parse::<u32>().unwrap() > 102;
                if later {
                    fields[4] = "1.85";
                }
                fields.join(",")
            })
            .collect();
        std::fs::write(&options.file, changed.join("\n")).unwrap();
        let after = run(&options).unwrap();
        assert_eq!((after.predicted, after.low, after.high), (before.predicted, before.low, before.high));
        assert!(after.censored);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_legal() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { file: made(folder.path()), cell: "two".into(), from: 3, seed: 1 };
        let said = |options: &Options| run(options).unwrap_err().to_string();
        assert!(said(&options).contains("from = 3: cycle 10 to "), "{}", said(&options));
        assert!(said(&Options { from: 139, ..options.clone() }).contains("from = 139: cycle 10 to"));
        assert!(said(&Options { cell: "four".into(), ..options.clone() }).contains("there are cold, one, three, two"));
        std::fs::write(&options.file, "").unwrap();
        assert!(said(&options).contains("empty: rows of battery_id"));
        std::fs::write(&options.file, "battery_id,capacity_ahr\nB1,x\n").unwrap();
        assert!(said(&options).contains("cycle_summary.csv"), "{}", said(&options));
    }
}
