//! What each trend asks, how it is defined, and how it is drawn.

use schemas::trend::{Bounds, Column, Trend};

/// A trend with its statement.
#[derive(Debug)]
pub(in crate::query) struct Definition {
    /// What people read.
    pub(in crate::query) trend: Trend,
    /// One SELECT; `$from` and `$until` are its bounds.
    pub(super) sql: &'static str,
    /// The tables that it reads.
    pub(in crate::query) reads: &'static [&'static str],
    /// The order of its rows.
    pub(super) order: &'static str,
    /// Its picture.
    pub(super) drawn: Drawn,
}

/// How a trend is drawn: a bar a row.
#[derive(Debug)]
pub(super) struct Drawn {
    /// Columns whose values name a bar.
    pub(super) names: &'static [&'static str],
    /// The axis: what is counted, in what.
    pub(super) axis: &'static str,
    /// Columns that are bars, with their words in the legend.
    pub(super) bars: &'static [(&'static str, &'static str)],
    /// The column that is a mark beside the bar, with its words.
    pub(super) mark: Option<(&'static str, &'static str)>,
    /// Whether the columns `lower` and `upper` are the limits of the first bar.
    pub(super) limits: bool,
    /// The level where none is asked for.
    pub(super) level: Option<&'static str>,
}

impl Definition {
    /// The bounds of a picture: one level only.
    pub(super) fn pictured(&self, bounds: &Bounds) -> Bounds {
        Bounds { level: bounds.level.or(self.drawn.level), ..bounds.clone() }
    }
}

const fn column(name: &'static str, unit: &'static str, about: &'static str) -> Column {
    Column { name, unit, about }
}

const PROFILE: Column = column("profile", "", "the kind of device");
const LEVEL: Column = column("level", "", "by what the row is told");
const NAME: Column = column("name", "", "which model, firmware and so on; unknown where nobody told it");
const LOWER: Column = column("lower", "as the value", "lower 95 % limit");
const UPPER: Column = column("upper", "as the value", "upper 95 % limit");

const WATCH: &str = "failures and exposure from then on";
const UP_TO: &str = "failures and exposure up to then";

/// Every trend.
pub(super) static DEFINITIONS: [Definition; 8] = [
    Definition {
        trend: Trend {
            name: "failure_rate",
            title: "Failures per thousand device-months",
            question: "Which models, firmwares, batches, components or regions fail more often than others?",
            definition: "A failure is an outcome that confirms a fault, at failure_time, else at event_time, if the \
                         device was under watch then or was last heard of within 30 days before. Watch is from \
                         installed_at (first_seen where nobody told it) to last_seen, in months of 30.4375 days. \
                         Devices are repaired and go on, so a device may fail twice. A device counts under the \
                         firmware that it has now. A component's exposure is that of all devices of its profile; \
                         components without a failure have no row.",
            source: "Exact limits of a Poisson rate: F. Garwood, Biometrika 28 (1936).",
            columns: &[
                PROFILE,
                LEVEL,
                NAME,
                column("devices", "devices", "devices under watch"),
                column("failures", "failures", "failures under watch"),
                column("device_months", "device-months", "exposure"),
                column("per_thousand_device_months", "1/(1000 device-months)", "failures by exposure"),
                LOWER,
                UPPER,
            ],
            levels: &["model", "firmware", "batch", "component", "region"],
            by_profile: true,
            from: Some(WATCH),
            until: Some(UP_TO),
        },
        sql: include_str!("failure_rate.sql"),
        reads: &["device", "outcome"],
        order: "level, per_thousand_device_months desc, profile, name",
        drawn: Drawn {
            names: &["profile", "name"],
            axis: "failures per 1000 device-months, 95 % limits",
            bars: &[("per_thousand_device_months", "failures per 1000 device-months")],
            mark: None,
            limits: true,
            level: Some("model"),
        },
    },
    Definition {
        trend: Trend {
            name: "hazard_by_age",
            title: "Hazard by age",
            question: "How often do devices of an age fail for the first time, and does it fall or rise with age?",
            definition: "For each band of age: first failures of devices in it, by the time that devices without a \
                         failure spent in it (piecewise constant hazard). Age counts from installed_at; devices \
                         whose installation nobody told are left out. A band takes in its end, not its beginning.",
            source: "Occurrence-exposure rates: Meeker and Escobar, Statistical Methods for Reliability Data (1998); \
                     limits: F. Garwood, Biometrika 28 (1936).",
            columns: &[
                PROFILE,
                column("age", "", "the band in words"),
                column("from_month", "months", "the band's beginning"),
                column("until_month", "months", "the band's end"),
                column("devices", "devices", "devices that reached the band without a failure"),
                column("failures", "failures", "first failures in the band"),
                column("device_months", "device-months", "time without a failure in the band"),
                column("per_thousand_device_months", "1/(1000 device-months)", "first failures by exposure"),
                LOWER,
                UPPER,
            ],
            levels: &[],
            by_profile: true,
            from: None,
            until: Some(UP_TO),
        },
        sql: include_str!("hazard_by_age.sql"),
        reads: &["device", "outcome"],
        order: "profile, from_month",
        drawn: Drawn {
            names: &["profile", "age"],
            axis: "first failures per 1000 device-months, 95 % limits",
            bars: &[("per_thousand_device_months", "first failures per 1000 device-months")],
            mark: None,
            limits: true,
            level: None,
        },
    },
    Definition {
        trend: Trend {
            name: "infant_mortality",
            title: "Infant mortality",
            question: "What share of a model or batch fails within 90 days of its installation?",
            definition: "Of devices installed at least 90 days ago, the share with an outcome that confirms a fault \
                         within 90 days of installed_at. Devices that fell silent before 90 days without a failure \
                         cannot tell and are left out.",
            source: "Wilson's limits of a share: E. B. Wilson, JASA 22 (1927).",
            columns: &[
                PROFILE,
                LEVEL,
                NAME,
                column("devices", "devices", "devices that can tell"),
                column("failed", "devices", "of them, failed within 90 days"),
                column("share", "1", "failed by devices"),
                LOWER,
                UPPER,
            ],
            levels: &["model", "batch"],
            by_profile: true,
            from: Some("devices installed from then on"),
            until: Some("devices 90 days old by then"),
        },
        sql: include_str!("infant_mortality.sql"),
        reads: &["device", "outcome"],
        order: "level, share desc, profile, name",
        drawn: Drawn {
            names: &["profile", "name"],
            axis: "share failed within 90 days of installation, 95 % limits",
            bars: &[("share", "share failed within 90 days")],
            mark: None,
            limits: true,
            level: Some("model"),
        },
    },
    Definition {
        trend: Trend {
            name: "emerging_defect",
            title: "Emerging defects",
            question: "Which fault codes does a model with a firmware report more often this week than before?",
            definition: "Reports are devices that report a code in the last 7 days, each once; before are the same \
                         devices' reports of the 8 weeks before, each device once a week. Exposure is time under \
                         watch (from first_seen to last_seen), in weeks; reports from before it do not count. Where a model with a firmware has less exposure before than now, its \
                         whole profile's past is the baseline. p_value is the chance of so many reports or more if \
                         the rate had not changed (one-sided conditional Poisson test); q_value holds the share of \
                         false discoveries over all rows (Benjamini and Hochberg); emerging is q_value of at most \
                         0.05. A device counts under the firmware that it has now, also in its past: a firmware that \
                         brings a defect is compared with what ran before it on the same devices.",
            source: "Przyborowski and Wilenski, Biometrika 31 (1940); Benjamini and Hochberg, JRSS B 57 (1995).",
            columns: &[
                PROFILE,
                column("model", "", "the model"),
                column("firmware", "", "the firmware that its devices have now"),
                column("code", "", "the fault code"),
                column("reports", "devices", "devices that report it this week"),
                column("device_weeks", "device-weeks", "exposure this week"),
                column("per_thousand_device_weeks", "1/(1000 device-weeks)", "reports by exposure"),
                LOWER,
                UPPER,
                column("baseline", "", "own: its own 8 weeks before; profile: those of its profile"),
                column("earlier_reports", "devices times weeks", "reports in the baseline"),
                column("earlier_device_weeks", "device-weeks", "exposure of the baseline"),
                column("expected_per_thousand_device_weeks", "1/(1000 device-weeks)", "the baseline's rate"),
                column("p_value", "1", "chance of so many or more under the baseline's rate"),
                column("q_value", "1", "p_value with control of false discoveries"),
                column("emerging", "", "whether q_value is at most 0.05"),
            ],
            levels: &[],
            by_profile: true,
            from: None,
            until: Some("the week that ends then, against the eight before"),
        },
        sql: include_str!("emerging_defect.sql"),
        reads: &["device", "fault"],
        order: "q_value, p_value, profile, model, firmware, code",
        drawn: Drawn {
            names: &["model", "firmware", "code"],
            axis: "devices reporting per 1000 device-weeks, 95 % limits",
            bars: &[("per_thousand_device_weeks", "this week")],
            mark: Some(("expected_per_thousand_device_weeks", "expected from before")),
            limits: true,
            level: None,
        },
    },
    Definition {
        trend: Trend {
            name: "no_fault_found",
            title: "No fault found",
            question: "How often is somebody sent for nothing?",
            definition: "Of the outcomes that decide whether there was a fault, the share of no_fault_found and \
                         false_alarm. Outcomes that cannot tell (not_reproducible, duplicate, scheduled_replacement \
                         and the like) are in neither number.",
            source: "Wilson's limits of a share: E. B. Wilson, JASA 22 (1927).",
            columns: &[
                PROFILE,
                LEVEL,
                NAME,
                column("outcomes", "outcomes", "outcomes that decide"),
                column("no_fault_found", "outcomes", "of them, without a fault"),
                column("share", "1", "without a fault by all"),
                LOWER,
                UPPER,
            ],
            levels: &["profile", "model", "component"],
            by_profile: true,
            from: Some("outcomes from then on"),
            until: Some("outcomes up to then"),
        },
        sql: include_str!("no_fault_found.sql"),
        reads: &["device", "outcome"],
        order: "level, share desc, profile, name",
        drawn: Drawn {
            names: &["profile", "name"],
            axis: "share of outcomes without a fault, 95 % limits",
            bars: &[("share", "share without a fault")],
            mark: None,
            limits: true,
            level: Some("component"),
        },
    },
    Definition {
        trend: Trend {
            name: "fault_pareto",
            title: "Pareto of fault codes",
            question: "Which few codes make most of the reports?",
            definition: "Reports of a code becoming active, with its share of the profile's reports and the share of \
                         all codes down to it.",
            source: "Juran, Quality Control Handbook (1951).",
            columns: &[
                PROFILE,
                column("code", "", "the fault code"),
                column("faults", "reports", "reports of the code becoming active"),
                column("devices", "devices", "devices that reported it"),
                column("share", "1", "of the profile's reports"),
                column("cumulative_share", "1", "of this code and those before it"),
            ],
            levels: &[],
            by_profile: true,
            from: Some("reports from then on"),
            until: Some("reports up to then"),
        },
        sql: include_str!("fault_pareto.sql"),
        reads: &["fault"],
        order: "profile, faults desc, code",
        drawn: Drawn {
            names: &["profile", "code"],
            axis: "share of the profile's reports",
            bars: &[("share", "share of reports")],
            mark: Some(("cumulative_share", "share down to here")),
            limits: false,
            level: None,
        },
    },
    Definition {
        trend: Trend {
            name: "fleet_health",
            title: "Fleet health now",
            question: "How is each kind of device at this moment?",
            definition: "Devices heard of within a day (last_seen is kept to the hour), silent ones, devices with an \
                         open ticket, and open tickets: all that are not rejected, cancelled or closed.",
            source: "Counts.",
            columns: &[
                PROFILE,
                column("devices", "devices", "all devices"),
                column("heard_today", "devices", "heard of within a day"),
                column("silent", "devices", "not heard of within a day"),
                column("troubled", "devices", "with an open ticket"),
                column("open_tickets", "tickets", "open tickets"),
                column("critical_tickets", "tickets", "open tickets that are critical"),
            ],
            levels: &[],
            by_profile: true,
            from: None,
            until: None,
        },
        sql: include_str!("fleet_health.sql"),
        reads: &["device", "ticket"],
        order: "profile",
        drawn: Drawn {
            names: &["profile"],
            axis: "devices",
            bars: &[("heard_today", "heard today"), ("silent", "silent"), ("troubled", "with an open ticket")],
            mark: None,
            limits: false,
            level: None,
        },
    },
    Definition {
        trend: Trend {
            name: "time_between_faults",
            title: "Mean time between faults",
            question: "How long does a device run from one fault code to the next?",
            definition: "Time under watch (first_seen to last_seen) by faults begun. A fault begins where a device \
                         reports a code as active and has not done so for a day. Of a code: time of all devices of \
                         the profile by faults with that code; codes without a report have no row. Without a fault \
                         only the lower limit is known.",
            source: "Mean operating time between failures: IEC 60050-192:2015; limits from those of the rate: \
                     F. Garwood, Biometrika 28 (1936).",
            columns: &[
                PROFILE,
                LEVEL,
                NAME,
                column("devices", "devices", "devices under watch"),
                column("faults", "faults", "faults begun"),
                column("device_days", "device-days", "time under watch"),
                column("mean_days", "days", "time by faults; null without a fault"),
                LOWER,
                UPPER,
            ],
            levels: &["profile", "model", "firmware", "code"],
            by_profile: true,
            from: Some("faults and time from then on"),
            until: Some("faults and time up to then"),
        },
        sql: include_str!("time_between_faults.sql"),
        reads: &["device", "fault"],
        order: "level, mean_days nulls last, profile, name",
        drawn: Drawn {
            names: &["profile", "name"],
            axis: "mean time between faults in days, 95 % limits",
            bars: &[("mean_days", "days")],
            mark: None,
            limits: true,
            level: Some("model"),
        },
    },
];
