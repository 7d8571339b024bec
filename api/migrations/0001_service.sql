-- The service database. Instants are microseconds since 1970, UTC. One statement of intent per table.

-- Whoever may call the API. The secret has 256 random bits, so a fast hash keeps it.
create table token (
    token_id text primary key,
    tenant text not null,
    name text not null,
    role text not null constraint token_role check (role in ('agent', 'analyst', 'admin')),
    secret_sha256 blob not null constraint token_secret check (length(secret_sha256) = 32),
    created integer not null,
    revoked integer,
    last_used integer
) strict, without rowid;
create index token_by_tenant on token (tenant, created);

-- Devices that were heard of.
create table device (
    tenant text not null,
    device_id text not null,
    profile text not null,
    firmware text,
    first_seen integer not null,
    last_seen integer not null,
    primary key (tenant, device_id)
) strict, without rowid;
create index device_by_profile on device (tenant, profile, device_id);

-- What a device logs in with at the gateway.
create table device_credential (
    tenant text not null,
    device_id text not null,
    secret_sha256 blob not null constraint device_credential_secret check (length(secret_sha256) = 32),
    created integer not null,
    primary key (tenant, device_id)
) strict, without rowid;
-- A login tells no tenant, so a device id with a credential belongs to one tenant.
create unique index device_credential_by_device on device_credential (device_id);

-- What is kept in memory somewhere: a number that goes up with each change, so that keepers know when to look again.
create table revision (
    name text primary key,
    number integer not null
) strict, without rowid;
insert into revision (name, number) values ('device_credential', 0);

-- Tickets with the names of TM Forum 621. `number` gives the order in which they were opened.
create table ticket (
    number integer primary key autoincrement,
    ticket_id text not null constraint ticket_id_unique unique,
    tenant text not null,
    device_id text not null,
    profile text,
    fault_key text not null,
    ticket_type text not null constraint ticket_type_word check (ticket_type in ('incident', 'complaint', 'request')),
    channel text not null constraint ticket_channel_word check (channel in ('alarm', 'agent')),
    -- the state and what it knows
    status text not null constraint ticket_status_word check (status in
        ('acknowledged', 'rejected', 'pending', 'held', 'inProgress', 'cancelled', 'closed', 'resolved')),
    sub_status text not null,
    since integer not null,
    owner text,
    reason text,
    resolution text constraint ticket_resolution_json check (resolution is null or json_valid(resolution)),
    -- what it is about
    severity text not null,
    priority text not null,
    title text not null,
    description text not null,
    customer_text text not null,
    skills text not null constraint ticket_skills_json check (json_valid(skills)),
    parts text not null constraint ticket_parts_json check (json_valid(parts)),
    repair_seconds integer not null,
    reopen_count integer not null default 0,
    first_contact integer,
    repeat_of text references ticket (ticket_id),
    alarm_count integer not null default 0,
    creation_date integer not null,
    last_update integer not null,
    resolution_date integer,
    version integer not null default 1,
    constraint ticket_owner_known check (status not in ('inProgress', 'pending', 'held', 'resolved') or owner is not null),
    constraint ticket_resolution_known check ((status in ('resolved', 'closed')) = (resolution is not null))
) strict;
-- One fault, one ticket. `resolved` is inside on purpose: recurrence reopens.
create unique index one_open on ticket (tenant, device_id, fault_key)
    where status in ('acknowledged', 'pending', 'held', 'inProgress', 'resolved');
create index ticket_by_fault on ticket (tenant, device_id, fault_key, number);
create index ticket_by_status on ticket (tenant, status, number);
create index ticket_resolved on ticket (since) where status = 'resolved';
create index ticket_by_tenant on ticket (tenant, number);

-- What happened to a ticket, append-only.
create table ticket_history (
    ticket_id text not null references ticket (ticket_id),
    entry integer not null,
    at integer not null,
    actor text not null,
    kind text not null constraint ticket_history_kind check (kind in
        ('created', 'status', 'note', 'contact', 'remote_action', 'owner', 'severity', 'appointment')),
    from_status text,
    to_status text,
    text text not null,
    primary key (ticket_id, entry)
) strict, without rowid;
create trigger ticket_history_no_update before update on ticket_history
    begin select raise(abort, 'ticket_history is append-only'); end;
create trigger ticket_history_no_delete before delete on ticket_history
    begin select raise(abort, 'ticket_history is append-only'); end;

-- Alarms with the names of TM Forum 642.
create table alarm (
    number integer primary key autoincrement,
    alarm_id text not null,
    tenant text not null,
    device_id text not null,
    profile text not null,
    firmware text,
    specific_problem text not null,
    source text not null,
    fault_key text not null,
    perceived_severity text not null,
    probable_cause text not null,
    state text not null constraint alarm_state_word check (state in ('raised', 'cleared')),
    alarm_raised_time integer not null,
    alarm_reporting_time integer not null,
    alarm_cleared_time integer,
    evidence text not null constraint alarm_evidence_json check (json_valid(evidence)),
    ticket_id text references ticket (ticket_id),
    constraint alarm_unique unique (tenant, alarm_id)
) strict;
create index alarm_by_device on alarm (tenant, device_id, number);
create index alarm_by_ticket on alarm (ticket_id, number) where ticket_id is not null;

-- The outbox: written in the transaction of what it tells, read in order.
create table event (
    event_id integer primary key autoincrement,
    tenant text not null,
    type text not null,
    subject text not null,
    at integer not null,
    data text not null constraint event_data_json check (json_valid(data))
) strict;
create index event_by_tenant on event (tenant, event_id);

-- Outcomes on their way to the lake; kept afterwards, so that the same id again is seen.
create table outcome (
    number integer primary key autoincrement,
    tenant text not null,
    outcome_id text not null,
    body text not null constraint outcome_body_json check (json_valid(body)),
    created integer not null,
    delivered integer,
    constraint outcome_unique unique (tenant, outcome_id)
) strict;
create index outcome_waiting on outcome (number) where delivered is null;

-- Answers to requests that carried an Idempotency-Key.
create table idempotency (
    tenant text not null,
    route text not null,
    key text not null,
    request_sha256 blob not null,
    status integer not null,
    answer text not null,
    created integer not null,
    primary key (tenant, route, key)
) strict, without rowid;
create index idempotency_by_age on idempotency (created);
