//! The detector of one metric of one device: six questions, one score.
//!
//! In: event time and value, row by row. Out: a [`Score`]. Promise: only what came before a row and the row itself decide
//! its score; the state is bounded (about 14 KiB) and written and read back mid-stream changes nothing; one set of
//! constants for every stream. Never: a label, a stream's length, a look at the next row.
//!
//! Each question gives a statistic; how rare it is in this stream's own past is its p ([`Tail`]), so a stream brings its own
//! scale. The evidence of a row is mostly the largest -ln p and a little the mean, because an anomaly that shows in several
//! ways is less often chance. What evidence is how rare on streams without anomalies was measured once
//! ([`Score::false_alarm_rate`]) and is the score's scale. A row scores in full when it is the most surprising of the last
//! [`REST_ROWS`]: what has been said is not said again unless it gets worse.

use serde::{Deserialize, Serialize};

use super::{ewma::Ewma, residual::Residual, robust::RobustZ, season::Season, tail::Tail};

/// Rows "usual" stands on: two weeks at five minutes, so that a week's rhythm and an anomaly of a day do not become usual
/// at once.
const USUAL_ROWS: f64 = 4000.0;
/// Rows a p is taken over: ten days at five minutes.
const TAIL_ROWS: f64 = 3000.0;
/// Rows of the level that follows: a day at five minutes.
const LEVEL_ROWS: f64 = 300.0;
/// Rows of the fast mean among the features: an hour at five minutes.
const FAST_ROWS: f64 = 12.0;
/// Rows of the two means of seasonal residuals: half an hour and four hours at five minutes.
const SEASONAL_ROWS: [f64; 2] = [6.0, 48.0];
/// A seasonal residual counts as at most this many usual ones in those means.
const SEASONAL_CLIP: f64 = 10.0;
/// Rows of the mean step that tells a stream that trembles or has gone flat: two hours at five minutes.
const SPREAD_ROWS: f64 = 24.0;
/// Least step, in spreads: below it a stream is flat.
const LEAST_STEP: f64 = 1e-3;
/// Features are cut off here, so that a wild value does not make the forecast wild.
const FEATURE_CLIP: f64 = 20.0;
/// Weight of the mean over the questions, the rest is the largest. Halved or doubled changes little: docs/foresight.md.
const AGREEMENT: f64 = 0.25;
/// Rows at the start in which nothing is said: there is no usual yet.
const WARM_UP_ROWS: u64 = 12;
/// A pause longer than so many usual ones is a gap: the forecast from the row before it is old.
const GAP: f64 = 3.0;
/// Rows in which only something more surprising scores in full: half a day at five minutes.
pub const REST_ROWS: u64 = 100;
/// Share of its evidence that a row keeps in those.
const REST_SHARE: f64 = 0.3;
/// Share of rows at which the detector alarms unless told otherwise: one row in 2000, a week of five-minute rows. Chosen on
/// synthetic streams: one in 1000 costs six points there.
pub const ALARM_RATE: f64 = 5e-4;
/// Calibration: on streams without anomalies a row's evidence exceeds e with the probability exp(OFFSET - SLOPE e). The line
/// goes through the middle of the evidence that one row in 100 and one in 1000 reach on the eight noises of `tests.rs`
/// (5.4 and 6.6). It is measured because the questions overlap; were they one, it would be exp(-e).
const RATE: Line = Line { offset: 5.76, slope: 1.92 };
/// The score is -log10 of the false-alarm rate, in this many decades: 0.3 is one row in 1000.
const DECADES: f64 = 10.0;
/// Beyond it a number is no reading.
const LARGEST: f64 = 1e100;

struct Line {
    offset: f64,
    slope: f64,
}

/// What is asked of every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Is it far from the forecast out of the rows before and the season?
    Jump,
    /// Has it been off the season for half an hour?
    Season,
    /// Has it been off the season for hours?
    SeasonLong,
    /// Is the value far from all that is usual?
    Range,
    /// Do the steps from row to row differ from the usual ones: trembling, or flat?
    Spread,
    /// Has the level moved?
    Shift,
}

/// All of them, in the order of [`Score::evidence_by`].
pub const QUESTIONS: [Question; 6] =
    [Question::Jump, Question::Season, Question::SeasonLong, Question::Range, Question::Spread, Question::Shift];

/// What the detector says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 to 1, the one number to set a threshold on: -log10 of the false-alarm rate in ten decades.
    pub score: f64,
    /// Share of rows of a stream without anomalies that surprise at least as much; what was said before does not lessen it.
    pub false_alarm_rate: f64,
    /// -ln p of each question.
    pub evidence_by: [f64; QUESTIONS.len()],
}

impl Score {
    /// Nothing to say.
    const NONE: Self = Self { score: 0.0, false_alarm_rate: 1.0, evidence_by: [0.0; QUESTIONS.len()] };

    fn of(evidence: f64, at_rest: bool, evidence_by: [f64; QUESTIONS.len()]) -> Self {
        let rate = |evidence: f64| (RATE.offset - RATE.slope * evidence).exp().min(1.0);
        let said = if at_rest { REST_SHARE * evidence } else { evidence };
        Self { score: score_at(rate(said)), false_alarm_rate: rate(evidence), evidence_by }
    }

    /// The question whose answer surprised most.
    pub fn loudest(&self) -> Question {
        let loudest = QUESTIONS.iter().zip(self.evidence_by).max_by(|one, other| one.1.total_cmp(&other.1));
        loudest.map_or(Question::Jump, |(question, _)| *question)
    }
}

/// The score that a share of `false_alarm_rate` of the rows of a stream without anomalies reaches.
pub fn score_at(false_alarm_rate: f64) -> f64 {
    (-false_alarm_rate.log10() / DECADES).clamp(0.0, 1.0)
}

/// State of one metric of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    rows: u64,
    last: Option<Last>,
    pause_ms: Ewma,
    usual: RobustZ,
    level: Ewma,
    fast: Ewma,
    season: Season,
    jump: Residual,
    off_season: Residual,
    seasonal: [Ewma; 2],
    step: Ewma,
    usual_step: Ewma,
    tails: [Tail; QUESTIONS.len()],
    /// Row and evidence of those that no later row has exceeded within the rest, falling.
    peaks: Vec<(u64, f64)>,
}

/// The row before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Last {
    at_ms: i64,
    value: f64,
    before: f64,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            rows: 0,
            last: None,
            pause_ms: Ewma::new(500.0),
            usual: RobustZ::new(USUAL_ROWS),
            level: Ewma::new(LEVEL_ROWS),
            fast: Ewma::new(FAST_ROWS),
            season: Season::default(),
            jump: Residual::new(7, USUAL_ROWS),
            off_season: Residual::new(5, USUAL_ROWS),
            seasonal: SEASONAL_ROWS.map(Ewma::new),
            step: Ewma::new(SPREAD_ROWS),
            usual_step: Ewma::new(USUAL_ROWS),
            tails: std::array::from_fn(|_| Tail::new(TAIL_ROWS)),
            peaks: Vec::new(),
        }
    }
}

impl Detector {
    /// Scores a row and learns from it. A value that is no number says nothing and teaches nothing.
    pub fn score(&mut self, at_ms: i64, value: f64) -> Score {
        if value.is_nan() || value.abs() > LARGEST {
            return Score::NONE;
        }
        let statistics = self.statistics(at_ms, value);
        self.rows += 1;
        let mut evidence_by = [0.0; QUESTIONS.len()];
        for ((tail, statistic), evidence) in self.tails.iter_mut().zip(statistics).zip(&mut evidence_by) {
            if self.rows > WARM_UP_ROWS {
                *evidence = tail.evidence(statistic);
            }
            tail.add(statistic);
        }
        let largest = evidence_by.iter().copied().fold(0.0, f64::max);
        let mean = evidence_by.iter().sum::<f64>() / QUESTIONS.len() as f64;
        // The mean of six counts twice: of independent -ln p the largest is about 2.45 on average, the mean is 1.
        let evidence = (1.0 - AGREEMENT) * largest + AGREEMENT * 2.0 * mean;
        Score::of(evidence, self.at_rest(evidence), evidence_by)
    }

    /// Whether a row within the rest before this one was at least as surprising.
    fn at_rest(&mut self, evidence: f64) -> bool {
        let row = self.rows;
        self.peaks.retain(|(peak, _)| row - peak <= REST_ROWS);
        let at_rest = self.peaks.first().is_some_and(|(_, peak)| *peak >= evidence);
        while self.peaks.last().is_some_and(|(_, peak)| *peak <= evidence) {
            self.peaks.pop();
        }
        self.peaks.push((row, evidence));
        at_rest
    }

    /// The answers, each of the order of 1; the state has moved on afterwards.
    fn statistics(&mut self, at_ms: i64, value: f64) -> [f64; QUESTIONS.len()] {
        let first = self.last.is_none();
        let last = self.last.unwrap_or(Last { at_ms, value, before: value });
        if first {
            self.level.add(value);
            self.fast.add(value);
        }
        let (location, spread) =
            if first { (value, 1e-12 + 1e-6 * value.abs()) } else { (self.usual.location(), self.usual.spread()) };
        let z = |value: f64| ((value - location) / spread).clamp(-FEATURE_CLIP, FEATURE_CLIP);
        let level = self.level.mean();
        let [day, week, weekday] = self.season.usual(at_ms).map(|usual| z(usual.unwrap_or(level)));
        let near = [1.0, z(last.value), z(last.before), z(self.fast.mean()), day, week, weekday];
        let far = [1.0, z(level), day, week, weekday];

        let jump = self.jump.of(&near, z(value));
        let off_season = self.off_season.of(&far, z(value));
        let most = SEASONAL_CLIP * self.off_season.usual();
        self.seasonal.iter_mut().for_each(|mean| mean.add(off_season.clamp(-most, most)));
        let step = (value - last.value).abs();
        self.step.add(step);
        let least_step = LEAST_STEP * spread;
        self.fast.add(value);
        self.level.add(self.usual.clip(value));
        let answers = [
            jump.abs() / self.jump.usual() / self.stale(at_ms, &last),
            self.seasonal[0].mean().abs() / self.off_season.usual(),
            self.seasonal[1].mean().abs() / self.off_season.usual(),
            ((value - location) / spread).abs(),
            ((self.step.mean() + least_step) / (self.usual_step.mean() + least_step)).ln().abs(),
            ((self.level.mean() - location) / spread).abs(),
        ];

        if !first {
            self.jump.learn(&near, jump);
            self.off_season.learn(&far, off_season);
            let most = if self.usual_step.count() < 100.0 { LARGEST } else { 10.0 * self.usual_step.mean().max(1e-9) };
            self.usual_step.add(step.min(most));
        }
        self.season.add(at_ms, self.usual.clip(value));
        self.usual.add(value);
        self.last = Some(Last { at_ms, value, before: last.value });
        answers
    }

    /// By how much an error after a pause is more usual than one from row to row: the root of the rows that are missing, as
    /// in a random walk, 10 at most.
    fn stale(&mut self, at_ms: i64, last: &Last) -> f64 {
        let pause = at_ms.saturating_sub(last.at_ms).max(0) as f64;
        let usual = self.pause_ms.mean();
        self.pause_ms.add(if self.pause_ms.count() > 20.0 { pause.min(4.0 * usual) } else { pause });
        let missing = pause / self.pause_ms.mean().max(1.0);
        if missing > GAP { missing.sqrt().min(10.0) } else { 1.0 }
    }
}
