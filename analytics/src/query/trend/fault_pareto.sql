with counted as (
    select profile, code, count(*) as faults, count(distinct device_id) as devices
    from fault where active and event_time >= $from and event_time <= $until
    group by profile, code
)
select profile, code, faults, devices, cast(faults as double) / sum(faults) over (partition by profile) as share,
       cast(sum(faults) over (partition by profile order by faults desc, code rows unbounded preceding) as double)
           / sum(faults) over (partition by profile) as cumulative_share
from counted
