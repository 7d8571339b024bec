with watched as (
    select device_id, profile, coalesce(model, profile) as model, coalesce(firmware, 'unknown') as firmware,
           greatest(first_seen, $from) as begins, least(last_seen, $until) as ends
    from device
), exposure as (
    select *, extract(epoch from ends - begins) / 86400.0 as device_days from watched where ends > begins
), report as (
    select device_id, code, event_time,
           lag(event_time) over (partition by device_id, code order by event_time) as before
    from fault where active
), fault_of as (
    select r.device_id, r.code, count(*) as faults
    from report r join exposure e on e.device_id = r.device_id
    where (r.before is null or r.event_time > r.before + interval '1 day')
      and r.event_time >= e.begins and r.event_time <= $until
    group by r.device_id, r.code
), of_device as (
    select device_id, sum(faults) as faults from fault_of group by device_id
), told as (
    select e.profile, l.level,
           case l.level when 'profile' then e.profile when 'model' then e.model else e.firmware end as name,
           count(*) as devices, sum(coalesce(f.faults, 0)) as faults, sum(e.device_days) as device_days
    from exposure e left join of_device f on f.device_id = e.device_id
    cross join (values ('profile'), ('model'), ('firmware')) as l (level)
    group by 1, 2, 3
    union all
    select p.profile, 'code' as level, c.code as name, p.devices, c.faults, p.device_days
    from (select profile, count(*) as devices, sum(device_days) as device_days from exposure group by profile) p
    join (select e.profile, f.code, sum(f.faults) as faults
          from fault_of f join exposure e on e.device_id = f.device_id group by e.profile, f.code) c
      on c.profile = p.profile
)
select profile, level, name, devices, cast(faults as bigint) as faults, device_days,
       case when faults > 0 then device_days / faults end as mean_days,
       1 / rate_interval(faults, device_days)['upper'] as lower,
       case when faults > 0 then 1 / rate_interval(faults, device_days)['lower'] end as upper
from told
