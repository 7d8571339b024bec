with seen as (
    select profile, count(*) as devices, count(*) filter (where last_seen >= now() - interval '1 day') as heard_today
    from device group by profile
), open as (
    select d.profile, count(*) as open_tickets, count(*) filter (where t.severity = 'critical') as critical_tickets,
           count(distinct t.device_id) as troubled
    from ticket t join device d on d.device_id = t.device_id
    where t.status not in ('rejected', 'cancelled', 'closed') group by d.profile
)
select s.profile, s.devices, s.heard_today, s.devices - s.heard_today as silent,
       coalesce(o.troubled, 0) as troubled, coalesce(o.open_tickets, 0) as open_tickets,
       coalesce(o.critical_tickets, 0) as critical_tickets
from seen s left join open o on o.profile = s.profile
