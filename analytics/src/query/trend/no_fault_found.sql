with visit as (
    select o.outcome_id, coalesce(o.profile, d.profile, 'unknown') as profile,
           coalesce(d.model, o.profile, d.profile, 'unknown') as model, split_part(o.fault_key, '/', 1) as component,
           o.disposition in ('no_fault_found', 'false_alarm') as nothing
    from outcome o left join device d on d.device_id = o.device_id
    where o.confirms_fault is not null and o.event_time >= $from and o.event_time <= $until
), told as (
    select v.profile, l.level,
           case l.level when 'profile' then v.profile when 'model' then v.model else v.component end as name,
           count(distinct v.outcome_id) as outcomes,
           count(distinct case when v.nothing then v.outcome_id end) as no_fault_found
    from visit v cross join (values ('profile'), ('model'), ('component')) as l (level)
    group by 1, 2, 3
)
select profile, level, name, outcomes, no_fault_found, cast(no_fault_found as double) / outcomes as share,
       wilson_interval(no_fault_found, outcomes)['lower'] as lower,
       wilson_interval(no_fault_found, outcomes)['upper'] as upper
from told
