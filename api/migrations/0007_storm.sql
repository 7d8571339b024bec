-- Many devices, one problem; and outages that were planned. Instants are microseconds since 1970, UTC.

-- Service problems with the names of TM Forum 656: what many devices of one model and firmware have in common.
create table service_problem (
    number integer primary key autoincrement,
    service_problem_id text not null constraint service_problem_id_unique unique,
    tenant text not null,
    profile text not null,
    -- empty where devices do not tell theirs: a key has no nulls
    firmware text not null,
    fault_key text not null,
    status text not null constraint service_problem_status_word check (status in
        ('acknowledged', 'inProgress', 'resolved', 'cancelled')),
    owner text,
    severity text not null,
    title text not null,
    description text not null,
    note text,
    -- tickets that were ever gathered under it
    affected integer not null default 0,
    -- event time of the first alarm of the storm
    first_alert integer not null,
    creation_date integer not null,
    last_update integer not null,
    resolution_date integer,
    version integer not null default 1,
    constraint service_problem_resolution_known
        check ((status in ('resolved', 'cancelled')) = (resolution_date is not null))
) strict;
-- One storm, one problem.
create unique index service_problem_one_open on service_problem (tenant, profile, firmware, fault_key)
    where status in ('acknowledged', 'inProgress');
create index service_problem_by_key on service_problem (tenant, profile, firmware, fault_key, number);
create index service_problem_by_tenant on service_problem (tenant, number);

alter table ticket add column service_problem_id text references service_problem (service_problem_id);
create index ticket_by_problem on ticket (service_problem_id, number) where service_problem_id is not null;

-- Planned outages of a device or of a whole model. Cut short by moving the end; never deleted, for they explain alarms.
create table maintenance_window (
    number integer primary key autoincrement,
    maintenance_window_id text not null constraint maintenance_window_id_unique unique,
    tenant text not null,
    device_id text,
    profile text,
    starts_at integer not null,
    ends_at integer not null,
    reason text not null,
    created_by text not null,
    created_at integer not null,
    changed_at integer not null,
    constraint maintenance_window_one_object check ((device_id is null) <> (profile is null)),
    constraint maintenance_window_forward check (starts_at <= ends_at)
) strict;
create index maintenance_window_by_device on maintenance_window (tenant, device_id, ends_at) where device_id is not null;
create index maintenance_window_by_profile on maintenance_window (tenant, profile, ends_at) where profile is not null;

-- TM Forum 642: whether the alarm was raised in a planned outage.
alter table alarm add column planned_outage_indicator integer not null default 0
    constraint alarm_planned_flag check (planned_outage_indicator in (0, 1));
-- Such alarms that have not ended and have no ticket: looked through every second.
create index alarm_planned on alarm (number)
    where planned_outage_indicator = 1 and state = 'raised' and ticket_id is null;
-- The same fault on devices of one model around one time.
create index alarm_by_fault on alarm (tenant, profile, fault_key, alarm_raised_time);
