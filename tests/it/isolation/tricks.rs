//! What an analyst may try to see rows of another tenant.

/// What an analyst of acme may try.
pub(super) fn tricks() -> Vec<String> {
    let mut tricks: Vec<String> = [
        "select * from fault",
        "select * from forewarn.public.fault where tenant <> 'acme' or true",
        "select * from fault where tenant = 'globex'",
        "select count(*), min(tenant), max(tenant), max(code), min(device_id), max(device_id) from fault",
        "select max(drum_speed_rpm), count(*) from telemetry_washing_machine",
        "select count(*) from telemetry_washing_machine where drum_speed_rpm > 1300",
        "select tenant, count(*) from fault group by tenant",
        "select b.* from fault a join fault b on a.tenant <> b.tenant",
        "select b.* from device a join device b on a.tenant <> b.tenant or true",
        "select a.device_id, t.ticket_id, t.part_replaced from ticket t full outer join device a on t.device_id = a.device_id",
        "select o.*, d.* from outcome o full outer join device d on o.device_id <> d.device_id",
        "select f.*, d.* from fault f right join device d on d.device_id = f.device_id",
        "select * from fault f where exists (select 1 from device d where d.tenant <> f.tenant)",
        "select f.code, l.code from fault f, lateral (select code from fault g where g.device_id <> f.device_id) l",
        "with recursive r as (select code from fault union all select r.code from r join fault on false) select * from r",
        "with device as (select * from public.device) select * from device",
        "select code from fault union select part_replaced from outcome union select model from device",
        "select lag(code) over (order by device_id), first_value(tenant) over (order by tenant desc) from fault",
        "select array_agg(code), string_agg(device_id, ',') from fault",
        "select top_k(code, 100), approx_distinct(code) from fault",
        "select extra, map_keys(extra), map_values(extra) from telemetry_washing_machine",
        "select freeze from fault order by tenant desc limit 5",
        "select cast(code as int) from fault",
        "select * from fault where cast(code as int) = 1",
        "select * from fault where cast(freeze as int) = 1",
        "select cast(model as int) from device",
        "select * from device where cast(firmware as double) > 1",
        "select * from telemetry_washing_machine where 1 / (drum_speed_rpm::int - 717) = 1",
        "select 1 / (case when tenant = 'acme' then 0 else 1 end) from fault",
        "select sum(1 / (case when code like 'ACME%' or code = 'E57' then 1 else 0 end)) from fault",
        "select arrow_cast(part_replaced, 'Int64') from outcome",
        "select weibull_fit(drum_speed_rpm, true), kaplan_meier(drum_speed_rpm, true) from telemetry_washing_machine",
        "select histogram(drum_speed_rpm, 700, 1400, 7) from telemetry_washing_machine",
        "select * from generate_series(1, 3) g, device d, ticket t, outcome o limit 100",
        "explain select * from fault where code = 'E57'",
        "explain select count(*), max(code), min(device_id) from fault",
        "explain select * from trend_failure_rate",
        "explain analyze select * from fault",
        "explain verbose select * from device",
        "explain (analyze, format json) select * from fault",
        "show tables",
        "show columns from device",
        "show all",
        "describe ticket",
        "select * from information_schema.tables",
        "select * from information_schema.columns",
        "select * from information_schema.views",
        "select * from information_schema.schemata",
        "select * from information_schema.routines",
        "select * from information_schema.parameters",
        "select * from information_schema.df_settings",
        "select * from acme.fault",
        "select * from devic",
        "select modl from device",
        "select * from '/etc/passwd'",
        "select * from read_parquet('lake/fault/*.parquet')",
        "select * from fault where tenant = ''' or ''1''=''1'",
        "copy fault to '/tmp/stolen.csv'",
        "select * from alarm",
        "select * from advisory",
        "select * from ledger",
        "select * from dead_letter",
        "select * from status",
    ]
    .map(str::to_owned)
    .to_vec();
    for view in VIEWS {
        tricks.push(format!("select * from {view}"));
        tricks.push(format!("select a.*, b.* from {view} a join {view} b on a.profile <> b.profile or true"));
        tricks.push(format!("select v.*, d.* from {view} v full outer join device d on v.profile <> d.profile"));
    }
    tricks
}

/// The views of failure trends.
pub(super) const VIEWS: [&str; 8] = [
    "trend_failure_rate",
    "trend_hazard_by_age",
    "trend_infant_mortality",
    "trend_emerging_defect",
    "trend_no_fault_found",
    "trend_fault_pareto",
    "trend_fleet_health",
    "trend_time_between_faults",
];
