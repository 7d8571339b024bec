with eligible as (
    select device_id, profile, coalesce(model, profile) as model, coalesce(batch, 'unknown') as batch, installed_at,
           installed_at + interval '90 days' as grown, last_seen
    from device where installed_at >= $from and installed_at + interval '90 days' <= $until
), failure as (
    select distinct e.device_id from outcome o join eligible e on o.device_id = e.device_id
    where o.confirms_fault and coalesce(o.failure_time, o.event_time) >= e.installed_at
      and coalesce(o.failure_time, o.event_time) < e.grown
), judged as (
    select e.*, f.device_id is not null as failed
    from eligible e left join failure f on f.device_id = e.device_id
    where f.device_id is not null or e.last_seen >= e.grown
), told as (
    select j.profile, l.level, case l.level when 'model' then j.model else j.batch end as name,
           count(*) as devices, count(*) filter (where j.failed) as failed
    from judged j cross join (values ('model'), ('batch')) as l (level)
    group by 1, 2, 3
)
select profile, level, name, devices, failed, cast(failed as double) / devices as share,
       wilson_interval(failed, devices)['lower'] as lower, wilson_interval(failed, devices)['upper'] as upper
from told
