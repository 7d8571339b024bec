with watched as (
    select device_id, profile, coalesce(model, profile) as model, coalesce(firmware, 'unknown') as firmware,
           greatest(first_seen, coalesce(installed_at, first_seen)) as begins, last_seen as ends
    from device
), overlap as (
    select profile, model, firmware,
           greatest(extract(epoch from least(ends, $until) - greatest(begins, $until - interval '7 days')), 0)
               / 604800.0 as recent,
           greatest(extract(epoch from least(ends, $until - interval '7 days')
                                       - greatest(begins, $until - interval '63 days')), 0) / 604800.0 as earlier
    from watched
), exposure as (
    select profile, model, firmware, sum(recent) as recent, sum(earlier) as earlier
    from overlap group by profile, model, firmware
), report as (
    select distinct f.device_id, f.code, floor(extract(epoch from $until - f.event_time) / 604800) as weeks_ago
    from fault f join watched w on w.device_id = f.device_id
    where f.active and f.event_time > $until - interval '63 days' and f.event_time <= $until and f.event_time >= w.begins
      and f.date >= cast($until - interval '63 days' as date)
), counted as (
    select w.profile, w.model, w.firmware, r.code, count(*) filter (where r.weeks_ago < 1) as reports,
           count(*) filter (where r.weeks_ago >= 1) as earlier_reports
    from report r join watched w on w.device_id = r.device_id
    group by w.profile, w.model, w.firmware, r.code
), past as (
    select c.profile, c.code, c.earlier_reports, e.earlier
    from (select profile, code, sum(earlier_reports) as earlier_reports from counted group by profile, code) c
    join (select profile, sum(earlier) as earlier from exposure group by profile) e on e.profile = c.profile
), compared as (
    select c.profile, c.model, c.firmware, c.code, c.reports, e.recent as device_weeks,
           case when e.earlier >= e.recent then 'own' else 'profile' end as baseline,
           case when e.earlier >= e.recent then c.earlier_reports else p.earlier_reports end as earlier_reports,
           case when e.earlier >= e.recent then e.earlier else p.earlier end as earlier_device_weeks
    from counted c
    join exposure e on e.profile = c.profile and e.model = c.model and e.firmware = c.firmware
    join past p on p.profile = c.profile and p.code = c.code
), tested as (
    select *, poisson_test(reports, device_weeks, earlier_reports, earlier_device_weeks) as p_value from compared
), ranked as (
    select *, row_number() over (order by p_value, profile, model, firmware, code) as place, count(*) over () as pairs
    from tested where p_value is not null
), adjusted as (
    select *, least(1.0, min(p_value * pairs / place) over (order by place desc rows unbounded preceding)) as q_value
    from ranked
)
select profile, model, firmware, code, reports, device_weeks, 1000 * reports / device_weeks as per_thousand_device_weeks,
       1000 * rate_interval(reports, device_weeks)['lower'] as lower,
       1000 * rate_interval(reports, device_weeks)['upper'] as upper,
       baseline, cast(earlier_reports as bigint) as earlier_reports, earlier_device_weeks,
       1000 * earlier_reports / earlier_device_weeks as expected_per_thousand_device_weeks,
       p_value, q_value, q_value <= 0.05 as emerging
from adjusted
