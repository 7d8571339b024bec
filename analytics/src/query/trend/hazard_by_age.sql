with watched as (
    select device_id, profile, installed_at, last_seen,
           extract(epoch from least(last_seen, $until) - installed_at) / 2629800.0 as age_months
    from device where installed_at is not null and least(last_seen, $until) > installed_at
), failure as (
    select w.device_id, min(extract(epoch from coalesce(o.failure_time, o.event_time) - w.installed_at)) / 2629800.0
               as age_months
    from outcome o join watched w on o.device_id = w.device_id
    where o.confirms_fault and coalesce(o.failure_time, o.event_time) > w.installed_at
      and coalesce(o.failure_time, o.event_time) <= least(w.last_seen + interval '30 days', $until)
    group by w.device_id
), life as (
    select w.profile, f.age_months is not null as failed, least(w.age_months, coalesce(f.age_months, w.age_months))
               as age_months
    from watched w left join failure f on f.device_id = w.device_id
), band as (
    select * from (values (0, 1), (1, 3), (3, 6), (6, 12), (12, 24), (24, 36), (36, 60), (60, 120), (120, 240))
        as b (from_month, until_month)
), told as (
    select l.profile, b.from_month, b.until_month, count(*) as devices,
           count(*) filter (where l.failed and l.age_months <= b.until_month) as failures,
           sum(least(l.age_months, b.until_month) - b.from_month) as device_months
    from life l join band b on l.age_months > b.from_month
    group by l.profile, b.from_month, b.until_month
)
select profile, from_month || ' to ' || until_month || ' months' as age, from_month, until_month, devices, failures,
       device_months, 1000 * failures / device_months as per_thousand_device_months,
       1000 * rate_interval(failures, device_months)['lower'] as lower,
       1000 * rate_interval(failures, device_months)['upper'] as upper
from told
