//! Which version is in force: the rule (pure).
//!
//! In: the figures of a new version and of the champion on the same later landmarks. Out: where the new one stands, and
//! why. Promise: no version comes into force unless what its settings learnt to the cut was better, on data after the cut,
//! than what is in force: the champion, or where there is none, telling everybody the same rate.

use super::{Settings, model::Figures, registry::Standing};

/// Where there is no champion, average precision must be this many times the share of positives: otherwise rules, which
/// see the same thresholds, serve better.
const LIFT: f64 = 3.0;
/// A probability that is off by more than this on average, beyond what chance gives to right ones, is no probability; the
/// bound that issue 5 asks for. Without the part of chance, 75 devices judged for two weeks would be refused or not by
/// luck: right probabilities are off by about 0.04 there.
const MAX_CALIBRATION_ERROR: f64 = 0.05;

/// What the rule says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Where it stands from now on.
    pub standing: Standing,
    /// Why, in numbers.
    pub reason: String,
}

fn candidate(reason: String) -> Verdict {
    Verdict { standing: Standing::Candidate, reason }
}

/// Judges a new version. A champion is asked for the same landmarks; none where there is no champion.
pub fn judge(new: Option<&Figures>, champion: Option<&Figures>, settings: &Settings) -> Verdict {
    let Some(new) = new else { return candidate("no landmark after its cut has a known horizon yet".into()) };
    if new.failures < settings.min_later_failures {
        return candidate(format!(
            "{} failures after its cut: {} are needed to judge it (prognosis.min_later_failures)",
            new.failures, settings.min_later_failures
        ));
    }
    let (Some(brier), Some(of_rate), Some(precision), Some(error)) =
        (new.brier, new.brier_of_rate, new.average_precision, new.calibration_error)
    else {
        return candidate("its figures are not defined on the later data".into());
    };
    let chance = new.calibration_error_by_chance.unwrap_or(0.0);
    if error > MAX_CALIBRATION_ERROR + chance {
        return candidate(format!(
            "calibration error {error:.3}: at most {MAX_CALIBRATION_ERROR} more than the {chance:.3} of chance"
        ));
    }
    let Some(champion) = champion else {
        let share = new.positives as f64 / new.rows.max(1) as f64;
        if brier >= of_rate || precision < LIFT * share {
            let never = match LIFT * share > 1.0 {
                true => {
                    ", and none can be: so many fail within this horizon; a shorter `horizon` of the component tells more"
                }
                false => "",
            };
            return candidate(format!(
                "Brier {brier:.4} against {of_rate:.4} of the plain rate, average precision {precision:.3} at {share:.4} \
                 positives: not better than rules{never}"
            ));
        }
        let reason = format!("no champion; Brier {brier:.4} against {of_rate:.4}, average precision {precision:.3}");
        return Verdict { standing: Standing::Champion, reason };
    };
    let (their_brier, their_precision) =
        (champion.brier.unwrap_or(f64::INFINITY), champion.average_precision.unwrap_or(0.0));
    let figures = format!(
        "Brier {brier:.4} against the champion's {their_brier:.4}, average precision {precision:.3} against \
         {their_precision:.3}, on {} landmarks with {} failures",
        new.rows, new.failures
    );
    match brier < their_brier || precision > their_precision {
        true => Verdict { standing: Standing::Challenger, reason: figures },
        false => candidate(figures),
    }
}

/// A version that would challenge while another one still waits for its word does not: training comes round sooner than a
/// horizon is over, and each newcomer would begin the wait anew.
pub fn after(verdict: Verdict, waits: Option<&str>) -> Verdict {
    match (verdict.standing, waits) {
        (Standing::Challenger, Some(waits)) => candidate(format!("{}; {waits} is in the shadow first", verdict.reason)),
        _ => verdict,
    }
}

/// Judges a challenger and the champion on landmarks that came after both were learnt.
pub fn confirm(challenger: &Figures, champion: &Figures, settings: &Settings) -> Option<Verdict> {
    if challenger.failures < settings.min_later_failures {
        return None;
    }
    let (brier, their_brier) = (challenger.brier?, champion.brier?);
    let (precision, their_precision) = (challenger.average_precision?, champion.average_precision?);
    let reason = format!(
        "in the shadow, on {} landmarks with {} failures: Brier {brier:.4} against the champion's {their_brier:.4}, average \
         precision {precision:.3} against {their_precision:.3}",
        challenger.rows, challenger.failures
    );
    match (brier < their_brier, precision > their_precision) {
        (true, true) => Some(Verdict { standing: Standing::Champion, reason }),
        (false, false) => Some(candidate(reason)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(failures: u64, brier: f64, precision: f64, error: f64) -> Figures {
        let at = schemas::time::Instant::EPOCH;
        Figures {
            from: at,
            to: at,
            rows: 1000,
            positives: 20,
            failures,
            auroc: Some(0.9),
            average_precision: Some(precision),
            brier: Some(brier),
            brier_of_rate: Some(0.02),
            calibration_error: Some(error),
            calibration_error_by_chance: Some(0.03),
        }
    }

    #[test]
    fn a_version_stands_where_its_figures_put_it() {
        let settings = Settings::default();
        let champion = figures(9, 0.010, 0.6, 0.01);
        for (new, champion, standing, said) in [
            (None, None, Standing::Candidate, "no landmark"),
            (Some(figures(1, 0.001, 0.9, 0.01)), None, Standing::Candidate, "1 failures after its cut"),
            (Some(figures(9, 0.001, 0.9, 0.10)), None, Standing::Candidate, "calibration error 0.100"),
            (Some(figures(9, 0.010, 0.6, 0.07)), None, Standing::Champion, "no champion"),
            (Some(figures(9, 0.030, 0.9, 0.01)), None, Standing::Candidate, "not better than rules"),
            (Some(figures(9, 0.010, 0.02, 0.01)), None, Standing::Candidate, "not better than rules"),
            (Some(figures(9, 0.010, 0.6, 0.01)), None, Standing::Champion, "no champion"),
            (
                Some(figures(9, 0.009, 0.7, 0.01)),
                Some(&champion),
                Standing::Challenger,
                "0.0090 against the champion's",
            ),
            (Some(figures(9, 0.011, 0.7, 0.01)), Some(&champion), Standing::Challenger, "0.700 against 0.600"),
            (Some(figures(9, 0.011, 0.5, 0.01)), Some(&champion), Standing::Candidate, "0.500 against 0.600"),
        ] {
            let verdict = judge(new.as_ref(), champion, &settings);
            assert_eq!(verdict.standing, standing, "{}", verdict.reason);
            assert!(verdict.reason.contains(said), "{said}: {}", verdict.reason);
            assert!(!verdict.reason.contains("a shorter `horizon`"), "{}", verdict.reason);
        }
    }

    #[test]
    fn where_most_devices_fail_within_the_horizon_the_reason_is_the_horizon() {
        let many = Figures { positives: 340, brier_of_rate: Some(0.22), ..figures(9, 0.1, 0.95, 0.01) };
        let verdict = judge(Some(&many), None, &Settings::default());
        assert_eq!(verdict.standing, Standing::Candidate);
        assert!(verdict.reason.contains("a shorter `horizon` of the component"), "{}", verdict.reason);
    }

    #[test]
    fn one_challenger_at_a_time_until_it_has_its_word() {
        let verdict = |standing| Verdict { standing, reason: "better".into() };
        for (standing, waits, stands, said) in [
            (Standing::Challenger, None, Standing::Challenger, "better"),
            (Standing::Challenger, Some("v2"), Standing::Candidate, "better; v2 is in the shadow first"),
            (Standing::Champion, Some("v2"), Standing::Champion, "better"),
            (Standing::Candidate, Some("v2"), Standing::Candidate, "better"),
        ] {
            let told = after(verdict(standing), waits);
            assert_eq!((told.standing, told.reason.as_str()), (stands, said));
        }
    }

    #[test]
    fn a_challenger_comes_into_force_when_it_is_better_in_both_on_new_data() {
        let settings = Settings::default();
        let champion = figures(9, 0.010, 0.6, 0.01);
        let confirm = |challenger: &Figures| confirm(challenger, &champion, &settings).map(|it| it.standing);
        assert_eq!(confirm(&figures(9, 0.009, 0.7, 0.01)), Some(Standing::Champion));
        assert_eq!(confirm(&figures(9, 0.009, 0.5, 0.01)), None, "it stays in the shadow");
        assert_eq!(confirm(&figures(9, 0.011, 0.5, 0.01)), Some(Standing::Candidate));
        assert_eq!(confirm(&figures(1, 0.001, 0.9, 0.01)), None, "too little to tell");
    }
}
