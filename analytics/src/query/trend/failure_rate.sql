with watched as (
    select device_id, profile, coalesce(model, profile) as model, coalesce(firmware, 'unknown') as firmware,
           coalesce(batch, 'unknown') as batch, coalesce(region, 'unknown') as region, last_seen,
           greatest(coalesce(installed_at, first_seen), $from) as begins, least(last_seen, $until) as ends
    from device
), exposure as (
    select *, extract(epoch from ends - begins) / 2629800.0 as device_months from watched where ends > begins
), failure as (
    select e.device_id, split_part(o.fault_key, '/', 1) as component, count(distinct o.outcome_id) as failures
    from outcome o join exposure e on o.device_id = e.device_id
    where o.confirms_fault and coalesce(o.failure_time, o.event_time) >= e.begins
      and coalesce(o.failure_time, o.event_time) <= least(e.last_seen + interval '30 days', $until)
    group by e.device_id, split_part(o.fault_key, '/', 1)
), of_device as (
    select device_id, sum(failures) as failures from failure group by device_id
), told as (
    select e.profile, l.level,
           case l.level when 'model' then e.model when 'firmware' then e.firmware when 'batch' then e.batch
                        else e.region end as name,
           count(*) as devices, sum(coalesce(f.failures, 0)) as failures, sum(e.device_months) as device_months
    from exposure e left join of_device f on f.device_id = e.device_id
    cross join (values ('model'), ('firmware'), ('batch'), ('region')) as l (level)
    group by 1, 2, 3
    union all
    select p.profile, 'component' as level, c.component as name, p.devices, c.failures, p.device_months
    from (select profile, count(*) as devices, sum(device_months) as device_months from exposure group by profile) p
    join (select e.profile, f.component, sum(f.failures) as failures
          from failure f join exposure e on e.device_id = f.device_id group by e.profile, f.component) c
      on c.profile = p.profile
)
select profile, level, name, devices, cast(failures as bigint) as failures, device_months,
       1000 * failures / device_months as per_thousand_device_months,
       1000 * rate_interval(failures, device_months)['lower'] as lower,
       1000 * rate_interval(failures, device_months)['upper'] as upper
from told
